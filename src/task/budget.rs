//! The budget: how many calls a task makes that might wait and need not, before it lets others run.
//!
//! A task that receives from a channel which is never empty would otherwise keep its worker for ever. Each call that may
//! suspend is counted here, before it takes anything; calls that never suspend are not. Counting is one decrement of a
//! number that belongs to the thread. When it is used up, and no other task has run since it last was, the running task
//! lets the others run. So a switch costs nothing here, and a task makes between one and two budgets of calls in a row.

use super::cancel;
use super::park::yield_now;
use super::raw::RawTask;
use crate::coroutine::{current, region};
use crate::runtime::Worker;

/// Counts a call that may suspend, before it takes anything.
///
/// # Suspends
/// The running task, rarely; it then unwinds from here if that is due. Not inside `no_suspend`, nor in the middle of an
/// unwind.
#[inline(always)]
pub(crate) fn spend() {
    if is_spent() {
        give_way();
    }
}

/// The first half of [`spend`]: counts. True if the second half is due.
#[inline(always)]
#[must_use]
pub(crate) fn is_spent() -> bool {
    current::spend()
}

/// The second half of [`spend`]: fills the budget, and lets others run if one task has used up all of it.
///
/// # Suspends
#[cold]
#[inline(never)]
pub(crate) fn give_way() {
    current::fill_budget();
    let (Some(task), Some(worker)) = (RawTask::current(), Worker::get()) else { return };
    if worker.note_spent() {
        yield_if_allowed(task);
    }
}

fn yield_if_allowed(task: RawTask) {
    if !region::is_forbidden() && !cancel::is_unwinding(task) {
        yield_now();
    }
}

/// Lets all others run who are ready, in a call that looks only, has found nothing, and is likely to be made again.
///
/// # Suspends
/// The running task; it then unwinds from here if that is due. Not inside `no_suspend`, nor in the middle of an unwind.
#[cfg(feature = "net")]
pub(crate) fn give_way_in_vain() {
    if let Some(task) = RawTask::current() {
        yield_if_allowed(task);
    }
}

/// Lets all others run who are ready, in a call that has found what it wants. Nothing is thrown: what has come is returned.
///
/// # Suspends
/// The running task; not inside `no_suspend`, nor in the middle of an unwind.
#[cold]
#[inline(never)]
pub(crate) fn go_last() {
    if RawTask::current().is_some_and(|task| !cancel::is_unwinding(task)) && !region::is_forbidden() {
        cancel::shield(yield_now);
    }
}
