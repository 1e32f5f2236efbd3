//! Channels that time sends into: once, again and again, or never.
//!
//! No timer is set for them, and no task sends. A receiver that finds nothing looks at the clock, and one that waits does
//! so until the next value is due. So a channel that nobody looks at costs nothing, and many receivers of one share what
//! is due as they share all other values.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Receiver;
use super::exchange::Exchange;
use crate::coroutine::current;
use crate::primitives::SpinLock;
use crate::sync::waiting;

/// Makes a channel that gives one value once `timeout` has passed: the instant at which that was.
///
/// For a limit over several turns of a loop, or one of several limits; for one [`select!`](crate::select!) alone its
/// `default(timeout)` says the same.
///
/// # Examples
/// ```
/// use osier::select;
/// use osier::sync::channel::{after, unbounded};
/// use std::time::Duration;
///
/// let (_sender, words) = unbounded::<&str>();
/// let enough = after(Duration::from_millis(10));
/// let count = osier::run(|| {
///     let mut count = 0;
///     loop {
///         select! {
///             recv(words) -> word => count += word.unwrap().len(),
///             recv(enough) -> _ => break count,
///         }
///     }
/// });
/// assert_eq!(count, 0);
/// ```
pub fn after(timeout: Duration) -> Receiver<Instant> {
    waiting::after(timeout).map_or_else(never, at)
}

/// Makes a channel that gives one value at an instant: that instant.
///
/// # Examples
/// ```
/// use osier::sync::channel::at;
/// use std::time::{Duration, Instant};
///
/// let soon = Instant::now() + Duration::from_millis(5);
/// let alarm = at(soon);
/// assert!(alarm.try_recv().is_err());
/// assert_eq!(alarm.recv(), Ok(soon));
/// ```
pub fn at(when: Instant) -> Receiver<Instant> {
    timed(when, None)
}

/// Makes a channel that gives a value each time `period` has passed: the instant at which that was.
///
/// It holds one value. What would come while it lies there is not sent, and the next one comes a period after it was
/// received; a receiver that is late by less than a period gets the next one in time. For a loop of one's own
/// [`interval`](crate::time::interval) has more to say about being late.
///
/// # Examples
/// ```
/// use osier::sync::channel::tick;
/// use std::time::{Duration, Instant};
///
/// let (began, period) = (Instant::now(), Duration::from_millis(5));
/// let ticks: Vec<Instant> = tick(period).iter().take(3).collect();
/// assert!(ticks[0] >= began + period && ticks[2] >= ticks[0] + 2 * period);
/// ```
pub fn tick(period: Duration) -> Receiver<Instant> {
    waiting::after(period).map_or_else(never, |first| timed(first, Some(period)))
}

/// Makes a channel that never gives a value, and that is never closed: for a branch of a select that is not wanted now.
///
/// # Examples
/// ```
/// use osier::select;
/// use osier::sync::channel::{bounded, never};
///
/// let (sender, numbers) = bounded(1);
/// sender.send(7).unwrap();
/// let pauses: Option<osier::sync::channel::Receiver<()>> = None;
/// select! {
///     recv(numbers) -> number => assert_eq!(number, Ok(7)),
///     recv(pauses.unwrap_or_else(never)) -> _ => unreachable!(),
/// }
/// ```
pub fn never<T>() -> Receiver<T> {
    // It has a sender that nobody holds.
    Receiver { exchange: Arc::new(Exchange::new(0)) }
}

fn timed(first: Instant, period: Option<Duration>) -> Receiver<Instant> {
    let clock = Clock { next: SpinLock::new(Some(first)), period, value_of: |instant| instant };
    Receiver { exchange: Arc::new(Exchange::timed(clock)) }
}

/// When values are due that nobody sends.
pub(super) struct Clock<T> {
    /// When the next value is due; none when there will be no more.
    next: SpinLock<Option<Instant>>,
    /// The time from one value to the next; none if there is one value.
    period: Option<Duration>,
    /// The value that is due at an instant.
    value_of: fn(Instant) -> T,
}

impl<T> Clock<T> {
    /// When the next value is due.
    pub(super) fn due(&self) -> Option<Instant> {
        *self.next.lock()
    }

    /// Whether a value is due now.
    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|due| due <= current::now())
    }

    /// Takes the value that is due now, if one is.
    pub(super) fn take(&self) -> Option<T> {
        let now = current::now();
        let mut next = self.next.lock();
        let due = next.filter(|&due| due <= now)?;
        *next =
            self.period.and_then(|period| due.checked_add(period).filter(|&at| at > now).or(now.checked_add(period)));
        drop(next);
        Some((self.value_of)(due))
    }
}

impl<T> fmt::Debug for Clock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("due", &self.due()).field("period", &self.period).finish()
    }
}
