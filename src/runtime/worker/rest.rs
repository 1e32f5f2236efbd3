//! When a worker finds nothing to run: waiting for an answer, searching, falling asleep, waking up.
//!
//! The protocol is `Idle`'s: arch-notes/scheduler.md, "Going to sleep".

use std::ptr;
use std::time::{Duration, Instant};

use super::{Job, Worker};
use crate::coroutine;
use crate::runtime::shared::Expects;

/// From how long a rest on a worker gives back what it kept for the next burst of tasks.
const A_WHILE: Duration = Duration::from_millis(10);

impl Worker {
    /// Where the loop has found nothing: searches elsewhere, and then sleeps until there is a job; `None` when the worker shall
    /// exit.
    #[cold]
    pub(super) fn find_or_sleep(&self) -> Option<Job> {
        // What ran last holds it no longer, however long it stays here.
        self.turnstile().begins(ptr::null_mut());
        // What ran last may be answered sooner than one searches, and when all may not search nobody should sleep yet.
        if self.is_called_soon()
            && let Some(job) = self.find_task()
        {
            return Some(job);
        }
        let idle = &self.shared.idle;
        // There is nobody to steal from, and what else may have come is looked at again when it counts as asleep.
        let is_alone = self.shared.remotes.len() == 1;
        let mut searching = false;
        loop {
            searching = searching || (!is_alone && idle.start_searching());
            let job = if searching { self.search() } else { self.find_task() };
            if let Some(job) = job {
                self.found(searching);
                return Some(job);
            }
            if self.acknowledge_closing() {
                // The tasks that it cancelled are ready now.
                continue;
            }
            if self.shared.is_abandoned() || self.shared.may_exit() {
                self.found(searching);
                return None;
            }
            if self.jump() {
                continue;
            }
            if self.gives_memory_back() {
                continue;
            }
            self.say_expectation();
            let gave_up = searching;
            idle.fall_asleep(self.index, searching);
            if !self.sees_work() {
                self.shared.look_for_quiet();
                // Whoever has waited for quiet may be a task of this worker.
                if !self.has_ready() {
                    self.park_asleep();
                }
            }
            self.shared.quiet.signs.wakes_up();
            searching = idle.wake_up(self.index);
            self.shared.monitor.wakes();
            if let Some(job) = self.find_task() {
                self.found(searching);
                if gave_up && !searching {
                    // Others may have pushed, and relied on it, before it gave up; this is one of several.
                    self.wake_for_more();
                }
                return Some(job);
            }
        }
    }

    /// Gives some memory back that a burst of tasks took, if there is much, and nothing to do for a while. True if it did.
    fn gives_memory_back(&self) -> bool {
        let keeps_many = coroutine::keeps_many_stacks();
        let rests = || self.next_look().is_none_or(|next| next.saturating_duration_since(Instant::now()) >= A_WHILE);
        if !(keeps_many || self.ready.can_shrink()) || !rests() {
            return false;
        }
        if keeps_many {
            coroutine::give_stacks_back();
        } else {
            self.ready.shrink();
        }
        true
    }

    /// Gives up searching; the last searcher wakes another worker if there is more to be had.
    fn found(&self, searching: bool) {
        if searching && self.shared.idle.stop_searching() {
            self.wake_for_more();
        }
    }

    fn wake_for_more(&self) {
        if self.shared.has_fresh()
            && let Some(worker) = self.shared.idle.wake_any()
        {
            self.shared.unpark(worker);
        }
    }

    /// Parks the thread until somebody wakes it, its next timer is due, or `until`.
    pub(in crate::runtime) fn park(&self, until: Option<Instant>) {
        self.remote().counts.parked.add_one();
        // Made-up time stands still while the thread sleeps.
        let next = if self.seeds.is_some() { None } else { self.next_look().map(|next| self.put_off(next)) };
        let deadline = [next, until].into_iter().flatten().min();
        self.remote().parker.park(deadline);
    }

    /// Says, before it falls asleep, what it has to wait for.
    pub(in crate::runtime) fn say_expectation(&self) {
        let anything = self.reactor().is_awaited() || self.has_timers();
        self.remote().say_expects(&Expects { anything, what_counts: anything && self.expects_timers() });
    }

    /// The last look before sleeping: whether anything has come since, from wherever it may.
    pub(in crate::runtime) fn sees_work(&self) -> bool {
        !self.remote().inbox.is_empty()
            || self.shared.has_fresh()
            || self.shared.is_abandoned()
            || (self.shared.is_closing() && (!self.has_acknowledged.get() || self.shared.may_exit()))
    }
}
