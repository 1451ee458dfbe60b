//! The threads on which rules run: a rule that takes its time holds up the turns of its host, and no machine.

use super::post::Post;
use pelago_node::{MachineId, MachineInput, RequestId, RuleRun};
use std::sync::{Arc, mpsc};

/// The way to the thread for the rules of one host of services. Dropped, the thread ends after what it has.
pub(super) struct Rules {
    runs: mpsc::Sender<(MachineId, RequestId, RuleRun)>,
}

impl Rules {
    /// A thread for rules, and the task that lives for as long as it does. A rule that panics is caught where it is run; a
    /// panic of the thread itself is one of the task.
    pub(super) fn start(post: Arc<Post>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (runs, waiting) = mpsc::channel::<(MachineId, RequestId, RuleRun)>();
        let thread = tokio::task::spawn_blocking(move || {
            while let Ok((machine, request, run)) = waiting.recv() {
                if let Some(input) = MachineInput::ran(machine, request, run.run()) {
                    post.tell(input, &mut |_| ());
                }
            }
        });
        let lives = async move {
            if let Err(error) = thread.await
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        };
        (Self { runs }, lives)
    }

    /// Runs rules after those that wait already. Their number is bounded by the batches that services have under way.
    pub(super) fn run(&self, machine: MachineId, request: RequestId, run: RuleRun) {
        // If its thread has ended, the node ends, too.
        drop(self.runs.send((machine, request, run)));
    }
}
