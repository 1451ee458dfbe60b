//! Guests that do too little: say nothing, say it slowly, or do not listen.

use super::guest::{Guest, VisitError, encode};
use super::{Answer, Host};
use bytes::Bytes;
use pelago_wire::client::{Arrival, FetchContent, client_message, server_message};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a guest that drips sends a byte.
const DRIP_EVERY: Duration = Duration::from_millis(50);
/// For how long a guest that reads nothing asks for more.
const ASKING: Duration = Duration::from_millis(1500);
/// How often it does.
const ASK_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn says_nothing(host: Host<'_>) -> Result<Answer, VisitError> {
    Guest::connect(host).await?.end().await
}

pub(super) async fn falls_silent(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let (mut guest, _) = Guest::arrive(host, name, Arrival::Home).await?;
    guest.end().await
}

pub(super) async fn drips(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let (mut guest, _) = Guest::arrive(host, name, Arrival::Home).await?;
    // A message of 400 bytes, of which the last one never comes: 20 s, longer than a message may take.
    let mut drops = [0x90u8, 3, 1].into_iter().chain(std::iter::repeat_n(0, 398));
    let mut next_drop = Instant::now();
    loop {
        tokio::select! {
            answer = guest.end() => return answer,
            () = tokio::time::sleep_until(next_drop) => {}
        }
        next_drop += DRIP_EVERY;
        match drops.next() {
            Some(drop) => guest.send(Bytes::from(vec![drop])).await?,
            None => return guest.end().await,
        }
    }
}

/// Asks for much, and reads only after a while: then it gets all of it, for nothing more was read of it meanwhile.
pub(super) async fn reads_nothing(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let narrow = Guest::connect_narrowly(host).await?;
    let (mut guest, welcome) = narrow.greet(name, Arrival::Home).await?;
    let fetch = encode(client_message::Body::Fetch(FetchContent { hash: welcome.manifest }));
    let until = Instant::now() + ASKING;
    while Instant::now() < until {
        guest.send(fetch.clone()).await?;
        sleep(ASK_EVERY).await;
    }
    let last = Bytes::from_static(b"the last one");
    guest.say(client_message::Body::Fetch(FetchContent { hash: last.clone() })).await?;
    let mut meaning = |body: &server_message::Body| match body {
        server_message::Body::Content(content) if content.hash == last => Some(Answer::Served),
        _ => None,
    };
    guest.answer(&mut meaning).await
}

/// What a blocked reader has the node send, in bytes: more than the kernel keeps for it, but little more.
const BLOCKING_BYTES: usize = 190 * 1024;

/// A reader that has stopped to read, in the middle of much that it has asked for.
pub struct Blocked {
    guest: Guest,
}

impl Blocked {
    /// Comes, asks for much and reads nothing of it. `name` is to be nobody else's.
    ///
    /// # Errors
    /// If it is not let in.
    pub async fn arrive(
        address: &str,
        source: Option<IpAddr>,
        name: &str,
    ) -> Result<Self, VisitError> {
        let narrow = Guest::connect_narrowly(Host { address, source }).await?;
        let (guest, welcome) = narrow.greet(name, Arrival::Anywhere).await?;
        let mut blocked = Self { guest };
        let manifest = blocked.guest.fetch(welcome.manifest.clone()).await?;
        let pieces = (BLOCKING_BYTES / manifest.len().max(1)).max(1);
        let fetch = client_message::Body::Fetch(FetchContent { hash: welcome.manifest });
        for _ in 0..pieces {
            blocked.guest.say(fetch.clone()).await?;
        }
        Ok(blocked)
    }

    /// Reads for a while; whether the session is still there.
    pub async fn resume(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.guest.end()).await.is_err()
    }
}
