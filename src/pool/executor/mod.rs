//! One way to hand work to coroutines, to threads or to processes: `concurrent.futures`, with a backend to choose.
//!
//! An executor runs at most `n` jobs at once. [`Coroutines`] runs each as a task: cheap, and what waits leaves its worker
//! to others. [`Threads`] runs them on OS threads of its own, which may block and compute as they like. `Processes` runs
//! them in processes of their own, which may crash. All have the same calls, and share the trait [`Executor`]: choosing
//! another one is one word.
//!
//! | `concurrent.futures` | osier |
//! | --- | --- |
//! | `with ThreadPoolExecutor(n) as ex:` | `Threads::with(n, \|ex\| ..)` |
//! | `ex.submit(f, x)` | `ex.submit(f, x)` |
//! | `future.result()` | `result.get()` |
//! | `list(ex.map(f, items))` | `ex.map(f, items)` |
//! | `for y in ex.map(f, items):` | `for y in ex.imap(f, items)` |
//! | `for y in as_completed(futures):` | `for y in ex.imap_unordered(f, items)`; of results at hand: [`wait`](crate::wait) |
//! | `future.cancel()` | `result.cancel()` |
//! | `ex.map(f, items, chunksize=n)` | `ex.map_chunked(n, f, items)` |
//! | `ex.shutdown(cancel_futures=True)` | `ex.shutdown(true)` |
//!
//! A job that panics or raises fails its result alone. A failure that nobody looks at is
//! [reported](crate::Report::Unjoined), where Python loses it.
//!
//! # Rooms
//! - `desk`: where work waits for whoever does it. `job`: a job's result; a batch of jobs that borrow. `lazy`: lazy maps.
//! - `coroutines`, `threads`, `processes`: who does the work.

mod coroutines;
mod desk;
mod job;
mod lazy;
#[cfg(feature = "processes")]
mod processes;
mod threads;

pub use coroutines::Coroutines;
pub use lazy::{LazyMap, UnorderedMap};
#[cfg(feature = "processes")]
pub use processes::{Processes, ProcessesBuilder};
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
    /// Runs `job` with `argument` when there is a place, and gives its result.
    ///
    /// # Suspends
    /// Not at all, but for `Processes` whose queue is full.
    ///
    /// # Cancel safety
    /// A task that is cancelled in it has submitted nothing.
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
    /// # Cancel safety
    /// A caller that is cancelled waits for those that have begun, and the others never run.
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
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here; the executor takes no more jobs all the same.
    fn shutdown(&self, cancel_pending: bool);

    /// Maps as [`map`](Self::map) does, with `chunk` items at a time for each place. A backend that knows no chunks maps
    /// without.
    ///
    /// # Suspends
    /// As [`map`](Self::map).
    ///
    /// # Cancel safety
    /// As [`map`](Self::map).
    ///
    /// # Panics
    /// As [`map`](Self::map). If `chunk` is 0.
    fn map_chunked<I>(&self, chunk: usize, job: J, items: I) -> Vec<J::Out>
    where
        I: IntoIterator<Item = A>,
        J: Sync,
        A: Send,
        J::Out: Send,
    {
        assert!(chunk > 0, "a chunk has one item at least");
        self.map(job, items)
    }

    /// Maps lazily: an iterator over the values, in the order of the items, that is some items ahead.
    fn imap<'a, I>(&'a self, job: J, items: I) -> LazyMap<'a, I::IntoIter, J::Out>
    where
        I: IntoIterator<Item = A>,
        J: Clone + Send + 'static,
        A: Send + 'static,
        J::Out: Send + 'static,
    {
        LazyMap::new(self.places(), items.into_iter(), move |item| self.submit(job.clone(), item))
    }

    /// Maps lazily as [`imap`](Self::imap) does, and gives each value as soon as it is there.
    fn imap_unordered<'a, I>(&'a self, job: J, items: I) -> UnorderedMap<'a, I::IntoIter, J::Out>
    where
        I: IntoIterator<Item = A>,
        J: Clone + Send + 'static,
        A: Send + 'static,
        J::Out: Send + 'static,
    {
        UnorderedMap::new(self.places(), items.into_iter(), move |item| self.submit(job.clone(), item))
    }

    /// How many jobs may run at once, as far as a lazy map wants to know how far to be ahead.
    fn places(&self) -> usize {
        1
    }

    /// Takes no more jobs. Does not wait, but for a backend that only knows [`shutdown`](Self::shutdown).
    fn close(&self, cancel_pending: bool) {
        self.shutdown(cancel_pending);
    }

    /// Lends the executor to `f`; afterwards shuts it down and waits for its jobs, also when `f` unwinds: then those that have
    /// not begun never do.
    ///
    /// # Suspends
    /// As `f` does; then the calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A caller that is cancelled in `f` ends as said above; one that is cancelled later waits for the jobs, and unwinds then.
    ///
    /// # Panics
    /// As `f` does.
    ///
    /// # Examples
    /// ```
    /// use osier::pool::{Coroutines, Executor, Threads};
    ///
    /// fn sum(executor: impl Executor<fn(u64) -> u64, u64>) -> u64 {
    ///     executor.lend(|ex| ex.imap(|n| n * n, 1..=3).sum())
    /// }
    ///
    /// assert_eq!((sum(Coroutines::new(2)), sum(Threads::new(2))), (14, 14));
    /// ```
    fn lend<T>(self, f: impl FnOnce(&Self) -> T) -> T
    where
        Self: Sized,
    {
        lend(&self, f, |ex, unwinds| ex.shutdown(unwinds))
    }
}

/// The calls of the trait that each backend has as its own.
macro_rules! own_calls {
    () => {
        fn shutdown(&self, cancel_pending: bool) {
            Self::shutdown(self, cancel_pending);
        }

        fn places(&self) -> usize {
            self.inner.places()
        }

        fn close(&self, cancel_pending: bool) {
            Self::close(self, cancel_pending);
        }

        fn lend<T>(self, f: impl FnOnce(&Self) -> T) -> T {
            Self::lend(self, f)
        }
    };
}
use own_calls;

/// The calls that ask nothing of the jobs: how an executor is lent and ends.
macro_rules! executor {
    ($Backend:ident) => {
        impl $Backend {
            /// Lends an executor of `n` places to `f`; afterwards shuts it down and waits for its jobs, also when `f`
            /// unwinds: then those that have not begun never do, and a process that runs one is killed.
            ///
            /// # Suspends
            /// As `f` does; then the calling task, or on a plain thread the thread.
            ///
            /// # Cancel safety
            /// A caller that is cancelled in `f` ends as said above; one that is cancelled later waits for the jobs, and unwinds
            /// then.
            ///
            /// # Panics
            /// As `f` does. If `n` is 0.
            pub fn with<T>(n: usize, f: impl FnOnce(&Self) -> T) -> T {
                Self::new(n).lend(f)
            }

            /// Lends this executor as [`with`](Self::with) does.
            ///
            /// # Suspends
            /// As [`with`](Self::with).
            ///
            /// # Cancel safety
            /// As [`with`](Self::with).
            pub fn lend<T>(self, f: impl FnOnce(&Self) -> T) -> T {
                super::lend(&self, f, |ex, unwinds| {
                    if unwinds {
                        ex.inner.give_up();
                    } else {
                        ex.inner.shut_down(false);
                    }
                    ex.inner.wait();
                })
            }

            /// Takes no more jobs, and waits until those taken have run. With `cancel_pending`, those that have not begun
            /// never do: their results are cancelled. May be called again.
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread. A job that shuts down its own executor waits for itself.
            ///
            /// # Cancel safety
            /// A task that is cancelled while it waits unwinds from here; the executor takes no more jobs all the same.
            pub fn shutdown(&self, cancel_pending: bool) {
                self.inner.shut_down(cancel_pending);
                self.inner.wait();
            }

            /// Takes no more jobs, and does not wait: Python's `shutdown(wait=False)`. See [`shutdown`](Self::shutdown).
            pub fn close(&self, cancel_pending: bool) {
                self.inner.shut_down(cancel_pending);
            }

            /// Sets how many jobs may run at once. With more, pending jobs start at once; with less, those that run go on.
            ///
            /// # Panics
            /// If `n` is 0.
            pub fn set_places(&self, n: usize) {
                self.inner.set_places(n);
            }
        }

        /// Takes no more jobs; those taken run, and nobody waits for them.
        impl Drop for $Backend {
            fn drop(&mut self) {
                self.inner.shut_down(false);
            }
        }
    };
}
use executor;

/// The calls of a backend that runs any closure, and its trait. The closures' types are inferred, as they are not through
/// the trait.
macro_rules! closures {
    ($Backend:ident) => {
        impl $Backend {
            /// Runs `f(argument)` when there is a place, and gives its result. Does not wait.
            ///
            /// A failure is [reported](crate::Report::Unjoined) when the last handle of the result is dropped and nobody
            /// has looked at it. After a shutdown the result is an error that
            /// [says so](crate::JoinError::is_shutdown). A job that waits for others of the same executor may wait for a
            /// place that it has itself; [`apply`](Self::apply) does not.
            pub fn submit<F, A, R>(&self, f: F, argument: A) -> AsyncResult<R>
            where
                F: Fn(A) -> R + Send + 'static,
                A: Send + 'static,
                R: Send + 'static,
            {
                job::submit(&self.inner, std::any::type_name::<F>(), move || f(argument))
            }

            /// Runs `f(argument)` as a job, and waits for its value. A job of this executor runs it in place.
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread.
            ///
            /// # Cancel safety
            /// A caller that is cancelled unwinds from here, and the job runs on. One that runs in place is cancelled itself.
            ///
            /// # Panics
            /// With the job's failure.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("use osier::pool::", stringify!($Backend), ";")]
            /// use std::sync::Arc;
            ///
            #[doc = concat!("let ex = Arc::new(", stringify!($Backend), "::new(1));")]
            /// let inner = ex.clone();
            /// // The inner call needs no place of its own.
            /// assert_eq!(ex.apply(move |n| inner.apply(|n| n + 1, n) * 2, 20), 42);
            /// ```
            pub fn apply<F, A, R>(&self, f: F, argument: A) -> R
            where
                F: Fn(A) -> R + Send + 'static,
                A: Send + 'static,
                R: Send + 'static,
            {
                if job::is_job_of(self.inner.id()) {
                    return f(argument);
                }
                job::value_of(&self.submit(f, argument))
            }

            /// Runs `f` with each item, at most `n` at once, and returns the values in the order of the items. `f` and
            /// the items may borrow.
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread, until all have run.
            ///
            /// # Cancel safety
            /// A caller that is cancelled waits for those that have begun, and the others never run.
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
                job::map(&self.inner, 1, &f, items)
            }

            /// Maps as [`map`](Self::map) does, with `chunk` items at a time for each place: for very short jobs.
            ///
            /// # Suspends
            /// As [`map`](Self::map).
            ///
            /// # Cancel safety
            /// As [`map`](Self::map).
            ///
            /// # Panics
            /// As [`map`](Self::map). If `chunk` is 0.
            pub fn map_chunked<I, R>(&self, chunk: usize, f: impl Fn(I::Item) -> R + Sync, items: I) -> Vec<R>
            where
                I: IntoIterator,
                I::Item: Send,
                R: Send,
            {
                job::map(&self.inner, chunk, &f, items)
            }

            /// Maps lazily: an iterator over the values, in the order of the items, that is some items ahead. The items
            /// may be without end.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let ex = osier::pool::", stringify!($Backend), "::new(2);")]
            /// let big = ex.imap(|n: u64| n * n, 0..).find(|square| *square > 50);
            /// assert_eq!(big, Some(64));
            /// ```
            pub fn imap<'a, I, F, R>(&'a self, f: F, items: I) -> super::LazyMap<'a, I::IntoIter, R>
            where
                I: IntoIterator,
                I::Item: Send + 'static,
                F: Fn(I::Item) -> R + Send + Sync + 'static,
                R: Send + 'static,
            {
                let f = std::sync::Arc::new(f);
                super::LazyMap::new(self.inner.places(), items.into_iter(), move |item| {
                    let f = f.clone();
                    job::submit(&self.inner, std::any::type_name::<F>(), move || f(item))
                })
            }

            /// Maps lazily as [`imap`](Self::imap) does, and gives each value as soon as it is there.
            ///
            /// # Examples
            /// ```
            #[doc = concat!("let ex = osier::pool::", stringify!($Backend), "::new(2);")]
            /// let mut squares: Vec<u64> = ex.imap_unordered(|n| n * n, 0..5).collect();
            /// squares.sort_unstable();
            /// assert_eq!(squares, [0, 1, 4, 9, 16]);
            /// ```
            pub fn imap_unordered<'a, I, F, R>(&'a self, f: F, items: I) -> super::UnorderedMap<'a, I::IntoIter, R>
            where
                I: IntoIterator,
                I::Item: Send + 'static,
                F: Fn(I::Item) -> R + Send + Sync + 'static,
                R: Send + 'static,
            {
                let f = std::sync::Arc::new(f);
                super::UnorderedMap::new(self.inner.places(), items.into_iter(), move |item| {
                    let f = f.clone();
                    job::submit(&self.inner, std::any::type_name::<F>(), move || f(item))
                })
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
                job::map(&self.inner, 1, &|item| job.run(item), items)
            }

            fn map_chunked<I>(&self, chunk: usize, job: J, items: I) -> Vec<J::Out>
            where
                I: IntoIterator<Item = A>,
                J: Sync,
                A: Send,
                J::Out: Send,
            {
                job::map(&self.inner, chunk, &|item| job.run(item), items)
            }

            super::own_calls!();
        }
    };
}
use closures;

/// Lends `executor` to `f`, then lets `end` end it, which is told whether `f` has unwound.
fn lend<E, T>(executor: &E, f: impl FnOnce(&E) -> T, end: impl Fn(&E, bool)) -> T {
    let result = unwind::intercept(|| f(executor));
    // Before the unwind goes on, if it does.
    task::shield(|| end(executor, result.is_err()));
    let value = result.unwrap_or_else(|payload| unwind::throw(payload));
    task::throw_if_due();
    value
}
