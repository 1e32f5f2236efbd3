//! A clock that costs one load: it shows when it was last wound, in milliseconds.
//!
//! Tasks note when they were made and when they suspended last, and a look at the system's clock would cost more than
//! either. It is wound by whoever wakes up from sleep or spawns from outside, and while workers work by the monitor of their
//! runtime.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Milliseconds since it was first wound. It starts anew after 49 days; differences stay right.
static SHOWN: AtomicU32 = AtomicU32::new(0);

/// What it shows.
#[inline(always)]
pub(crate) fn shown() -> u32 {
    SHOWN.load(Ordering::Relaxed)
}

/// Sets it right, and returns what it shows.
pub(crate) fn wind() -> u32 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let since = ORIGIN.get_or_init(Instant::now).elapsed().as_millis();
    #[allow(clippy::cast_possible_truncation, reason = "it starts anew")]
    let now = since as u32;
    SHOWN.store(now, Ordering::Relaxed);
    now
}

/// How long ago `then` was, at `now`.
pub(crate) fn between(then: u32, now: u32) -> Duration {
    Duration::from_millis(now.wrapping_sub(then).into())
}
