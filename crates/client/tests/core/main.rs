//! The core of the client against a node that is made by hand.
#![allow(clippy::unwrap_used, reason = "tests")]

mod commands;
mod connecting;
mod garbage;
mod node;
mod playing;

use std::path::Path;

/// The core decides; sockets, clocks and threads are its shell's.
#[test]
fn the_core_knows_no_socket_no_clock_and_no_thread() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("core.rs"), source.join("view.rs")];
    files.extend(std::fs::read_dir(source.join("core")).unwrap().map(|file| file.unwrap().path()));
    assert!(files.len() > 8, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for outside in ["tokio", "pelago_net", "std::net", "std::time", "std::thread", "async "] {
            assert!(!text.contains(outside), "{} has {outside}", file.display());
        }
    }
}
