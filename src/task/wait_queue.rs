//! The queue under everything that waits: waiters on their own stacks, first come first served.
//!
//! A [`Waiter`] is a record on the stack of the task or thread that waits, linked into a [`WaitQueue`] that lies under
//! some lock (a channel's, a task's). Notifying a waiter is two steps. Under the lock it is unlinked, marked, and its
//! task's state changed; that gives a [`Wakeup`]. After unlocking, the wakeup is fired, which queues the task or
//! unparks the thread. Between the two the task cannot end (see `task::state`), so no reference is counted.
//!
//! # Invariants
//! - A waiter leaves its stack only when it is in no queue.
//! - A waiter is touched by others only under its queue's lock, and its mark is the last thing they write.
//! - The mark says that it is coming before the task is notified: a task that takes the notification waits for it.

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use super::cancel;
use super::park::Alarm;
use super::raw::RawTask;
use crate::runtime::Parker;

/// One call that waits, on the stack of whoever called.
#[derive(Debug)]
pub(crate) struct Waiter {
    who: Who,
    /// Whether what it waits for has come: one of the three below. Written under the queue's lock.
    mark: AtomicU8,
    previous: Cell<*const Waiter>,
    next: Cell<*const Waiter>,
}

/// What it waits for has not come.
const WAITING: u8 = 0;
/// It has come, and somebody is about to notify the task: the waiter must stay where it is.
const TOUCHED: u8 = 1;
/// It has come, and nobody touches the waiter any more.
const NOTIFIED: u8 = 2;

#[derive(Debug)]
enum Who {
    Task(RawTask),
    Thread(Arc<Parker>),
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Notified,
    /// The deadline has passed; the waiter is in no queue any more.
    Elapsed,
}

/// The right, and the duty, to wake one waiter after unlocking.
#[must_use = "a waiter sleeps on until its wakeup is fired"]
#[derive(Debug)]
pub(crate) enum Wakeup {
    /// It was not asleep: it will look.
    None,
    Task(RawTask),
    Thread(Arc<Parker>),
}

impl Wakeup {
    /// Wakes the waiter. The queue's lock must have been released.
    pub(crate) fn fire(self) {
        match self {
            Self::None => {}
            Self::Task(task) => task.push_to_home(),
            Self::Thread(parker) => parker.unpark(),
        }
    }
}

impl Waiter {
    /// A waiter for the running task, or for the thread where no task runs.
    pub(crate) fn new() -> Self {
        let who = match RawTask::current() {
            Some(task) => Who::Task(task),
            None => Who::Thread(Arc::new(Parker::new())),
        };
        let unlinked = || Cell::new(ptr::null());
        Self { who, mark: AtomicU8::new(WAITING), previous: unlinked(), next: unlinked() }
    }

    /// Whether what it waits for has come; then nobody touches it any more.
    pub(crate) fn is_notified(&self) -> bool {
        loop {
            // Acquire: pairs with the Release in `notify`.
            match self.mark.load(Ordering::Acquire) {
                WAITING => return false,
                NOTIFIED => return true,
                // A few instructions of another thread, unless the system has taken its core away.
                _ => std::thread::yield_now(),
            }
        }
    }

    /// Marks the waiter under its queue's lock, after it was unlinked.
    fn notify(&self) -> Wakeup {
        // Before the task is notified: one that runs uses the notification up, and must not park again as if nothing
        // had come. Relaxed: the notification carries it.
        self.mark.store(TOUCHED, Ordering::Relaxed);
        let wakeup = match &self.who {
            Who::Task(task) if task.header().run.notify() => Wakeup::Task(*task),
            Who::Task(_) => Wakeup::None,
            Who::Thread(parker) => Wakeup::Thread(parker.clone()),
        };
        // Release: pairs with the Acquire in `is_notified`. The last touch: the waiter may be gone right after it.
        self.mark.store(NOTIFIED, Ordering::Release);
        wakeup
    }

    /// Waits until the waiter is notified or `deadline` has passed.
    ///
    /// `unlink` locks the queue and takes the waiter out; false if it was not there any more, and so is notified.
    ///
    /// A wait that has been notified returns so, whatever else happened. A task that is cancelled unwinds from here.
    pub(crate) fn wait(&self, deadline: Option<Instant>, unlink: impl Fn() -> bool) -> Woken {
        let task = match &self.who {
            Who::Task(task) => *task,
            Who::Thread(parker) => {
                while !self.is_notified() {
                    if !parker.park(deadline) && unlink() {
                        return Woken::Elapsed;
                    }
                }
                return Woken::Notified;
            }
        };
        let alarm = deadline.map(|deadline| Alarm::set(task, deadline));
        let alarm = alarm.as_ref();
        loop {
            if self.is_notified() {
                return Woken::Notified;
            }
            if cancel::is_due(task) {
                if unlink() {
                    cancel::throw(task);
                }
            } else if alarm.is_some_and(Alarm::has_fired) {
                if unlink() {
                    return Woken::Elapsed;
                }
            } else {
                // SAFETY: `unlink` stays here until the task has come back.
                unsafe { task.set_unlink(Some(&unlink)) };
                task.park();
                // SAFETY: nothing is set.
                unsafe { task.set_unlink(None) };
            }
        }
    }

    /// Waits until the waiter is notified; calls `on_cancel` once if the waiting task is cancelled, and waits on.
    pub(crate) fn wait_through_cancel(&self, on_cancel: impl FnOnce()) {
        let mut on_cancel = Some(on_cancel);
        while !self.is_notified() {
            match &self.who {
                Who::Thread(parker) => _ = parker.park(None),
                Who::Task(task) => {
                    if cancel::is_due(*task)
                        && let Some(on_cancel) = on_cancel.take()
                    {
                        on_cancel();
                    }
                    task.park();
                }
            }
        }
    }
}

/// Waiters in the order of their arrival. Lies under a lock.
#[derive(Debug)]
pub(crate) struct WaitQueue {
    first: *const Waiter,
    last: *const Waiter,
}

// SAFETY: the waiters that it points to are alive and touched only under the lock that the queue lies in.
unsafe impl Send for WaitQueue {}

impl WaitQueue {
    pub(crate) const fn new() -> Self {
        Self { first: ptr::null(), last: ptr::null() }
    }

    /// Puts `waiter` at the end.
    ///
    /// # Safety
    /// - `waiter` is in no queue, is not notified, and stays where it is until it was taken out of this one.
    /// - What `notify_first` delivers to is reached through this very pointer, so it may be used for all of that.
    pub(crate) unsafe fn push(&mut self, waiter: *const Waiter) {
        // SAFETY: the caller keeps it alive.
        let links = unsafe { &*waiter };
        links.previous.set(self.last);
        links.next.set(ptr::null());
        // SAFETY: what is linked is alive: that is `push`'s demand.
        match unsafe { self.last.as_ref() } {
            Some(last) => last.next.set(waiter),
            None => self.first = waiter,
        }
        self.last = waiter;
    }

    /// Puts `waiter` before all others: one that was here before, and must come back.
    ///
    /// # Safety
    /// - As [`push`](Self::push).
    pub(crate) unsafe fn push_front(&mut self, waiter: *const Waiter) {
        // SAFETY: the caller keeps it alive.
        let links = unsafe { &*waiter };
        links.previous.set(ptr::null());
        links.next.set(self.first);
        // SAFETY: what is linked is alive: that is `push`'s demand.
        match unsafe { self.first.as_ref() } {
            Some(first) => first.previous.set(waiter),
            None => self.last = waiter,
        }
        self.first = waiter;
    }

    /// The waiter that has waited longest, by the pointer that it was pushed with.
    pub(crate) fn first(&self) -> Option<*const Waiter> {
        (!self.first.is_null()).then_some(self.first)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Whether there is one waiter and no more.
    pub(crate) fn is_single(&self) -> bool {
        !self.is_empty() && ptr::eq(self.first, self.last)
    }

    /// Takes `waiter` out. False if it was notified before.
    ///
    /// # Safety
    /// - `waiter` was pushed into this queue.
    pub(crate) unsafe fn remove(&mut self, waiter: &Waiter) -> bool {
        if waiter.is_notified() {
            return false;
        }
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        // SAFETY: what is linked is alive: that is `push`'s demand.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.first = next,
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(previous),
            None => self.last = previous,
        }
        true
    }

    /// Takes the first waiter out and notifies it, after `deliver` was given it: where it keeps what it waits for.
    pub(crate) fn notify_first(&mut self, deliver: impl FnOnce(*const Waiter)) -> Option<Wakeup> {
        let waiter = self.first;
        // SAFETY: what is linked is alive: that is `push`'s demand.
        let linked = unsafe { waiter.as_ref() }?;
        // SAFETY: it is the first of this queue.
        unsafe { self.remove(linked) };
        deliver(waiter);
        Some(linked.notify())
    }

    /// Takes everybody out and notifies them, in the order of their arrival.
    pub(crate) fn notify_all(&mut self) -> Vec<Wakeup> {
        std::iter::from_fn(|| self.notify_first(|_| ())).collect()
    }
}
