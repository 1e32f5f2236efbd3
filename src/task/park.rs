//! How the running task goes away and comes back: parking, yielding, alarms.

use std::ptr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::budget::spend;
use super::cancel;
use super::raw::RawTask;
use super::sleeper::{Sleeper, Woken};
use crate::coroutine::current;
use crate::coroutine::region::{self, Scan};
use crate::runtime::{TimerKey, Worker};

impl RawTask {
    /// Parks the running task, `self`, until somebody notifies it. Returns at once if somebody has; may return without
    /// reason, so callers loop.
    #[inline(always)]
    pub(crate) fn park(self) {
        if self.header().run.park() {
            self.suspend();
        }
    }

    /// As [`park`](Self::park), with nothing on top of the task.
    ///
    /// # Safety
    /// - As [`suspend_alone`](Self::suspend_alone).
    #[inline(always)]
    pub(crate) unsafe fn park_alone(self) {
        if self.header().run.park() {
            // SAFETY: the caller's promise.
            unsafe { self.suspend_alone() };
        }
    }

    /// Leaves the token that `park` waits for. The caller holds a reference.
    pub(super) fn leave_token(self) {
        // Release: pairs with the Acquire in `take_token`. The notification orders it before the task's next park.
        self.header().token.store(true, Ordering::Release);
        self.notify();
    }

    fn take_token(self) -> bool {
        // Acquire: pairs with the Release in `leave_token`.
        self.header().token.load(Ordering::Relaxed) && self.header().token.swap(false, Ordering::Acquire)
    }
}

/// Waits until somebody leaves the running task a token, with [`Task::unpark`](super::Task::unpark), and takes it; at once
/// if there is one. As `std::thread::park`, which it is on a thread outside of all tasks, but it never returns without a
/// token.
///
/// # Suspends
/// The running task. A cancelled task unwinds from here; the token stays.
///
/// # Cancel safety
/// A token that comes later stays for the next one who parks.
///
/// # Examples
/// ```
/// let parked = osier::spawn(osier::task::park);
/// parked.task().unpark();
/// parked.join().unwrap();
/// ```
pub fn park() {
    _ = park_until(None);
}

/// Waits as [`park`] does, for at most `d`. True if there was a token; on a thread outside of all tasks that cannot be
/// told, and it is true if `d` has not passed.
///
/// # Suspends
/// As [`park`].
///
/// # Cancel safety
/// As [`park`].
pub fn park_timeout(d: Duration) -> bool {
    let now = current::now();
    park_until(now.checked_add(d))
}

/// Waits as [`park`] does, until `deadline`. True as for [`park_timeout`].
///
/// # Suspends
/// As [`park`].
///
/// # Cancel safety
/// As [`park`].
pub fn park_deadline(deadline: Instant) -> bool {
    park_until(Some(deadline))
}

fn park_until(deadline: Option<Instant>) -> bool {
    let Some(task) = RawTask::current() else { return park_thread_until(deadline) };
    spend();
    // Nothing is lost by giving up: the token stays with the task.
    Sleeper::Task(task).wait(deadline, || task.take_token(), || true) == Woken::Notified
}

fn park_thread_until(deadline: Option<Instant>) -> bool {
    region::forbid("wait");
    let earlier = Scan::from(ptr::null()).deadline_with(deadline);
    match earlier {
        None => std::thread::park(),
        Some(earlier) => std::thread::park_timeout(earlier.saturating_duration_since(Instant::now())),
    }
    let is_over = earlier.is_some_and(|earlier| earlier <= Instant::now());
    if is_over {
        cancel::throw_if_due();
    }
    !is_over
}

/// Lets every other task that is ready on this worker run first; on a thread without tasks, gives up its time slice.
///
/// # Suspends
/// The running task, which stays on its worker. A cancelled task unwinds from here.
///
/// # Cancel safety
/// Nothing is lost: it unwinds instead of giving way.
///
/// # Panics
/// Inside [`no_suspend`](crate::no_suspend), like every wait.
///
/// # Examples
/// ```
/// osier::run(|| {
///     let other = osier::spawn(|| 1);
///     while !other.is_finished() {
///         osier::yield_now();
///     }
/// });
/// ```
// Inlined down to the switch: the processor predicts where a call returns to by the calls that it has seen, and what it
// saw last when the task goes on are the worker's. A call here would be mispredicted on the way out and on the next in.
#[inline(always)]
pub fn yield_now() {
    match RawTask::current() {
        Some(task) if !task.header().has_request() && ptr::eq(current::frame(), task.frame()) => {
            Worker::here().push_ready(task);
            // SAFETY: that was looked at just now.
            unsafe { task.suspend_alone() };
            if task.header().has_request() {
                cancel::throw_if_due();
            }
        }
        _ => yield_or_unwind(),
    }
}

/// A yield of a task that has a request, or regions, or something on top of it; or of a thread.
#[cold]
#[inline(never)]
fn yield_or_unwind() {
    region::forbid("yield");
    match RawTask::current() {
        Some(task) if !cancel::is_due(task) => {
            Worker::here().push_ready(task);
            task.suspend();
        }
        Some(_) => {}
        None => std::thread::yield_now(),
    }
    cancel::throw_if_due();
}

/// A timer that notifies the running task; taken back when dropped.
#[derive(Debug)]
pub(crate) struct Alarm {
    key: TimerKey,
}

impl Alarm {
    /// Sets an alarm for the running task.
    pub(crate) fn set(task: RawTask, deadline: Instant) -> Self {
        Self { key: Worker::here().set_timer(deadline, task) }
    }

    pub(crate) fn has_fired(&self) -> bool {
        !Worker::here().timer_is_set(self.key)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        Worker::here().cancel_timer(self.key);
    }
}
