//! Batches: calls of one key that are decided and committed together.

use super::ChatConfig;
use super::decide::{Decided, Nudge, Question, Subject};
use crate::call::Caller;
use crate::chat_call::{ChatCall, chat_answer};
use crate::documents::avatar::NameDocument;
use crate::log::Level;
use crate::service::ServiceContext;
use pelago_game::Refusal;
use pelago_model::{Backoff, Document, Key, Retry, Transaction, WorldTime, keys_of_name};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Calls that share a commit.
pub const MAX_BATCH_CALLS: usize = 16;
/// How often a batch is tried that meets conflicts, or whose commit nobody knows the end of; then its callers are told
/// `unavailable`.
pub const MAX_ATTEMPTS: u32 = 16;
/// The pauses between the attempts.
const AGAIN: Backoff = Backoff { first_ms: 4, longest_ms: 250, attempts: MAX_ATTEMPTS };

/// A call, and who waits for its answer.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) call: Arc<ChatCall>,
    pub(super) deadline: WorldTime,
    caller: Caller,
    is_answered: bool,
}

impl Waiting {
    pub(super) fn new(caller: Caller, call: ChatCall, deadline: WorldTime) -> Self {
        Self { call: Arc::new(call), deadline, caller, is_answered: false }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Tells the caller what became of the call, unless it was told before that nobody knows.
    pub(super) fn answer(&mut self, cx: &mut ServiceContext<'_>, result: Result<(), Refusal>) {
        if !self.is_answered {
            self.is_answered = true;
            cx.reply(self.caller, chat_answer(result));
        }
    }
}

/// What a batch needs next.
pub(super) enum Step {
    Load(Vec<Key>),
    Run(Box<Question>),
    Commit(Transaction),
    Finish,
}

/// Calls that are under way together.
pub(super) struct Batch {
    pub(super) calls: Vec<Waiting>,
    documents: BTreeMap<Key, Document>,
    /// What is being loaded.
    loading: Vec<Key>,
    answers: Vec<Result<(), Refusal>>,
    nudge: Option<Nudge>,
    retry: Retry,
    /// Until when it waits to be tried again.
    pub(super) pause: Option<WorldTime>,
}

impl Batch {
    pub(super) fn new(calls: Vec<Waiting>) -> Self {
        Self {
            calls,
            documents: BTreeMap::new(),
            loading: Vec::new(),
            answers: Vec::new(),
            nudge: None,
            retry: Retry::new(AGAIN),
            pause: None,
        }
    }

    /// What it needs before it can be decided, or its decision.
    pub(super) fn next(&mut self, cx: &mut ServiceContext<'_>, config: &Arc<ChatConfig>) -> Step {
        let mut keys: Vec<Key> =
            self.calls.iter().map(|waiting| Key::avatar(waiting.call.session().0)).collect();
        let subject = self.subject(cx, &mut keys);
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| !self.documents.contains_key(key));
        match subject {
            Some(subject) if keys.is_empty() => Step::Run(Box::new(Question {
                config: config.clone(),
                now: cx.now(),
                subject,
                calls: self.calls.iter().map(|waiting| waiting.call.clone()).collect(),
                documents: std::mem::take(&mut self.documents),
            })),
            _ => {
                self.loading.clone_from(&keys);
                Step::Load(keys)
            }
        }
    }

    /// What the calls are about, if the documents tell yet. Adds what is wanted to `keys`.
    fn subject(&self, cx: &mut ServiceContext<'_>, keys: &mut Vec<Key>) -> Option<Subject> {
        let subject = match &*self.calls.first()?.call {
            ChatCall::Say { island, .. } => Subject::Room(*island),
            ChatCall::Whisper { name, .. } | ChatCall::Taken { name, .. } => {
                let names = keys_of_name(name);
                let missing = names.iter().filter(|key| !self.documents.contains_key(*key));
                let missing: Vec<Key> = missing.cloned().collect();
                if !missing.is_empty() {
                    keys.extend(missing);
                    return None;
                }
                let read = names.iter().filter_map(|key| Some((key, self.documents.get(key)?)));
                let mut borne = read.filter(|(_, document)| document.value.is_some());
                let Some((key, document)) = borne.next() else { return Some(Subject::Nobody) };
                match NameDocument::read(document) {
                    Ok(Some(name)) => {
                        // Its node is told of what is whispered to it.
                        keys.push(Key::avatar(name.avatar));
                        Subject::Mailbox(name.avatar)
                    }
                    Ok(None) => Subject::Nobody,
                    Err(error) => {
                        cx.log(Level::Error, 0, format!("{key}: {error}"));
                        Subject::Nobody
                    }
                }
            }
        };
        keys.extend(subject.key());
        Some(subject)
    }

    /// Takes documents in, in the order in which they were asked for.
    pub(super) fn loaded(&mut self, documents: Vec<Document>) {
        self.documents.extend(std::mem::take(&mut self.loading).into_iter().zip(documents));
    }

    /// Takes the decision in.
    pub(super) fn decided(&mut self, cx: &mut ServiceContext<'_>, decided: Decided) -> Step {
        if let Some(broken) = decided.broken {
            cx.log(Level::Error, 0, broken);
        }
        (self.answers, self.nudge) = (decided.answers, decided.nudge);
        match decided.transaction.writes.is_empty() {
            true => Step::Finish,
            false => Step::Commit(decided.transaction),
        }
    }

    /// Everything has to be read and decided again, after a pause that ends then; `None` if that was tried too often.
    pub(super) fn again(&mut self, now: WorldTime) -> Option<WorldTime> {
        (self.answers, self.nudge) = (Vec::new(), None);
        self.documents.clear();
        let speaker = self.calls.first().map_or(0, |waiting| waiting.call.session().0.0);
        self.pause = self.retry.failed(speaker ^ now.0.cast_unsigned()).map(|ms| now.plus(ms));
        self.pause
    }

    /// It is on disk: everybody is answered. Whom to tell of it comes back.
    pub(super) fn finish(mut self, cx: &mut ServiceContext<'_>) -> Option<Nudge> {
        for (waiting, answer) in self.calls.iter_mut().zip(self.answers) {
            waiting.answer(cx, answer);
        }
        self.nudge
    }

    /// Everybody is told the same.
    pub(super) fn refuse_all(mut self, cx: &mut ServiceContext<'_>, refusal: &Refusal) {
        self.calls.iter_mut().for_each(|waiting| waiting.answer(cx, Err(refusal.clone())));
    }
}
