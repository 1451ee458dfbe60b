//! The envelope: how engines write a document down.
//!
//! ```text
//! version u8 = 1 | flags u8 | schema u16 LE | revision u64 LE | [marks length u32 LE | marks] | value
//! ```
//!
//! This form is a contract: what one version wrote, every later one reads. The vectors in the tests pin it.
//!
//! Flag 1: there is no value, a deletion left the revision (tombstone). Flag 2: transaction marks
//! precede the value; room for engines that commit by conditional writes alone. No engine writes marks today, and
//! readers skip those that they find.
//!
//! Decoding is total: any bytes are a document or [`Malformed`], and nothing larger than them is allocated.

use bytes::{BufMut, Bytes};
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
    let mut out = Vec::with_capacity(HEADER + value.len());
    out.put_u8(VERSION);
    out.put_u8(if document.value.is_none() { TOMBSTONE } else { 0 });
    out.put_u16_le(document.schema);
    out.put_u64_le(document.revision.0);
    out.put_slice(value);
    out
}

/// The document of some bytes.
///
/// # Errors
/// See [`Malformed`].
pub fn decode(bytes: &[u8]) -> Result<Document, Malformed> {
    let (schema, revision, value) = parse(bytes)?;
    Ok(Document { schema, revision, value: value.map(Bytes::copy_from_slice) })
}

/// The revision of the document of some bytes, whose value is not copied.
///
/// # Errors
/// See [`Malformed`].
pub fn revision(bytes: &[u8]) -> Result<Revision, Malformed> {
    parse(bytes).map(|(_, revision, _)| revision)
}

/// Schema, revision and value.
fn parse(bytes: &[u8]) -> Result<(u16, Revision, Option<&[u8]>), Malformed> {
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
    Ok((number(2..4) as u16, Revision(number(4..12)), (!deleted).then_some(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let digits: Vec<u8> = hexadecimal.bytes().filter(|byte| *byte != b' ').collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    fn document(schema: u16, revision: u64, value: Option<&'static str>) -> Document {
        Document { schema, revision: Revision(revision), value: value.map(Bytes::from) }
    }

    /// Never change a line of these: stores out there hold such bytes.
    #[test]
    fn the_written_form_is_pinned() {
        let vectors = [
            ("01 00 0201 0300000000000000 7b7d", document(0x0102, 3, Some("{}"))),
            ("01 00 0100 0100000000000000", document(1, 1, Some(""))),
            ("01 01 0100 0807060504030201", document(1, 0x0102_0304_0506_0708, None)),
            ("01 00 ffff ffffffffffffffff 22c38522", document(u16::MAX, u64::MAX, Some("\"Å\""))),
            ("01 01 0000 0000000000000000", Document::ABSENT),
        ];
        for (hexadecimal, document) in vectors {
            assert_eq!(encode(&document), bytes(hexadecimal), "{document:?}");
            assert_eq!(revision(&bytes(hexadecimal)), Ok(document.revision), "{hexadecimal}");
            assert_eq!(decode(&bytes(hexadecimal)), Ok(document), "{hexadecimal}");
        }
    }

    #[test]
    fn marks_are_skipped() {
        let value = document(0x0102, 3, Some("{}"));
        let vectors = [
            ("01 02 0201 0300000000000000 02000000 0909 7b7d", value.clone()),
            ("01 02 0201 0300000000000000 00000000 7b7d", value),
            ("01 03 0100 0300000000000000 01000000 09", document(1, 3, None)),
        ];
        for (hexadecimal, document) in vectors {
            assert_eq!(decode(&bytes(hexadecimal)), Ok(document), "{hexadecimal}");
        }
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let vectors = [
            ("", Malformed::Truncated),
            ("01 00 0100 01000000000000", Malformed::Truncated),
            ("01 02 0100 0100000000000000 020000", Malformed::Truncated),
            ("01 02 0100 0100000000000000 02000000 09", Malformed::Truncated),
            ("01 02 0100 0100000000000000 ffffffff 09", Malformed::Truncated),
            ("00 00 0100 0100000000000000", Malformed::Version),
            ("02 00 0100 0100000000000000", Malformed::Version),
            ("01 04 0100 0100000000000000", Malformed::Flags),
            ("01 80 0100 0100000000000000", Malformed::Flags),
            ("01 01 0100 0100000000000000 7b7d", Malformed::Flags),
        ];
        for (hexadecimal, malformed) in vectors {
            assert_eq!(decode(&bytes(hexadecimal)), Err(malformed), "{hexadecimal}");
        }
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
