//! Variable-length integers, and a reader of bytes that never panics.

use crate::Malformed;
use bytes::{BufMut, Bytes};

/// Appends an unsigned LEB128 number.
pub fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Appends a signed number in zigzag form.
pub fn put_svarint(out: &mut impl BufMut, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// The bytes that [`put_varint`] would append.
pub const fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Reads from the front of some bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Everything that is left, shared.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.bytes.slice(self.at..);
        self.at = self.bytes.len();
        rest
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let byte = self.bytes.get(self.at).copied().ok_or(Malformed::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// Eight bytes, little-endian.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let end = self.at + 8;
        let bytes = self.bytes.get(self.at..end).ok_or(Malformed::Truncated)?;
        self.at = end;
        bytes.try_into().map(u64::from_le_bytes).map_err(|_| Malformed::Truncated)
    }

    /// An unsigned number in its shortest form.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if (shift == 63 && bits > 1) || (shift > 0 && byte == 0) {
                return Err(Malformed::Varint);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Varint)
    }

    /// A signed number in zigzag form.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn svarint(&mut self) -> Result<i64, Malformed> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number that fits its type.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn number<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.varint()?).map_err(|_| Malformed::OutOfRange)
    }

    /// A signed number that fits an i32.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn signed(&mut self) -> Result<i32, Malformed> {
        i32::try_from(self.svarint()?).map_err(|_| Malformed::OutOfRange)
    }

    /// That many bytes, shared.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn bytes(&mut self, count: usize) -> Result<Bytes, Malformed> {
        if count > self.remaining() {
            return Err(Malformed::Truncated);
        }
        let bytes = self.bytes.slice(self.at..self.at + count);
        self.at += count;
        Ok(bytes)
    }

    /// A length of at most `limit`, and that many bytes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn prefixed(&mut self, limit: usize) -> Result<Bytes, Malformed> {
        let count: usize = self.number()?;
        if count > limit {
            return Err(Malformed::TooLong);
        }
        self.bytes(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn longer_forms_are_malformed() {
        for (bytes, error) in [
            (&[0x80, 0x00][..], Malformed::Varint),
            (&[0xff; 11], Malformed::Varint),
            (&[0x80], Malformed::Truncated),
        ] {
            let bytes = Bytes::copy_from_slice(bytes);
            assert_eq!(Reader::new(&bytes).varint(), Err(error));
        }
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_they_are_written(value: u64, signed: i64) {
            let mut out = bytes::BytesMut::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            put_svarint(&mut out, signed);
            let bytes = out.freeze();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.svarint(), Ok(signed));
            prop_assert!(reader.is_empty());
        }
    }
}
