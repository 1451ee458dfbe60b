//! The form of a part, and of a page on its way from a server.
//!
//! ```text
//! magic "PELAGOPT" | version u16 LE = 1 | flags u16 LE | number u32 LE | count u32 LE
//!   | position major u64 LE, minor u64 LE | first key | last key
//! count times: key | envelope length u32 LE | envelope (see `store::envelope`)
//! blake3 of everything before, 32 bytes
//! ```
//!
//! A key is its length u8 and its bytes; without documents, first and last are empty. Keys ascend strictly. Flag 1: it
//! tells what changed while other parts were read. Flag 2: there was nothing more when it was read.
//!
//! This form is a contract, as the envelope's is. Decoding is total, and allocates no more than one document at a time.

use super::Page;
use crate::{FeedPosition, envelope};
use bytes::BufMut;
use pelago_model::limits::MAX_DOCUMENT_BYTES;
use pelago_model::{Document, Key};
use std::io::{self, ErrorKind, Read};

const MAGIC: &[u8; 8] = b"PELAGOPT";
const VERSION: u16 = 1;
const CHANGES: u16 = 1;
const LAST: u16 = 2;
/// Bytes of an envelope: the largest document, and as much again for marks.
const MAX_ENVELOPE_BYTES: usize = 2 * MAX_DOCUMENT_BYTES;

/// What a part says of itself before its documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the parts of an archive, counted from 1; 0 of a page.
    pub number: u32,
    /// Whether it tells what changed while other parts were read.
    pub changes: bool,
    /// See [`Page::is_last`].
    pub is_last: bool,
    /// Documents.
    pub count: u32,
    /// See [`Page::position`].
    pub position: FeedPosition,
    /// The key of the first document, if there is one.
    pub first: Option<Key>,
    /// The key of the last one.
    pub last: Option<Key>,
}

/// Why bytes are no part.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// They are something else.
    #[error("is no part of an archive")]
    Foreign,
    /// They are of a form that this program does not know.
    #[error("is of version {0}, and this program knows versions up to {VERSION}")]
    Version(u16),
    /// They are not as they were written.
    #[error("is damaged: {0}")]
    Damaged(&'static str),
    /// The bytes under a key are no document of a form that this program knows.
    #[error("the document under {key}: {problem}")]
    Document {
        /// The key.
        key: Key,
        /// What is wrong.
        problem: envelope::Malformed,
    },
    /// They could not be read.
    #[error(transparent)]
    Read(io::Error),
}

/// The bytes of a part.
pub fn encode(number: u32, changes: bool, page: &Page) -> Vec<u8> {
    let documents = &page.documents;
    let mut out = Vec::new();
    out.put_slice(MAGIC);
    out.put_u16_le(VERSION);
    out.put_u16_le(if changes { CHANGES } else { 0 } | if page.is_last { LAST } else { 0 });
    out.put_u32_le(number);
    // A part has 16 MiB, a page less.
    out.put_u32_le(documents.len() as u32);
    out.put_u64_le(page.position.major);
    out.put_u64_le(page.position.minor);
    put_key(&mut out, documents.first().map(|(key, _)| key));
    put_key(&mut out, documents.last().map(|(key, _)| key));
    for (key, document) in documents {
        put_key(&mut out, Some(key));
        let bytes = envelope::encode(document);
        out.put_u32_le(bytes.len() as u32);
        out.put_slice(&bytes);
    }
    let hash = blake3::hash(&out);
    out.put_slice(hash.as_bytes());
    out
}

/// The page that some bytes are.
///
/// # Errors
/// See [`PartError`].
pub fn decode(bytes: &[u8]) -> Result<Page, PartError> {
    let mut reader = PartReader::new(bytes)?;
    let documents = reader.by_ref().collect::<Result<_, _>>()?;
    let Header { position, is_last, .. } = *reader.header();
    Ok(Page { documents, position, is_last })
}

/// The hash at the end of a part, 64 hexadecimal digits.
pub(super) fn hash_of(part: &[u8]) -> String {
    let hash = part.last_chunk().copied().unwrap_or_default();
    blake3::Hash::from_bytes(hash).to_hex().to_string()
}

fn put_key(out: &mut Vec<u8>, key: Option<&Key>) {
    let text = key.map_or("", Key::as_str);
    // A key has at most 128 bytes: `limits::MAX_KEY_BYTES`.
    out.put_u8(text.len() as u8);
    out.put_slice(text.as_bytes());
}

/// Reads a part, document by document. What it has handed out is certain only after the end, where the hash is.
pub struct PartReader<R> {
    hashed: Hashed<R>,
    header: Header,
    left: u32,
    last: Option<Key>,
    ended: Option<blake3::Hash>,
    failed: bool,
}

impl<R: Read> PartReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// See [`PartError`].
    pub fn new(bytes: R) -> Result<Self, PartError> {
        let mut hashed = Hashed { bytes, hasher: blake3::Hasher::new() };
        match hashed.take::<8>() {
            Ok(magic) if magic == *MAGIC => {}
            Err(PartError::Read(error)) => return Err(PartError::Read(error)),
            _ => return Err(PartError::Foreign),
        }
        let version = u16::from_le_bytes(hashed.take()?);
        if version != VERSION {
            return Err(PartError::Version(version));
        }
        let flags = u16::from_le_bytes(hashed.take()?);
        if flags & !(CHANGES | LAST) != 0 {
            return Err(PartError::Damaged("it has unknown flags"));
        }
        let header = Header {
            changes: flags & CHANGES != 0,
            is_last: flags & LAST != 0,
            number: u32::from_le_bytes(hashed.take()?),
            count: u32::from_le_bytes(hashed.take()?),
            position: FeedPosition {
                major: u64::from_le_bytes(hashed.take()?),
                minor: u64::from_le_bytes(hashed.take()?),
            },
            first: hashed.key()?,
            last: hashed.key()?,
        };
        let left = header.count;
        Ok(Self { hashed, header, left, last: None, ended: None, failed: false })
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The hash of it, once it was read to its end.
    pub fn hash(&self) -> Option<blake3::Hash> {
        self.ended
    }

    fn document(&mut self) -> Result<Option<(Key, Document)>, PartError> {
        if self.ended.is_some() || self.failed {
            return Ok(None);
        }
        if self.left == 0 {
            return self.end().map(|()| None);
        }
        let key = self.hashed.key()?.ok_or(PartError::Damaged("a key is empty"))?;
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(PartError::Damaged("its keys are out of order"));
        }
        let length = u32::from_le_bytes(self.hashed.take()?) as usize;
        if length > MAX_ENVELOPE_BYTES {
            return Err(PartError::Damaged("a document is too large"));
        }
        let mut bytes = vec![0; length];
        self.hashed.fill(&mut bytes)?;
        if self.last.is_none() && self.header.first.as_ref() != Some(&key) {
            return Err(PartError::Damaged("its first key is not as it says"));
        }
        self.left -= 1;
        self.last = Some(key.clone());
        match envelope::decode(&bytes) {
            Ok(document) => Ok(Some((key, document))),
            Err(problem) => Err(PartError::Document { key, problem }),
        }
    }

    fn end(&mut self) -> Result<(), PartError> {
        if self.last != self.header.last {
            return Err(PartError::Damaged("its last key is not as it says"));
        }
        let hash = self.hashed.hasher.finalize();
        if self.hashed.take::<32>()? != *hash.as_bytes() {
            return Err(PartError::Damaged("its hash is another one"));
        }
        if self.hashed.bytes.read(&mut [0]).map_err(PartError::Read)? != 0 {
            return Err(PartError::Damaged("something follows its end"));
        }
        self.ended = Some(hash);
        Ok(())
    }
}

impl<R: Read> Iterator for PartReader<R> {
    type Item = Result<(Key, Document), PartError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.document();
        self.failed |= next.is_err();
        next.transpose()
    }
}

/// Bytes whose hash is taken as they are read.
struct Hashed<R> {
    bytes: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Hashed<R> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PartError> {
        self.bytes.read_exact(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => PartError::Damaged("it ends too early"),
            _ => PartError::Read(error),
        })?;
        self.hasher.update(buffer);
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], PartError> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn key(&mut self) -> Result<Option<Key>, PartError> {
        let [length] = self.take()?;
        if length == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::from(length)];
        self.fill(&mut bytes)?;
        let key = std::str::from_utf8(&bytes).ok().and_then(|text| Key::parse(text).ok());
        key.map(Some).ok_or(PartError::Damaged("a key is malformed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::Revision;
    use proptest::prelude::*;

    fn page() -> Page {
        let document = |revision, value: Option<&'static str>| Document {
            schema: 1,
            revision: Revision(revision),
            value: value.map(bytes::Bytes::from),
        };
        let key = |text| Key::parse(text).unwrap();
        let documents =
            vec![(key("a/1"), document(3, Some("{}"))), (key("a/2"), document(2, None))];
        Page { documents, position: FeedPosition { major: 7, minor: 1 }, is_last: true }
    }

    #[test]
    fn a_page_is_read_as_it_is_written() {
        for page in [page(), Page::default()] {
            assert_eq!(decode(&encode(0, false, &page)).unwrap(), page);
        }
        let bytes = encode(9, true, &page());
        let reader = PartReader::new(&*bytes).unwrap();
        let header = reader.header();
        assert_eq!((header.number, header.count, header.changes), (9, 2, true));
    }

    #[test]
    fn no_byte_can_be_changed_and_no_end_be_missing() {
        let bytes = encode(1, false, &page());
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x10;
            assert!(decode(&damaged).is_err(), "byte {place}");
            assert!(decode(&bytes[..place]).is_err(), "up to {place}");
        }
        let longer = [&*bytes, b"\0"].concat();
        assert!(decode(&longer).is_err());
    }

    #[test]
    fn a_newer_envelope_is_refused_with_its_key() {
        let mut bytes = encode(1, false, &page());
        let envelope = bytes.windows(3).position(|window| window == b"a/2").unwrap();
        // The second record: its key comes a third time, after first and last.
        let record = bytes[envelope + 3..].windows(3).position(|window| window == b"a/2").unwrap();
        let place = envelope + 3 + record + 3 + 4;
        assert_eq!(bytes[place], 1);
        bytes[place] = 2;
        let end = bytes.len() - 32;
        let hash = blake3::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(hash.as_bytes());
        let error = decode(&bytes).unwrap_err().to_string();
        assert!(error.contains("a/2") && error.contains("unknown version"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_part_or_refused(bytes: Vec<u8>, whole: bool) {
            let bytes = if whole { [&b"PELAGOPT\x01\0\0\0"[..], &bytes].concat() } else { bytes };
            drop(decode(&bytes));
        }
    }
}
