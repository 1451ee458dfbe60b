//! A service that counts visits, each once: the document `tally/gate` says how often somebody passed the gate.

use pelago_runtime::service::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Calls that one instance works on at once; one more is rejected as `busy`.
const MAX_CALLS: usize = 1024;
/// Visitors that one document remembers, which bounds its size; one more is refused as `full`.
const MAX_VISITORS: usize = 900;
/// How long a call may take, in ms; then it is answered with `unknown`.
const CALL_TIME_MS: i64 = 4000;

/// What the service is asked: to count a visit. The visitor numbers them, and repeats one under its number.
#[derive(Deserialize)]
struct Visit {
    visitor: EntityId,
    number: u64,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// The visit is on disk. It was this one of all visits.
    Counted(u64),
    /// It was not counted, and why. After `unknown` it may have been: ask again under the same number.
    Refused(&'static str),
}

/// The document of a key.
#[derive(Default, Deserialize, Serialize)]
struct Tally {
    visits: u64,
    /// The number of each visitor's last visit, and what was answered.
    last: BTreeMap<EntityId, (u64, u64)>,
}

/// A call that is under way: its document is being read, or written.
struct Call {
    caller: Caller,
    key: Key,
    visit: Visit,
    deadline: WorldTime,
    /// What it is answered once the document is written.
    answer: Answer,
}

#[derive(Default)]
struct Tallies {
    calls: BTreeMap<RequestId, Call>,
    counted: u64,
    conflicts: u64,
}

/// The service, as it is registered.
pub fn kind() -> ServiceKind {
    ServiceKind::new(Role::parse("tally").expect("a role"), |_| Tallies::default())
}

impl Tally {
    /// Counts a visit, unless it was counted before.
    fn count(&mut self, visit: &Visit) -> Answer {
        match self.last.get(&visit.visitor) {
            Some((number, answer)) if *number == visit.number => return Answer::Counted(*answer),
            Some((number, _)) if *number > visit.number => return Answer::Refused("stale"),
            None if self.last.len() >= MAX_VISITORS => return Answer::Refused("full"),
            _ => self.visits += 1,
        }
        self.last.insert(visit.visitor, (visit.number, self.visits));
        Answer::Counted(self.visits)
    }
}

impl Call {
    fn reply(self, cx: &mut ServiceContext<'_>, answer: Answer) {
        cx.reply(self.caller, json::encode(&answer).unwrap_or_default());
    }
}

impl Tallies {
    fn read(&mut self, cx: &mut ServiceContext<'_>, call: Call) {
        self.calls.insert(cx.load(vec![call.key.clone()]), call);
    }

    fn write(&mut self, cx: &mut ServiceContext<'_>, mut call: Call, document: Document) {
        let tally = document.value.as_ref().map_or(Ok(Tally::default()), |it| json::decode(it));
        let Ok(mut tally) = tally else { return call.reply(cx, Answer::Refused("internal")) };
        let before = tally.visits;
        call.answer = tally.count(&call.visit);
        if tally.visits == before {
            let answer = call.answer.clone();
            return call.reply(cx, answer);
        }
        let (key, expected) = (call.key.clone(), document.revision);
        let write = Write { key, expected, schema: 1, value: json::encode(&tally).ok() };
        let transaction = Transaction { checks: Vec::new(), writes: vec![write] };
        self.calls.insert(cx.commit(transaction), call);
    }
}

impl Service for Tallies {
    fn call(&mut self, cx: &mut ServiceContext<'_>, call: ServiceCall) {
        let (caller, key, deadline) = (call.caller, call.key, cx.now().plus(CALL_TIME_MS));
        if self.calls.len() >= MAX_CALLS {
            return cx.reject(caller, "busy");
        }
        match json::decode::<Visit>(&call.body) {
            // The key comes from outside: another kind's document is not ours to write.
            Ok(visit) if key.kind() == "tally" => {
                let answer = Answer::Refused("unknown");
                self.read(cx, Call { caller, key, visit, deadline, answer });
            }
            _ => cx.reply(caller, json::encode(&Answer::Refused("malformed")).unwrap_or_default()),
        }
    }

    fn completed(&mut self, cx: &mut ServiceContext<'_>, request: RequestId, end: Completion) {
        // A call that is not known any more was overdue, and has its answer.
        let Some(call) = self.calls.remove(&request) else { return };
        match end {
            Completion::Stored(StoreAnswer::Loaded(Some(documents))) => {
                self.write(cx, call, documents.into_iter().next().unwrap_or(Document::ABSENT));
            }
            Completion::Stored(StoreAnswer::Committed(CommitOutcome::Committed)) => {
                self.counted += 1;
                let answer = call.answer.clone();
                call.reply(cx, answer);
            }
            // Somebody else wrote the document, or nobody knows whether we did. Reading it again tells.
            Completion::Stored(StoreAnswer::Committed(
                CommitOutcome::Conflict { .. } | CommitOutcome::Unknown,
            )) => {
                self.conflicts += 1;
                self.read(cx, call);
            }
            _ => call.reply(cx, Answer::Refused("unknown")),
        }
    }

    fn wake(&mut self, cx: &mut ServiceContext<'_>) {
        let now = cx.now();
        for (_, call) in self.calls.extract_if(.., |_, call| call.deadline <= now) {
            call.reply(cx, Answer::Refused("unknown"));
        }
    }

    fn next_wake(&self) -> Option<WorldTime> {
        self.calls.values().map(|call| call.deadline).min()
    }

    fn sizes(&self) -> Vec<Size> {
        vec![Size::queue("calls of the tally", self.calls.len(), MAX_CALLS)]
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("counted", self.counted), ("conflicts", self.conflicts)]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::sync::Arc;

    const NODES: usize = 2;

    fn hosts() -> TestHosts {
        TestHosts::new(Arc::new(pelago_frontier::Frontier), &[kind()], NODES)
    }

    fn gate() -> Key {
        Key::parse("tally/gate").unwrap()
    }

    /// A visit, asked for at one of the nodes.
    fn visit(hosts: &mut TestHosts, node: usize, visitor: u64, number: u64) -> u64 {
        let visitor = EntityId(visitor);
        let body = format!(r#"{{"visitor": "{visitor}", "number": {number}}}"#);
        hosts.call(node, kind().role, &gate(), body)
    }

    fn answer(hosts: &TestHosts, call: u64) -> Option<&str> {
        let answer: &ServiceAnswer = hosts.answer(call)?;
        answer.as_ref().ok().map(|body| std::str::from_utf8(body).unwrap())
    }

    fn visits(hosts: &TestHosts) -> u64 {
        let value = hosts.document(&gate()).value;
        value.map_or(0, |bytes| json::decode::<Tally>(&bytes).unwrap().visits)
    }

    #[test]
    fn a_visit_that_is_repeated_counts_once_and_has_the_same_answer() {
        let mut hosts = hosts();
        for node in [0, 1, 0] {
            let call = visit(&mut hosts, node, 7, 1);
            hosts.run();
            assert_eq!(answer(&hosts, call), Some(r#"{"counted":1}"#));
        }
        let (next, old) = (visit(&mut hosts, 1, 7, 3), visit(&mut hosts, 1, 7, 2));
        hosts.run();
        assert_eq!(answer(&hosts, next), Some(r#"{"counted":2}"#));
        assert_eq!(answer(&hosts, old), Some(r#"{"refused":"stale"}"#));
    }

    #[test]
    fn two_instances_that_both_believe_they_are_preferred_count_every_visit_once() {
        for seed in 0..500 {
            let mut hosts = hosts();
            let calls: Vec<u64> =
                (0..8).map(|call| visit(&mut hosts, call as usize % NODES, call / 2, 1)).collect();
            hosts.run_stormy(seed);
            // Each visit was asked for at both nodes.
            assert_eq!(visits(&hosts), 4, "seed {seed}");
            for pair in calls.chunks(2) {
                let answers = [answer(&hosts, pair[0]), answer(&hosts, pair[1])];
                assert!(answers[0].unwrap().starts_with(r#"{"counted":"#), "seed {seed}");
                assert_eq!(answers[0], answers[1], "seed {seed}");
            }
            for node in 0..NODES {
                assert!(hosts.host(node).sizes().iter().all(|size| size.held <= size.rest));
            }
        }
    }

    #[test]
    fn what_is_not_done_in_time_is_answered_all_the_same() {
        let mut hosts = hosts();
        let call = visit(&mut hosts, 0, 7, 1);
        hosts.pass(CALL_TIME_MS);
        hosts.run();
        assert_eq!(answer(&hosts, call), Some(r#"{"refused":"unknown"}"#));
        let again = visit(&mut hosts, 0, 7, 1);
        hosts.run();
        assert_eq!(answer(&hosts, again), Some(r#"{"counted":1}"#));
    }

    #[test]
    fn no_other_document_is_written() {
        let mut hosts = hosts();
        for (key, body) in [
            ("avatar/0000000000000007", r#"{"visitor": "0000000000000007", "number": 1}"#),
            ("tally/gate", "?"),
        ] {
            let key = Key::parse(key).unwrap();
            let call = hosts.call(0, kind().role, &key, body);
            hosts.run();
            assert_eq!(answer(&hosts, call), Some(r#"{"refused":"malformed"}"#));
            assert_eq!(hosts.document(&key), Document::ABSENT);
        }
    }
}
