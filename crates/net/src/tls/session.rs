//! The records of a connection after its handshake: sealed and opened in memory, written by the sender.

use bytes::BytesMut;
use rustls::Connection;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use tokio::net::TcpStream;

/// Both directions of an established connection. Lives under the sender's lock.
#[derive(Debug)]
pub(crate) struct TlsSession(Box<Connection>);

impl TlsSession {
    pub(crate) fn new(connection: impl Into<Connection>) -> Self {
        let mut connection = connection.into();
        // What is sealed leaves at once or becomes the sender's remainder, which has a limit of its own.
        connection.set_buffer_limit(None);
        Self(Box::new(connection))
    }

    /// Seals plaintext; the records wait inside.
    pub(crate) fn seal(&mut self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let sealed = self.0.writer().write_vectored(slices)?;
        if sealed == total { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
    }

    /// Tells the other side that nothing more comes.
    pub(crate) fn say_goodbye(&mut self) {
        self.0.send_close_notify();
    }

    /// Whether records wait inside.
    pub(crate) fn has_records(&self) -> bool {
        self.0.wants_write()
    }

    /// Writes records by one write, as far as the kernel takes them.
    pub(crate) fn write_to(&mut self, stream: &TcpStream) -> io::Result<usize> {
        self.0.write_tls(&mut Socket(stream))
    }

    /// Moves the records that wait to the end of a remainder; returns how many bytes they are.
    pub(crate) fn move_to(&mut self, remainder: &mut BytesMut) -> usize {
        let before = remainder.len();
        while self.0.wants_write() {
            // A buffer in memory takes everything.
            if self.0.write_tls(&mut Memory(remainder)).is_err() {
                break;
            }
        }
        remainder.len() - before
    }

    /// Opens what was received and appends the plaintext; `false` once the other side has said goodbye.
    pub(crate) fn open(
        &mut self,
        mut received: &[u8],
        plaintext: &mut BytesMut,
    ) -> io::Result<bool> {
        loop {
            let taken = match received.is_empty() {
                true => 0,
                false => self.0.read_tls(&mut received)?,
            };
            let malformed = |error| io::Error::new(ErrorKind::InvalidData, error);
            let state = self.0.process_new_packets().map_err(malformed)?;
            let waiting = state.plaintext_bytes_to_read();
            if waiting > 0 {
                let before = plaintext.len();
                plaintext.resize(before + waiting, 0);
                self.0.reader().read_exact(&mut plaintext[before..])?;
            }
            if state.peer_has_closed() {
                return Ok(false);
            }
            if taken == 0 {
                return Ok(true);
            }
        }
    }
}

struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Memory<'a>(&'a mut BytesMut);

impl Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
