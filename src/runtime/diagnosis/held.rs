//! Who is told of locks that a task holds while it waits (`task::held`).

use std::panic::Location;

use super::deadlock;
use super::stack::{self, Symbols};
use super::text::purpose;
use crate::exception::{Report, report};
use crate::runtime::thread;

/// Reports that the running task, called `name`, is about to wait, by the code at `path` or for the task `awaits`, and holds
/// locks that it took at `sites`.
///
/// To find out which line of the user's waits takes long, the first time, and a deep stack: a thread of its own does that,
/// and tells. The task goes on: what only watches changes nothing.
pub(crate) fn report_held(name: &str, sites: Vec<&'static Location<'static>>, path: &str, awaits: Option<&str>) {
    let (name, purpose) = (name.to_owned(), purpose(path, awaits));
    let calls = stack::running();
    let tell = move || {
        let frames = Symbols::default().frames(&calls);
        // From inside out: whoever took the backtrace, this crate, who called it.
        let caller = frames.into_iter().skip_while(|frame| !frame.is_ours()).find(|frame| !frame.is_ours());
        let waits_at = caller.map_or_else(
            || format!("a wait for {purpose}"),
            |frame| match (frame.file, frame.line) {
                (Some(file), Some(line)) => format!("{file}:{line}"),
                _ => frame.function,
            },
        );
        for locked_at in sites {
            report(&Report::HeldOverWait { name: &name, locked_at, waits_at: &waits_at });
        }
        deadlock::thread_ends();
    };
    // Without a thread it is not told: there are worse troubles then.
    _ = thread::start("held locks".to_owned(), tell);
}
