//! The task of a node that answers the questions of operators.

use super::answers::{
    CountersAnswer, GrantAnswer, HeldAnswer, IslandAnswer, LaneCounts, RecordAnswer, RecordedFile,
    ServiceCallAnswer, ServiceCount, StatusAnswer, StewardCounts, WorldAnswer,
};
use super::{Answer, AskError, GrantQuestion, Question, ServiceCallQuestion};
use crate::flight::{Flight, Written};
use crate::mailbox::{Mailbox, MailboxSender, mailbox};
use crate::task_meter::{TaskMeter, TaskReport};
use crate::tasks::Shared;
use bytes::{BufMut, BytesMut};
use pelago_game::{Land, Refusal};
use pelago_model::{IslandClock, IslandId, Limit, LimitCounts, NodeId, Role, Size};
use pelago_net::recording::Passage;
use pelago_node::{DurableResult, MachineId};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// Questions that wait; one more is refused as [`AskError::Busy`].
const MAX_QUESTIONS: usize = 256;

/// A question, and where its answer goes.
struct Asked {
    question: Question,
    answer: oneshot::Sender<Answer>,
}

/// The way to a node for questions. It may outlive the node.
#[derive(Clone)]
pub struct NodeHandle {
    node: NodeId,
    questions: MailboxSender<Asked>,
}

impl NodeHandle {
    /// The number of the node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Asks, and waits for the answer for as long as it takes.
    ///
    /// # Errors
    /// If the node is busy or has ended.
    pub async fn ask(&self, question: Question) -> Result<Answer, AskError> {
        let (answer, answered) = oneshot::channel();
        match self.questions.try_send(Asked { question, answer }) {
            Ok(()) => answered.await.map_err(|_| AskError::Ended(self.node)),
            Err(TrySendError::Full(_)) => Err(AskError::Busy(self.node)),
            Err(TrySendError::Closed(_)) => Err(AskError::Ended(self.node)),
        }
    }
}

/// What the desk knows of its node.
pub(crate) struct Desk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) meters: Vec<Arc<TaskMeter>>,
    pub(crate) tcp: String,
    pub(crate) websocket_url: String,
    pub(crate) world: u32,
    pub(crate) lands: BTreeMap<IslandId, Arc<Land>>,
    pub(crate) clock: IslandClock,
}

/// The questions to a node, on their way.
pub(crate) struct Questions(Mailbox<Asked>);

/// A way to the node, and its end. The task with this meter answers.
pub(crate) fn questions(node: NodeId, meter: &Arc<TaskMeter>) -> (NodeHandle, Questions) {
    let (questions, mailbox) = mailbox(MAX_QUESTIONS, meter);
    (NodeHandle { node, questions }, Questions(mailbox))
}

/// Answers until the node ends.
pub(crate) async fn run(desk: Desk, Questions(mut mailbox): Questions) {
    // As many calls to services as the node makes at once, which it bounds itself.
    let mut calls = JoinSet::new();
    // One at most: an operator who asks for another one meanwhile is refused.
    let mut recordings = JoinSet::new();
    loop {
        tokio::select! {
            asked = mailbox.recv() => {
                let Some(Asked { question, answer }) = asked else {
                    // No handle is left; the owner of the node may still ask.
                    return std::future::pending().await;
                };
                let (shared, clock) = (desk.shared.clone(), desk.clock);
                // The asker may have gone when the answer is there.
                match question {
                    Question::Grant(grant) => drop(calls.spawn(async move {
                        drop(answer.send(json(&grant_now(&shared, clock, grant).await)));
                    })),
                    Question::Call(call) => drop(calls.spawn(async move {
                        drop(answer.send(json(&call_now(&shared, call).await)));
                    })),
                    Question::Record if !recordings.is_empty() => {
                        let problem = "the node is writing recordings already".to_owned();
                        drop(answer.send(json(&RecordAnswer::Failed { problem })));
                    }
                    Question::Record => {
                        let flight = shared.flight.clone();
                        recordings.spawn(async move {
                            drop(answer.send(json(&record_now(flight).await)));
                        });
                    }
                    question => drop(answer.send(desk.answer(&question))),
                }
            }
            // What its writing ended with was answered.
            Some(_) = recordings.join_next() => {}
            Some(ended) = calls.join_next() => {
                // A bug in a call is one of this node.
                if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}

/// Writes recordings, one after the other.
async fn record_now(flight: Arc<Flight>) -> RecordAnswer {
    let written = tokio::task::spawn_blocking(move || flight.write_all()).await;
    match written {
        Ok(Ok(written)) => {
            let file = |written: Written| RecordedFile {
                machine: written.machine.to_string(),
                file: written.file.display().to_string(),
                bytes: written.bytes as u64,
                inputs: written.inputs,
                whole: written.whole,
            };
            RecordAnswer::Written { files: written.into_iter().map(file).collect() }
        }
        Ok(Err(problem)) => RecordAnswer::Failed { problem },
        Err(error) => RecordAnswer::Failed { problem: error.to_string() },
    }
}

async fn grant_now(shared: &Shared, clock: IslandClock, grant: GrantQuestion) -> GrantAnswer {
    let GrantQuestion { key, avatar, what, reason } = grant;
    let received = clock.at(shared.clock.now());
    match shared.grant((key, avatar), what, reason, received).await {
        DurableResult::Done { effects, .. } => {
            GrantAnswer::Done { effects: serde_json::from_slice(&effects).unwrap_or(Value::Null) }
        }
        DurableResult::Refused(refusal) => refused(refusal),
        DurableResult::Failed { .. } => refused(Refusal::internal()),
    }
}

fn refused(refusal: Refusal) -> GrantAnswer {
    GrantAnswer::Refused {
        code: refusal.code.into_owned(),
        sentence: refusal.sentence.into_owned(),
    }
}

async fn call_now(shared: &Shared, call: ServiceCallQuestion) -> ServiceCallAnswer {
    let ServiceCallQuestion { role, key, body } = call;
    match shared.call_service((role, key), body).await {
        Ok(answer) => ServiceCallAnswer::Answered { answer },
        Err(refusal) => ServiceCallAnswer::Failed {
            code: refusal.code.into_owned(),
            sentence: refusal.sentence.into_owned(),
        },
    }
}

fn service_count(((role, name), count): ((Role, &str), u64)) -> ServiceCount {
    ServiceCount { role, name: name.to_owned(), count }
}

/// An answer in JSON. The types of answers all fit it.
fn json(answer: &impl Serialize) -> Answer {
    Answer::Json(serde_json::to_value(answer).unwrap_or(Value::Null))
}

impl Desk {
    fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Status => json(&self.status()),
            Question::Islands => json(&self.islands()),
            Question::Tasks => {
                let reports: Vec<TaskReport> =
                    self.meters.iter().map(|meter| meter.report()).collect();
                json(&reports)
            }
            Question::Sizes => json(&self.sizes()),
            Question::Limits => json(&self.limits()),
            Question::Counters => json(&self.counters()),
            Question::BeginRecording => {
                self.shared.status.traffic.recorder.begin(Instant::now());
                Answer::Json(Value::Null)
            }
            Question::EndRecording => {
                let mut bytes = BytesMut::new();
                let passages = self.shared.status.traffic.recorder.end();
                passages.iter().for_each(|passage| bytes.put_slice(&Passage::encode(passage)));
                Answer::Recording(bytes.freeze())
            }
            // The loop carries these out.
            Question::Grant(_) | Question::Record | Question::Call(_) => Answer::Json(Value::Null),
        }
    }

    fn status(&self) -> StatusAnswer {
        let status = &self.shared.status;
        let now = self.shared.clock.now();
        let readiness = status.readiness();
        StatusAnswer {
            id: self.shared.node,
            tcp: self.tcp.clone(),
            ws: self.websocket_url.clone(),
            ready: readiness.is_ready(),
            readiness,
            alarms: status.alarms(),
            lanes: status.lanes.len(),
            connections: status.connections.load(Relaxed),
            players: status.lanes.iter().map(|lane| lane.players.load(Relaxed)).sum(),
            members: status.standing.members.load(Relaxed),
            world: WorldAnswer {
                number: self.world,
                game: self.shared.game.name().to_owned(),
                time_ms: now,
                clock: self.shared.clock.answer(),
            },
        }
    }

    fn islands(&self) -> Vec<IslandAnswer> {
        let island = |land: &Arc<Land>| {
            let spec = land.spec();
            IslandAnswer {
                id: spec.id,
                seed: spec.seed,
                chunks: spec.size,
                generator: spec.generator,
                manifest: land.manifest().to_string(),
            }
        };
        self.lands.values().map(island).collect()
    }

    fn sizes(&self) -> Vec<HeldAnswer> {
        let status = &self.shared.status;
        let mut all = held_by_others(&status.sizes);
        for (number, lane) in (0u8..).zip(&status.lanes) {
            all.extend(held(Some(number), &lane.sizes));
        }
        all
    }

    fn limits(&self) -> BTreeMap<String, u64> {
        let status = &self.shared.status;
        let mut counts = LimitCounts::default();
        locked(&status.limits).values().for_each(|met| counts.merge(met));
        for lane in &status.lanes {
            counts.merge(&locked(&lane.counters).limits);
        }
        counts.merge(&status.traffic.limits());
        counts.merge(&status.peer_traffic.limits());
        Limit::ALL.iter().map(|limit| (limit.name().to_owned(), counts.of(*limit))).collect()
    }

    fn counters(&self) -> CountersAnswer {
        let status = &self.shared.status;
        let busy_ns = |lane: usize| {
            let name = format!("lane_{lane}");
            let meter = self.meters.iter().find(|meter| meter.name() == name);
            meter.map_or(0, |meter| meter.report().busy_ns)
        };
        let lanes = status.lanes.iter().enumerate().map(|(number, lane)| {
            let players = lane.players.load(Relaxed);
            LaneCounts::new(players, busy_ns(number), &locked(&lane.counters))
        });
        CountersAnswer {
            connections: status.connections.load(Relaxed),
            backlog: status.count_of(Role::steward(), "backlog") as usize,
            stewards: StewardCounts {
                commits: status.count_of(Role::steward(), "commits"),
                turns: status.count_of(Role::steward(), "turns"),
            },
            services: status.service_counts().into_iter().map(service_count).collect(),
            links: (&*locked(&status.links)).into(),
            lanes: lanes.collect(),
            clients: (&*status.traffic).into(),
            peers: (&*status.peer_traffic).into(),
        }
    }
}

/// Of machines that are no lanes, those of one kind together.
fn held_by_others(sizes: &Mutex<BTreeMap<MachineId, Vec<Size>>>) -> Vec<HeldAnswer> {
    let mut all: BTreeMap<&'static str, (usize, usize)> = BTreeMap::new();
    for size in locked(sizes).values().flatten() {
        let (held, limit) = all.entry(size.of).or_default();
        (*held, *limit) = (*held + size.held, limit.saturating_add(size.limit));
    }
    let answer = |(of, (held, limit)): (&'static str, (usize, usize))| HeldAnswer {
        lane: None,
        of: of.to_owned(),
        held,
        limit,
    };
    all.into_iter().map(answer).collect()
}

fn held(lane: Option<u8>, sizes: &Mutex<Vec<Size>>) -> Vec<HeldAnswer> {
    let answer = |size: &Size| {
        let Size { of, held, limit, .. } = *size;
        HeldAnswer { lane, of: of.to_owned(), held, limit }
    };
    locked(sizes).iter().map(answer).collect()
}

/// Values under these locks are replaced whole.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
