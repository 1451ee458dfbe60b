//! The threads on which what clients send is read and answered: others than those of the machines, so that the kernel gives
//! lanes their turn however many strangers there are and whatever they send.

use std::io;
use std::sync::OnceLock;
use tokio::runtime::{Builder, Handle, Runtime};

/// Those of all nodes of this process. They end with it.
static THREADS: OnceLock<Runtime> = OnceLock::new();

/// Where to start what serves clients: sockets, and the HTTP that players see. As many threads as there are cores.
///
/// # Errors
/// That of the system, if it has no threads left.
pub fn client_threads() -> io::Result<&'static Handle> {
    if THREADS.get().is_none() {
        let threads = Builder::new_multi_thread().thread_name("clients").enable_all().build()?;
        if let Err(too_many) = THREADS.set(threads) {
            // Another node was faster.
            too_many.shutdown_background();
        }
    }
    THREADS.get().map(Runtime::handle).ok_or_else(|| io::Error::other("no threads for clients"))
}
