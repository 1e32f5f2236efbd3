//! Jobs as tasks: a fresh one for each, so that idle workers can steal it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::job::{self, Backend, Work};
use super::{Executor, Job, at_least_one, executor};
use crate::runtime::Shared;
use crate::sync::{AsyncResult, Event};
use crate::task::{Builder, JoinError};

/// Runs jobs as tasks, at most `n` at once, on the runtime of whoever submits them.
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

/// What the jobs' tasks share with the executor.
struct Inner {
    places: usize,
    state: Mutex<State>,
    /// Set when it is shut down and nothing runs any more.
    ended: Event,
}

#[derive(Default)]
struct State {
    pending: VecDeque<Work>,
    /// How many tasks run a job, or will.
    running: usize,
    is_shut: bool,
}

/// The executor's side.
struct Handle(Arc<Inner>);

executor!(Coroutines);

impl Coroutines {
    /// Makes an executor with `n` places.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn new(n: usize) -> Self {
        let inner = Inner { places: at_least_one(n), state: Mutex::default(), ended: Event::new() };
        Self { inner: Handle(Arc::new(inner)) }
    }
}

impl Backend for Handle {
    fn places(&self) -> usize {
        self.0.places
    }

    fn push(&self, work: Work) -> Result<(), (Work, JoinError)> {
        let mut state = self.0.state();
        if state.is_shut {
            return Err((work, JoinError::executor_shut_down()));
        }
        if state.running == self.0.places {
            state.pending.push_back(work);
            return Ok(());
        }
        state.running += 1;
        drop(state);
        Place::spawn(self.0.clone(), work);
        Ok(())
    }
}

impl Handle {
    fn close(&self, cancel_pending: bool) {
        let mut state = self.0.state();
        state.is_shut = true;
        let cancelled = if cancel_pending { std::mem::take(&mut state.pending) } else { VecDeque::new() };
        self.0.end_if_idle(state);
        drop(cancelled);
    }

    fn wait(&self) {
        self.0.ended.wait();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_if_idle(&self, state: MutexGuard<'_, State>) {
        let has_ended = state.is_shut && state.running == 0 && state.pending.is_empty();
        drop(state);
        if has_ended {
            self.ended.set();
        }
    }
}

/// A place, and the work that a fresh task does in it.
struct Place {
    work: Option<Work>,
    /// Empty once the place was passed on or given up.
    inner: Option<Arc<Inner>>,
}

impl Place {
    fn spawn(inner: Arc<Inner>, work: Work) {
        let place = Self { work: Some(work), inner: Some(inner) };
        let run = move || place.run();
        // SAFETY: the closure is `'static`. Dropping the handle detaches the task; a refused closure gives up its place.
        drop(Shared::with_current(|shared| unsafe { Builder::new().name("job").submit(shared, run, false) }));
    }

    fn run(mut self) {
        if let Some(work) = self.work.take() {
            job::perform(work);
        }
        let Some(inner) = self.inner.take() else { return };
        let mut state = inner.state();
        if let Some(next) = state.pending.pop_front() {
            drop(state);
            // A fresh task, which another worker may steal.
            Self::spawn(inner, next);
        } else {
            state.running -= 1;
            inner.end_if_idle(state);
        }
    }
}

/// The task never ran, since its runtime ends: then nothing that is pending will.
impl Drop for Place {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        drop(self.work.take());
        let mut state = inner.state();
        state.running -= 1;
        let cancelled = std::mem::take(&mut state.pending);
        inner.end_if_idle(state);
        drop(cancelled);
    }
}

impl fmt::Debug for Coroutines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.0.state();
        let mut text = f.debug_struct("Coroutines");
        text.field("places", &self.inner.0.places)
            .field("running", &state.running)
            .field("pending", &state.pending.len());
        drop(state);
        text.finish()
    }
}
