//! Watch channels: the newest value, for any number who look.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::{Appended, End, Log, Next};
use super::{RecvError, RecvTimeoutError, SendError, TryRecvError};
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
    let log = Log::new(1, Some(value));
    let receiver = WatchReceiver { end: log.subscribe(true) };
    (WatchSender { log }, receiver)
}

/// The sending end of [`watch`]. When the last clone is dropped, receivers get the last change and then the end.
pub struct WatchSender<T> {
    log: Arc<Log<T>>,
}

/// A receiving end of [`watch`]; a clone has seen what its original has.
pub struct WatchReceiver<T> {
    end: End<T>,
}

/// The value of a [`watch`] as it was when it was looked at. It holds no lock: a newer one may have been sent since.
#[derive(Debug)]
pub struct Watched<T>(Arc<T>);

impl<T> Deref for Watched<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> WatchSender<T> {
    /// Puts `value` in the place of the one that was there, which is dropped. Never waits, and needs no receivers. Where the
    /// channel is closed, `value` is dropped instead.
    pub fn send(&self, value: T) {
        drop(self.log.append(value));
    }

    /// The value of now, without a clone.
    pub fn borrow(&self) -> Watched<T> {
        Watched(self.last().0)
    }

    /// The value of now, and the number of the next.
    fn last(&self) -> (Arc<T>, u64) {
        self.log.last().unwrap_or_else(|| unreachable!("a watch channel always has a value"))
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
        WatchReceiver { end: self.log.subscribe(true) }
    }

    /// How many receivers there are.
    pub fn receivers(&self) -> usize {
        self.log.receivers()
    }
}

impl<T: Clone> WatchSender<T> {
    /// The value of now.
    pub fn get(&self) -> T {
        Arc::unwrap_or_clone(self.last().0)
    }

    /// Puts `value` in the place of the one that was there, and gives that. Else as [`send`](Self::send).
    ///
    /// # Errors
    /// The channel is closed; `value` comes back.
    pub fn send_replace(&self, value: T) -> Result<T, SendError<T>> {
        match self.log.append(value) {
            Appended::Done(last) => {
                Ok(Arc::unwrap_or_clone(last.unwrap_or_else(|| unreachable!("a watch channel always has a value"))))
            }
            Appended::Closed(value) | Appended::TooLate(value) => Err(SendError(value)),
        }
    }

    /// Sends what `modify` makes of a clone of the value. Never waits: where another sender is faster, `modify` is called
    /// again, with a clone of what that one has sent. Where the channel is closed, nothing is sent.
    ///
    /// # Examples
    /// ```
    /// let (sender, receiver) = osier::sync::channel::watch(vec![1]);
    /// sender.send_modify(|numbers| numbers.push(2));
    /// assert_eq!(*receiver.borrow(), [1, 2]);
    /// ```
    pub fn send_modify(&self, mut modify: impl FnMut(&mut T)) {
        self.send_if_modified(|value| {
            modify(value);
            true
        });
    }

    /// Sends what `modify` makes of a clone of the value, as [`send_modify`](Self::send_modify) does, if it says that it has
    /// changed it; else the value stays as it is, and nobody is told. Whether it was sent.
    pub fn send_if_modified(&self, mut modify: impl FnMut(&mut T) -> bool) -> bool {
        loop {
            let (last, end) = self.last();
            let mut value = T::clone(&last);
            drop(last);
            if !modify(&mut value) {
                return false;
            }
            match self.log.append_at(end, value) {
                Appended::Done(_) => return true,
                Appended::Closed(_) => return false,
                Appended::TooLate(_) => {}
            }
        }
    }
}

impl<T: Clone> WatchReceiver<T> {
    /// The value of now, which has been seen then.
    pub fn get(&self) -> T {
        Arc::unwrap_or_clone(self.see_last())
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
        Self::received(self.end.next(None))
    }

    /// What a receive without a time limit gives.
    fn received(next: Next<T>) -> Result<T, RecvError> {
        match next {
            Next::Value(value) => Ok(Arc::unwrap_or_clone(value)),
            Next::Missed(_) | Next::Nothing | Next::Closed => Err(RecvError),
        }
    }

    /// The newest value if this receiver has not seen it.
    ///
    /// # Errors
    /// It has; or it has and every sender is gone.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.end.try_next() {
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
        match self.end.next(deadline) {
            Next::Value(value) => Ok(Arc::unwrap_or_clone(value)),
            Next::Missed(_) | Next::Nothing => Err(RecvTimeoutError::Timeout),
            Next::Closed => Err(RecvTimeoutError::Disconnected),
        }
    }

    /// Waits until the value is one of which `is_it` holds, seen before or not, and gives it. What comes meanwhile is seen.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits has seen what `is_it` was asked about.
    ///
    /// # Errors
    /// It is not, and every sender is gone.
    ///
    /// # Examples
    /// ```
    /// let (sender, receiver) = osier::sync::channel::watch(1);
    /// let counter = osier::spawn(move || (2..=10).for_each(|n| sender.send(n)));
    /// assert_eq!(receiver.wait_for(|&n| n >= 10), Ok(10));
    /// counter.join().unwrap();
    /// ```
    pub fn wait_for(&self, is_it: impl FnMut(&T) -> bool) -> Result<T, RecvError> {
        match self.wait_for_until(is_it, None) {
            Ok(value) => Ok(value),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(RecvError),
        }
    }

    /// Waits as [`wait_for`](Self::wait_for) does, for at most `timeout`.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`wait_for`](Self::wait_for).
    ///
    /// # Errors
    /// As [`wait_for`](Self::wait_for), or the time is up.
    pub fn wait_for_timeout(&self, is_it: impl FnMut(&T) -> bool, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.wait_for_until(is_it, after(timeout))
    }

    /// Waits as [`wait_for`](Self::wait_for) does, until `deadline`.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`wait_for`](Self::wait_for).
    ///
    /// # Errors
    /// As [`wait_for`](Self::wait_for), or the time is up.
    pub fn wait_for_deadline(&self, is_it: impl FnMut(&T) -> bool, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.wait_for_until(is_it, Some(deadline))
    }

    fn wait_for_until(
        &self,
        mut is_it: impl FnMut(&T) -> bool,
        deadline: Option<Instant>,
    ) -> Result<T, RecvTimeoutError> {
        let mut value = self.see_last();
        while !is_it(&value) {
            value = match self.end.next(deadline) {
                Next::Value(value) => value,
                Next::Missed(_) | Next::Nothing => return Err(RecvTimeoutError::Timeout),
                Next::Closed => return Err(RecvTimeoutError::Disconnected),
            };
        }
        Ok(Arc::unwrap_or_clone(value))
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
    /// The value of now, without a clone. Whether it has been seen stays as it was.
    pub fn borrow(&self) -> Watched<T> {
        let last = self.end.log().last();
        Watched(last.unwrap_or_else(|| unreachable!("a watch channel always has a value")).0)
    }

    /// The value of now, without a clone. It has been seen then.
    pub fn borrow_and_update(&self) -> Watched<T> {
        Watched(self.see_last())
    }

    fn see_last(&self) -> Arc<T> {
        self.end.see_last().unwrap_or_else(|| unreachable!("a watch channel always has a value"))
    }

    /// Whether there is a value that this receiver has not seen.
    pub fn has_changed(&self) -> bool {
        self.end.len() > 0
    }

    /// Whether the channel is closed, or every sender is gone.
    pub fn is_closed(&self) -> bool {
        self.end.log().is_closed()
    }
}

super::operands::log_ends!(WatchSender, WatchReceiver, RecvError);

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
