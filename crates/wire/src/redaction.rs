//! What control messages show of themselves in logs.

use crate::client::Hello;
use std::fmt;

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("oldest_version", &self.oldest_version)
            .field("newest_version", &self.newest_version)
            .field("name", &self.name)
            .field("arrival", &self.arrival)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_does_not_show_its_token() {
        let hello =
            Hello { token: bytes::Bytes::from_static(b"open sesame open"), ..Hello::default() };
        let shown = format!("{:?} {:?}", hello, hello.token.len());
        assert!(!shown.contains("sesame"), "{shown}");
        let message = crate::client::client_message::Body::Hello(hello);
        assert!(!format!("{message:#?}").contains("sesame"));
    }
}
