//! A worker's timers: what is due, when to look, and until when to sleep for it.
//!
//! Timers are exact where they are few. Where they are many, a sleep and a wake-up for each would cost more than what they
//! wake, so they fire together.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::{FAR_END, RawTask, Worker, current, memory};
use crate::runtime::pace::fitting_step;
use crate::runtime::timer::TimerKey;

/// How much time shall lie between two looks at most, while there are timers to look at; and while there are descriptors, for
/// which a look is a system call.
const LOOK: Duration = Duration::from_micros(50);
const LOOK_AT_POLLER: Duration = Duration::from_micros(250);
/// After how many tasks the loop looks for the first time since there are any.
const FIRST_LOOK: u32 = 8;
/// From how many timers on they fire together, and how late that makes one at most.
const MANY_TIMERS: usize = 256;
const TOGETHER: Duration = Duration::from_micros(250);

/// Whether a task's timer is something to wait for. It stays so while one is set: who waits for quiet says so before, and takes
/// it back after.
fn counts(task: RawTask) -> bool {
    !task.header().is_daemon && !task.carrier().waits_for_quiet.get()
}

impl Worker {
    /// Sets a timer that notifies a task of this worker.
    pub(crate) fn set_timer(&self, deadline: Instant, task: RawTask) -> TimerKey {
        if self.far_end_pace.get().0.is_none() {
            self.find_pace();
        }
        if counts(task) {
            self.timers_that_count.set(self.timers_that_count.get() + 1);
        }
        self.timers.borrow_mut().insert(deadline, task)
    }

    /// Says that a timer of `task` is set no more.
    fn timer_goes(&self, task: RawTask) {
        if counts(task) {
            self.timers_that_count.set(self.timers_that_count.get() - 1);
        }
    }

    pub(crate) fn timer_is_set(&self, key: TimerKey) -> bool {
        self.timers.borrow().contains(key)
    }

    pub(crate) fn cancel_timer(&self, key: TimerKey) {
        if let Some(task) = self.timers.borrow_mut().remove(key) {
            self.timer_goes(task);
        }
    }

    pub(super) fn fire_timers(&self) {
        let mut timers = self.timers.borrow_mut();
        if timers.len() == 0 {
            return;
        }
        let now = current::now();
        let mut next = timers.pop_due(now);
        if next.is_none() {
            return;
        }
        self.fired_at.set(Some(now));
        while let Some(task) = next {
            next = timers.pop_due(now);
            // It was set long ago, and nothing of it is in a cache.
            next.inspect(|next| memory::prefetch(next.as_ptr().addr()));
            self.timer_goes(task);
            if task.header().run.notify_here() {
                self.push_ready(task);
            }
        }
        drop(timers);
        // Before any of them runs: one that waits for a descriptor with a limit finds what came in time, also where a task has
        // held the worker until the time was over.
        self.poll_reactor();
    }

    /// When the earliest timer is due. May look at many of them.
    pub(in crate::runtime) fn next_deadline(&self) -> Option<Instant> {
        self.timers.borrow_mut().next_deadline()
    }

    /// Until when no timer is due: for whoever sleeps, and looks then.
    pub(in crate::runtime) fn next_look(&self) -> Option<Instant> {
        self.timers.borrow().next_look()
    }

    pub(super) fn has_timers(&self) -> bool {
        self.timers.borrow().len() > 0
    }

    /// Until when to sleep for timers of which the first may be due at `next`: where there are many, each would cost a sleep and a wake-up.
    pub(super) fn put_off(&self, next: Instant) -> Instant {
        match self.fired_at.get() {
            Some(fired_at) if self.timers.borrow().len() >= MANY_TIMERS => next.max(fired_at + TOGETHER),
            _ => next,
        }
    }

    /// Whether a timer is set, or a descriptor waited for, that counts as something to wait for.
    pub(in crate::runtime) fn expects_timers(&self) -> bool {
        self.reactor().is_awaited_by_what_counts() || self.timers_that_count.get() > 0
    }

    /// When there is something to look at for the first time: looks soon, to see how long tasks hold the worker.
    #[cold]
    pub(super) fn find_pace(&self) {
        self.far_end_pace.set((Some(Instant::now()), FIRST_LOOK));
        self.look_far_within(FIRST_LOOK);
    }

    /// Looks at the poller, if that was not done for a while or for many tasks; and says after how many tasks the loop looks at the
    /// far end again: sooner when tasks hold the worker for long and something may become due meanwhile.
    pub(super) fn next_far_end(&self) -> u32 {
        let (has_timers, watches) = (self.has_timers(), self.reactor().is_used());
        if !has_timers && !watches {
            self.far_end_pace.set((None, FAR_END));
            return FAR_END;
        }
        let now = Instant::now();
        if watches {
            let tick = self.remote().tick.load(Relaxed);
            let (polled_at, polled) = self.polled.get();
            let is_long_ago = polled.is_none_or(|polled| now.saturating_duration_since(polled) >= LOOK_AT_POLLER);
            if is_long_ago || tick.wrapping_sub(polled_at) >= FAR_END {
                self.polled.set((tick, Some(now)));
                self.reactor().poll();
            }
        }
        let (looked, step) = self.far_end_pace.get();
        let elapsed = looked.map_or(Duration::ZERO, |looked| now.saturating_duration_since(looked));
        let step = fitting_step(step, elapsed, if has_timers { LOOK } else { LOOK_AT_POLLER }, FAR_END);
        self.far_end_pace.set((Some(now), step));
        step
    }
}
