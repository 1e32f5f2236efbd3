//! What subscribers hold.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::super::address::Address;
use super::{Entry, Inner};
use crate::coroutine::unwind;
use crate::exception::{Report, report};
use crate::sync::channel::{Receiver, RecvError, RecvTimeoutError, SelectedOperation, TryRecvError};
use crate::sync::select_expansion::{Operation, Receive};
use crate::sync::{Arm, Begun, Operand, Token, Wait};
use crate::task::{self, Choice, Task, Waiter};

/// What a subscriber receives from. Dropping it unsubscribes. In [`select!`](crate::select!) and [`wait`](crate::wait) it stands
/// as the receiver of a channel does.
#[must_use = "dropping a subscription ends it"]
pub struct Subscription<M> {
    /// What was retained when it was made, and not received yet.
    first: Mutex<VecDeque<M>>,
    receiver: Receiver<M>,
    missed: Arc<AtomicU64>,
    entry: Weak<Entry<M>>,
    gateway: Weak<Inner<M>>,
}

impl<M> Subscription<M> {
    pub(super) fn new(entry: &Arc<Entry<M>>, gateway: Weak<Inner<M>>) -> Self {
        Self {
            first: Mutex::default(),
            receiver: entry.receiver.clone(),
            missed: entry.missed.clone(),
            entry: Arc::downgrade(entry),
            gateway,
        }
    }

    pub(super) fn begin_with(&mut self, messages: VecDeque<M>) {
        self.first = Mutex::new(messages);
    }

    fn first(&self) -> MutexGuard<'_, VecDeque<M>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_retained(&self) -> Option<M> {
        self.first().pop_front()
    }

    fn has_retained(&self) -> bool {
        !self.first().is_empty()
    }

    /// Receives the next message, waiting for one.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was not given stays.
    ///
    /// # Errors
    /// All has been received, and the gateway is gone or has disconnected this subscriber.
    pub fn recv(&self) -> Result<M, RecvError> {
        self.next_retained().map_or_else(|| self.receiver.recv(), Ok)
    }

    /// Receives a message if one is there.
    ///
    /// # Errors
    /// None is there; or none will come.
    pub fn try_recv(&self) -> Result<M, TryRecvError> {
        self.next_retained().map_or_else(|| self.receiver.try_recv(), Ok)
    }

    /// Receives the next message, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv); or the time is up.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<M, RecvTimeoutError> {
        self.next_retained().map_or_else(|| self.receiver.recv_timeout(timeout), Ok)
    }

    /// Receives the next message, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<M, RecvTimeoutError> {
        self.next_retained().map_or_else(|| self.receiver.recv_deadline(deadline), Ok)
    }

    /// Iterates over what comes, until nothing more will.
    ///
    /// # Suspends
    /// Each `next`, as [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    pub fn iter(&self) -> SubscriptionIter<'_, M> {
        SubscriptionIter { subscription: self }
    }

    /// How many messages it has not got, since it was full.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Sends what comes to an actor, as the message that `message` makes of it, in a task of its own; wherever the actor
    /// runs. While its mailbox is full the messages wait here, within the subscription's bound and with its policy.
    ///
    /// The subscription ends with the actor, and what waits here then are dead letters; or when the task that is returned is
    /// [killed](Task::kill).
    ///
    /// # Panics
    /// If the runtime is shutting down.
    ///
    /// # Examples
    /// ```
    /// use osier::actor::{Builder, Topics};
    ///
    /// enum Message {
    ///     News(&'static str),
    /// }
    ///
    /// let (sender, receiver) = osier::sync::channel::unbounded();
    /// let reader = Builder::new().spawn(move |inbox| {
    ///     for Message::News(text) in inbox {
    ///         sender.send(text).unwrap();
    ///     }
    /// });
    /// let topics = Topics::new();
    /// topics.subscribe("news.>").forward(&reader, Message::News);
    /// topics.publish("news.today", "none");
    /// assert_eq!(receiver.recv()?, "none");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward<T>(self, actor: &Address<T>, message: impl Fn(M) -> T + Send + 'static) -> Task
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        let forward = Forward { subscription: self, actor: actor.clone(), refused: Cell::new(0) };
        let forward = move || {
            let receiver = forward.subscription.receiver.clone();
            // So that it does not wait for a message that never comes.
            let _watch = forward.actor.life().watch(Box::new(move |_| _ = receiver.close()));
            for value in &forward.subscription {
                if forward.actor.send(message(value)).is_err() {
                    forward.refused.set(1);
                    return;
                }
            }
        };
        let spawned = task::Builder::new().name("osier::actor::forward").try_spawn_lasting(forward);
        spawned.unwrap_or_else(|error| panic!("{error}")).task()
    }
}

/// What comes to a subscription, and the actor that gets it.
struct Forward<M, T> {
    subscription: Subscription<M>,
    actor: Address<T>,
    /// How many messages the actor has not taken, since it has ended: one, or none.
    refused: Cell<usize>,
}

impl<M, T> Drop for Forward<M, T> {
    fn drop(&mut self) {
        // Otherwise somebody has killed the task, and unsubscribed by that.
        if self.actor.is_closed() {
            let Subscription { first, receiver, .. } = &self.subscription;
            receiver.close();
            let first = first.lock().unwrap_or_else(PoisonError::into_inner).len();
            let waiting = receiver.drain();
            let count = self.refused.get() + first + waiting.len();
            if count > 0 {
                report(&Report::DeadLetters { name: self.actor.name(), count });
            }
            unwind::drop_quietly(waiting);
        }
    }
}

impl<M> Drop for Subscription<M> {
    fn drop(&mut self) {
        self.receiver.close();
        if let (Some(gateway), Some(entry)) = (self.gateway.upgrade(), self.entry.upgrade()) {
            gateway.remove(&entry);
        }
    }
}

impl<M> fmt::Debug for Subscription<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("len", &self.receiver.len()).finish_non_exhaustive()
    }
}

impl<'a, M> IntoIterator for &'a Subscription<M> {
    type Item = M;
    type IntoIter = SubscriptionIter<'a, M>;

    fn into_iter(self) -> SubscriptionIter<'a, M> {
        self.iter()
    }
}

/// See [`Subscription::iter`].
#[derive(Debug)]
pub struct SubscriptionIter<'a, M> {
    subscription: &'a Subscription<M>,
}

impl<M> Iterator for SubscriptionIter<'_, M> {
    type Item = M;

    fn next(&mut self) -> Option<M> {
        self.subscription.recv().ok()
    }
}

impl<M> FusedIterator for SubscriptionIter<'_, M> {}

// ---- as an operation of a select: what is retained is there from the start, the rest is the channel's

impl<M> Operand for Subscription<M> {
    fn is_ready(&self) -> bool {
        self.has_retained() || self.receiver.is_ready()
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // SAFETY: the caller's promise.
        !self.has_retained() && unsafe { self.receiver.watch(waiter) }
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.receiver.unwatch(waiter);
    }

    fn begin(&self, token: &mut Token) -> bool {
        let Some(message) = self.next_retained() else { return self.receiver.begin(token) };
        token.put(Some(message));
        token.begun = Begun::Received;
        true
    }

    unsafe fn enter(&self, arm: &Arm<'_>, choice: &Choice) -> bool {
        // SAFETY: the caller's promise.
        !self.has_retained() && unsafe { self.receiver.enter(arm, choice) }
    }

    fn leave(&self, arm: &Arm<'_>) {
        self.receiver.leave(arm);
    }

    fn collect(&self, token: &mut Token) -> bool {
        self.receiver.collect(token)
    }

    fn abandon(&self, token: &mut Token) {
        // Before all others again, which are retained ones if there are such.
        if !self.has_retained() {
            self.receiver.abandon(token);
        } else if let Ok(message) = self.receiver.finish_recv(token) {
            self.first().push_front(message);
        }
    }
}

impl<M> Receive for Subscription<M> {
    type Received = Result<M, RecvError>;

    fn __osier_operation(&self) -> Operation<'_> {
        Operation::of(self)
    }

    fn __osier_complete(&self, operation: SelectedOperation<'_>) -> Self::Received {
        operation.recv_through(&self.receiver)
    }
}

impl<M> Wait for Subscription<M> {
    fn __osier_wait(&self) -> Operation<'_> {
        Operation::of(self)
    }
}
