//! Awaiting a result from code that is `async`.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::sync::AsyncResult;
use crate::task::{JoinError, Polled};

/// The future that awaiting an [`AsyncResult`] makes: what its `get` gives.
///
/// # Cancel safety
/// Dropping it loses nothing: the result is there for whoever asks next.
///
/// # Examples
/// ```
/// use futures_lite::future::block_on;
/// use osier::sync::AsyncResult;
///
/// let answer = AsyncResult::new();
/// let thinker = osier::spawn({
///     let answer = answer.clone();
///     move || answer.set(42).unwrap()
/// });
/// assert_eq!(block_on(async { answer.await }).unwrap(), 42);
/// thinker.join().unwrap();
/// ```
#[must_use = "futures do nothing unless they are polled"]
pub struct Get<T> {
    result: AsyncResult<T>,
    polled: Polled,
}

impl<T> Get<T> {
    fn leave(&mut self) {
        let ready = self.result.ready();
        self.polled.leave(|waiter| ready.unwatch(waiter));
    }
}

impl<T: Clone> Future for Get<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { result, polled } = &mut *self;
        let ready = result.ready();
        // SAFETY: it is left before the result goes, or else the waiter stays for ever, and the result with it.
        let watch = |waiter| unsafe { ready.watch(waiter) };
        // SAFETY: both are of this result's event, as is `leave`.
        let poll = unsafe { polled.poll(context.waker(), watch, |waiter| ready.unwatch(waiter)) };
        poll.map(|()| result.get())
    }
}

impl<T> Drop for Get<T> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T> fmt::Debug for Get<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Get").field(&self.result).finish()
    }
}

impl<T: Clone> IntoFuture for AsyncResult<T> {
    type Output = Result<T, JoinError>;
    type IntoFuture = Get<T>;

    fn into_future(self) -> Get<T> {
        Get { result: self, polled: Polled::new() }
    }
}
