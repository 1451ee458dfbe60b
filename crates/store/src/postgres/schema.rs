//! The tables, and the statements over them.
//!
//! A revision is a `bigint` with the same 64 bits: those of 2^63 and more show as negative numbers. A row with
//! revision 0 is a document that is absent; it stands there so that it can be locked (see [`super::committer`]).
//!
//! The statements keep to what CockroachDB and YugabyteDB document as well; `docs/store.md` says what was run.

use super::address::Settings;
use super::errors::{Failure, advise};
use super::session::Session;
use tokio_postgres::error::SqlState;

/// The version of the layout of the tables.
const LAYOUT: u32 = 1;
/// Tries to create the tables: other processes may do it at the same moment, and one of them wins.
const MAX_CREATIONS: usize = 5;

/// Whose database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    PostgreSql,
    /// Has no transaction numbers that grow in the order in which transactions end: no feed.
    CockroachDb,
    /// As above.
    YugabyteDb,
}

impl Kind {
    /// From what the database says of itself.
    pub(super) fn of(version: &str) -> Self {
        if version.contains("CockroachDB") {
            Self::CockroachDb
        } else if version.contains("-YB-") {
            Self::YugabyteDb
        } else {
            Self::PostgreSql
        }
    }
}

/// Whether it tells its changes: the feed follows PostgreSQL's transaction numbers.
pub(super) fn has_feed(kind: Kind) -> bool {
    kind == Kind::PostgreSql
}

/// What was found out of a database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// It tells its changes.
    pub(super) feed: bool,
    /// It syncs what it commits.
    pub(super) durable: bool,
}

/// The statements that serve documents; public for measurements that run the same.
pub struct Sql {
    /// Makes rows of absent documents, so that they can be locked.
    pub place: &'static str,
    /// Locks rows in the order of their keys, and reads the present revisions.
    pub lock: &'static str,
    /// Writes documents whose rows are locked, and counts them.
    pub write: &'static str,
    /// Reads documents.
    pub load: &'static str,
}

impl Sql {
    /// With `feed`, writing tells the feed, too.
    pub fn of(feed: bool) -> Self {
        Self {
            place: "INSERT INTO pelago_documents (key, revision, schema)
                    SELECT absent.key, 0, 0 FROM unnest($1::text[]) AS absent (key)
                    ON CONFLICT (key) DO NOTHING",
            lock: "SELECT key, revision FROM pelago_documents WHERE key = ANY($1::text[]) ORDER BY key FOR UPDATE",
            write: if feed { WRITE_AND_TELL } else { WRITE },
            load: "SELECT key, revision, schema, value FROM pelago_documents WHERE key = ANY($1::text[])",
        }
    }
}

const WRITE: &str = "
    WITH changed AS (
        UPDATE pelago_documents AS document
        SET revision = new.revision, schema = new.schema, value = new.value
        FROM unnest($1::text[], $2::bigint[], $3::integer[], $4::bytea[], $5::boolean[])
            AS new (key, revision, schema, value, told)
        WHERE document.key = new.key
        RETURNING document.key
    )
    SELECT count(*) FROM changed";

const WRITE_AND_TELL: &str = "
    WITH changed AS (
        UPDATE pelago_documents AS document
        SET revision = new.revision, schema = new.schema, value = new.value
        FROM unnest($1::text[], $2::bigint[], $3::integer[], $4::bytea[], $5::boolean[])
            AS new (key, revision, schema, value, told)
        WHERE document.key = new.key
        RETURNING document.key, document.revision, document.schema, document.value, new.told
    ), told AS (
        INSERT INTO pelago_feed (key, revision, schema, value)
        SELECT key, revision, schema, value FROM changed WHERE told
    )
    SELECT count(*) FROM changed";

/// Creates what is missing, and refuses what is of another version.
pub(super) async fn prepare(settings: &Settings) -> Result<Facts, String> {
    let session = Session::open(settings).await.map_err(|failure| advise(&failure))?;
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
            &[&&none[..], &&numbers[..], &&schemas[..], &&values[..], &&told[..]],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_say_whose_they_are() {
        for (version, kind) in [
            ("PostgreSQL 15.14 (Debian 15.14-0+deb12u1) on x86_64-pc-linux-gnu", Kind::PostgreSql),
            ("CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu, built 2024/05/15)", Kind::CockroachDb),
            ("PostgreSQL 11.2-YB-2.20.1.3-b0 on x86_64-pc-linux-gnu", Kind::YugabyteDb),
        ] {
            assert_eq!(Kind::of(version), kind);
        }
    }
}
