//! Guests that ask for what they may not do, or for too much of it.

use super::guest::{Guest, VisitError, encode, ping};
use super::{Abuse, Answer, Host};
use bytes::Bytes;
use pelago_client::tiles::{Manifest, decode_naturals};
use pelago_model::limits::{MAX_COMMAND_BYTES, MAX_WAYPOINTS};
use pelago_model::{ChunkId, Position, Trajectory};
use pelago_wire::client::{
    Act, Arrival, FetchContent, Move, Outcome, Say, Welcome, client_message, server_message,
};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// More than any allowance has for a burst, and less than a flood.
const TOO_MANY: u64 = 100;
/// Commands of a flood.
const FLOOD: u64 = 10_000;
/// How near something must be to be gathered, in 1/64 m: 2 m.
const NEAR_UNITS: u64 = 128;
/// Places at which a guest that wants to gather looks for something.
const PLACES: usize = 200;
/// How far guests go that go too far, in 1/64 m: 100 m and 5 km.
const LONG_UNITS: i32 = 6400;
const FAR_UNITS: i32 = 320_000;

/// 10,000 commands as fast as the connection takes them.
pub(super) async fn floods(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let (mut guest, _) = Guest::arrive(host, name, Arrival::Home).await?;
    for number in 1..=FLOOD {
        // A guest that is closed meanwhile still reads why.
        if guest.say(live(number, r#"{"wave":"0000000000000001"}"#)).await.is_err() {
            break;
        }
    }
    guest.answer(&mut |_| None).await
}

pub(super) async fn acts_too_often(
    host: Host<'_>,
    name: &str,
    durably: bool,
) -> Result<Answer, VisitError> {
    let (mut guest, welcome) = Guest::arrive(host, name, Arrival::Home).await?;
    for number in 1..=TOO_MANY {
        let command = if durably {
            // Not the same one: a repetition is not counted while it is under way.
            durable(welcome.sequence + 1, &format!(r#"{{"eat":{{"item":"berry {number}"}}}}"#))
        } else {
            live(number, r#"{"wave":"0000000000000001"}"#)
        };
        guest.say(command).await?;
    }
    guest.answer(&mut |body| slow_down(body)).await
}

pub(super) async fn talks_too_much(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let (mut guest, _) = Guest::arrive(host, name, Arrival::Home).await?;
    for number in 0..TOO_MANY {
        guest
            .say(client_message::Body::Say(Say { text: format!("and {number}"), ..Say::default() }))
            .await?;
    }
    guest.answer(&mut |body| slow_down(body)).await
}

pub(super) async fn fetches_too_much(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let (mut guest, welcome) = Guest::arrive(host, name, Arrival::Home).await?;
    let fetch = encode(client_message::Body::Fetch(FetchContent { hash: welcome.manifest }));
    // An answer is read before the next question: this guest is greedy, not deaf.
    loop {
        guest.send(fetch.clone()).await?;
        let mut meaning = |body: &server_message::Body| match body {
            server_message::Body::Content(content) if content.code.is_empty() => {
                Some(Answer::Served)
            }
            server_message::Body::Content(content) => {
                Some(Answer::Declined(content.code.clone().into()))
            }
            _ => None,
        };
        match guest.answer(&mut meaning).await? {
            Answer::Served => {}
            answer => return Ok(answer),
        }
    }
}

/// Turns this way and that, and stands still in the end: that is what counts.
pub(super) async fn turns_too_often(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let (mut guest, welcome) = Guest::arrive(host, name, Arrival::Home).await?;
    let (arrived, here) = (Instant::now(), place(&welcome)?);
    for number in 1..=TOO_MANY as u32 {
        let there = Position::new(here.x + if number % 2 == 0 { 16 } else { -16 }, here.y);
        guest.say(walk(now(&welcome, arrived), number, 64, &[there])).await?;
    }
    // One that is refused is still answered, if it is the last.
    let late = now(&welcome, arrived) - 10_000;
    guest.say(walk(late, TOO_MANY as u32 + 1, 64, &[here])).await?;
    let mut meaning = |body: &server_message::Body| match body {
        server_message::Body::MoveRefused(refused) if u64::from(refused.number) > TOO_MANY => {
            Some(Answer::Served)
        }
        _ => None,
    };
    guest.answer(&mut meaning).await
}

/// More pings are not answered, until some time has passed.
pub(super) async fn pings_too_often(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    let (mut guest, _) = Guest::arrive(host, name, Arrival::Home).await?;
    for number in 0..TOO_MANY {
        guest.say(ping(number as i64)).await?;
    }
    let mut pongs = 0;
    let mut count = |body: &server_message::Body| {
        pongs += u64::from(matches!(body, server_message::Body::Pong(_)));
        None
    };
    match timeout(Duration::from_secs(1), guest.answer(&mut count)).await {
        Ok(answer) => return answer,
        Err(_) if pongs == TOO_MANY => {
            return Ok(Answer::Declined("too many were answered".into()));
        }
        Err(_) => {}
    }
    guest.is_served().await
}

pub(super) async fn walks(host: Host<'_>, name: &str, abuse: Abuse) -> Result<Answer, VisitError> {
    let (mut guest, welcome) = Guest::arrive(host, name, Arrival::Home).await?;
    let (arrived, here) = (Instant::now(), place(&welcome)?);
    let now = now(&welcome, arrived);
    let near = Position::new(here.x + 16, here.y);
    let walk = match abuse {
        Abuse::WalksThroughWalls => walk(now, 1, 256, &[Position::new(here.x + FAR_UNITS, here.y)]),
        Abuse::WalksTooFast => walk(now, 1, welcome.max_speed + 1, &[near]),
        Abuse::WalksInThePast => walk(now - 5000, 1, 256, &[near]),
        Abuse::WalksInTheFuture => walk(now + 5000, 1, 256, &[near]),
        _ => walk(now, 1, 256, &[near; MAX_WAYPOINTS + 1]),
    };
    guest.say(walk).await?;
    guest
        .answer(&mut |body| match body {
            server_message::Body::MoveRefused(refused) => {
                Some(Answer::Declined(refused.code.clone().into()))
            }
            _ => None,
        })
        .await
}

pub(super) async fn acts(host: Host<'_>, name: &str, abuse: Abuse) -> Result<Answer, VisitError> {
    let (mut guest, welcome) = Guest::arrive(host, name, Arrival::Home).await?;
    let next = welcome.sequence + 1;
    let command = match abuse {
        Abuse::ReachesTooFar => {
            let (chunk, slot) = something_far(&mut guest, &welcome).await?;
            durable(next, &gather(chunk, slot))
        }
        Abuse::WavesToNobody => live(1, r#"{"wave":"0000000000000001"}"#),
        Abuse::SendsNonsense => durable(next, "nonsense"),
        Abuse::SendsALargeCommand => durable(next, &" ".repeat(MAX_COMMAND_BYTES + 1)),
        _ => durable(next + 5, r#"{"eat":{"item":"berry"}}"#),
    };
    guest.say(command).await?;
    guest.answer(&mut |body| outcome(body).map(|outcome| declined(&outcome.code))).await
}

/// Does something, and asks for the same again: it is told the same, and it is not done twice.
pub(super) async fn repeats_itself(host: Host<'_>, name: &str) -> Result<Answer, VisitError> {
    for place in 0..PLACES {
        let name = format!("{name}-{place}");
        let (mut guest, welcome) = Guest::arrive(host, &name, Arrival::Anywhere).await?;
        let Some((chunk, slot)) = something_near(&mut guest, &welcome).await? else {
            guest.vanish();
            continue;
        };
        let command = durable(welcome.sequence + 1, &gather(chunk, slot));
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            guest.say(command.clone()).await?;
            let mut meaning = |body: &server_message::Body| {
                outcome(body).map(|outcome| {
                    outcomes.push(outcome.clone());
                    Answer::Served
                })
            };
            guest.answer(&mut meaning).await?;
        }
        match outcomes.as_slice() {
            [first, _] if first.code == "empty" => continue,
            [first, again] if first.code.is_empty() => {
                let same = first.chain == again.chain && first.effects == again.effects;
                let told = Answer::Declined("another outcome".into());
                return Ok(if same { Answer::Served } else { told });
            }
            [first, ..] => return Ok(declined(&first.code)),
            [] => return Err(VisitError::NoAnswer),
        }
    }
    Err(VisitError::NoPlace)
}

/// Its avatar is played from elsewhere meanwhile: it acts, and is told so.
pub(super) async fn acts_with_an_old_epoch(
    host: Host<'_>,
    name: &str,
) -> Result<Answer, VisitError> {
    let (mut guest, welcome) = Guest::arrive(host, name, Arrival::Home).await?;
    let newer = Guest::arrive(host, name, Arrival::Home);
    let answer = async {
        sleep(Duration::from_millis(1)).await;
        let command = durable(welcome.sequence + 1, r#"{"eat":{"item":"berry"}}"#);
        // It may be closed before it can say anything.
        drop(guest.say(command).await);
        guest.end().await
    };
    let (newer, answer) = tokio::join!(newer, answer);
    newer?;
    answer
}

pub(super) fn durable(sequence: u64, payload: &str) -> client_message::Body {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    client_message::Body::Act(Act { sequence, payload, number: 0 })
}

fn live(number: u64, payload: &str) -> client_message::Body {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    client_message::Body::Act(Act { sequence: 0, payload, number })
}

fn walk(at_ms: i64, number: u32, speed: u32, points: &[Position]) -> client_message::Body {
    let waypoints = points.iter().flat_map(|point| [point.x, point.y]).collect();
    client_message::Body::Move(Move { number, at_ms, speed, waypoints })
}

fn gather(chunk: ChunkId, slot: u16) -> String {
    format!(r#"{{"gather":{{"x":{},"y":{},"slot":{slot}}}}}"#, chunk.x, chunk.y)
}

/// World time, near enough.
fn now(welcome: &Welcome, arrived: Instant) -> i64 {
    welcome.world_time_ms + i64::try_from(arrived.elapsed().as_millis()).unwrap_or(i64::MAX)
}

fn place(welcome: &Welcome) -> Result<Position, VisitError> {
    let path = welcome.path.as_ref().ok_or(VisitError::NoAnswer)?;
    Ok(Trajectory::try_from(path)?.start())
}

fn outcome(body: &server_message::Body) -> Option<&Outcome> {
    match body {
        server_message::Body::Outcome(outcome) => Some(outcome),
        _ => None,
    }
}

fn declined(code: &str) -> Answer {
    Answer::Declined(code.to_owned().into())
}

pub(super) fn slow_down(body: &server_message::Body) -> Option<Answer> {
    let code = &outcome(body)?.code;
    (code == "slow_down").then(|| declined(code))
}

/// What can be gathered from in a chunk.
async fn naturals(
    guest: &mut Guest,
    welcome: &Welcome,
    chunk: ChunkId,
) -> Result<Vec<(u16, Position)>, VisitError> {
    let manifest = guest.fetch(welcome.manifest.clone()).await?;
    let manifest = Manifest::decode(&manifest).map_err(|_| VisitError::NoPlace)?;
    let Some(hash) = manifest.tile(chunk) else { return Ok(Vec::new()) };
    let tile = guest.fetch(hash).await?;
    let naturals = decode_naturals(&tile, chunk).map_err(|_| VisitError::NoPlace)?;
    Ok((0u16..).zip(naturals.into_iter().map(|natural| natural.position)).collect())
}

async fn something_near(
    guest: &mut Guest,
    welcome: &Welcome,
) -> Result<Option<(ChunkId, u16)>, VisitError> {
    let here = place(welcome)?;
    let found = naturals(guest, welcome, here.chunk()).await?;
    let near = |(_, there): &(u16, Position)| there.distance_squared(here) <= NEAR_UNITS.pow(2);
    Ok(found.into_iter().find(near).map(|(slot, _)| (here.chunk(), slot)))
}

async fn something_far(guest: &mut Guest, welcome: &Welcome) -> Result<(ChunkId, u16), VisitError> {
    let here = place(welcome)?;
    for direction in [1, -1, 2, -2] {
        let chunk = Position::new(here.x + direction * LONG_UNITS, here.y).chunk();
        if let Some((slot, _)) = naturals(guest, welcome, chunk).await?.first() {
            return Ok((chunk, *slot));
        }
    }
    Err(VisitError::NoPlace)
}
