//! A worker whose loop is its caller's: a [`LocalRuntime`](crate::runtime::LocalRuntime)'s.

use std::sync::Arc;
use std::time::Instant;

use super::{AbortsOnDrop, Deques, Worker};
use crate::coroutine::unwind;
use crate::runtime::fork;
use crate::runtime::shared::Shared;

impl Worker {
    pub(in crate::runtime) fn new_local(shared: Arc<Shared>, deques: Deques) -> Self {
        let mut worker = Self::new(shared, 0, deques);
        worker.lines_up = true;
        worker
    }

    pub(in crate::runtime) fn get_up(&self) {
        crate::runtime::clock::wind();
        self.shared().quiet.signs.wakes_up();
        if self.shared().idle.wake_up(0) {
            _ = self.shared().idle.stop_searching();
        }
        if let Some(bell) = self.shared().bell.get() {
            bell.reset();
        }
    }

    /// Counts the worker asleep, and rings for what there is to do.
    pub(in crate::runtime) fn go_to_rest(&self) {
        self.say_expectation();
        self.shared().idle.fall_asleep(0, false);
        self.set_bell();
    }

    pub(in crate::runtime) fn set_bell(&self) {
        // In the child of a fork the bell is the parent's, too.
        let Some(bell) = self.shared().bell.get().filter(|_| !self.shared().is_forked()) else { return };
        self.repeat_requests();
        if self.has_ready() || self.sees_work() {
            bell.ring();
        }
        #[cfg(feature = "net")]
        if let Some(poller) = self.reactor().raw_fd() {
            bell.watch(poller);
        }
        bell.set_timer(self.next_look().map(|deadline| deadline.saturating_duration_since(Instant::now())));
    }

    /// Runs one task, or sleeps until there may be one, or `until`. `turn` counts the calls.
    pub(in crate::runtime) fn step_or_sleep(&self, turn: u32, until: Option<Instant>) {
        assert!(!self.shared().is_forked(), "{}", fork::MESSAGE);
        let worked = self.step();
        // A daemon that yields keeps the line from ever being empty.
        if !worked || turn.is_multiple_of(64) {
            self.look_for_quiet();
        }
        if !worked {
            self.sleep(until);
        }
    }

    /// Sleeps until there may be something to do, or `until`.
    fn sleep(&self, until: Option<Instant>) {
        if self.acknowledge_closing() || self.has_ready() {
            return;
        }
        self.say_expectation();
        self.shared().say_rests(until.is_none());
        self.shared().idle.fall_asleep(0, false);
        if !self.sees_work() {
            match until {
                None => self.park_asleep(),
                Some(_) => self.park(until),
            }
        }
        self.get_up();
        self.shared().say_rests(false);
    }

    /// Wakes those of its tasks that wait for there to be nothing to do, if so.
    fn look_for_quiet(&self) {
        if self.shared().quiet.signs.is_awaited() && self.is_idle() {
            self.shared().quiet.announce();
        }
    }

    /// Whether nothing that counts can go on by itself.
    fn is_idle(&self) -> bool {
        self.repeat_requests();
        self.only_daemons_are_ready()
            && !self.expects_timers()
            && !self.shared().quiet.signs.is_busy()
            && !self.sees_work()
    }

    /// Works until nothing is left to do; false if `deadline` has passed before.
    pub(in crate::runtime) fn work_until_idle(&self, deadline: Option<Instant>) -> bool {
        let mut steps = 0_u32;
        loop {
            let worked = self.step();
            steps = steps.wrapping_add(1);
            // A daemon that yields keeps the line from ever being empty.
            if (!worked || steps.is_multiple_of(64)) && self.is_idle() {
                self.look_for_quiet();
                if !self.has_ready() || self.only_daemons_are_ready() {
                    return true;
                }
            }
            let is_late = || deadline.is_some_and(|deadline| deadline <= Instant::now());
            if (!worked || steps.is_multiple_of(64)) && is_late() {
                return false;
            }
            if !worked {
                self.sleep(deadline);
            }
        }
    }

    /// Runs as many tasks as are ready now; waits for one until `deadline`.
    pub(in crate::runtime) fn work_once(&self, deadline: Option<Instant>) -> bool {
        self.poll_reactor();
        self.repeat_requests();
        self.collect_woken();
        // It may wake up for nothing: for a timer that was taken back.
        while !self.has_ready()
            && !self.shared().has_fresh()
            && deadline.is_none_or(|deadline| deadline > Instant::now())
        {
            self.look_for_quiet();
            self.sleep(deadline);
            self.collect_woken();
        }
        let round = self.ready_len().max(1);
        (0..round).filter(|_| self.step()).count() > 0
    }

    /// Works until every task has ended; false if `deadline` has passed before.
    pub(in crate::runtime) fn work_to_the_end(&self, deadline: Option<Instant>) -> bool {
        self.acknowledge_closing();
        loop {
            // First: there may be nothing to be done, and no time either.
            if self.shared().may_exit() {
                return true;
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return false;
            }
            if !self.step() {
                self.sleep(deadline);
            }
        }
    }

    /// Runs `f`, which runs tasks. It must not unwind: frames of tasks that borrow from the callers would be left suspended. In
    /// the child of a fork nothing goes on in them.
    pub(in crate::runtime) fn walled<T>(&self, f: impl FnOnce(&Self) -> T) -> T {
        let result = unwind::intercept(|| f(self));
        result.unwrap_or_else(|payload| {
            if !self.shared().is_forked() {
                drop(AbortsOnDrop);
            }
            unwind::throw(payload)
        })
    }
}
