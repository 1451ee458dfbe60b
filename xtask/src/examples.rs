//! The examples: the Python client against the vectors, two of them in a real world, and a studio's package.

use crate::run::{cargo_program, command, root, run};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the clients play, in seconds.
const PLAY_S: u32 = 7;
/// How long a client may take for that, with its login.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);
/// The oldest Python that the example is written for.
const PYTHON: &str = "import sys; sys.exit(sys.version_info < (3, 11))";

/// A program that is ended when nobody needs it any more.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the examples.
pub(crate) fn check(pelago: &Path) -> Result<()> {
    let python = Command::new("python3").args(["-c", PYTHON]).status();
    ensure!(python.is_ok_and(|status| status.success()), "Python 3.11 or newer is needed");
    let mut vectors = python_command(&["-m", "unittest", "--quiet"]);
    vectors.stdin(Stdio::null());
    run(vectors)?;
    meet(pelago)?;
    package()
}

/// A studio's package builds outside of the workspace. Its tests are among those of the runtime, where nothing has to be
/// compiled anew for them.
fn package() -> Result<()> {
    let folder = root().join("examples/tally");
    // The same versions as ours: only our own crates are compiled twice, since they belong to another workspace there.
    std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let mut check = command(&cargo_program(), &["check", "--quiet", "--all-targets"]);
    check.current_dir(folder).env("CARGO_TARGET_DIR", root().join("target"));
    run(check)
}

fn python_command(arguments: &[&str]) -> Command {
    let mut command = command("python3", arguments);
    // No bytecode beside the sources.
    command.current_dir(root().join("docs/examples/python")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Two clients on two nodes, one over TCP and one over WebSocket, see each other walk, speak and wave.
fn meet(pelago: &Path) -> Result<()> {
    let mut world = command(&pelago.to_string_lossy(), &["dev", "--json", "--bots", "0"]);
    world.args(["--nodes", "3", "--store", "memory:", "--http", "127.0.0.1:0", "--data"]);
    world.arg(root().join("target/examples-data"));
    world.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut world = Ended(world.spawn().context("could not start the world")?);
    let addresses = announced(world.0.stdout.take())?;
    let address = |kind: &str, node: usize| {
        let address = addresses[kind][node].as_str();
        address.map(str::to_owned).with_context(|| format!("no {kind} address of node {node}"))
    };
    let anna = play("Anna", &address("tcp", 0)?)?;
    let bert = play("Bert", &address("ws", 1)?)?;
    saw("Anna", &heard("Anna", anna)?, "Bert")?;
    saw("Bert", &heard("Bert", bert)?, "Anna")?;
    println!("two Python clients met on two nodes");
    Ok(())
}

/// The line with the addresses; the world prints it when it is ready, or ends.
fn announced(output: Option<ChildStdout>) -> Result<Value> {
    let mut line = String::new();
    BufReader::new(output.context("no output")?).read_line(&mut line)?;
    serde_json::from_str(&line).context("the world did not say where it is")
}

fn play(name: &str, address: &str) -> Result<Ended> {
    let seconds = PLAY_S.to_string();
    let arguments = ["client.py", "--name", name, "--connect", address, "--seconds", &seconds];
    let mut client = python_command(&arguments);
    client.stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(Ended(client.spawn().context("could not start a client")?))
}

/// What a client printed, once it has ended well.
fn heard(name: &str, mut client: Ended) -> Result<Vec<Value>> {
    let until = Instant::now() + CLIENT_TIMEOUT;
    // What it prints fits the pipe: a few lines a second.
    while client.0.try_wait()?.is_none() {
        ensure!(Instant::now() < until, "{name} does not come to an end");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut output = Vec::new();
    if let Some(mut pipe) = client.0.stdout.take() {
        pipe.read_to_end(&mut output)?;
    }
    let status = client.0.wait()?;
    ensure!(status.success(), "{name} failed: {status}");
    String::from_utf8(output)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Somebody saw another come, walk, speak, wave and gather, and missed nothing.
fn saw(name: &str, lines: &[Value], other: &str) -> Result<()> {
    for event in ["enter", "turn", "say", "gesture"] {
        let is_there = lines.iter().any(|line| line["event"] == event && line["who"] == other);
        ensure!(is_there, "{name} did not see the {event} of {other}");
    }
    let gathered = lines.iter().any(|line| line["event"] == "object");
    ensure!(gathered, "{name} saw nothing of what was gathered");
    match lines.last() {
        Some(end) if end["event"] == "end" && end["gaps"] == 0 => Ok(()),
        other => bail!("{name} missed something: {other:?}"),
    }
}
