//! The lock under `Mutex` and whatever else needs one that tasks wait for: one word, and a queue behind it.
//!
//! ```text
//!   word:  ┌────────┬────────┬────────┐
//!          │ WOKEN  │ QUEUED │ LOCKED │      free 0, held 1: both ways are one exchange of the word
//!          └────────┴────────┴────────┘
//! ```
//!
//! Whoever unlocks wakes the first waiter and lets go: a task that runs may overtake the one that was woken, and no core
//! waits for it to come. While one is on its way no other is woken. One that comes too late returns to the head of the
//! queue, and once it has been overtaken for a millisecond the next unlock gives it the lock without letting go.
//!
//! # Invariants
//! - `QUEUED` is set and cleared under the queue's lock, and says whether anybody is in the queue.
//! - `WOKEN` is set by whoever unlocks, and cleared by the waiter that was woken for it, when it looks.
//! - A waiter enters the queue only while `LOCKED` is set, by an exchange: that holder's unlock will see it.

use std::fmt;
use std::time::{Duration, Instant};

use super::waiting::Waiting;
use crate::coroutine::current;
use crate::primitives::{AtomicU32, Ordering, SpinLock, const_unless_modelled};
use crate::task::{Leave, WaitQueue, Woken};

const LOCKED: u32 = 1;
const QUEUED: u32 = 2;
const WOKEN: u32 = 4;

/// How long a waiter may be overtaken. In a model the clock must not decide: there it is at once.
const OVERTAKEN: Duration = if cfg!(all(test, osier_loom)) { Duration::ZERO } else { Duration::from_millis(1) };

/// See the module's page.
pub(crate) struct RawMutex {
    word: AtomicU32,
    queue: SpinLock<WaitQueue>,
}

/// What a waiter has beside it.
struct Place {
    /// Since when it is overtaken.
    since: Option<Instant>,
    /// Whether the lock was given to it.
    handed: bool,
}

/// How long a call waits.
#[derive(Clone, Copy)]
enum Patience {
    /// Until then; a cancelled task unwinds.
    Until(Option<Instant>),
    /// Until it has the lock, cancelled or not.
    ThroughCancel,
}

impl RawMutex {
    const_unless_modelled! {
        pub(crate) fn new() -> Self {
            Self { word: AtomicU32::new(0), queue: SpinLock::new(WaitQueue::new()) }
        }
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.word.load(Ordering::Relaxed) & LOCKED != 0
    }

    /// Locks if that needs no waiting.
    #[inline]
    #[must_use]
    pub(crate) fn try_lock(&self) -> bool {
        self.lock_at_once() || self.try_take(0)
    }

    #[inline]
    fn lock_at_once(&self) -> bool {
        // Acquire: pairs with the Release of whoever unlocked.
        self.word.compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Locks if it is free, whoever waits, and clears `bits`.
    fn try_take(&self, bits: u32) -> bool {
        let mut state = self.word.load(Ordering::Relaxed);
        while state & LOCKED == 0 {
            // Acquire: pairs with the Release of whoever unlocked.
            let taken = (state | LOCKED) & !bits;
            match self.word.compare_exchange_weak(state, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Locks, waiting until `deadline` or as long as it takes. False if it took too long.
    ///
    /// # Suspends
    #[inline]
    #[must_use]
    pub(crate) fn lock_until(&self, deadline: Option<Instant>) -> bool {
        self.lock_at_once() || self.lock_slow(Patience::Until(deadline))
    }

    /// Locks, and does not unwind when the waiting task is cancelled.
    ///
    /// # Suspends
    #[inline]
    pub(crate) fn lock_through_cancel(&self) {
        if !self.lock_at_once() {
            self.lock_slow(Patience::ThroughCancel);
        }
    }

    #[cold]
    fn lock_slow(&self, patience: Patience) -> bool {
        let mut since = None;
        // The bit that is ours to clear.
        let mut woken = 0;
        loop {
            if self.try_take(woken) {
                return true;
            }
            if woken != 0 && since.is_none() {
                since = Some(current::now());
            }
            let waiting = Waiting::new(Place { since, handed: false });
            if !self.enter(&waiting, woken) {
                continue;
            }
            let turn = Turn { mutex: self, waiting: &waiting };
            let ended = match patience {
                Patience::Until(deadline) => waiting.waiter.wait(deadline, turn),
                Patience::ThroughCancel => {
                    waiting.waiter.wait_through_cancel(|| (), turn);
                    Woken::Notified
                }
            };
            match (ended, waiting.into_place().handed) {
                (Woken::Elapsed, _) => return false,
                (Woken::Notified, true) => return true,
                (Woken::Notified, false) => woken = WOKEN,
            }
        }
    }

    /// Enters the queue, at its head if the waiter was there before, and clears the bit `woken`. False if the lock is
    /// free.
    fn enter(&self, waiting: &Waiting<Place>, woken: u32) -> bool {
        let mut queue = self.queue.lock();
        let mut state = self.word.load(Ordering::Relaxed);
        loop {
            if state & LOCKED == 0 {
                return false;
            }
            // Relaxed: who unlocks sees the bit, and the queue under its lock.
            let queued = (state | QUEUED) & !woken;
            match self.word.compare_exchange_weak(state, queued, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        // SAFETY: the waiter is new, and stays where it is until the wait has ended, when it is in no queue.
        unsafe { if woken == 0 { queue.push(waiting.as_waiter()) } else { queue.push_front(waiting.as_waiter()) } }
        true
    }

    /// Takes a waiter out of the queue. False if it was notified.
    fn leave(&self, waiting: &Waiting<Place>) -> bool {
        let mut queue = self.queue.lock();
        // SAFETY: it was pushed there.
        let left = unsafe { queue.remove(&waiting.waiter) };
        if left && queue.is_empty() {
            self.word.fetch_and(!QUEUED, Ordering::Relaxed);
        }
        left
    }

    /// Does what a waiter would do that was notified, and will not look: unlocks if the lock was given to it, else clears the
    /// bit `WOKEN`, and wakes the next if nobody holds the lock who would.
    #[cold]
    fn pass_over(&self, was_handed: bool) {
        if !was_handed && !self.clear_woken() {
            return;
        }
        // SAFETY: it was given to us, or we have taken it, and nothing was done with what it guards.
        unsafe { self.unlock() };
    }

    /// Clears `WOKEN`, and locks if the lock is free. Whether it was.
    fn clear_woken(&self) -> bool {
        let mut state = self.word.load(Ordering::Relaxed);
        loop {
            // Acquire: as in `try_take`. An exchange: whoever unlocks must see the bit or wake somebody.
            let next = (state | LOCKED) & !WOKEN;
            match self.word.compare_exchange_weak(state, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return state & LOCKED == 0,
                Err(now) => state = now,
            }
        }
    }

    /// Unlocks, and wakes the first waiter.
    ///
    /// # Safety
    /// - The caller has locked it, and uses what it guards no more.
    #[inline]
    pub(crate) unsafe fn unlock(&self) {
        // Release: pairs with the Acquire of whoever locks next.
        if self.word.compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed).is_err() {
            self.unlock_slow();
        }
    }

    #[cold]
    fn unlock_slow(&self) {
        let mut state = self.word.load(Ordering::Relaxed);
        while state & QUEUED == 0 || state & WOKEN != 0 {
            // Nobody waits, or somebody is on the way and will look. An exchange: if that one has looked meanwhile, and
            // has gone back to the queue, it must be woken again.
            // Release: as in `unlock`.
            match self.word.compare_exchange_weak(state, state & !LOCKED, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        self.pass_on();
    }

    /// Unlocks, and wakes the first waiter or gives it the lock.
    fn pass_on(&self) {
        let mut queue = self.queue.lock();
        // Until the store below nobody else changes the word: it is locked, nobody is on the way, the queue's lock is
        // ours.
        let Some(first) = queue.first() else {
            self.word.store(0, Ordering::Release);
            return;
        };
        // SAFETY: only `Waiting<Place>` enter this queue, and its lock is held.
        let place = unsafe { Waiting::<Place>::place_of(first) };
        place.handed = place.since.is_some_and(|since| current::now().saturating_duration_since(since) >= OVERTAKEN);
        let holder = if place.handed { LOCKED } else { WOKEN };
        let others = if queue.is_single() { 0 } else { QUEUED };
        // Before the waiter is notified: it may unlock before we go on. Release: as in `unlock`.
        self.word.store(holder | others, Ordering::Release);
        let wakeup = queue.notify_first(|_| ());
        drop(queue);
        if let Some(wakeup) = wakeup {
            wakeup.fire();
        }
    }
}

/// The wait for a lock.
struct Turn<'a> {
    mutex: &'a RawMutex,
    waiting: &'a Waiting<Place>,
}

impl Leave for Turn<'_> {
    #[inline(always)]
    fn leave(&self) -> bool {
        self.mutex.leave(self.waiting)
    }

    fn path(&self) -> &'static str {
        "osier::sync::raw_mutex::RawMutex::lock_slow"
    }

    fn abandon(&self) {
        if !self.leave() {
            // SAFETY: it was notified, so the place is its own again, and its task does not run any more.
            let was_handed = unsafe { Waiting::<Place>::place_of(self.waiting.as_waiter()) }.handed;
            self.mutex.pass_over(was_handed);
        }
    }
}

impl Default for RawMutex {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word.load(Ordering::Relaxed);
        let has = |bit| word & bit != 0;
        let mut f = f.debug_struct("RawMutex");
        f.field("locked", &has(LOCKED)).field("queued", &has(QUEUED)).field("woken", &has(WOKEN)).finish()
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::thread;
    // Not loom's: when it reports a deadlock, and unwinds, nothing of its own may be dropped.
    use std::sync::Arc;

    struct World {
        lock: RawMutex,
        count: UnsafeCell<usize>,
    }

    impl World {
        fn add(&self, unlock: fn(&RawMutex)) {
            assert!(self.lock.lock_until(None));
            // SAFETY: the lock is held, as loom checks.
            self.count.with_mut(|count| unsafe { *count += 1 });
            unlock(&self.lock);
        }
    }

    fn unlock(lock: &RawMutex) {
        // SAFETY: whoever calls holds the lock.
        unsafe { lock.unlock() };
    }

    /// `threads` threads that lock `times` times each. Loom reports whoever sleeps for ever as a deadlock.
    fn contend(threads: usize, times: usize, unlock: fn(&RawMutex)) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            #[allow(
                clippy::arc_with_non_send_sync,
                reason = "loom runs its threads on one, and checks what they share"
            )]
            let world = Arc::new(World { lock: RawMutex::new(), count: UnsafeCell::new(0) });
            let others: Vec<_> = (1..threads)
                .map(|_| {
                    let world = world.clone();
                    thread::spawn(move || (0..times).for_each(|_| world.add(unlock)))
                })
                .collect();
            (0..times).for_each(|_| world.add(unlock));
            others.into_iter().for_each(|thread| thread.join().unwrap());
            // SAFETY: the other threads have ended.
            assert_eq!(world.count.with(|count| unsafe { *count }), threads * times);
            assert_eq!(world.lock.word.load(Ordering::Relaxed), 0, "everything has been given back");
        });
    }

    #[test]
    fn model_two_threads_exclude_each_other_and_both_get_the_lock() {
        contend(2, 2, unlock);
    }

    #[test]
    fn model_three_threads_exclude_each_other_and_all_get_the_lock() {
        contend(3, 1, unlock);
    }

    /// A waiter that was woken and will not look, beside one that waits on.
    fn leave_behind(abandon: fn(Turn<'_>)) {
        loom::model(move || {
            let lock = Arc::new(RawMutex::new());
            assert!(lock.try_lock());
            let waiting = Waiting::new(Place { since: None, handed: false });
            assert!(lock.enter(&waiting, 0));
            let other = {
                let lock = lock.clone();
                thread::spawn(move || {
                    assert!(lock.lock_until(None));
                    unlock(&lock);
                })
            };
            unlock(&lock);
            abandon(Turn { mutex: &lock, waiting: &waiting });
            other.join().unwrap();
            assert_eq!(lock.word.load(Ordering::Relaxed), 0, "everything has been given back");
        });
    }

    #[test]
    fn model_who_is_left_behind_passes_its_turn_on() {
        leave_behind(|turn| turn.abandon());
    }

    #[test]
    #[should_panic(expected = "everything has been given back")]
    fn model_catches_who_takes_its_turn_along() {
        // The seeded bug: it was woken, and nobody looks.
        leave_behind(|turn| _ = turn.leave());
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn model_catches_an_unlock_that_overlooks_a_waiter_who_has_gone_back() {
        contend(2, 2, |lock| {
            let state = lock.word.load(Ordering::Relaxed);
            if state & WOKEN != 0 {
                // The seeded bug: no exchange, so the one on the way may have gone back to sleep.
                lock.word.fetch_and(!LOCKED, Ordering::Release);
            } else {
                unlock(lock);
            }
        });
    }
}
