//! One wait in several queues at once, of which the first to come wins.
//!
//! Whoever waits makes one [`Waiter`](super::Waiter) for each queue, all of one [`Choice`]. Somebody who wants to complete
//! one of them claims the choice first, with one compare-exchange, under the lock of the queue it found the waiter in. Who
//! fails passes over the waiter, keeps its value, and takes the next in the queue. Giving up, for a timeout or a cancel,
//! is a claim like every other. So exactly one of all of them wins, and nothing is delivered to a wait that is over.
//!
//! Afterwards the owner takes its other waiters out of their queues, each under its lock; only then may they go.

use std::time::Instant;

use super::sleeper::{Sleeper, Wakeup, Woken};
use crate::primitives::{AtomicUsize, Ordering};

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Which waiter was completed, or one of the two below.
    chosen: AtomicUsize,
    sleeper: Sleeper,
    /// As [`Waiter`](super::Waiter)'s: then nobody decides it when its task is cancelled, but its owner, who withdraws.
    is_interruptible: bool,
}

/// None yet.
const OPEN: usize = usize::MAX;
/// None, and none will be: its owner has given up.
const WITHDRAWN: usize = usize::MAX - 1;

impl Choice {
    /// A choice of the running task, or of the thread where no task runs.
    pub(crate) fn new() -> Self {
        let sleeper = Sleeper::current();
        Self { chosen: AtomicUsize::new(OPEN), is_interruptible: sleeper.ends_with_a_cancel(), sleeper }
    }

    /// Decides for the waiter with this number. False if it was decided before, or its owner will unwind.
    #[must_use]
    pub(super) fn claim(&self, index: usize) -> bool {
        !self.is_passed_over() && self.decide(index)
    }

    fn is_passed_over(&self) -> bool {
        self.is_interruptible && self.sleeper.is_cancelled()
    }

    fn decide(&self, index: usize) -> bool {
        // AcqRel: whoever decides, and whoever learns of it, sees what the other has written before.
        self.chosen.compare_exchange(OPEN, index, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Decides against all. False if it was decided before.
    #[must_use]
    pub(crate) fn withdraw(&self) -> bool {
        self.decide(WITHDRAWN)
    }

    /// Which waiter it was decided for.
    pub(crate) fn chosen(&self) -> Option<usize> {
        // Acquire: pairs with `claim`.
        Some(self.chosen.load(Ordering::Acquire)).filter(|&chosen| chosen < WITHDRAWN)
    }

    pub(super) fn is_open(&self) -> bool {
        self.chosen.load(Ordering::Relaxed) == OPEN && !self.is_passed_over()
    }

    pub(super) fn notify(&self) -> Wakeup {
        self.sleeper.notify()
    }

    /// Waits until one of the waiters was completed, and says which; `None` when `deadline` has passed.
    ///
    /// `is_notified` says whether the waiter with that number is notified; `leave` takes all of them out of their
    /// queues. After this returns or unwinds they are in none.
    pub(crate) fn wait(
        &self,
        deadline: Option<Instant>,
        is_notified: impl Fn(usize) -> bool,
        leave: impl Fn(),
    ) -> Option<usize> {
        let is_ready = || self.chosen().is_some_and(&is_notified);
        let give_up = || {
            let withdrawn = self.withdraw();
            if withdrawn {
                leave();
            }
            withdrawn
        };
        match self.sleeper.wait_as(|| self.is_interruptible, deadline, is_ready, give_up) {
            Woken::Elapsed => None,
            Woken::Notified => {
                leave();
                self.chosen()
            }
        }
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::super::wait_queue::Waiter;
    use super::super::wait_queue::support::*;
    use super::*;
    use loom::thread;

    impl Choice {
        pub(in super::super) fn claim_in_two_steps(&self, index: usize) -> bool {
            let open = self.is_open();
            if open {
                self.chosen.store(index, Ordering::Release);
            }
            open
        }
    }

    /// All interleavings in which at most three threads are interrupted: minutes become seconds.
    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    /// A wait in two queues, while somebody delivers to each. With `withdraws`, its owner gives up at any moment.
    fn two_against_one(claim: fn(&Waiter) -> bool, withdraws: bool) {
        check(move || {
            let choice = Choice::new();
            let lines = [Line::new(), Line::new()];
            let arms = [0, 1].map(|index| Arm::new(Waiter::one_of(&raw const choice, index)));
            for (line, arm) in lines.iter().zip(&arms) {
                line.enter(arm);
            }
            let others = lines.clone().map(|line| thread::spawn(move || line.deliver(claim)));
            let leave = || lines.iter().zip(&arms).for_each(|(line, arm)| _ = line.leave(arm));
            let chosen = if withdraws && choice.withdraw() {
                leave();
                None
            } else {
                choice.wait(None, |index| arms[index].waiter.is_notified(), leave)
            };
            assert!(withdraws || chosen.is_some());
            for (index, arm) in arms.iter().enumerate() {
                assert_eq!(arm.value() == 7, chosen == Some(index), "a value was delivered to nobody");
            }
            // Whoever still touches these is caught by the model checker.
            drop((arms, choice));
            for (index, other) in others.into_iter().enumerate() {
                let delivered = other.join().unwrap();
                assert_eq!(delivered, chosen == Some(index), "a value was lost");
            }
        });
    }

    #[test]
    fn model_one_of_two_queues_wins_and_the_other_keeps_its_value() {
        two_against_one(claim, false);
    }

    #[test]
    fn model_who_withdraws_gets_nothing_or_one() {
        two_against_one(claim, true);
    }

    #[test]
    #[should_panic(expected = "a value was delivered to nobody")]
    fn model_catches_a_claim_in_two_steps() {
        two_against_one(claim_in_two_steps, false);
    }
}
