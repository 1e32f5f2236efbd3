//! Broadcast channels: every receiver gets every value, and the slow are told how many they missed.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SendError;
use super::log::{Appended, End, Log, Next};
use crate::exception::raised_itself;
use crate::sync::waiting::after;

/// Makes a channel of which every receiver gets every value, as a clone. The last `capacity` values are kept for those
/// who are slow; sending never waits for them.
///
/// # Panics
/// If `capacity` is 0.
///
/// # Examples
/// ```
/// use osier::sync::channel::{self, BroadcastRecvError};
///
/// let (sender, receiver) = channel::broadcast(2);
/// let other = receiver.clone();
/// (1..=3).for_each(|n| sender.send(n).unwrap());
/// assert_eq!(receiver.recv(), Err(BroadcastRecvError::Missed(1)));
/// assert_eq!((receiver.recv(), receiver.recv()), (Ok(2), Ok(3)));
/// drop(sender);
/// assert_eq!(other.iter().collect::<Vec<_>>(), [2, 3]);
/// ```
pub fn broadcast<T: Clone>(capacity: usize) -> (BroadcastSender<T>, BroadcastReceiver<T>) {
    assert!(capacity > 0, "a broadcast channel keeps at least one value");
    let log = Log::new(capacity, None);
    let receiver = BroadcastReceiver { end: log.subscribe(false) };
    (BroadcastSender { log }, receiver)
}

/// The sending end of [`broadcast`]. When the last clone is dropped, receivers get what is left and then the end.
pub struct BroadcastSender<T> {
    log: Arc<Log<T>>,
}

/// A receiving end of [`broadcast`], with a place of its own; a clone begins at the same place.
pub struct BroadcastReceiver<T> {
    end: End<T>,
}

impl<T> BroadcastSender<T> {
    /// Sends `value` to every receiver. Never waits: where the channel is full, the oldest value is dropped, and those
    /// who have not received it are told.
    ///
    /// # Errors
    /// There is no receiver, or the channel is closed; the value comes back.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.log.receivers() == 0 {
            return Err(SendError(value));
        }
        match self.log.append(value) {
            Appended::Done(_) => Ok(()),
            Appended::Closed(value) | Appended::TooLate(value) => Err(SendError(value)),
        }
    }

    /// A receiver of what is sent from now on.
    pub fn subscribe(&self) -> BroadcastReceiver<T> {
        BroadcastReceiver { end: self.log.subscribe(false) }
    }

    /// How many receivers there are.
    pub fn receivers(&self) -> usize {
        self.log.receivers()
    }

    /// How many values are kept.
    pub fn capacity(&self) -> usize {
        self.log.capacity()
    }

    /// Closes the channel: nothing is sent any more, receivers get what is kept and then the end. False if it was closed
    /// before. The last sender does the same when it is dropped.
    pub fn close(&self) -> bool {
        self.log.close()
    }

    /// Whether the channel is closed.
    pub fn is_closed(&self) -> bool {
        self.log.is_closed()
    }
}

impl<T: Clone> BroadcastReceiver<T> {
    /// Receives the next value, waiting for one.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, while there is none.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits has received nothing.
    ///
    /// # Errors
    /// Values were missed: the next call gives the oldest that is kept. Or there is none and every sender is gone.
    pub fn recv(&self) -> Result<T, BroadcastRecvError> {
        Self::received(self.end.next(None))
    }

    /// What a receive without a time limit gives.
    fn received(next: Next<T>) -> Result<T, BroadcastRecvError> {
        match next {
            Next::Value(value) => Ok(Arc::unwrap_or_clone(value)),
            Next::Missed(count) => Err(BroadcastRecvError::Missed(count)),
            Next::Nothing | Next::Closed => Err(BroadcastRecvError::Disconnected),
        }
    }

    /// Receives the next value if it is there.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), or there is none now.
    pub fn try_recv(&self) -> Result<T, BroadcastTryRecvError> {
        match self.end.try_next() {
            Next::Value(value) => Ok(Arc::unwrap_or_clone(value)),
            Next::Missed(count) => Err(BroadcastTryRecvError::Missed(count)),
            Next::Nothing => Err(BroadcastTryRecvError::Empty),
            Next::Closed => Err(BroadcastTryRecvError::Disconnected),
        }
    }

    /// Receives the next value, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv), or the time is up.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, BroadcastRecvTimeoutError> {
        self.recv_until(after(timeout))
    }

    /// Receives the next value, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv), or the time is up.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, BroadcastRecvTimeoutError> {
        self.recv_until(Some(deadline))
    }

    fn recv_until(&self, deadline: Option<Instant>) -> Result<T, BroadcastRecvTimeoutError> {
        match self.end.next(deadline) {
            Next::Value(value) => Ok(Arc::unwrap_or_clone(value)),
            Next::Missed(count) => Err(BroadcastRecvTimeoutError::Missed(count)),
            Next::Nothing => Err(BroadcastRecvTimeoutError::Timeout),
            Next::Closed => Err(BroadcastRecvTimeoutError::Disconnected),
        }
    }

    /// Iterates over what comes until every sender is gone, passing over what is missed.
    ///
    /// # Suspends
    /// Each `next`, as [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    pub fn iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| match self.end.next_kept() {
            Next::Value(value) => Some(Arc::unwrap_or_clone(value)),
            Next::Missed(_) | Next::Nothing | Next::Closed => None,
        })
    }
}

impl<T: Clone> BroadcastReceiver<T> {
    /// Iterates over what is kept for this receiver, without waiting, passing over what was missed.
    pub fn try_iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| match self.end.try_next_kept() {
            Next::Value(value) => Some(Arc::unwrap_or_clone(value)),
            Next::Missed(_) | Next::Nothing | Next::Closed => None,
        })
    }
}

impl<T> BroadcastReceiver<T> {
    /// How many values are kept at most.
    pub fn capacity(&self) -> usize {
        self.end.log().capacity()
    }

    /// How many values are kept for this receiver.
    pub fn len(&self) -> usize {
        self.end.len()
    }

    /// Whether no value is kept for this receiver.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes the channel: nothing is sent any more, receivers get what is kept and then the end. False if it was closed
    /// before. The last sender does the same when it is dropped.
    pub fn close(&self) -> bool {
        self.end.log().close()
    }

    /// Whether the channel is closed, or every sender is gone.
    pub fn is_closed(&self) -> bool {
        self.end.log().is_closed()
    }
}

super::operands::log_ends!(BroadcastSender, BroadcastReceiver, BroadcastRecvError);

impl<T> fmt::Debug for BroadcastSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastSender").field("receivers", &self.receivers()).finish()
    }
}

impl<T> fmt::Debug for BroadcastReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastReceiver").field("len", &self.len()).finish()
    }
}

/// Why [`BroadcastReceiver::recv`] received nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BroadcastRecvError {
    /// So many values were dropped before this receiver took them.
    Missed(u64),
    /// There is no value, and every sender is gone.
    Disconnected,
}

/// Why [`BroadcastReceiver::try_recv`] received nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BroadcastTryRecvError {
    /// There is no value now.
    Empty,
    /// So many values were dropped before this receiver took them.
    Missed(u64),
    /// There is no value, and every sender is gone.
    Disconnected,
}

/// Why [`BroadcastReceiver::recv_timeout`] received nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BroadcastRecvTimeoutError {
    /// No value came in time.
    Timeout,
    /// So many values were dropped before this receiver took them.
    Missed(u64),
    /// There is no value, and every sender is gone.
    Disconnected,
}

impl fmt::Display for BroadcastRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missed(count) => write!(f, "receiving too slowly: missed {count} values"),
            Self::Disconnected => f.write_str("receiving on an empty and disconnected channel"),
        }
    }
}

impl fmt::Display for BroadcastTryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("receiving on an empty channel"),
            Self::Missed(count) => BroadcastRecvError::Missed(count).fmt(f),
            Self::Disconnected => BroadcastRecvError::Disconnected.fmt(f),
        }
    }
}

impl fmt::Display for BroadcastRecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Timeout => f.write_str("timed out waiting to receive"),
            Self::Missed(count) => BroadcastRecvError::Missed(count).fmt(f),
            Self::Disconnected => BroadcastRecvError::Disconnected.fmt(f),
        }
    }
}

impl Error for BroadcastRecvError {}
impl Error for BroadcastTryRecvError {}
impl Error for BroadcastRecvTimeoutError {}

raised_itself!(BroadcastRecvError, BroadcastTryRecvError, BroadcastRecvTimeoutError);
