//! Channels: many senders, many receivers, closing when one side is gone.
//!
//! Names, errors and behaviour are crossbeam-channel's, so code moves over by changing its `use` line; here a task that
//! waits leaves its worker to others. A channel of capacity 0 hands over directly: a send returns once its value has
//! been received.
//!
//! A value goes straight to the receiver that has waited longest; a send into a full channel waits its turn behind the
//! earlier ones. Nothing that was delivered is lost: a receive that is cancelled or times out has taken no value, and
//! one that was given a value returns it.
//!
//! | channel | holds | each value goes to |
//! | --- | --- | --- |
//! | [`bounded`], [`unbounded`] | so many; any number | one of the receivers |
//! | [`rendezvous`] | none: a send returns once its value was received | one of the receivers |
//! | [`oneshot`] | one, once | the receiver |
//! | [`broadcast`](fn@broadcast) | the last so many | every receiver |
//! | [`watch`](fn@watch) | the newest | every receiver that looks in time |
//! | [`after`], [`at`], [`tick`] | one, which time sends | one of the receivers |
//! | [`never`](fn@never) | none, ever | |
//!
//! To wait for several at once: [`select!`](crate::select!), [`Select`].
//!
//! # Rooms
//! - `exchange`: the queue behind most of them, `log`: behind the two that give a value to everybody. `clock`: when time
//!   sends. `operands`: all as part of a select.
//!
//! # Examples
//! ```
//! use osier::sync::channel;
//!
//! let (sender, receiver) = channel::bounded(4);
//! let producer = osier::spawn(move || (0..10).for_each(|n| sender.send(n).unwrap()));
//! assert_eq!(receiver.iter().sum::<i32>(), 45);
//! producer.join().unwrap();
//! ```

mod broadcast;
mod clock;
mod error;
mod exchange;
mod log;
mod oneshot;
mod operands;
mod watch;

pub use super::select::{
    ReadyTimeoutError, Select, SelectTimeoutError, SelectedOperation, TryReadyError, TrySelectError,
};
pub use crate::{select, select_biased};
pub use broadcast::{
    BroadcastReceiver, BroadcastRecvError, BroadcastRecvTimeoutError, BroadcastSender, BroadcastTryRecvError, broadcast,
};
pub use clock::{after, at, never, tick};
pub use error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};

pub use oneshot::{OneshotReceiver, OneshotSender, oneshot};
pub use watch::{WatchReceiver, WatchSender, Watched, watch};

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::waiting;
use exchange::{Exchange, Received, Sent};

/// Makes a channel that holds at most `capacity` values.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let exchange = Arc::new(Exchange::new(capacity));
    (Sender { exchange: exchange.clone() }, Receiver { exchange })
}

/// Makes a channel that holds nothing: a send returns once a receiver has its value. The same as `bounded(0)`.
pub fn rendezvous<T>() -> (Sender<T>, Receiver<T>) {
    bounded(0)
}

/// Makes a channel that holds any number of values; sending never waits.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

/// The sending end. Clones send into the same channel, which closes when the last of them is dropped.
pub struct Sender<T> {
    exchange: Arc<Exchange<T>>,
}

/// The receiving end. Clones share what comes: each value goes to one of them.
pub struct Receiver<T> {
    exchange: Arc<Exchange<T>>,
}

impl<T> Sender<T> {
    /// Sends `value`, waiting for room if the channel is full.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, while the channel is full.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits has not sent the value, which is dropped as its stack unwinds.
    ///
    /// # Errors
    /// Every receiver is gone; the value comes back.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self.exchange.send(value, None) {
            Sent::Delivered => Ok(()),
            Sent::Disconnected(value) | Sent::NoRoom(value) => Err(SendError(value)),
        }
    }

    /// Sends `value` if there is room or a receiver waits.
    ///
    /// # Errors
    /// The channel is full, or every receiver is gone; the value comes back.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.exchange.try_send(value) {
            Sent::Delivered => Ok(()),
            Sent::NoRoom(value) => Err(TrySendError::Full(value)),
            Sent::Disconnected(value) => Err(TrySendError::Disconnected(value)),
        }
    }

    /// Sends `value`, waiting for room for at most `timeout`.
    ///
    /// # Suspends
    /// As [`Sender::send`].
    ///
    /// # Cancel safety
    /// As [`Sender::send`].
    ///
    /// # Errors
    /// The time is up, or every receiver is gone; the value comes back.
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        match waiting::after(timeout) {
            Some(deadline) => self.send_deadline(value, deadline),
            None => self.send(value).map_err(|SendError(value)| SendTimeoutError::Disconnected(value)),
        }
    }

    /// Sends `value`, waiting for room until `deadline`.
    ///
    /// # Suspends
    /// As [`Sender::send`].
    ///
    /// # Cancel safety
    /// As [`Sender::send`].
    ///
    /// # Errors
    /// The time is up, or every receiver is gone; the value comes back.
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        match self.exchange.send(value, Some(deadline)) {
            Sent::Delivered => Ok(()),
            Sent::NoRoom(value) => Err(SendTimeoutError::Timeout(value)),
            Sent::Disconnected(value) => Err(SendTimeoutError::Disconnected(value)),
        }
    }
}

impl<T> Receiver<T> {
    /// Receives the next value, waiting for one.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, while the channel is empty.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits has received nothing.
    ///
    /// # Errors
    /// The channel is empty and every sender is gone.
    pub fn recv(&self) -> Result<T, RecvError> {
        match self.exchange.recv(None) {
            Received::Value(value) => Ok(value),
            Received::Nothing | Received::Disconnected => Err(RecvError),
        }
    }

    /// Receives a value if one is there.
    ///
    /// # Errors
    /// The channel is empty; or empty with every sender gone.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.exchange.try_recv() {
            Received::Value(value) => Ok(value),
            Received::Nothing => Err(TryRecvError::Empty),
            Received::Disconnected => Err(TryRecvError::Disconnected),
        }
    }

    /// Receives the next value, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`Receiver::recv`].
    ///
    /// # Cancel safety
    /// As [`Receiver::recv`].
    ///
    /// # Errors
    /// The time is up, or the channel is empty and every sender is gone.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        match waiting::after(timeout) {
            Some(deadline) => self.recv_deadline(deadline),
            None => self.recv().map_err(|RecvError| RecvTimeoutError::Disconnected),
        }
    }

    /// Receives the next value, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`Receiver::recv`].
    ///
    /// # Cancel safety
    /// As [`Receiver::recv`].
    ///
    /// # Errors
    /// The time is up, or the channel is empty and every sender is gone.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        match self.exchange.recv(Some(deadline)) {
            Received::Value(value) => Ok(value),
            Received::Nothing => Err(RecvTimeoutError::Timeout),
            Received::Disconnected => Err(RecvTimeoutError::Disconnected),
        }
    }

    /// Iterates over what comes, waiting for each, until the channel is empty and every sender is gone.
    ///
    /// # Suspends
    /// Each `next`, as [`Receiver::recv`].
    ///
    /// # Cancel safety
    /// As [`Receiver::recv`].
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// A sender into this channel, also if there was none left: then it is closed.
    pub(crate) fn sender(&self) -> Sender<T> {
        self.exchange.add_sender();
        Sender { exchange: self.exchange.clone() }
    }

    /// Takes everything out at once: what lies in the channel, then what those who wait would send. Does not wait.
    pub fn drain(&self) -> Drain<T> {
        Drain { values: self.exchange.drain() }
    }

    /// Iterates over what is there, without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }
}

/// What both ends can ask.
macro_rules! common {
    ($end:ident, $clone:ident, $drop:ident) => {
        impl<T> $end<T> {
            /// How many values wait in the channel.
            pub fn len(&self) -> usize {
                self.exchange.len()
            }

            /// Whether no value waits.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether there is no room for another value. A channel of capacity 0 is always full.
            pub fn is_full(&self) -> bool {
                self.exchange.is_full()
            }

            /// How many values it may hold; `None` if any number.
            pub fn capacity(&self) -> Option<usize> {
                Some(self.exchange.capacity()).filter(|&capacity| capacity != usize::MAX)
            }

            /// Closes the channel: nothing is sent any more, and whoever waits to send gets the value back; what lies in
            /// the channel can still be received. False if it was closed before.
            ///
            /// The last end of either side does the same when it is dropped.
            pub fn close(&self) -> bool {
                self.exchange.close()
            }

            /// Whether the channel is closed, by [`close`](Self::close) or because all ends of one side are gone.
            pub fn is_closed(&self) -> bool {
                self.exchange.is_closed()
            }

            /// Whether `other` is an end of the same channel.
            pub fn same_channel(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.exchange, &other.exchange)
            }
        }

        impl<T> Clone for $end<T> {
            fn clone(&self) -> Self {
                self.exchange.$clone();
                Self { exchange: self.exchange.clone() }
            }
        }

        impl<T> Drop for $end<T> {
            fn drop(&mut self) {
                self.exchange.$drop();
            }
        }

        impl<T> fmt::Debug for $end<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let name = stringify!($end);
                f.debug_struct(name).field("len", &self.len()).field("capacity", &self.capacity()).finish()
            }
        }
    };
}

common!(Sender, add_sender, drop_sender);
common!(Receiver, add_receiver, drop_receiver);

/// See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> FusedIterator for Iter<'_, T> {}

/// See [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T> {
    receiver: &'a Receiver<T>,
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

/// See [`Receiver::drain`].
pub struct Drain<T> {
    values: VecDeque<T>,
}

impl<T> Iterator for Drain<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.values.pop_front()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.values.len(), Some(self.values.len()))
    }
}

impl<T> ExactSizeIterator for Drain<T> {}
impl<T> FusedIterator for Drain<T> {}

impl<T> fmt::Debug for Drain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("len", &self.values.len()).finish()
    }
}

/// Iterates over what comes, as [`Receiver::iter`], and owns its receiver.
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> FusedIterator for IntoIter<T> {}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
