//! One wait in many queues, where each one that comes counts.
//!
//! The other way to wait for several things: a [`Choice`](super::Choice) takes one and leaves all queues; a [`Crowd`] stays
//! in all of them and notes which have come, in that order, until its owner has asked for all or goes. Nothing is
//! delivered to a crowd, so nothing can be lost with it.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Instant;

use super::sleeper::{Sleeper, Wakeup, Woken};
use crate::primitives::{Mutex, MutexGuard};

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Crowd {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The numbers of those that have come and were not asked for yet.
    ready: VecDeque<usize>,
    /// Who waits for the next one.
    sleeper: Option<Sleeper>,
}

// SAFETY: whoever sleeps is notified under the lock, and takes itself out under it before it goes on.
unsafe impl Send for State {}

impl Crowd {
    /// A crowd of `count`.
    pub(crate) fn new(count: usize) -> Self {
        // Room for all, so that nobody who notifies has to allocate.
        Self { state: Mutex::new(State { ready: VecDeque::with_capacity(count), sleeper: None }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the one with this number has come.
    pub(crate) fn report(&self, index: usize) -> Wakeup {
        let mut state = self.lock();
        state.ready.push_back(index);
        state.sleeper.as_ref().map_or(Wakeup::None, Sleeper::notify)
    }

    /// The number of the next that has come.
    pub(crate) fn try_next(&self) -> Option<usize> {
        self.lock().ready.pop_front()
    }

    /// Waits for the next to come, and gives its number; `None` when `deadline` has passed.
    pub(crate) fn next(&self, deadline: Option<Instant>) -> Option<usize> {
        /// Nobody sleeps when this goes, also by an unwind.
        struct Awake<'a>(&'a Crowd);
        impl Drop for Awake<'_> {
            fn drop(&mut self) {
                self.0.lock().sleeper = None;
            }
        }

        let sleeper = Sleeper::current();
        {
            let mut state = self.lock();
            if let Some(index) = state.ready.pop_front() {
                return Some(index);
            }
            state.sleeper = Some(sleeper.clone());
        }
        let _awake = Awake(self);
        let is_ready = || !self.lock().ready.is_empty();
        let give_up = || {
            let mut state = self.lock();
            state.sleeper = None;
            let nothing = state.ready.is_empty();
            if !nothing {
                state.sleeper = Some(sleeper.clone());
            }
            nothing
        };
        match sleeper.wait(deadline, is_ready, give_up) {
            Woken::Notified => self.try_next(),
            Woken::Elapsed => None,
        }
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::super::wait_queue::Waiter;
    use super::super::wait_queue::support::*;
    use super::*;
    use loom::thread;

    #[test]
    fn model_each_of_a_crowd_is_reported_once() {
        // At most three interruptions: minutes become seconds.
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let crowd = Crowd::new(2);
            let lines = [Line::new(), Line::new()];
            let arms = [0, 1].map(|index| Arm::new(Waiter::among(&raw const crowd, index)));
            for (line, arm) in lines.iter().zip(&arms) {
                line.enter(arm);
            }
            let others = lines.clone().map(|line| thread::spawn(move || line.deliver(claim)));
            let first = crowd.next(None).unwrap();
            // Asked again, or left after the first.
            if first == 0 {
                assert_eq!(crowd.next(None), Some(1));
            }
            for (line, arm) in lines.iter().zip(&arms) {
                line.leave(arm);
            }
            drop((arms, crowd));
            others.into_iter().for_each(|other| _ = other.join().unwrap());
        });
    }

    /// One who waits for both of a crowd, whose numbers come by `report`. Deadlocks if a wake-up is lost.
    fn two_reports(report: fn(&Crowd, usize)) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let crowd = loom::sync::Arc::new(Crowd::new(2));
            let others = [0, 1].map(|index| {
                let crowd = crowd.clone();
                thread::spawn(move || report(&crowd, index))
            });
            let both = [crowd.next(None).unwrap(), crowd.next(None).unwrap()];
            assert_eq!(both.into_iter().sum::<usize>(), 1, "each comes once");
            others.into_iter().for_each(|other| other.join().unwrap());
        });
    }

    #[test]
    fn model_who_waits_for_a_crowd_gets_all_of_it() {
        two_reports(|crowd, index| crowd.report(index).fire());
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn model_catches_a_report_that_wakes_before_there_is_anything() {
        two_reports(|crowd, index| {
            let wakeup = crowd.lock().sleeper.as_ref().map_or(Wakeup::None, Sleeper::notify);
            wakeup.fire();
            crowd.lock().ready.push_back(index);
        });
    }
}
