//! What a client takes instead of plain bytes, as its `Accept-Encoding` says.

use axum::http::{HeaderMap, header};

/// How an answer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Brotli,
    Gzip,
    Plain,
}

impl Encoding {
    /// All that save bytes, the best first.
    pub(super) const PACKED: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// As HTTP has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Plain => "identity",
        }
    }

    /// Whether a client takes it.
    pub(super) fn is_accepted(self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
        let mut offers =
            values.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
        offers.any(|offer| {
            let (name, weight) = offer.split_once(';').unwrap_or((offer, ""));
            let refused = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok());
            name.trim().eq_ignore_ascii_case(self.name()) && refused != Some(0.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_it_takes() {
        for (accept, brotli, gzip) in [
            ("gzip, deflate, br, zstd", true, true),
            ("gzip;q=0.5, br;q=0", false, true),
            ("GZIP", false, true),
            ("br;q=0.000,identity", false, false),
            ("", false, false),
        ] {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT_ENCODING, accept.parse().unwrap())]);
            assert_eq!(Encoding::Brotli.is_accepted(&headers), brotli, "{accept}");
            assert_eq!(Encoding::Gzip.is_accepted(&headers), gzip, "{accept}");
        }
        assert!(!Encoding::Gzip.is_accepted(&HeaderMap::new()));
    }
}
