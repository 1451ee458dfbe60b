//! The page that players open, embedded when the program was built.

use super::problem;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

/// The built page.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Page;

pub(super) async fn page(uri: Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let Some(file) = Page::get(path) else {
        if path == "index.html" {
            let text = "this binary was built without the page: build web/ first\n";
            return (StatusCode::NOT_FOUND, text).into_response();
        }
        return problem(StatusCode::NOT_FOUND, "not_found", "there is no such page");
    };
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json") => "application/json",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    };
    ([(header::CONTENT_TYPE, kind)], file.data.into_owned()).into_response()
}
