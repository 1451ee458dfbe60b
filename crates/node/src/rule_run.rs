//! Rules that are handed out to be run where they may take their time.
//!
//! A rule that does not return cannot be stopped. So no machine runs durable rules itself: it hands them out as
//! [`RuleRun`] and receives a [`RuleEnd`]. A server runs them on a thread for rules, the simulator at once.

use std::any::Any;
use std::fmt;

/// Work of a service that runs a game's rules.
pub struct RuleRun(Box<dyn FnOnce() -> RuleEnd + Send>);

/// What came of it, for the service that handed it out.
pub struct RuleEnd(Box<dyn Any + Send>);

impl RuleRun {
    /// Work to be handed out.
    pub fn new<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self(Box::new(move || RuleEnd(Box::new(work()))))
    }

    /// Does it.
    pub fn run(self) -> RuleEnd {
        (self.0)()
    }
}

impl RuleEnd {
    /// The end of rules of which nobody knows any more what they decided: no caller can take anything from it.
    pub(crate) fn forgotten() -> Self {
        Self(Box::new(()))
    }

    /// What the work returned; `None` if it is of another type than the caller handed out.
    pub fn take<T: 'static>(self) -> Option<T> {
        self.0.downcast().ok().map(|end| *end)
    }
}

impl fmt::Debug for RuleRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuleRun(..)")
    }
}

impl fmt::Debug for RuleEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuleEnd(..)")
    }
}
