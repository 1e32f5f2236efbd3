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
//! - `poller`: what the system says. `readiness`: what is known of a descriptor, and who waits for it.
//!
//! # Invariants
//! - A task that waits has its source watched by its own worker.
//! - A descriptor is watched by nobody when it is closed or given away.
//! - An event finds its source by a slot and a generation; one that comes late finds nobody.
//! - Locks are taken in this order: a source's, a reactor's. Waiters are woken with neither held.

mod poller;
mod readiness;

pub(crate) use readiness::Direction;

use std::io;
use std::ops::Deref;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use poller::{Event, Interest, Poller};
use readiness::Readiness;

use super::worker::Worker;
use crate::coroutine::current;
use crate::task::{self, JoinHandle, RawTask, Sleeper, Waiter, Woken};

/// How often in a row one worker waits for a source before the others let go of it.
const ALONE: u32 = 8;

/// What one worker watches.
#[derive(Debug)]
pub(crate) struct Reactor {
    /// Made when the first descriptor comes, or a server starts: a runtime without any has none.
    poller: OnceLock<Poller>,
    slots: Mutex<Slots>,
    /// Events on their way, with whom they concern; empty between waits, and kept for its room.
    batch: Mutex<Vec<(Event, Arc<Source>)>>,
    /// How many sources are watched. Only the worker itself adds.
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
}

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
    fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    #[allow(clippy::cast_possible_truncation, reason = "each half is a number of its own")]
    fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
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
            poller: OnceLock::new(),
            slots: Mutex::new(Slots::default()),
            batch: Mutex::new(Vec::new()),
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiting_that_count: AtomicUsize::new(0),
        })
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
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        poller.wait(timeout, |events| {
            let slots = self.slots();
            batch.extend(events.filter_map(|event| Some((event, slots.source(Key::from_bits(event.key))?.clone()))));
        });
        for (event, source) in batch.drain(..) {
            source.take_event(event);
        }
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
        let poller = self.poller()?;
        let mut slots = self.slots();
        if slots.is_retired {
            return Err(io::Error::other("the worker has ended"));
        }
        let free = slots.free.pop();
        let slot = match free {
            Some(slot) => slot,
            None => {
                slots.slots.push(Slot { generation: 0, source: None });
                u32::try_from(slots.slots.len() - 1).expect("fewer descriptors than 2³²")
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
        self.poller.get().expect("it watches something").modify(fd, key.to_bits(), interest)
    }

    fn remove(&self, key: Key, fd: RawFd) {
        let mut slots = self.slots();
        let slot = &mut slots.slots[key.slot as usize];
        if slot.generation != key.generation {
            return;
        }
        let source = slot.source.take();
        slot.generation = slot.generation.wrapping_add(1);
        slots.free.push(key.slot);
        if let Some(poller) = self.poller.get() {
            poller.remove(fd);
        }
        self.used.fetch_sub(1, Ordering::Relaxed);
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
            source.readiness.set_ready([(Direction::Read, false), (Direction::Write, false)]);
        }
    }
}

/// Makes the pollers of all workers of the calling task's runtime: when a server has run out of descriptors it is too late, and
/// whom a worker without one is to serve could not be waited for.
pub(crate) fn make_pollers() -> io::Result<()> {
    Worker::here().shared().remotes.iter().try_for_each(|remote| remote.parker.reactor.poller().map(drop))
}

/// A descriptor, and who waits for it.
#[derive(Debug)]
pub(crate) struct Source {
    fd: RawFd,
    /// Whether waiting for it is something to wait for: not so where it may well never come.
    counts: bool,
    readiness: Readiness<Watchers>,
}

/// Who watches a source. Under its lock.
#[derive(Debug, Default)]
struct Watchers {
    /// The one whose task came last; hardly ever is there another.
    first: Option<Watcher>,
    others: Vec<Watcher>,
    /// How often in a row the first of them was the only one to wait.
    alone: u32,
    /// While threads outside of all tasks wait.
    closing: Option<Closing>,
}

/// A pipe whose end tells threads outside of all tasks that the source is closed.
#[derive(Debug)]
struct Closing {
    reader: Arc<io::PipeReader>,
    /// Closed with this, which is what the threads see.
    _writer: io::PipeWriter,
    /// How many wait. The last one to leave takes the pipe along: most sockets are never waited for on a thread again.
    threads: usize,
}

impl Closing {
    fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader: Arc::new(reader), _writer: writer, threads: 0 })
    }
}

/// A reactor that watches a source.
#[derive(Debug)]
struct Watcher {
    reactor: Arc<Reactor>,
    key: Key,
    /// A direction is added when somebody waits for it: most sockets are never waited for to be writable, and each event
    /// would say that they are.
    interest: Interest,
}

impl Watcher {
    fn new(reactor: &Arc<Reactor>, source: &Arc<Source>, direction: Direction) -> io::Result<Self> {
        let interest = Interest { read: direction == Direction::Read, write: direction == Direction::Write };
        Ok(Self { reactor: reactor.clone(), key: reactor.add(source, interest)?, interest })
    }

    fn belongs_to(&self, reactor: &Arc<Reactor>) -> bool {
        Arc::ptr_eq(&self.reactor, reactor)
    }

    #[inline]
    fn ask_for(&mut self, direction: Direction, fd: RawFd) -> io::Result<()> {
        let asked = match direction {
            Direction::Read => self.interest.read,
            Direction::Write => self.interest.write,
        };
        if asked {
            return Ok(());
        }
        let both = Interest { read: true, write: true };
        self.reactor.modify(self.key, fd, both)?;
        self.interest = both;
        Ok(())
    }

    fn leave(self, fd: RawFd) {
        self.reactor.remove(self.key, fd);
    }
}

impl Watchers {
    /// Sees to it that `reactor` watches `direction` of the source, whose worker is about to wait for it.
    fn enter(
        &mut self,
        source: &Arc<Source>,
        reactor: &Arc<Reactor>,
        direction: Direction,
        is_alone: bool,
    ) -> io::Result<()> {
        let Some(first) = self.first.as_mut().filter(|first| first.belongs_to(reactor)) else {
            return self.enter_first(source, reactor, direction);
        };
        first.ask_for(direction, source.fd)?;
        self.alone = if is_alone { self.alone.saturating_add(1) } else { 0 };
        if self.alone >= ALONE && !self.others.is_empty() {
            self.others.drain(..).for_each(|other| other.leave(source.fd));
        }
        Ok(())
    }

    #[cold]
    fn enter_first(&mut self, source: &Arc<Source>, reactor: &Arc<Reactor>, direction: Direction) -> io::Result<()> {
        let other = self.others.iter().position(|other| other.belongs_to(reactor));
        let watcher = match other {
            None => Watcher::new(reactor, source, direction)?,
            Some(place) => {
                self.others[place].ask_for(direction, source.fd)?;
                self.others.swap_remove(place)
            }
        };
        self.others.extend(self.first.replace(watcher));
        self.alone = 0;
        Ok(())
    }

    /// Takes out the watcher that a reactor is.
    fn take(&mut self, reactor: &Arc<Reactor>) -> Option<Watcher> {
        if self.first.as_ref().is_some_and(|first| first.belongs_to(reactor)) {
            let next = self.others.pop();
            return std::mem::replace(&mut self.first, next);
        }
        let place = self.others.iter().position(|other| other.belongs_to(reactor))?;
        Some(self.others.swap_remove(place))
    }

    fn leave_all(&mut self, fd: RawFd) {
        self.first.take().into_iter().chain(self.others.drain(..)).for_each(|watcher| watcher.leave(fd));
    }
}

/// What a call that was interrupted by a close gives.
pub(crate) fn closed() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}

impl Source {
    fn take_event(&self, event: Event) {
        let read = event.readable.then_some((Direction::Read, event.read_in_doubt));
        let write = event.writable.then_some((Direction::Write, event.hung_up));
        self.readiness.set_ready(read.into_iter().chain(write));
    }

    fn leave(&self, reactor: &Arc<Reactor>) {
        let mut under_lock = self.readiness.lock();
        let watchers = &mut under_lock.extra;
        if let Some(watcher) = watchers.take(reactor) {
            watchers.alone = 0;
            watcher.leave(self.fd);
        }
    }

    /// Waits until `direction` may be ready. The caller has looked, or tried, before.
    fn wait(self: &Arc<Self>, direction: Direction, deadline: Option<Instant>) -> io::Result<Woken> {
        let Some(task) = RawTask::current() else { return self.wait_on_thread(direction, deadline) };
        let reactor = Worker::here().reactor();
        let _counted = Counted::new(&**reactor, self.counts && !task.header().is_daemon);
        let enter = |watchers: &mut Watchers, is_alone| watchers.enter(self, reactor, direction, is_alone);
        match self.readiness.wait(direction, deadline, enter) {
            // epoll refuses what is always ready: files.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                self.readiness.set_ready([(direction, true)]);
                Ok(Woken::Notified)
            }
            other => other,
        }
    }

    #[cold]
    fn wait_on_thread(&self, direction: Direction, deadline: Option<Instant>) -> io::Result<Woken> {
        let waits = WaitingThread::enter(self, direction)?;
        let mut failed = None;
        let woken =
            Sleeper::wait_on_thread(deadline, |until| match wait_by_poll(self.fd, direction, &waits.closing, until) {
                Ok(is_ready) => is_ready,
                Err(error) => {
                    failed = Some(error);
                    true
                }
            });
        if woken == Woken::Notified {
            self.readiness.set_ready([(direction, false)]);
        }
        failed.map_or(Ok(woken), Err)
    }
}

/// A thread that waits for a source, until it leaves; also by an unwind.
struct WaitingThread<'a> {
    source: &'a Source,
    closing: Arc<io::PipeReader>,
}

impl<'a> WaitingThread<'a> {
    fn enter(source: &'a Source, direction: Direction) -> io::Result<Self> {
        let mut under_lock = source.readiness.lock();
        if source.readiness.look(direction).is_closed() {
            return Err(closed());
        }
        let mut pipe = under_lock.extra.closing.take().map_or_else(Closing::new, Ok)?;
        pipe.threads += 1;
        let closing = under_lock.extra.closing.insert(pipe).reader.clone();
        Ok(Self { source, closing })
    }
}

impl Drop for WaitingThread<'_> {
    fn drop(&mut self) {
        let mut under_lock = self.source.readiness.lock();
        // None if it was closed meanwhile.
        if let Some(pipe) = &mut under_lock.extra.closing {
            pipe.threads -= 1;
            if pipe.threads == 0 {
                under_lock.extra.closing = None;
            }
        }
    }
}

/// Waits as a thread does; false if `until` has passed.
fn wait_by_poll(fd: RawFd, direction: Direction, closing: &io::PipeReader, until: Option<Instant>) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    let events = match direction {
        Direction::Read => libc::POLLIN | libc::POLLPRI,
        Direction::Write => libc::POLLOUT,
    };
    let mut fds = [
        libc::pollfd { fd, events, revents: 0 },
        libc::pollfd { fd: closing.as_raw_fd(), events: libc::POLLIN, revents: 0 },
    ];
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.map_or(-1, |left| i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
        // SAFETY: an array of two.
        match unsafe { libc::poll(fds.as_mut_ptr(), 2, left) } {
            0 if until.is_none_or(|until| until > Instant::now()) => {}
            0 => return Ok(false),
            1.. if fds[0].revents & libc::POLLNVAL != 0 => return Err(closed()),
            1.. => return Ok(true),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Counts a task that waits. Made and dropped by the worker of the reactor.
#[derive(Debug)]
pub(crate) struct Counted<R: Deref<Target = Reactor>> {
    reactor: R,
    counts: bool,
}

impl<R: Deref<Target = Reactor>> Counted<R> {
    fn new(reactor: R, counts: bool) -> Self {
        reactor.count_waiting(counts, 1);
        Self { reactor, counts }
    }
}

impl<R: Deref<Target = Reactor>> Drop for Counted<R> {
    fn drop(&mut self) {
        self.reactor.count_waiting(self.counts, usize::MAX);
    }
}

/// What has a descriptor watched for waiters that have entered, and counts whoever waits; kept until they have left, by whoever
/// entered them.
#[derive(Debug)]
pub(crate) enum Watched {
    /// The worker of the task that waits.
    #[allow(dead_code, reason = "it is there to be dropped")]
    Here(Counted<Arc<Reactor>>),
    /// A task, for a thread that has no reactor.
    ByTask(JoinHandle<()>),
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Self::ByTask(watcher) = self {
            watcher.cancel();
        }
    }
}

/// The right to wait for a descriptor, and the duty to let go of it before it is closed: that is done when it is dropped.
#[derive(Debug)]
pub(crate) struct Registration(Arc<Source>);

impl Drop for Registration {
    fn drop(&mut self) {
        // Not only leaves: a task that watches for a thread may be about to begin, and the number is somebody else's soon.
        self.close();
    }
}

impl Registration {
    /// For a descriptor that stays open until this is dropped.
    pub(crate) fn new(fd: RawFd) -> Self {
        Self(Arc::new(Source { fd, counts: true, readiness: Readiness::new(Watchers::default()) }))
    }

    /// As [`new`](Self::new); a task that waits for it does not keep its runtime from being idle.
    pub(crate) fn uncounted(fd: RawFd) -> Self {
        Self(Arc::new(Source { fd, counts: false, readiness: Readiness::new(Watchers::default()) }))
    }

    /// Calls `call` until it does not fail for want of readiness, waiting in between for at most `timeout` in all.
    /// `is_short` says of what it gave whether there was less than asked for, so that the next call waits without trying.
    ///
    /// Gives way to other tasks now and then, before the call: one that is always ready must not starve them.
    #[inline]
    pub(crate) fn io<T>(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
        mut call: impl FnMut() -> io::Result<T>,
        is_short: impl Fn(&T) -> bool,
    ) -> io::Result<T> {
        let readiness = &self.0.readiness;
        let mut deadline = None;
        task::spend();
        loop {
            let seen = readiness.look(direction);
            if seen.is_closed() {
                return Err(closed());
            }
            if seen.is_ready() {
                match call() {
                    Ok(value) => {
                        if is_short(&value) {
                            readiness.fell_short(direction, seen);
                        }
                        return Ok(value);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => readiness.spent(direction, seen),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) if readiness.look(direction).is_closed() => return Err(closed()),
                    Err(error) => return Err(error),
                }
            }
            if let (None, Some(timeout)) = (deadline, timeout) {
                deadline = current::now().checked_add(timeout);
            }
            if self.0.wait(direction, deadline)? == Woken::Elapsed {
                return self.last_try(direction, call, is_short);
            }
        }
    }

    /// Calls for the last time when the time is over, or the task is cancelled where nothing unwinds: something may have come that the worker, busy with others, has not heard
    /// of; or there is a little room, of which the system does not tell.
    #[cold]
    fn last_try<T>(
        &self,
        direction: Direction,
        mut call: impl FnMut() -> io::Result<T>,
        is_short: impl Fn(&T) -> bool,
    ) -> io::Result<T> {
        loop {
            if self.is_closed() {
                return Err(closed());
            }
            match call() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(if task::ends_by_cancel() {
                        io::Error::other("the task was cancelled")
                    } else {
                        io::Error::new(io::ErrorKind::TimedOut, "timed out")
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.is_closed() => return Err(closed()),
                Err(error) => return Err(error),
                Ok(value) => {
                    if !is_short(&value) {
                        // The next call is worth trying, too, and not after another wait for all of the time.
                        self.0.readiness.set_ready([(direction, false)]);
                    }
                    return Ok(value);
                }
            }
        }
    }

    /// Notes that a direction is not ready: something was begun that will make it so.
    pub(crate) fn begin(&self, direction: Direction) {
        let readiness = &self.0.readiness;
        readiness.spent(direction, readiness.look(direction));
    }

    /// Waits until `is_ready` says so, which is asked as often as `direction` may have become ready; see [`io`](Self::io).
    pub(crate) fn ready(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
        is_ready: impl Fn() -> io::Result<bool>,
    ) -> io::Result<()> {
        let would_block = || io::ErrorKind::WouldBlock.into();
        self.io(direction, timeout, || if is_ready()? { Ok(()) } else { Err(would_block()) }, |()| false)
    }

    /// Whether a call in `direction` is said not to block by `asks`, which asks the system. So says one that fails; and what
    /// was closed is ready.
    pub(crate) fn is_ready(&self, direction: Direction, asks: impl Fn() -> io::Result<bool>) -> bool {
        let readiness = &self.0.readiness;
        let seen = readiness.look(direction);
        let would_block = !seen.is_closed() && matches!(asks(), Ok(false));
        if would_block {
            readiness.spent(direction, seen);
        }
        !would_block
    }

    /// Enters a waiter, to be notified when `direction` may be ready; none if an event has come since it was found not to be.
    ///
    /// # Safety
    /// - As [`WaitQueue::push`](crate::task::WaitQueue::push).
    ///
    /// # Errors
    /// It cannot be watched; the waiter was not entered.
    pub(crate) unsafe fn watch(&self, direction: Direction, waiter: *const Waiter) -> io::Result<Option<Watched>> {
        let Self(source) = self;
        let Some(task) = RawTask::current() else {
            // SAFETY: the caller's promise.
            let entered = unsafe { source.readiness.enter(direction, waiter, |_, _| Ok(())) }?;
            // It waits in the same queue, so what wakes it wakes all.
            let watches = source.clone();
            let watcher = task::Builder::new().name("watcher of a descriptor").daemon();
            let watcher = entered.then(|| watcher.try_spawn(move || _ = watches.wait(direction, None))).transpose();
            return watcher.map(|watcher| watcher.map(Watched::ByTask)).map_err(|_| {
                // SAFETY: it stays where it is until it has left.
                source.readiness.leave(direction, unsafe { &*waiter });
                io::Error::other("the runtime shuts down")
            });
        };
        let reactor = Worker::here().reactor();
        let enter = |watchers: &mut Watchers, is_alone| watchers.enter(source, reactor, direction, is_alone);
        // SAFETY: the caller's promise.
        let entered = unsafe { source.readiness.enter(direction, waiter, enter) }?;
        let counts = source.counts && !task.header().is_daemon;
        Ok(entered.then(|| Watched::Here(Counted::new(reactor.clone(), counts))))
    }

    /// Takes a waiter out that was entered, if it is still there.
    pub(crate) fn unwatch(&self, direction: Direction, waiter: &Waiter) {
        self.0.readiness.leave(direction, waiter);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.readiness.look(Direction::Read).is_closed()
    }

    /// Wakes everybody who waits, and fails whoever calls from now on. False if it was closed before.
    pub(crate) fn close(&self) -> bool {
        self.0.readiness.close(|watchers| {
            watchers.leave_all(self.0.fd);
            watchers.closing = None;
        })
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    // The task that watches for a thread's select, and comes to its wait only after the thread has closed the descriptor.
    #[test]
    fn who_comes_to_wait_after_the_registration_has_gone_watches_nothing() {
        let (reader, _writer) = io::pipe().unwrap();
        let registration = Registration::new(std::os::fd::AsRawFd::as_raw_fd(&reader));
        let source = registration.0.clone();
        registration.begin(Direction::Read);
        drop(registration);
        drop(reader);
        let enter = |_: &mut Watchers, _| panic!("the number is somebody else's");
        assert_eq!(source.readiness.wait(Direction::Read, None, enter).unwrap(), Woken::Notified);
    }
}
