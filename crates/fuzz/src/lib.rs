//! What is done with arbitrary bytes: every target is a plain `fn(&[u8])` that panics where an invariant is broken.
//!
//! The invariants: no bytes make a decoder or a machine panic; what decodes means the same when it is encoded and
//! decoded again; nothing larger than the bytes comes out of them. `fuzz/` runs the targets under coverage guidance,
//! `tests/smoke.rs` over their seeds and random changes of them.

mod input;
mod machine;
pub mod seeds;
mod targets;

/// A target: its name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 5] = [
    ("client", targets::client::run),
    ("peer", targets::peer::run),
    ("framing", targets::framing::run),
    ("document", targets::document::run),
    ("machine", machine::run),
];

/// Runs the target of this name.
///
/// # Panics
/// If an invariant is broken, or there is no such target.
pub fn run(target: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    let (_, run) = found.expect("a target of this name");
    run(bytes);
}
