//! A WebSocket that a library reads, and whose writes are ours.
//!
//! The library does the handshake, unmasks and reassembles; what it writes itself (pongs, closes) goes
//! through the same [`Sender`] as our data, whole frame by whole frame.

use crate::framing::SHORT_BYTES;
use crate::sender::Sender;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use ring::digest::{Context as Digest, SHA1_FOR_LEGACY_USE_ONLY};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};

/// Bytes of a handshake; a longer one is refused. As much as Node.js takes of headers by default.
const MAX_HANDSHAKE_BYTES: usize = 16 * 1024;
/// What is hashed with the key of a handshake (RFC 6455, section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a server answers to the key of a client's handshake (RFC 6455, section 4.2.2).
pub fn accept_key(key: &[u8]) -> String {
    let mut digest = Digest::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(KEY_SUFFIX);
    STANDARD.encode(digest.finish())
}

/// The stream that the library sees.
#[derive(Debug)]
pub(crate) struct Duplex {
    stream: Arc<TcpStream>,
    sender: Sender,
    control: Vec<u8>,
    /// Bytes that the handshake may still read; `None` after it.
    allowance: Option<usize>,
    /// What was read before the stream came here.
    before: Bytes,
    /// What TLS has opened and nobody has read yet; `None` if nothing is encrypted.
    opened: Option<BytesMut>,
    /// When the first byte came of a message that is not complete.
    unfinished: Option<Instant>,
    /// How long one may be unfinished.
    patience: Duration,
    stalled: bool,
}

impl Duplex {
    /// A stream of which something may have been read `before`.
    pub(crate) fn new(stream: Arc<TcpStream>, sender: Sender, before: Bytes) -> Self {
        let opened = sender.is_sealed().then(BytesMut::new);
        Self {
            stream,
            sender,
            control: Vec::new(),
            allowance: Some(MAX_HANDSHAKE_BYTES),
            before,
            opened,
            unfinished: None,
            patience: Duration::MAX,
            stalled: false,
        }
    }

    /// How long a message may take from its first to its last byte.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// A message is complete.
    pub(crate) fn finished(&mut self) {
        self.unfinished = None;
    }

    /// Whether the end came because a message was unfinished for too long.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Bytes have come of a message after the handshake; whether they came in time.
    fn progress(&mut self) -> bool {
        if self.allowance.is_none() {
            let since = *self.unfinished.get_or_insert_with(Instant::now);
            self.stalled = since.elapsed() > self.patience;
        }
        !self.stalled
    }

    /// Lifts the limit of the handshake: from here on the library limits what it reads.
    pub(crate) fn shake_hands(&mut self) {
        self.allowance = None;
    }

    /// Reads until a record brings something.
    fn poll_opened(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, sender, opened: Some(opened), .. } = self else {
            return Poll::Ready(Ok(()));
        };
        if opened.is_empty() && !sender.open(&[], opened)? {
            return Poll::Ready(Ok(()));
        }
        while opened.is_empty() {
            ready!(stream.poll_read_ready(context))?;
            let mut bytes = [0; SHORT_BYTES];
            match stream.try_read(&mut bytes) {
                Ok(count) => {
                    if count == 0 || !sender.open(&bytes[..count], opened)? {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.allowance == Some(0) {
            let problem = "the handshake is too long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, problem)));
        }
        let length = buffer.remaining().min(self.allowance.unwrap_or(usize::MAX));
        if !self.before.is_empty() {
            let count = length.min(self.before.len());
            buffer.put_slice(&self.before.split_to(count));
            self.allowance = self.allowance.map(|left| left - count);
            // Not a byte of it has waited for anything.
            self.progress();
            return Poll::Ready(Ok(()));
        }
        if self.opened.is_some() {
            ready!(self.poll_opened(context))?;
        }
        if let Some(opened) = &mut self.opened {
            let count = length.min(opened.len());
            buffer.put_slice(&opened[..count]);
            opened.advance(count);
            if opened.is_empty() {
                *opened = BytesMut::new();
            }
            self.allowance = self.allowance.map(|left| left - count);
            if count > 0 && !self.progress() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled_to(length);
            match self.stream.try_read(room) {
                Ok(count) => {
                    buffer.advance(count);
                    self.allowance = self.allowance.map(|left| left - count);
                    if count > 0 && !self.progress() {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.control.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.control.is_empty() {
            let control = std::mem::take(&mut self.control);
            self.sender.send_raw(&control);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_the_standard_has_it() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
