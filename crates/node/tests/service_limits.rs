//! What a host and the composer promise about services that answer too late, never, too often or too much.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pelago_cluster::Directory;
use pelago_frontier::Frontier;
use pelago_model::limits::{MAX_CALL_BYTES, MAX_MESSAGE_BYTES};
use pelago_model::{
    Incarnation, IslandClock, Key, Machine, NodeId, PublisherId, Role, Size, WorldTime,
};
use pelago_node::call::{CallError, CallResult};
use pelago_node::service::{
    Completion, Service, ServiceCall, ServiceContext, ServiceEffect, ServiceHost, ServiceInput,
    ServiceKind, ServiceSeat,
};
use pelago_node::{
    CallTarget, Caller, Composer, MachineInput, OutgoingCall, Output, RequestId, ShellEffect,
};
use std::sync::{Arc, Mutex};

const NOW: WorldTime = WorldTime(1_000_000);
const DEADLINE_MS: u32 = 3000;

type Ends = Arc<Mutex<Vec<CallResult>>>;

/// A service that answers with as many bytes as it is asked for, or, without a number, asks another one and waits.
struct Echo(Ends);

impl Service for Echo {
    fn call(&mut self, cx: &mut ServiceContext<'_>, call: ServiceCall) {
        match std::str::from_utf8(&call.body).unwrap().parse::<usize>() {
            Ok(bytes) => cx.reply(call.caller, vec![b'x'; bytes].into()),
            Err(_) => drop(cx.call_role(role(), call.key, Bytes::from_static(b"?"), DEADLINE_MS)),
        }
    }

    fn completed(&mut self, _: &mut ServiceContext<'_>, _: RequestId, end: Completion) {
        let Completion::Answered(result) = end else { panic!("{end:?}") };
        self.0.lock().unwrap().push(result);
    }

    fn sizes(&self) -> Vec<Size> {
        Vec::new()
    }
}

fn role() -> Role {
    Role::parse("echo").unwrap()
}

fn host() -> (ServiceHost, Ends) {
    let (ends, node) = (Ends::default(), NodeId(1));
    let seat = ServiceSeat {
        node,
        publisher: PublisherId::service(node, 0, Incarnation(1)),
        game: Arc::new(Frontier),
        lands: Arc::default(),
        clock: IslandClock::IDENTITY,
        secret: [7; 32],
    };
    let kind = ServiceKind::new(role(), {
        let ends = ends.clone();
        move |_| Echo(ends.clone())
    });
    (ServiceHost::new(&seat, &[kind]), ends)
}

fn tell(host: &mut ServiceHost, now: WorldTime, input: ServiceInput) -> Vec<ServiceEffect> {
    let mut effects = Vec::new();
    host.handle(now, input, &mut effects);
    effects
}

fn ask(host: &mut ServiceHost, body: &str) -> Vec<ServiceEffect> {
    let (caller, key) = (Caller::Operator { number: 1 }, Key::parse("echo/wall").unwrap());
    let call = ServiceCall { caller, key, body: body.to_owned().into(), trace: 0 };
    tell(host, NOW, ServiceInput::Call { role: role(), call })
}

/// Asks the service to ask another one. Returns the number of its call.
fn ask_to_wait(host: &mut ServiceHost) -> u64 {
    match &ask(host, "?")[..] {
        [ServiceEffect::Call { number, .. }] => *number,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_that_nobody_answers_ends_soon_after_its_deadline() {
    let (mut host, ends) = host();
    let number = ask_to_wait(&mut host);
    let deadline = NOW.plus(DEADLINE_MS.into());
    let mut overdue = NOW;
    // It wants to be woken before, too, so that it notices when it was not run.
    while ends.lock().unwrap().is_empty() {
        overdue = host.next_wake().expect("it waits");
        assert!(overdue.since(deadline) < 1000);
        tell(&mut host, overdue, ServiceInput::Wake);
    }
    assert!(overdue > deadline);
    assert_eq!(*ends.lock().unwrap(), [Err(CallError::DeadlineExceeded)]);
    // What comes after that comes too late.
    tell(&mut host, overdue, ServiceInput::Answered { number, result: Ok(Bytes::new()) });
    assert_eq!(ends.lock().unwrap().len(), 1);
    assert_eq!(host.next_wake(), None);
    assert!(host.sizes().iter().all(|size| size.held == 0));
}

#[test]
fn a_call_ends_once_however_often_it_is_answered() {
    let (mut host, ends) = host();
    let number = ask_to_wait(&mut host);
    for _ in 0..3 {
        tell(&mut host, NOW, ServiceInput::Answered { number, result: Ok(Bytes::new()) });
    }
    assert_eq!(*ends.lock().unwrap(), [Ok(Bytes::new())]);
    // Nothing is left that would wake it.
    assert_eq!(host.next_wake(), None);
}

#[test]
fn an_answer_that_fits_no_message_is_noted_and_not_sent() {
    const { assert!(MAX_CALL_BYTES + 1024 < MAX_MESSAGE_BYTES) };
    let (mut host, _) = host();
    let longest = ask(&mut host, &MAX_CALL_BYTES.to_string());
    assert!(matches!(&longest[..], [ServiceEffect::Reply { reply: Ok(_), .. }]));
    for bytes in [MAX_CALL_BYTES + 1, 10 * 1024 * 1024] {
        let effects = ask(&mut host, &bytes.to_string());
        let [ServiceEffect::Log(line)] = &effects[..] else { panic!("{bytes}: {effects:?}") };
        assert!(line.text.contains("too large"), "{}", line.text);
    }
}

#[test]
fn a_call_that_fits_no_message_is_rejected_before_it_is_sent() {
    let composer = Composer { node: NodeId(1), lanes: 1, services: 1 };
    // Nobody is known, so that a call goes to the links.
    let directory = Directory::default();
    let ends = |bytes: usize| {
        let target = CallTarget::Preferred { role: role(), key: Key::parse("echo/wall").unwrap() };
        let body = vec![0; bytes].into();
        let call = OutgoingCall { target, body, deadline_ms: 1, repeatable: true, trace: 0 };
        let mut out = Vec::new();
        composer.operator_call(&directory, 5, call, &mut out);
        match &out[..] {
            [Output::Machine(MachineInput::Links(_))] => None,
            [Output::Shell(ShellEffect::OperatorAnswered { number: 5, result })] => {
                Some(result.clone())
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ends(MAX_CALL_BYTES), None);
    assert_eq!(ends(MAX_CALL_BYTES + 1), Some(Err(CallError::Rejected("too_large".into()))));
}
