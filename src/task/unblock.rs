//! Blocking calls, off the workers.

use crate::coroutine::unwind;
use crate::exception::{catch, raise};
use crate::runtime::Busy;
use crate::sync::channel;

/// Runs `f` on a pool of threads made for blocking, and waits for its value as a task waits.
///
/// For files, name resolution, foreign libraries: whatever holds its thread. The pool is the `blocking` crate's: it
/// grows to 500 threads (`BLOCKING_MAX_THREADS`) and shrinks when idle.
///
/// # Suspends
/// The calling task, until `f` has returned; on a plain thread, the thread.
///
/// # Cancel safety
/// A cancelled task unwinds from here at once; `f` runs on to its end, and its value is dropped on the pool's thread.
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
    let (sender, receiver) = channel::bounded(1);
    let busy = Busy::begin();
    let work = move || {
        let _busy = busy;
        // The receiver is gone if its task was cancelled: then the value is dropped here.
        _ = sender.try_send(unwind::catch(|| catch(f)));
    };
    ::blocking::unblock(work).detach();
    match receiver.recv() {
        Ok(Ok(Ok(value))) => value,
        Ok(Ok(Err(exception))) => raise(exception),
        Ok(Err(payload)) => unwind::throw(payload),
        Err(_) => unreachable!("the closure always sends what became of it"),
    }
}
