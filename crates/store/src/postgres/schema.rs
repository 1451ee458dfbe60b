//! The tables: how they are made, and whether what is there can be used.
//!
//! A revision is a `bigint` with the same 64 bits: those of 2^63 and more show as negative numbers. A row with
//! revision 0 is a document that is absent; it stands there so that it can be locked (see [`super::committer`]).

use super::address::Settings;
use super::errors::{Failure, advise};
use super::hosts::Hosts;
use super::kind::{Kind, has_feed};
use super::session::Session;
use tokio_postgres::error::SqlState;

/// The version of the layout of the tables.
const LAYOUT: u32 = 1;
/// Tries to create the tables: other processes may do it at the same moment, and one of them wins.
const MAX_CREATIONS: usize = 5;

/// What was found out of a database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// It tells its changes.
    pub(super) feed: bool,
    /// It syncs what it commits.
    pub(super) durable: bool,
}

/// Creates what is missing, and refuses what is of another version.
pub(super) async fn prepare(hosts: &Hosts, settings: &Settings) -> Result<Facts, String> {
    let session = hosts.open(settings).await.map_err(|failure| advise(&failure))?;
    if !session.syncs {
        tracing::warn!(
            store = %settings.label,
            "the database runs with fsync = off: what is acknowledged may be lost when its machine fails"
        );
    }
    let mut creations = 0;
    let layout = loop {
        match layout(&session).await.map_err(|failure| advise(&failure))? {
            Some(layout) => break layout,
            None if creations == MAX_CREATIONS => {
                return Err("the tables cannot be created: others do it again and again".to_owned());
            }
            None => create(&session).await.map_err(|failure| advise(&failure))?,
        }
        creations += 1;
    };
    if layout.parse() != Ok(LAYOUT) {
        return Err(format!(
            "its tables are of layout {layout:?}, and this version knows layout {LAYOUT}: \
             use the version that wrote them, or a newer one"
        ));
    }
    let feed = check(&session).await.map_err(|failure| advise(&failure))?;
    Ok(Facts { feed, durable: session.syncs })
}

/// The layout of the tables; `None` if there are none.
async fn layout(session: &Session) -> Result<Option<String>, Failure> {
    let ask = "SELECT value FROM pelago_meta WHERE name = 'layout'";
    match session.within(session.client.query_opt(ask, &[])).await {
        Ok(Some(row)) => Ok(Some(row.try_get(0)?)),
        // Ours are created together with this row.
        Ok(None) => Err(Failure::Odd("its table pelago_meta names no layout".to_owned())),
        Err(Failure::Said(error)) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Creates the tables, unless somebody else does at the same moment.
async fn create(session: &Session) -> Result<(), Failure> {
    let tables = tables(session.kind);
    match session.within(session.client.batch_execute(&tables)).await {
        Err(Failure::Said(error)) if error.code().is_some_and(is_a_race) => {
            session.within(session.client.batch_execute("ROLLBACK")).await
        }
        created => created,
    }
}

fn is_a_race(code: &SqlState) -> bool {
    [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ]
    .contains(code)
}

fn tables(kind: Kind) -> String {
    // Strings are compared byte by byte only with this collation; CockroachDB compares them so without any, and has none.
    let collation = if kind == Kind::CockroachDb { "" } else { "COLLATE \"C\"" };
    // Scans are in the order of the keys; YugabyteDB would scatter them.
    let order = if kind == Kind::YugabyteDb { "key ASC" } else { "key" };
    // Room for newer versions of a row on its page: then indexes need not change.
    let room = if kind == Kind::PostgreSql { "WITH (fillfactor = 80)" } else { "" };
    let feed = if has_feed(kind) { FEED } else { "" };
    format!(
        "BEGIN;
         CREATE TABLE pelago_meta (name text PRIMARY KEY, value text NOT NULL);
         CREATE TABLE pelago_documents (
             key text {collation} NOT NULL,
             revision bigint NOT NULL,
             schema integer NOT NULL,
             value bytea,
             PRIMARY KEY ({order})
         ) {room};
         {feed}
         INSERT INTO pelago_meta (name, value) VALUES ('layout', '{LAYOUT}'), ('feed_forgotten', '0.0');
         COMMIT;"
    )
}

/// The changes, in the order of the transactions that made them: see [`super::feed`].
const FEED: &str = "
    CREATE TABLE pelago_feed (
        txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        position bigint GENERATED ALWAYS AS IDENTITY,
        key text COLLATE \"C\" NOT NULL,
        revision bigint NOT NULL,
        schema integer NOT NULL,
        value bytea,
        PRIMARY KEY (txid, position)
    );";

/// Runs every statement over nothing, so that missing rights and columns are found now; says whether there is a feed.
async fn check(session: &Session) -> Result<bool, Failure> {
    let client = &session.client;
    let feed = has_feed(session.kind);
    let statements = session.prepare(feed).await?;
    let none: [&str; 0] = [];
    session.within(client.execute(&statements.place, &[&&none[..]])).await?;
    session.within(client.query(&statements.lock, &[&&none[..]])).await?;
    session.within(client.query(&statements.load, &[&&none[..]])).await?;
    let (numbers, schemas): ([i64; 0], [i32; 0]) = ([], []);
    let (values, told): ([Option<&[u8]>; 0], [bool; 0]) = ([], []);
    session
        .within(client.query_one(
            &statements.write,
            &[
                &&none[..],
                &&numbers[..],
                &&schemas[..],
                &&values[..],
                &&told[..],
                &None::<&str>,
                &None::<i64>,
            ],
        ))
        .await?;
    if feed {
        let rights = "
            DELETE FROM pelago_feed WHERE false;
            UPDATE pelago_meta SET value = value WHERE false";
        session.within(client.batch_execute(rights)).await?;
    }
    Ok(feed)
}
