//! A connection to the database: how it is set up, its prepared statements, and what is said beside the answers.

use super::address::Settings;
use super::errors::Failure;
use super::kind::Kind;
use super::statements::Sql;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::Severity;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Statement};

/// How much longer than the statement's own timeout an answer is waited for: then the connection is given up.
const ANSWER_SLACK: Duration = Duration::from_secs(1);
/// How long a connection that is given up may take to say goodbye.
const GOODBYE_TIME: Duration = Duration::from_secs(1);
/// How long the database lets a transaction of ours lock documents while it hears nothing from us.
const IDLE_IN_TRANSACTION_MS: u64 = 10_000;

/// Commits of ours that have waited for standbys for longer than any answer takes.
const WAITING_FOR_STANDBYS: &str = "
    SELECT count(*) FROM pg_stat_activity
    WHERE usename = current_user AND wait_event = 'SyncRep' AND query_start < now() - interval '1 second'";

/// A connection that is set up. Dropping it ends it.
pub(super) struct Session {
    pub(super) client: Client,
    /// The number of its host among those of the address.
    pub(super) host: usize,
    pub(super) kind: Kind,
    /// Whether the database keeps what it commits when its machine loses power, as far as it says.
    pub(super) syncs: bool,
    /// Whether the database has warned since the last [`Session::expect_warnings`].
    warned: Arc<AtomicBool>,
    patience: Duration,
    /// Dropped with the session, which tells the task that drives the connection.
    _held: oneshot::Sender<Infallible>,
}

/// The statements of a session that serves documents.
pub(super) struct Statements {
    pub(super) place: Statement,
    pub(super) lock: Statement,
    pub(super) write: Statement,
    pub(super) load: Statement,
}

impl Session {
    /// Connects to the host of `config`, if that takes writes: the one with this number among those of the address.
    pub(super) async fn open_at(
        config: &Config,
        host: usize,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let (client, connection) = config.connect(settings.tls.clone()).await?;
        let warned = Arc::<AtomicBool>::default();
        let (held, dropped) = oneshot::channel();
        tokio::spawn(drive(connection, warned.clone(), dropped));
        let patience = settings.statement_timeout + ANSWER_SLACK;
        let kind = Kind::PostgreSql;
        let mut session = Self { client, host, kind, syncs: true, warned, patience, _held: held };
        session.set_up(settings).await?;
        Ok(session)
    }

    async fn set_up(&mut self, settings: &Settings) -> Result<(), Failure> {
        let version = self.within(self.client.query_one("SELECT version()", &[])).await?;
        self.kind = Kind::of(&version.try_get::<_, String>(0)?);
        let synchronous_commit = settings.synchronous_commit.name();
        let mut set = format!(
            "SET statement_timeout = {};
             SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS};
             SET client_min_messages = warning;
             SET default_transaction_isolation = 'read committed';",
            settings.statement_timeout.as_millis(),
        );
        if self.kind == Kind::PostgreSql {
            set += &format!("SET synchronous_commit = {synchronous_commit};");
            // Keys are always found by the index, whatever was believed of the tables when the plan was made.
            set += "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;";
        }
        self.within(self.client.batch_execute(&set)).await?;
        if self.kind == Kind::PostgreSql {
            let ask = "SELECT current_setting('synchronous_commit'), current_setting('fsync')";
            let row = self.within(self.client.query_one(ask, &[])).await?;
            let found: String = row.try_get(0)?;
            if found != synchronous_commit {
                let problem = format!(
                    "synchronous_commit is {found} though {synchronous_commit} was asked for: what is acknowledged \
                     would not be durable"
                );
                return Err(Failure::Odd(problem));
            }
            self.syncs = row.try_get::<_, String>(1)? == "on";
        }
        Ok(())
    }

    /// Fails while commits that were given up still wait for standbys: each more would only hold another connection.
    pub(super) async fn refuse_silent_standbys(&self) -> Result<(), Failure> {
        if self.kind != Kind::PostgreSql {
            return Ok(());
        }
        let waiting: i64 =
            self.within(self.client.query_one(WAITING_FOR_STANDBYS, &[])).await?.try_get(0)?;
        if waiting == 0 {
            return Ok(());
        }
        Err(Failure::Odd(format!(
            "{waiting} commits wait for synchronous standbys that do not answer"
        )))
    }

    /// The statements that serve documents; with `feed`, writing tells the feed, too.
    pub(super) async fn prepare(&self, feed: bool) -> Result<Statements, Failure> {
        let sql = Sql::of(feed);
        let prepare = async |sql: &str| self.within(self.client.prepare(sql)).await;
        Ok(Statements {
            place: prepare(sql.place).await?,
            lock: prepare(sql.lock).await?,
            write: prepare(sql.write).await?,
            load: prepare(sql.load).await?,
        })
    }

    /// The answer to what is asked, if it comes in time.
    pub(super) async fn within<T>(
        &self,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        match timeout(self.patience, asked).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Failure::Silent),
        }
    }

    /// The answers to what is asked together, if they come in time.
    pub(super) async fn all_within<T>(&self, asked: impl Future<Output = T>) -> Result<T, Failure> {
        timeout(self.patience, asked).await.map_err(|_| Failure::Silent)
    }

    /// From now on warnings count.
    pub(super) fn expect_warnings(&self) {
        self.warned.store(false, Ordering::Release);
    }

    /// Whether the database has warned since: after `COMMIT`, that it did not wait for its standbys.
    pub(super) fn has_warned(&self) -> bool {
        self.warned.load(Ordering::Acquire)
    }
}

/// Moves what is sent and received until the connection ends, or for a moment after the session was dropped: a database
/// that says nothing would keep a connection for ever that waits for its last answer.
async fn drive<S, T>(
    mut connection: Connection<S, T>,
    warned: Arc<AtomicBool>,
    dropped: oneshot::Receiver<Infallible>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let moved = async {
        // The caller that waits for an answer sees the error that ends it. A notice comes before the answer that it
        // belongs to.
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message
                && notice.parsed_severity() == Some(Severity::Warning)
            {
                let code = notice.code().code();
                tracing::warn!(code, "the database warns: {}", notice.message());
                warned.store(true, Ordering::Release);
            }
        }
    };
    let given_up = async {
        drop(dropped.await);
        sleep(GOODBYE_TIME).await;
    };
    tokio::select! {
        () = moved => {}
        () = given_up => {}
    }
}
