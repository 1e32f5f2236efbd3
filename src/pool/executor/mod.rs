//! One way to hand work to coroutines or to threads: `concurrent.futures`, with a backend to choose.
//!
//! An executor runs at most `n` jobs at once. [`Coroutines`] runs each as a task: cheap, and what waits leaves its worker
//! to others. [`Threads`] runs them on OS threads of its own, which may block and compute as they like. Both have the same
//! calls, and share the trait [`Executor`]: choosing the other one is one word.
//!
//! | `concurrent.futures` | osier |
//! | --- | --- |
//! | `with ThreadPoolExecutor(n) as ex:` | `Threads::with(n, \|ex\| ..)` |
//! | `ex.submit(f, x)` | `ex.submit(f, x)` |
//! | `future.result()` | `result.get()` |
//! | `list(ex.map(f, items))` | `ex.map(f, items)` |
//! | `ex.shutdown(cancel_futures=True)` | `ex.shutdown(true)` |
//!
//! A job that panics or raises fails its result alone. A failure that nobody looks at is
//! [reported](crate::Report::Unjoined), where Python loses it.
//!
//! # Rooms
//! - `job`: a job's result; a batch of jobs that borrow. `coroutines`, `threads`: who runs them.

mod coroutines;
mod job;
mod threads;

pub use coroutines::Coroutines;
pub use threads::Threads;

use crate::coroutine::unwind;
use crate::sync::AsyncResult;
use crate::task;

/// What an executor can run with an argument of type `A`: any `Fn(A) -> R` that several threads may call.
pub trait Job<A> {
    /// What it returns.
    type Out;

    /// Does it once.
    fn run(&self, argument: A) -> Self::Out;
}

impl<F, A, R> Job<A> for F
where
    F: Fn(A) -> R + Send + Sync,
{
    type Out = R;

    fn run(&self, argument: A) -> R {
        self(argument)
    }
}

/// What runs jobs of type `J` with arguments of type `A`: for code that leaves the choice of a backend to its caller.
///
/// # Examples
/// ```
/// use osier::pool::{Coroutines, Executor, Threads};
///
/// fn squares(executor: &impl Executor<fn(u64) -> u64, u64>) -> Vec<u64> {
///     executor.map(|n| n * n, 0..10)
/// }
///
/// let expected = [0, 1, 4, 9, 16, 25, 36, 49, 64, 81];
/// assert_eq!(Coroutines::with(4, squares), expected);
/// assert_eq!(Threads::with(4, squares), expected);
/// ```
pub trait Executor<J: Job<A>, A> {
    /// Runs `job` with `argument` when there is a place, and gives its result. Does not wait.
    fn submit(&self, job: J, argument: A) -> AsyncResult<J::Out>
    where
        J: Send + 'static,
        A: Send + 'static,
        J::Out: Send + 'static;

    /// Runs `job` with each item, at most `n` at once, and returns the values in the order of the items.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, until all have run.
    ///
    /// # Panics
    /// With the failure of the earliest item, after all have run.
    fn map<I>(&self, job: J, items: I) -> Vec<J::Out>
    where
        I: IntoIterator<Item = A>,
        J: Sync,
        A: Send,
        J::Out: Send;

    /// Takes no more jobs, and waits until those taken have run. With `cancel_pending`, those that have not begun never do.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    fn shutdown(&self, cancel_pending: bool);
}

/// The calls of a backend, with closures whose types the compiler infers, and its trait.
macro_rules! executor {
    ($Backend:ident) => {
        impl $Backend {
            /// Lends an executor of `n` places to `f`; afterwards shuts it down and waits for its jobs, also when `f`
            /// unwinds: then those that have not begun never do.
            ///
            /// # Suspends
            /// As `f` does; then the calling task, or on a plain thread the thread.
            ///
            /// # Panics
            /// As `f` does. If `n` is 0.
            pub fn with<T>(n: usize, f: impl FnOnce(&Self) -> T) -> T {
                super::lend(&Self::new(n), f, Self::shutdown)
            }

            /// Runs `f(argument)` when there is a place, and gives its result. Does not wait.
            ///
            /// A failure is [reported](crate::Report::Unjoined) when the last handle of the result is dropped and nobody
            /// has looked at it. After a shutdown the result is an error that
            /// [says so](crate::JoinError::is_shutdown). A job that waits for others of the same executor may wait for a
            /// place that it has itself.
            pub fn submit<F, A, R>(&self, f: F, argument: A) -> AsyncResult<R>
            where
                F: Fn(A) -> R + Send + 'static,
                A: Send + 'static,
                R: Send + 'static,
            {
                job::submit(&self.inner, std::any::type_name::<F>(), move || f(argument))
            }

            /// Runs `f` with each item, at most `n` at once, and returns the values in the order of the items. `f` and
            /// the items may borrow.
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread, until all have run. A caller that is cancelled waits for
            /// those that have begun, and the others never run.
            ///
            /// # Panics
            /// With the failure of the earliest item, after all have run. After a shutdown it raises the error that says
            /// so.
            pub fn map<I, R>(&self, f: impl Fn(I::Item) -> R + Sync, items: I) -> Vec<R>
            where
                I: IntoIterator,
                I::Item: Send,
                R: Send,
            {
                job::map(&self.inner, &f, items)
            }

            /// Takes no more jobs, and waits until those taken have run. With `cancel_pending`, those that have not begun
            /// never do: their results are cancelled. May be called again.
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread. A job that shuts down its own executor waits for itself.
            pub fn shutdown(&self, cancel_pending: bool) {
                self.inner.close(cancel_pending);
                self.inner.wait();
            }
        }

        impl<J: Job<A>, A> Executor<J, A> for $Backend {
            fn submit(&self, job: J, argument: A) -> AsyncResult<J::Out>
            where
                J: Send + 'static,
                A: Send + 'static,
                J::Out: Send + 'static,
            {
                job::submit(&self.inner, std::any::type_name::<J>(), move || job.run(argument))
            }

            fn map<I>(&self, job: J, items: I) -> Vec<J::Out>
            where
                I: IntoIterator<Item = A>,
                J: Sync,
                A: Send,
                J::Out: Send,
            {
                job::map(&self.inner, &|item| job.run(item), items)
            }

            fn shutdown(&self, cancel_pending: bool) {
                Self::shutdown(self, cancel_pending);
            }
        }

        /// Takes no more jobs; those taken run, and nobody waits for them.
        impl Drop for $Backend {
            fn drop(&mut self) {
                self.inner.close(false);
            }
        }
    };
}
use executor;

/// Lends `executor` to `f`, then shuts it down.
fn lend<E, T>(executor: &E, f: impl FnOnce(&E) -> T, shutdown: impl Fn(&E, bool)) -> T {
    let result = unwind::intercept(|| f(executor));
    // Before the unwind goes on, if it does.
    task::shield(|| shutdown(executor, result.is_err()));
    let value = result.unwrap_or_else(|payload| unwind::throw(payload));
    task::throw_if_due();
    value
}

fn at_least_one(n: usize) -> usize {
    assert!(n > 0, "an executor has one place at least");
    n
}
