//! The page that players open, embedded when the program was built, with the packed forms that were built with it.

use super::encoding::Encoding;
use crate::answer::{problem, text};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

/// The built page.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Page;

/// Where the builder puts files whose names have the hash of what is in them.
const HASHED: &str = "assets/";

pub(super) async fn page(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "method", "the page can be read only");
    }
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let Some((encoding, file)) = find(path, &headers) else {
        if path == "index.html" {
            let text = "this binary was built without the page: build web/ first\n";
            return (StatusCode::NOT_FOUND, text).into_response();
        }
        return problem(StatusCode::NOT_FOUND, "not_found", "there is no such page");
    };
    // What is not named by its hash is asked for again each time, and sent again if it is another one.
    let keep = match path.starts_with(HASHED) {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let hash = file.metadata.sha256_hash();
    let tag: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let about =
        [(header::CACHE_CONTROL, keep), (header::ETAG, &*tag), (header::VARY, "Accept-Encoding")];
    let known = text(&headers, header::IF_NONE_MATCH).unwrap_or_default();
    if known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    let kind = [(header::CONTENT_TYPE, kind_of(path))];
    let data = file.data.into_owned();
    match encoding {
        Encoding::Plain => (about, kind, data).into_response(),
        packed => (about, kind, [(header::CONTENT_ENCODING, packed.name())], data).into_response(),
    }
}

/// The best form that there is and that the client takes.
fn find(path: &str, headers: &HeaderMap) -> Option<(Encoding, EmbeddedFile)> {
    let packed = Encoding::PACKED.into_iter().find_map(|encoding| {
        let suffix = match encoding {
            Encoding::Brotli => "br",
            _ => "gz",
        };
        let accepted = encoding.is_accepted(headers);
        let file = accepted.then(|| Page::get(&format!("{path}.{suffix}"))).flatten()?;
        Some((encoding, file))
    });
    packed.or_else(|| Some((Encoding::Plain, Page::get(path)?)))
}

fn kind_of(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json") => "application/json",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}
