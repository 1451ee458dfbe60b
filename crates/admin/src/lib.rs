//! For operators: the HTTP API, metrics, the page's files, and the sink that follows the store's feed.
#![allow(clippy::disallowed_methods, reason = "operators' clocks are the host's")]

pub mod api;
pub mod books;
pub mod http_client;
mod measured_store;
pub mod metrics;
mod retention;
mod sink;

pub use measured_store::MeasuredStore;
pub use retention::{Retention, RetentionConfig};
pub use sink::{Following, Sink, SinkConfig};
