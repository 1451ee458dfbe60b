//! A task that hangs is noticed, whatever it does: the node is not ready meanwhile, and others go on.

use crate::harness::{node, until, world};
use pelago_model::{Key, NodeId, Role, Size};
use pelago_runtime::admin_calls::{AdminCalls as _, Question, ServiceCallQuestion};
use pelago_runtime::service::{
    Completion, RequestId, Service, ServiceCall, ServiceContext, ServiceKind,
};
use pelago_runtime::{InProcessBook, Node, ProcessCalls, ReasonCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// A service whose call does not return for as long as it is told to.
struct Hanging(Arc<AtomicBool>);

impl Service for Hanging {
    fn call(&mut self, cx: &mut ServiceContext<'_>, call: ServiceCall) {
        while self.0.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        cx.reply(call.caller, bytes::Bytes::from_static(b"1"));
    }

    fn completed(&mut self, _cx: &mut ServiceContext<'_>, _request: RequestId, _end: Completion) {}

    fn sizes(&self) -> Vec<Size> {
        Vec::new()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_task_that_hangs_takes_readiness_away_until_it_returns() {
    let store = pelago_store::open("memory:").unwrap();
    let (world, book) = (world(&*store), InProcessBook::default());
    let hangs = Arc::new(AtomicBool::new(true));
    let (role, told) = (Role::parse("hanging").unwrap(), hangs.clone());
    let kind = ServiceKind::new(role, move |_| Hanging(told.clone()));
    let node: Node = node(1, &world, &store, &book).service(kind).start().await.unwrap();
    until("it is ready", || node.is_ready()).await;

    let call = ServiceCallQuestion { role, key: Key::parse("a/b").unwrap(), body: "1".to_owned() };
    let calls = ProcessCalls::new([node.handle()]);
    let asked = tokio::spawn(calls.ask(NodeId(1), Question::Call(call)));
    let names_the_task = || {
        let reasons = node.readiness().reasons;
        let mut of_tasks = reasons.iter().filter(|reason| reason.code == ReasonCode::Task);
        of_tasks.any(|reason| reason.sentence.contains("service_0"))
    };
    until("the task is named", names_the_task).await;
    until("only a restart would help", || !node.readiness().is_alive()).await;
    hangs.store(false, SeqCst);
    until("it is ready again", || node.is_ready() && node.readiness().is_alive()).await;
    // It has taken too long to be answered, or not.
    drop(asked.await);
    node.stop().await;
}
