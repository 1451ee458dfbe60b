//! Bytes that must never be seen: not in logs, not in panics.

use bytes::Bytes;
use std::fmt;

/// A token or key. Formatting it shows nothing of it, not even its length.
///
/// It can only be compared by what is made of it: code that owns secrets hashes them, and compares hashes in
/// constant time.
#[derive(Clone)]
pub struct Secret(Bytes);

impl Secret {
    /// Takes the bytes in.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for hashing, or for sending to whom they belong.
    pub fn reveal(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatting_shows_nothing() {
        let secret = Secret::new(&b"correct horse battery staple"[..]);
        assert_eq!(format!("{:?} {:#?}", secret, Some(&secret)).matches("Secret(..)").count(), 2);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
