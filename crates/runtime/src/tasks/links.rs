//! Connections to other nodes.

use super::{Dial, Shared, hand_on_panic};
use pelago_cluster::{LinkId, LinksInput};
use pelago_model::NodeId;
use pelago_model::limits::MAX_MESSAGE_BYTES;
use pelago_net::{Connection, Event, Listener};
use pelago_node::MachineInput;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long dialling may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes links and opens them until the node ends. A bug in one of them is one of this node.
pub(super) async fn run(
    shared: Arc<Shared>,
    listener: Listener,
    mut to_dial: mpsc::Receiver<Dial>,
) {
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            (stream, _) = listener.accept() => {
                links.spawn(serve(shared.clone(), stream, None));
            }
            Some((node, address)) = to_dial.recv() => {
                links.spawn(dial(shared.clone(), node, address));
            }
            Some(ended) = links.join_next() => hand_on_panic(ended),
        }
    }
}

async fn dial(shared: Arc<Shared>, node: NodeId, address: String) {
    match timeout(DIAL_TIMEOUT, TcpStream::connect(&address)).await {
        Ok(Ok(stream)) => serve(shared, stream, Some(node)).await,
        _ => tell(&shared, LinksInput::DialFailed { node }).await,
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, toward: Option<NodeId>) {
    let traffic = shared.status.peer_traffic.clone();
    let mut connection = match Connection::tcp(stream, MAX_MESSAGE_BYTES, traffic) {
        Ok(connection) => connection,
        Err(error) => {
            tracing::warn!(%error, "a link could not be set up");
            if let Some(node) = toward {
                tell(&shared, LinksInput::DialFailed { node }).await;
            }
            return;
        }
    };
    let Some(sender) = connection.sender() else { return };
    let link = LinkId(shared.next_connection());
    shared.links.lock().unwrap_or_else(PoisonError::into_inner).insert(link, sender);
    tell(&shared, LinksInput::Opened { link, toward }).await;
    loop {
        match connection.next().await {
            Ok(Some(Event::Message(kind, payload))) => {
                tell(&shared, LinksInput::Received { link, kind, payload }).await;
            }
            Ok(Some(Event::Writable)) => tell(&shared, LinksInput::Writable { link }).await,
            Ok(None) => break,
            Err(error) => {
                if !shared.stopping.load(Ordering::Relaxed) {
                    tracing::warn!(node = shared.node.0, link = link.0, %error, "a link ended");
                }
                break;
            }
        }
    }
    shared.links.lock().unwrap_or_else(PoisonError::into_inner).remove(&link);
    tell(&shared, LinksInput::Closed { link }).await;
}

/// What another node sent waits for room; what happens to the link itself does not.
async fn tell(shared: &Shared, input: LinksInput) {
    let is_of_the_socket = matches!(input, LinksInput::Received { .. });
    let input = MachineInput::Links(input);
    if is_of_the_socket {
        shared.post.tell_from_socket(input).await;
    } else {
        shared.post.tell(input, &mut |_| ());
    }
}
