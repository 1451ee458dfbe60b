//! Mailboxes of tasks: channels that tell the task's meter how much waits, and for how long.

use crate::task_meter::TaskMeter;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// An input, and since when it waits.
struct Waiting<T> {
    since: Instant,
    input: T,
}

/// The way into a mailbox that has a limit.
pub(crate) struct MailboxSender<T> {
    sender: mpsc::Sender<Waiting<T>>,
    meter: Arc<TaskMeter>,
}

/// A mailbox that has a limit: a sender waits at it, or is refused.
pub(crate) struct Mailbox<T> {
    receiver: mpsc::Receiver<Waiting<T>>,
    meter: Arc<TaskMeter>,
}

/// A mailbox of the task with this meter, for `limit` inputs.
pub(crate) fn mailbox<T>(limit: usize, meter: &Arc<TaskMeter>) -> (MailboxSender<T>, Mailbox<T>) {
    meter.set_limit(limit);
    let (sender, receiver) = mpsc::channel(limit);
    let meter = meter.clone();
    (MailboxSender { sender, meter: meter.clone() }, Mailbox { receiver, meter })
}

impl<T> Clone for MailboxSender<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), meter: self.meter.clone() }
    }
}

impl<T> MailboxSender<T> {
    /// Hands over if there is a place.
    pub(crate) fn try_send(&self, input: T) -> Result<(), TrySendError<T>> {
        match self.sender.try_reserve() {
            Ok(place) => {
                self.meter.note_sent();
                place.send(Waiting { since: Instant::now(), input });
                Ok(())
            }
            Err(TrySendError::Full(())) => Err(TrySendError::Full(input)),
            Err(TrySendError::Closed(())) => Err(TrySendError::Closed(input)),
        }
    }
}

impl<T> Mailbox<T> {
    /// The next input; `None` once nobody can send any more.
    pub(crate) async fn recv(&mut self) -> Option<T> {
        let waiting = self.receiver.recv().await?;
        Some(take(&self.meter, waiting))
    }
}

fn take<T>(meter: &TaskMeter, waiting: Waiting<T>) -> T {
    meter.note_taken(waiting.since);
    waiting.input
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_full_mailbox_refuses_and_its_depth_is_seen() {
        let meter = Arc::new(TaskMeter::new("desk".to_owned()));
        let (sender, mut mailbox) = mailbox(2, &meter);
        for number in 0..2 {
            assert!(sender.try_send(number).is_ok());
        }
        assert!(matches!(sender.try_send(2), Err(TrySendError::Full(2))));
        assert_eq!(meter.report().mailbox, 2);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(mailbox.recv().await, Some(0));
        let report = meter.report();
        assert_eq!((report.mailbox, report.mailbox_limit), (1, Some(2)));
        assert!(report.longest_wait_ns >= 20_000_000, "{report:?}");
        assert!(sender.try_send(3).is_ok());
        drop(mailbox);
        assert!(matches!(sender.try_send(4), Err(TrySendError::Closed(4))));
    }
}
