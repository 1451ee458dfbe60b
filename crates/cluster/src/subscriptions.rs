//! What one node reads from another, as state that is reconciled: versioned, acknowledged, idempotent.
//!
//! The reader keeps [`Wanted`], the publisher [`Served`]. A change names the version that it starts from; one that
//! starts from another version than the publisher holds ends the link, and the next link begins with the whole set.

use crate::link::HangupReason;
use pelago_model::ChannelId;
use pelago_wire::frame::StreamKind;
use pelago_wire::peer::{Channel, Subscriptions};
use std::collections::{BTreeMap, BTreeSet};

/// Subjects that one node may read from another; beyond it the link is hung up.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 65_536;
/// Changes of one message, so that it stays far below the limit of messages; what is more goes into the next.
const MAX_CHANGES: usize = 16_384;

/// What one may subscribe to.
pub type Subject = (ChannelId, StreamKind);

/// The reader's side.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// What the publisher was told: subject to the version that last added it.
    told: BTreeMap<Subject, u64>,
    version: u64,
    /// The version that the publisher says it serves.
    held: u64,
    add: BTreeSet<Subject>,
    remove: BTreeSet<Subject>,
}

impl Wanted {
    /// From the next message on the subject is read (again, from its beginning), or not any more.
    pub(crate) fn want(&mut self, subject: Subject, wanted: bool) {
        if wanted {
            self.remove.remove(&subject);
            self.add.insert(subject);
        } else {
            self.add.remove(&subject);
            if self.told.contains_key(&subject) {
                self.remove.insert(subject);
            }
        }
    }

    /// Whether the subject will be read once everything is told.
    pub(crate) fn contains(&self, subject: &Subject) -> bool {
        self.add.contains(subject)
            || (self.told.contains_key(subject) && !self.remove.contains(subject))
    }

    /// How many subjects the publisher was told.
    pub(crate) fn told(&self) -> usize {
        self.told.len()
    }

    /// How many changes it has not been told.
    pub(crate) fn untold(&self) -> usize {
        self.add.len() + self.remove.len()
    }

    /// Everything that will be read once everything is told.
    pub(crate) fn subjects(&self) -> BTreeSet<Subject> {
        let told = self.told.keys().filter(|subject| !self.remove.contains(subject));
        told.chain(&self.add).copied().collect()
    }

    /// Whether an answer to this version is one to what was last asked.
    pub(crate) fn accepts(&self, subject: &Subject, answers: u64) -> bool {
        self.contains(subject) && self.told.get(subject).is_some_and(|asked| *asked <= answers)
    }

    /// The next message; `None` when everything is told. On a new link the first is the whole set, even if it is empty.
    pub(crate) fn next(&mut self) -> Option<Subscriptions> {
        if self.add.is_empty() && self.remove.is_empty() && self.version > 0 {
            return None;
        }
        let remove = take_first(&mut self.remove, MAX_CHANGES);
        let add = take_first(&mut self.add, MAX_CHANGES - remove.len());
        let base = self.version;
        self.version += 1;
        for subject in &remove {
            self.told.remove(subject);
        }
        self.told.extend(add.iter().map(|subject| (*subject, self.version)));
        Some(Subscriptions {
            version: self.version,
            base,
            add: add.iter().map(channel).collect(),
            remove: remove.iter().map(channel).collect(),
        })
    }

    /// The publisher says that it serves this version.
    pub(crate) fn acknowledged(&mut self, version: u64) -> Result<(), HangupReason> {
        if version > self.version {
            return Err(HangupReason::Malformed);
        }
        self.held = self.held.max(version);
        Ok(())
    }

    /// Whether the publisher is known to serve what is wanted.
    pub(crate) fn is_settled(&self) -> bool {
        self.version > 0
            && self.held == self.version
            && self.add.is_empty()
            && self.remove.is_empty()
    }
}

fn take_first(subjects: &mut BTreeSet<Subject>, count: usize) -> BTreeSet<Subject> {
    let rest = match subjects.iter().nth(count).copied() {
        Some(first) => subjects.split_off(&first),
        None => BTreeSet::new(),
    };
    std::mem::replace(subjects, rest)
}

fn channel(subject: &Subject) -> Channel {
    Channel { objects: subject.1 == StreamKind::Objects, ..Channel::from(&subject.0) }
}

fn subject(channel: &Channel) -> Result<Subject, HangupReason> {
    let kind = if channel.objects { StreamKind::Objects } else { StreamKind::Entities };
    let id = ChannelId::try_from(channel).map_err(|_| HangupReason::Malformed)?;
    Ok((id, kind))
}

/// How a subject is served.
#[derive(Clone, Copy, Debug)]
struct Serving {
    /// The reader's version that last added it, named in the answer to it.
    version: u64,
    /// The number under which the parts of this node were last asked to answer it. Numbers are never used again, so
    /// that an answer to what an earlier link asked is not taken for one to this.
    number: u64,
}

/// The publisher's side.
#[derive(Debug, Default)]
pub(crate) struct Served {
    subjects: BTreeMap<Subject, Serving>,
    version: u64,
}

/// What a message changes.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// To be answered, again if it is served already.
    pub(crate) add: BTreeSet<Subject>,
    /// Read no more.
    pub(crate) remove: BTreeSet<Subject>,
    /// Removals of what was not there.
    pub(crate) unmatched: u64,
}

impl Served {
    /// Takes in a message. What is known already changes nothing.
    pub(crate) fn apply(&mut self, message: &Subscriptions) -> Result<Change, HangupReason> {
        if message.version <= message.base {
            return Err(HangupReason::Malformed);
        }
        if message.version <= self.version {
            return Ok(Change::default());
        }
        if message.base != 0 && message.base != self.version {
            return Err(HangupReason::OutOfStep);
        }
        let add: BTreeSet<Subject> = message.add.iter().map(subject).collect::<Result<_, _>>()?;
        let named: BTreeSet<Subject> =
            message.remove.iter().map(subject).collect::<Result<_, _>>()?;
        // A change costs what it changes; only a whole set is compared with everything that is served.
        let remove: BTreeSet<Subject> = if message.base == 0 {
            let is_removed = |subject: &&Subject| named.contains(subject) || !add.contains(subject);
            self.subjects.keys().filter(is_removed).copied().collect()
        } else {
            named.iter().filter(|subject| self.subjects.contains_key(subject)).copied().collect()
        };
        let unmatched = named.difference(&remove).count() as u64;
        let new = add.iter().filter(|subject| !self.subjects.contains_key(subject)).count();
        if self.subjects.len() - remove.len() + new > MAX_SUBSCRIPTIONS {
            return Err(HangupReason::TooMany);
        }
        self.version = message.version;
        for subject in &remove {
            self.subjects.remove(subject);
        }
        for subject in &add {
            let serving = Serving { version: self.version, number: 0 };
            self.subjects.insert(*subject, serving);
        }
        Ok(Change { add, remove, unmatched })
    }

    /// The version that is served.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The parts of this node are asked under this number to answer a subject.
    pub(crate) fn asked(&mut self, subject: &Subject, number: u64) {
        if let Some(serving) = self.subjects.get_mut(subject) {
            serving.number = number;
        }
    }

    /// The reader's version to which an answer under this number belongs; `None` if it is to be ignored.
    pub(crate) fn answered(&self, subject: &Subject, number: u64) -> Option<u64> {
        let serving = self.subjects.get(subject).filter(|serving| serving.number <= number)?;
        Some(serving.version)
    }

    pub(crate) fn contains(&self, subject: &Subject) -> bool {
        self.subjects.contains_key(subject)
    }

    pub(crate) fn subjects(&self) -> impl Iterator<Item = Subject> + '_ {
        self.subjects.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::{ChunkId, IslandId};
    use proptest::prelude::*;

    fn at(x: i16) -> Subject {
        (ChannelId::whole(IslandId(1), ChunkId::new(x, 0)), StreamKind::Entities)
    }

    fn served(it: &Served) -> BTreeSet<Subject> {
        it.subjects().collect()
    }

    #[test]
    fn the_same_message_twice_changes_nothing() {
        let (mut wanted, mut publisher) = (Wanted::default(), Served::default());
        wanted.want(at(1), true);
        let message = wanted.next().unwrap();
        assert_eq!(publisher.apply(&message).unwrap().add, BTreeSet::from([at(1)]));
        let again = publisher.apply(&message).unwrap();
        assert_eq!((again.add.len(), again.remove.len(), publisher.version()), (0, 0, 1));
    }

    #[test]
    fn a_change_from_a_version_that_is_not_held_is_out_of_step() {
        let (mut wanted, mut publisher) = (Wanted::default(), Served::default());
        publisher.apply(&wanted.next().unwrap()).unwrap();
        wanted.want(at(1), true);
        wanted.next().unwrap();
        wanted.want(at(2), true);
        let change = publisher.apply(&wanted.next().unwrap());
        assert_eq!(change.unwrap_err(), HangupReason::OutOfStep);
    }

    #[test]
    fn removals_of_what_is_not_there_are_counted() {
        let mut publisher = Served::default();
        let remove = vec![channel(&at(1))];
        let message = Subscriptions { version: 1, remove, ..Subscriptions::default() };
        assert_eq!(publisher.apply(&message).unwrap().unmatched, 1);
    }

    #[test]
    fn a_whole_set_replaces_the_one_before() {
        let mut publisher = Served::default();
        for (version, x) in [(1, 1), (2, 2)] {
            let add = vec![channel(&at(x))];
            let message = Subscriptions { version, add, ..Subscriptions::default() };
            publisher.apply(&message).unwrap();
            assert_eq!(served(&publisher), BTreeSet::from([at(x)]));
        }
    }

    #[test]
    fn a_set_beyond_the_limit_is_refused_and_a_large_one_comes_in_parts() {
        let (mut wanted, mut publisher) = (Wanted::default(), Served::default());
        let all = (0..MAX_SUBSCRIPTIONS as i32).map(|n| {
            let chunk = ChunkId::new((n % 256) as i16, (n / 256) as i16);
            (ChannelId::whole(IslandId(u64::MAX), chunk), StreamKind::Objects)
        });
        all.for_each(|subject| wanted.want(subject, true));
        while let Some(message) = wanted.next() {
            let bytes: usize = message.add.len() * 32;
            assert!(bytes < pelago_model::limits::MAX_MESSAGE_BYTES);
            publisher.apply(&message).unwrap();
        }
        assert_eq!(served(&publisher).len(), MAX_SUBSCRIPTIONS);
        wanted.want(at(0), true);
        let change = publisher.apply(&wanted.next().unwrap());
        assert_eq!(change.unwrap_err(), HangupReason::TooMany);
    }

    #[test]
    fn an_answer_to_what_was_asked_before_is_ignored() {
        let mut wanted = Wanted::default();
        wanted.want(at(1), true);
        wanted.next().unwrap();
        assert!(wanted.accepts(&at(1), 1));
        wanted.want(at(1), true);
        wanted.next().unwrap();
        assert_eq!((wanted.accepts(&at(1), 1), wanted.accepts(&at(1), 2)), (false, true));
        assert!(!wanted.accepts(&at(2), 2));
    }

    proptest! {
        #[test]
        fn whatever_is_wanted_is_served(
            steps in prop::collection::vec((0i16..6, any::<bool>(), any::<bool>()), 0..60),
        ) {
            let (mut wanted, mut publisher) = (Wanted::default(), Served::default());
            let mut model = BTreeSet::new();
            for (x, wants, told) in steps {
                wanted.want(at(x), wants);
                if wants { model.insert(at(x)) } else { model.remove(&at(x)) };
                prop_assert_eq!(&wanted.subjects(), &model);
                while told && let Some(message) = wanted.next() {
                    prop_assert_eq!(publisher.apply(&message).unwrap().unmatched, 0);
                }
            }
            while let Some(message) = wanted.next() {
                publisher.apply(&message).unwrap();
            }
            prop_assert_eq!(wanted.acknowledged(publisher.version()), Ok(()));
            prop_assert!(wanted.is_settled());
            prop_assert_eq!(served(&publisher), model);
        }
    }
}
