//! The envelope: how engines write a document down.
//!
//! ```text
//! version u8 = 1 | flags u8 | schema u16 LE | revision u64 LE | [marks length u32 LE | marks] | value
//! ```
//!
//! Flag 1: there is no value, a deletion left the revision (tombstone). Flag 2: transaction marks
//! precede the value; engines that commit by conditional writes alone stage values there. Readers that find marks
//! they do not understand skip them.

use bytes::{BufMut, Bytes, BytesMut};
use pelago_model::{Document, Revision};

const VERSION: u8 = 1;
const TOMBSTONE: u8 = 1;
const MARKS: u8 = 2;
const HEADER: usize = 12;

/// Bytes that are no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end too early.
    #[error("the bytes end too early")]
    Truncated,
    /// A version that this program does not know.
    #[error("the envelope is of an unknown version")]
    Version,
    /// Flags that this program does not know, or a deleted document with a value.
    #[error("the envelope has unknown flags")]
    Flags,
}

/// The bytes of a document.
pub fn encode(document: &Document) -> Vec<u8> {
    let value = document.value.as_deref().unwrap_or_default();
    let mut out = BytesMut::with_capacity(HEADER + value.len());
    out.put_u8(VERSION);
    out.put_u8(if document.value.is_none() { TOMBSTONE } else { 0 });
    out.put_u16_le(document.schema);
    out.put_u64_le(document.revision.0);
    out.put_slice(value);
    out.to_vec()
}

/// The document of some bytes.
///
/// # Errors
/// See [`Malformed`].
pub fn decode(bytes: &[u8]) -> Result<Document, Malformed> {
    let (header, mut rest) = bytes.split_at_checked(HEADER).ok_or(Malformed::Truncated)?;
    let number = |range: std::ops::Range<usize>| {
        header[range].iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    if header[0] != VERSION {
        return Err(Malformed::Version);
    }
    let flags = header[1];
    if flags & MARKS != 0 {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(Malformed::Truncated)?;
        let length = u32::from_le_bytes(*length) as usize;
        rest = after.get(length..).ok_or(Malformed::Truncated)?;
    }
    let deleted = flags & TOMBSTONE != 0;
    if flags & !(TOMBSTONE | MARKS) != 0 || (deleted && !rest.is_empty()) {
        return Err(Malformed::Flags);
    }
    Ok(Document {
        schema: number(2..4) as u16,
        revision: Revision(number(4..12)),
        value: (!deleted).then(|| Bytes::copy_from_slice(rest)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_form_is_pinned() {
        let document =
            Document { schema: 0x0102, revision: Revision(3), value: Some(Bytes::from("{}")) };
        let bytes = [1, 0, 2, 1, 3, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'];
        assert_eq!(encode(&document), bytes);
        let marked = [1, 2, 2, 1, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 9, 9, b'{', b'}'];
        assert_eq!(decode(&marked), Ok(document));
        assert_eq!(decode(&[2; 20]), Err(Malformed::Version));
        assert_eq!(decode(&[1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed::Flags));
    }

    proptest! {
        #[test]
        fn documents_are_read_as_they_are_written(
            schema: u16, revision: u64, value: Option<Vec<u8>>,
        ) {
            let value = value.map(Bytes::from);
            let document = Document { schema, revision: Revision(revision), value };
            prop_assert_eq!(decode(&encode(&document)), Ok(document));
        }

        #[test]
        fn any_bytes_are_a_document_or_malformed(bytes: Vec<u8>, flags in 0u8..8) {
            let mut envelope = vec![1, flags];
            envelope.extend(bytes);
            // Neither panics; what is decoded can be encoded.
            if let Ok(document) = decode(&envelope) {
                prop_assert_eq!(decode(&encode(&document)), Ok(document));
            }
        }
    }
}
