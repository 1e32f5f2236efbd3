//! Waiting for time to pass, and limits on waiting for anything else.

mod interval;
mod timeout;

pub use interval::{Interval, MissedTickBehavior, interval, interval_at};
pub use timeout::{Elapsed, timeout, timeout_at, timeout_raise, timeout_raise_at};

use std::time::{Duration, Instant};

use crate::coroutine::current;
use crate::task::{Waiter, Woken};

/// What time it is: `Instant::now()`, but in a runtime with a made-up clock
/// ([`Builder::test`](crate::runtime::Builder::test)), where it is what that shows.
pub fn now() -> Instant {
    current::now()
}

/// Waits for `duration`.
///
/// # Suspends
/// The calling task; on a plain thread, the thread. A cancelled task unwinds from here.
///
/// # Cancel safety
/// Nothing is lost but the rest of the sleep; a task that sleeps again sleeps for all of `duration`.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
///
/// osier::run(|| {
///     let began = Instant::now();
///     let sleepers: Vec<_> = (0..100).map(|_| osier::spawn(|| osier::sleep(Duration::from_millis(20)))).collect();
///     sleepers.into_iter().for_each(|s| s.join().unwrap());
///     assert!(began.elapsed() >= Duration::from_millis(20));
/// });
/// ```
pub fn sleep(duration: Duration) {
    match current::now().checked_add(duration) {
        Some(deadline) => sleep_until(deadline),
        None => wait_until(None),
    }
}

/// Waits until `deadline`; not at all if it has passed, but other ready tasks may run.
///
/// # Suspends
/// As [`sleep`].
///
/// # Cancel safety
/// As [`sleep`].
pub fn sleep_until(deadline: Instant) {
    if deadline <= current::now() {
        crate::task::yield_now();
    } else {
        wait_until(Some(deadline));
    }
}

/// Waits as a waiter that nobody notifies.
fn wait_until(deadline: Option<Instant>) {
    let woken = Waiter::interruptible().wait(deadline, || true);
    debug_assert_eq!(woken, Woken::Elapsed);
}
