//! Guests that come again and again, or want much before anybody knows them.

use super::commands::{durable, slow_down};
use super::guest::{Guest, VisitError, encode, hello};
use super::{Answer, Host};
use bytes::Bytes;
use pelago_client::driver::random_seed;
use pelago_wire::client::{Arrival, FetchContent, client_message};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Pieces of content that a stranger asks for.
const PIECES: usize = 230;
/// For how long it reads nothing of them.
const UNREAD: Duration = Duration::from_millis(1500);
/// Connections of one visit.
const CONNECTIONS: usize = 5;
/// Commands of one session: more than an allowance has for a burst, and less than a flood.
const COMMANDS: u64 = 30;

/// Asks for the same large piece again and again before it says hello, and reads nothing for a while.
pub(super) async fn fetches_unread(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let (guest, welcome) = Guest::arrive(host, name, Arrival::Home).await?;
    guest.vanish();
    let mut guest = Guest::connect_narrowly(host).await?;
    let fetch = encode(client_message::Body::Fetch(FetchContent { hash: welcome.manifest }));
    // What a node does not read does not fit into the socket for ever.
    drop(timeout(UNREAD, guest.send(fetch.repeat(PIECES).into())).await);
    sleep(UNREAD).await;
    guest.end().await
}

/// Logs in again and again, each time to do as much as it may at once.
pub(super) async fn comes_again(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    for _ in 0..CONNECTIONS {
        let (mut guest, welcome) = Guest::arrive(host, name, Arrival::Home).await?;
        for number in 0..COMMANDS {
            let command = format!(r#"{{"eat":{{"item":"berry {number}"}}}}"#);
            guest.say(durable(welcome.sequence + 1, &command)).await?;
        }
        let answer = guest.answer(&mut |body| slow_down(body)).await?;
        if answer != Answer::Declined("slow_down".into()) {
            return Ok(answer);
        }
        guest.vanish();
    }
    Ok(Answer::Declined("slow_down".into()))
}

/// Makes new names, which are kept for ever.
pub(super) async fn makes_names(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let visit = random_seed();
    for number in 0..CONNECTIONS {
        let (guest, _) =
            Guest::arrive(host, &format!("{name}-{visit:x}-{number}"), Arrival::Home).await?;
        guest.vanish();
    }
    Ok(Answer::Served)
}

/// Tries tokens for a name that is somebody else's.
pub(super) async fn guesses_tokens(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let (owner, _) = Guest::arrive(host, name, Arrival::Home).await?;
    owner.vanish();
    let mut answer = Answer::Served;
    for number in 0..CONNECTIONS {
        let mut guest = Guest::connect(host).await?;
        let mut greeting = hello(name, Arrival::Home);
        if let client_message::Body::Hello(hello) = &mut greeting {
            hello.token = Bytes::from(vec![number as u8; 32]);
        }
        guest.say(greeting).await?;
        answer = guest.end().await?;
    }
    Ok(answer)
}
