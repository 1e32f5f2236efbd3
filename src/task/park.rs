//! How the running task goes away and comes back: parking, yielding, alarms.

use std::time::Instant;

use super::cancel;
use super::raw::RawTask;
use crate::runtime::{TimerKey, Worker};

impl RawTask {
    /// Parks the running task, `self`, until somebody notifies it. Returns at once if somebody has; may return without
    /// reason, so callers loop.
    #[inline]
    pub(crate) fn park(self) {
        if self.header().run.park() {
            self.suspend();
        }
    }
}

/// Lets every other task that is ready on this worker run first; on a thread without tasks, gives up its time slice.
///
/// # Suspends
/// The running task, which stays on its worker. A cancelled task unwinds from here.
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
#[inline]
pub fn yield_now() {
    let Some(task) = RawTask::current() else { return std::thread::yield_now() };
    if !cancel::is_due(task) {
        Worker::here().push_ready(task);
        task.suspend();
    }
    if cancel::is_due(task) {
        cancel::throw(task);
    }
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
