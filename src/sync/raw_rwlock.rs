//! The lock under `RwLock`: one word, and two queues behind it.
//!
//! ```text
//!   word:  ┌─────────────────┬────────┬────────┐
//!          │ readers         │ QUEUED │ WRITER │      free 0; each reader adds READER
//!          └─────────────────┴────────┴────────┘
//! ```
//!
//! A lock goes from hand to hand: whoever makes it available gives it to those whose turn it is, under the lock of the
//! queues, and nobody overtakes. Writers first: while one waits no new reader gets in, and who unlocks gives the lock to
//! the next writer, to all readers only if no writer waits.
//!
//! # Invariants
//! - `QUEUED` is set and cleared under the lock of the queues, and says whether anybody is in them.
//! - While `QUEUED` is set the word changes under that lock only, but for readers that unlock; the last of them then
//!   takes it.

use std::fmt;
use std::time::Instant;

use crate::primitives::{AtomicUsize, Ordering, SpinGuard, SpinLock, const_unless_modelled};
use crate::task::{WaitQueue, Waiter, Wakeup, Woken};

const WRITER: usize = 1;
const QUEUED: usize = 2;
const READER: usize = 4;

/// See the module's page.
pub(crate) struct RawRwLock {
    word: AtomicUsize,
    queues: SpinLock<Queues>,
}

struct Queues {
    readers: WaitQueue,
    writers: WaitQueue,
}

impl RawRwLock {
    const_unless_modelled! {
        pub(crate) fn new() -> Self {
            let queues = Queues { readers: WaitQueue::new(), writers: WaitQueue::new() };
            Self { word: AtomicUsize::new(0), queues: SpinLock::new(queues) }
        }
    }

    /// Locks for reading if that needs no waiting.
    #[inline]
    #[must_use]
    pub(crate) fn try_read(&self) -> bool {
        let mut state = self.word.load(Ordering::Relaxed);
        while state & (WRITER | QUEUED) == 0 {
            let more = state.checked_add(READER).expect("fewer readers than a word can count");
            // Acquire: pairs with the Release of the writer that unlocked.
            match self.word.compare_exchange_weak(state, more, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Locks for writing if that needs no waiting.
    #[inline]
    #[must_use]
    pub(crate) fn try_write(&self) -> bool {
        // Acquire: pairs with the Release of whoever unlocked.
        self.word.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Locks for reading, waiting until `deadline` or as long as it takes. False if it took too long.
    ///
    /// # Suspends
    #[inline]
    #[must_use]
    pub(crate) fn read_until(&self, deadline: Option<Instant>) -> bool {
        self.try_read() || self.wait(deadline, Self::try_read, WRITER | QUEUED, |queues| &mut queues.readers)
    }

    /// Locks for writing, waiting until `deadline` or as long as it takes. False if it took too long.
    ///
    /// # Suspends
    #[inline]
    #[must_use]
    pub(crate) fn write_until(&self, deadline: Option<Instant>) -> bool {
        self.try_write() || self.wait(deadline, Self::try_write, usize::MAX, |queues| &mut queues.writers)
    }

    #[cold]
    fn wait(
        &self,
        deadline: Option<Instant>,
        again: fn(&Self) -> bool,
        against: usize,
        queue: fn(&mut Queues) -> &mut WaitQueue,
    ) -> bool {
        let waiter = Waiter::new();
        let mut queues = self.lock_queues();
        if !self.announce(again, against) {
            return true;
        }
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { queue(&mut queues).push(&raw const waiter) };
        drop(queues);
        let woken = waiter.wait(deadline, || {
            let mut queues = self.lock_queues();
            // SAFETY: it was pushed there.
            let left = unsafe { queue(&mut queues).remove(&waiter) };
            // Readers may have waited only for the writer that has left.
            let wakeups = if left { self.grant(&mut queues) } else { Vec::new() };
            drop(queues);
            wakeups.into_iter().for_each(Wakeup::fire);
            left
        });
        // Notified: whoever did that has counted this one in.
        woken == Woken::Notified
    }

    /// Under the lock of the queues: says that somebody enters them. False if `again` has locked instead, since none of
    /// the bits `against` it was set.
    fn announce(&self, again: fn(&Self) -> bool, against: usize) -> bool {
        loop {
            let state = self.word.load(Ordering::Relaxed);
            if state & against == 0 {
                if again(self) {
                    return false;
                }
                continue;
            }
            // Relaxed: who unlocks sees the bit, and the queues under their lock.
            if state & QUEUED != 0
                || self.word.compare_exchange(state, state | QUEUED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                return true;
            }
        }
    }

    /// Gives up one reader's lock.
    ///
    /// # Safety
    /// - The caller has locked it for reading, and uses what it guards no more.
    #[inline]
    pub(crate) unsafe fn unlock_read(&self) {
        // Release: pairs with the Acquire of the next writer.
        let before = self.word.fetch_sub(READER, Ordering::Release);
        if before == READER | QUEUED {
            self.pass_on();
        }
    }

    /// Gives up the writer's lock.
    ///
    /// # Safety
    /// - The caller has locked it for writing, and uses what it guards no more.
    #[inline]
    pub(crate) unsafe fn unlock_write(&self) {
        // Release: pairs with the Acquire of whoever locks next.
        if self.word.compare_exchange(WRITER, 0, Ordering::Release, Ordering::Relaxed).is_err() {
            self.unlock_queued(0);
        }
    }

    /// Turns the writer's lock into a reader's; readers that wait get in if no writer waits.
    ///
    /// # Safety
    /// - The caller has locked it for writing, and reads what it guards from now on.
    pub(crate) unsafe fn downgrade(&self) {
        // Release: as in `unlock_write`.
        if self.word.compare_exchange(WRITER, READER, Ordering::Release, Ordering::Relaxed).is_err() {
            self.unlock_queued(READER);
        }
    }

    /// Unlocks for a writer that others wait for, and leaves `readers` in its place.
    #[cold]
    fn unlock_queued(&self, readers: usize) {
        let mut queues = self.lock_queues();
        // Release: as in `unlock_write`. Whoever waited may have left: `grant` wipes the bit.
        self.word.store(readers | QUEUED, Ordering::Release);
        let wakeups = self.grant(&mut queues);
        drop(queues);
        wakeups.into_iter().for_each(Wakeup::fire);
    }

    #[cold]
    fn pass_on(&self) {
        let mut queues = self.lock_queues();
        let wakeups = self.grant(&mut queues);
        drop(queues);
        wakeups.into_iter().for_each(Wakeup::fire);
    }

    /// Gives the lock to those whose turn it is, if it can be given. Under the lock of the queues, with `QUEUED` set or
    /// nobody in them.
    fn grant(&self, queues: &mut Queues) -> Vec<Wakeup> {
        // Acquire: what readers did before they unlocked reaches, through the notification, the writer that gets it.
        let state = self.word.load(Ordering::Acquire);
        let mut wakeups = Vec::new();
        if state & WRITER == 0 {
            if !queues.writers.is_empty() {
                // No reader: nobody but us changes the word. Otherwise the last of them comes here.
                if state < READER {
                    let others = if queues.writers.is_single() && queues.readers.is_empty() { 0 } else { QUEUED };
                    self.word.store(WRITER | others, Ordering::Relaxed);
                    wakeups.extend(queues.writers.notify_first(|_| ()));
                }
                return wakeups;
            }
            while !queues.readers.is_empty() {
                // Counted before it is notified: it may unlock before we go on.
                self.word.fetch_add(READER, Ordering::Relaxed);
                wakeups.extend(queues.readers.notify_first(|_| ()));
            }
        }
        if queues.readers.is_empty() && queues.writers.is_empty() {
            self.word.fetch_and(!QUEUED, Ordering::Relaxed);
        }
        wakeups
    }

    fn lock_queues(&self) -> SpinGuard<'_, Queues> {
        self.queues.lock()
    }
}

impl Default for RawRwLock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RawRwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word.load(Ordering::Relaxed);
        let mut f = f.debug_struct("RawRwLock");
        f.field("writer", &(word & WRITER != 0)).field("queued", &(word & QUEUED != 0));
        f.field("readers", &(word / READER)).finish()
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
        lock: RawRwLock,
        value: UnsafeCell<usize>,
    }

    type Unlock = unsafe fn(&RawRwLock);

    fn write(world: &World) {
        assert!(world.lock.write_until(None));
        // SAFETY: it is locked for writing, as loom checks.
        world.value.with_mut(|value| unsafe { *value += 1 });
        // SAFETY: as above.
        unsafe { world.lock.unlock_write() };
    }

    fn read(world: &World, unlock: Unlock) {
        assert!(world.lock.read_until(None));
        // SAFETY: it is locked for reading, as loom checks.
        world.value.with(|value| assert!(unsafe { *value } <= 2));
        // SAFETY: as above.
        unsafe { unlock(&world.lock) };
    }

    /// Two threads beside this one. Loom reports whoever sleeps for ever as a deadlock, and two uses of the value that
    /// nothing orders as a race.
    fn contend(others: [fn(&World, Unlock); 2], here: fn(&World, Unlock), unlock: Unlock) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            #[allow(
                clippy::arc_with_non_send_sync,
                reason = "loom runs its threads on one, and checks what they share"
            )]
            let world = Arc::new(World { lock: RawRwLock::new(), value: UnsafeCell::new(0) });
            let threads = others.map(|body| {
                let world = world.clone();
                thread::spawn(move || body(&world, unlock))
            });
            here(&world, unlock);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(world.lock.word.load(Ordering::Relaxed), 0, "everything has been given back");
        });
    }

    #[test]
    fn model_two_readers_and_a_writer() {
        contend([read, read], |world, _| write(world), RawRwLock::unlock_read);
    }

    #[test]
    fn model_two_writers_and_a_reader() {
        contend([|world, _| write(world), |world, _| write(world)], read, RawRwLock::unlock_read);
    }

    #[test]
    fn model_a_writer_that_becomes_a_reader() {
        let downgrading: fn(&World, Unlock) = |world, unlock| {
            assert!(world.lock.write_until(None));
            // SAFETY: it is locked for writing, as loom checks.
            world.value.with_mut(|value| unsafe { *value += 1 });
            // SAFETY: as above.
            unsafe { world.lock.downgrade() };
            // SAFETY: it is locked for reading now, as loom checks.
            world.value.with(|value| assert!(unsafe { *value } <= 2));
            // SAFETY: as above.
            unsafe { unlock(&world.lock) };
        };
        contend([downgrading, |world, _| write(world)], read, RawRwLock::unlock_read);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn model_catches_a_last_reader_that_wakes_nobody() {
        contend(
            [read, |world, _| write(world)],
            |world, _| write(world),
            |lock| {
                let state = lock.word.load(Ordering::Relaxed);
                // The seeded bug: whether anybody waits is looked at before the exchange, and not in it.
                lock.word.fetch_sub(READER, Ordering::Release);
                if state == READER | QUEUED {
                    lock.pass_on();
                }
            },
        );
    }
}
