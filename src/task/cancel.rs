//! Cancelling: a task unwinds from the wait it is in, or from the next one.
//!
//! A request is a flag and a notification. Every wait looks at the flag when nothing has come for it, and throws a
//! private payload that the task's root takes. It is not thrown into a task that is unwinding already: what its
//! destructors wait for, they wait for in peace. A request stays: a task that swallowed the unwind gets it again at its
//! next wait.

use super::raw::RawTask;
use crate::coroutine::unwind::{self, Payload};
use crate::runtime::Worker;

/// The payload of a cancelled task's unwind.
struct Cancelled;

/// Whether the running task must unwind now, instead of waiting.
#[inline]
pub(crate) fn is_due(task: RawTask) -> bool {
    task.header().is_cancelled() && may_throw(task)
}

#[cold]
fn may_throw(task: RawTask) -> bool {
    !std::thread::panicking() || !unwind::is_chain_unwinding(task.frame())
}

/// Unwinds the running task.
///
/// One that swallowed the unwind before lets others run first: it may do so in a loop.
///
/// # Suspends
#[cold]
pub(crate) fn throw(task: RawTask) -> ! {
    if task.header().was_thrown_into.replace(true) {
        Worker::here().push_ready(task);
        task.suspend();
    }
    unwind::throw(Box::new(Cancelled))
}

/// Unwinds the running task if it has been cancelled and can be unwound.
pub(crate) fn throw_if_cancelled() {
    if let Some(task) = RawTask::current().filter(|&task| is_due(task)) {
        throw(task);
    }
}

/// Whether a caught unwind is that of a cancelled task.
pub(crate) fn is_payload(payload: &Payload) -> bool {
    payload.is::<Cancelled>()
}
