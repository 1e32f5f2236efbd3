//! Whether there is nothing left to do: no task that could go on by itself, now or later.
//!
//! A task that waits for another, or for nobody, does not count; one that sleeps does, and so does a blocking call. What
//! other threads will do nobody knows. Tasks that were built as daemons never count.
//!
//! A worker that falls asleep says first whether one of its timers counts. The last one to fall asleep looks at all that is
//! said, and wakes those who wait for it. Whoever begins to wait looks itself, afterwards: with a fence on both sides one
//! of the two sees the other, as in `idle`. A worker that wakes up meanwhile moves `wakes`.

#[cfg(feature = "blocking")]
use std::sync::Weak;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::diagnosis::deciding;
use super::shared::{Remote, Shared};
#[cfg(feature = "blocking")]
use super::worker::Worker;
use crate::coroutine::current;
use crate::primitives::{AtomicUsize, Ordering, fence};
use crate::task::{RawTask, WaitQueue, Waiter, Woken};

/// What everybody says, for those who ask whether it is quiet.
#[derive(Debug)]
pub(super) struct Signs {
    /// How many wait for quiet.
    waiters: AtomicUsize,
    /// Moves when a worker wakes up.
    wakes: AtomicUsize,
    /// Blocking calls under way.
    busy: AtomicUsize,
}

impl Signs {
    fn new() -> Self {
        Self { waiters: AtomicUsize::new(0), wakes: AtomicUsize::new(0), busy: AtomicUsize::new(0) }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    /// Counts a blocking call that begins; by a worker, which is awake.
    #[cfg(any(feature = "blocking", all(test, osier_loom)))]
    fn begin_call(&self) {
        self.busy.fetch_add(1, Ordering::SeqCst);
    }

    /// A blocking call has ended. True if none is under way any more. Whoever says so must look, afterwards, whether it is quiet: its
    /// caller may be gone, and the last worker have fallen asleep while the call still counted.
    #[cfg(any(feature = "blocking", all(test, osier_loom)))]
    fn end_call(&self) -> bool {
        // The fence in `is_awaited` stands between this and that look: either it sees the last worker asleep, or that one has
        // seen this.
        self.busy.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// How often a worker has woken up.
    pub(super) fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }

    /// Says that a worker has woken up; before it counts itself awake.
    pub(super) fn wakes_up(&self) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        // SeqCst: pairs with the fence in `are_quiet`; who sees anything that this worker does from now on sees that it woke.
        fence(Ordering::SeqCst);
    }

    /// Counts one more who waits for quiet; who must look, afterwards, whether it is.
    fn begin_waiting(&self) {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        // SeqCst: pairs with the fence in `is_awaited`.
        fence(Ordering::SeqCst);
    }

    fn end_waiting(&self) {
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether anybody waits for quiet; for a worker that has counted itself asleep, and must look then whether it is.
    pub(super) fn is_awaited(&self) -> bool {
        // SeqCst: pairs with the fence in `begin_waiting`.
        fence(Ordering::SeqCst);
        self.waiters.load(Ordering::SeqCst) > 0
    }

    /// Whether it is quiet: all sleep, and none of them has anything left to do. That is read one after the other, so it only
    /// holds if nobody woke up meanwhile.
    fn are_quiet(&self, all_sleep: impl Fn() -> bool, nothing_is_left: impl FnOnce() -> bool) -> bool {
        let wakes = self.wakes();
        let seems_so = all_sleep() && !self.is_busy() && nothing_is_left();
        // SeqCst: pairs with the fence in `wakes_up`.
        fence(Ordering::SeqCst);
        seems_so && self.wakes() == wakes && all_sleep()
    }
}

/// Who waits for quiet, and what disturbs it.
pub(super) struct Quiet {
    waiting: Mutex<WaitQueue>,
    pub(super) signs: Signs,
}

impl Quiet {
    pub(super) fn new() -> Self {
        Self { waiting: Mutex::new(WaitQueue::new()), signs: Signs::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, WaitQueue> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes everybody who waits for quiet.
    pub(super) fn announce(&self) {
        // The worker that does it may count as asleep.
        let _deciding = deciding();
        let woken = self.waiting().notify_all();
        woken.into_iter().for_each(crate::task::Wakeup::fire);
    }
}

/// Says, while it lives, that something is under way that will wake a task.
#[cfg(feature = "blocking")]
#[derive(Debug)]
pub(crate) struct Busy(Option<Weak<Shared>>);

#[cfg(feature = "blocking")]
impl Busy {
    /// On the runtime of the running task.
    pub(crate) fn begin() -> Self {
        let shared = Worker::get().map(|worker| worker.shared().weak());
        if let Some(shared) = Worker::get().map(Worker::shared) {
            shared.quiet.signs.begin_call();
        }
        Self(shared)
    }
}

#[cfg(feature = "blocking")]
impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(shared) = self.0.as_ref().and_then(Weak::upgrade) {
            let was_last = shared.quiet.signs.end_call();
            let workers = shared.remotes.len();
            if was_last && (workers == 1 || shared.idle.asleep() == workers) {
                // It may be the only thing that the worker of a local or of a test runtime waited for; that one has seen
                // to everything else before it went to sleep. And if all sleep, one looks whether that is for good.
                shared.remotes[0].parker.unpark();
            }
            shared.look_for_quiet();
        }
    }
}

impl Shared {
    /// Whether nothing is left to do, as far as all workers have said.
    fn is_quiet(&self) -> bool {
        let all_sleep = || self.idle.asleep() == self.remotes.len();
        let nothing_is_left = || {
            let is_done = |remote: &Arc<Remote>| remote.inbox.is_empty() && !remote.expects_what_counts();
            !self.has_fresh() && self.remotes.iter().all(is_done)
        };
        self.quiet.signs.are_quiet(all_sleep, nothing_is_left)
    }

    /// After a worker has counted itself asleep: wakes those who wait for quiet, if it is.
    pub(super) fn look_for_quiet(&self) {
        if self.quiet.signs.is_awaited() && self.is_quiet() {
            self.quiet.announce();
        }
    }

    /// Waits until nothing is left to do, or for at most `patience`. True if it is so.
    pub(super) fn wait_quiet(&self, patience: Option<Duration>) -> bool {
        let deadline = patience.and_then(|patience| current::now().checked_add(patience));
        let waiter = Waiter::new();
        let quiet = &self.quiet;
        // SAFETY: the waiter is new, and stays here until it is notified or taken out.
        unsafe { quiet.waiting().push(&raw const waiter) };
        let _waits = Waits::begin(&quiet.signs);
        self.look_for_quiet();
        // SAFETY: it was pushed there.
        waiter.wait(deadline, || unsafe { quiet.waiting().remove(&waiter) }) == Woken::Notified
    }
}

/// Counts somebody who waits for quiet; the timer of such a task is nothing to wait for.
struct Waits<'a>(&'a Signs);

impl<'a> Waits<'a> {
    fn begin(signs: &'a Signs) -> Self {
        if let Some(task) = RawTask::current() {
            task.carrier().waits_for_quiet.set(true);
        }
        signs.begin_waiting();
        Self(signs)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(task) = RawTask::current() {
            task.carrier().waits_for_quiet.set(false);
        }
        self.0.end_waiting();
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::super::idle::Idle;
    use super::super::parker::Parker;
    use super::*;
    use crate::primitives::{AtomicU8, AtomicU32};
    use loom::sync::Arc;
    use loom::thread;

    /// Two workers, what they expect, and what lies in the inbox of the first.
    struct World {
        idle: Idle,
        signs: Signs,
        inbox: AtomicU32,
        expects: [AtomicU8; 2],
        parker: Parker,
        announced: AtomicU32,
    }

    fn world(workers: usize) -> Arc<World> {
        Arc::new(World {
            idle: Idle::new(workers),
            signs: Signs::new(),
            inbox: AtomicU32::new(0),
            expects: [AtomicU8::new(0), AtomicU8::new(0)],
            parker: Parker::new(),
            announced: AtomicU32::new(0),
        })
    }

    impl World {
        fn is_quiet(&self, workers: usize, careful: bool) -> bool {
            let all_sleep = || self.idle.asleep() == workers;
            let nothing_is_left = || {
                let inbox = self.inbox.load(Ordering::Relaxed);
                inbox == 0 && self.expects.iter().all(|expects| expects.load(Ordering::Relaxed) == 0)
            };
            // The seeded bug: everything is read once.
            if careful {
                self.signs.are_quiet(all_sleep, nothing_is_left)
            } else {
                all_sleep() && !self.signs.is_busy() && nothing_is_left()
            }
        }

        fn look(&self, workers: usize) {
            if self.signs.is_awaited() && self.is_quiet(workers, true) {
                self.announced.store(1, Ordering::Relaxed);
            }
        }
    }

    /// The only worker falls asleep for good, and somebody begins to wait for that.
    fn one_who_waits_against_one_who_falls_asleep(careful: bool) {
        loom::model(move || {
            let world = world(1);
            let worker = {
                let world = world.clone();
                thread::spawn(move || {
                    world.idle.fall_asleep(0, false);
                    world.look(1);
                })
            };
            world.signs.begin_waiting();
            // The seeded bug: it relies on the worker.
            if careful {
                world.look(1);
            }
            worker.join().unwrap();
            assert_eq!(world.announced.load(Ordering::Relaxed), 1, "nobody said that it is quiet");
        });
    }

    #[test]
    fn model_one_of_two_says_that_it_is_quiet() {
        one_who_waits_against_one_who_falls_asleep(true);
    }

    #[test]
    #[should_panic(expected = "nobody said that it is quiet")]
    fn model_catches_one_who_waits_and_does_not_look() {
        one_who_waits_against_one_who_falls_asleep(false);
    }

    /// The only worker falls asleep for good while a call that its caller has left still runs; it ends on another thread, while
    /// somebody waits.
    fn a_call_that_ends_against_one_who_falls_asleep(careful: bool) {
        loom::model(move || {
            let world = world(1);
            world.signs.begin_waiting();
            world.signs.begin_call();
            let worker = {
                let world = world.clone();
                thread::spawn(move || {
                    world.idle.fall_asleep(0, false);
                    world.look(1);
                })
            };
            assert!(world.signs.end_call());
            // The seeded bug: it relies on the worker.
            if careful {
                world.look(1);
            }
            worker.join().unwrap();
            assert_eq!(world.announced.load(Ordering::Relaxed), 1, "nobody said that it is quiet");
        });
    }

    #[test]
    fn model_the_end_of_a_call_is_not_overlooked() {
        a_call_that_ends_against_one_who_falls_asleep(true);
    }

    #[test]
    #[should_panic(expected = "nobody said that it is quiet")]
    fn model_catches_a_call_that_ends_and_does_not_look() {
        a_call_that_ends_against_one_who_falls_asleep(false);
    }

    /// A call is under way all the time, first one, then another that the worker begins when it is woken by the first.
    fn calls_take_turns(careful: bool) {
        loom::model(move || {
            let world = world(1);
            world.signs.begin_waiting();
            world.signs.begin_call();
            world.idle.fall_asleep(0, false);
            let worker = {
                let world = world.clone();
                thread::spawn(move || {
                    world.signs.wakes_up();
                    _ = world.idle.wake_up(0);
                    // The seeded bug: the mark of the first does not come back to its caller, but ends with the call.
                    if careful {
                        world.signs.begin_call();
                        world.signs.end_call();
                    } else {
                        world.signs.end_call();
                        world.signs.begin_call();
                    }
                    world.idle.fall_asleep(0, false);
                })
            };
            assert!(!world.is_quiet(1, careful), "a call is under way");
            worker.join().unwrap();
        });
    }

    #[test]
    fn model_calls_that_follow_one_another_are_not_quiet() {
        calls_take_turns(true);
    }

    #[test]
    #[should_panic(expected = "a call is under way")]
    fn model_catches_calls_that_leave_a_gap_and_a_look_that_does_not_see_it() {
        calls_take_turns(false);
    }

    /// A timer of the second worker fires; its task calls one of the first, which then sets a timer of its own. So there is
    /// always something left, but never where one has looked already.
    fn what_is_left_moves_on(careful: bool) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let world = world(2);
            world.idle.fall_asleep(0, false);
            world.idle.fall_asleep(1, false);
            world.expects[1].store(1, Ordering::Relaxed);
            world.signs.begin_waiting();
            let first = {
                let world = world.clone();
                thread::spawn(move || {
                    world.parker.park(None);
                    world.signs.wakes_up();
                    _ = world.idle.wake_up(0);
                    world.inbox.store(0, Ordering::Relaxed);
                    world.expects[0].store(1, Ordering::Relaxed);
                    world.idle.fall_asleep(0, false);
                })
            };
            let second = {
                let world = world.clone();
                thread::spawn(move || {
                    world.signs.wakes_up();
                    _ = world.idle.wake_up(1);
                    world.inbox.store(1, Ordering::SeqCst);
                    if world.idle.wake(0) {
                        world.parker.unpark();
                    }
                    world.expects[1].store(0, Ordering::Relaxed);
                    world.idle.fall_asleep(1, false);
                })
            };
            assert!(!world.is_quiet(2, careful), "something is left");
            first.join().unwrap();
            second.join().unwrap();
        });
    }

    #[test]
    fn model_what_moves_on_is_not_overlooked() {
        what_is_left_moves_on(true);
    }

    #[test]
    #[should_panic(expected = "something is left")]
    fn model_catches_a_look_that_does_not_see_who_woke_up() {
        what_is_left_moves_on(false);
    }
}
