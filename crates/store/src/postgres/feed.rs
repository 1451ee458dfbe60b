//! The feed: a second table, written in the same transaction and by the same statement as the documents.
//!
//! A change has the number of the transaction that made it, and counts among all changes. Transactions do not end in
//! the order of their numbers, so that a reader could pass by what is not there yet. Therefore only the changes of
//! transactions are told that are older than the oldest one under way (`pg_snapshot_xmin`): from those nothing can come any more.
//! A document's later change has the greater number, because it was made under the lock that the former had held until
//! its end.
//!
//! A transaction of somebody else that writes for a long time, anywhere in the database server, holds the feed up.
//! The oldest changes go when more than `feed_changes` of the address are kept; up to where stands in `pelago_meta`.

use super::Shared;
use super::connector::{Connector, Purpose};
use super::errors::{Failure, read_error};
use super::rows::document;
use super::session::Session;
use crate::{Change, FeedError, FeedPosition, ReadError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

const READ: &str = "
    SELECT txid::text, position, key, revision, schema, value FROM pelago_feed
    WHERE (txid, position) > ($1::text::xid8, $2) AND txid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY txid, position LIMIT $3";
const END: &str = "
    SELECT txid::text, position FROM pelago_feed WHERE txid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY txid DESC, position DESC LIMIT 1 OFFSET $1";
const FORGOTTEN: &str = "SELECT value FROM pelago_meta WHERE name = 'feed_forgotten'";
const FORGOTTEN_FOR_UPDATE: &str =
    "SELECT value FROM pelago_meta WHERE name = 'feed_forgotten' FOR UPDATE";
const FORGET: &str = "UPDATE pelago_meta SET value = $1 WHERE name = 'feed_forgotten'";
const TRIM: &str = "DELETE FROM pelago_feed WHERE (txid, position) <= ($1::text::xid8, $2)";

/// How often it is looked whether there is something to forget.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The changes of a database.
pub(super) struct Feed {
    shared: Arc<Shared>,
    /// The connection over which it is read and trimmed, by one at a time.
    connector: Mutex<Connector>,
    /// Changes that this engine has made since it last trimmed.
    told: AtomicU64,
}

impl Feed {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let connector = Mutex::new(Connector::new(shared.clone(), Purpose::Read));
        // What others left is looked at soon.
        let told = AtomicU64::new(shared.settings.feed_changes);
        Self { shared, connector, told }
    }

    /// So many changes were made.
    pub(super) fn has_told(&self, changes: u64) {
        self.told.fetch_add(changes, Ordering::Relaxed);
    }

    /// What follows a position.
    pub(super) async fn read(
        &self,
        after: FeedPosition,
        limit: usize,
    ) -> Result<Vec<Change>, FeedError> {
        let mut connector = self.connector.lock().await;
        let session = session(&mut connector).await?;
        let read = read(session, after, limit).await;
        let (changes, forgotten) = settled(&mut connector, read)?;
        if after < forgotten {
            Err(FeedError::Forgotten { oldest: forgotten })
        } else {
            Ok(changes)
        }
    }

    /// After the last change.
    pub(super) async fn end(&self) -> Result<FeedPosition, ReadError> {
        let mut connector = self.connector.lock().await;
        let session = session(&mut connector).await?;
        let end = end(session).await;
        settled(&mut connector, end)
    }

    /// Deletes the oldest changes, each time this engine has made an eighth of what is kept.
    pub(super) async fn keep_short(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let keep = self.shared.settings.feed_changes;
            if self.told.load(Ordering::Relaxed) >= keep.div_ceil(8) {
                self.told.store(0, Ordering::Relaxed);
                self.trim(keep).await;
            }
        }
    }

    async fn trim(&self, keep: u64) {
        let mut connector = self.connector.lock().await;
        // Without a database there is nothing to trim.
        let Ok(session) = session(&mut connector).await else { return };
        let trimmed = trim(session, keep).await;
        if let Err(error) = settled(&mut connector, trimmed) {
            tracing::warn!(%error, "the feed could not forget its oldest changes");
        }
    }
}

async fn session(connector: &mut Connector) -> Result<&Session, ReadError> {
    match connector.session().await {
        Some((session, _)) => Ok(session),
        None => Err(ReadError::Engine("the database is gone".to_owned())),
    }
}

/// What was done over a connector. After a failure nobody knows in which state its session is.
fn settled<T>(connector: &mut Connector, done: Result<T, Failure>) -> Result<T, ReadError> {
    done.map_err(|failure| {
        connector.give_up(&failure);
        read_error(&failure)
    })
}

/// What follows a position, and up to where changes were forgotten.
async fn read(
    session: &Session,
    after: FeedPosition,
    limit: usize,
) -> Result<(Vec<Change>, FeedPosition), Failure> {
    let (txid, minor) = parameters(after);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let parameters: [&(dyn ToSql + Sync); 3] = [&txid, &minor, &limit];
    let rows = session.within(session.client.query(READ, &parameters)).await?;
    let changes = rows.iter().map(change).collect::<Result<_, _>>()?;
    // Afterwards: what was forgotten meanwhile must not be missed.
    Ok((changes, forgotten(session, FORGOTTEN).await?))
}

async fn end(session: &Session) -> Result<FeedPosition, Failure> {
    match last(session, 0).await? {
        Some(position) => Ok(position),
        None => forgotten(session, FORGOTTEN).await,
    }
}

/// As parameters of statements. No change has a greater `minor` than the database can count.
fn parameters(position: FeedPosition) -> (String, i64) {
    (position.major.to_string(), i64::try_from(position.minor).unwrap_or(i64::MAX))
}

fn position(row: &Row) -> Result<FeedPosition, Failure> {
    let (txid, minor): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
    let major = txid.parse().map_err(|_| Failure::Odd(format!("{txid:?} is no transaction")))?;
    Ok(FeedPosition { major, minor: minor.cast_unsigned() })
}

fn change(row: &Row) -> Result<Change, Failure> {
    let (key, document) = document(row, 2)?;
    Ok(Change { position: position(row)?, key, document })
}

/// The position of the last change, or of the one so many before it.
async fn last(session: &Session, before: u64) -> Result<Option<FeedPosition>, Failure> {
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    let row = session.within(session.client.query_opt(END, &[&before])).await?;
    row.as_ref().map(position).transpose()
}

/// Up to where changes were forgotten.
async fn forgotten(session: &Session, ask: &str) -> Result<FeedPosition, Failure> {
    let row = session.within(session.client.query_one(ask, &[])).await?;
    let text: &str = row.try_get(0)?;
    text.parse().map_err(|error| Failure::Odd(format!("pelago_meta, feed_forgotten: {error}")))
}

/// Deletes all changes but the last so many. One engine at a time: the row that says up to where is locked.
async fn trim(session: &Session, keep: u64) -> Result<(), Failure> {
    if last(session, keep).await?.is_none() {
        return Ok(());
    }
    session.within(session.client.batch_execute("BEGIN")).await?;
    let forgotten = forgotten(session, FORGOTTEN_FOR_UPDATE).await?;
    if let Some(oldest) = last(session, keep).await?
        && oldest > forgotten
    {
        session.within(session.client.execute(FORGET, &[&oldest.to_string()])).await?;
        let (txid, minor) = parameters(oldest);
        session.within(session.client.execute(TRIM, &[&txid, &minor])).await?;
    }
    session.within(session.client.batch_execute("COMMIT")).await
}
