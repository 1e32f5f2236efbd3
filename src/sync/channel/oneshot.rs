//! Oneshot channels: one value, one sender, one receiver.

use std::time::{Duration, Instant};

use super::{Receiver, RecvError, RecvTimeoutError, SendError, Sender, TryRecvError, bounded};

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
pub struct OneshotSender<T>(Sender<T>);

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
