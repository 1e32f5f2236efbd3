//! The tasks of a server: one that accepts, and those that serve; and how far its end has come.
//!
//! A stop begins, which ends accepting for good, and ends when no task is left, or its caller was unwound from it. Several may
//! be under way: each waits for the same tasks, as long as it has patience.
//!
//! # Invariants
//! - Nobody begins to serve once a stop has begun: both happen under one lock.
//! - `stopped` is set when the last stop under way has ended, not before.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::Event;
use crate::sync::waiting::{after, lock};
use crate::task::{Builder, Task};

/// See the module's page.
#[derive(Default)]
pub(super) struct Service {
    state: Mutex<State>,
    stopped: Event,
}

#[derive(Default)]
struct State {
    /// Accepts or receives; also for a while after it has ended by itself.
    acceptor: Option<Task>,
    /// Those that were asked to end, and may not have.
    ending: Vec<Task>,
    /// Those that serve, and some that have ended.
    tasks: Vec<Task>,
    /// Whether a stop has begun.
    is_stopping: bool,
    /// How many stops are under way.
    stops: usize,
}

impl State {
    fn is_accepting(&self) -> bool {
        !self.is_stopping && self.acceptor.as_ref().is_some_and(|acceptor| !acceptor.is_finished())
    }

    fn add(&mut self, task: Task) {
        // Now and then those that have ended are let go, so that each is looked at a few times at most.
        if self.tasks.len() == self.tasks.capacity() {
            self.tasks.retain(|task| !task.is_finished());
            let room = self.tasks.len().max(16);
            self.tasks.reserve(room);
        }
        self.tasks.push(task);
    }
}

impl Service {
    /// Starts a task that accepts, unless there is one, or a stop has begun.
    pub(super) fn start(&self, name: &'static str, accept: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.state);
        if !state.is_stopping && !state.is_accepting() {
            // Nobody joins it: if it fails, that is reported.
            state.acceptor = Some(Builder::new().name(name).spawn(accept).task());
        }
    }

    /// Ends the task that accepts; waits also for one whose end somebody else has asked for.
    pub(super) fn pause(&self) {
        let ending = {
            let mut state = lock(&self.state);
            let acceptor = state.acceptor.take();
            state.ending.retain(|task| !task.is_finished());
            state.ending.extend(acceptor);
            state.ending.clone()
        };
        ending.iter().for_each(Task::kill);
    }

    pub(super) fn is_accepting(&self) -> bool {
        lock(&self.state).is_accepting()
    }

    /// Spawns a task that serves, by `spawn`; but none once a stop has begun: then it is dropped.
    ///
    /// # Errors
    /// `spawn` gave it back.
    pub(super) fn serve<F>(&self, serve: F, spawn: impl FnOnce(F) -> Result<Task, F>) -> Result<(), F> {
        let mut state = lock(&self.state);
        if state.is_stopping {
            drop(state);
            drop(serve);
            return Ok(());
        }
        let task = spawn(serve)?;
        state.add(task);
        Ok(())
    }

    /// How many serve.
    pub(super) fn count(&self) -> usize {
        lock(&self.state).tasks.iter().filter(|task| !task.is_finished()).count()
    }

    /// Waits until a stop has ended.
    pub(super) fn wait_stopped(&self) {
        self.stopped.wait();
    }

    /// Begins a stop, which ends when the value is dropped.
    pub(super) fn begin_stop(&self) -> Stop<'_> {
        let mut state = lock(&self.state);
        state.is_stopping = true;
        state.stops += 1;
        Stop(self)
    }
}

/// A stop under way.
#[must_use = "the stop ends when it is dropped"]
pub(super) struct Stop<'a>(&'a Service);

impl Stop<'_> {
    /// Waits until all have ended who serve, or until `patience` is over; then ends the others. True if none was left.
    ///
    /// They stay in the list: whoever asks meanwhile counts them, and another stop waits for them, too.
    pub(super) fn drain(&self, patience: Duration) -> bool {
        let deadline = after(patience);
        self.0.pause();
        let tasks = lock(&self.0.state).tasks.clone();
        // Not joined: then nobody would be told of one that fails meanwhile.
        let have_ended = |until: Option<Instant>| tasks.iter().all(|task| task.raw().has_ended_until(until));
        if have_ended(deadline) {
            return true;
        }
        tasks.iter().for_each(Task::cancel);
        // Where nothing unwinds, those that wait go on waiting.
        if !cfg!(panic = "abort") {
            have_ended(None);
        }
        false
    }
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.stops -= 1;
        let is_last = state.stops == 0;
        drop(state);
        if is_last {
            self.0.stopped.set();
        }
    }
}
