//! All that is left to chance comes from one seed.

/// A stream of choices. The same seed and path give the same one.
pub(crate) struct Chance(fastrand::Rng);

impl Chance {
    /// The stream of one actor: `path` is where it stands, such as a round and a session.
    pub(crate) fn of(seed: u64, path: &[u64]) -> Self {
        // The finisher of SplitMix64: neighbouring paths must not give neighbouring streams.
        let mixed = path.iter().fold(seed, |state, step| {
            let mut z = state.wrapping_add((step + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self(fastrand::Rng::with_seed(mixed))
    }

    /// A seed for somebody who brought none.
    pub(crate) fn fresh_seed() -> u64 {
        fastrand::u64(..)
    }

    /// One of these; there must be some.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// One of these; there must be some.
    pub(crate) fn pick_ref<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Less than `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    /// Once in so many times.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
