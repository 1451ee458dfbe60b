//! What waits for a task that has a connection.

use crate::waiting::MAX_WAITING;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Requests in the order in which they came. Full at [`MAX_WAITING`]: more are refused.
pub(super) struct Queue<T> {
    /// Guards the requests, and whether more may come.
    state: Mutex<State<T>>,
    /// Told when somebody may find something to take.
    changed: Notify,
}

struct State<T> {
    requests: VecDeque<T>,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let state = State { requests: VecDeque::new(), closed: false };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }
}

impl<T> Queue<T> {
    /// Adds a request, unless the queue is full or closed: then it comes back. It must be dropped, and so be answered,
    /// where no lock is held, because a caller that is answered may ask again.
    pub(super) fn push(&self, request: T) -> Option<T> {
        let mut state = self.state();
        if state.closed || state.requests.len() >= MAX_WAITING {
            return Some(request);
        }
        state.requests.push_back(request);
        drop(state);
        self.changed.notify_one();
        None
    }

    /// Returns requests that were taken to where they stood: first.
    pub(super) fn put_back(&self, requests: Vec<T>) {
        let mut state = self.state();
        requests.into_iter().rev().for_each(|request| state.requests.push_front(request));
        drop(state);
        self.changed.notify_one();
    }

    /// Takes what `choose` takes, as soon as it takes something; `None` when the queue is closed and empty.
    pub(super) async fn take<R>(
        &self,
        mut choose: impl FnMut(&mut VecDeque<T>) -> Option<R>,
    ) -> Option<R> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                let chosen = choose(&mut state.requests);
                if chosen.is_some() {
                    // What is left may be for another task.
                    if !state.requests.is_empty() || state.closed {
                        self.changed.notify_one();
                    }
                    return chosen;
                }
                if state.closed && state.requests.is_empty() {
                    self.changed.notify_one();
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Somebody may choose otherwise now.
    pub(super) fn reconsider(&self) {
        self.changed.notify_one();
    }

    /// Takes the requests that came first, as long as they are late.
    pub(super) fn expire(&self, is_late: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.state();
        let late = state.requests.iter().take_while(|request| is_late(request)).count();
        let late: Vec<T> = state.requests.drain(..late).collect();
        drop(state);
        if !late.is_empty() {
            self.changed.notify_one();
        }
        late
    }

    /// Takes no more requests.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// Whether it is closed and empty.
    pub(super) fn is_done(&self) -> bool {
        let state = self.state();
        state.closed && state.requests.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing is left half done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn what_is_put_back_comes_first_again_and_a_closed_queue_is_emptied() {
        let queue = Queue::default();
        assert!((1..=4).all(|number| queue.push(number).is_none()));
        run(async {
            let two = queue.take(|waiting| Some(waiting.drain(..2).collect::<Vec<_>>())).await;
            queue.put_back(two.unwrap());
            queue.close();
            assert_eq!(queue.push(5), Some(5));
            assert_eq!(queue.expire(|number| *number < 2), [1]);
            let mut taken = Vec::new();
            while let Some(number) = queue.take(VecDeque::pop_front).await {
                taken.push(number);
            }
            assert_eq!(taken, [2, 3, 4]);
            assert!(queue.is_done());
        });
    }

    #[test]
    fn who_waits_is_woken_by_what_comes_and_by_the_end() {
        let queue = Queue::default();
        run(async {
            let both = futures_util::future::join(queue.take(VecDeque::pop_front), async {
                tokio::task::yield_now().await;
                assert!(queue.push(1).is_none());
            });
            assert_eq!(both.await.0, Some(1));
            let three = futures_util::future::join3(
                queue.take(VecDeque::pop_front),
                queue.take(VecDeque::pop_front),
                async { queue.close() },
            );
            assert_eq!(three.await, (None, None, ()));
        });
    }

    #[test]
    fn a_full_queue_refuses() {
        let queue = Queue::default();
        assert!((0..MAX_WAITING).all(|number| queue.push(number).is_none()));
        assert_eq!(queue.push(0), Some(0));
    }
}
