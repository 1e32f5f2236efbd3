//! The queue under everything that waits: waiters on their own stacks, first come first served.
//!
//! A [`Waiter`] is a record on the stack of the task or thread that waits, linked into a [`WaitQueue`] that lies under
//! some lock (a channel's, a task's). Notifying a waiter is two steps. Under the lock it is unlinked, marked, and its
//! task's state changed; that gives a [`Wakeup`]. After unlocking, the wakeup is fired, which queues the task or
//! unparks the thread. Between the two the task cannot end (see `task::run_state`), so no reference is counted.
//!
//! A waiter waits alone, or is one of several of a [`Choice`], or one of the many of a [`Crowd`], or stands for a future
//! that somebody polls: the queue does not mind.
//! Protocol and proof: arch-notes/sync.md, "The wait queue".
//!
//! A waiter that is [`interruptible`](Waiter::interruptible) is passed over when its task was asked to end: it will unwind from
//! this wait, and what was delivered to it would be lost with it.
//!
//! # Invariants
//! - A waiter leaves its place only when it is in no queue.
//! - A waiter is touched by others only under its queue's lock, and its mark is the last thing they write.
//! - The mark says that it is coming before the task is notified: a task that takes the notification waits for it.

use std::cell::Cell;
use std::fmt;
use std::ptr;
use std::task::Waker;
use std::time::Instant;

use super::choice::Choice;
use super::crowd::Crowd;
use super::sleeper::{Leave, Sleeper, Wakeup, Woken};
use crate::primitives::{AtomicU8, Ordering, yield_thread};

/// One place in a queue, on the stack of whoever waits there.
#[derive(Debug)]
pub(crate) struct Waiter {
    who: Who,
    /// Whether its task unwinds from this wait when it is cancelled before anything has come, whatever else happens.
    is_interruptible: bool,
    /// Whether what it waits for has come: one of those below. Written under the queue's lock.
    mark: AtomicU8,
    previous: Cell<*const Waiter>,
    next: Cell<*const Waiter>,
}

/// It is in a queue, and what it waits for has not come.
const WAITING: u8 = 0;
/// It was taken out of its queue by somebody who will deliver, and notify it, later.
const TAKEN: u8 = 1;
/// It is in no queue, and nobody will notify it: it has not entered, or has left, or was passed over because its choice
/// had been made elsewhere.
const OUT: u8 = 2;
/// It has come, and somebody is about to notify the task: the waiter must stay where it is.
const TOUCHED: u8 = 3;
/// It has come, and nobody touches the waiter any more.
const NOTIFIED: u8 = 4;
/// It was taken out of its queue and passed over, for its task will unwind. Nothing comes; its owner has yet to leave.
const PASSED: u8 = 5;

/// Who is notified. The pointers are valid as long as the waiter is in a queue.
enum Who {
    Alone(Sleeper),
    /// One of several, by its number.
    OneOf(*const Choice, usize),
    /// One of many, by its number.
    Among(*const Crowd, usize),
    /// A future, which was last polled with this waker. Set by its owner while the waiter is out, taken by whoever
    /// notifies it.
    Polled(Cell<Option<Box<Waker>>>),
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone(sleeper) => sleeper.fmt(f),
            Self::OneOf(_, index) => write!(f, "OneOf({index})"),
            Self::Among(_, index) => write!(f, "Among({index})"),
            Self::Polled(_) => f.write_str("Polled"),
        }
    }
}

impl Waiter {
    #[inline(always)]
    fn with(who: Who, is_interruptible: bool) -> Self {
        let unlinked = || Cell::new(ptr::null());
        let mark = AtomicU8::new(OUT);
        Self { who, is_interruptible, mark, previous: unlinked(), next: unlinked() }
    }

    /// A waiter for the running task, or for the thread where no task runs.
    #[inline]
    pub(crate) fn new() -> Self {
        Self::with(Who::Alone(Sleeper::current()), false)
    }

    /// As [`new`](Self::new), for a wait that ends with a cancel, and then has taken nothing. Whoever makes it waits by
    /// [`wait`](Self::wait), on the chain that runs now.
    #[inline(always)]
    pub(crate) fn interruptible() -> Self {
        let sleeper = Sleeper::current();
        let is_interruptible = sleeper.ends_with_a_cancel();
        Self::with(Who::Alone(sleeper), is_interruptible)
    }

    /// A waiter that competes with the others of `choice`, which stays where it is while this is in a queue.
    pub(crate) fn one_of(choice: *const Choice, index: usize) -> Self {
        Self::with(Who::OneOf(choice, index), false)
    }

    /// A waiter that reports to `crowd`, which stays where it is while this is in a queue.
    pub(crate) fn among(crowd: *const Crowd, index: usize) -> Self {
        Self::with(Who::Among(crowd, index), false)
    }

    /// A waiter for a future that was polled with `waker`.
    pub(crate) fn polled(waker: &Waker) -> Self {
        Self::with(Who::Polled(Cell::new(Some(Box::new(waker.clone())))), false)
    }

    /// Whether what it waits for has come; then nobody touches it any more.
    #[inline]
    pub(crate) fn is_notified(&self) -> bool {
        loop {
            // Acquire: pairs with the Release in `notify`.
            match self.mark.load(Ordering::Acquire) {
                NOTIFIED => return true,
                // A few instructions of another thread, unless the system has taken its core away.
                TOUCHED => yield_thread(),
                _ => return false,
            }
        }
    }

    /// Wins the right to complete the waiter, which has just been unlinked: against the others of its choice.
    #[inline]
    fn claim(&self) -> bool {
        match self.who {
            // SAFETY: the waiter was linked, and the lock is held, so its choice is alive.
            Who::OneOf(choice, index) => unsafe { &*choice }.claim(index),
            Who::Alone(ref sleeper) => !(sleeper.is_cancelled() && self.is_interruptible),
            Who::Among(..) | Who::Polled(_) => true,
        }
    }

    /// What the mark says of a waiter that could not be claimed, and was unlinked.
    #[cold]
    fn mark_of_loser(&self) -> u8 {
        match self.who {
            // Its owner takes it out, before it goes.
            Who::OneOf(..) => OUT,
            Who::Alone(_) | Who::Among(..) | Who::Polled(_) => PASSED,
        }
    }

    /// Whether it was passed over, and has not left. Under the queue's lock.
    pub(crate) fn was_passed_over(&self) -> bool {
        self.mark.load(Ordering::Relaxed) == PASSED
    }

    /// Whether nobody has completed it, as far as can be seen without a claim.
    fn is_open(&self) -> bool {
        match self.who {
            // SAFETY: the waiter is linked, and the lock is held, so its choice is alive.
            Who::OneOf(choice, _) => unsafe { &*choice }.is_open(),
            Who::Alone(ref sleeper) => !(sleeper.is_cancelled() && self.is_interruptible),
            Who::Among(..) | Who::Polled(_) => true,
        }
    }

    /// Marks the waiter under its queue's lock, after it was unlinked.
    #[inline]
    fn notify(&self) -> Wakeup {
        // Before the task is notified: one that runs uses the notification up, and must not park again as if nothing
        // had come. Relaxed: the notification carries it.
        self.mark.store(TOUCHED, Ordering::Relaxed);
        let wakeup = match self.who {
            Who::Alone(ref sleeper) => sleeper.notify(),
            // SAFETY: its owner does not let go of the choice before it has seen the mark below, or held this lock.
            Who::OneOf(choice, _) => unsafe { &*choice }.notify(),
            // SAFETY: as above.
            Who::Among(crowd, index) => unsafe { &*crowd }.report(index),
            // Moved out, for nothing of the waker's may run under the lock.
            Who::Polled(ref waker) => waker.take().map_or(Wakeup::None, Wakeup::Polled),
        };
        // Release: pairs with the Acquire in `is_notified`. The last touch: the waiter may be gone right after it.
        self.mark.store(NOTIFIED, Ordering::Release);
        wakeup
    }

    /// Waits until the waiter is notified or `deadline` has passed. For one that waits alone.
    ///
    /// `unlink` locks the queue and takes the waiter out; false if it was not there any more, and so is notified, or
    /// will be.
    ///
    /// A wait that has been notified returns so, whatever else happened. A task that is cancelled unwinds from here.
    #[inline(always)]
    pub(crate) fn wait(&self, deadline: Option<Instant>, unlink: impl Leave) -> Woken {
        self.sleeper().wait_as(|| self.is_interruptible, deadline, || self.is_notified(), unlink)
    }

    /// Waits until the waiter is notified; calls `on_cancel` once if the waiting task is cancelled, and waits on.
    /// `unlink` is as in [`wait`](Self::wait), for a task that is left behind.
    pub(crate) fn wait_through_cancel(&self, on_cancel: impl FnOnce(), unlink: impl Leave) {
        self.sleeper().wait_through_cancel(|| self.is_notified(), on_cancel, unlink);
    }

    #[inline]
    fn sleeper(&self) -> &Sleeper {
        match &self.who {
            Who::Alone(sleeper) => sleeper,
            Who::OneOf(..) | Who::Among(..) => unreachable!("its choice or crowd does the waiting"),
            Who::Polled(_) => unreachable!("whoever polls the future does the waiting"),
        }
    }
}

/// A waiter that was taken out of its queue to be completed later.
#[must_use = "its owner waits until it is notified"]
#[derive(Debug)]
pub(crate) struct Taken(*const Waiter);

impl Taken {
    /// The pointer that was pushed.
    pub(crate) fn waiter(&self) -> *const Waiter {
        self.0
    }

    /// Notifies the waiter, after what it waits for was delivered.
    ///
    /// # Safety
    /// - The lock is held under which it was taken.
    #[inline]
    pub(crate) unsafe fn notify(self) -> Wakeup {
        // SAFETY: its owner waits until it is notified.
        unsafe { &*self.0 }.notify()
    }
}

/// Waiters in the order of their arrival. Lies under a lock.
#[derive(Debug)]
pub(crate) struct WaitQueue {
    /// Null if nobody waits. The first one's `previous` is the last, so that a queue is one word: every task has one.
    first: *const Waiter,
}

// SAFETY: the waiters that it points to are alive and touched only under the lock that the queue lies in.
unsafe impl Send for WaitQueue {}

impl WaitQueue {
    pub(crate) const fn new() -> Self {
        Self { first: ptr::null() }
    }

    /// Whether somebody waits here whom nobody has completed: as seen now, for a choice may be made at any time. The
    /// waiters of `except` do not count.
    pub(crate) fn has_open(&self, except: Option<&Choice>) -> bool {
        let is_own = |waiter: &Waiter| match (&waiter.who, except) {
            (&Who::OneOf(choice, _), Some(except)) => ptr::eq(choice, except),
            _ => false,
        };
        // SAFETY: what is linked is alive: that is `push`'s demand.
        let linked = |waiter: *const Waiter| unsafe { waiter.as_ref() };
        std::iter::successors(linked(self.first), |waiter| linked(waiter.next.get()))
            .any(|waiter| waiter.is_open() && !is_own(waiter))
    }

    /// Puts `waiter` at the end.
    ///
    /// # Safety
    /// - `waiter` is in no queue, is not notified, and stays where it is until it was taken out of this one.
    /// - What `notify_first` delivers to is reached through this very pointer, so it may be used for all of that.
    #[inline]
    pub(crate) unsafe fn push(&mut self, waiter: *const Waiter) {
        // SAFETY: the caller keeps it alive.
        let links = unsafe { &*waiter };
        links.next.set(ptr::null());
        links.mark.store(WAITING, Ordering::Relaxed);
        // SAFETY: what is linked is alive: that is `push`'s demand.
        let Some(first) = (unsafe { self.first.as_ref() }) else {
            links.previous.set(waiter);
            self.first = waiter;
            return;
        };
        let last = first.previous.replace(waiter);
        // SAFETY: as above.
        unsafe { &*last }.next.set(waiter);
        links.previous.set(last);
    }

    /// Puts `waiter` before all others: one that was here before, and must come back.
    ///
    /// # Safety
    /// - As [`push`](Self::push).
    pub(crate) unsafe fn push_front(&mut self, waiter: *const Waiter) {
        // SAFETY: the caller keeps it alive.
        let links = unsafe { &*waiter };
        links.next.set(self.first);
        links.mark.store(WAITING, Ordering::Relaxed);
        // SAFETY: what is linked is alive: that is `push`'s demand.
        let last = unsafe { self.first.as_ref() }.map_or(waiter, |first| first.previous.replace(waiter));
        links.previous.set(last);
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
        // SAFETY: what is linked is alive: that is `push`'s demand.
        unsafe { self.first.as_ref() }.is_some_and(|first| first.next.get().is_null())
    }

    /// Takes `waiter` out, so that nothing comes. False if it was notified, or will be, or its choice was made, or it has not
    /// entered.
    ///
    /// # Safety
    /// - `waiter` was pushed into this queue, if into any.
    pub(crate) unsafe fn remove(&mut self, waiter: &Waiter) -> bool {
        // Relaxed: marks are written under the lock. One that is still touched has been unlinked before.
        match waiter.mark.load(Ordering::Relaxed) {
            WAITING => self.unlink(waiter),
            PASSED => {}
            _ => return false,
        }
        waiter.mark.store(OUT, Ordering::Relaxed);
        true
    }

    /// Takes a linked waiter out.
    #[inline]
    fn unlink(&mut self, waiter: &Waiter) {
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        if ptr::eq(self.first, waiter) {
            return self.unlink_first(waiter);
        }
        // SAFETY: what is linked is alive: that is `push`'s demand.
        unsafe { &*previous }.next.set(next);
        // Behind the last one comes the first, as far as `previous` goes.
        // SAFETY: as above; there is a first one, for it is not this.
        unsafe { &*if next.is_null() { self.first } else { next } }.previous.set(previous);
    }

    /// Takes the first waiter out, which is `first`.
    #[inline(always)]
    fn unlink_first(&mut self, first: &Waiter) {
        self.first = first.next.get();
        // SAFETY: what is linked is alive: that is `push`'s demand.
        if let Some(next) = unsafe { self.first.as_ref() } {
            // The last one, which the new first one may be.
            next.previous.set(first.previous.get());
        }
    }

    /// Takes the first waiter out that nobody else completes. The caller will deliver what it waits for, and notify it.
    #[inline(always)]
    pub(crate) fn take_first(&mut self) -> Option<Taken> {
        self.take_first_by(Waiter::claim)
    }

    #[inline(always)]
    fn take_first_by(&mut self, claim: impl Fn(&Waiter) -> bool) -> Option<Taken> {
        loop {
            let waiter = self.first;
            // SAFETY: what is linked is alive: that is `push`'s demand.
            let linked = unsafe { waiter.as_ref() }?;
            self.unlink_first(linked);
            if claim(linked) {
                linked.mark.store(TAKEN, Ordering::Relaxed);
                return Some(Taken(waiter));
            }
            // The last touch: its owner comes to take it out, under the lock, before it goes.
            linked.mark.store(linked.mark_of_loser(), Ordering::Relaxed);
        }
    }

    /// Takes the first waiter out that waits alone and is not passed over, if `is_served` says so of it.
    pub(crate) fn take_first_if(&mut self, is_served: impl FnOnce(*const Waiter) -> bool) -> Option<Taken> {
        loop {
            let waiter = self.first;
            // SAFETY: what is linked is alive: that is `push`'s demand.
            let linked = unsafe { waiter.as_ref() }?;
            if !linked.claim() {
                self.unlink_first(linked);
                linked.mark.store(linked.mark_of_loser(), Ordering::Relaxed);
                continue;
            }
            return is_served(waiter).then(|| {
                self.unlink_first(linked);
                linked.mark.store(TAKEN, Ordering::Relaxed);
                Taken(waiter)
            });
        }
    }

    /// Takes the first waiter out and notifies it, after `deliver` was given it: where it keeps what it waits for.
    // Inlined for the sake of what is delivered: written to memory in two halves and read there as one, right after, it
    // would hold up the processor until both stores are done (5 ns a message).
    #[inline(always)]
    pub(crate) fn notify_first(&mut self, deliver: impl FnOnce(*const Waiter)) -> Option<Wakeup> {
        let taken = self.take_first()?;
        deliver(taken.waiter());
        // SAFETY: whoever reaches the queue holds its lock.
        Some(unsafe { taken.notify() })
    }

    /// The first waiter of which `is_it` holds, by the pointer that it was pushed with.
    pub(crate) fn find(&self, mut is_it: impl FnMut(*const Waiter) -> bool) -> Option<*const Waiter> {
        // SAFETY: what is linked is alive: that is `push`'s demand.
        let next = |&waiter: &*const Waiter| unsafe { waiter.as_ref() }.map(|waiter| waiter.next.get());
        std::iter::successors(self.first(), next).take_while(|waiter| !waiter.is_null()).find(|&waiter| is_it(waiter))
    }

    /// Takes this very waiter out, which waits alone, and notifies it. `None` if it was notified before, or will be.
    ///
    /// # Safety
    /// - `waiter` was pushed into this queue by this pointer, and is still where it was.
    pub(crate) unsafe fn notify_this(&mut self, waiter: *const Waiter) -> Option<Wakeup> {
        // SAFETY: the caller's promise.
        let linked = unsafe { &*waiter };
        // Relaxed: as in `remove`.
        let is_linked = linked.mark.load(Ordering::Relaxed) == WAITING;
        is_linked.then(|| {
            self.unlink(linked);
            linked.notify()
        })
    }

    /// Takes everybody out but the waiters of `choice`, and notifies them.
    pub(crate) fn notify_others(&mut self, choice: &Choice) -> Vec<Wakeup> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut others = std::mem::replace(self, Self::new());
        let mut wakeups = Vec::new();
        while let Some(waiter) = others.first() {
            // SAFETY: what is linked is alive: that is `push`'s demand.
            let linked = unsafe { &*waiter };
            others.unlink(linked);
            if matches!(linked.who, Who::OneOf(of, _) if ptr::eq(of, choice)) {
                // SAFETY: it was in this queue, and comes back to it.
                unsafe { self.push(waiter) };
            } else if linked.claim() {
                wakeups.push(linked.notify());
            } else {
                linked.mark.store(linked.mark_of_loser(), Ordering::Relaxed);
            }
        }
        wakeups
    }

    /// Takes everybody out and notifies them, in the order of their arrival.
    pub(crate) fn notify_all(&mut self) -> Vec<Wakeup> {
        std::iter::from_fn(|| self.notify_first(|_| ())).collect()
    }
}

#[cfg(all(test, osier_loom))]
pub(super) mod support {
    //! Queues with a place for what is delivered, and whoever delivers there: what the models of this room are made of.

    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::{Arc, Mutex};

    /// A waiter and the place for what it waits for.
    #[repr(C)]
    pub(in super::super) struct Arm {
        pub(in super::super) waiter: Waiter,
        place: UnsafeCell<u32>,
    }

    impl Arm {
        pub(in super::super) fn new(waiter: Waiter) -> Self {
            Self { waiter, place: UnsafeCell::new(0) }
        }

        /// What was delivered; the model checker sees to it that nobody writes it meanwhile.
        pub(in super::super) fn value(&self) -> u32 {
            // SAFETY: as loom checks.
            self.place.with(|place| unsafe { *place })
        }
    }

    /// A queue of arms under a lock.
    #[derive(Clone)]
    pub(in super::super) struct Line(Arc<Mutex<WaitQueue>>);

    impl Line {
        pub(in super::super) fn new() -> Self {
            Self(Arc::new(Mutex::new(WaitQueue::new())))
        }

        pub(in super::super) fn enter(&self, arm: &Arm) {
            // SAFETY: the models keep an arm where it is until it is out.
            unsafe { self.0.lock().unwrap().push(std::ptr::from_ref(arm).cast()) };
        }

        pub(in super::super) fn leave(&self, arm: &Arm) -> bool {
            // SAFETY: it was pushed by `enter`.
            unsafe { self.0.lock().unwrap().remove(&arm.waiter) }
        }

        /// Delivers 7 to the first who waits. False if nobody does.
        pub(in super::super) fn deliver(&self, claim: fn(&Waiter) -> bool) -> bool {
            let mut queue = self.0.lock().unwrap();
            let Some(taken) = queue.take_first_by(claim) else { return false };
            let arm: *const Arm = taken.waiter().cast();
            // SAFETY: only arms are pushed, and one that was taken stays until it is notified; its place is ours until then, as loom
            // checks.
            unsafe { &*arm }.place.with_mut(|place| unsafe { *place += 7 });
            // SAFETY: the lock is held.
            let wakeup = unsafe { taken.notify() };
            drop(queue);
            wakeup.fire();
            true
        }
    }

    pub(in super::super) fn claim(waiter: &Waiter) -> bool {
        waiter.claim()
    }

    /// The seeded bug: a look and a store instead of one exchange.
    pub(in super::super) fn claim_in_two_steps(waiter: &Waiter) -> bool {
        match waiter.who {
            // SAFETY: the waiter was linked, and the lock is held, so its choice is alive.
            Who::OneOf(choice, index) => unsafe { &*choice }.claim_in_two_steps(index),
            Who::Alone(_) | Who::Among(..) | Who::Polled(_) => true,
        }
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::support::*;
    use super::*;
    use loom::thread;

    #[test]
    fn model_of_two_who_deliver_one_finds_the_waiter() {
        loom::model(|| {
            let line = Line::new();
            let arm = Arm::new(Waiter::new());
            line.enter(&arm);
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let line = line.clone();
                    thread::spawn(move || line.deliver(claim))
                })
                .collect();
            assert_eq!(arm.waiter.wait(None, || line.leave(&arm)), Woken::Notified);
            assert_eq!(arm.value(), 7);
            assert_eq!(others.into_iter().filter_map(|o| o.join().unwrap().then_some(())).count(), 1);
        });
    }

    #[test]
    fn model_a_waiter_that_leaves_was_completed_or_never_will_be() {
        loom::model(|| {
            let line = Line::new();
            let arm = Arm::new(Waiter::new());
            line.enter(&arm);
            let other = {
                let line = line.clone();
                thread::spawn(move || line.deliver(claim))
            };
            let left = line.leave(&arm);
            if !left {
                assert!(arm.waiter.is_notified());
                assert_eq!(arm.value(), 7);
            }
            drop(arm);
            assert_eq!(other.join().unwrap(), !left);
        });
    }

    /// What was delivered is read when `is_notified` says so, without a lock.
    fn a_look_at_what_is_delivered(is_notified: fn(&Waiter) -> bool) {
        loom::model(move || {
            let line = Line::new();
            let arm = Arm::new(Waiter::new());
            line.enter(&arm);
            let other = {
                let line = line.clone();
                thread::spawn(move || line.deliver(claim))
            };
            while !is_notified(&arm.waiter) {
                yield_thread();
            }
            assert_eq!(arm.value(), 7);
            drop(arm);
            assert!(other.join().unwrap());
        });
    }

    #[test]
    fn model_who_is_notified_sees_what_was_delivered() {
        a_look_at_what_is_delivered(Waiter::is_notified);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn model_catches_a_waiter_that_goes_while_it_is_touched() {
        // The seeded bug: that somebody is about to notify it is enough.
        a_look_at_what_is_delivered(|waiter| matches!(waiter.mark.load(Ordering::Acquire), TOUCHED | NOTIFIED));
    }
}
