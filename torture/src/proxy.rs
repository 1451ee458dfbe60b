//! Proxies between players and nodes that do to bytes what networks do.

use anyhow::Result;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// How long a read waits before it is looked what the network does.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a write waits for a side that does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are carried at once.
const PIECE_BYTES: usize = 16 * 1024;

/// What a network does at present; shared by all of its proxies.
#[derive(Debug, Default)]
pub(crate) struct Network {
    stalled: AtomicBool,
    vanishing: AtomicBool,
    /// Connections that began before the last cut have ended.
    cuts: AtomicU64,
}

impl Network {
    /// Whether nothing passes.
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    /// Whether everything vanishes.
    pub(crate) fn set_vanishing(&self, vanishing: bool) {
        self.vanishing.store(vanishing, Ordering::Relaxed);
        if !vanishing {
            // What has lost bytes is of no use any more.
            self.cut();
        }
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::Relaxed);
    }
}

/// Begins to listen before an address; threads carry bytes until the process ends.
pub(crate) fn before(upstream: SocketAddr, network: &Arc<Network>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let network = network.clone();
    spawn(move || {
        for client in listener.incoming().flatten() {
            let network = network.clone();
            // A node that is not there refuses.
            let Ok(node) = TcpStream::connect(upstream) else { continue };
            let ends = client.try_clone().and_then(|it| Ok((it, node.try_clone()?)));
            let Ok((client_too, node_too)) = ends else { continue };
            let other = network.clone();
            spawn(move || carry(client, node, &network));
            spawn(move || carry(node_too, client_too, &other));
        }
    });
    Ok(address)
}

fn carry(mut from: TcpStream, mut to: TcpStream, network: &Network) {
    let born = network.cuts.load(Ordering::Relaxed);
    let mut piece = vec![0; PIECE_BYTES];
    drop(from.set_nodelay(true));
    drop(from.set_read_timeout(Some(LOOK_EVERY)));
    drop(to.set_write_timeout(Some(WRITE_TIMEOUT)));
    while network.cuts.load(Ordering::Relaxed) == born {
        if network.stalled.load(Ordering::Relaxed) {
            sleep(LOOK_EVERY);
            continue;
        }
        match from.read(&mut piece) {
            Ok(0) if network.vanishing.load(Ordering::Relaxed) => sleep(LOOK_EVERY),
            Ok(0) => break,
            Ok(_) if network.vanishing.load(Ordering::Relaxed) => {}
            Ok(count) => {
                if to.write_all(&piece[..count]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}
