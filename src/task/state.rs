//! Where a started task is: one word, and who may change it.
//!
//! ```text
//!                            park                  notify
//!    fresh ──→ RUNNING ────────────→ PARKED ───────────────→ QUEUED
//!               ↑   │ notify                                    │
//!      park     │   ↓                                           │ resume
//!   (takes it)  └─ NOTIFIED                   RUNNING ←─────────┘
//! ```
//!
//! A task that has not started, or that yields, counts as running: it is in its queue anyway, and a notification is
//! kept for its next park.
//!
//! | transition | made by | right that it gives |
//! | --- | --- | --- |
//! | `RUNNING → PARKED` | the task, before it suspends | |
//! | `NOTIFIED → RUNNING` | the task, instead of suspending | |
//! | `PARKED → QUEUED` | any thread | to put it into its home's queue, alone |
//! | `QUEUED → RUNNING` | its home worker, which took it from that queue | to resume it |
//!
//! A task may say that it is parked before it has switched away: only its home worker resumes it, and that worker is
//! busy with it until then. A queued task cannot end before it is resumed, so whoever won `PARKED → QUEUED` may use it,
//! and its runtime, until it has pushed it, without a count of references.

use crate::primitives::{AtomicU32, AtomicUsize, Ordering};

const RUNNING: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;
const QUEUED: u32 = 3;

/// The word; see the module's page.
#[derive(Debug)]
pub(crate) struct RunState(AtomicU32);

impl RunState {
    pub(crate) fn fresh() -> Self {
        Self(AtomicU32::new(RUNNING))
    }

    /// Says that the task runs, when its home took it from its queue: it was parked, or it yielded.
    #[inline]
    pub(crate) fn resume(&self) {
        let state = self.0.load(Ordering::Relaxed);
        debug_assert_ne!(state, PARKED);
        // A task that yields is running all along, and what it was notified of meanwhile waits for its next park.
        if state == QUEUED {
            // Acquire, and an exchange instead of a store: pairs with the Release of those who notified a queued task;
            // this task will not park over what they wrote before.
            self.0.swap(RUNNING, Ordering::Acquire);
        }
    }

    /// Says that the running task parks. False if it was notified meanwhile: it goes on running, and the notification
    /// is used up.
    #[must_use]
    #[inline]
    pub(crate) fn park(&self) -> bool {
        // Release: pairs with the Acquire in `notify`; whoever resumes through it sees what this task wrote.
        let parked = self.0.compare_exchange(RUNNING, PARKED, Ordering::Release, Ordering::Relaxed).is_ok();
        if !parked {
            // Acquire, and an exchange instead of a store: pairs with the Release in `notify`; the task sees what its
            // notifiers wrote, also those who came after the first.
            self.0.swap(RUNNING, Ordering::Acquire);
        }
        parked
    }

    /// Notifies the task. True if it was parked: the caller, and nobody else, must now put it into its home's queue.
    #[must_use]
    #[inline]
    pub(crate) fn notify(&self) -> bool {
        let mut state = self.0.load(Ordering::Relaxed);
        loop {
            let next = match state {
                RUNNING => NOTIFIED,
                PARKED => QUEUED,
                // Queued or notified: it will run, and look at what the notification is about.
                _ => {
                    // Release: an update that changes nothing still orders what was written before it, so the task
                    // that goes from `NOTIFIED` to running sees the last notifier's writes too.
                    match self.0.compare_exchange_weak(state, state, Ordering::AcqRel, Ordering::Relaxed) {
                        Ok(_) => return false,
                        Err(now) => state = now,
                    }
                    continue;
                }
            };
            // Release and Acquire: pair with `park`, both ways.
            match self.0.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return next == QUEUED,
                Err(now) => state = now,
            }
        }
    }
}

/// Whether a task has ended, who waits for that, whether anybody wants its result, and how many references there are.
///
/// ```text
///   ┌──────────────────────────────────────────┬────────┬────────┬──────────┬─────────┬──────┐
///   │ references                               │ SWEEPS │ LINKED │ DETACHED │ WATCHED │ DONE │
///   └──────────────────────────────────────────┴────────┴────────┴──────────┴─────────┴──────┘
/// ```
///
/// One word, for most tasks end unwatched: then one exchange ends the task and gives up the runtime's reference.
#[derive(Debug)]
pub(crate) struct EndState(AtomicUsize);

const DONE: usize = 1;
/// Somebody has entered the queue of waiters.
const WATCHED: usize = 2;
/// The join handle is gone: nobody will take the result.
const DETACHED: usize = 4;
/// Somebody has linked a closure that looks at the result.
const LINKED: usize = 8;
/// It has ended, and whoever ended it goes through its watchers.
const SWEEPS: usize = 16;
const REFERENCE: usize = 32;

/// What a task that wants to end must do first.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It has ended; nobody waits. The runtime's reference is given up, and was the last one or not.
    Unwatched { is_last: bool },
    /// It has ended; the caller must go through links and waiters, and then give up the reference.
    Watched,
    /// It has not ended: nobody wants the result, so the task drops it first, while it still may wait.
    DropResult,
}

impl EndState {
    /// For a task with two references: the runtime's, and another.
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(2 * REFERENCE))
    }

    /// Counts another reference, for somebody who has one.
    pub(crate) fn add_reference(&self) {
        // Relaxed: who has a reference may make another one of it.
        self.0.fetch_add(REFERENCE, Ordering::Relaxed);
    }

    /// Gives one reference up. True if it was the last: the caller must free the task.
    #[inline]
    #[must_use]
    pub(crate) fn release(&self) -> bool {
        // Acquire: pairs with the Release of the others, so that the last one sees their last use. The load alone serves
        // the common case that the other reference is gone.
        self.0.load(Ordering::Acquire) < 2 * REFERENCE || self.0.fetch_sub(REFERENCE, Ordering::AcqRel) < 2 * REFERENCE
    }

    /// Whether the task has ended; if so, its result is visible.
    pub(crate) fn is_done(&self) -> bool {
        // Acquire: pairs with the Release in `end`.
        self.0.load(Ordering::Acquire) & DONE != 0
    }

    /// Ends the task. `has_result` says whether there is a result that somebody would have to drop.
    pub(crate) fn end(&self, has_result: bool) -> End {
        let mut state = self.0.load(Ordering::Relaxed);
        loop {
            // Links look at the result; the last of them drops it.
            if state & (DETACHED | LINKED) == DETACHED && has_result {
                return End::DropResult;
            }
            let (next, end) = match state & WATCHED {
                0 => ((state | DONE) - REFERENCE, End::Unwatched { is_last: state < 2 * REFERENCE }),
                _ => (state | DONE | SWEEPS, End::Watched),
            };
            // Release: pairs with the Acquire in `is_done`, `watch`, `detach` and `release`. Acquire: sees the waiter's
            // entry; and, as the last reference, what the others did.
            match self.0.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return end,
                Err(now) => state = now,
            }
        }
    }

    /// Announces a waiter that has entered the queue. False if the task has ended: nobody will wake that waiter.
    #[must_use]
    pub(crate) fn watch(&self) -> bool {
        self.0.fetch_or(WATCHED, Ordering::AcqRel) & DONE == 0
    }

    /// Announces a link that was added under the watchers' lock. True if whoever ends the task comes by and takes it;
    /// false if the task has ended and nobody will.
    #[must_use]
    pub(crate) fn link(&self) -> bool {
        let before = self.0.fetch_or(WATCHED | LINKED, Ordering::AcqRel);
        before & (DONE | SWEEPS) != DONE
    }

    /// Says, under the watchers' lock, that whoever ended the task has found no more links there and will not come again.
    pub(crate) fn swept(&self) {
        self.0.fetch_and(!SWEEPS, Ordering::Relaxed);
    }

    /// Whether the task ever had a link.
    pub(crate) fn is_linked(&self) -> bool {
        self.0.load(Ordering::Relaxed) & LINKED != 0
    }

    /// Whether the join handle is gone.
    pub(crate) fn is_detached(&self) -> bool {
        self.0.load(Ordering::Acquire) & DETACHED != 0
    }

    /// Gives up the result. True if the task has ended already, and the caller must drop it.
    #[must_use]
    pub(crate) fn detach(&self) -> bool {
        self.0.fetch_or(DETACHED, Ordering::AcqRel) & DONE != 0
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_notification_before_the_park_is_kept_and_used_once() {
        let state = RunState::fresh();
        assert!(!state.notify() && !state.notify(), "a task that runs, or will, needs no queue");
        state.resume();
        assert!(!state.park(), "the notification is taken instead of parking");
        assert!(state.park());
        assert!(state.notify(), "the first notifier of a parked task queues it");
        assert!(!state.notify(), "the second does not");
        state.resume();
    }

    #[test]
    fn a_detached_task_drops_its_result_before_it_ends() {
        let state = EndState::new();
        assert!(!state.detach());
        assert_eq!(state.end(true), End::DropResult);
        assert!(!state.is_done());
        assert_eq!(state.end(false), End::Unwatched { is_last: false });
        assert!(state.is_done() && !state.watch());
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    /// A task that waits for a flag, and notifiers that set it. `queue` stands for the home's queue.
    struct World {
        state: RunState,
        flag: AtomicBool,
        pushes: AtomicU32,
        mail: UnsafeCell<u32>,
    }

    fn world() -> Arc<World> {
        let world = World {
            state: RunState::fresh(),
            flag: AtomicBool::new(false),
            pushes: AtomicU32::new(0),
            mail: UnsafeCell::new(0),
        };
        Arc::new(world)
    }

    fn notify(world: &World) {
        if world.state.notify() {
            world.pushes.fetch_add(1, Ordering::Release);
        }
    }

    #[test]
    fn model_of_two_notifiers_at_most_one_queues_the_task() {
        loom::model(|| {
            let world = world();
            let notifiers: Vec<_> = (0..2)
                .map(|_| {
                    let world = world.clone();
                    thread::spawn(move || notify(&world))
                })
                .collect();
            let parked = world.state.park();
            notifiers.into_iter().for_each(|n| n.join().unwrap());
            // Parked before the first: queued by it, once. Not parked: a notification was taken, and the other, if it
            // came later, is kept for the next park.
            assert_eq!(world.pushes.load(Ordering::Relaxed), u32::from(parked));
        });
    }

    #[test]
    fn model_a_notification_carries_what_was_written_before_it() {
        loom::model(|| {
            let world = world();
            let notifier = {
                let world = world.clone();
                thread::spawn(move || {
                    // SAFETY: nobody reads it before the notification, as loom checks.
                    world.mail.with_mut(|mail| unsafe { *mail = 7 });
                    notify(&world);
                })
            };
            if world.state.park() {
                while world.pushes.load(Ordering::Acquire) == 0 {
                    thread::yield_now();
                }
                world.state.resume();
            }
            // SAFETY: the notification has come, so nobody writes the mail any more, as loom checks.
            assert_eq!(world.mail.with(|mail| unsafe { *mail }), 7);
            notifier.join().unwrap();
        });
    }

    /// One notification against one park. Panics if the task is parked, its flag is up, and nobody has queued it.
    fn one_notification_against(park: fn(&RunState) -> bool) {
        loom::model(move || {
            let world = world();
            let notifier = {
                let world = world.clone();
                thread::spawn(move || {
                    world.flag.store(true, Ordering::Relaxed);
                    notify(&world);
                })
            };
            let parked = !world.flag.load(Ordering::Relaxed) && park(&world.state);
            notifier.join().unwrap();
            assert!(!parked || world.pushes.load(Ordering::Relaxed) == 1, "lost wake-up");
        });
    }

    #[test]
    fn model_a_park_and_a_notification_do_not_miss_each_other() {
        one_notification_against(RunState::park);
    }

    /// A task that `go_on` lets run again because of a first notification, while a second one is on its way.
    fn a_second_notification_against(prepare: fn(&World), go_on: fn(&RunState)) {
        loom::model(move || {
            let world = world();
            prepare(&world);
            let notifier = {
                let world = world.clone();
                thread::spawn(move || {
                    world.flag.store(true, Ordering::Relaxed);
                    notify(&world);
                })
            };
            let before = world.pushes.load(Ordering::Relaxed);
            go_on(&world.state);
            let parked = !world.flag.load(Ordering::Relaxed) && world.state.park();
            notifier.join().unwrap();
            assert!(!parked || world.pushes.load(Ordering::Relaxed) == before + 1, "lost wake-up");
        });
    }

    fn queued(world: &World) {
        assert!(world.state.park());
        notify(world);
    }

    #[test]
    fn model_a_queued_task_overlooks_no_second_notification() {
        a_second_notification_against(queued, RunState::resume);
    }

    #[test]
    fn model_a_notified_task_overlooks_no_second_notification() {
        a_second_notification_against(notify, |state| assert!(!state.park()));
    }

    #[test]
    #[should_panic(expected = "lost wake-up")]
    fn model_catches_a_resume_that_overlooks_a_second_notification() {
        // The seeded bug: a plain store, after which what the second notifier wrote may still be unseen.
        a_second_notification_against(queued, |state| state.0.store(RUNNING, Ordering::Relaxed));
    }

    #[test]
    #[should_panic(expected = "lost wake-up")]
    fn model_catches_a_park_that_overlooks_the_notification() {
        one_notification_against(|state| {
            // The seeded bug: a plain store, over a notification that came in between.
            state.0.store(PARKED, Ordering::Release);
            true
        });
    }

    /// A link and a waiter against the end: counts who would run the link. `watch` sets the same bit as a link does, so
    /// that bit alone does not tell whether the one who ended the task comes by.
    fn a_link_against_the_end(link: fn(&EndState) -> bool) {
        loom::model(move || {
            let end = Arc::new(EndState::new());
            // What lies under the watchers' lock: whether the link is in the list.
            let list = Arc::new(loom::sync::Mutex::new(false));
            let runs = Arc::new(AtomicU32::new(0));
            let task = {
                let (end, list, runs) = (end.clone(), list.clone(), runs.clone());
                thread::spawn(move || {
                    if end.end(false) == End::Watched {
                        let mut list = list.lock().unwrap();
                        if std::mem::take(&mut *list) {
                            runs.fetch_add(1, Ordering::Relaxed);
                        }
                        end.swept();
                    }
                })
            };
            let waiter = {
                let end = end.clone();
                thread::spawn(move || _ = end.watch())
            };
            let mut list = list.lock().unwrap();
            *list = true;
            if !link(&end) {
                *list = false;
                runs.fetch_add(1, Ordering::Relaxed);
            }
            drop(list);
            task.join().unwrap();
            waiter.join().unwrap();
            assert_eq!(runs.load(Ordering::Relaxed), 1, "a link runs once");
        });
    }

    #[test]
    fn model_a_link_runs_once() {
        a_link_against_the_end(EndState::link);
    }

    #[test]
    #[should_panic(expected = "a link runs once")]
    fn model_catches_a_link_that_trusts_a_late_waiters_bit() {
        // The seeded bug: the task has ended and somebody watches, so whoever ended it is expected to come by.
        a_link_against_the_end(|end| {
            let before = end.0.fetch_or(WATCHED | LINKED, Ordering::AcqRel);
            before & (DONE | WATCHED) != DONE
        });
    }

    #[test]
    fn model_the_end_of_a_task_reaches_its_waiter_or_its_detacher() {
        loom::model(|| {
            let end = Arc::new(EndState::new());
            let result = Arc::new(UnsafeCell::new(0));
            let task = {
                let (end, result) = (end.clone(), result.clone());
                thread::spawn(move || {
                    // SAFETY: the task has not ended, so the result is its own, as loom checks.
                    result.with_mut(|r| unsafe { *r = 1 });
                    match end.end(true) {
                        End::DropResult => {
                            // SAFETY: as above.
                            result.with_mut(|r| unsafe { *r = 2 });
                            assert_eq!(end.end(false), End::Unwatched { is_last: false });
                        }
                        End::Unwatched { .. } | End::Watched => {}
                    }
                })
            };
            if end.detach() {
                // SAFETY: the task has ended and left the result to its handle, as loom checks.
                result.with_mut(|r| unsafe { *r = 3 });
                task.join().unwrap();
            } else {
                task.join().unwrap();
                // SAFETY: the task's thread has ended.
                assert_eq!(result.with(|r| unsafe { *r }), 2, "the task dropped it");
            }
        });
    }
}
