//! Subjects and their numbers at this node: what every table of a link knows them by.

use crate::table::Table;
use hashbrown::HashTable;
use pelago_model::{ChannelId, Numbers};
use pelago_wire::frame::StreamKind;
use std::hash::{BuildHasher, RandomState};

/// What one may subscribe to.
pub type Subject = (ChannelId, StreamKind);

/// The number of a subject, for as long as it has any use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SubjectNumber(pub(crate) u32);

#[derive(Clone, Copy, Debug)]
struct Numbered {
    subject: Subject,
    /// This node's own interest, and links on which it is served.
    uses: u32,
}

/// All subjects that this node reads or serves.
#[derive(Debug, Default)]
pub(crate) struct Subjects {
    by_number: Table<Numbered>,
    /// To be searched by subject. Its order is by chance, as other nodes must not know how to make it slow; nobody sees
    /// it.
    by_subject: HashTable<SubjectNumber>,
    hasher: RandomState,
    numbers: Numbers,
}

impl Subjects {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// The number of a subject that has one.
    pub(crate) fn number(&self, subject: &Subject) -> Option<SubjectNumber> {
        let hash = self.hasher.hash_one(subject);
        let is_it = |number: &SubjectNumber| self.subject(*number) == Some(*subject);
        self.by_subject.find(hash, is_it).copied()
    }

    /// The subject of a number; every number in use has one.
    pub(crate) fn subject(&self, number: SubjectNumber) -> Option<Subject> {
        subject_of(&self.by_number, number)
    }

    /// The number of a subject, which has one more use from now on.
    pub(crate) fn take(&mut self, subject: Subject) -> SubjectNumber {
        if let Some(number) = self.number(&subject) {
            if let Some(numbered) = self.by_number.get_mut(number.0) {
                numbered.uses += 1;
            }
            return number;
        }
        let number = SubjectNumber(self.numbers.take());
        let Self { by_number, by_subject, hasher, .. } = self;
        by_number.insert(number.0, Numbered { subject, uses: 1 });
        let hash = |number: &SubjectNumber| {
            subject_of(by_number, *number).map_or(0, |subject| hasher.hash_one(subject))
        };
        by_subject.insert_unique(hash(&number), number, hash);
        number
    }

    /// A number has one use less. After the last it may become that of another subject.
    pub(crate) fn release(&mut self, number: SubjectNumber) {
        let Some(numbered) = self.by_number.get_mut(number.0) else { return };
        numbered.uses -= 1;
        if numbered.uses > 0 {
            return;
        }
        let hash = self.hasher.hash_one(numbered.subject);
        if let Ok(entry) = self.by_subject.find_entry(hash, |it| *it == number) {
            entry.remove();
        }
        self.by_number.remove(number.0);
        self.numbers.give_back(number.0);
    }
}

fn subject_of(by_number: &Table<Numbered>, number: SubjectNumber) -> Option<Subject> {
    by_number.get(number.0).map(|numbered| numbered.subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelago_model::{ChunkId, IslandId};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn at(x: i16) -> Subject {
        (ChannelId::whole(IslandId(1), ChunkId::new(x, 0)), StreamKind::Entities)
    }

    #[test]
    fn a_number_is_used_again_only_after_its_last_use() {
        let mut subjects = Subjects::default();
        let first = subjects.take(at(1));
        assert_eq!((subjects.take(at(2)), subjects.take(at(1))), (SubjectNumber(1), first));
        subjects.release(first);
        assert_eq!(subjects.take(at(3)), SubjectNumber(2));
        subjects.release(first);
        assert_eq!((subjects.number(&at(1)), subjects.take(at(4))), (None, first));
    }

    proptest! {
        #[test]
        fn subjects_in_use_have_numbers_of_their_own(
            steps in prop::collection::vec((0i16..12, any::<bool>()), 0..200),
        ) {
            let (mut subjects, mut model) = (Subjects::default(), BTreeMap::new());
            for (x, is_taken) in steps {
                if is_taken {
                    let number = subjects.take(at(x));
                    let (known, uses) = model.entry(x).or_insert((number, 0));
                    *uses += 1;
                    prop_assert_eq!(number, *known);
                } else if let Some((number, uses)) = model.get_mut(&x) {
                    subjects.release(*number);
                    *uses -= 1;
                }
                model.retain(|_, (_, uses)| *uses > 0);
                prop_assert_eq!(subjects.len(), model.len());
                prop_assert_eq!(subjects.by_subject.len(), model.len());
                prop_assert_eq!(subjects.numbers.in_use(), model.len());
                for x in 0..12 {
                    let number = subjects.number(&at(x));
                    prop_assert_eq!(number, model.get(&x).map(|(number, _)| *number));
                    prop_assert!(number.is_none_or(|number| subjects.subject(number) == Some(at(x))));
                }
            }
        }
    }
}
