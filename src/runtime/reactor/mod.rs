//! Descriptors that tasks wait for: one poller per worker, in which the worker sleeps.
//!
//! A call is tried first. If it finds nothing, its task waits in the queue of the descriptor's [`Source`], which its worker
//! watches from then on; the worker looks at its poller every so many tasks, and sleeps in it.
//!
//! A source may be watched by several workers: whoever waits has it watched by its own. So no wait depends on another
//! worker, which may compute for long. When one worker alone has waited for a while, the others let go of it.
//!
//! Protocol, proof and what else was considered: arch-notes/reactor.md.
//!
//! # Rooms
//! - `registration`: what sockets hold, and call by. `source`: a descriptor, who watches it, and how one waits for it.
//! - `readiness`: what is known of a descriptor, and who waits for that. `poller`: what the system says.
//! - `lookout`: who watches for threads that are no workers.
//!
//! # Invariants
//! - A task that waits has its source watched by its own worker.
//! - A descriptor is watched by nobody when it is closed or given away.
//! - An event finds its source by a slot and a generation; one that comes late finds nobody.
//! - Locks are taken in this order: a source's, a reactor's. Waiters are woken with neither held.

mod lookout;
mod poller;
mod readiness;
mod registration;
mod source;

pub(crate) use readiness::Direction;
pub(crate) use registration::{Registration, Watched};
pub(crate) use source::{cancelled, closed, is_ready, over, timed_out};

use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use poller::{Event, Interest, Poller};
use source::Source;

use super::fork;
use super::worker::Worker;

/// What one worker watches.
#[derive(Debug)]
pub(crate) struct Reactor {
    /// In which process.
    made_in: u32,
    /// Made when the first descriptor comes, or a server starts: a runtime without any has none.
    poller: OnceLock<Poller>,
    slots: Mutex<Slots>,
    /// How many sources are watched. Only the worker itself adds; but for the lookout, which sleeps in its poller alone.
    used: AtomicUsize,
    /// How many of its tasks wait here, and how many of them are no daemons. Written by the worker alone.
    waiting: AtomicUsize,
    waiting_that_count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Whether the worker has ended.
    is_retired: bool,
    /// Room for the events of one wait, with whom they concern; while they are on their way, nobody's.
    batch: Vec<Delivery>,
    /// Whether events are on their way; and the sources that have left meanwhile, which some of these may concern.
    is_delivering: bool,
    departed: Vec<Arc<Source>>,
}

/// An event on its way.
#[derive(Debug)]
struct Delivery {
    event: Event,
    source: NonNull<Source>,
}

// SAFETY: sources are for all threads.
unsafe impl Send for Delivery {}

#[derive(Debug)]
struct Slot {
    /// Moves when a source leaves, so that its late events find nobody.
    generation: u32,
    source: Option<Arc<Source>>,
}

/// Names a source in a reactor, also when it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// How many bits name the slot, and the largest generation, after which they begin anew: all of it has room in a `usize`,
    /// for `polling` takes no more.
    const SLOT: u32 = if usize::BITS < 64 { 20 } else { 32 };
    const LAST_GENERATION: u32 = if usize::BITS < 64 { (1 << 12) - 1 } else { u32::MAX };

    fn to_bits(self) -> u64 {
        u64::from(self.generation) << Self::SLOT | u64::from(self.slot)
    }

    #[allow(clippy::cast_possible_truncation, reason = "each part is a number of its own")]
    fn from_bits(bits: u64) -> Self {
        Self { slot: (bits & ((1 << Self::SLOT) - 1)) as u32, generation: (bits >> Self::SLOT) as u32 }
    }
}

impl Slots {
    fn source(&self, key: Key) -> Option<&Arc<Source>> {
        self.slots.get(key.slot as usize).filter(|slot| slot.generation == key.generation)?.source.as_ref()
    }
}

impl Reactor {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            made_in: fork::generation(),
            poller: OnceLock::new(),
            slots: Mutex::new(Slots::default()),
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiting_that_count: AtomicUsize::new(0),
        })
    }

    /// Whether it is the parent's of a process that was forked off: what is changed in its poller changes that of the parent,
    /// which has the same instance.
    fn is_inherited(&self) -> bool {
        self.made_in != fork::generation()
    }

    /// Whether it lets go of everything, and takes nothing any more.
    fn is_retired(&self) -> bool {
        self.slots().is_retired
    }

    /// Whether there is anything to watch.
    #[inline]
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed) > 0
    }

    /// Whether a task of the worker waits for a descriptor.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether one does that is no daemon.
    pub(super) fn is_awaited_by_what_counts(&self) -> bool {
        self.waiting_that_count.load(Ordering::Relaxed) > 0
    }

    /// Adds to the numbers of tasks that wait. By the worker alone, so a load and a store do.
    fn count_waiting(&self, counts: bool, change: usize) {
        let add = |number: &AtomicUsize| {
            number.store(number.load(Ordering::Relaxed).wrapping_add(change), Ordering::Relaxed);
        };
        add(&self.waiting);
        if counts {
            add(&self.waiting_that_count);
        }
    }

    /// Readable when something watched is ready; none before the first descriptor.
    pub(super) fn raw_fd(&self) -> Option<RawFd> {
        self.poller.get().map(Poller::raw_fd)
    }

    /// Takes the events that have come, and wakes who waits for them.
    pub(super) fn poll(&self) {
        self.wait_for(Some(Duration::ZERO));
    }

    /// Sleeps until something is ready, until `ring`, or until `deadline`; then as `poll`.
    pub(super) fn wait(&self, deadline: Option<Instant>) {
        self.wait_for(deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())));
    }

    fn wait_for(&self, timeout: Option<Duration>) {
        let Some(poller) = self.poller.get() else { return };
        let Some(mut batch) = self.wait_in(poller, timeout) else { return };
        for Delivery { event, source } in batch.drain(..) {
            // SAFETY: it was there under the lock, and if it has left since, it is kept among the departed.
            unsafe { source.as_ref() }.take_event(event);
        }
        let departed = {
            let mut slots = self.slots();
            slots.batch = batch;
            slots.is_delivering = false;
            mem::take(&mut slots.departed)
        };
        drop(departed);
    }

    /// Waits for events, and gives those that concern somebody, whose sources are kept from then on.
    #[inline(always)]
    fn wait_in(&self, poller: &Poller, timeout: Option<Duration>) -> Option<Vec<Delivery>> {
        let mut events = poller.room();
        poller.wait(timeout, &mut events);
        if events.is_empty() {
            return None;
        }
        let mut slots = self.slots();
        let mut batch = mem::take(&mut slots.batch);
        for event in events.iter() {
            if let Some(source) = slots.source(Key::from_bits(event.key)) {
                batch.push(Delivery { event, source: NonNull::from(&**source) });
            }
        }
        slots.is_delivering = true;
        Some(batch)
    }

    /// Ends the worker's sleep in here, or the next one.
    pub(super) fn ring(&self) {
        if let Some(poller) = self.poller.get() {
            poller.ring();
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poller(&self) -> io::Result<&Poller> {
        match self.poller.get() {
            Some(poller) => Ok(poller),
            None => self.make_poller(),
        }
    }

    #[cold]
    fn make_poller(&self) -> io::Result<&Poller> {
        let new = Poller::new()?;
        Ok(self.poller.get_or_init(|| new))
    }

    fn add(&self, source: &Arc<Source>, interest: Interest) -> io::Result<Key> {
        let ended = || Err(io::Error::other("the worker has ended"));
        if self.is_inherited() {
            return ended();
        }
        let poller = self.poller()?;
        let mut slots = self.slots();
        if slots.is_retired {
            return ended();
        }
        let free = slots.free.pop();
        let slot = match free {
            Some(slot) => slot,
            None => {
                slots.slots.push(Slot { generation: 0, source: None });
                u32::try_from(slots.slots.len() - 1).expect("fewer descriptors than the system has")
            }
        };
        let key = Key { slot, generation: slots.slots[slot as usize].generation };
        if let Err(error) = poller.add(source.fd, key.to_bits(), interest) {
            slots.free.push(slot);
            return Err(error);
        }
        slots.slots[slot as usize].source = Some(source.clone());
        self.used.fetch_add(1, Ordering::Relaxed);
        Ok(key)
    }

    fn modify(&self, key: Key, fd: RawFd, interest: Interest) -> io::Result<()> {
        if self.is_inherited() {
            return Err(io::Error::other(fork::MESSAGE));
        }
        self.poller.get().expect("it watches something").modify(fd, key.to_bits(), interest)
    }

    fn remove(&self, key: Key, fd: RawFd) {
        if self.is_inherited() {
            // In the child of a fork: it is the parent's, whose worker may have held the lock.
            return;
        }
        let mut slots = self.slots();
        let slot = &mut slots.slots[key.slot as usize];
        if slot.generation != key.generation {
            return;
        }
        let source = slot.source.take();
        slot.generation = slot.generation.wrapping_add(1) & Key::LAST_GENERATION;
        slots.free.push(key.slot);
        if let Some(poller) = self.poller.get() {
            poller.remove(fd);
        }
        self.used.fetch_sub(1, Ordering::Relaxed);
        if slots.is_delivering {
            slots.departed.extend(source);
            return;
        }
        drop(slots);
        drop(source);
    }

    /// When its worker ends: lets go of everything. Tasks of other runtimes that wait look again, and go elsewhere.
    pub(super) fn retire(self: &Arc<Self>) {
        let left: Vec<_> = {
            let mut slots = self.slots();
            slots.is_retired = true;
            slots.slots.iter().filter_map(|slot| slot.source.clone()).collect()
        };
        for source in left {
            source.leave(self);
            source.readiness.take_event(Some(false), Some(false));
        }
    }
}

/// Makes the pollers of all workers of the calling task's runtime: when a server has run out of descriptors it is too late, and
/// whom a worker without one is to serve could not be waited for.
pub(crate) fn make_pollers() -> io::Result<()> {
    Worker::here().shared().remotes.iter().try_for_each(|remote| remote.parker.reactor.poller().map(drop))
}
