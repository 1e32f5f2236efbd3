//! A descriptor: who watches it, and how a task or a thread waits for it.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::poller::{Event, Interest};
use super::readiness::{Direction, Readiness};
use super::{Key, Reactor, lookout};
use crate::coroutine::current;
use crate::runtime::worker::Worker;
use crate::task::{self, RawTask, Sleeper, Waiter, Woken};
use crate::time;

/// How often in a row one worker waits for a source before the others let go of it.
const ALONE: u32 = 8;

/// How long a task that cannot have a source watched waits before it asks the system again.
const ASKING: Duration = Duration::from_millis(10);
/// How long a thread waits in one piece that would not be woken by everything.
const LOOKING: Duration = Duration::from_millis(50);

/// A descriptor, and who waits for it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(super) fd: RawFd,
    /// Whether waiting for it is something to wait for: not so where it may well never come.
    pub(super) counts: bool,
    /// Whether it was urgent data alone that woke a thread last, which the system goes on to tell of.
    is_urgent: AtomicBool,
    pub(super) readiness: Readiness<Watchers>,
}

/// Who watches a source. Under its lock.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// The one whose task came last; hardly ever is there another.
    first: Option<Watcher>,
    others: Vec<Watcher>,
    /// How often in a row the first of them was the only one to wait.
    alone: u32,
    /// How many threads outside of all tasks have the lookout watch it.
    looked_out_for: u32,
    /// While threads outside of all tasks wait.
    pub(super) closing: Option<Closing>,
}

/// A pipe whose end tells threads outside of all tasks that the source is closed, or that they shall call again.
#[derive(Debug)]
pub(super) struct Closing {
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

    #[inline(always)]
    fn ask_for(&mut self, direction: Direction, fd: RawFd) -> io::Result<()> {
        let asked = match direction {
            Direction::Read => self.interest.read,
            Direction::Write => self.interest.write,
        };
        if asked {
            return Ok(());
        }
        self.ask_for_both(fd)
    }

    #[cold]
    fn ask_for_both(&mut self, fd: RawFd) -> io::Result<()> {
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
    #[inline(always)]
    pub(super) fn enter(
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
        if !is_alone {
            self.alone = 0;
        } else if self.alone < ALONE {
            self.alone += 1;
            if self.alone == ALONE {
                self.leave_others(source.fd);
            }
        }
        Ok(())
    }

    /// Has the first alone watch; whoever comes later counts anew.
    #[cold]
    fn leave_others(&mut self, fd: RawFd) {
        self.others.drain(..).for_each(|other| other.leave(fd));
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

    #[cfg(test)]
    pub(super) fn is_watched(&self) -> bool {
        self.first.is_some()
    }

    /// Has a reactor watch no more.
    fn dismiss(&mut self, reactor: &Arc<Reactor>, fd: RawFd) {
        if let Some(watcher) = self.take(reactor) {
            self.alone = 0;
            watcher.leave(fd);
        }
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

    pub(super) fn leave_all(&mut self, fd: RawFd) {
        self.first.take().into_iter().chain(self.others.drain(..)).for_each(|watcher| watcher.leave(fd));
    }
}

/// What a call that was interrupted by a close gives.
pub(crate) fn closed() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}

/// What a call gives whose time is over.
pub(crate) fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "timed out")
}

/// What a call gives that a cancel has ended, where nothing unwinds.
pub(crate) fn cancelled() -> io::Error {
    io::Error::other("the task was cancelled")
}

/// What a call gives whose wait is over, and was not enough.
pub(crate) fn over() -> io::Error {
    if task::ends_by_cancel() { cancelled() } else { timed_out() }
}

/// What `poll(2)` says when nothing more will come, where it does.
#[cfg(any(target_os = "linux", target_os = "android"))]
const ENDED: libc::c_short = libc::POLLRDHUP;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const ENDED: libc::c_short = 0;

/// What `poll(2)` is asked for.
fn poll_events(direction: Direction) -> libc::c_short {
    match direction {
        Direction::Read => libc::POLLIN | libc::POLLPRI | ENDED,
        Direction::Write => libc::POLLOUT,
    }
}

/// Whether the system says that a call would not block.
pub(crate) fn is_ready(fd: RawFd, direction: Direction) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd, events: poll_events(direction), revents: 0 };
    // SAFETY: one struct.
    match unsafe { libc::poll(&raw mut poll, 1, 0) } {
        count if count < 0 => Err(io::Error::last_os_error()),
        _ if poll.revents & libc::POLLNVAL != 0 => Err(closed()),
        count => Ok(count > 0),
    }
}

/// Whether the system says that nothing more will come to be read.
pub(super) fn has_ended(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: ENDED, revents: 0 };
    // SAFETY: one struct.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 && poll.revents & ENDED != 0 }
}

/// How long to wait before a call that has found nothing so often though it was told otherwise: from 1 ms to 32.
fn pause(in_vain: u32) -> Duration {
    Duration::from_millis(1 << in_vain.min(5))
}

/// Whether a descriptor cannot be watched, though one may wait for it: epoll refuses what is always ready, files; or there is no
/// descriptor left for a poller, or no memory.
pub(super) fn is_for_want_of_a_watcher(error: &io::Error) -> bool {
    let wants = [libc::EPERM, libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| wants.contains(&code))
}

impl Source {
    pub(super) fn new(fd: RawFd, counts: bool) -> Arc<Self> {
        let readiness = Readiness::new(Watchers::default());
        Arc::new(Self { fd, counts, is_urgent: AtomicBool::new(false), readiness })
    }

    pub(super) fn take_event(&self, event: Event) {
        let read = event.readable.then_some(event.read_in_doubt);
        let write = event.writable.then_some(event.hung_up);
        self.readiness.take_event(read, write);
    }

    pub(super) fn leave(&self, reactor: &Arc<Reactor>) {
        self.readiness.lock().extra.dismiss(reactor, self.fd);
    }

    /// Enters a waiter of a thread outside of all tasks, and has the lookout watch the source for it. `None` if an event has come:
    /// then it was not entered.
    ///
    /// # Safety
    /// - As [`Readiness::enter`].
    ///
    /// # Errors
    /// The lookout cannot watch it.
    pub(super) unsafe fn enter_looked_out_for(
        self: &Arc<Self>,
        direction: Direction,
        waiter: *const Waiter,
    ) -> io::Result<Option<LookedOutFor>> {
        let reactor = lookout::reactor()?;
        let enter = |watchers: &mut Watchers, is_alone| {
            watchers.enter(self, reactor, direction, is_alone)?;
            watchers.looked_out_for += 1;
            Ok(())
        };
        // SAFETY: the caller's promise.
        let entered = unsafe { self.readiness.enter(direction, waiter, enter) }?;
        Ok(entered.then(|| LookedOutFor { source: self.clone(), reactor }))
    }

    /// Waits until `direction` may be ready. The caller has looked, or tried, before; `in_vain` says how often it was told in this
    /// call that it is ready, and found that it was not.
    #[inline(never)]
    pub(super) fn wait(
        self: &Arc<Self>,
        direction: Direction,
        deadline: Option<Instant>,
        in_vain: u32,
    ) -> io::Result<Woken> {
        let Some(task) = RawTask::current() else { return self.wait_on_thread(direction, deadline, in_vain) };
        match self.wait_watched(task, direction, deadline) {
            Err(error) if is_for_want_of_a_watcher(&error) => self.wait_unwatched(direction, deadline, in_vain),
            other => other,
        }
    }

    #[inline(always)]
    fn wait_watched(
        self: &Arc<Self>,
        task: RawTask,
        direction: Direction,
        deadline: Option<Instant>,
    ) -> io::Result<Woken> {
        let reactor = Worker::here().reactor();
        let _counted = Counted::new(&**reactor, self.counts && !task.header().is_daemon);
        let enter = |watchers: &mut Watchers, is_alone| watchers.enter(self, reactor, direction, is_alone);
        self.readiness.wait(direction, deadline, enter)
    }

    /// Waits for a pause, after which a call may be worth trying; or until somebody says so.
    #[cold]
    fn wait_unwatched(&self, direction: Direction, deadline: Option<Instant>, in_vain: u32) -> io::Result<Woken> {
        let until = current::now() + pause(in_vain).min(ASKING);
        let is_last = deadline.is_some_and(|deadline| deadline <= until);
        let woken = self.readiness.wait(direction, if is_last { deadline } else { Some(until) }, |_, _| Ok(()))?;
        if woken == Woken::Notified || is_last || task::ends_by_cancel() {
            return Ok(woken);
        }
        self.readiness.set_ready(direction, true);
        Ok(Woken::Notified)
    }

    /// Waits in a task for those who cannot have the source watched. Where the task's worker cannot watch it either, it asks now
    /// and then.
    pub(super) fn wait_for_others(self: &Arc<Self>, direction: Direction) {
        let task = RawTask::current().expect("it is a task that waits for them");
        if self.wait_watched(task, direction, None).is_ok() {
            return;
        }
        while !self.readiness.look(direction).is_ready() && matches!(is_ready(self.fd, direction), Ok(false)) {
            time::sleep(ASKING);
            if task::ends_by_cancel() {
                return;
            }
        }
        self.readiness.set_ready(direction, false);
    }

    #[cold]
    fn wait_on_thread(&self, direction: Direction, deadline: Option<Instant>, in_vain: u32) -> io::Result<Woken> {
        let mut waits = WaitingThread::enter(self, direction, in_vain)?;
        let mut failed = None;
        let woken = Sleeper::wait_on_thread(deadline, |until| match waits.poll(until) {
            Ok(is_ready) => is_ready,
            Err(error) => {
                failed = Some(error);
                true
            }
        });
        if woken == Woken::Notified {
            self.readiness.set_ready(direction, waits.in_doubt);
        }
        failed.map_or(Ok(woken), Err)
    }
}

/// That the lookout watches a source for a thread: until the last of these has gone.
#[derive(Debug)]
pub(crate) struct LookedOutFor {
    source: Arc<Source>,
    reactor: &'static Arc<Reactor>,
}

impl Drop for LookedOutFor {
    fn drop(&mut self) {
        let mut under_lock = self.source.readiness.lock();
        let watchers = &mut under_lock.extra;
        watchers.looked_out_for -= 1;
        if watchers.looked_out_for == 0 {
            watchers.dismiss(self.reactor, self.source.fd);
        }
    }
}

/// A thread that waits for a source, until it leaves; also by an unwind.
struct WaitingThread<'a> {
    source: &'a Source,
    direction: Direction,
    /// None where the system had no descriptors for a pipe: then the thread looks at the source's word now and then.
    closing: Option<Arc<io::PipeReader>>,
    in_vain: u32,
    /// Whether the other side, or this one, has ended: the system goes on to tell of that.
    in_doubt: bool,
}

impl<'a> WaitingThread<'a> {
    fn enter(source: &'a Source, direction: Direction, in_vain: u32) -> io::Result<Self> {
        let mut under_lock = source.readiness.lock();
        if source.readiness.look(direction).is_closed() {
            return Err(closed());
        }
        let pipe = under_lock.extra.closing.take().or_else(|| Closing::new().ok());
        let closing = pipe.map(|mut pipe| {
            pipe.threads += 1;
            under_lock.extra.closing.insert(pipe).reader.clone()
        });
        Ok(Self { source, direction, closing, in_vain, in_doubt: false })
    }

    /// Waits as a thread does; false if `until` has passed.
    fn poll(&mut self, until: Option<Instant>) -> io::Result<bool> {
        let Self { source, direction, closing, in_vain, in_doubt } = self;
        // Urgent data that is not taken is told of for ever. Who has called because of nothing else waits for a while without.
        let mut is_urgent = *direction == Direction::Read && source.is_urgent.load(Ordering::Relaxed);
        let mut fds = [
            libc::pollfd { fd: source.fd, events: poll_events(*direction), revents: 0 },
            // What is negative is passed over.
            libc::pollfd { fd: closing.as_ref().map_or(-1, |pipe| pipe.as_raw_fd()), events: libc::POLLIN, revents: 0 },
        ];
        // What the system calls ready, and is not for this call, is told of for ever. Who has been told so in vain looks away for a while.
        let mut looks_away = *in_vain > 0;
        loop {
            fds[0].fd = if looks_away { -1 } else { source.fd };
            fds[0].events = poll_events(*direction) & if is_urgent { !libc::POLLPRI } else { !0 };
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let away = looks_away.then(|| pause(*in_vain - 1));
            let slice = (is_urgent || closing.is_none()).then_some(LOOKING);
            let slice = [left, away, slice].into_iter().flatten().min();
            let slice = slice.map_or(-1, |slice| i32::try_from(slice.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
            // SAFETY: an array of two.
            match unsafe { libc::poll(fds.as_mut_ptr(), 2, slice) } {
                0 if until.is_some_and(|until| until <= Instant::now()) => return Ok(false),
                0 if closing.is_none() && source.readiness.look(*direction).is_ready() => return Ok(true),
                0 if looks_away => looks_away = false,
                0 => is_urgent = false,
                1.. if fds[0].revents & libc::POLLNVAL != 0 => return Err(closed()),
                1.. => {
                    source.is_urgent.store(fds[0].revents == libc::POLLPRI, Ordering::Relaxed);
                    *in_doubt = fds[0].revents & ENDED != 0;
                    return Ok(true);
                }
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl Drop for WaitingThread<'_> {
    fn drop(&mut self) {
        let mut under_lock = self.source.readiness.lock();
        let closing = &mut under_lock.extra.closing;
        // Another one, or none, if those who waited were woken meanwhile.
        if let (Some(pipe), Some(reader)) = (&mut *closing, &self.closing)
            && Arc::ptr_eq(&pipe.reader, reader)
        {
            pipe.threads -= 1;
            if pipe.threads == 0 {
                *closing = None;
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
    pub(super) fn new(reactor: R, counts: bool) -> Self {
        reactor.count_waiting(counts, 1);
        Self { reactor, counts }
    }
}

impl<R: Deref<Target = Reactor>> Drop for Counted<R> {
    fn drop(&mut self) {
        self.reactor.count_waiting(self.counts, usize::MAX);
    }
}
