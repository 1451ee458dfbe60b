//! For operators: the HTTP API, metrics, and the sink that follows the store's feed. And what players are served over HTTP,
//! on a listener of its own: the page, content, and the way to the nodes.
#![allow(clippy::disallowed_methods, reason = "operators' clocks are the host's")]

mod answer;
pub mod api;
pub mod books;
pub mod http_client;
mod measured_store;
pub mod metrics;
pub mod players;
mod retention;
pub mod serve;
mod sink;
pub mod token;

pub use measured_store::MeasuredStore;
pub use retention::{Retention, RetentionConfig};
pub use serve::{Serving, serve};
pub use sink::{Following, Sink, SinkConfig};
