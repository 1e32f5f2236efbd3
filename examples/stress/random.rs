//! Random numbers, the same for the same seed.

use std::time::Duration;

/// Xorshift (Marsaglia, "Xorshift RNGs", 2003), on a seed that is stirred first, since neighbours are alike.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        Self((z ^ (z >> 27)).max(1))
    }

    /// Another series, for a task of its own.
    pub(crate) fn split(&mut self) -> Self {
        Self::new(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of some.
    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// A time that is short, mostly nothing.
    pub(crate) fn moment(&mut self) -> Duration {
        Duration::from_micros(self.next() % 200 * u64::from(self.once_in(2)))
    }
}
