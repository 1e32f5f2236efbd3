//! The tasks of a server: those that accept, and those that serve; and how far its end has come.
//!
//! A stop begins, which ends accepting for good, and ends when no task is left, or its caller was unwound from it. Several may
//! be under way: each waits for the same tasks, as long as it has patience. Where accepting ends though nobody has asked for
//! that, by an error, a panic or the end of a runtime, a stop begins and ends, so that whoever serves for ever returns.
//!
//! # Invariants
//! - Nobody is spawned once it was seen that a stop has begun. Whoever was spawned before is in the list when the accepting
//!   tasks have ended, which a stop waits for before it looks there.
//! - Nobody else's code runs under the lock of the state.
//! - `stopped` is set when the last stop under way has ended, not before.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::course::PAUSE;
use super::places::{Places, Serve, Spawner};
use crate::sync::Event;
use crate::sync::waiting::{after, lock};
use crate::task::{self, Builder, Place, SpawnError, Task};
use crate::time;

/// How many tasks may be in the list before those that have ended are looked for.
const FEW: usize = 32;

/// See the module's page.
pub(super) struct Service {
    /// What the tasks that serve are named after.
    handler: &'static str,
    /// Held by whoever starts it, so that another who does so finds what has become of that.
    starts: Mutex<()>,
    state: Mutex<State>,
    stopped: Event,
}

#[derive(Default)]
struct State {
    /// Moves when accepting is to end: who began to accept before has been told.
    round: u64,
    /// How many accept, of this round.
    accepting: usize,
    /// Those that accept, or have done so in this round.
    acceptors: Vec<Task>,
    /// Those that were asked to end, and may not have.
    ending: Vec<Task>,
    /// Those that serve, and some that have ended.
    tasks: Vec<Task>,
    /// What was taken, and waited for its spawner when accepting was paused: served first when it goes on.
    kept: VecDeque<Serve>,
    /// How many tasks were serving when those that had ended were last let go.
    serving: usize,
    /// Whether a start is under way.
    is_starting: bool,
    /// Whether a stop has begun.
    is_stopping: bool,
    /// How many stops are under way.
    stops: usize,
}

impl State {
    fn is_accepting(&self) -> bool {
        !self.is_stopping && self.accepting > 0
    }

    /// Ends the round, and gives those that are to end, or have been asked to before.
    fn end_round(&mut self) -> Vec<Task> {
        self.round += 1;
        self.accepting = 0;
        self.ending.retain(|task| !task.is_finished());
        self.ending.append(&mut self.acceptors);
        self.ending.clone()
    }

    /// Begins a stop, and gives what nobody will serve any more, to be dropped after unlocking.
    fn begin_stop(&mut self) -> VecDeque<Serve> {
        self.is_stopping = true;
        self.stops += 1;
        std::mem::take(&mut self.kept)
    }

    /// Lets go of tasks that have ended, when they may be as many as the others: each is looked at a few times at most.
    fn trim(&mut self) {
        if self.tasks.len() >= (2 * self.serving).max(FEW) {
            self.tasks.retain(|task| !task.is_finished());
            self.serving = self.tasks.len();
            self.tasks.shrink_to((2 * self.serving).max(FEW));
        }
    }
}

/// A task that accepts, to its end. Dropped with the task also where that never starts.
struct Accepting {
    service: Arc<Service>,
    round: u64,
}

impl Accepting {
    /// Enters the running task among those that accept; false if they are to end.
    fn begins(&self) -> bool {
        let acceptor = task::current();
        let mut state = lock(&self.service.state);
        let goes_on = state.round == self.round;
        if goes_on {
            state.acceptors.push(acceptor);
        }
        goes_on
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        let mut state = lock(&self.service.state);
        if state.round != self.round {
            // They were asked to end.
            return;
        }
        state.accepting -= 1;
        self.service.stop_if_none_accepts(state);
    }
}

/// A start under way, of this round.
struct Starting<'a>(&'a Service, u64);

impl Starting<'_> {
    /// All have been spawned; some may have ended.
    fn finish(self) {
        let Self(service, round) = self;
        std::mem::forget(self);
        let mut state = lock(&service.state);
        state.is_starting = false;
        if state.round == round {
            service.stop_if_none_accepts(state);
        }
    }
}

impl Drop for Starting<'_> {
    /// Not all could be spawned: the others end, too, and it may be tried again.
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.is_starting = false;
        let ending = state.end_round();
        drop(state);
        ending.iter().for_each(Task::cancel);
    }
}

impl Service {
    /// With `handle` for a handler.
    pub(super) fn of<H>(_handle: &H) -> Arc<Self> {
        Arc::new(Self {
            handler: std::any::type_name::<H>(),
            starts: Mutex::default(),
            state: Mutex::default(),
            stopped: Event::default(),
        })
    }

    /// Starts `count` tasks that accept, unless there are some, or a stop has begun.
    ///
    /// Panics if the runtime shuts down.
    #[track_caller]
    pub(super) fn start(
        self: &Arc<Self>,
        name: &'static str,
        count: usize,
        accept: impl Fn() + Clone + Send + 'static,
    ) {
        let _one_by_one = lock(&self.starts);
        let round = {
            let mut state = lock(&self.state);
            if state.is_stopping || state.is_accepting() {
                return;
            }
            state.is_starting = true;
            state.round += 1;
            state.accepting = count;
            // Of an earlier round, they have ended by themselves.
            state.acceptors.clear();
            state.round
        };
        let starting = Starting(self, round);
        for accepting in (0..count).map(|_| Accepting { service: self.clone(), round }) {
            let accept = accept.clone();
            let builder = Builder::new().name(name);
            let builder = if count > 1 { builder.place(Place::Spread) } else { builder };
            let accept = move || {
                if accepting.begins() {
                    accept();
                }
            };
            // Nobody joins it: if it fails, that is reported.
            drop(builder.try_spawn(accept).unwrap_or_else(|error| panic!("{error}")));
        }
        starting.finish();
    }

    /// Ends the tasks that accept; waits also for those whose end somebody else has asked for.
    pub(super) fn pause(&self) {
        let ending = lock(&self.state).end_round();
        ending.iter().for_each(Task::cancel);
        ending.iter().for_each(Task::kill);
    }

    pub(super) fn is_accepting(&self) -> bool {
        lock(&self.state).is_accepting()
    }

    pub(super) fn is_stopping(&self) -> bool {
        lock(&self.state).is_stopping
    }

    /// Makes a task that serves; but none once a stop has begun, or where the runtime ends: then `serve` is dropped.
    ///
    /// # Errors
    /// There can be no task; `serve` was dropped.
    pub(super) fn serve(&self, places: &Places, serve: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if let Places::Spawner(spawner) = places {
            self.serve_by(&**spawner, Box::new(serve));
        } else if !self.is_stopping() {
            match Builder::new().name(self.handler).place(Place::Spread).try_spawn(serve) {
                Ok(task) => self.add(task.task()),
                Err(error) if error.is_shutdown() => {}
                Err(error) => return Err(io::Error::other(SpawnError { closure: (), reason: error.reason })),
            }
        }
        Ok(())
    }

    /// Serves one of those that were kept when accepting was paused. False if there is none.
    pub(super) fn serve_kept(&self, places: &Places) -> bool {
        let Places::Spawner(spawner) = places else { return false };
        let kept = lock(&self.state).kept.pop_front();
        kept.map(|serve| self.serve_by(&**spawner, serve)).is_some()
    }

    /// As `serve`, when the spawner has a place.
    fn serve_by(&self, spawner: &dyn Spawner, serve: Serve) {
        let mut waiting = Waiting { service: self, serve: Some(serve) };
        let mut pause = Duration::ZERO;
        while !self.is_stopping()
            && !task::ends_by_cancel()
            && let Some(serve) = waiting.serve.take()
        {
            match spawner.try_spawn(serve) {
                Ok(task) => return self.add(task),
                Err(refused) => waiting.serve = Some(refused),
            }
            // At first it is taken that another server was faster to take the place.
            time::sleep(pause);
            pause = (2 * pause).clamp(PAUSE.0, PAUSE.1);
            spawner.wait_free();
        }
    }

    /// Adds a task that serves.
    fn add(&self, task: Task) {
        let mut state = lock(&self.state);
        state.trim();
        state.tasks.push(task);
    }

    /// How many serve.
    pub(super) fn count(&self) -> usize {
        let mut state = lock(&self.state);
        state.trim();
        state.tasks.iter().filter(|task| !task.is_finished()).count()
    }

    /// Waits until a stop has ended.
    pub(super) fn wait_stopped(&self) {
        self.stopped.wait();
    }

    /// Begins a stop, which ends when the value is dropped.
    pub(super) fn begin_stop(&self) -> Stop<'_> {
        let unserved = lock(&self.state).begin_stop();
        drop(unserved);
        Stop(self)
    }

    /// Where nobody accepts any more, and nobody has asked for that: stops, so that whoever serves for ever is not kept waiting.
    fn stop_if_none_accepts(&self, mut state: MutexGuard<'_, State>) {
        if state.accepting == 0 && !state.is_starting {
            let unserved = state.begin_stop();
            drop(state);
            drop(unserved);
            drop(Stop(self));
        }
    }
}

/// What was taken, while it waits for a place at the spawner. If its task ends meanwhile, it is kept for the next that accepts.
struct Waiting<'a> {
    service: &'a Service,
    serve: Option<Serve>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.service.state);
        if !state.is_stopping {
            state.kept.extend(self.serve.take());
        }
        // Else nobody will serve it, and it is dropped after unlocking.
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
