//! The outgoing half of a connection: one write, nothing queued behind it.
//!
//! Bytes that the kernel does not take at once stay as one remainder. While there is one, the connection is blocked and
//! its owner sends nothing more: it knows better than a queue what to leave out. Under TLS the same holds for records:
//! what is sealed is written once, and the rest is the remainder. Of what many connections send, each keeps its remainder
//! by reference, so that a reader that does not read it costs nothing.

use crate::tls::TlsSession;
use crate::traffic::Traffic;
use bytes::{Buf, Bytes, BytesMut};
use pelago_model::Limit;
use socket2::SockRef;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Bytes that wait for one connection; beyond it is closed.
pub const MAX_PENDING_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of answers to pings that wait for one connection; beyond that the connection is closed, since a client that
/// pings has to read.
const MAX_PENDING_CONTROL_BYTES: usize = 64 * 1024;
/// Shared bytes that are sealed at once under TLS: a record has at most as many (RFC 8446, section 5.1).
const SEALED_AT_ONCE_BYTES: usize = 16 * 1024;
/// How long the other side may take to read the remainder once we have closed; then the rest is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How a send went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The kernel has it.
    Written,
    /// A part of it waits: nothing more should be sent until the connection says that it is writable.
    Blocked,
    /// Nothing of it was taken, because something waits already. Only [`Sender::try_send`] says so.
    Refused,
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
    /// Of the connection, for recordings.
    number: u32,
    /// Guards what waits to be written and whether more will come.
    pending: Mutex<Pending>,
    /// Told when something waits or the connection is to be closed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: BytesMut,
    /// What comes behind them and others hold, too: plaintext, also under TLS.
    shared: Bytes,
    /// How many of the bytes that waited since the last drain are control frames.
    control_bytes: usize,
    /// Seals what is sent, if the connection is encrypted.
    tls: Option<TlsSession>,
    /// When we closed.
    closing: Option<Instant>,
    /// Why nothing can be written any more.
    end: Option<Drained>,
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
    /// The other side does not read what it is sent.
    TooSlow,
}

impl Pending {
    fn fail(&mut self, end: Drained) {
        self.end = Some(end);
        self.bytes = BytesMut::new();
        self.shared = Bytes::new();
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.shared.is_empty()
    }

    /// Puts shared bytes that wait, at most so many, behind the remainder as they go over the wire.
    fn unshare(&mut self, most: usize) {
        let length = most.min(self.shared.len());
        let part = self.shared.split_to(length);
        if let Some(tls) = &mut self.tls {
            if tls.seal(&[IoSlice::new(&part)]).is_err() {
                return self.fail(Drained::Broken);
            }
            tls.move_to(&mut self.bytes);
        } else {
            self.bytes.extend_from_slice(&part);
        }
        if self.shared.is_empty() {
            // An empty slice would keep what it is a slice of.
            self.shared = Bytes::new();
        }
    }

    /// Puts slices behind the remainder, without their first `skip` bytes. Under TLS nothing can be skipped.
    fn append(&mut self, slices: &[IoSlice<'_>], mut skip: usize) -> SendOutcome {
        if !self.shared.is_empty() {
            self.unshare(usize::MAX);
        }
        if self.end.is_some() {
            return SendOutcome::Closed;
        }
        if let Some(tls) = &mut self.tls {
            if tls.seal(slices).is_err() {
                self.fail(Drained::Broken);
                return SendOutcome::Closed;
            }
            tls.move_to(&mut self.bytes);
            return self.limited();
        }
        for slice in slices {
            let skipped = skip.min(slice.len());
            self.bytes.extend_from_slice(&slice[skipped..]);
            skip -= skipped;
        }
        self.limited()
    }

    fn limited(&mut self) -> SendOutcome {
        if self.bytes.len() <= MAX_PENDING_BYTES {
            return SendOutcome::Blocked;
        }
        self.fail(Drained::TooSlow);
        SendOutcome::Closed
    }
}

impl Sender {
    pub(crate) fn new(
        stream: Arc<TcpStream>,
        websocket: bool,
        tls: Option<TlsSession>,
        traffic: Arc<Traffic>,
        number: u32,
    ) -> Self {
        let pending = Mutex::new(Pending { tls, ..Pending::default() });
        let shared = Shared { stream, websocket, traffic, number, pending, changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // Nothing is left half done under the lock.
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes whole messages, as one WebSocket message if it is one. What is sent while something waits
    /// already, before its owner could know, waits behind it.
    pub fn send(&self, bytes: &Bytes) -> SendOutcome {
        let mut header = [0; 10];
        let header = self.header(bytes.len(), &mut header);
        let slices = [IoSlice::new(header), IoSlice::new(bytes)];
        let slices = if header.is_empty() { &slices[1..] } else { &slices[..] };
        let mut pending = self.pending();
        if pending.closing.is_some() || pending.end.is_some() {
            return SendOutcome::Closed;
        }
        if pending.is_empty() {
            return self.write(&mut pending, slices);
        }
        let outcome = pending.append(slices, 0);
        if outcome == SendOutcome::Closed {
            self.shared.traffic.note(Limit::PendingBytes);
            self.shared.changed.notify_one();
        }
        outcome
    }

    /// Writes whole messages out of several shared slices, by one write and as one WebSocket message if it is
    /// one. While something waits already, nothing is taken.
    pub fn try_send(&self, slices: &[Bytes]) -> SendOutcome {
        let total = slices.iter().map(Bytes::len).sum();
        let mut header = [0; 10];
        let header = self.header(total, &mut header);
        let mut parts = Vec::with_capacity(slices.len() + 1);
        parts.push(IoSlice::new(header));
        parts.extend(slices.iter().map(|slice| IoSlice::new(slice)));
        let mut pending = self.pending();
        if pending.closing.is_some() || pending.end.is_some() {
            SendOutcome::Closed
        } else if !pending.is_empty() {
            SendOutcome::Refused
        } else if total == 0 {
            SendOutcome::Written
        } else {
            self.write(&mut pending, &parts)
        }
    }

    /// Writes a message whose end many connections send, as one WebSocket message if it is one. What the kernel does not
    /// take of that end is kept by reference. While something waits already, nothing is taken.
    pub fn send_shared(&self, head: &[u8], body: &Bytes) -> SendOutcome {
        let total = head.len() + body.len();
        let mut header = [0; 10];
        let header = self.header(total, &mut header);
        let mut pending = self.pending();
        if pending.closing.is_some() || pending.end.is_some() {
            return SendOutcome::Closed;
        }
        if !pending.is_empty() {
            return SendOutcome::Refused;
        }
        self.shared.traffic.writes.fetch_add(1, Ordering::Relaxed);
        self.shared.traffic.recorder.note(self.shared.number, header.len() + total, false);
        if pending.append(&[IoSlice::new(header), IoSlice::new(head)], 0) != SendOutcome::Closed {
            pending.shared = body.clone();
            self.write_remainder(&mut pending);
        }
        if pending.end.is_some() {
            self.shared.changed.notify_one();
            return SendOutcome::Closed;
        }
        if pending.is_empty() {
            (pending.bytes, pending.shared) = (BytesMut::new(), Bytes::new());
            return SendOutcome::Written;
        }
        self.shared.traffic.blocked.fetch_add(1, Ordering::Relaxed);
        self.shared.changed.notify_one();
        SendOutcome::Blocked
    }

    /// Whether something waits because the other side does not read.
    pub fn is_blocked(&self) -> bool {
        !self.pending().is_empty()
    }

    /// Writes bytes that are control frames already, in their turn.
    pub(crate) fn send_raw(&self, bytes: &[u8]) {
        let mut pending = self.pending();
        if pending.end.is_some() {
            return;
        }
        let slices = [IoSlice::new(bytes)];
        if pending.is_empty() {
            self.write(&mut pending, &slices);
            return;
        }
        if self.may_wait(&mut pending, bytes.len()) {
            pending.append(&slices, 0);
        }
    }

    /// Whether this much more that the other side has caused may wait.
    fn may_wait(&self, pending: &mut Pending, control_bytes: usize) -> bool {
        pending.control_bytes += control_bytes;
        let may = pending.control_bytes <= MAX_PENDING_CONTROL_BYTES;
        if !may {
            self.shared.traffic.note(Limit::PendingPongs);
            pending.fail(Drained::TooSlow);
            self.shared.changed.notify_one();
        }
        may
    }

    /// The socket, to read from.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.shared.stream
    }

    /// Whether what is received has to be opened.
    pub(crate) fn is_sealed(&self) -> bool {
        self.pending().tls.is_some()
    }

    /// Opens what was received over TLS and appends the plaintext; `false` once the other side has said goodbye.
    pub(crate) fn open(&self, received: &[u8], plaintext: &mut BytesMut) -> io::Result<bool> {
        let mut pending = self.pending();
        let Some(tls) = &mut pending.tls else { return Ok(false) };
        let opened = tls.open(received, plaintext);
        // TLS itself may have something to say: a change of keys, an alert.
        if tls.has_records() && pending.end.is_none() {
            if pending.is_empty() {
                self.write_records(&mut pending);
            } else {
                let Pending { tls, bytes, .. } = &mut *pending;
                let moved = tls.as_mut().map_or(0, |tls| tls.move_to(bytes));
                self.may_wait(&mut pending, moved);
            }
        }
        opened
    }

    fn header<'a>(&self, length: usize, header: &'a mut [u8; 10]) -> &'a [u8] {
        let used = if self.shared.websocket { websocket_header(length, header) } else { 0 };
        &header[..used]
    }

    fn write(&self, pending: &mut Pending, slices: &[IoSlice<'_>]) -> SendOutcome {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        self.shared.traffic.writes.fetch_add(1, Ordering::Relaxed);
        self.shared.traffic.recorder.note(self.shared.number, total, false);
        if let Some(tls) = &mut pending.tls {
            if tls.seal(slices).is_err() {
                pending.fail(Drained::Broken);
                self.shared.changed.notify_one();
                return SendOutcome::Closed;
            }
            return self.write_records(pending);
        }
        let written = match slices {
            // One slice needs no list of slices.
            [slice] => self.shared.stream.try_write(slice),
            slices => self.shared.stream.try_write_vectored(slices),
        };
        let written = match written {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                pending.fail(Drained::Broken);
                self.shared.changed.notify_one();
                return SendOutcome::Closed;
            }
        };
        self.shared.traffic.sent.fetch_add(written as u64, Ordering::Relaxed);
        if written == total {
            return SendOutcome::Written;
        }
        self.shared.traffic.blocked.fetch_add(1, Ordering::Relaxed);
        let outcome = pending.append(slices, written);
        self.shared.changed.notify_one();
        outcome
    }

    /// Writes the records that wait; what the kernel does not take at once is the remainder.
    fn write_records(&self, pending: &mut Pending) -> SendOutcome {
        let Some(tls) = &mut pending.tls else { return SendOutcome::Closed };
        match tls.write_to(&self.shared.stream) {
            Ok(written) => {
                self.shared.traffic.sent.fetch_add(written as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {
                pending.fail(Drained::Broken);
                self.shared.changed.notify_one();
                return SendOutcome::Closed;
            }
        }
        if !tls.has_records() {
            return SendOutcome::Written;
        }
        self.shared.traffic.blocked.fetch_add(1, Ordering::Relaxed);
        tls.move_to(&mut pending.bytes);
        let outcome = pending.limited();
        self.shared.changed.notify_one();
        outcome
    }

    /// Ends the connection once everything is written, or the other side has had its time to read it.
    pub fn close(&self) {
        self.pending().closing.get_or_insert_with(Instant::now);
        self.shared.changed.notify_one();
    }

    /// Waits until a remainder was written, or until the end. Safe to cancel.
    pub(crate) async fn drained(&self) -> Drained {
        loop {
            let (blocked, deadline) = {
                let mut pending = self.pending();
                let had = !pending.is_empty();
                self.write_remainder(&mut pending);
                if let Some(end) = pending.end {
                    return end;
                }
                let blocked = !pending.is_empty();
                if !blocked {
                    pending.bytes = BytesMut::new();
                    pending.shared = Bytes::new();
                    pending.control_bytes = 0;
                    if pending.closing.is_some() {
                        return Drained::Finished;
                    }
                    if had {
                        return Drained::Writable;
                    }
                }
                (blocked, pending.closing.map(|since| since + CLOSE_TIMEOUT))
            };
            let too_late = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ready = self.shared.stream.writable(), if blocked => if ready.is_err() {
                    return Drained::Broken;
                },
                () = self.shared.changed.notified() => {}
                () = too_late => {
                    self.shared.traffic.note(Limit::CloseTime);
                    self.pending().fail(Drained::TooSlow);
                }
            }
        }
    }

    fn write_remainder(&self, pending: &mut Pending) {
        while !pending.is_empty() {
            if pending.bytes.is_empty() && pending.tls.is_some() {
                pending.unshare(SEALED_AT_ONCE_BYTES);
            }
            let slices = match pending.tls {
                Some(_) => [IoSlice::new(&pending.bytes), IoSlice::new(&[])],
                None => [IoSlice::new(&pending.bytes), IoSlice::new(&pending.shared)],
            };
            match self.shared.stream.try_write_vectored(&slices) {
                Ok(written) => {
                    self.shared.traffic.sent.fetch_add(written as u64, Ordering::Relaxed);
                    let of_bytes = written.min(pending.bytes.len());
                    pending.bytes.advance(of_bytes);
                    pending.shared.advance(written - of_bytes);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => pending.fail(Drained::Broken),
            }
        }
    }

    /// Tells the other side that nothing more comes.
    pub(crate) fn shut_down(&self) {
        let mut pending = self.pending();
        // Behind a remainder that nobody has read it would be garbage.
        if pending.is_empty()
            && let Some(tls) = &mut pending.tls
        {
            tls.say_goodbye();
            self.write_records(&mut pending);
        }
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
