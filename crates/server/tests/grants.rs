//! Real processes: what is granted is granted once, whatever is killed, repeated or not waited for.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod process;

use pelago_client::Event;
use process::World;
use process::player::{PATIENCE, Player};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How often the world is killed.
const KILLS: u64 = 8;
/// Grants of one life of the world.
const GRANTS: u64 = 60;
/// Those who ask for them, all for the same ones, through all nodes.
const OPERATORS: u64 = 6;
/// Bots that play meanwhile, and get what is granted.
const BOTS: u64 = 20;

/// Sends a request and reads the answer; `None` if there is none in time.
fn ask(world: &World, request: &str, patience: Duration) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(world.operators_host()).ok()?;
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1;
    // Cut off by a kill, it is no answer.
    Some((status, serde_json::from_str(body).ok()?))
}

fn get(world: &World, path: &str) -> Value {
    let token = &world.token;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let (status, body) = ask(world, &request, PATIENCE).unwrap();
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn post(world: &World, kind: &str, body: &str, patience: Duration) -> Option<(u16, Value)> {
    post_to(world, "grants", kind, body, patience)
}

fn post_to(
    world: &World,
    path: &str,
    kind: &str,
    body: &str,
    patience: Duration,
) -> Option<(u16, Value)> {
    let (length, token) = (body.len(), &world.token);
    let request = format!(
        "POST /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
    );
    ask(world, &request, patience)
}

fn grant(world: &World, body: &Value, patience: Duration) -> Option<(u16, Value)> {
    post(world, "Content-Type: application/json\r\n", &body.to_string(), patience)
}

/// The grant with this number: to one of the bots, so and so many berries.
fn mail(number: u64) -> Value {
    json!({
        "key": format!("mail/{number}"),
        "name": format!("bot-1-{}", number % BOTS),
        "what": {"items": {"berry": count(number)}},
        "reason": "torture",
    })
}

fn count(number: u64) -> u64 {
    1 + number % 7
}

/// Asks until it is granted.
fn insist(world: &World, number: u64) -> Value {
    let began = Instant::now();
    loop {
        match grant(world, &mail(number), PATIENCE) {
            Some((200, answer)) => return answer,
            // As the answer says: nobody knows.
            Some((503 | 504, body)) => assert_eq!(body["ask_again"], true, "{body}"),
            Some((status, body)) => panic!("grant {number}: {status} {body}"),
            None => {}
        }
        assert!(began.elapsed() < PATIENCE, "grant {number} was never answered");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Operators ask for the same grants, each in an order of its own, some without waiting for the answer.
fn operate(world: &World, round: u64, answers: &Mutex<BTreeMap<u64, Value>>, stop: &AtomicBool) {
    std::thread::scope(|scope| {
        for operator in 0..OPERATORS {
            scope.spawn(move || {
                for step in 0..GRANTS * 3 {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let number = round * GRANTS + (step * (2 * operator + 1) + operator) % GRANTS;
                    let hurry = (step + operator).is_multiple_of(3);
                    let patience =
                        if hurry { Duration::from_millis(1 + step % 9) } else { PATIENCE };
                    match grant(world, &mail(number), patience) {
                        Some((200, answer)) => {
                            let mut answers = answers.lock().unwrap();
                            let known = answers.entry(number).or_insert_with(|| answer.clone());
                            assert_eq!(*known, answer, "a grant has two answers");
                        }
                        // Killed meanwhile, or unknown.
                        None | Some((503 | 504, _)) => {}
                        Some((status, body)) => panic!("grant {number}: {status} {body}"),
                    }
                }
            });
        }
    });
}

/// All audits of an avatar, page by page.
fn audits(world: &World, avatar: &str) -> Vec<Value> {
    let (mut audits, mut path) = (Vec::new(), format!("/api/v1/audit/{avatar}"));
    loop {
        let page = get(world, &path);
        audits.extend(page["audits"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { return audits };
        path = format!("/api/v1/audit/{avatar}?after={next}");
    }
}

#[test]
fn grants_that_are_repeated_everywhere_are_granted_once_through_every_kill() {
    let directory = tempfile::tempdir().unwrap();
    let (data, journal) = (directory.path().join("data"), directory.path().join("journal"));
    let answers = Mutex::new(BTreeMap::new());
    for round in 0..KILLS {
        let mut world = World::start(&data);
        if round > 0 {
            world.verify(&journal);
        }
        let mut bots = world.bots(BOTS as usize, 6, &journal);
        if round == 0 {
            // Everybody has been here.
            (0..BOTS).for_each(|number| insist_on_arrival(&world, number));
        }
        // What was answered in a life before is answered the same, and what was not is still there to be asked for.
        for number in (0..round * GRANTS).step_by(3) {
            let answer = insist(&world, number);
            let mut answers = answers.lock().unwrap();
            let known = answers.entry(number).or_insert_with(|| answer.clone());
            assert_eq!(*known, answer, "a grant has another answer after a kill");
        }
        let stop = AtomicBool::new(false);
        let number = world.process.id().to_string();
        std::thread::scope(|scope| {
            let (world, answers, stop) = (&world, &answers, &stop);
            scope.spawn(move || operate(world, round, answers, stop));
            std::thread::sleep(Duration::from_millis(150 + (round * 397) % 900));
            let killed = std::process::Command::new("kill").args(["-KILL", &number]).status();
            assert!(killed.unwrap().success());
            stop.store(true, Ordering::Relaxed);
        });
        world.process.wait().unwrap();
        bots.wait().unwrap();
    }

    let world = World::start(&data);
    let answered = answers.lock().unwrap().clone();
    let mut granted: BTreeMap<String, u64> = BTreeMap::new();
    for number in 0..KILLS * GRANTS {
        let answer = insist(&world, number);
        if let Some(known) = answered.get(&number) {
            assert_eq!(*known, answer, "an acknowledged grant was lost");
        }
        *granted.entry(answer["avatar"].as_str().unwrap().to_owned()).or_default() += count(number);
    }
    assert!(answered.len() as u64 > KILLS * GRANTS / 4, "only {} were answered", answered.len());
    assert_eq!(granted.len() as u64, BOTS);
    for (avatar, berries) in &granted {
        let found = get(&world, &format!("/api/v1/avatars/{avatar}"));
        assert_eq!(found["state"]["granted"]["berry"], *berries, "{found}");
        let audits = audits(&world, avatar);
        let of_grants =
            audits.iter().filter(|audit| audit["key"].as_str().unwrap().contains("/grant/"));
        assert_eq!(of_grants.count() as u64, KILLS * GRANTS / BOTS);
        // The sum of all audits is what it holds.
        let held = |audit: &Value| {
            let change = &audit["audit"]["changes"][&format!("avatar/{avatar}")]["berry"]["held"];
            change.as_i64().unwrap_or(0)
        };
        let sum: i64 = audits.iter().map(held).sum();
        assert_eq!(found["state"]["held"]["berry"].as_i64().unwrap_or(0), sum, "{avatar}");
    }
    world.verify(&journal);
}

/// Waits until a bot's name is somebody's: a grant that is refused tells.
fn insist_on_arrival(world: &World, number: u64) {
    let began = Instant::now();
    let nothing = json!({"key": "arrival", "name": format!("bot-1-{number}"), "what": null});
    while grant(world, &nothing, PATIENCE).is_none_or(|(status, _)| status != 422) {
        assert!(began.elapsed() < PATIENCE, "bot {number} never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn a_player_is_told_of_a_grant_and_finds_it_again() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let mut anna = Player::arrive(&world.tcp[1], "Anna").await;
    let body = json!({"key": "gift", "name": "Anna", "what": {"items": {"berry": 3}}});
    let (status, answer) = grant(&world, &body, PATIENCE).unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["effects"], json!({"items": {"berry": 3}}));
    let told = async {
        loop {
            if let Event::Notice(payload) = anna.session.next().await.unwrap() {
                return serde_json::from_slice::<Value>(&payload).unwrap();
            }
        }
    };
    let told = timeout(PATIENCE, told).await.unwrap();
    let expected = json!({
        "granted": {"items": {"berry": 3}},
        "sequence": 0,
        "state": {"held": {"berry": 3}},
    });
    assert_eq!(told, expected);
    // The session goes on: its commands are those of the avatar's owner.
    anna.session.act(r#"{"eat":{"item":"berry"}}"#.into()).await.unwrap();
    let acted = async {
        loop {
            if let Event::Outcome(outcome) = anna.session.next().await.unwrap() {
                return outcome;
            }
        }
    };
    let outcome = timeout(PATIENCE, acted).await.unwrap();
    assert_eq!((outcome.sequence, outcome.code.as_str()), (1, ""));
    let bag =
        |anna: &Player| serde_json::from_slice::<Value>(&anna.session.welcome().state).unwrap();
    assert_eq!(bag(&anna), json!({"held": {}}));
    // Mail for somebody who is away.
    anna.session.bye().await;
    let body = json!({"key": "mail", "name": "Anna", "what": {"items": {"wood": 1}}});
    assert_eq!(grant(&world, &body, PATIENCE).unwrap().0, 200);
    let anna = Player::arrive(&world.tcp[2], "Anna").await;
    assert_eq!(bag(&anna), json!({"held": {"berry": 2, "wood": 1}}));
}

#[tokio::test]
async fn what_is_no_grant_is_refused_with_a_code() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let _anna = Player::arrive(&world.tcp[0], "Anna").await;
    let what = json!({"items": {"berry": 1}});
    let long = "x".repeat(1025);
    let used = json!({"key": "used", "name": "Anna", "what": what});
    assert_eq!(grant(&world, &used, PATIENCE).unwrap().0, 200);
    for (body, status, code) in [
        (json!({"key": "a", "name": "Bert", "what": what}), 404, "no_such_avatar"),
        (json!({"key": "a", "avatar": "00000000000000ff", "what": what}), 404, "no_such_avatar"),
        (json!({"key": "a", "what": what}), 400, "malformed"),
        (json!({"key": "A b", "name": "Anna", "what": what}), 400, "malformed"),
        (json!({"key": "", "name": "Anna", "what": what}), 400, "malformed"),
        (json!({"key": "a", "name": "Anna", "what": what, "more": 1}), 400, "malformed"),
        (json!({"key": "a", "name": "Anna", "what": long}), 422, "malformed"),
        (json!({"key": "a", "name": "Anna", "what": "x".repeat(5000)}), 413, "body"),
        (json!({"key": "a", "name": "Anna", "what": {"items": {"crown": 1}}}), 422, "no_such_item"),
        (json!({"key": "used", "name": "Anna", "what": {"items": {"berry": 2}}}), 409, "key_used"),
    ] {
        let (found, answer) = grant(&world, &body, PATIENCE).unwrap();
        assert_eq!((found, answer["code"].as_str()), (status, Some(code)), "{body}: {answer}");
    }
    // What a page of a stranger could make a browser send.
    for kind in ["", "Content-Type: text/plain\r\n"] {
        let (status, answer) = post(&world, kind, &used.to_string(), PATIENCE).unwrap();
        assert_eq!((status, &answer["code"]), (415, &json!("content_type")), "{kind}");
    }
    let avatar = grant(&world, &used, PATIENCE).unwrap().1["avatar"].as_str().unwrap().to_owned();
    assert_eq!(audits(&world, &avatar).len(), 1);
    let escaped = format!("/api/v1/audit/{avatar}?after=audit%2F{avatar}%2Fgrant%2Fused");
    assert_eq!(get(&world, &escaped), json!({"audits": [], "next": null}));
}

#[test]
fn a_call_that_no_service_takes_is_refused_with_a_code() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let (json, text) = ("Content-Type: application/json\r\n", "Content-Type: text/plain\r\n");
    let long = format!("\"{}\"", "x".repeat(70_000));
    for (path, kind, body, status, code) in [
        ("services/tally/tally/gate", json, "{}", 404, "no_such_service"),
        ("services/steward/avatar/1", json, "{}", 404, "no_such_service"),
        ("services/Tally/tally/gate", json, "{}", 400, "malformed"),
        ("services/tally/Gate", json, "{}", 400, "malformed"),
        ("services/tally/tally/gate", json, "{", 400, "malformed"),
        ("services/tally/tally/gate", text, "{}", 415, "content_type"),
        ("services/tally/tally/gate", json, &*long, 413, "body"),
    ] {
        let (found, answer) = post_to(&world, path, kind, body, PATIENCE).unwrap();
        assert_eq!((found, answer["code"].as_str()), (status, Some(code)), "{path} {answer}");
    }
}
