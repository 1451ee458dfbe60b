//! Subscriptions: what one node reads from another, as state that is reconciled: versioned, acknowledged, idempotent.
//!
//! The reader keeps [`Wanted`], the publisher [`Served`]. A change names the version that it starts from; one that
//! starts from another version than the publisher holds ends the link, and the next link begins with the whole set.

use crate::hangup::HangupReason;
use crate::subjects::{Subject, SubjectNumber, Subjects};
use crate::table::Table;
use pelago_model::ChannelId;
use pelago_wire::frame::StreamKind;
use pelago_wire::peer::{Channel, Subscriptions};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

/// Subjects that one node may read from another; beyond it the link is hung up.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 65_536;
/// Changes of one message, so that it stays far below the limit of messages; what is more goes into the next.
const MAX_CHANGES: usize = 16_384;

/// The reader's side.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// What the publisher was told and is still wanted, with the version that last added it.
    told: Table<NonZeroU64>,
    version: u64,
    /// The version that the publisher says it serves.
    held: u64,
    add: BTreeMap<Subject, SubjectNumber>,
    /// What the publisher was told and is not wanted, with the version that last added it. It has no number any more.
    remove: BTreeMap<Subject, NonZeroU64>,
}

impl Wanted {
    /// From the next message on the subject is read (again, from its beginning).
    pub(crate) fn want(&mut self, number: SubjectNumber, subject: Subject) {
        if let Some(version) = self.remove.remove(&subject) {
            self.told.insert(number.0, version);
        }
        self.add.insert(subject, number);
    }

    /// From the next message on the subject is not read any more.
    pub(crate) fn let_go(&mut self, number: SubjectNumber, subject: Subject) {
        self.add.remove(&subject);
        if let Some(version) = self.told.remove(number.0) {
            self.remove.insert(subject, version);
        }
    }

    /// Whether the subject will be read once everything is told.
    pub(crate) fn contains(&self, number: SubjectNumber, subject: &Subject) -> bool {
        self.told.contains(number.0) || self.add.contains_key(subject)
    }

    /// How many subjects the publisher was told.
    pub(crate) fn told(&self) -> usize {
        self.told.len() + self.remove.len()
    }

    /// How many changes it has not been told.
    pub(crate) fn untold(&self) -> usize {
        self.add.len() + self.remove.len()
    }

    /// Whether an answer to this version is one to what was last asked.
    pub(crate) fn accepts(&self, number: SubjectNumber, answers: u64) -> bool {
        self.told.get(number.0).is_some_and(|asked| asked.get() <= answers)
    }

    /// The next message; `None` when everything is told. On a new link the first is the whole set, even if it is empty.
    pub(crate) fn next(&mut self) -> Option<Subscriptions> {
        if self.add.is_empty() && self.remove.is_empty() && self.version > 0 {
            return None;
        }
        let remove = take_first(&mut self.remove, MAX_CHANGES);
        let add = take_first(&mut self.add, MAX_CHANGES - remove.len());
        let base = self.version;
        let version = NonZeroU64::MIN.saturating_add(base);
        self.version = version.get();
        for number in add.values() {
            self.told.insert(number.0, version);
        }
        Some(Subscriptions {
            version: self.version,
            base,
            add: add.keys().map(channel).collect(),
            remove: remove.keys().map(channel).collect(),
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

fn take_first<T>(subjects: &mut BTreeMap<Subject, T>, count: usize) -> BTreeMap<Subject, T> {
    let rest = match subjects.keys().nth(count).copied() {
        Some(first) => subjects.split_off(&first),
        None => BTreeMap::new(),
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
    version: NonZeroU64,
    /// The number under which the parts of this node were last asked to answer it, 0 before. Numbers are never used
    /// again, so that an answer to what an earlier link asked is not taken for one to this.
    asked: u64,
}

/// The publisher's side. It is a use of the number of every subject in it.
#[derive(Debug, Default)]
pub(crate) struct Served {
    subjects: Table<Serving>,
    version: u64,
}

/// The changes of a message.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// To be answered, again if it is served already; in order of subjects.
    pub(crate) add: Vec<SubjectNumber>,
    /// Read no more. Their numbers are to be released once nothing else names them.
    pub(crate) remove: BTreeMap<Subject, SubjectNumber>,
    /// Removals of what was not there.
    pub(crate) unmatched: u64,
}

impl Served {
    /// Takes in a message. A change that is known already changes nothing.
    pub(crate) fn apply(
        &mut self,
        message: &Subscriptions,
        subjects: &mut Subjects,
    ) -> Result<Change, HangupReason> {
        let version = NonZeroU64::new(message.version).filter(|it| it.get() > message.base);
        let version = version.ok_or(HangupReason::Malformed)?;
        if message.version <= self.version {
            return Ok(Change::default());
        }
        if message.base != 0 && message.base != self.version {
            return Err(HangupReason::OutOfStep);
        }
        let add: BTreeSet<Subject> = message.add.iter().map(subject).collect::<Result<_, _>>()?;
        let named: BTreeSet<Subject> =
            message.remove.iter().map(subject).collect::<Result<_, _>>()?;
        let served = |it: &Subject| Some((*it, self.number(it, subjects)?));
        // A change costs what it changes; only a whole set is compared with everything that is served.
        let remove: BTreeMap<Subject, SubjectNumber> = if message.base == 0 {
            let all = self.numbers().filter_map(|number| Some((subjects.subject(number)?, number)));
            all.filter(|(it, _)| named.contains(it) || !add.contains(it)).collect()
        } else {
            named.iter().filter_map(served).collect()
        };
        let unmatched = named.iter().filter(|it| !remove.contains_key(it)).count() as u64;
        let new = add.iter().filter(|it| served(it).is_none()).count();
        if self.subjects.len() - remove.len() + new > MAX_SUBSCRIPTIONS {
            return Err(HangupReason::TooMany);
        }
        self.version = message.version;
        for number in remove.values() {
            self.subjects.remove(number.0);
        }
        let add = add.into_iter().map(|it| {
            let number = self.number(&it, subjects).unwrap_or_else(|| subjects.take(it));
            self.subjects.insert(number.0, Serving { version, asked: 0 });
            number
        });
        Ok(Change { add: add.collect(), remove, unmatched })
    }

    /// The version that is served.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The parts of this node are asked under this number to answer a subject.
    pub(crate) fn asked(&mut self, subject: SubjectNumber, asked: u64) {
        if let Some(serving) = self.subjects.get_mut(subject.0) {
            serving.asked = asked;
        }
    }

    /// The reader's version to which an answer under this number belongs; `None` if it is to be ignored.
    pub(crate) fn answered(&self, subject: SubjectNumber, asked: u64) -> Option<u64> {
        let serving = self.subjects.get(subject.0).filter(|serving| serving.asked <= asked)?;
        Some(serving.version.get())
    }

    pub(crate) fn contains(&self, subject: SubjectNumber) -> bool {
        self.subjects.contains(subject.0)
    }

    /// How many subjects are served.
    pub(crate) fn len(&self) -> usize {
        self.subjects.len()
    }

    /// Everything that is served.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = SubjectNumber> + '_ {
        self.subjects.iter().map(|(number, _)| SubjectNumber(number))
    }

    /// The number of a subject that is served.
    fn number(&self, subject: &Subject, subjects: &Subjects) -> Option<SubjectNumber> {
        subjects.number(subject).filter(|number| self.contains(*number))
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

    /// Both sides, which number the same subjects in their own ways.
    #[derive(Default)]
    struct Pair {
        wanted: Wanted,
        readers: Subjects,
        served: Served,
        publishers: Subjects,
    }

    impl Pair {
        fn want(&mut self, subject: Subject, wanted: bool) {
            let number = self.readers.take(subject);
            if wanted {
                self.wanted.want(number, subject);
            } else {
                self.wanted.let_go(number, subject);
            }
        }

        fn next(&mut self) -> Option<Subscriptions> {
            self.wanted.next()
        }

        fn apply(&mut self, message: &Subscriptions) -> Result<Change, HangupReason> {
            let change = self.served.apply(message, &mut self.publishers)?;
            change.remove.values().for_each(|number| self.publishers.release(*number));
            assert_eq!(self.publishers.len(), self.served.len());
            Ok(change)
        }

        /// Tells the next change and takes it in.
        fn tell(&mut self) -> Result<Change, HangupReason> {
            let message = self.next().unwrap();
            self.apply(&message)
        }

        fn accepts(&self, subject: Subject, answers: u64) -> bool {
            let number = self.readers.number(&subject);
            number.is_some_and(|number| self.wanted.accepts(number, answers))
        }

        fn served(&self) -> BTreeSet<Subject> {
            self.served.numbers().filter_map(|number| self.publishers.subject(number)).collect()
        }
    }

    #[test]
    fn the_same_message_twice_changes_nothing() {
        let mut pair = Pair::default();
        pair.want(at(1), true);
        let message = pair.next().unwrap();
        assert_eq!(pair.apply(&message).unwrap().add, [SubjectNumber(0)]);
        let again = pair.apply(&message).unwrap();
        assert_eq!((again.add.len(), again.remove.len(), pair.served.version()), (0, 0, 1));
    }

    #[test]
    fn a_change_from_a_version_that_is_not_held_is_out_of_step() {
        let mut pair = Pair::default();
        pair.tell().unwrap();
        pair.want(at(1), true);
        pair.next().unwrap();
        pair.want(at(2), true);
        assert_eq!(pair.tell().unwrap_err(), HangupReason::OutOfStep);
    }

    #[test]
    fn removals_of_what_is_not_there_are_counted() {
        let mut pair = Pair::default();
        let remove = vec![channel(&at(1))];
        let message = Subscriptions { version: 1, remove, ..Subscriptions::default() };
        assert_eq!(pair.apply(&message).unwrap().unmatched, 1);
    }

    #[test]
    fn a_whole_set_replaces_the_one_before() {
        let mut pair = Pair::default();
        for (version, x) in [(1, 1), (2, 2)] {
            let add = vec![channel(&at(x))];
            let message = Subscriptions { version, add, ..Subscriptions::default() };
            pair.apply(&message).unwrap();
            assert_eq!(pair.served(), BTreeSet::from([at(x)]));
        }
    }

    #[test]
    fn what_a_message_removes_and_adds_is_ended_and_begun() {
        let mut pair = Pair::default();
        pair.want(at(1), true);
        pair.tell().unwrap();
        let both = || vec![channel(&at(1))];
        let message = Subscriptions { version: 2, base: 1, add: both(), remove: both() };
        let change = pair.apply(&message).unwrap();
        assert_eq!((change.add.len(), change.remove.len(), change.unmatched), (1, 1, 0));
        assert_eq!(pair.served(), BTreeSet::from([at(1)]));
    }

    #[test]
    fn a_set_beyond_the_limit_is_refused_and_a_large_one_comes_in_parts() {
        let mut pair = Pair::default();
        let all = (0..MAX_SUBSCRIPTIONS as i32).map(|n| {
            let chunk = ChunkId::new((n % 256) as i16, (n / 256) as i16);
            (ChannelId::whole(IslandId(u64::MAX), chunk), StreamKind::Objects)
        });
        all.for_each(|subject| pair.want(subject, true));
        while let Some(message) = pair.next() {
            let bytes: usize = message.add.len() * 32;
            assert!(bytes < pelago_model::limits::MAX_MESSAGE_BYTES);
            pair.apply(&message).unwrap();
        }
        assert_eq!(pair.served().len(), MAX_SUBSCRIPTIONS);
        pair.want(at(0), true);
        assert_eq!(pair.tell().unwrap_err(), HangupReason::TooMany);
        assert_eq!(pair.publishers.len(), MAX_SUBSCRIPTIONS);
    }

    #[test]
    fn an_answer_to_what_was_asked_before_is_ignored() {
        let mut pair = Pair::default();
        pair.want(at(1), true);
        pair.next().unwrap();
        assert!(pair.accepts(at(1), 1));
        pair.want(at(1), true);
        pair.next().unwrap();
        assert_eq!((pair.accepts(at(1), 1), pair.accepts(at(1), 2)), (false, true));
        assert!(!pair.accepts(at(2), 2));
    }

    proptest! {
        #[test]
        fn whatever_is_wanted_is_served(
            steps in prop::collection::vec((0i16..6, any::<bool>(), any::<bool>()), 0..60),
        ) {
            let (mut pair, mut model) = (Pair::default(), BTreeSet::new());
            for (x, wants, told) in steps {
                pair.want(at(x), wants);
                if wants { model.insert(at(x)) } else { model.remove(&at(x)) };
                for x in 0..6 {
                    let number = pair.readers.number(&at(x));
                    let is_wanted = number.is_some_and(|it| pair.wanted.contains(it, &at(x)));
                    prop_assert_eq!(is_wanted, model.contains(&at(x)));
                }
                while told && let Some(message) = pair.next() {
                    prop_assert_eq!(pair.apply(&message).unwrap().unmatched, 0);
                }
            }
            while let Some(message) = pair.next() {
                pair.apply(&message).unwrap();
            }
            prop_assert_eq!(pair.wanted.acknowledged(pair.served.version()), Ok(()));
            prop_assert!(pair.wanted.is_settled());
            prop_assert_eq!(pair.served(), model);
        }
    }
}
