//! Jobs as tasks: a fresh one for each, so that idle workers can steal it.

use std::fmt;
use std::sync::Arc;

use super::desk::{Desk, Pushed};
use super::job::{self, Backend, Work};
use super::{Executor, Job, closures, executor};
use crate::runtime::Shared;
use crate::sync::AsyncResult;
use crate::task::{Builder, JoinError};

/// Runs jobs as tasks, at most `n` at once, on the runtime of whoever submits them.
///
/// A job that waits for a place runs on the runtime of the job that has made room for it; and when a runtime ends in the
/// middle, what is pending is cancelled with what runs there. So give each of several runtimes an executor of its own.
///
/// For jobs that wait, thousands of them, and for those that compute, on all workers. What blocks its thread belongs on
/// [`Threads`](super::Threads).
///
/// # Examples
/// ```
/// use osier::pool::Coroutines;
///
/// let (five, squares) = Coroutines::with(4, |ex| {
///     let five = ex.submit(|text: &str| text.len(), "osier");
///     (five.get(), ex.map(|n| n * n, [1, 2, 3]))
/// });
/// assert_eq!((five.unwrap(), squares), (5, vec![1, 4, 9]));
/// ```
pub struct Coroutines {
    inner: Handle,
}

/// The executor's side of a desk whose hands are tasks that do one job.
struct Handle(Arc<Desk<Work>>);

executor!(Coroutines);
closures!(Coroutines);

impl Coroutines {
    /// Makes an executor with `n` places.
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
        match self.0.push(work) {
            Pushed::Queued => Ok(()),
            Pushed::Closed(work) => Err((work, JoinError::executor_shut_down())),
            Pushed::ToNewHand(work) => {
                Place::spawn(self.0.clone(), work);
                Ok(())
            }
        }
    }
}

impl Handle {
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
        self.0.set_places(places).into_iter().for_each(|work| Place::spawn(self.0.clone(), work));
    }
}

/// A place, and the work that a fresh task does in it.
struct Place {
    work: Option<Work>,
    /// Empty once the place was passed on or given up.
    desk: Option<Arc<Desk<Work>>>,
}

impl Place {
    fn spawn(desk: Arc<Desk<Work>>, work: Work) {
        let place = Self { work: Some(work), desk: Some(desk) };
        let run = move || place.run();
        // SAFETY: the closure is `'static`. Dropping the handle detaches the task; a refused closure gives up its place.
        drop(Shared::with_current(|shared| unsafe { Builder::new().name("job").submit(shared, run, false) }));
    }

    fn run(mut self) {
        let Some(desk) = &self.desk else { return };
        if let Some(work) = self.work.take() {
            job::perform(Arc::as_ptr(desk).addr(), work);
        }
        if let Some(desk) = self.desk.take()
            && let Some(next) = desk.next()
        {
            // A fresh task, which another worker may steal.
            Self::spawn(desk, next);
        }
    }
}

/// The task never ran, since its runtime ends: then nothing that is pending will.
impl Drop for Place {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.take() {
            drop(self.work.take());
            drop(desk.give_up());
        }
    }
}

impl fmt::Debug for Coroutines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (running, pending) = self.inner.0.counts();
        let mut text = f.debug_struct("Coroutines");
        text.field("places", &self.inner.0.places()).field("running", &running).field("pending", &pending).finish()
    }
}
