//! Listening.

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Connections that the kernel completes before we take them.
const BACKLOG: i32 = 4096;
/// How long nothing is taken when the process has no file left for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {problem}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What is wrong.
    pub problem: io::Error,
}

/// A socket that takes connections.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    failures: AtomicU64,
}

impl Listener {
    /// Listens on an address; port 0 picks a free one. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] names the address.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bind = || {
            let socket =
                Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            // A server that was killed must be able to listen again at once.
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let listener = TcpListener::from_std(socket.into())?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address, failures: AtomicU64::new(0) })
        };
        bind().map_err(|problem| BindError { address, problem })
    }

    /// The address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that could not be taken so far.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Bytes that the kernel keeps for a reader that lags, of each connection taken from now on (`SO_SNDBUF`;
    /// Linux takes the double). Without it the kernel decides.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_send_buffer_bytes(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(&self.listener).set_send_buffer_size(bytes)
    }

    /// The same listener for the tokio runtime that this is called in: from now on its threads take the connections.
    ///
    /// # Errors
    /// If the runtime cannot wait for it.
    pub fn moved_here(self) -> io::Result<Self> {
        let listener = TcpListener::from_std(self.listener.into_std()?)?;
        Ok(Self { listener, ..self })
    }

    /// The listener itself, for servers that take connections on their own.
    pub fn into_inner(self) -> TcpListener {
        self.listener
    }

    /// The next connection. Errors of single connections are passed over; when the process runs out of files
    /// it waits a little, so that others can end.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    }
                }
            }
        }
    }
}
