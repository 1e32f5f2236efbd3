//! Whether a descriptor is ready, as far as is known, and who waits for that: per direction a word and a queue.
//!
//! ```text
//!   word   31 ........ 2      1        0
//!          tick            CLOSED    DOUBT
//! ```
//!
//! Each event moves the tick. A call that found nothing, or less than it asked for, says so by noting the word as it was before
//! the call: a direction is ready, which means that a call is worth trying, unless the last such note is of the very word that
//! stands there. So an event that came while a call was under way is never wiped out by what the call found. A note that comes
//! late, of an older word, costs a call for nothing, and no more; the next event takes it back, so that none is left when the
//! tick has gone round.
//!
//! # Invariants
//! - A waiter enters its queue under the lock, after it has seen there that the direction is not ready.
//! - A word is written under the lock alone. An event moves it and empties the queue under the same lock.

use std::io;
use std::time::Instant;

use crate::primitives::{AtomicU32, Ordering, SpinGuard, SpinLock};
use crate::task::{Tells, WaitQueue, Waiter, Wakeup, Woken};

/// A call that gets less than it asked for says nothing about the next: the peer has ended, or has sent urgent data, at which
/// a read stops.
const DOUBT: u32 = 1;
/// It was closed while others use it.
const CLOSED: u32 = 2;
/// One event, in the rest of the word, which may wrap around.
const TICK: u32 = 4;
/// No note: none is made of a word that says so.
const NO_NOTE: u32 = CLOSED;

/// A direction of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// What a direction's word said, and whether a call that began after it had found nothing.
#[derive(Clone, Copy)]
#[must_use]
pub(super) struct Seen {
    word: u32,
    is_ready: bool,
}

impl Seen {
    pub(super) fn is_ready(self) -> bool {
        self.is_ready
    }

    pub(super) fn is_closed(self) -> bool {
        self.word & CLOSED != 0
    }

    pub(super) fn is_in_doubt(self) -> bool {
        self.word & DOUBT != 0
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let flag = |is_set, name| if is_set { name } else { "" };
        let names =
            [flag(self.is_ready, "ready "), flag(self.is_in_doubt(), "in doubt "), flag(self.is_closed(), "closed ")];
        write!(f, "{}after {} events", names.concat(), self.word / TICK)
    }
}

/// What is known of one direction.
#[derive(Debug)]
struct Known {
    word: AtomicU32,
    /// The word before the last call that found nothing.
    noted: AtomicU32,
}

impl Known {
    /// Ready: nobody has tried yet.
    fn new() -> Self {
        Self { word: AtomicU32::new(0), noted: AtomicU32::new(NO_NOTE) }
    }

    #[inline(always)]
    fn look(&self) -> Seen {
        // Acquire: pairs with the Release in `set`: the call that follows finds what the event was about.
        let word = self.word.load(Ordering::Acquire);
        // Relaxed: a note says nothing about other memory. Whoever sees an older one tries a call.
        let is_ready = self.noted.load(Ordering::Relaxed) != word || word & CLOSED != 0;
        Seen { word, is_ready }
    }

    /// Notes an event, under the lock.
    #[inline(always)]
    fn set(&self, flags: u32) {
        // Before the word moves: the note of a call that finds it moved is newer than this.
        self.noted.store(NO_NOTE, Ordering::Relaxed);
        let word = self.word.load(Ordering::Relaxed);
        // Release: pairs with the Acquire in `look`.
        self.word.store(word.wrapping_add(TICK) | flags, Ordering::Release);
    }
}

/// See the module's page. `E` is what else lies under the lock.
#[derive(Debug)]
pub(super) struct Readiness<E> {
    read: Known,
    write: Known,
    under_lock: SpinLock<UnderLock<E>>,
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
#[derive(Debug)]
struct Wakeups {
    first: Wakeup,
    others: Vec<Wakeup>,
}

impl Wakeups {
    fn none() -> Self {
        Self { first: Wakeup::None, others: Vec::new() }
    }

    #[inline(always)]
    fn collect(&mut self, queue: &mut WaitQueue) {
        if matches!(self.first, Wakeup::None)
            && let Some(wakeup) = queue.notify_first(|_| ())
        {
            self.first = wakeup;
        }
        if !queue.is_empty() {
            self.collect_others(queue);
        }
    }

    #[cold]
    fn collect_others(&mut self, queue: &mut WaitQueue) {
        self.others.extend(std::iter::from_fn(|| queue.notify_first(|_| ())));
    }

    #[inline(always)]
    fn fire(self) {
        self.first.fire();
        if !self.others.is_empty() {
            Self::fire_others(self.others);
        }
    }

    #[cold]
    fn fire_others(others: Vec<Wakeup>) {
        others.into_iter().for_each(Wakeup::fire);
    }
}

impl<E> Readiness<E> {
    /// Ready in both directions.
    pub(super) fn new(extra: E) -> Self {
        let under_lock = UnderLock { readers: WaitQueue::new(), writers: WaitQueue::new(), extra };
        Self { read: Known::new(), write: Known::new(), under_lock: SpinLock::new(under_lock) }
    }

    #[inline(always)]
    fn known(&self, direction: Direction) -> &Known {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    #[inline(always)]
    pub(super) fn lock(&self) -> SpinGuard<'_, UnderLock<E>> {
        self.under_lock.lock()
    }

    #[inline(always)]
    pub(super) fn look(&self, direction: Direction) -> Seen {
        self.known(direction).look()
    }

    /// After a call that found nothing, and that began after `seen` was: it is not ready, unless an event has come since.
    /// What is closed stays ready, so that nobody enters.
    #[inline(always)]
    pub(super) fn spent(&self, direction: Direction, seen: Seen) {
        if !seen.is_closed() {
            self.known(direction).noted.store(seen.word, Ordering::Relaxed);
        }
    }

    /// As `spent`, after a call on a stream that got less than it asked for. What a peer that has ended has sent before that,
    /// and its end, came with one event: then the end is still to be read. So did what lies before urgent data, and behind.
    #[inline(always)]
    pub(super) fn fell_short(&self, direction: Direction, seen: Seen) {
        if !seen.is_in_doubt() {
            self.spent(direction, seen);
        }
    }

    /// Notes that a direction is ready; and whether short calls are in doubt from now on.
    pub(super) fn set_ready(&self, direction: Direction, in_doubt: bool) {
        match direction {
            Direction::Read => self.take_event(Some(in_doubt), None),
            Direction::Write => self.take_event(None, Some(in_doubt)),
        }
    }

    /// Notes of either direction, or both, that it is ready; of each, whether short calls are in doubt from now on.
    #[inline]
    pub(super) fn take_event(&self, read: Option<bool>, write: Option<bool>) {
        let flags = |in_doubt| if in_doubt { DOUBT } else { 0 };
        let mut wakeups = Wakeups::none();
        let mut under_lock = self.lock();
        if let Some(in_doubt) = read {
            self.read.set(flags(in_doubt));
            wakeups.collect(&mut under_lock.readers);
        }
        if let Some(in_doubt) = write {
            self.write.set(flags(in_doubt));
            wakeups.collect(&mut under_lock.writers);
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
        let mut wakeups = Wakeups::none();
        for direction in [Direction::Read, Direction::Write] {
            self.known(direction).set(CLOSED);
            wakeups.collect(under_lock.queue(direction));
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
    // Inlined down to the switch, for the sake of the stack: each frame between is a line or two that a task which has waited
    // for long must fetch.
    #[inline(always)]
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
    #[inline(always)]
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
                    shared.0.set_ready(Direction::Read, false);
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

    /// Two who read what two events bring, one each. A note that one of them makes late, of a word that has moved meanwhile, must not
    /// keep anybody waiting.
    #[test]
    fn model_two_readers_get_what_two_events_bring() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let shared = Arc::new((Readiness::new(()), AtomicU32::new(0)));
            let read_one = |(readiness, data): &(Readiness<()>, AtomicU32)| loop {
                let seen = readiness.look(Direction::Read);
                if seen.is_ready() {
                    let take = |there: u32| there.checked_sub(1);
                    if data.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                        return;
                    }
                    readiness.spent(Direction::Read, seen);
                }
                assert_eq!(readiness.wait(Direction::Read, None, |(), _| Ok(())).unwrap(), Woken::Notified);
            };
            let other = {
                let shared = shared.clone();
                thread::spawn(move || read_one(&shared))
            };
            let system = {
                let shared = shared.clone();
                thread::spawn(move || {
                    for _ in 0..2 {
                        shared.1.fetch_add(1, Ordering::Relaxed);
                        shared.0.set_ready(Direction::Read, false);
                    }
                })
            };
            read_one(&shared);
            other.join().unwrap();
            system.join().unwrap();
        });
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
                    shared.0.set_ready(Direction::Read, false);
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
        // The seeded bug: it notes the word as it is after the call.
        a_call_against_an_event(|readiness, _| readiness.spent(Direction::Read, readiness.look(Direction::Read)));
    }
}
