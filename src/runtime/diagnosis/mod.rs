//! What every task does, and why nothing goes on.
//!
//! # Rooms
//! - `still`: tasks that hold still while somebody looks at them. `clock`: what time it is, at the cost of a load.
//! - `dump`: all there is to tell of a runtime's tasks. `text`: the same as lines, and as JSON.
//! - `held`: who is told of locks that are held over a wait.
//! - `deadlock`: what is done when it is certain that nobody can go on. `certainty`: whether it is. `process`: who there is
//!   besides tasks.
//! - `quit`: a dump on SIGQUIT.
//! - `monitor`: the watchdog. `watched`: how long a worker has not moved. `thread_times`: whether it had a core.
//! - `stack`: the frames of a task that is suspended, from outside.
//!
//! What is told and what it costs: `arch-notes/diagnosis.md`.

mod certainty;
pub(crate) mod clock;
mod deadlock;
mod dump;
#[cfg(debug_assertions)]
mod held;
pub(super) mod monitor;
mod process;
pub(super) mod quit;
mod stack;
mod still;
mod text;
mod thread_times;
mod watched;

pub use deadlock::{Deadlock, OnDeadlock};
pub use dump::{Dump, TaskDump, WorkerDump, dump};
pub use stack::StackFrame;

pub(crate) use deadlock::{PAUSES, Roots, Waits, deciding, look_at_process};
pub(crate) use dump::names_of_started;
#[cfg(debug_assertions)]
pub(crate) use held::report_held;
pub(crate) use monitor::Monitor;
pub(crate) use still::{Turnstile, looking};
pub(crate) use watched::Watched;
