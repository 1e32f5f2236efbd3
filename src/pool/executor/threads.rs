//! Jobs on OS threads, which are made when there is a job that no thread waits for.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::job::{self, Backend, Work};
use super::{Executor, Job, at_least_one, executor};
use crate::sync::{AsyncResult, Event};
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

/// What the threads share with the executor.
struct Inner {
    places: usize,
    state: Mutex<State>,
    /// Told of work, and of the end.
    changed: Condvar,
    /// Set when it is shut down and no thread is left.
    ended: Event,
}

#[derive(Default)]
struct State {
    pending: VecDeque<Work>,
    threads: usize,
    /// How many of them wait for work.
    idle: usize,
    is_shut: bool,
}

/// The executor's side.
struct Handle(Arc<Inner>);

executor!(Threads);

impl Threads {
    /// Makes an executor of at most `n` threads.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn new(n: usize) -> Self {
        let inner =
            Inner { places: at_least_one(n), state: Mutex::default(), changed: Condvar::new(), ended: Event::new() };
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
        // Those who wait may have been told of other work that they have not taken yet.
        if state.idle <= state.pending.len() && state.threads < self.0.places {
            match self.0.clone().spawn(state.threads) {
                Ok(()) => state.threads += 1,
                // Those that there are will do it.
                Err(_) if state.threads > 0 => {}
                Err(error) => return Err((work, JoinError::no_stack(error))),
            }
        }
        state.pending.push_back(work);
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl Handle {
    fn close(&self, cancel_pending: bool) {
        let mut state = self.0.state();
        state.is_shut = true;
        let cancelled = if cancel_pending { std::mem::take(&mut state.pending) } else { VecDeque::new() };
        let has_ended = state.threads == 0;
        drop(state);
        self.0.changed.notify_all();
        if has_ended {
            self.0.ended.set();
        }
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

    fn spawn(self: Arc<Self>, number: usize) -> io::Result<()> {
        thread::Builder::new().name(format!("osier-job-{number}")).spawn(move || self.work()).map(drop)
    }

    /// What a thread does: work until there is none and the executor is shut down.
    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(work) = state.pending.pop_front() {
                drop(state);
                job::perform(work);
                state = self.state();
            } else if state.is_shut {
                break;
            } else {
                state.idle += 1;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
        state.threads -= 1;
        let is_last = state.threads == 0;
        drop(state);
        if is_last {
            self.ended.set();
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.0.state();
        let (threads, pending) = (state.threads, state.pending.len());
        drop(state);
        let mut text = f.debug_struct("Threads");
        text.field("places", &self.inner.0.places).field("threads", &threads).field("pending", &pending).finish()
    }
}
