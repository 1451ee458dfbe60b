//! A request that is answered exactly once, whatever becomes of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A caller that waits for an answer. Dropping it answers, so that no path, not even a panic, can forget to.
pub(crate) struct Pending<T> {
    done: Option<Box<dyn FnOnce(T) + Send>>,
    answer: Option<T>,
}

impl<T> Pending<T> {
    /// Waits; `answer` is what it gets if nobody says anything else.
    pub(crate) fn new(done: Box<dyn FnOnce(T) + Send>, answer: T) -> Self {
        Self { done: Some(done), answer: Some(answer) }
    }

    /// Changes what it gets if nobody says anything else.
    pub(crate) fn expect(&mut self, answer: T) {
        self.answer = Some(answer);
    }

    /// Answers.
    pub(crate) fn answer(mut self, answer: T) {
        self.expect(answer);
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        let (Some(done), Some(answer)) = (self.done.take(), self.answer.take()) else { return };
        // A panic is the asker's, and must not end the thread that answers all others.
        if catch_unwind(AssertUnwindSafe(|| done(answer))).is_err() {
            tracing::error!("who asked the store panicked at the answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn what_is_dropped_is_answered_and_what_is_answered_is_not_answered_again() {
        let (sender, answers) = channel();
        let pending = |answer| {
            let sender = sender.clone();
            Pending::new(Box::new(move |answer| sender.send(answer).unwrap()), answer)
        };
        drop(pending(1));
        pending(2).answer(3);
        let mut changed = pending(4);
        changed.expect(5);
        drop(changed);
        drop(Pending::new(Box::new(|_| panic!("the asker's bug")), 6));
        drop(sender);
        assert_eq!(answers.iter().collect::<Vec<i32>>(), [1, 3, 5]);
    }
}
