//! Jobs on OS threads, which are made when there is a job that no thread waits for.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;

use super::desk::{Desk, Refusal};
use super::job::{self, Backend, Work};
use super::{Executor, Job, closures, executor};
use crate::sync::AsyncResult;
use crate::task::JoinError;

/// Runs jobs on at most `n` OS threads of its own, each of which lives as long as the executor.
///
/// For jobs that block, or compute for long: they hold up no worker. A job that waits for a channel or a lock of this
/// crate parks its thread.
///
/// # Examples
/// ```
/// use osier::pool::Threads;
///
/// let sum = Threads::with(2, |ex| ex.map(|n: u32| n * n, 1..=3).into_iter().sum::<u32>());
/// assert_eq!(sum, 14);
/// ```
pub struct Threads {
    inner: Handle,
}

/// The executor's side of a desk whose hands are threads.
struct Handle(Arc<Desk<Work>>);

executor!(Threads);
closures!(Threads);

impl Threads {
    /// Makes an executor of at most `n` threads.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn new(n: usize) -> Self {
        Self { inner: Handle(Arc::new(Desk::new(n))) }
    }
}

impl Backend for Handle {
    fn places(&self) -> usize {
        self.0.places()
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn push(&self, work: Work) -> Result<(), (Work, JoinError)> {
        self.0.push_to_waiting(work, |number| self.hire(number)).map_err(|(work, refusal)| (work, refusal.into()))
    }
}

impl Handle {
    fn hire(&self, number: usize) -> io::Result<()> {
        let id = self.id();
        start(self.0.clone(), format!("osier-job-{number}"), (), move |_, work| job::perform(id, work))
    }

    fn shut_down(&self, cancel_pending: bool) {
        drop(self.0.close(cancel_pending));
    }

    fn give_up(&self) {
        self.shut_down(true);
    }

    fn wait(&self) {
        self.0.wait();
    }

    fn set_places(&self, places: usize) {
        self.0.set_places_of_waiting(places, |number| self.hire(number));
    }
}

impl From<Refusal> for JoinError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Closed => Self::executor_shut_down(),
            Refusal::NoThread(error) => Self::no_stack(error),
        }
    }
}

/// Starts a thread that does the work of `desk` with `tools`, which it drops before it says that it has ended.
pub(super) fn start<W: Send + 'static, T: Send + 'static>(
    desk: Arc<Desk<W>>,
    name: String,
    mut tools: T,
    mut perform: impl FnMut(&mut T, W) + Send + 'static,
) -> io::Result<()> {
    let work = move || {
        while let Some(work) = desk.wait_for_next() {
            perform(&mut tools, work);
        }
        drop(tools);
        desk.retire();
    };
    thread::Builder::new().name(name).spawn(work).map(drop)
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threads, pending) = self.inner.0.counts();
        let mut text = f.debug_struct("Threads");
        text.field("places", &self.inner.0.places()).field("threads", &threads).field("pending", &pending).finish()
    }
}
