//! Listening.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
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
            Ok(Self { listener, address })
        };
        bind().map_err(|problem| BindError { address, problem })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => tokio::time::sleep(EXHAUSTED_PAUSE).await,
            }
        }
    }
}
