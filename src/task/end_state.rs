//! A task's end: one word, and who may change it.
//!
//! ```text
//!   ┌──────────────────────────────────────────┬────────┬────────┬──────────┬─────────┬──────┐
//!   │ references                               │ SWEEPS │ LINKED │ DETACHED │ WATCHED │ DONE │
//!   └──────────────────────────────────────────┴────────┴────────┴──────────┴─────────┴──────┘
//! ```
//!
//! One word, for most tasks end unwatched: then one exchange ends the task and gives up the runtime's reference.

use crate::primitives::{AtomicUsize, Ordering};

/// Whether a task has ended, who waits for that, whether anybody wants its result, and how many references there are.
/// See the module's page.
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

    /// Ends the task. `has_result` says whether there is a result that somebody would have to drop, `links_look` whether
    /// links may look at it, of which the last one drops it then.
    #[inline]
    pub(crate) fn end(&self, has_result: bool, links_look: bool) -> End {
        let mut state = self.0.load(Ordering::Relaxed);
        let keeps = if links_look { LINKED } else { 0 };
        loop {
            if state & (DETACHED | keeps) == DETACHED && has_result {
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

    /// Whether the task has ended, and whoever ended it has yet to go through its links. Asked under the watchers' lock.
    pub(crate) fn is_swept_later(&self) -> bool {
        self.0.load(Ordering::Relaxed) & SWEEPS != 0
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
    fn a_detached_task_drops_its_result_before_it_ends() {
        let state = EndState::new();
        assert!(!state.detach());
        assert_eq!(state.end(true, true), End::DropResult);
        assert!(!state.is_done());
        assert_eq!(state.end(false, true), End::Unwatched { is_last: false });
        assert!(state.is_done() && !state.watch());
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::*;
    use crate::primitives::AtomicU32;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

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
                    if end.end(false, true) == End::Watched {
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

    /// The end of a task whose handle goes: panics if nobody drops the result, or two touch it.
    fn an_end_against_a_detach(detach: fn(&EndState) -> bool) {
        loom::model(move || {
            let end = Arc::new(EndState::new());
            let result = Arc::new(UnsafeCell::new(0));
            let task = {
                let (end, result) = (end.clone(), result.clone());
                thread::spawn(move || {
                    // SAFETY: the task has not ended, so the result is its own, as loom checks.
                    result.with_mut(|r| unsafe { *r = 1 });
                    match end.end(true, true) {
                        End::DropResult => {
                            // SAFETY: as above.
                            result.with_mut(|r| unsafe { *r = 2 });
                            assert_eq!(end.end(false, true), End::Unwatched { is_last: false });
                        }
                        End::Unwatched { .. } | End::Watched => {}
                    }
                })
            };
            if detach(&end) {
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

    #[test]
    fn model_the_result_is_dropped_by_the_task_or_by_its_handle() {
        an_end_against_a_detach(EndState::detach);
    }

    #[test]
    #[should_panic(expected = "the task dropped it")]
    fn model_catches_a_detach_in_two_steps() {
        // The seeded bug: the task may end between the look and the mark.
        an_end_against_a_detach(|end| {
            let is_done = end.is_done();
            end.0.fetch_or(DETACHED, Ordering::AcqRel);
            is_done
        });
    }

    /// A waiter, which enters the queue and says so in the order that `enter` gives, against the end.
    fn a_waiter_against_the_end(enter: fn(&EndState, &loom::sync::Mutex<bool>) -> bool) {
        loom::model(move || {
            let end = Arc::new(EndState::new());
            // What lies under the watchers' lock: whether the waiter is in the queue.
            let queue = Arc::new(loom::sync::Mutex::new(false));
            let woken = Arc::new(AtomicU32::new(0));
            let task = {
                let (end, queue, woken) = (end.clone(), queue.clone(), woken.clone());
                thread::spawn(move || {
                    if end.end(false, true) == End::Watched && std::mem::take(&mut *queue.lock().unwrap()) {
                        woken.fetch_add(1, Ordering::Relaxed);
                    }
                })
            };
            let waits = enter(&end, &queue);
            task.join().unwrap();
            let woken = woken.load(Ordering::Relaxed);
            // One that was told that the task has ended takes itself out, or was taken.
            assert!(woken == 1 || (!waits && *queue.lock().unwrap()), "a waiter sleeps on");
        });
    }

    #[test]
    fn model_a_waiter_is_woken_or_told() {
        a_waiter_against_the_end(|end, queue| {
            *queue.lock().unwrap() = true;
            end.watch()
        });
    }

    #[test]
    #[should_panic(expected = "a waiter sleeps on")]
    fn model_catches_a_waiter_that_is_announced_before_it_is_there() {
        a_waiter_against_the_end(|end, queue| {
            let waits = end.watch();
            *queue.lock().unwrap() = true;
            waits
        });
    }

    /// Two who give their references up: whoever is the last frees what both have used.
    fn the_last_frees(release: fn(&EndState) -> bool) {
        loom::model(move || {
            let end = Arc::new(EndState::new());
            let memory = Arc::new(UnsafeCell::new(0));
            let give_up = move |end: &EndState, memory: &UnsafeCell<u32>| {
                // SAFETY: a reference is counted for the caller, so it is not freed, as loom checks.
                memory.with(|memory| unsafe { *memory });
                if release(end) {
                    // SAFETY: it was the last reference, as loom checks.
                    memory.with_mut(|memory| unsafe { *memory = 1 });
                }
            };
            let other = {
                let (end, memory) = (end.clone(), memory.clone());
                thread::spawn(move || give_up(&end, &memory))
            };
            give_up(&end, &memory);
            other.join().unwrap();
            // SAFETY: both are gone.
            assert_eq!(memory.with(|memory| unsafe { *memory }), 1, "nobody freed it");
        });
    }

    #[test]
    fn model_the_last_who_gives_up_sees_what_the_others_did() {
        the_last_frees(EndState::release);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn model_catches_a_last_one_that_does_not_look() {
        // The seeded bug: the short cut takes the number and nothing else.
        the_last_frees(|end| {
            end.0.load(Ordering::Relaxed) < 2 * REFERENCE
                || end.0.fetch_sub(REFERENCE, Ordering::AcqRel) < 2 * REFERENCE
        });
    }
}
