//! Cancelling: a task unwinds from the wait it is in, or from the next one.
//!
//! A request is a flag and a notification. Every wait looks at the flag when nothing has come for it, and throws an exit
//! that the task's root takes. It is not thrown into a task that is unwinding already: what its destructors wait for,
//! they wait for in peace. A request stays until the exit is caught by `catch_exit`: a task that swallowed the unwind in
//! another way gets it again at its next wait. An exception that is thrown into a task goes the same way, but once.

use super::raw::RawTask;
use crate::coroutine::unwind;
use crate::exception::{self, ExitKind, Leaving, Report, report};
use crate::runtime::Worker;

/// Whether the running task must unwind now, instead of waiting.
#[inline]
pub(crate) fn is_due(task: RawTask) -> bool {
    task.header().has_request() && may_throw(task)
}

#[cold]
fn may_throw(task: RawTask) -> bool {
    if !task.settle_requests() {
        return false;
    }
    let unwinds = std::thread::panicking() && unwind::is_chain_unwinding(task.frame());
    if unwinds {
        // It may be a neighbour that unwinds: then nobody else would wake this task when that has ended.
        Worker::here().put_off_requests();
    }
    !unwinds
}

/// Unwinds the running task, for which an unwind is due.
///
/// One that swallowed its exit before lets others run first: it may do so in a loop.
///
/// # Suspends
#[cold]
pub(crate) fn throw(task: RawTask) -> ! {
    if let Some(exception) = task.take_thrown() {
        exception::throw(exception);
    }
    let header = task.header();
    if header.was_thrown_into.replace(true) {
        report(&Report::Swallowed { name: &header.name });
        Worker::here().push_ready(task);
        task.suspend();
    }
    let kind = if task.is_shutting_down() { ExitKind::Shutdown } else { ExitKind::Cancel };
    Leaving::requested(kind, set_pending).throw()
}

/// Notes that the exit of the running task was caught, or goes on.
fn set_pending(pending: bool) {
    let Some(task) = RawTask::current() else { return };
    task.header().was_thrown_into.set(pending);
    if pending {
        task.request_cancel();
    } else {
        task.answer_cancel();
    }
}

/// Unwinds the running task if that is due.
#[cold]
pub(crate) fn throw_if_cancelled() {
    if let Some(task) = RawTask::current().filter(|&task| is_due(task)) {
        throw(task);
    }
}
