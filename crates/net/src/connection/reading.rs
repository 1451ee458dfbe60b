//! Reading: bytes of any transport into the deframer.

use super::{GOODBYE_TIMEOUT, Inbound, READ_BYTES, ReceiveError};
use crate::framing::{Deframer, SHORT_BYTES};
use crate::sender::Sender;
use crate::traffic::Traffic;
use futures_util::{SinkExt, StreamExt};
use std::io;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_websockets::{Message as Frame, WebSocketStream};

/// Reads what there is; `false` at the end.
pub(super) async fn read(
    inbound: &mut Inbound,
    deframer: &mut Deframer,
    traffic: &Traffic,
    number: u32,
) -> Result<bool, ReceiveError> {
    let before = deframer.buffer().len();
    let frame = match inbound {
        Inbound::Tcp(stream) => loop {
            stream.readable().await?;
            match read_ready(stream, deframer) {
                Ok(count) => {
                    traffic.received.fetch_add(count as u64, Ordering::Relaxed);
                    traffic.recorder.note(number, count, true);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        },
        Inbound::Tls(sender) => {
            let open = read_sealed(sender, deframer).await?;
            let count = deframer.buffer().len() - before;
            traffic.received.fetch_add(count as u64, Ordering::Relaxed);
            traffic.recorder.note(number, count, true);
            return Ok(open);
        }
        Inbound::Server(websocket) => {
            let frame = next_frame(websocket).await;
            if websocket.get_ref().is_stalled() {
                return Err(ReceiveError::Stalled);
            }
            websocket.get_mut().finished();
            frame
        }
        Inbound::Client(websocket) => next_frame(websocket).await,
    };
    match frame {
        None => Ok(false),
        Some(frame) => {
            let frame = frame?;
            if frame.is_close() {
                return Ok(false);
            }
            // What is said in vain would be waited for in vain: it is better to say so.
            if frame.is_text() {
                return Err(ReceiveError::Text);
            }
            if frame.is_binary() {
                deframer.buffer().extend_from_slice(frame.as_payload());
            }
            let count = deframer.buffer().len() - before;
            traffic.received.fetch_add(count as u64, Ordering::Relaxed);
            traffic.recorder.note(number, count, true);
            Ok(true)
        }
    }
}

/// Reads what is there. A buffer that waits for bytes would be most of what a silent player costs.
fn read_ready(stream: &TcpStream, deframer: &mut Deframer) -> io::Result<usize> {
    if !deframer.is_short() {
        deframer.buffer().reserve(READ_BYTES);
        return stream.try_read_buf(deframer.buffer());
    }
    let mut bytes = [0; SHORT_BYTES];
    let count = stream.try_read(&mut bytes)?;
    deframer.buffer().extend_from_slice(&bytes[..count]);
    Ok(count)
}

/// Reads until a record brings something; `false` at the end. Nothing of it is kept while the other side is silent.
async fn read_sealed(sender: &Sender, deframer: &mut Deframer) -> io::Result<bool> {
    let before = deframer.buffer().len();
    // The end may have come together with what was read last.
    if !sender.open(&[], deframer.buffer())? {
        return Ok(false);
    }
    loop {
        sender.stream().readable().await?;
        let mut bytes = [0; SHORT_BYTES];
        match sender.stream().try_read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                let open = sender.open(&bytes[..count], deframer.buffer())?;
                let more = deframer.buffer().len() > before;
                if more || !open {
                    return Ok(more);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// The next frame. At the end, the library's answer, a close, is sent with what it leaves in its queue.
async fn next_frame<S: AsyncRead + AsyncWrite + Unpin>(
    websocket: &mut WebSocketStream<S>,
) -> Option<Result<Frame, tokio_websockets::Error>> {
    let frame = websocket.next().await;
    let is_end = match &frame {
        Some(Ok(frame)) => frame.is_close(),
        Some(Err(_)) => true,
        None => false,
    };
    if is_end {
        // The other side may be gone, or may not care.
        drop(tokio::time::timeout(GOODBYE_TIMEOUT, websocket.flush()).await);
    }
    frame
}
