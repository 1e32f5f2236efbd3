//! All there is to tell of a runtime's tasks.
//!
//! Whoever asks reads it from the tasks, on its own thread, while they hold still: so it does not matter whether their
//! workers work, sleep, or are stuck. Names of functions are looked up afterwards.

use std::panic::Location;
use std::time::Duration;

use super::stack::{StackFrame, Symbols, Walker};
use super::{clock, still};
use crate::runtime::shared::Shared;
use crate::runtime::{LocalRuntime, Runtime};
use crate::task::{Facts, RawTask, TaskState};

/// What the tasks of a runtime did when somebody asked: see [`Runtime::dump`].
///
/// Its `Display` is for reading: the workers, one a line, then the tasks, each with its stack.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dump {
    /// The workers, in the order of their numbers.
    pub workers: Vec<WorkerDump>,
    /// Every task that runs, or that has suspended and not ended; those of worker 0 first.
    pub tasks: Vec<TaskDump>,
    /// How many tasks have been spawned and have not started.
    pub fresh: u64,
}

/// What a worker did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerDump {
    /// Its number.
    pub index: usize,
    /// Whether it sleeps, since there is nothing to do.
    pub is_asleep: bool,
    /// The name of the task that it runs, if it runs one.
    pub running: Option<String>,
    /// How long it has been in one and the same task, if that is 100 ms or longer: it is stuck, and what waits for it waits
    /// on. `None` always where nobody watches: without a [watchdog](crate::runtime::Builder::watchdog), on a local runtime,
    /// and on one for tests. The limit is the same whatever the watchdog's is.
    pub stuck: Option<Duration>,
}

/// What a task did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskDump {
    /// Its number, as [`Task::id`](crate::Task::id) gives it.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The worker that it belongs to.
    pub worker: usize,
    /// What it does.
    pub state: TaskState,
    /// What it waits for, in words; of a join, with the name of the task that is joined.
    pub waits_for: Option<String>,
    /// How long ago it was spawned, to about 25 ms.
    pub age: Duration,
    /// How long ago it suspended, to about 25 ms. Of a task that runs, when it last did.
    pub since: Duration,
    /// The code that spawned it.
    pub spawned_at: &'static Location<'static>,
    /// Whether it was built as a [daemon](crate::task::Builder::daemon).
    pub is_daemon: bool,
    /// The functions that it is in, the innermost first, if it is suspended. What is only this crate's machinery, below the
    /// innermost call and above the task's closure, is left out.
    pub stack: Vec<StackFrame>,
}

impl TaskDump {
    /// Where the task's own code waits: the innermost function that is not of this crate.
    pub fn waits_at(&self) -> Option<&StackFrame> {
        self.stack.iter().find(|frame| !frame.is_ours())
    }
}

impl Runtime {
    /// Tells of every task its name, what it does, what it waits for and since when, who spawned it, and its stack.
    ///
    /// Tasks hold still meanwhile: milliseconds, for ten thousand of them. Those that run go on. It does not matter whether
    /// workers answer: one that is stuck is told as such, and what its tasks wait for is told all the same. Functions have
    /// names if the program has symbols, and lines if it has debug info.
    ///
    /// # Examples
    /// ```
    /// use osier::{Runtime, sync::channel, task};
    ///
    /// let runtime = Runtime::new()?;
    /// let (sender, receiver) = channel::bounded::<u32>(1);
    /// let reader = runtime.run(|| {
    ///     let reader = task::Builder::new().name("reader").spawn(move || receiver.recv());
    ///     task::yield_now();
    ///     reader
    /// });
    /// while runtime.dump().tasks.is_empty() {}
    ///
    /// let dump = runtime.dump();
    /// let text = dump.to_string();
    /// assert!(text.contains("'reader'") && text.contains("waits for a channel"), "{text}");
    /// assert!(dump.to_json().contains("\"name\":\"reader\""));
    /// # drop(sender);
    /// # reader.join().unwrap().unwrap_err();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn dump(&self) -> Dump {
        Dump::of(self.shared())
    }
}

/// Tells of the tasks of the caller's runtime, else of the default one: see [`Runtime::dump`].
///
/// # Examples
/// ```
/// use osier::{runtime, task};
///
/// let text = osier::run(|| {
///     let parked = task::Builder::new().name("parked").spawn_local(task::park);
///     osier::yield_now();
///     let text = runtime::dump().to_string();
///     parked.task().unpark();
///     text
/// });
/// assert!(text.contains("'parked'") && text.contains("being unparked"), "{text}");
/// ```
pub fn dump() -> Dump {
    Shared::with_current(Dump::of)
}

impl LocalRuntime {
    /// What its tasks do: see [`Runtime::dump`].
    pub fn dump(&self) -> Dump {
        Dump::of(self.worker().shared())
    }
}

/// A task, as it was read.
struct Sight {
    worker: usize,
    facts: Facts,
    /// Where its functions go on, the innermost first.
    calls: Vec<usize>,
}

impl Dump {
    pub(crate) fn of(shared: &Shared) -> Self {
        let mut walker = Walker::new();
        let (mut sights, mut workers) = (Vec::new(), Vec::new());
        let fresh = shared.fresh_tasks();
        let held = still::hold(shared.remotes.iter().map(|remote| &remote.turnstile));
        let now = clock::wind();
        for (index, remote) in shared.remotes.iter().enumerate() {
            let is_asleep = shared.idle.is_asleep(index);
            let running = remote.running().filter(|_| !is_asleep);
            let first = sights.len();
            for task in remote.live_tasks() {
                if Some(task) != running {
                    // SAFETY: its worker is held, and it is in the list.
                    sights.push(unsafe { Sight::of(task, index, &mut walker) });
                }
            }
            // The newest is at the front of the list.
            sights[first..].reverse();
            let running = running.map(RawTask::facts_of_running);
            workers.push(WorkerDump {
                index,
                is_asleep,
                running: running.as_ref().map(|facts| facts.name.clone()),
                stuck: remote.stuck(now).filter(|_| running.is_some()),
            });
            sights.extend(running.map(|facts| Sight { worker: index, facts, calls: Vec::new() }));
        }
        drop(held);
        let mut symbols = Symbols::default();
        let tasks = sights.into_iter().map(|sight| sight.describe(now, &mut symbols)).collect();
        Self { workers, tasks, fresh }
    }
}

/// The names of the tasks that have started and not ended.
pub(crate) fn names_of_started(shared: &Shared) -> Vec<String> {
    let _held = still::hold(shared.remotes.iter().map(|remote| &remote.turnstile));
    let started = shared.remotes.iter().enumerate().flat_map(|(index, remote)| {
        let running = remote.running().filter(|_| !shared.idle.is_asleep(index));
        remote.live_tasks().filter(move |&task| Some(task) != running).chain(running)
    });
    started.map(|task| task.header().name.as_str().to_owned()).collect()
}

impl Sight {
    /// Reads a task that holds still.
    ///
    /// # Safety
    /// - As [`RawTask::facts`].
    unsafe fn of(task: RawTask, worker: usize, walker: &mut Walker) -> Self {
        // SAFETY: the caller's promise.
        let facts = unsafe { task.facts() };
        // SAFETY: as above: the stack does not change.
        let calls = facts.registers.map(|registers| unsafe { walker.walk(registers) });
        Self { worker, facts, calls: calls.unwrap_or_default() }
    }

    fn describe(self, now: u32, symbols: &mut Symbols) -> TaskDump {
        let facts = self.facts;
        TaskDump {
            id: facts.id,
            name: facts.name,
            worker: self.worker,
            state: facts.state,
            waits_for: facts.waits_in.map(|path| super::text::purpose(path, facts.awaits.as_deref())),
            age: clock::between(facts.born, now),
            since: clock::between(facts.since, now),
            spawned_at: facts.spawned_at,
            is_daemon: facts.is_daemon,
            stack: symbols.frames(&self.calls),
        }
    }
}
