//! Sockets, framing, backpressure: TCP and WebSocket behind one face. Knows no game.

pub mod connection;
pub mod framing;
pub mod hosts;
pub mod listener;
pub mod open_files;
pub mod origins;
pub mod proxies;
pub mod recording;
pub mod sender;
pub mod tls;
pub mod traffic;
mod websocket;

pub use connection::{Connection, Event, ReceiveError, Transport, Upgraded};
pub use framing::{Deframer, Malformed};
pub use hosts::{AllowedHosts, HostRule};
pub use listener::{BindError, Listener};
pub use open_files::{OpenFiles, raise_open_files};
pub use origins::{Admitted, Counted, CrowdLimits, Origins};
pub use proxies::TrustedProxies;
pub use sender::{SendOutcome, Sender};
pub use tls::{Fingerprint, ServerTls, TlsError, TlsStream, Trust};
pub use traffic::Traffic;
pub use websocket::accept_key;
