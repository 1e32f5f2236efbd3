//! The one channel behind all ends: a queue of values, and two queues of those who wait.
//!
//! Whoever comes second completes the first one's call, under the lock: a sender puts its value into the place of the
//! receiver that has waited longest; a receiver that makes room moves the longest waiting sender's value into the
//! queue. So a call that has been completed returns, whatever happens to its task meanwhile, and order is kept. A call
//! that is woken empty-handed looks again.
//!
//! A select that would send has no value yet, so it waits as a watcher: it is woken when it should look again. Once it
//! has found room it keeps that room, or the receiver that waits, until its value is there. Those who only want to know
//! that a receive has become possible watch in a queue of their own: what is good news for one kind is none for the other.
//!
//! A channel that time sends into has a clock, which is asked where nothing lies in the queue.
//!
//! # Invariants
//! - Receivers wait only while the queue is empty and no sender waits; senders wait only while there is no room.
//! - Whoever makes room, or begins to wait for a value, wakes those who watch for a send; whoever puts a value in, or
//!   begins to wait for room, those who watch for a receive.
//! - No value is dropped and nobody is woken under the lock.

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::clock::Clock;
use crate::primitives::{SpinGuard, SpinLock};
use crate::sync::select::{Arm, Begun, Entry, Token};
use crate::sync::waiting::earlier;
use crate::task::{Choice, Taken, WaitQueue, Waiter, Wakeup, Woken, spend};

/// What became of a send.
pub(super) enum Sent<T> {
    Delivered,
    /// There was no room, and none came in time.
    NoRoom(T),
    /// The channel is closed.
    Disconnected(T),
}

/// What became of a receive.
pub(super) enum Received<T> {
    Value(T),
    /// There was nothing, and nothing came in time.
    Nothing,
    /// There is nothing, and the channel is closed.
    Disconnected,
}

/// See the module's page.
pub(super) struct Exchange<T> {
    state: SpinLock<State<T>>,
    capacity: usize,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// What sends beside the senders, if time does.
    clock: Option<Box<Clock<T>>>,
}

struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    /// How many values selects will put into the queue, for which room is kept.
    promised: usize,
    /// Calls with a value each: [`Entry`], filled.
    waiting_senders: WaitQueue,
    /// Calls, and arms of selects, with a place each: [`Entry`], empty.
    waiting_receivers: WaitQueue,
    /// Selects, and others who look again when a send may have become possible.
    send_watchers: WaitQueue,
    /// Those who look again when a receive may have become possible.
    recv_watchers: WaitQueue,
    /// Nothing is sent any more.
    is_closed: bool,
    /// Whether there is a clock: said here, where every receive looks anyway.
    is_timed: bool,
}

// SAFETY: the places that waiters point to are touched only under the lock, or by their owner once nobody else can;
// values move between threads, which takes `T: Send`.
unsafe impl<T: Send> Send for Exchange<T> {}
// SAFETY: as above; no `&T` is ever given out.
unsafe impl<T: Send> Sync for Exchange<T> {}

/// A call that waits: on its stack, and in one of the queues.
#[repr(C)]
struct Waiting<T> {
    entry: Entry<T>,
    /// A sender's value, until it is taken; a receiver's, once it is there.
    value: UnsafeCell<Option<T>>,
}

impl<T> Waiting<T> {
    #[inline]
    fn new(value: Option<T>) -> Self {
        let entry = Entry { waiter: Waiter::interruptible(), place: Cell::new(NonNull::dangling()) };
        Self { entry, value: UnsafeCell::new(value) }
    }

    /// The waiter, as a pointer to all of `self`, which stays where it is from now on.
    #[inline]
    fn as_waiter(&self) -> *const Waiter {
        // An `UnsafeCell` is never at null.
        self.entry.place.set(NonNull::new(self.value.get()).expect("a place is somewhere"));
        ptr::from_ref(self).cast()
    }

    /// What is in the place, after the wait. Taken from where it lies: to move the record would read what others have
    /// just written, in larger pieces than they wrote.
    #[inline(always)]
    fn take_value(&mut self) -> Option<T> {
        self.value.get_mut().take()
    }
}

/// The place that belongs to a waiter.
///
/// # Safety
/// - `waiter` is the head of an `Entry<T>` that is in a queue, or was taken out and not notified yet; the lock is held for
///   as long as `'a`.
#[inline]
unsafe fn place_of<'a, T>(waiter: *const Waiter) -> &'a mut Option<T> {
    // SAFETY: `Entry` is `repr(C)` with the waiter first; until it is notified the place is the lock's.
    unsafe { (*waiter.cast::<Entry<T>>()).place.get().as_mut() }
}

/// Watchers that were taken out, to wake after unlocking. Mostly none.
type Watchers = Vec<Wakeup>;

#[inline(always)]
fn fire(watchers: Watchers) {
    if watchers.is_empty() {
        // Nothing was allocated for none.
        std::mem::forget(watchers);
    } else {
        fire_all(watchers);
    }
}

#[cold]
fn fire_all(watchers: Watchers) {
    watchers.into_iter().for_each(Wakeup::fire);
}

impl<T> Exchange<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let state = State {
            queue: VecDeque::new(),
            capacity,
            promised: 0,
            waiting_senders: WaitQueue::new(),
            waiting_receivers: WaitQueue::new(),
            send_watchers: WaitQueue::new(),
            recv_watchers: WaitQueue::new(),
            is_closed: false,
            is_timed: false,
        };
        let (senders, receivers) = (AtomicUsize::new(1), AtomicUsize::new(1));
        Self { state: SpinLock::new(state), capacity, senders, receivers, clock: None }
    }

    /// One that time sends into, with room for one value and no sender but that.
    pub(super) fn timed(clock: Clock<T>) -> Self {
        let exchange = Self { clock: Some(Box::new(clock)), ..Self::new(1) };
        exchange.lock().is_timed = true;
        exchange
    }

    #[inline(always)]
    fn lock(&self) -> SpinGuard<'_, State<T>> {
        self.state.lock()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.is_due()) + self.lock().queue.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_due() || !self.lock().has_room()
    }

    /// When time sends the next value, if it does.
    pub(super) fn due(&self) -> Option<Instant> {
        self.clock.as_ref()?.due()
    }

    /// Whether time has sent a value.
    fn is_due(&self) -> bool {
        self.clock.as_ref().is_some_and(|clock| clock.is_due())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    // ---- sending

    #[inline]
    pub(super) fn try_send(&self, value: T) -> Sent<T> {
        self.give(self.lock(), value).unwrap_or_else(|(_, value)| Sent::NoRoom(value))
    }

    /// Sends, waiting for room until `deadline`, or as long as it takes.
    #[inline]
    pub(super) fn send(&self, value: T, deadline: Option<Instant>) -> Sent<T> {
        if self.capacity < usize::MAX {
            spend();
        }
        self.give(self.lock(), value).unwrap_or_else(|(state, value)| self.send_slow(state, value, deadline))
    }

    #[inline(never)]
    fn send_slow<'a>(&'a self, mut state: SpinGuard<'a, State<T>>, mut value: T, deadline: Option<Instant>) -> Sent<T> {
        loop {
            let mut waiting = Waiting::new(Some(value));
            // SAFETY: the waiter is new, and stays here until the wait below has ended, when it is in no queue.
            unsafe { state.waiting_senders.push(waiting.as_waiter()) };
            // Only where nobody keeps a value for them: who would receive may do so now.
            Self::tell(state, |state| &mut state.recv_watchers);
            // SAFETY: it was pushed there.
            let unlink = || unsafe { self.lock().waiting_senders.remove(&waiting.entry.waiter) };
            let woken = waiting.entry.waiter.wait(deadline, unlink);
            value = match (woken, waiting.take_value()) {
                (_, None) => return Sent::Delivered,
                (Woken::Elapsed, Some(value)) => return Sent::NoRoom(value),
                (Woken::Notified, Some(value)) => value,
            };
            (state, value) = match self.give(self.lock(), value) {
                Ok(sent) => return sent,
                Err(refused) => refused,
            };
        }
    }

    /// Hands `value` to a receiver that waits, or to the queue, and unlocks; or gives it back, if there is no room.
    #[inline(always)]
    fn give<'a>(&self, mut state: SpinGuard<'a, State<T>>, value: T) -> Result<Sent<T>, (SpinGuard<'a, State<T>>, T)> {
        let mut value = Some(value);
        if !state.waiting_receivers.is_empty() {
            // SAFETY: only receivers' entries enter this queue, and its lock is held.
            let deliver = |waiter| unsafe { *place_of(waiter) = value.take() };
            if let Some(wakeup) = state.waiting_receivers.notify_first(deliver) {
                drop(state);
                wakeup.fire();
                return Ok(Sent::Delivered);
            }
        }
        let Some(value) = value else { unreachable!("nobody waited, so nobody took it") };
        if state.is_closed {
            return Ok(Sent::Disconnected(value));
        }
        if !state.has_room() {
            return Err((state, value));
        }
        state.queue.push_back(value);
        Self::tell(state, |state| &mut state.recv_watchers);
        Ok(Sent::Delivered)
    }

    /// Unlocks, and wakes those watchers.
    #[inline(always)]
    fn tell(mut state: SpinGuard<'_, State<T>>, watchers: impl Fn(&mut State<T>) -> &mut WaitQueue) {
        let watchers = watchers(&mut state);
        if !watchers.is_empty() {
            let watchers = watchers.notify_all();
            drop(state);
            fire(watchers);
        }
    }

    // ---- receiving

    #[inline]
    pub(super) fn try_recv(&self) -> Received<T> {
        match self.take() {
            Ok(received) => received,
            Err(state) if state.is_timed => self.try_recv_timed(state),
            Err(_) => Received::Nothing,
        }
    }

    /// Receives, waiting until `deadline`, or as long as it takes.
    // Inlined down to the switch, as `yield_now` is.
    #[inline(always)]
    pub(super) fn recv(&self, deadline: Option<Instant>) -> Received<T> {
        spend();
        loop {
            let state = match self.take() {
                Ok(received) => return received,
                Err(state) => state,
            };
            if state.is_timed {
                return self.recv_timed(state, deadline);
            }
            match self.wait_for_value(state, deadline) {
                (_, Some(value)) => return Received::Value(value),
                (Woken::Elapsed, None) => return Received::Nothing,
                (Woken::Notified, None) => {}
            }
        }
    }

    /// Looks whether time has sent something.
    #[cold]
    fn try_recv_timed(&self, state: SpinGuard<'_, State<T>>) -> Received<T> {
        drop(state);
        self.clock.as_ref().and_then(|clock| clock.take()).map_or(Received::Nothing, Received::Value)
    }

    /// Receives where time sends, too.
    #[cold]
    fn recv_timed(&self, state: SpinGuard<'_, State<T>>, deadline: Option<Instant>) -> Received<T> {
        drop(state);
        let Some(clock) = &self.clock else { unreachable!("it is timed") };
        loop {
            if let Some(value) = clock.take() {
                return Received::Value(value);
            }
            let due = clock.due();
            let state = match self.take() {
                Ok(received) => return received,
                Err(state) => state,
            };
            // Nobody is woken when a value is due: whoever waits wakes for it by itself.
            let until = earlier(due, deadline);
            match self.wait_for_value(state, until) {
                (_, Some(value)) => return Received::Value(value),
                (Woken::Elapsed, None) if until == deadline => {
                    return clock.take().map_or(Received::Nothing, Received::Value);
                }
                // It is due, unless another was faster.
                (Woken::Elapsed | Woken::Notified, None) => {}
            }
        }
    }

    /// Waits in the queue of receivers, and unlocks meanwhile. Without a value, the time is up or it is to look again.
    #[inline(always)]
    fn wait_for_value<'a>(
        &'a self,
        mut state: SpinGuard<'a, State<T>>,
        deadline: Option<Instant>,
    ) -> (Woken, Option<T>) {
        let mut waiting = Waiting::new(None);
        // SAFETY: the waiter is new, and stays here until the wait below has ended, when it is in no queue.
        unsafe { state.waiting_receivers.push(waiting.as_waiter()) };
        // Selects that would send may do so now.
        Self::tell(state, |state| &mut state.send_watchers);
        // SAFETY: it was pushed there.
        let unlink = || unsafe { self.lock().waiting_receivers.remove(&waiting.entry.waiter) };
        let woken = waiting.entry.waiter.wait(deadline, unlink);
        (woken, waiting.take_value())
    }

    /// Takes the next value, or says that none will come, and unlocks; keeps the lock if there is nothing now.
    #[inline(always)]
    fn take(&self) -> Result<Received<T>, SpinGuard<'_, State<T>>> {
        let mut state = self.lock();
        if let Some(value) = state.queue.pop_front() {
            if !state.waiting_senders.is_empty() || !state.send_watchers.is_empty() {
                Self::tell_of_room(state);
            }
            return Ok(Received::Value(value));
        }
        if state.is_closed {
            // Those who wait to send are about to be woken with their values.
            return Ok(Received::Disconnected);
        }
        if state.waiting_senders.is_empty() { Err(state) } else { Self::take_from_sender(state) }
    }

    /// Unlocks, and lets those go on for whom room was made.
    #[inline(never)]
    fn tell_of_room(mut state: SpinGuard<'_, State<T>>) {
        let wakeup = state.refill();
        let watchers = state.take_send_watchers();
        drop(state);
        wakeup.fire();
        fire(watchers);
    }

    /// Takes the value of the sender that has waited longest, and unlocks.
    #[inline(never)]
    fn take_from_sender(mut state: SpinGuard<'_, State<T>>) -> Result<Received<T>, SpinGuard<'_, State<T>>> {
        let mut value = None;
        // SAFETY: only senders' entries enter this queue, and its lock is held.
        let take = |waiter| value = unsafe { place_of(waiter) }.take();
        let wakeup = state.waiting_senders.notify_first(take).unwrap_or(Wakeup::None);
        let Some(value) = value else { return Err(state) };
        drop(state);
        wakeup.fire();
        Ok(Received::Value(value))
    }

    /// Takes out everything that lies in the channel, and what those who wait would send.
    pub(super) fn drain(&self) -> VecDeque<T> {
        let mut state = self.lock();
        let mut drained = std::mem::take(&mut state.queue);
        let mut wakeups = Vec::new();
        if !state.is_closed {
            // SAFETY: only senders' entries enter this queue, and its lock is held.
            let mut collect = |waiter| drained.extend(unsafe { place_of(waiter) }.take());
            while let Some(wakeup) = state.waiting_senders.notify_first(&mut collect) {
                wakeups.push(wakeup);
            }
        }
        let watchers = state.take_send_watchers();
        drop(state);
        fire(wakeups);
        fire(watchers);
        drained.extend(self.clock.as_ref().and_then(|clock| clock.take()));
        drained
    }

    // ---- ends

    pub(super) fn add_sender(&self) {
        self.senders.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_receiver(&self) {
        self.receivers.fetch_add(1, Ordering::Relaxed);
    }

    /// Drops one sender; the last one closes the channel, and receivers drain it.
    pub(super) fn drop_sender(&self) {
        // AcqRel: the last one sees what the others sent.
        if self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }

    /// Drops one receiver; the last one closes the channel, and what is in it is dropped.
    pub(super) fn drop_receiver(&self) {
        // AcqRel: as in `drop_sender`.
        if self.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut state = self.lock();
            state.is_closed = true;
            let unreceived = std::mem::take(&mut state.queue);
            drop(state);
            self.close();
            drop(unreceived);
        }
    }

    /// Closes the channel and lets everybody who waits look again. False if it was closed before.
    pub(super) fn close(&self) -> bool {
        let mut state = self.lock();
        let was_open = !std::mem::replace(&mut state.is_closed, true);
        let mut wakeups = state.waiting_receivers.notify_all();
        wakeups.extend(state.waiting_senders.notify_all());
        wakeups.extend(state.send_watchers.notify_all());
        wakeups.extend(state.recv_watchers.notify_all());
        drop(state);
        fire(wakeups);
        was_open
    }

    // ---- as one of the operations of a select

    pub(super) fn can_recv(&self) -> bool {
        self.lock().can_take() || self.is_due()
    }

    pub(super) fn can_send(&self) -> bool {
        self.lock().can_offer(None)
    }

    /// Enters a waiter that is notified when a receive may have become possible. False if one is.
    ///
    /// # Safety
    /// - As [`WaitQueue::push`].
    pub(super) unsafe fn watch_recv(&self, waiter: *const Waiter) -> bool {
        let mut state = self.lock();
        let entered = !state.can_take();
        if entered {
            // SAFETY: the caller's promise.
            unsafe { state.recv_watchers.push(waiter) };
        }
        entered
    }

    /// Enters a waiter that is notified when the channel is closed, for as long as nothing is sent. False if it is.
    ///
    /// # Safety
    /// - As [`WaitQueue::push`]; it is taken out by `unwatch_recv`.
    pub(super) unsafe fn watch_closed(&self, waiter: *const Waiter) -> bool {
        let mut state = self.lock();
        let entered = !state.is_closed;
        if entered {
            // SAFETY: the caller's promise.
            unsafe { state.recv_watchers.push(waiter) };
        }
        entered
    }

    /// Enters a waiter that is notified when a send may have become possible. False if one is, other than to a receiver
    /// of `choice`.
    ///
    /// # Safety
    /// - As [`WaitQueue::push`].
    pub(super) unsafe fn watch_send(&self, waiter: *const Waiter, choice: Option<&Choice>) -> bool {
        let mut state = self.lock();
        let entered = !state.can_offer(choice);
        if entered {
            // SAFETY: the caller's promise.
            unsafe { state.send_watchers.push(waiter) };
        }
        entered
    }

    /// Takes a waiter out. False if it was notified.
    pub(super) fn unwatch_recv(&self, waiter: &Waiter) -> bool {
        // SAFETY: it was pushed there by `watch_recv` or `watch_closed`.
        unsafe { self.lock().recv_watchers.remove(waiter) }
    }

    /// Takes a waiter out that is still there.
    pub(super) fn unwatch_send(&self, waiter: &Waiter) {
        // SAFETY: it was pushed there by `watch_send`.
        unsafe { self.lock().send_watchers.remove(waiter) };
    }

    /// Receives into a token what is there, or that the channel is closed.
    pub(super) fn begin_recv(&self, token: &mut Token) -> bool {
        match self.try_recv() {
            Received::Nothing => return false,
            Received::Disconnected => token.begun = Begun::Disconnected,
            Received::Value(value) => {
                token.put(Some(value));
                token.begun = Begun::Received;
            }
        }
        true
    }

    /// Enters an arm as a receiver. False if there is something to receive.
    ///
    /// # Safety
    /// - As [`Operand::enter`](crate::sync::select::Operand::enter).
    pub(super) unsafe fn enter_recv(&self, arm: &Arm<'_>, choice: &Choice) -> bool {
        arm.make_place::<T>();
        let mut state = self.lock();
        if state.can_take() {
            drop(state);
            // SAFETY: made above.
            unsafe { arm.settle_place::<T>() };
            return false;
        }
        if state.is_timed {
            arm.note_timed();
        }
        // SAFETY: the caller's promise; an arm's head is that of an `Entry`, with a place of this type.
        unsafe { state.waiting_receivers.push(arm.as_waiter()) };
        // Not the arms of the same choice: they would look again for ever.
        let watchers = state.send_watchers.notify_others(choice);
        drop(state);
        fire(watchers);
        true
    }

    /// Takes an arm out that entered as a receiver.
    pub(super) fn leave_recv(&self, arm: &Arm<'_>) {
        // SAFETY: it was pushed there by `enter_recv`.
        unsafe { self.lock().waiting_receivers.remove(arm.waiter()) };
        // SAFETY: `enter_recv` made it.
        unsafe { arm.settle_place::<T>() };
    }

    /// Completes a receive that was begun.
    pub(super) fn finish_recv(token: &mut Token) -> Option<T> {
        match token.settle() {
            // SAFETY: only receives from a channel of `T` begin so.
            Begun::Received => unsafe { token.take::<T>() },
            _ => None,
        }
    }

    /// Takes back a receive that was begun: its value comes before all others, or goes to who waits for one.
    pub(super) fn abandon_recv(&self, token: &mut Token) {
        let Some(value) = Self::finish_recv(token) else { return };
        let mut value = Some(value);
        let mut state = self.lock();
        // SAFETY: only receivers' entries enter this queue, and its lock is held.
        let wakeup = state.waiting_receivers.notify_first(|waiter| unsafe { *place_of(waiter) = value.take() });
        let Some(value) = value.take() else {
            drop(state);
            return wakeup.unwrap_or(Wakeup::None).fire();
        };
        state.queue.push_front(value);
        Self::tell(state, |state| &mut state.recv_watchers);
    }

    /// Keeps room for a value, or the receiver that waits for it.
    pub(super) fn begin_send(&self, token: &mut Token) -> bool {
        let mut state = self.lock();
        token.begun = if state.is_closed {
            Begun::Disconnected
        } else if state.has_room() {
            state.promised += 1;
            Begun::Room
        } else if let Some(receiver) = state.waiting_receivers.take_first() {
            Begun::Receiver(receiver)
        } else {
            return false;
        };
        true
    }

    /// Completes a send that was begun.
    pub(super) fn finish_send(&self, token: &mut Token, value: T) -> Result<(), T> {
        match token.settle() {
            Begun::Room => {
                let mut state = self.lock();
                state.promised -= 1;
                match self.give(state, value) {
                    Ok(Sent::NoRoom(value) | Sent::Disconnected(value)) | Err((_, value)) => Err(value),
                    Ok(Sent::Delivered) => {
                        // If a receiver waited for it, the room is free.
                        Self::tell_of_room(self.lock());
                        Ok(())
                    }
                }
            }
            Begun::Receiver(receiver) => {
                self.notify_taken(receiver, Some(value));
                Ok(())
            }
            Begun::Nothing | Begun::Received | Begun::Disconnected => Err(value),
        }
    }

    /// Takes back a send that was begun: the room is free, the receiver looks again.
    pub(super) fn abandon_send(&self, token: &mut Token) {
        match token.settle() {
            Begun::Room => {
                let mut state = self.lock();
                state.promised -= 1;
                Self::tell_of_room(state);
            }
            Begun::Receiver(receiver) => self.notify_taken(receiver, None),
            Begun::Nothing | Begun::Received | Begun::Disconnected => {}
        }
    }

    /// Notifies a receiver that was taken out of the queue, with a value or without.
    fn notify_taken(&self, receiver: Taken, value: Option<T>) {
        let state = self.lock();
        // SAFETY: only receivers' entries are taken there, and the lock is held.
        unsafe { *place_of(receiver.waiter()) = value };
        // SAFETY: the lock is held.
        let wakeup = unsafe { receiver.notify() };
        drop(state);
        wakeup.fire();
    }
}

impl<T> State<T> {
    #[inline]
    fn has_room(&self) -> bool {
        self.queue.len() + self.promised < self.capacity
    }

    fn can_take(&self) -> bool {
        !self.queue.is_empty() || self.is_closed || self.waiting_senders.has_open(None)
    }

    fn can_offer(&self, choice: Option<&Choice>) -> bool {
        self.is_closed || self.has_room() || self.waiting_receivers.has_open(choice)
    }

    /// Takes out who watches for a send, to be woken after unlocking.
    fn take_send_watchers(&mut self) -> Watchers {
        if self.send_watchers.is_empty() { Vec::new() } else { self.send_watchers.notify_all() }
    }

    /// Moves the value of the sender that has waited longest into the queue, if there is room now.
    fn refill(&mut self) -> Wakeup {
        if self.waiting_senders.is_empty() || self.is_closed || !self.has_room() {
            return Wakeup::None;
        }
        let queue = &mut self.queue;
        // SAFETY: only senders' entries enter this queue, and its lock is held.
        let collect = |waiter| queue.extend(unsafe { place_of(waiter) }.take());
        self.waiting_senders.notify_first(collect).unwrap_or(Wakeup::None)
    }
}
