//! Links: closures that run when a task has ended, or a result was set.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::end::{self, Removed, Settles};
use super::error::JoinError;
use super::handle::Task;
use super::name::Name;
use super::raw::{Plan, RawTask, TaskRef};
use crate::exception::{Report, report};

/// A closure that was linked to a task, or to an [`AsyncResult`](crate::sync::AsyncResult). Dropping it changes nothing;
/// [`unlink`](Self::unlink) takes the closure back.
#[derive(Clone)]
pub struct Link {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// It is a task itself, which is started when the other one has ended.
    OfTask { task: TaskRef, link: TaskRef },
    /// It lies with something of a room above.
    Elsewhere(Arc<dyn Unlink>),
}

/// Where a closure lies until it runs.
pub(crate) trait Unlink: Send + Sync {
    /// Takes the closure back and drops it. False if it is not there any more.
    fn unlink(&self) -> bool;
}

impl Link {
    /// Links `f`, which gets the task that has ended. A local link runs on its worker, whoever makes it there.
    ///
    /// # Safety
    /// - `f` is `Send`; or the link is local, and so is the task, whose worker this is.
    /// - What `f` borrows stays valid for ever.
    pub(super) unsafe fn new(task: &TaskRef, is_local: bool, f: impl FnOnce(RawTask)) -> Self {
        let raw = task.raw();
        let plan = Plan {
            name: Name::from(Cow::from(format!("link of {}", raw.header().name))),
            site: raw.header().site,
            stack_size: raw.header().stack_size,
            borrows: false,
            must_run: true,
            is_local,
            is_daemon: false,
        };
        let ended = task.clone();
        let body = move || {
            let settles = Settles(&ended);
            if let Err(error) = crate::coroutine::unwind::catch(|| f(ended.raw())).map_err(JoinError::from_payload)
                && !error.is_cancelled()
            {
                report(&Report::LinkFailed { name: &ended.raw().header().name, error: &error });
            }
            drop(settles);
        };
        // SAFETY: its runtime is set before it is started; the caller vouches for the closure.
        let (link, reference) = unsafe { TaskRef::new(std::ptr::null(), plan, body) };
        // Nobody joins a link: it drops its own result.
        let has_ended = link.header().end.detach();
        debug_assert!(!has_ended, "it is fresh");
        if !raw.add_link(link) {
            end::start_late(link);
        }
        Self { kind: Kind::OfTask { task: task.clone(), link: reference } }
    }

    /// The link of something of a room above.
    pub(crate) fn elsewhere(place: Arc<dyn Unlink>) -> Self {
        Self { kind: Kind::Elsewhere(place) }
    }

    /// Takes the closure back, so that it will not run, and drops it; that of a local task is dropped by its worker, soon.
    /// False if it has run, or is running, or was taken back before.
    ///
    /// # Examples
    /// ```
    /// let (stop, stopped) = osier::sync::channel::bounded::<()>(0);
    /// let task = osier::spawn(move || stopped.recv().is_err());
    /// let link = task.link(|_| unreachable!());
    /// assert!(link.unlink() && !link.unlink());
    /// drop(stop);
    /// assert!(task.join().unwrap());
    /// ```
    pub fn unlink(&self) -> bool {
        let (task, link) = match &self.kind {
            Kind::OfTask { task, link } => (task, link),
            Kind::Elsewhere(place) => return place.unlink(),
        };
        let removed = task.raw().remove_link(link.raw());
        if removed == Removed::Here {
            link.raw().discard(JoinError::cancelled());
        }
        removed != Removed::No
    }
}

impl Task {
    /// Runs `f` when the task has ended, as a link of a handle does. It does not count as having been told of a failure.
    pub(crate) fn on_end(&self, f: impl FnOnce(&Self) + Send + 'static) -> Link {
        let task = self.clone();
        // SAFETY: `f` is `Send` and `'static`.
        unsafe { Link::new(self.reference(), false, move |_| f(&task)) }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Link");
        if let Kind::OfTask { task, .. } = &self.kind {
            f.field("to", &task.name());
        }
        f.finish_non_exhaustive()
    }
}
