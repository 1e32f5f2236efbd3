//! Watch channels: the newest value, for any number who look.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::log::{Log, Next};
use super::{RecvError, RecvTimeoutError, TryRecvError};
use crate::sync::waiting::after;

/// Makes a channel that holds one value, the newest, and tells any number of receivers when it has changed. What nobody
/// looked at in time is not kept: for settings, progress, states.
///
/// # Examples
/// ```
/// use osier::sync::channel;
///
/// let (sender, receiver) = channel::watch("starting");
/// assert_eq!(receiver.get(), "starting");
/// let watcher = osier::spawn(move || receiver.iter().last());
/// sender.send("running");
/// sender.send("done");
/// drop(sender);
/// assert_eq!(watcher.join().unwrap(), Some("done"));
/// ```
pub fn watch<T: Clone>(value: T) -> (WatchSender<T>, WatchReceiver<T>) {
    let log = Arc::new(Log::new(1, Some(value)));
    (WatchSender { log: log.clone() }, WatchReceiver { log, place: AtomicU64::new(1) })
}

/// The sending end of [`watch`]. When the last clone is dropped, receivers get the last change and then the end.
pub struct WatchSender<T> {
    log: Arc<Log<T>>,
}

/// A receiving end of [`watch`]; a clone has seen what its original has.
pub struct WatchReceiver<T> {
    log: Arc<Log<T>>,
    /// The number of the first value that it has not seen.
    place: AtomicU64,
}

impl<T> WatchSender<T> {
    /// Puts `value` in the place of the one that was there, which is dropped. Never waits, and needs no receivers. Where the
    /// channel is closed, `value` is dropped instead.
    pub fn send(&self, value: T) {
        drop(self.log.append(value));
    }

    /// Closes the channel: the value stays as it is, receivers get the last change and then the end. False if it was closed
    /// before. The last sender does the same when it is dropped.
    pub fn close(&self) -> bool {
        self.log.close()
    }

    /// Whether the channel is closed.
    pub fn is_closed(&self) -> bool {
        self.log.is_closed()
    }

    /// A receiver that has seen the value of now.
    pub fn subscribe(&self) -> WatchReceiver<T> {
        self.log.add_receiver();
        WatchReceiver { log: self.log.clone(), place: AtomicU64::new(self.log.end()) }
    }

    /// How many receivers there are.
    pub fn receivers(&self) -> usize {
        self.log.receivers()
    }
}

impl<T: Clone> WatchSender<T> {
    /// The value of now.
    ///
    /// # Panics
    /// Never: there always is one.
    pub fn get(&self) -> T {
        let (value, _) = self.log.last().expect("a watch channel always has a value");
        Arc::unwrap_or_clone(value)
    }
}

impl<T: Clone> WatchReceiver<T> {
    /// The value of now, which has been seen then.
    ///
    /// # Panics
    /// Never: there always is one.
    pub fn get(&self) -> T {
        let (value, end) = self.log.last().expect("a watch channel always has a value");
        self.place.fetch_max(end, Ordering::Relaxed);
        Arc::unwrap_or_clone(value)
    }

    /// Waits for a value that this receiver has not seen, and gives the newest.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, while there is none.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits has seen nothing new.
    ///
    /// # Errors
    /// There is none, and every sender is gone.
    pub fn recv(&self) -> Result<T, RecvError> {
        match self.log.next(&self.place, true, None) {
            Next::Value(value) => Ok(Arc::unwrap_or_clone(value)),
            Next::Missed(_) | Next::Nothing | Next::Closed => Err(RecvError),
        }
    }

    /// The newest value if this receiver has not seen it.
    ///
    /// # Errors
    /// It has; or it has and every sender is gone.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.log.try_next(&self.place, true) {
            Next::Value(value) => Ok(Arc::unwrap_or_clone(value)),
            Next::Missed(_) | Next::Nothing => Err(TryRecvError::Empty),
            Next::Closed => Err(TryRecvError::Disconnected),
        }
    }

    /// Waits as [`recv`](Self::recv) does, for at most `timeout`.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv), or the time is up.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(after(timeout))
    }

    /// Waits as [`recv`](Self::recv) does, until `deadline`.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv), or the time is up.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Some(deadline))
    }

    fn recv_until(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        match self.log.next(&self.place, true, deadline) {
            Next::Value(value) => Ok(Arc::unwrap_or_clone(value)),
            Next::Missed(_) | Next::Nothing => Err(RecvTimeoutError::Timeout),
            Next::Closed => Err(RecvTimeoutError::Disconnected),
        }
    }

    /// Iterates over changes as they are seen, until every sender is gone.
    ///
    /// # Suspends
    /// Each `next`, as [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    pub fn iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.recv().ok())
    }
}

impl<T> WatchReceiver<T> {
    /// Whether there is a value that this receiver has not seen.
    pub fn has_changed(&self) -> bool {
        self.log.len(&self.place) > 0
    }

    /// Whether the channel is closed, or every sender is gone.
    pub fn is_closed(&self) -> bool {
        self.log.is_closed()
    }
}

super::operands::log_end!(WatchReceiver, RecvError, |receiver| receiver.recv());

impl<T> Clone for WatchSender<T> {
    fn clone(&self) -> Self {
        self.log.add_sender();
        Self { log: self.log.clone() }
    }
}

impl<T> Drop for WatchSender<T> {
    fn drop(&mut self) {
        self.log.drop_sender();
    }
}

impl<T> Clone for WatchReceiver<T> {
    fn clone(&self) -> Self {
        self.log.add_receiver();
        Self { log: self.log.clone(), place: AtomicU64::new(self.place.load(Ordering::Relaxed)) }
    }
}

impl<T> Drop for WatchReceiver<T> {
    fn drop(&mut self) {
        self.log.drop_receiver();
    }
}

impl<T> fmt::Debug for WatchSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchSender").field("receivers", &self.receivers()).finish()
    }
}

impl<T> fmt::Debug for WatchReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchReceiver").field("has_changed", &self.has_changed()).finish()
    }
}
