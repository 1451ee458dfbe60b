//! Rows of documents: how the columns of the tables become keys, revisions and documents.

use super::errors::Failure;
use bytes::Bytes;
use pelago_model::{Document, Key, Revision};
use tokio_postgres::Row;

/// The key and the document of the columns key, revision, schema and value, of which `first` is the first.
pub(super) fn document(row: &Row, first: usize) -> Result<(Key, Document), Failure> {
    let text: &str = row.try_get(first)?;
    let key = Key::parse(text)
        .map_err(|_| Failure::Odd(format!("pelago_documents has {text:?}, which is no key")))?;
    let schema: i32 = row.try_get(first + 2)?;
    let schema = u16::try_from(schema)
        .map_err(|_| Failure::Odd(format!("the document under {key} has schema {schema}")))?;
    let value: Option<&[u8]> = row.try_get(first + 3)?;
    let value = value.map(Bytes::copy_from_slice);
    Ok((key, Document { schema, revision: revision(row.try_get(first + 1)?), value }))
}

/// A revision as the table has it.
pub(super) fn revision(number: i64) -> Revision {
    Revision(number.cast_unsigned())
}
