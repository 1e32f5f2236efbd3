//! Jobs in processes of their own, each served by a thread of the owner.
//!
//! ```text
//!   submit ─→ encode ─→ desk ─→ a thread ─→ socket ─→ host: decode, run, encode ─→ socket ─→ the thread ─→ decode ─→ result
//! ```
//!
//! # Invariants
//! - A place is a thread and, once it has had work, a host. The host is reaped by that thread, before it ends.
//! - A job is sent to one host, and never again: if that dies, the job has failed. Those of a chunk that it had not begun go
//!   to the next host.
//! - Bytes alone cross threads here: arguments are encoded, and a map's values decoded, by whoever has them.
//!
//! # Rooms
//! - `builder`: how it is made. `handle`: how jobs are queued. `batch`: the items of a map. `place`: a thread and its host.
//!   `serve`: what a host does.

mod batch;
mod builder;
mod handle;
mod place;
mod serve;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::desk::Desk;
use super::job::{self, Gone, Left, Pending, Ticket};
use super::{Executor, Job, LazyMap, UnorderedMap, executor, own_calls, threads};
use crate::exception::Exception;
use crate::process::host::{Plan, RemoteError};
use crate::sync::AsyncResult;
use crate::task::JoinError;

pub use builder::ProcessesBuilder;
use handle::Handle;

/// How many jobs may be pending if nothing else is said.
const QUEUE: usize = 1024;

/// Runs jobs in at most `n` processes of this same program, each of which lives as long as the executor.
///
/// For what may crash or must be killed, and for code that shares what it should not. A job is a plain `fn` item that
/// [`registered!`](crate::registered) names; its argument and its value have serde's traits, and cross as bytes. The program
/// calls [`process::host`](crate::process::host) first in `main`.
///
/// A process is started when there is a job that none waits for. One that dies fails the job that it ran, with
/// [`RemoteError::Died`], and another one takes its place. No process outlives its owner, however that ends.
///
/// # Examples
/// ```no_run
/// use osier::{pool::Processes, process, registered};
///
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// process::host();
/// let squares = Processes::with(4, |ex| ex.map(registered!(square), 0..10));
/// assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
/// ```
///
/// A closure that captures something does not run in another process:
/// ```compile_fail
/// let factor = 2;
/// osier::pool::Processes::with(1, |ex| ex.submit(move |n: u32| factor * n, 21).get());
/// ```
pub struct Processes {
    inner: Handle,
}

executor!(Processes);

impl Processes {
    /// Makes an executor of at most `n` processes.
    ///
    /// # Panics
    /// As [`ProcessesBuilder::build`].
    pub fn new(n: usize) -> Self {
        Self::builder(n).build()
    }

    /// Begins to make an executor of at most `n` processes.
    pub fn builder(n: usize) -> ProcessesBuilder {
        ProcessesBuilder { places: n, queue: QUEUE, plan: Plan::default() }
    }

    /// Runs the registered function `f` with `argument` when a process has time, and gives its result. One that is pending may
    /// be [taken back](AsyncResult::cancel); one that runs can be ended if it is run by [`apply`](Self::apply) or
    /// [`map`](Self::map), by an interruption of the caller.
    ///
    /// Its failures are the result's: a [`RemoteError`] as its exception, or a panic with the job's text; after a shutdown an
    /// error that [says so](JoinError::is_shutdown). One that nobody looks at is [reported](crate::Report::Unjoined).
    ///
    /// # Suspends
    /// Only while the queue is full: the calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled in it has submitted nothing.
    pub fn submit<F, A, R>(&self, f: F, argument: A) -> AsyncResult<R>
    where
        F: Fn(A) -> R + Copy + 'static,
        A: Serialize,
        R: DeserializeOwned + Send + 'static,
    {
        let _ = f;
        self.inner.submit::<F, A, R>(argument)
    }

    /// Runs the registered function `f` with `argument`, and waits for its value.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// If that is interrupted, the process that runs the job is killed, and no other; a job that has not begun never runs.
    ///
    /// # Panics
    /// With the job's failure.
    pub fn apply<F, A, R>(&self, f: F, argument: A) -> R
    where
        F: Fn(A) -> R + Copy + 'static,
        A: Serialize,
        R: DeserializeOwned + Send + 'static,
    {
        let _ = f;
        let mut values = self.inner.map::<F, _, R>(Some(1), [argument]);
        values.pop().unwrap_or_else(|| unreachable!("one item gives one value"))
    }

    /// Runs the registered function `f` with each item, at most `n` at once, and returns the values in the order of the
    /// items. Each process is sent some items ahead, fewer where there are few.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, until all have run.
    ///
    /// # Cancel safety
    /// If that is interrupted, the processes that run one of the items are killed, and the others never run.
    ///
    /// # Panics
    /// With the failure of the earliest item, after all have run: with what [`submit`](Self::submit) gives as its error.
    pub fn map<I, F, R>(&self, f: F, items: I) -> Vec<R>
    where
        I: IntoIterator,
        I::Item: Serialize,
        F: Fn(I::Item) -> R + Copy + 'static,
        R: DeserializeOwned,
    {
        let _ = f;
        self.inner.map::<F, I, R>(None, items)
    }

    /// Maps as [`map`](Self::map) does, and sends `chunk` items ahead to each process.
    ///
    /// # Suspends
    /// As [`map`](Self::map).
    ///
    /// # Cancel safety
    /// As [`map`](Self::map).
    ///
    /// # Panics
    /// As [`map`](Self::map). If `chunk` is 0.
    pub fn map_chunked<I, F, R>(&self, chunk: usize, f: F, items: I) -> Vec<R>
    where
        I: IntoIterator,
        I::Item: Serialize,
        F: Fn(I::Item) -> R + Copy + 'static,
        R: DeserializeOwned,
    {
        let _ = f;
        assert!(chunk > 0, "a chunk has one item at least");
        self.inner.map::<F, I, R>(Some(chunk), items)
    }

    /// Maps lazily: an iterator over the values, in the order of the items, that is some items ahead. The items may be
    /// without end.
    pub fn imap<'a, I, F, R>(&'a self, f: F, items: I) -> LazyMap<'a, I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Serialize,
        F: Fn(I::Item) -> R + Copy + 'static,
        R: DeserializeOwned + Send + 'static,
    {
        let _ = f;
        LazyMap::new(self.inner.places(), items.into_iter(), |item| self.inner.submit::<F, I::Item, R>(item))
    }

    /// Maps lazily as [`imap`](Self::imap) does, and gives each value as soon as it is there.
    pub fn imap_unordered<'a, I, F, R>(&'a self, f: F, items: I) -> UnorderedMap<'a, I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Serialize,
        F: Fn(I::Item) -> R + Copy + 'static,
        R: DeserializeOwned + Send + 'static,
    {
        let _ = f;
        UnorderedMap::new(self.inner.places(), items.into_iter(), |item| self.inner.submit::<F, I::Item, R>(item))
    }

    /// Kills the processes that run a job, takes no more jobs, and waits until all processes have ended. The results of jobs
    /// that had not ended are cancelled.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the processes are killed all the same.
    pub fn kill(&self) {
        self.inner.give_up();
        self.inner.wait();
    }

    /// The ids of the processes that there are at this moment.
    pub fn ids(&self) -> Vec<u32> {
        self.inner.ids()
    }
}

impl<J, A> Executor<J, A> for Processes
where
    J: Job<A> + Copy + 'static,
    J::Out: DeserializeOwned,
    A: Serialize,
{
    fn submit(&self, _job: J, argument: A) -> AsyncResult<J::Out>
    where
        J: Send + 'static,
        A: Send + 'static,
        J::Out: Send + 'static,
    {
        self.inner.submit::<J, A, J::Out>(argument)
    }

    fn map<I>(&self, _job: J, items: I) -> Vec<J::Out>
    where
        I: IntoIterator<Item = A>,
        J: Sync,
        A: Send,
        J::Out: Send,
    {
        self.inner.map::<J, I, J::Out>(None, items)
    }

    fn map_chunked<I>(&self, chunk: usize, _job: J, items: I) -> Vec<J::Out>
    where
        I: IntoIterator<Item = A>,
        J: Sync,
        A: Send,
        J::Out: Send,
    {
        assert!(chunk > 0, "a chunk has one item at least");
        self.inner.map::<J, I, J::Out>(Some(chunk), items)
    }

    own_calls!();
}

fn failure(error: RemoteError) -> JoinError {
    JoinError::raised(Exception::from(error))
}

impl fmt::Debug for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threads, pending) = self.inner.counts();
        let mut text = f.debug_struct("Processes");
        text.field("places", &self.inner.places()).field("threads", &threads).field("pending", &pending).finish()
    }
}
