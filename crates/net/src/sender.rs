//! The outgoing half of a connection: one write, nothing queued behind it.
//!
//! What the kernel does not take at once stays as one remainder. While there is one, the connection is
//! blocked and its owner sends nothing more: it knows better than a queue what to leave out.

use bytes::{Buf, Bytes, BytesMut};
use socket2::SockRef;
use std::io::{ErrorKind, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Bytes that wait for one connection; beyond it is closed.
pub const MAX_PENDING_BYTES: usize = 8 * 1024 * 1024;

/// What passed through connections.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes read.
    pub received: AtomicU64,
    /// Bytes written.
    pub sent: AtomicU64,
    /// Writes.
    pub writes: AtomicU64,
    /// Writes that the kernel did not take whole.
    pub blocked: AtomicU64,
}

/// How a send went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The kernel has it.
    Written,
    /// A part of it waits: nothing more should be sent until the connection says that it is writable.
    Blocked,
    /// The connection is gone.
    Closed,
}

/// A handle to write with; cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stream: Arc<TcpStream>,
    websocket: bool,
    traffic: Arc<Traffic>,
    /// Guards what waits to be written and whether more will come.
    pending: Mutex<Pending>,
    /// Told when something waits or the connection is to be closed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: BytesMut,
    closing: bool,
    broken: bool,
}

/// Why [`Sender::drained`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// The remainder is written.
    Writable,
    /// All is written and nothing more will come.
    Finished,
    /// The connection is broken.
    Broken,
}

impl Sender {
    pub(crate) fn new(stream: Arc<TcpStream>, websocket: bool, traffic: Arc<Traffic>) -> Self {
        let pending = Mutex::new(Pending::default());
        let shared = Shared { stream, websocket, traffic, pending, changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // Nothing is left half done under the lock.
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes whole messages, as one WebSocket message if it is one.
    pub fn send(&self, bytes: &Bytes) -> SendOutcome {
        let mut header = [0; 10];
        let header = if self.shared.websocket {
            let length = websocket_header(bytes.len(), &mut header);
            &header[..length]
        } else {
            &[]
        };
        let mut pending = self.pending();
        if pending.closing || pending.broken {
            return SendOutcome::Closed;
        }
        if !pending.bytes.is_empty() {
            // Sent before its owner could know: it waits behind, so that nothing is lost.
            pending.bytes.extend_from_slice(header);
            pending.bytes.extend_from_slice(bytes);
            pending.broken |= pending.bytes.len() > MAX_PENDING_BYTES;
            return SendOutcome::Blocked;
        }
        self.write(&mut pending, header, bytes)
    }

    /// Writes bytes that are a frame already, in their turn.
    pub(crate) fn send_raw(&self, bytes: &[u8]) {
        let mut pending = self.pending();
        if pending.bytes.is_empty() {
            self.write(&mut pending, &[], bytes);
        } else {
            pending.bytes.extend_from_slice(bytes);
        }
    }

    fn write(&self, pending: &mut Pending, header: &[u8], bytes: &[u8]) -> SendOutcome {
        let mut slices = [IoSlice::new(header), IoSlice::new(bytes)];
        let slices = if header.is_empty() { &mut slices[1..] } else { &mut slices[..] };
        let total = header.len() + bytes.len();
        self.shared.traffic.writes.fetch_add(1, Ordering::Relaxed);
        let written = match self.shared.stream.try_write_vectored(slices) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                pending.broken = true;
                self.shared.changed.notify_one();
                return SendOutcome::Closed;
            }
        };
        self.shared.traffic.sent.fetch_add(written as u64, Ordering::Relaxed);
        if written == total {
            return SendOutcome::Written;
        }
        self.shared.traffic.blocked.fetch_add(1, Ordering::Relaxed);
        let of_header = written.min(header.len());
        pending.bytes.extend_from_slice(&header[of_header..]);
        pending.bytes.extend_from_slice(&bytes[written - of_header..]);
        pending.broken |= pending.bytes.len() > MAX_PENDING_BYTES;
        self.shared.changed.notify_one();
        SendOutcome::Blocked
    }

    /// Ends the connection once everything is written.
    pub fn close(&self) {
        self.pending().closing = true;
        self.shared.changed.notify_one();
    }

    /// Waits until a remainder was written, or until the end. Safe to cancel.
    pub(crate) async fn drained(&self) -> Drained {
        loop {
            {
                let mut pending = self.pending();
                let had = !pending.bytes.is_empty();
                while !pending.bytes.is_empty() && !pending.broken {
                    match self.shared.stream.try_write(&pending.bytes) {
                        Ok(written) => {
                            self.shared.traffic.sent.fetch_add(written as u64, Ordering::Relaxed);
                            pending.bytes.advance(written);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(_) => pending.broken = true,
                    }
                }
                if pending.broken {
                    return Drained::Broken;
                }
                if pending.bytes.is_empty() {
                    pending.bytes = BytesMut::new();
                    if pending.closing {
                        return Drained::Finished;
                    }
                    if had {
                        return Drained::Writable;
                    }
                }
            }
            let waits = !self.pending().bytes.is_empty();
            if waits {
                if self.shared.stream.writable().await.is_err() {
                    return Drained::Broken;
                }
            } else {
                self.shared.changed.notified().await;
            }
        }
    }

    /// Tells the other side that nothing more comes.
    pub(crate) fn shut_down(&self) {
        // The other side may have gone first.
        drop(SockRef::from(&*self.shared.stream).shutdown(Shutdown::Write));
    }
}

/// The header of an unmasked binary frame (RFC 6455, section 5.2); returns its length.
fn websocket_header(length: usize, header: &mut [u8; 10]) -> usize {
    header[0] = 0x82;
    if length < 126 {
        header[1] = length as u8;
        2
    } else if let Ok(length) = u16::try_from(length) {
        header[1] = 126;
        header[2..4].copy_from_slice(&length.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        10
    }
}
