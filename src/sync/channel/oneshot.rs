//! Oneshot channels: one value, one sender, one receiver.

use std::time::{Duration, Instant};

use super::{Receiver, RecvError, RecvTimeoutError, SendError, Sender, TryRecvError, bounded};
use crate::sync::waiting::after;
use crate::task::{Waiter, Woken, spend};

/// Makes a channel for one value: an answer, a result. Sending takes the sender and never waits.
///
/// # Examples
/// ```
/// let (answer, question) = osier::sync::channel::oneshot();
/// osier::spawn(move || answer.send(42)).join().unwrap().unwrap();
/// assert_eq!(question.recv(), Ok(42));
/// ```
pub fn oneshot<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    let (sender, receiver) = bounded(1);
    (OneshotSender(sender), OneshotReceiver(receiver))
}

/// The right to send one value. Dropped instead, its receiver gets an error.
#[derive(Debug)]
pub struct OneshotSender<T>(pub(super) Sender<T>);

/// The right to receive one value.
#[derive(Debug)]
pub struct OneshotReceiver<T>(pub(super) Receiver<T>);

impl<T> OneshotSender<T> {
    /// Sends the value. Never waits.
    ///
    /// # Errors
    /// The receiver is gone; the value comes back.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        self.0.try_send(value).map_err(|error| SendError(error.into_inner()))
    }

    /// Whether the receiver is gone, so that nobody wants the value.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until the receiver is gone, or has closed the channel: so that work for nobody can be given up. Also an object
    /// for [`wait`](crate::wait), and a branch `wait(sender)` of [`select!`](crate::select!).
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, while somebody may want the value.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here, and nothing has changed.
    ///
    /// # Examples
    /// ```
    /// use osier::{select, sync::channel};
    /// use std::time::Duration;
    ///
    /// let (answer, question) = channel::oneshot::<u32>();
    /// let worker = osier::spawn(move || {
    ///     select! {
    ///         wait(answer) => "nobody asks any more",
    ///         recv(channel::after(Duration::from_secs(60))) -> _ => "there was an answer",
    ///     }
    /// });
    /// drop(question);
    /// assert_eq!(worker.join().unwrap(), "nobody asks any more");
    /// ```
    pub fn closed(&self) {
        self.closed_until(None);
    }

    /// Waits as [`closed`](Self::closed) does, for at most `timeout`. Whether nobody wants the value.
    ///
    /// # Suspends
    /// As [`closed`](Self::closed).
    ///
    /// # Cancel safety
    /// As [`closed`](Self::closed).
    pub fn closed_timeout(&self, timeout: Duration) -> bool {
        self.closed_until(after(timeout))
    }

    /// Waits as [`closed`](Self::closed) does, until `deadline`. Whether nobody wants the value.
    ///
    /// # Suspends
    /// As [`closed`](Self::closed).
    ///
    /// # Cancel safety
    /// As [`closed`](Self::closed).
    pub fn closed_deadline(&self, deadline: Instant) -> bool {
        self.closed_until(Some(deadline))
    }

    fn closed_until(&self, deadline: Option<Instant>) -> bool {
        spend();
        let (exchange, waiter) = (&self.0.exchange, Waiter::new());
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        if !unsafe { exchange.watch_closed(&raw const waiter) } {
            return true;
        }
        waiter.wait(deadline, || exchange.unwatch_recv(&waiter)) == Woken::Notified
    }
}

impl<T> OneshotReceiver<T> {
    /// Waits for the value.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, until it is there.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits has received nothing.
    ///
    /// # Errors
    /// The sender is gone without sending, or the value was received before.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.recv()
    }

    /// The value if it is there.
    ///
    /// # Errors
    /// It is not, or will never be.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }

    /// Waits for the value for at most `timeout`.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    ///
    /// # Errors
    /// The time is up, or it will never come.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.0.recv_timeout(timeout)
    }

    /// Waits for the value until `deadline`.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    ///
    /// # Errors
    /// The time is up, or it will never come.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.0.recv_deadline(deadline)
    }

    /// Closes the channel: nothing is sent any more, and a sender gets its value back; what was sent before can still be
    /// received. False if it was closed before.
    pub fn close(&self) -> bool {
        self.0.close()
    }

    /// Whether it is closed, or the sender is gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
