//! What is known of how long a worker has not moved.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::clock;

/// A worker that has not moved for this long, in milliseconds, is called stuck in dumps.
const STUCK: u32 = 100;

/// The tick of a worker when its runtime's monitor looked last, and since when that has been so.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    tick: AtomicU32,
    /// In milliseconds of the clock.
    since: AtomicU32,
}

impl Watched {
    /// Notes the worker's tick, at `now`, and tells for how long it has been that.
    pub(super) fn look(&self, tick: u32, now: u32) -> Duration {
        if self.tick.swap(tick, Ordering::Relaxed) != tick {
            self.since.store(now, Ordering::Relaxed);
        }
        clock::between(self.since.load(Ordering::Relaxed), now)
    }

    /// How long the worker, whose tick is given, has not moved, if that is long.
    pub(crate) fn stuck(&self, tick: u32, now: u32) -> Option<Duration> {
        let still = clock::between(self.since.load(Ordering::Relaxed), now);
        let is_stuck = self.tick.load(Ordering::Relaxed) == tick && still >= Duration::from_millis(STUCK.into());
        is_stuck.then_some(still)
    }
}
