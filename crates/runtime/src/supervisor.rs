//! The tasks of a node under supervision: none of them ends before the node does, and one that ends all the same ends
//! the node.

use crate::task_meter::{Metered, TaskMeter};
use pelago_model::NodeId;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};

/// Tasks that are started together.
#[derive(Default)]
pub(crate) struct Supervisor {
    tasks: JoinSet<()>,
    names: BTreeMap<Id, String>,
    meters: Vec<Arc<TaskMeter>>,
}

/// Tasks that run.
#[derive(Debug)]
pub(crate) struct Supervised {
    supervisor: JoinHandle<()>,
    stop: watch::Sender<bool>,
    /// Why they ended, if one has ended that should not have.
    failure: watch::Receiver<Option<String>>,
}

impl Supervisor {
    /// The meter of a task that will be started.
    pub(crate) fn meter(&mut self, name: impl Into<String>) -> Arc<TaskMeter> {
        let meter = Arc::new(TaskMeter::new(name.into()));
        self.meters.push(meter.clone());
        meter
    }

    /// All meters.
    pub(crate) fn meters(&self) -> Vec<Arc<TaskMeter>> {
        self.meters.clone()
    }

    /// Starts a task.
    pub(crate) fn spawn(
        &mut self,
        meter: Arc<TaskMeter>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn_on(&Handle::current(), meter, task);
    }

    /// Starts a task on other threads than the caller's.
    pub(crate) fn spawn_on(
        &mut self,
        threads: &Handle,
        meter: Arc<TaskMeter>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let name = meter.name().to_owned();
        let handle = self.tasks.spawn_on(Metered::new(meter, task), threads);
        self.names.insert(handle.id(), name);
    }

    /// Watches over the tasks until they are stopped, or the first of them ends: then all of them end, and what they
    /// shared is cleared.
    pub(crate) fn watch(self, node: NodeId, clear: impl FnOnce() + Send + 'static) -> Supervised {
        let (stop, mut stopped) = watch::channel(false);
        let (tell, failure) = watch::channel(None);
        let Self { mut tasks, names, meters: _ } = self;
        let supervisor = tokio::spawn(async move {
            let ended = tokio::select! {
                ended = tasks.join_next_with_id() => ended,
                // An owner that is gone without a word is an end, too.
                _ = stopped.wait_for(|stopped| *stopped) => None,
            };
            tasks.shutdown().await;
            clear();
            let (id, why) = match ended {
                None => return,
                Some(Ok((id, ()))) => (id, "ended".to_owned()),
                Some(Err(error)) => (error.id(), reason(error)),
            };
            let name = names.get(&id).map_or("", String::as_str);
            let reason = format!("node {node}: the task {name:?} {why}");
            tracing::error!("{reason}");
            tell.send_replace(Some(reason));
        });
        Supervised { supervisor, stop, failure }
    }
}

impl Supervised {
    /// Why the tasks have ended, if one of them has ended by itself.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.clone()
    }

    /// Ends all tasks.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        // A supervisor that panicked has dropped its tasks, which ends them.
        drop(self.supervisor.await);
    }
}

fn reason(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("panicked: {}", text(&*panic)),
        Err(error) => error.to_string(),
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    /// Tasks of which the second lives until it is ended; the receiver learns of its end.
    fn with(
        task: impl Future<Output = ()> + Send + 'static,
    ) -> (Supervised, oneshot::Receiver<()>) {
        let mut supervisor = Supervisor::default();
        let meter = supervisor.meter("lane 0");
        supervisor.spawn(meter, task);
        let (lives, ended) = oneshot::channel();
        let meter = supervisor.meter("links");
        supervisor.spawn(meter, async move {
            std::future::pending::<()>().await;
            drop(lives);
        });
        (supervisor.watch(NodeId(3), || ()), ended)
    }

    async fn failure(supervised: &Supervised) -> String {
        let mut failure = supervised.failure();
        failure.wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_the_others_and_its_words_are_told() {
        let (supervised, others) = with(async { panic!("slot {} is taken", 5) });
        let reason = failure(&supervised).await;
        assert!(reason.contains("\"lane 0\" panicked: slot 5 is taken"), "{reason}");
        assert!(others.await.is_err(), "the other task has ended");
    }

    #[tokio::test]
    async fn a_task_that_returns_is_a_failure_too() {
        let (supervised, others) = with(async {});
        assert!(failure(&supervised).await.contains("\"lane 0\" ended"));
        assert!(others.await.is_err(), "the other task has ended");
    }

    #[tokio::test]
    async fn stopping_is_no_failure() {
        let (supervised, others) = with(std::future::pending());
        let failure = supervised.failure();
        supervised.stop().await;
        assert!(others.await.is_err(), "the other task has ended");
        assert_eq!(*failure.borrow(), None);
    }
}
