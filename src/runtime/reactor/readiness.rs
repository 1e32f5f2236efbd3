//! Whether a descriptor is ready, as far as is known, and who waits for that: per direction a word and a queue.
//!
//! ```text
//!   word   31 ........ 3      2        1        0
//!          tick            CLOSED    DOUBT    READY
//! ```
//!
//! READY means that a call is worth trying. Events set it; a call that found nothing, or less than it asked for, takes it
//! back: unless an event has come since the call began, which the tick tells. Without the tick the event that came while
//! the call was under way would be wiped out, and nobody would look again.
//!
//! # Invariants
//! - A waiter enters its queue under the lock, after it has seen there that READY is not set.
//! - An event sets READY and empties the queue under the same lock.

use std::io;
use std::sync::PoisonError;
use std::time::Instant;

use crate::primitives::{AtomicU32, Mutex, MutexGuard, Ordering};
use crate::task::{Tells, WaitQueue, Waiter, Wakeup, Woken};

/// A call may be worth trying.
const READY: u32 = 1;
/// A call that gets less than it asked for says nothing about the next: the peer has ended, or has sent urgent data, at which
/// a read stops.
const DOUBT: u32 = 2;
/// It was closed while others use it.
const CLOSED: u32 = 4;
/// One event, in the rest of the word, which may wrap around.
const TICK: u32 = 8;

/// A direction of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// What a direction's word said.
#[derive(Clone, Copy)]
#[must_use]
pub(super) struct Seen(u32);

impl Seen {
    pub(super) fn is_ready(self) -> bool {
        self.0 & READY != 0
    }

    pub(super) fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    pub(super) fn is_in_doubt(self) -> bool {
        self.0 & DOUBT != 0
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let flag = |bit, name| if self.0 & bit == 0 { "" } else { name };
        let names = [flag(READY, "ready "), flag(DOUBT, "in doubt "), flag(CLOSED, "closed ")];
        write!(f, "{}after {} events", names.concat(), self.0 / TICK)
    }
}

/// See the module's page. `E` is what else lies under the lock.
#[derive(Debug)]
pub(super) struct Readiness<E> {
    read: AtomicU32,
    write: AtomicU32,
    under_lock: Mutex<UnderLock<E>>,
}

#[derive(Debug)]
pub(super) struct UnderLock<E> {
    readers: WaitQueue,
    writers: WaitQueue,
    pub(super) extra: E,
}

impl<E> UnderLock<E> {
    fn queue(&mut self, direction: Direction) -> &mut WaitQueue {
        match direction {
            Direction::Read => &mut self.readers,
            Direction::Write => &mut self.writers,
        }
    }

    pub(super) fn is_awaited(&self) -> bool {
        !self.readers.is_empty() || !self.writers.is_empty()
    }
}

/// Wake-ups to be fired after unlocking. There is hardly ever more than one.
#[must_use = "waiters sleep on until they are woken"]
#[derive(Debug, Default)]
pub(super) struct Wakeups {
    first: Option<Wakeup>,
    others: Vec<Wakeup>,
}

impl Wakeups {
    fn collect(&mut self, queue: &mut WaitQueue) {
        while let Some(wakeup) = queue.notify_first(|_| ()) {
            match self.first {
                None => self.first = Some(wakeup),
                Some(_) => self.others.push(wakeup),
            }
        }
    }

    pub(super) fn fire(self) {
        self.first.into_iter().chain(self.others).for_each(Wakeup::fire);
    }
}

impl<E> Readiness<E> {
    /// Ready in both directions: nobody has tried yet.
    pub(super) fn new(extra: E) -> Self {
        let under_lock = UnderLock { readers: WaitQueue::new(), writers: WaitQueue::new(), extra };
        Self { read: AtomicU32::new(READY), write: AtomicU32::new(READY), under_lock: Mutex::new(under_lock) }
    }

    fn word(&self, direction: Direction) -> &AtomicU32 {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, UnderLock<E>> {
        self.under_lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(super) fn look(&self, direction: Direction) -> Seen {
        // Acquire: pairs with the Release in `set`: the call that follows finds what the event was about.
        Seen(self.word(direction).load(Ordering::Acquire))
    }

    /// After a call that found nothing, and that began after `seen` was: takes READY back, unless an event has come since.
    /// What is closed stays ready, so that nobody enters.
    #[inline]
    pub(super) fn spent(&self, direction: Direction, seen: Seen) {
        let Seen(word) = seen;
        if seen.is_closed() {
            return;
        }
        // Relaxed: it says nothing about other memory. If it fails, somebody knows better.
        _ = self.word(direction).compare_exchange(word, word & !READY, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// As `spent`, after a call on a stream that got less than it asked for. What a peer that has ended has sent before that,
    /// and its end, came with one event: then the end is still to be read. So did what lies before urgent data, and behind.
    #[inline]
    pub(super) fn fell_short(&self, direction: Direction, seen: Seen) {
        if seen.0 & DOUBT == 0 {
            self.spent(direction, seen);
        }
    }

    /// Notes an event, under the lock. The wake-ups are to be fired after unlocking.
    fn set(&self, under_lock: &mut UnderLock<E>, direction: Direction, flags: u32, wakeups: &mut Wakeups) {
        let word = self.word(direction);
        let mut seen = word.load(Ordering::Relaxed);
        // Release: pairs with the Acquire in `look`.
        while let Err(now) =
            word.compare_exchange(seen, seen.wrapping_add(TICK) | flags, Ordering::Release, Ordering::Relaxed)
        {
            seen = now;
        }
        wakeups.collect(under_lock.queue(direction));
    }

    /// Notes that directions are ready; of each, whether short calls are in doubt from now on.
    pub(super) fn set_ready(&self, directions: impl IntoIterator<Item = (Direction, bool)>) {
        let mut wakeups = Wakeups::default();
        let mut under_lock = self.lock();
        for (direction, in_doubt) in directions {
            let flags = if in_doubt { READY | DOUBT } else { READY };
            self.set(&mut under_lock, direction, flags, &mut wakeups);
        }
        drop(under_lock);
        wakeups.fire();
    }

    /// Notes that nobody shall wait here any more, and lets `change` do what that means under the lock. False if it was
    /// closed before.
    pub(super) fn close(&self, change: impl FnOnce(&mut E)) -> bool {
        let mut under_lock = self.lock();
        if self.look(Direction::Read).is_closed() {
            return false;
        }
        let mut wakeups = Wakeups::default();
        for direction in [Direction::Read, Direction::Write] {
            self.set(&mut under_lock, direction, READY | CLOSED, &mut wakeups);
        }
        change(&mut under_lock.extra);
        drop(under_lock);
        wakeups.fire();
        true
    }

    /// Waits for an event, unless one has come, or until `deadline`; where nothing unwinds, at most until the task is
    /// cancelled. `enter` is called under the lock before; with whether
    /// nobody else waits.
    ///
    /// # Errors
    /// Those of `enter`.
    pub(super) fn wait(
        &self,
        direction: Direction,
        deadline: Option<Instant>,
        enter: impl FnOnce(&mut E, bool) -> io::Result<()>,
    ) -> io::Result<Woken> {
        let waiter = Waiter::new();
        // SAFETY: it is new, and stays here until it is notified or taken out; nothing is delivered through it.
        if !unsafe { self.enter(direction, &raw const waiter, enter) }? {
            return Ok(Woken::Notified);
        }
        Ok(waiter.wait(deadline, Tells(|| self.leave(direction, &waiter))))
    }

    /// Enters a waiter, to be notified of the next event. False if one has come: then it was not entered. `enter` is called
    /// before, as in [`wait`](Self::wait).
    ///
    /// # Safety
    /// - As [`WaitQueue::push`].
    ///
    /// # Errors
    /// Those of `enter`.
    #[inline]
    pub(super) unsafe fn enter(
        &self,
        direction: Direction,
        waiter: *const Waiter,
        enter: impl FnOnce(&mut E, bool) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut under_lock = self.lock();
        if self.look(direction).is_ready() {
            return Ok(false);
        }
        let is_alone = !under_lock.is_awaited();
        enter(&mut under_lock.extra, is_alone)?;
        // SAFETY: the caller's promise.
        unsafe { under_lock.queue(direction).push(waiter) };
        Ok(true)
    }

    /// Takes a waiter out that was entered. False if it was notified.
    pub(super) fn leave(&self, direction: Direction, waiter: &Waiter) -> bool {
        // SAFETY: it was pushed there by `enter`.
        unsafe { self.lock().queue(direction).remove(waiter) }
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    fn is_refused(readiness: &Readiness<()>, direction: Direction) -> bool {
        let enter = |(): &mut (), _| -> io::Result<()> { panic!("nothing is to be watched any more") };
        readiness.wait(direction, None, enter).is_ok_and(|woken| woken == Woken::Notified)
    }

    #[test]
    fn nobody_enters_what_is_closed_whatever_a_late_call_found() {
        for direction in [Direction::Read, Direction::Write] {
            let readiness = Readiness::new(());
            let before = readiness.look(direction);
            readiness.spent(direction, before);
            assert!(readiness.close(|()| ()));
            assert!(!readiness.close(|()| panic!("it was closed before")));
            assert!(is_refused(&readiness, direction));
            // One call began before the close, the other one after it.
            readiness.spent(direction, before);
            readiness.spent(direction, readiness.look(direction));
            assert!(is_refused(&readiness, direction));
        }
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// A descriptor with data on which events come, and one who reads it.
    fn a_read_against_an_event(spent: fn(&Readiness<()>, Seen)) {
        loom::model(move || {
            let shared = Arc::new((Readiness::new(()), AtomicU32::new(0)));
            let system = {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.1.store(1, Ordering::Relaxed);
                    shared.0.set_ready([(Direction::Read, false)]);
                })
            };
            let (readiness, data) = &*shared;
            loop {
                let seen = readiness.look(Direction::Read);
                if seen.is_ready() {
                    if data.load(Ordering::Relaxed) == 1 {
                        break;
                    }
                    spent(readiness, seen);
                }
                assert_eq!(readiness.wait(Direction::Read, None, |(), _| Ok(())).unwrap(), Woken::Notified);
            }
            system.join().unwrap();
        });
    }

    #[test]
    fn model_a_reader_that_waits_gets_the_event() {
        a_read_against_an_event(|readiness, seen| readiness.spent(Direction::Read, seen));
    }

    /// One call that finds nothing, or the data, against the event. Panics if neither the call nor the readiness after it
    /// tells of the data.
    fn a_call_against_an_event(spent: fn(&Readiness<()>, Seen)) {
        loom::model(move || {
            let shared = Arc::new((Readiness::new(()), AtomicU32::new(0)));
            let system = {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.1.store(1, Ordering::Relaxed);
                    shared.0.set_ready([(Direction::Read, false)]);
                })
            };
            let (readiness, data) = &*shared;
            let seen = readiness.look(Direction::Read);
            let has_read = seen.is_ready() && data.load(Ordering::Relaxed) == 1;
            if seen.is_ready() && !has_read {
                spent(readiness, seen);
            }
            system.join().unwrap();
            assert!(has_read || readiness.look(Direction::Read).is_ready(), "lost event");
        });
    }

    #[test]
    fn model_an_event_during_a_call_is_not_lost() {
        a_call_against_an_event(|readiness, seen| readiness.spent(Direction::Read, seen));
    }

    #[test]
    #[should_panic(expected = "lost event")]
    fn model_catches_a_call_that_wipes_out_the_event() {
        // The seeded bug: the tick is not looked at.
        a_call_against_an_event(|readiness, _| _ = readiness.read.fetch_and(!READY, Ordering::Relaxed));
    }
}
