//! The baseline: the sizes and times of a recording, over as many sockets, without any game.
//!
//! Both sides are replayed, what the server wrote and what its clients wrote: reading costs, too. The server's side
//! is a process of its own on the server's core, with the runtime and the socket options of the real one.

use crate::cores;
use crate::process::{Process, Usage};
use anyhow::{Context, Result};
use pelago_net::recording::Passage;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

/// Both sides begin this long after the last connection.
const BEGIN_AFTER: Duration = Duration::from_secs(1);
/// What is read at once.
const READ_BYTES: usize = 4096;

/// What the baseline has used.
pub(crate) struct Replayed {
    /// Of the server's side, in cores.
    pub(crate) cpu: f64,
    /// How late its writes were, by its own clock.
    pub(crate) late_p99_ms: f64,
}

/// A recording, with its connections numbered from 0.
struct Script {
    connections: usize,
    passages: Vec<Passage>,
}

impl Script {
    fn read(file: &Path) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("{}", file.display()))?;
        let mut passages = Passage::decode_all(&bytes);
        let mut numbers = BTreeMap::new();
        for passage in &mut passages {
            let next = numbers.len() as u32;
            passage.connection = *numbers.entry(passage.connection).or_insert(next);
        }
        Ok(Self { connections: numbers.len(), passages })
    }

    fn seconds(&self) -> f64 {
        self.passages.last().map_or(0.0, |last| f64::from(last.at_us) / 1e6)
    }
}

/// Replays a recording: the server's side in a process of its own, the clients' side here.
pub(crate) async fn replay(file: &Path) -> Result<Replayed> {
    let script = Script::read(file)?;
    let mut command = cores::on_the_servers_core(&std::env::current_exe()?);
    command.arg("replay").arg(file);
    let process = Process::start(command)?;
    let address = process.first_line.trim().parse()?;
    let mut streams = Vec::with_capacity(script.connections);
    for number in 0..script.connections {
        let socket = TcpSocket::new_v4()?;
        let source = std::net::Ipv4Addr::new(127, 0, 2, (number % 16) as u8 + 1);
        socket.bind((source, 0).into())?;
        let mut stream = socket.connect(address).await.context("connecting to the baseline")?;
        stream.set_nodelay(true)?;
        stream.write_all(&(number as u32).to_le_bytes()).await?;
        streams.push(stream);
    }
    let began = Instant::now() + BEGIN_AFTER;
    let streams: Vec<Arc<TcpStream>> = streams.into_iter().map(Arc::new).collect();
    let readers: Vec<_> =
        streams.iter().map(|stream| tokio::spawn(drain(stream.clone()))).collect();
    sleep_until(began).await;
    let before = process.usage()?;
    let of_clients = script.passages.iter().filter(|passage| passage.read);
    write_all(of_clients, &streams, began).await;
    sleep_until(began + Duration::from_secs_f64(script.seconds())).await;
    let after = process.usage()?;
    for reader in readers {
        reader.abort();
    }
    drop(streams);
    // It reports once all clients are gone.
    sleep(Duration::from_millis(300)).await;
    let late: f64 = std::fs::read_to_string(late_file(file))?.trim().parse()?;
    process.stop().await?;
    let cpu = |usage: &Usage| usage.cpu_seconds();
    let seconds = (after.at - before.at).as_secs_f64();
    Ok(Replayed { cpu: (cpu(&after) - cpu(&before)) / seconds, late_p99_ms: late })
}

fn late_file(file: &Path) -> std::path::PathBuf {
    file.with_extension("late")
}

/// The server's side: a runtime as the real server's.
pub(crate) fn serve(file: &Path) -> Result<()> {
    pelago_net::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let script = Script::read(file)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let mut streams: Vec<Option<Arc<TcpStream>>> = vec![None; script.connections];
        for _ in 0..script.connections {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let mut number = [0; 4];
            stream.read_exact(&mut number).await?;
            let stream = Arc::new(stream);
            tokio::spawn(drain(stream.clone()));
            streams[u32::from_le_bytes(number) as usize] = Some(stream);
        }
        let streams: Vec<Arc<TcpStream>> = streams.into_iter().flatten().collect();
        let began = Instant::now() + BEGIN_AFTER;
        let of_server = script.passages.iter().filter(|passage| !passage.read);
        let late = write_all(of_server, &streams, began).await;
        std::fs::write(late_file(file), late.to_string())?;
        // The other side stops us.
        std::future::pending::<()>().await;
        Ok(())
    })
}

/// Reads and drops.
async fn drain(stream: Arc<TcpStream>) {
    let mut buffer = [0; READ_BYTES];
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

/// Writes what is to be written when it is to be written; returns how late it was, 99th percentile, in ms.
async fn write_all<'a>(
    passages: impl Iterator<Item = &'a Passage>,
    streams: &[Arc<TcpStream>],
    began: Instant,
) -> f64 {
    let zeros = vec![0; 1024 * 1024];
    let mut late_us: Vec<u32> = Vec::new();
    for passage in passages {
        let due = began + Duration::from_micros(u64::from(passage.at_us));
        // What is due within the same millisecond goes out together, as from one tick.
        if due > Instant::now() + Duration::from_millis(1) {
            sleep_until(due).await;
        }
        let size = (passage.size as usize).min(zeros.len());
        // A client that is gone or does not read is not our subject.
        drop(streams[passage.connection as usize].try_write(&zeros[..size]));
        late_us.push(due.elapsed().as_micros() as u32);
    }
    late_us.sort_unstable();
    let p99 = late_us.get(late_us.len() * 99 / 100).copied().unwrap_or(0);
    f64::from(p99) / 1000.0
}
