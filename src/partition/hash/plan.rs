//! Which partitions a hash set lacks. Decides only: what exists in, partitions out.

use std::fmt;

/// Most partitions that a set is given.
pub(crate) const MOST_PARTITIONS: u32 = 10_000;

/// One partition of a hash set: the rows whose key's hash leaves `remainder` when divided by
/// `modulus`. The remainder is less than the modulus, which is at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Class {
    pub(crate) modulus: u32,
    pub(crate) remainder: u32,
}

impl Class {
    /// Whether every row of `other` would belong here. Both moduli are of one set, where the smaller
    /// divides the greater (src/backend/partitioning/partbounds.c, check_new_partition_bound).
    fn holds(self, other: Self) -> bool {
        other.modulus.is_multiple_of(self.modulus)
            && other.remainder % self.modulus == self.remainder
    }
}

/// As reasons and holes say it.
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "modulus {}, remainder {}", self.modulus, self.remainder)
    }
}

/// The greatest modulus in use; None for a set without partitions.
pub(crate) fn greatest_modulus(existing: &[Class]) -> Option<u32> {
    existing.iter().map(|class| class.modulus).max()
}

/// The modulus with which a set that is to have `wanted` partitions is completed; `greatest` is the greatest
/// one in use. Where that divides the number, it is the number: what there is stays as it is. Else somebody
/// has gone on by hand, and the set is completed as it is.
pub(crate) fn completed_with(greatest: Option<u32>, wanted: u32) -> u32 {
    greatest.filter(|greatest| !wanted.is_multiple_of(*greatest)).unwrap_or(wanted)
}

/// What a set of `partitions` lacks, lowest remainder first. A partition of a smaller modulus stands for
/// several remainders: 4 and 8 together are legal.
///
/// `partitions` is a multiple of the greatest modulus in use, or any number of an empty set.
pub(crate) fn missing(existing: &[Class], partitions: u32) -> Vec<Class> {
    (0..partitions)
        .map(|remainder| Class { modulus: partitions, remainder })
        .filter(|class| !existing.iter().any(|other| other.holds(*class)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(modulus: u32, remainder: u32) -> Class {
        Class { modulus, remainder }
    }

    #[test]
    fn an_empty_set_lacks_all() {
        assert_eq!(missing(&[], 3), [class(3, 0), class(3, 1), class(3, 2)]);
        assert_eq!(greatest_modulus(&[]), None);
    }

    #[test]
    fn a_smaller_modulus_stands_for_several_remainders() {
        let existing = [class(4, 0), class(4, 1), class(8, 2), class(4, 3)];
        assert_eq!(greatest_modulus(&existing), Some(8));
        assert_eq!(missing(&existing, 8), [class(8, 6)]);
    }

    #[test]
    fn a_multiple_takes_what_there_is_as_it_is() {
        let four: Vec<Class> = (0..4).map(|remainder| class(4, remainder)).collect();
        assert_eq!(completed_with(greatest_modulus(&four), 8), 8);
        assert_eq!(missing(&four, 8), []);
        // Two of modulus 8 fill a hole of modulus 4.
        assert_eq!(missing(&[four[0], four[2], four[3]], 8), [class(8, 1), class(8, 5)]);
        let mixed = [class(2, 0), class(4, 1)];
        assert_eq!(missing(&mixed, 8), [class(8, 3), class(8, 7)]);
        // Neither a multiple nor what is there.
        assert_eq!(completed_with(Some(4), 6), 4);
        assert_eq!(completed_with(Some(8), 4), 8);
        assert_eq!(completed_with(None, 6), 6);
    }

    /// A legal set: each class either stays as it is, is split, or is left out.
    fn legal_set() -> impl Strategy<Value = (Vec<Class>, u32)> {
        (1u32..6, proptest::collection::vec((any::<bool>(), any::<bool>()), 1..40)).prop_map(
            |(modulus, choices)| {
                let greatest = 2 * modulus;
                let mut choices = choices.into_iter().cycle();
                let mut set = vec![class(greatest, 0)];
                for remainder in 1..modulus {
                    let (left_out, split) = choices.next().unwrap_or_default();
                    if left_out {
                        continue;
                    }
                    if split {
                        set.push(class(greatest, remainder + modulus));
                    } else {
                        set.push(class(modulus, remainder));
                    }
                }
                (set, greatest)
            },
        )
    }

    proptest! {
        #[test]
        fn completed_it_holds_every_hash_exactly_once(
            (existing, greatest) in legal_set(),
            times in 1u32..4,
        ) {
            let partitions = greatest * times;
            prop_assert_eq!(completed_with(greatest_modulus(&existing), partitions), partitions);
            let mut all = existing.clone();
            all.extend(missing(&existing, partitions));
            for hash in 0..4 * partitions {
                let holders =
                    all.iter().filter(|class| hash % class.modulus == class.remainder).count();
                prop_assert_eq!(holders, 1, "hash {}", hash);
            }
            prop_assert!(missing(&all, partitions).is_empty());
        }
    }
}
