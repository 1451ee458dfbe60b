//! What is said once the world is ready: where everything is.

use crate::output::announce;
use pelago_runtime::Node;
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where everything is.
pub(super) struct Announcement {
    /// For players.
    pub(super) http: SocketAddr,
    /// For operators.
    pub(super) operators: SocketAddr,
    /// Whether HTTP is encrypted.
    pub(super) encrypted: bool,
    /// Of the certificate, if there is one.
    pub(super) fingerprint: Option<String>,
    /// Where the admin token is, if it is kept with the world.
    pub(super) token_file: Option<PathBuf>,
    /// The admin token, if it was made just now. It is told to a person, and this once.
    pub(super) made_token: Option<String>,
}

impl Announcement {
    /// Says it, as a line of JSON or to a person.
    pub(super) fn make(self, nodes: &[Node], bots: usize, as_json: bool) {
        let scheme = if self.encrypted { "https" } else { "http" };
        let http = format!("{scheme}://{}", self.http);
        let operators = format!("{scheme}://{}", self.operators);
        if as_json {
            let tcp: Vec<_> = nodes.iter().map(|node| node.addresses().tcp.to_string()).collect();
            let ws: Vec<_> = nodes.iter().map(|node| node.addresses().websocket_url()).collect();
            announce(json!({
                "http": http,
                "operators": operators,
                "tcp": tcp,
                "ws": ws,
                "fingerprint": self.fingerprint,
                "admin_token_file": self.token_file,
            }));
            return;
        }
        let mut lines = vec![format!("\n  The world is running: {http}/\n")];
        if let Some(fingerprint) = &self.fingerprint {
            lines.push(format!("  SHA-256 of the certificate: {fingerprint}\n"));
        }
        lines.push(format!("  For operators: {operators}/"));
        if let Some(file) = &self.token_file {
            lines.push(format!("  The admin token is in {}", file.display()));
        }
        if let Some(token) = &self.made_token {
            lines.push(format!("  It was made just now, and is shown this once: {token}"));
        }
        lines.push(format!("\n  {} nodes, {bots} bots; Ctrl-C stops it.\n", nodes.len()));
        announce(lines.join("\n"));
    }
}
