//! A WebSocket that a library reads, and whose writes are ours.
//!
//! The library does the handshake, unmasks and reassembles; what it writes itself (pongs, closes) goes
//! through the same [`Sender`] as our data, whole frame by whole frame.

use crate::sender::Sender;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of a handshake; a longer one is refused. As much as Node.js takes of headers by default.
const MAX_HANDSHAKE_BYTES: usize = 16 * 1024;

/// The stream that the library sees.
#[derive(Debug)]
pub(crate) struct Duplex {
    stream: Arc<TcpStream>,
    sender: Sender,
    control: Vec<u8>,
    /// Bytes that the handshake may still read; `None` after it.
    allowance: Option<usize>,
}

impl Duplex {
    pub(crate) fn new(stream: Arc<TcpStream>, sender: Sender) -> Self {
        Self { stream, sender, control: Vec::new(), allowance: Some(MAX_HANDSHAKE_BYTES) }
    }

    /// Lifts the limit of the handshake: from here on the library limits what it reads.
    pub(crate) fn shake_hands(&mut self) {
        self.allowance = None;
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
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            let length = buffer.remaining().min(self.allowance.unwrap_or(usize::MAX));
            let room = buffer.initialize_unfilled_to(length);
            match self.stream.try_read(room) {
                Ok(count) => {
                    buffer.advance(count);
                    self.allowance = self.allowance.map(|left| left - count);
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
