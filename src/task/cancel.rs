//! Cancelling: a task unwinds from the wait it is in, or from the next one.
//!
//! A request is a flag and a notification. Every wait looks at the flag when nothing has come for it, and throws an exit
//! that the task's root takes. It is not thrown into a task that is unwinding already: what its destructors wait for,
//! they wait for in peace. A request stays until the exit is caught by `catch_exit`: a task that swallowed the unwind in
//! another way gets it again at its next wait. An exception that is thrown into a task goes the same way, but once.

use super::raw::RawTask;
use crate::coroutine::region::{self, Region, Scan};
use crate::coroutine::{current, unwind};
use crate::exception::{self, ExitKind, Fate, Leaving, Report, report};
use crate::runtime::Worker;

/// Whether the running task must unwind now, instead of waiting.
#[inline]
pub(crate) fn is_due(task: RawTask) -> bool {
    task.header().has_request() && may_throw(task)
}

/// As [`is_due`], in a wait of which [`ends_a_wait`] said, as it began, that it `is_interruptible`. Then nobody on the task's chain
/// is unwinding, whatever the notes say, which may be a host's or old.
#[inline]
pub(super) fn is_due_in_a_wait(task: RawTask, is_interruptible: bool) -> bool {
    if is_interruptible { task.header().has_request() && task.settle_requests() } else { is_due(task) }
}

/// Whether a cancel of the running task ends a wait that begins now: what stands on it stays as it is until then.
#[inline(always)]
pub(super) fn ends_a_wait(task: RawTask) -> bool {
    !cfg!(panic = "abort")
        && !current::panicking()
        && (std::ptr::eq(current::frame(), task.frame()) || !region::is_shielded())
}

/// Whether the running task is cancelled, in a build where it cannot unwind: a wait that can say so ends, others go on.
pub(super) fn is_due_without_unwind(task: RawTask) -> bool {
    cfg!(panic = "abort") && task.header().is_cancelled() && !region::is_shielded()
}

/// Whether a wait that has ended before its time, and without what it waited for, was ended by a cancel of the running task.
#[cfg(feature = "net")]
pub(crate) fn ends_by_cancel() -> bool {
    RawTask::current().is_some_and(is_due_without_unwind)
}

#[cold]
fn may_throw(task: RawTask) -> bool {
    if cfg!(panic = "abort") || !task.settle_requests() || region::is_shielded() {
        return false;
    }
    let unwinds = is_unwinding(task);
    if unwinds {
        // It may be a neighbour that unwinds: then nobody else would wake this task when that has ended.
        Worker::here().put_off_requests();
    }
    !unwinds
}

/// Whether the running task is in the middle of an unwind, as far as is known.
pub(super) fn is_unwinding(task: RawTask) -> bool {
    current::panicking() && unwind::is_chain_unwinding(task.frame())
}

/// Unwinds the running task, for which an unwind is due.
///
/// One that has got an exit before, and swallowed or lost it, lets others run first: it may do so in a loop.
///
/// # Suspends
#[cold]
pub(crate) fn throw(task: RawTask) -> ! {
    if let Some(exception) = task.take_thrown() {
        exception::throw(exception);
    }
    let header = task.header();
    let before = header.thrown.replace(Thrown::Unanswered);
    if before == Thrown::Unanswered {
        report(&Report::Swallowed { name: &header.name });
    }
    if before != Thrown::No {
        Worker::here().push_ready(task);
        task.suspend();
    }
    let kind = if task.is_shutting_down() { ExitKind::Shutdown } else { ExitKind::Cancel };
    Leaving::requested(kind, note_fate).throw()
}

/// Notes what becomes of the exit of the running task.
fn note_fate(fate: Fate) {
    let Some(task) = RawTask::current() else { return };
    let thrown = match fate {
        Fate::Caught => {
            task.answer_cancel();
            Thrown::No
        }
        Fate::Resumed => {
            task.request_cancel();
            Thrown::Unanswered
        }
        // The request is still there.
        Fate::Lost => Thrown::Lost,
    };
    task.header().thrown.set(thrown);
}

/// Whether the exit of a request was thrown into a task, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thrown {
    No,
    /// Nobody has caught it, as far as is known.
    Unanswered,
    /// It ended in a drop, and comes again.
    Lost,
}

/// Unwinds whoever runs to the opener of a region whose deadline has passed.
#[cold]
pub(crate) fn throw_deadline(region: &Region) -> ! {
    if region.was_thrown() {
        let task = RawTask::current();
        report(&Report::Swallowed { name: task.as_ref().map_or("no task", |task| &task.header().name) });
    }
    region.throw_deadline()
}

/// Unwinds whoever runs if that is due: the running task for a request, anybody for a deadline that has passed.
#[cold]
pub(crate) fn throw_if_due() {
    let task = RawTask::current();
    let base = task.as_ref().map_or(std::ptr::null(), |task| std::ptr::from_ref(task.frame()));
    let scan = Scan::from(base);
    if let Some(task) = task.filter(|&task| is_due(task)) {
        throw(task);
    }
    if let Some(region) = scan.expired() {
        throw_deadline(region);
    }
}

/// Runs `f`, in which the running task is not unwound by a request to end: gevent's `kill`, and an exception thrown into
/// it, wait for the end of the shield.
///
/// What was asked for is thrown at the first wait after that. Timeouts that were opened around the shield wait for its
/// end as well; those opened inside it act.
///
/// For steps that must be done as a whole although they wait: writing a record, giving back what was borrowed. Keep them
/// short, since a shutdown waits for them.
///
/// # Suspends
/// As `f` does.
///
/// # Cancel safety
/// What was asked for meanwhile is thrown at the first wait behind it, so its value arrives.
///
/// # Examples
/// ```
/// use osier::{sleep, spawn, sync::channel, task::shield};
/// use std::time::Duration;
///
/// osier::run(|| {
///     let (sender, receiver) = channel::unbounded();
///     let (started, starts) = channel::bounded(1);
///     let writer = spawn(move || {
///         shield(|| {
///             started.send(()).unwrap();
///             sleep(Duration::from_millis(10));
///             sender.send("written as a whole").unwrap();
///         });
///         sleep(Duration::from_secs(3600));
///     });
///     starts.recv().unwrap();
///     writer.cancel();
///     assert!(writer.join().unwrap_err().is_cancelled());
///     assert_eq!(receiver.try_recv(), Ok("written as a whole"));
/// });
/// ```
pub fn shield<T>(f: impl FnOnce() -> T) -> T {
    Region::shield().run(f)
}

/// Whether somebody has asked the running task to end, and it has not answered: it will be unwound at its next wait.
///
/// False on a thread where no task runs. For code that computes, or that is shielded, and wants to end early by itself.
///
/// # Examples
/// ```
/// use osier::{run, spawn, task};
///
/// run(|| {
///     let t = spawn(|| task::shield(|| {
///         while !task::is_cancelled() {
///             osier::yield_now();
///         }
///         "ended by itself"
///     }));
///     osier::yield_now();
///     t.cancel();
///     // It had started, or else never ran.
///     assert!(matches!(t.join(), Ok("ended by itself") | Err(_)));
/// });
/// ```
pub fn is_cancelled() -> bool {
    RawTask::current().is_some_and(|task| task.header().is_cancelled())
}
