//! Small numbers that are names for a while: of streams, of subjects, of clients.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Hands out numbers from 0 on. One that was given back is handed out again, the smallest first, so that numbers stay
/// small and tables over them dense. It holds as much as was ever in use at once: what limits that is up to the caller.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    free: BinaryHeap<Reverse<u32>>,
    /// Greater than all that were handed out.
    next: u32,
}

impl Numbers {
    /// A number that is not in use. There are 2^32 of them; a process runs out of memory for what they name long
    /// before.
    pub fn take(&mut self) -> u32 {
        if let Some(Reverse(number)) = self.free.pop() {
            return number;
        }
        self.next += 1;
        self.next - 1
    }

    /// Gives back a number that was taken; each only once.
    pub fn give_back(&mut self, number: u32) {
        debug_assert!(number < self.next, "a number that was never taken is given back");
        self.free.push(Reverse(number));
        if self.free.len() == self.next as usize {
            self.free.clear();
            self.next = 0;
        }
    }

    /// How many are in use.
    pub fn in_use(&self) -> usize {
        self.next as usize - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_smallest_free_number_is_used_again_first() {
        let mut numbers = Numbers::default();
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [0, 1, 2]);
        numbers.give_back(1);
        numbers.give_back(0);
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [0, 1, 3]);
    }

    proptest! {
        #[test]
        fn numbers_in_use_are_different_and_as_small_as_can_be(
            steps in prop::collection::vec(any::<Option<prop::sample::Index>>(), 0..200),
        ) {
            let (mut numbers, mut used) = (Numbers::default(), BTreeSet::new());
            for step in steps {
                match step {
                    Some(index) if !used.is_empty() => {
                        let number = *index.get(&used.iter().copied().collect::<Vec<u32>>());
                        used.remove(&number);
                        numbers.give_back(number);
                    }
                    _ => {
                        let smallest = (0..).find(|number| !used.contains(number));
                        let number = numbers.take();
                        prop_assert_eq!(Some(number), smallest);
                        used.insert(number);
                    }
                }
                prop_assert_eq!(numbers.in_use(), used.len());
            }
        }
    }
}
