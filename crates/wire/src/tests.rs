//! What holds for everything that is written and read here.

mod calls;
mod control;
mod frozen;
mod json;
mod records;
mod strategies;
mod streams;
mod total;
mod vectors;
mod vectors_of_peers;
mod vectors_of_streams;

use crate::negotiate;
use crate::varint::Reader;
use bytes::Bytes;

/// The bytes of hexadecimal digits; blanks are for the eye.
fn bytes(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// The hexadecimal digits of bytes.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Kind and payload of one whole message.
fn unframe(message: &Bytes) -> (u8, Bytes) {
    let mut reader = Reader::new(message);
    let len: usize = reader.number().unwrap();
    assert_eq!(len, reader.remaining());
    (reader.u8().unwrap(), reader.rest())
}

#[test]
fn neighbouring_versions_understand_each_other() {
    assert_eq!(negotiate((1, 3), (2, 5)), Some(3));
    assert_eq!(negotiate((1, 1), (2, 5)), None);
    assert_eq!(negotiate((4, 4), (2, 5)), Some(4));
    assert_eq!(negotiate((5, 1), (1, 9)), None);
}
