//! What operators ask of nodes: questions and answers, the same for a node in this process and for one elsewhere.
//!
//! An operator's program holds no part of a node: a question goes through a channel, or some day over a link, and its
//! answer is JSON (or bytes, for a recording). So the programs of operators work alike for one process and for a
//! cluster.

mod answers;
pub(crate) mod desk;

pub use answers::{
    CountersAnswer, GrantAnswer, HeldAnswer, IslandAnswer, LaneCounts, LinkCounts, RecordAnswer,
    RecordedFile, ServiceCallAnswer, ServiceCount, StatusAnswer, StewardCounts, TrafficCounts,
    WorldAnswer,
};
pub use desk::NodeHandle;

use bytes::Bytes;
use pelago_model::{EntityId, GrantKey, Key, NodeId, Role};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a node may take for an answer that it has at hand.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it may take for a call to a service: longer than the node gives the call itself.
const CALL_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to hand over a recording.
const RECORDING_TIMEOUT: Duration = Duration::from_secs(30);

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Where the node is and how it is: [`StatusAnswer`].
    Status,
    /// The islands it knows: a list of [`IslandAnswer`].
    Islands,
    /// What each task does with its time: a list of [`TaskReport`](crate::TaskReport).
    Tasks,
    /// How full everything is: a list of [`HeldAnswer`].
    Sizes,
    /// How often each limit was met: numbers by name.
    Limits,
    /// All counters: [`CountersAnswer`].
    Counters,
    /// To record from now on what passes through clients' sockets: `null`.
    BeginRecording,
    /// To end it: [`Answer::Recording`].
    EndRecording,
    /// To grant something to an avatar: [`GrantAnswer`].
    Grant(GrantQuestion),
    /// To write down what each machine was told in the last minute: [`RecordAnswer`].
    Record,
    /// To call a service of the studio: [`ServiceCallAnswer`].
    Call(ServiceCallQuestion),
}

/// The grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantQuestion {
    /// The idempotency key.
    pub key: GrantKey,
    /// The avatar that gets it.
    pub avatar: EntityId,
    /// What: the game's JSON, as text.
    pub what: String,
    /// Why, and by whom.
    pub reason: String,
}

/// What a service of the studio is to be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCallQuestion {
    /// The role of the service.
    pub role: Role,
    /// The key that the call is about.
    pub key: Key,
    /// The body of the call: JSON, as text.
    pub body: String,
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// As the question says.
    Json(Value),
    /// Passages, each as [`Passage::encode`](pelago_net::recording::Passage::encode) writes it.
    Recording(Bytes),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nobody here knows a node of this number.
    #[error("there is no node {0}")]
    NoSuchNode(NodeId),
    /// Too many questions wait for the node: ask again later.
    #[error("node {0} has too many questions to answer")]
    Busy(NodeId),
    /// The node has not answered in time. The request may have been carried out.
    #[error("node {0} does not answer")]
    Late(NodeId),
    /// The node has ended. The request may have been carried out.
    #[error("node {0} has ended")]
    Ended(NodeId),
    /// The answer is not one to this question: the node speaks another version.
    #[error("the answer of node {0} is not understood: {1}")]
    Malformed(NodeId, String),
}

/// An answer to come.
pub type AskFuture = Pin<Box<dyn Future<Output = Result<Answer, AskError>> + Send>>;

/// The way to nodes for those who operate them.
pub trait AdminCalls: Send + Sync + 'static {
    /// Whom one may ask.
    fn nodes(&self) -> Vec<NodeId>;

    /// Asks a node. The answer comes within a time limit, or is an error.
    fn ask(&self, node: NodeId, question: Question) -> AskFuture;
}

/// The nodes of this process.
#[derive(Clone, Default)]
pub struct ProcessCalls(Vec<NodeHandle>);

impl ProcessCalls {
    /// These nodes, in this order.
    pub fn new(nodes: impl IntoIterator<Item = NodeHandle>) -> Self {
        Self(nodes.into_iter().collect())
    }
}

impl AdminCalls for ProcessCalls {
    fn nodes(&self) -> Vec<NodeId> {
        self.0.iter().map(NodeHandle::node).collect()
    }

    fn ask(&self, node: NodeId, question: Question) -> AskFuture {
        let handle = self.0.iter().find(|handle| handle.node() == node).cloned();
        Box::pin(async move {
            let Some(handle) = handle else { return Err(AskError::NoSuchNode(node)) };
            let time = question.time_limit();
            let answer = tokio::time::timeout(time, handle.ask(question)).await;
            answer.unwrap_or(Err(AskError::Late(node)))
        })
    }
}

impl Question {
    fn time_limit(&self) -> Duration {
        match self {
            Self::Grant(_) | Self::Call(_) => CALL_ANSWER_TIMEOUT,
            Self::EndRecording | Self::Record => RECORDING_TIMEOUT,
            _ => ANSWER_TIMEOUT,
        }
    }
}

impl Answer {
    /// What JSON says, if it is the answer that was expected.
    ///
    /// # Errors
    /// [`AskError::Malformed`] if it is another one.
    pub fn read<T: DeserializeOwned>(self, node: NodeId) -> Result<T, AskError> {
        let malformed = |problem: String| AskError::Malformed(node, problem);
        match self {
            Self::Json(value) => {
                serde_json::from_value(value).map_err(|error| malformed(error.to_string()))
            }
            Self::Recording(_) => Err(malformed("it is a recording".to_owned())),
        }
    }
}

/// Asks one node for JSON.
///
/// # Errors
/// [`AskError`] says whether to ask again.
pub async fn ask<T: DeserializeOwned>(
    calls: &dyn AdminCalls,
    node: NodeId,
    question: Question,
) -> Result<T, AskError> {
    calls.ask(node, question).await?.read(node)
}

/// Asks all nodes at once, and waits for all of them. The answers come in the order of [`AdminCalls::nodes`].
pub async fn ask_all(
    calls: &Arc<dyn AdminCalls>,
    question: &Question,
) -> Vec<(NodeId, Result<Answer, AskError>)> {
    let nodes = calls.nodes();
    let mut asked = JoinSet::new();
    for node in &nodes {
        let (node, answer) = (*node, calls.ask(*node, question.clone()));
        asked.spawn(async move { (node, answer.await) });
    }
    let mut answers = BTreeMap::new();
    while let Some(answered) = asked.join_next().await {
        // One that broke off is as one that has not answered.
        if let Ok((node, answer)) = answered {
            answers.insert(node, answer);
        }
    }
    let answer = |node: NodeId| (node, answers.remove(&node).unwrap_or(Err(AskError::Late(node))));
    nodes.into_iter().map(answer).collect()
}
