//! What a socket holds to wait for its descriptor, and how its calls are made: tried first, then waited for.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use super::Reactor;
use super::readiness::Direction;
use super::source::{Counted, LookedOutFor, Source, Watchers, closed, has_ended, is_for_want_of_a_watcher, over};
use crate::coroutine::current;
use crate::runtime::Shared;
use crate::runtime::worker::Worker;
use crate::task::{self, JoinHandle, RawTask, Waiter, Woken};

/// What has a descriptor watched for waiters that have entered, and counts whoever waits; kept until they have left, by whoever
/// entered them.
#[derive(Debug)]
pub(crate) enum Watched {
    /// The worker of the task that waits.
    #[allow(dead_code, reason = "it is there to be dropped")]
    Here(Counted<Arc<Reactor>>),
    /// The lookout, for a thread that has no reactor.
    #[allow(dead_code, reason = "it is there to be dropped")]
    ByLookout(LookedOutFor),
    /// A task, for what cannot be watched: it asks.
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
        Self(Source::new(fd, true))
    }

    /// As [`new`](Self::new); a task that waits for it does not keep its runtime from being idle.
    pub(crate) fn uncounted(fd: RawFd) -> Self {
        Self(Source::new(fd, false))
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
        call: impl FnMut() -> io::Result<T>,
        is_short: impl Fn(&T) -> bool,
    ) -> io::Result<T> {
        self.io_telling(direction, timeout, call, is_short).map(|(value, _)| value)
    }

    /// As [`io`](Self::io); tells beside the value whether the wait was over before the call that gave it.
    #[inline]
    pub(crate) fn io_telling<T>(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
        mut call: impl FnMut() -> io::Result<T>,
        is_short: impl Fn(&T) -> bool,
    ) -> io::Result<(T, bool)> {
        let readiness = &self.0.readiness;
        let mut deadline = None;
        let mut in_vain = 0;
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
                        return Ok((value, false));
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
            if self.0.wait(direction, deadline, in_vain)? == Woken::Elapsed {
                return self.last_try(direction, call, is_short).map(|value| (value, true));
            }
            in_vain += 1;
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
                    return Err(over());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.is_closed() => return Err(closed()),
                Err(error) => return Err(error),
                Ok(value) => {
                    if !is_short(&value) {
                        // The next call is worth trying, too, and not after another wait for all of the time.
                        self.0.readiness.set_ready(direction, false);
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
            return match unsafe { source.enter_looked_out_for(direction, waiter) } {
                // SAFETY: the caller's promise; it was not entered.
                Err(_) => unsafe { self.watch_by_task(direction, waiter) },
                Ok(entered) => Ok(entered.map(Watched::ByLookout)),
            };
        };
        let reactor = Worker::here().reactor();
        let enter = |watchers: &mut Watchers, is_alone| watchers.enter(source, reactor, direction, is_alone);
        // SAFETY: the caller's promise.
        let entered = match unsafe { source.readiness.enter(direction, waiter, enter) } {
            // SAFETY: the caller's promise; it was not entered.
            Err(error) if is_for_want_of_a_watcher(&error) => return unsafe { self.watch_by_task(direction, waiter) },
            entered => entered?,
        };
        let counts = source.counts && !task.header().is_daemon;
        Ok(entered.then(|| Watched::Here(Counted::new(reactor.clone(), counts))))
    }

    /// As [`watch`](Self::watch), for what cannot be watched by whoever should: a task waits in the same queue, so what wakes it
    /// wakes all; where its worker cannot watch either, it asks the system.
    ///
    /// Panics where there can be no such runtime; then the waiter was not entered, or has left.
    ///
    /// # Safety
    /// - As there.
    ///
    /// # Errors
    /// As there.
    #[cold]
    unsafe fn watch_by_task(&self, direction: Direction, waiter: *const Waiter) -> io::Result<Option<Watched>> {
        let Self(source) = self;
        // Around the entry: it may be this call that makes the runtime.
        Shared::with_current(|shared| {
            // SAFETY: the caller's promise.
            if !unsafe { source.readiness.enter(direction, waiter, |_, _| Ok(())) }? {
                return Ok(None);
            }
            let entered = Entered { source, direction, waiter };
            let watches = source.clone();
            let watcher = task::Builder::new().name("watcher of a descriptor").daemon();
            match watcher.try_spawn_on(shared, move || watches.wait_for_others(direction)) {
                Ok(watcher) => {
                    std::mem::forget(entered);
                    Ok(Some(Watched::ByTask(watcher)))
                }
                Err(_) => Err(io::Error::other("the runtime shuts down")),
            }
        })
    }

    /// Takes a waiter out that was entered, if it is still there.
    pub(crate) fn unwatch(&self, direction: Direction, waiter: &Waiter) {
        self.0.readiness.leave(direction, waiter);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.readiness.look(Direction::Read).is_closed()
    }

    /// Whether a read that finds nothing may have found the end, which only a blocking call of the system's would say.
    pub(crate) fn may_have_ended(&self) -> bool {
        self.0.readiness.look(Direction::Read).is_in_doubt() && has_ended(self.0.fd)
    }

    /// Has everybody who waits call again: something was done to the descriptor of which the system tells nobody.
    pub(crate) fn wake(&self) {
        // With the pipe goes what threads wait for; those that wait from now on make another one.
        drop(self.0.readiness.lock().extra.closing.take());
        self.0.readiness.take_event(Some(true), Some(false));
    }

    /// Wakes everybody who waits, and fails whoever calls from now on. False if it was closed before.
    pub(crate) fn close(&self) -> bool {
        self.0.readiness.close(|watchers| {
            watchers.leave_all(self.0.fd);
            watchers.closing = None;
        })
    }
}

/// A waiter that has entered, and leaves with this: nobody may be left to take it out.
struct Entered<'a> {
    source: &'a Source,
    direction: Direction,
    waiter: *const Waiter,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // SAFETY: whoever entered it keeps it where it is until it has left.
        self.source.readiness.leave(self.direction, unsafe { &*self.waiter });
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_has_selected_is_watched_until_the_last_has_left() {
        let (reader, mut writer) = io::pipe().unwrap();
        let registration = Registration::new(std::os::fd::AsRawFd::as_raw_fd(&reader));
        registration.begin(Direction::Read);
        let is_watched = || registration.0.readiness.lock().extra.is_watched();
        let waiters = [Waiter::new(), Waiter::new()];
        // SAFETY: they stay here until they have left, or were notified.
        let mut watched =
            waiters.each_ref().map(|waiter| unsafe { registration.watch(Direction::Read, waiter) }.unwrap());
        assert!(watched.iter().all(Option::is_some));
        registration.unwatch(Direction::Read, &waiters[0]);
        watched[0] = None;
        assert!(is_watched());
        std::io::Write::write_all(&mut writer, b"!").unwrap();
        while !waiters[1].is_notified() {
            std::thread::yield_now();
        }
        watched[1] = None;
        assert!(!is_watched());
    }

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
