//! Content by hash. What has a hash never changes, so everybody may keep it for ever; it is packed once, when somebody asks
//! for it first.

use super::App;
use super::encoding::Encoding;
use crate::answer::problem;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use pelago_game::ContentHash;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};

/// The content that clients may fetch.
pub struct Content(BTreeMap<ContentHash, Piece>);

struct Piece {
    plain: Bytes,
    /// `None` if packing does not save an eighth.
    packed: OnceLock<Option<Bytes>>,
}

impl Content {
    /// These pieces.
    pub fn new(pieces: BTreeMap<ContentHash, Bytes>) -> Self {
        let piece = |plain| Piece { plain, packed: OnceLock::new() };
        Self(pieces.into_iter().map(|(hash, plain)| (hash, piece(plain))).collect())
    }
}

impl Piece {
    fn packed(&self) -> Option<&Bytes> {
        let packed = self.packed.get_or_init(|| {
            let mut packer = GzEncoder::new(Vec::new(), Compression::best());
            packer.write_all(&self.plain).ok()?;
            let packed = packer.finish().ok()?;
            (packed.len() < self.plain.len() / 8 * 7).then(|| packed.into())
        });
        packed.as_ref()
    }
}

pub(super) async fn by_hash(
    State(app): State<Arc<App>>,
    Path(hash): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = hash.parse().ok().and_then(|hash: ContentHash| app.content.0.get(&hash));
    let Some(piece) = found else {
        return problem(StatusCode::NOT_FOUND, "not_found", "there is no such content");
    };
    let accepted = Encoding::Gzip.is_accepted(&headers);
    let packed = accepted.then(|| piece.packed()).flatten();
    let about = [
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::VARY, "Accept-Encoding"),
    ];
    match packed {
        Some(packed) => {
            let encoding = [(header::CONTENT_ENCODING, Encoding::Gzip.name())];
            (about, encoding, packed.clone()).into_response()
        }
        None => (about, piece.plain.clone()).into_response(),
    }
}
