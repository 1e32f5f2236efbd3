//! What can be told of a task from outside, while it holds still (`runtime::diagnosis::still`).

use std::panic::Location;

use super::raw::RawTask;
use crate::coroutine::Registers;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskState {
    /// It runs on its worker's thread, or was called from what runs there.
    Running,
    /// It could go on, and stands in line at its worker.
    Ready,
    /// It waits for something.
    Waiting,
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
        })
    }
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) state: TaskState,
    pub(crate) is_daemon: bool,
    /// Whether the watchdog lets it hold its worker.
    pub(crate) may_hold: bool,
    /// The code that waits, as a path, and the task whose end it waits for, if it is that.
    pub(crate) waits_in: Option<&'static str>,
    pub(crate) awaits: Option<String>,
    /// What the clock showed when it was made, and when it suspended last.
    pub(crate) born: u32,
    pub(crate) since: u32,
    pub(crate) spawned_at: &'static Location<'static>,
    /// Where it stands, if it is suspended.
    pub(crate) registers: Option<Registers>,
}

impl RawTask {
    /// What never changes, and so can be told also of a task that runs.
    pub(crate) fn facts_of_running(self) -> Facts {
        let header = self.header();
        Facts {
            id: self.id(),
            name: header.name.as_str().to_owned(),
            state: TaskState::Running,
            is_daemon: header.is_daemon,
            may_hold: header.name.may_hold(),
            waits_in: None,
            awaits: None,
            born: header.born.get(),
            since: header.since(),
            spawned_at: header.site,
            registers: None,
        }
    }

    /// What can be told of a started task that is not its worker's running one.
    ///
    /// # Safety
    /// - The task's worker is held, and the task is in its list.
    pub(crate) unsafe fn facts(self) -> Facts {
        let mut facts = self.facts_of_running();
        // One that has not suspended was called from what runs, or is on its way.
        let Some(registers) = self.carrier().bookmark.get() else { return facts };
        facts.registers = Some(registers);
        facts.state = if self.header().run.is_parked() { TaskState::Waiting } else { TaskState::Ready };
        // SAFETY: the caller's promise: it is suspended, and what it has set lies on its stack.
        if let Some(leaves) = unsafe { self.leaves() } {
            facts.waits_in = Some(leaves.path());
            facts.awaits = leaves.awaits();
        }
        facts
    }
}
