//! Flight recordings of nodes that run: written when asked for and when a machine panics, and run again.

use crate::harness::{self, address, until};
use crate::player::{PATIENCE, Player};
use bytes::Bytes;
use pelago_frontier::Frontier;
use pelago_model::{NodeId, Role, Size, WorldTime};
use pelago_node::recorder::Entry;
use pelago_node::replay::config_of;
use pelago_node::service::{Completion, Service, ServiceCall, ServiceContext, ServiceKind};
use pelago_node::{MachineId, Recording, Replay, ReplayParts, RequestId};
use pelago_runtime::admin_calls::{Question, RecordAnswer, ask};
use pelago_runtime::{InProcessBook, Node, ProcessCalls};
use pelago_store::Store;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A service with a bug: it panics when it is told the clock for the third time.
#[derive(Default)]
struct Bomb {
    woken: u32,
    at: WorldTime,
}

impl Service for Bomb {
    fn call(&mut self, _: &mut ServiceContext<'_>, _: ServiceCall) {}

    fn completed(&mut self, _: &mut ServiceContext<'_>, _: RequestId, _: Completion) {}

    fn wake(&mut self, cx: &mut ServiceContext<'_>) {
        self.woken += 1;
        self.at = cx.now().plus(100);
        assert!(self.woken < 3, "the bomb has gone off");
    }

    fn next_wake(&self) -> Option<WorldTime> {
        Some(self.at)
    }

    fn sizes(&self) -> Vec<Size> {
        Vec::new()
    }
}

fn bomb() -> ServiceKind {
    ServiceKind::new(Role::parse("bomb").unwrap(), |_| Bomb::default())
}

/// A node that writes recordings into a directory.
async fn node(directory: &Path, services: &[ServiceKind]) -> Node {
    let store: Arc<dyn Store> = pelago_store::open("memory:").unwrap();
    let (world, book) = (harness::world(&*store), InProcessBook::default());
    let mut builder = harness::node(1, &world, &store, &book).record_into(directory);
    for service in services {
        builder = builder.service(service.clone());
    }
    builder.start().await.unwrap()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn read(file: &Path) -> Recording {
    Recording::read(&Bytes::from(std::fs::read(file).unwrap())).unwrap()
}

/// Runs a recording again; says how many inputs were handled, and whether the machine panicked at the next one.
fn replayed(recording: &Recording, more_services: Vec<ServiceKind>) -> (u64, bool) {
    // The world's secret is not in the recording.
    let parts = ReplayParts { game: Arc::new(Frontier), more_services, secret: [0; 32] };
    let config = config_of(recording.header(), parts).unwrap();
    let mut replay = Replay::new(&config, recording);
    let (mut handled, mut outputs) = (0, Vec::new());
    for entry in recording.entries() {
        let (now, entry) = entry.unwrap();
        let counts = u64::from(matches!(entry, Entry::Input(_)));
        let step = AssertUnwindSafe(|| replay.step(now, entry, &mut outputs));
        if catch_unwind(step).is_err() {
            return (handled, true);
        }
        handled += counts;
    }
    (handled, false)
}

#[tokio::test]
async fn what_an_operator_asks_for_is_written_without_tokens_and_runs_again() {
    let directory = tempfile::tempdir().unwrap();
    let flight = directory.path().join("flight");
    let node = node(&flight, &[]).await;
    until("the node is ready", || node.is_ready()).await;
    let mut anna = Player::arrive(&address(&node), "Anna").await;
    anna.walk().await;
    sleep(Duration::from_millis(300)).await;
    let calls = ProcessCalls::new([node.handle()]);
    let answer: RecordAnswer = ask(&calls, NodeId(1), Question::Record).await.unwrap();
    let RecordAnswer::Written { files: written } = answer else { panic!("{answer:?}") };
    assert_eq!(written.len(), files(&flight).len());
    let machines: Vec<&str> = written.iter().map(|file| file.machine.as_str()).collect();
    assert_eq!(machines, ["links", "arrivals", "lane-0", "lane-1", "service-0"]);

    let secret = b"Anna------------";
    for file in &written {
        let path = Path::new(&file.file);
        let bytes = std::fs::read(path).unwrap();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "a token in {path:?}");
        assert_eq!(bytes.len() as u64, file.bytes);
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        let recording = read(path);
        assert!(file.whole && recording.header().whole);
        assert_eq!(replayed(&recording, Vec::new()), (file.inputs, false));
    }
    // The name of whoever came is in it, and nothing else that she is known by.
    let arrivals = std::fs::read(&written[1].file).unwrap();
    assert!(arrivals.windows(4).any(|part| part == b"Anna"));
    node.stop().await;
}

#[tokio::test]
async fn a_panic_leaves_a_recording_whose_replay_panics_at_the_same_input() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(directory.path(), &[bomb()]).await;
    let reason = timeout(PATIENCE, node.failure()).await.expect("the node ends");
    assert!(reason.contains("the bomb has gone off"), "{reason}");
    let files = files(directory.path());
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let recording = read(file);
    assert_eq!(recording.machine(), MachineId::Service(0));
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("1-service-0-") && name.ends_with(".pelago-flight"), "{name}");
    // The last input is the one at which it panicked.
    assert_eq!(replayed(&recording, vec![bomb()]), (recording.header().inputs - 1, true));
    node.stop().await;
}

#[tokio::test]
async fn a_node_without_a_directory_records_nothing_and_says_so() {
    let store: Arc<dyn Store> = pelago_store::open("memory:").unwrap();
    let (world, book) = (harness::world(&*store), InProcessBook::default());
    let node = harness::node(1, &world, &store, &book).start().await.unwrap();
    let calls = ProcessCalls::new([node.handle()]);
    let answer: RecordAnswer = ask(&calls, NodeId(1), Question::Record).await.unwrap();
    assert!(matches!(answer, RecordAnswer::Failed { .. }), "{answer:?}");
    node.stop().await;
}
