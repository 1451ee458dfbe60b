//! The statements that serve documents.
//!
//! They keep to what CockroachDB and YugabyteDB document as well; `docs/store.md` says what was run.

/// The statements that serve documents; public for measurements that run the same.
pub struct Sql {
    /// Makes rows of absent documents, so that they can be locked.
    pub place: &'static str,
    /// Locks rows in the order of their keys, and reads the present revisions.
    pub lock: &'static str,
    /// Writes documents whose rows are locked, and counts them: none if there is a fence (a key and a revision) that
    /// was passed. It stays where it is until the end of the transaction, so that whoever takes over waits for that.
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
    WITH fence AS (
        SELECT 1 FROM pelago_documents WHERE key = $6::text AND revision = $7::bigint FOR SHARE
    ), changed AS (
        UPDATE pelago_documents AS document
        SET revision = new.revision, schema = new.schema, value = new.value
        FROM unnest($1::text[], $2::bigint[], $3::integer[], $4::bytea[], $5::boolean[])
            AS new (key, revision, schema, value, told)
        WHERE document.key = new.key AND ($6::text IS NULL OR EXISTS (SELECT FROM fence))
        RETURNING document.key
    )
    SELECT count(*) FROM changed";

const WRITE_AND_TELL: &str = "
    WITH fence AS (
        SELECT 1 FROM pelago_documents WHERE key = $6::text AND revision = $7::bigint FOR SHARE
    ), changed AS (
        UPDATE pelago_documents AS document
        SET revision = new.revision, schema = new.schema, value = new.value
        FROM unnest($1::text[], $2::bigint[], $3::integer[], $4::bytea[], $5::boolean[])
            AS new (key, revision, schema, value, told)
        WHERE document.key = new.key AND ($6::text IS NULL OR EXISTS (SELECT FROM fence))
        RETURNING document.key, document.revision, document.schema, document.value, new.told
    ), told AS (
        INSERT INTO pelago_feed (key, revision, schema, value)
        SELECT key, revision, schema, value FROM changed WHERE told
    )
    SELECT count(*) FROM changed";
