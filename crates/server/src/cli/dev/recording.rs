//! `--record`: writes into a file how many bytes passed through clients' sockets, and when.

use anyhow::Result;
use pelago_net::recording::Passage;
use pelago_runtime::AdminCalls;
use pelago_runtime::admin_calls::{Answer, AskError, Question, ask_all};
use pelago_store::files;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Where in the number of a recorded connection its node begins.
const NODE_SHIFT: u32 = 24;

/// What begins and ends a recording, from now on: SIGUSR1.
pub(super) fn toggle() -> Result<Signal> {
    Ok(signal(SignalKind::user_defined1())?)
}

/// Records from one signal to the next, again and again.
pub(super) async fn record(mut toggle: Signal, calls: Arc<dyn AdminCalls>, file: PathBuf) {
    loop {
        toggle.recv().await;
        for (_, began) in ask_all(&calls, &Question::BeginRecording).await {
            if let Err(error) = began {
                tracing::error!(%error, "--record");
            }
        }
        toggle.recv().await;
        let passages = match recorded(&calls).await {
            Ok(passages) => passages,
            Err(error) => {
                tracing::error!(%error, "--record");
                continue;
            }
        };
        match write(&passages, &file) {
            Ok(()) => tracing::info!(passages = passages.len(), "recorded"),
            Err(error) => tracing::error!(%error, file = %file.display(), "--record"),
        }
    }
}

/// What all nodes have recorded, in order. The index of the node is in the highest bits of a connection's number.
async fn recorded(calls: &Arc<dyn AdminCalls>) -> Result<Vec<Passage>, AskError> {
    let mut all = Vec::new();
    for (index, (node, answer)) in (0u32..).zip(ask_all(calls, &Question::EndRecording).await) {
        let Answer::Recording(bytes) = answer? else {
            return Err(AskError::Malformed(node, "it is no recording".to_owned()));
        };
        let numbered = |passage: Passage| Passage {
            connection: index << NODE_SHIFT | passage.connection & ((1 << NODE_SHIFT) - 1),
            ..passage
        };
        all.extend(Passage::decode_all(&bytes).into_iter().map(numbered));
    }
    all.sort_by_key(|passage| passage.at_us);
    Ok(all)
}

/// A program that waits for the file may read it at once: it is whole or not there.
fn write(passages: &[Passage], file: &Path) -> std::io::Result<()> {
    let bytes: Vec<u8> = passages.iter().flat_map(Passage::encode).collect();
    files::replace(file, &bytes)
}
