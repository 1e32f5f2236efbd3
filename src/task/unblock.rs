//! Blocking calls, off the workers.

use crate::coroutine::unwind;
use crate::exception::{catch, raise};
use crate::future;
use crate::runtime::Busy;

/// Runs `f` on a pool of threads made for blocking, and waits for its value as a task waits.
///
/// For files, name resolution, foreign libraries: whatever holds its thread. The pool is the `blocking` crate's: it
/// grows to 500 threads (`BLOCKING_MAX_THREADS`) and shrinks when idle.
///
/// # Suspends
/// The calling task, until `f` has returned; on a plain thread, the thread.
///
/// # Cancel safety
/// A cancelled task unwinds from here at once. If `f` has begun it runs on to its end, and its value is dropped on the
/// pool's thread; if no thread of the pool was free for it, it never runs.
///
/// # Panics
/// With `f`'s panic. An exception that leaves `f` is [raised](crate::raise) here.
///
/// # Examples
/// ```
/// osier::run(|| {
///     let manifest = osier::task::unblock(|| std::fs::read_to_string("Cargo.toml"));
///     assert!(manifest.unwrap().contains("osier"));
/// });
/// ```
pub fn unblock<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (busy, f) = (Busy::begin(), Quiet::new(f));
    // The mark comes back with the value: until the caller goes on, something is under way that wakes it.
    let (result, _busy) = future::wait(::blocking::unblock(move || {
        let f = f.take();
        (Quiet::new(unwind::catch(|| catch(f))), busy)
    }));
    match result.take() {
        Ok(Ok(value)) => value,
        Ok(Err(exception)) => raise(exception),
        Err(payload) => unwind::throw(payload),
    }
}

/// What is dropped on the pool's thread if the caller has gone, where a destructor that panics would end the process.
struct Quiet<T>(Option<T>);

impl<T> Quiet<T> {
    fn new(value: T) -> Self {
        Self(Some(value))
    }

    fn take(mut self) -> T {
        self.0.take().expect("it is taken once")
    }
}

impl<T> Drop for Quiet<T> {
    fn drop(&mut self) {
        unwind::drop_quietly(self.0.take());
    }
}
