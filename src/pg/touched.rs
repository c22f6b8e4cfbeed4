//! Which tables of a database have lost partitions: a few by OID, more than that as "all". Pure.

/// How many are told apart.
const MOST: usize = 8;

/// Some tables, or all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    tables: [u32; MOST],
    count: u8,
    all: bool,
}

impl Touched {
    /// One more.
    pub(crate) fn add(&mut self, table: u32) {
        if self.tables().contains(&table) {
            return;
        }
        match self.tables.get_mut(usize::from(self.count)) {
            Some(free) => {
                *free = table;
                self.count += 1;
            }
            None => self.all = true,
        }
    }

    /// All that another one has.
    pub(crate) fn add_all(&mut self, other: &Self) {
        other.tables().iter().for_each(|table| self.add(*table));
        self.all |= other.all;
    }

    /// Those that were told apart.
    pub(crate) fn tables(&self) -> &[u32] {
        &self.tables[..usize::from(self.count)]
    }

    /// Whether there are others beside them, nobody knows which.
    pub(crate) fn all(&self) -> bool {
        self.all
    }

    /// None at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && !self.all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn none_is_forgotten(first in prop::collection::vec(1u32..20, 0..20),
                             second in prop::collection::vec(1u32..20, 0..20)) {
            let collect = |tables: &[u32]| {
                let mut touched = Touched::default();
                tables.iter().for_each(|table| touched.add(*table));
                touched
            };
            let mut both = collect(&first);
            both.add_all(&collect(&second));
            let wanted: BTreeSet<u32> = first.iter().chain(&second).copied().collect();
            let told: BTreeSet<u32> = both.tables().iter().copied().collect();
            prop_assert_eq!(told.len(), both.tables().len());
            prop_assert!(told.is_subset(&wanted));
            prop_assert!(both.all() || told == wanted);
            prop_assert_eq!(both.all(), wanted.len() > MOST);
            prop_assert_eq!(both.is_empty(), wanted.is_empty());
        }
    }
}
