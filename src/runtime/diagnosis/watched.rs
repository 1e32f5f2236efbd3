//! What is known of how long a worker has not moved.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::clock;
use super::thread_times::ThreadId;

/// A worker that has not moved for this long, in milliseconds, is called stuck in dumps.
const STUCK: u32 = 100;

/// The tick of a worker when its runtime's monitor looked last, and since when that has been so.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    tick: AtomicU32,
    /// In milliseconds of the clock.
    since: AtomicU32,
    /// The worker's thread, once it has begun.
    pub(super) thread: ThreadId,
}

impl Watched {
    /// Says that the calling thread is the worker's.
    pub(crate) fn begins(&self) {
        self.thread.set_current();
    }

    /// Notes the worker's tick, at `now`. True if it has moved since the last look.
    pub(super) fn look(&self, tick: u32, now: u32) -> bool {
        let has_moved = self.tick.swap(tick, Ordering::Relaxed) != tick;
        if has_moved {
            self.since.store(now, Ordering::Relaxed);
        }
        has_moved
    }

    /// How long the worker, whose tick is given, has not moved, if that is long.
    pub(crate) fn stuck(&self, tick: u32, now: u32) -> Option<Duration> {
        let still = clock::between(self.since.load(Ordering::Relaxed), now);
        let is_stuck = self.tick.load(Ordering::Relaxed) == tick && still >= Duration::from_millis(STUCK.into());
        is_stuck.then_some(still)
    }
}
