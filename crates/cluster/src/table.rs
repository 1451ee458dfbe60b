//! A table whose keys are small numbers that are handed out densely: a few bytes more than what stands in it, and a look
//! at two places instead of a search.

/// Entries of a page: enough that its own cost is small, few enough that one of which little is left costs little.
const PAGE: usize = 8;

type Page<T> = [Option<T>; PAGE];

/// What is known by number. Its memory follows the greatest number, by a byte for each up to it, and the pages in use:
/// so numbers that others choose have to be bounded before they come here.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// The last one is in use, if there is any.
    pages: Vec<Option<Box<Page<T>>>>,
    len: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<T: Copy> Table<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        self.get(number).is_some()
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let (page, entry) = place(number);
        self.pages.get(page)?.as_ref()?[entry].as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let (page, entry) = place(number);
        self.pages.get_mut(page)?.as_mut()?[entry].as_mut()
    }

    /// Returns what stood there.
    pub(crate) fn insert(&mut self, number: u32, value: T) -> Option<T> {
        let (page, entry) = place(number);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| Box::new([None; PAGE]));
        let old = page[entry].replace(value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Returns what stood there.
    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let (page, entry) = place(number);
        let slot = self.pages.get_mut(page)?;
        let page = slot.as_mut()?;
        let old = page[entry].take()?;
        self.len -= 1;
        if page.iter().all(Option::is_none) {
            *slot = None;
            while self.pages.pop_if(|last| last.is_none()).is_some() {}
        }
        Some(old)
    }

    /// By number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> + '_ {
        let pages =
            self.pages.iter().zip(0..).filter_map(|(page, number)| Some((page.as_ref()?, number)));
        pages.flat_map(|(page, number): (_, u32)| {
            let entries = page.iter().zip(number * PAGE as u32..);
            entries.filter_map(|(entry, number)| Some((number, entry.as_ref()?)))
        })
    }
}

/// The page of a number, and the place there.
fn place(number: u32) -> (usize, usize) {
    (number as usize / PAGE, number as usize % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_empty_table_has_no_pages() {
        let mut table = Table::default();
        table.insert(7, 'a');
        table.insert(900, 'b');
        table.insert(901, 'c');
        table.remove(900);
        assert_eq!((table.len(), table.pages.len()), (2, 113));
        table.remove(901);
        assert_eq!((table.len(), table.pages.len()), (1, 1));
        table.remove(7);
        assert_eq!((table.len(), table.pages.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(
            steps in prop::collection::vec((0u32..40, any::<Option<u8>>()), 0..200),
        ) {
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            for (number, step) in steps {
                prop_assert_eq!(table.get(number), model.get(&number));
                match step {
                    Some(value) => {
                        prop_assert_eq!(table.insert(number, value), model.insert(number, value));
                    }
                    None => prop_assert_eq!(table.remove(number), model.remove(&number)),
                }
                prop_assert_eq!((table.len(), table.contains(number)), (model.len(), step.is_some()));
            }
            prop_assert!(table.iter().eq(model.iter().map(|(number, value)| (*number, value))));
        }
    }
}
