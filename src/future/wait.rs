//! Awaiting a future where code is not `async`.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::RawEvent;
use crate::task::{Waiter, spend, yield_now};

/// Awaits `future`, and returns what it gives: Python's `await` as a call that waits.
///
/// It is polled right here, on the stack of the caller and by its thread only, so it need not be `Send` and may borrow. A
/// large one is better boxed: stacks are small. It may be polled without having been woken.
///
/// # Suspends
/// The calling task, until the future is ready; on a plain thread, the thread. Between two polls other tasks run, also if
/// the future wakes itself.
///
/// # Cancel safety
/// A cancelled task, and one whose [`timeout`](crate::time::timeout) has passed, drops the future and unwinds from here: what
/// is lost is what that future loses when it is dropped. One that is ready is returned first. To keep a future, await
/// it by reference: `wait(&mut future)`.
///
/// # Panics
/// Inside [`no_suspend`](crate::no_suspend), if it has to wait. With the future's own panics.
///
/// # Examples
/// ```
/// use osier::future;
///
/// osier::run(|| {
///     let double = async |n: u32| n * 2;
///     assert_eq!(future::wait(double(21)), 42);
///     // What is awaited in there may be tasks of ours.
///     let sum = async {
///         let (one, two) = (osier::spawn(|| 1), osier::spawn(|| 2));
///         one.await.unwrap() + two.await.unwrap()
///     };
///     assert_eq!(future::wait(sum), 3);
/// });
/// ```
pub fn wait<F: IntoFuture>(future: F) -> F::Output {
    let mut future = pin!(future.into_future());
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(signal.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        spend();
        // Before the poll: from here on a wake-up calls for another one.
        signal.woken.clear();
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        signal.wait();
    }
}

/// What a waker of ours sets.
#[derive(Default)]
struct Signal {
    woken: RawEvent,
}

impl Signal {
    /// Waits until it was set since it was cleared. If it is, lets others run: the future has woken itself, to be polled
    /// again after them.
    fn wait(&self) {
        if self.woken.is_set() {
            return yield_now();
        }
        let waiter = Waiter::new();
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        if unsafe { self.woken.watch(&raw const waiter) } {
            waiter.wait(None, || self.woken.unwatch(&waiter));
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.woken.set();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.set();
    }
}
