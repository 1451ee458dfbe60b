//! Strangers at a real server: what they cost, and what they are told.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use pelago_client::{ConnectError, Event, Identity, RequestError, Session, Transport};
use pelago_model::Secret;
use pelago_wire::client::Arrival;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::timeout;

/// How long anything may take that has to happen at last.
const PATIENCE: Duration = Duration::from_secs(30);
const NAMES: usize = 5;
const ATTEMPTS: usize = 1500;

struct World {
    process: Child,
    tcp: Vec<String>,
    directory: TempDir,
}

impl World {
    fn start(limits: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("limits.toml");
        std::fs::write(&config, limits).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_pelago"))
            .args(["dev", "--nodes", "2", "--store", "memory:", "--http", "127.0.0.1:0", "--json"])
            .arg("--data")
            .arg(directory.path())
            .arg("--config")
            .arg(&config)
            .env("PELAGO_LOG", "debug")
            .stdout(Stdio::piped())
            .stderr(File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let tcp = ready["tcp"].as_array().unwrap();
        let tcp = tcp.iter().map(|address| address.as_str().unwrap().to_owned()).collect();
        Self { process, tcp, directory }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    async fn arrive(&self, node: usize, name: &str, token: u8) -> Result<Session, ConnectError> {
        let token = Secret::new(vec![token; 32]);
        let identity = Identity { name: name.to_owned(), token, arrival: Arrival::Home };
        let opening = Session::open(&self.tcp[node], &Transport::Tcp, None, &identity);
        timeout(PATIENCE, opening).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn refusal(session: Result<Session, ConnectError>) -> String {
    session.err().map_or("none".to_owned(), |error| error.to_string())
}

#[tokio::test]
async fn an_address_makes_so_many_names_and_is_told_so() {
    let world = World::start(&format!(
        "[limits]\nwide_loopback = false\naddress_names = {{ per_minute = 1, burst = {NAMES} }}\n"
    ));
    for number in 0..NAMES {
        world.arrive(0, &format!("name {number}"), 1).await.unwrap().bye().await;
    }
    let error = refusal(world.arrive(0, "one too many", 1).await);
    assert!(error.contains("new_names"), "{error}");
    // Names that exist are played all the same.
    world.arrive(0, "name 0", 1).await.unwrap().bye().await;
}

#[tokio::test]
async fn wrong_tokens_do_not_fill_the_log() {
    let world = World::start("[limits]\naccount_logins = { per_second = 1000, burst = 9999 }\n");
    world.arrive(0, "Anna", 1).await.unwrap().bye().await;
    for _ in 0..ATTEMPTS {
        let error = refusal(world.arrive(0, "Anna", 2).await);
        assert!(error.contains("token"), "{error}");
    }
    let began = Instant::now();
    // Some line tells how many were left out, once another may be written.
    while !world.log().contains("left out of the log") {
        assert!(began.elapsed() < PATIENCE, "nobody tells of lines that were left out");
        drop(world.arrive(0, "Anna", 2).await);
    }
    let (log, wrong) = (world.log(), "login refused: the name is bound");
    let lines = log.lines().filter(|line| line.contains(wrong)).count();
    assert!((1..ATTEMPTS / 2).contains(&lines), "{lines} lines of {ATTEMPTS}");
}

/// Asks for more durable commands than a burst has, and counts those that are not refused as too many.
async fn commands(session: &mut Session) -> usize {
    let mut decided = 0;
    for number in 0..25 {
        let command = format!(r#"{{"eat":{{"item":"berry {number}"}}}}"#);
        match session.act(command.into()).await {
            Ok(()) | Err(RequestError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
        let answer = async {
            loop {
                match session.next().await.unwrap() {
                    Event::Outcome(outcome) if outcome.sequence > 0 => return outcome.code,
                    Event::Unsettled { .. } => return "unavailable".to_owned(),
                    _ => {}
                }
            }
        };
        match timeout(PATIENCE, answer).await.unwrap().as_str() {
            "slow_down" => break,
            _ => decided += 1,
        }
    }
    decided
}

#[tokio::test]
async fn logging_in_again_gives_nobody_more_commands() {
    let world = World::start("[limits]\n");
    let (began, mut decided, mut sessions) = (Instant::now(), 0, 0);
    // On either node, and with a session that is left or one that is superseded.
    let mut old = None;
    for number in 0..8 {
        let mut session = world.arrive(number % 2, "Anna", 1).await.unwrap();
        sessions += 1;
        decided += commands(&mut session).await;
        if number % 3 == 0 {
            old = Some(session);
        } else {
            session.bye().await;
        }
    }
    drop(old);
    let seconds = began.elapsed().as_secs_f64();
    let most = 20.0 + 10.0 * seconds + f64::from(sessions);
    assert!(f64::from(decided as u32) <= most, "{decided} commands in {seconds} s");
    assert!(decided >= 20, "{decided} commands are fewer than a newcomer may do");
}
