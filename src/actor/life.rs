//! Who runs an actor: one task, or one after the other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

#[cfg(feature = "processes")]
use super::process::Afar;
use crate::exception::Exception;
use crate::sync::Event;
use crate::task::{self, JoinError, Link, Task};

/// Who runs an actor.
#[derive(Clone)]
pub(super) enum Life {
    /// This task, to its end.
    Once(Task),
    /// The tasks that a supervisor starts.
    Kept(Arc<Kept>),
    /// Somebody in another process, for whom this task passes messages on.
    #[cfg(feature = "processes")]
    Abroad(Task, Arc<Afar>),
}

/// What is known of an actor that a supervisor keeps.
pub(super) struct Kept {
    /// The newest task. Written by the supervisor when it has started one, and by the task itself when that is faster.
    task: Mutex<Option<Task>>,
    /// Set when it is not started again.
    over: Event,
}

impl Kept {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { task: Mutex::new(None), over: Event::new() })
    }

    pub(super) fn set_task(&self, task: Task) {
        let old = self.task.lock().unwrap_or_else(PoisonError::into_inner).replace(task);
        drop(old);
    }

    pub(super) fn set_over(&self) {
        self.over.set();
    }

    fn task(&self) -> Task {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.expect("its address is known only once it was started")
    }
}

impl Life {
    pub(super) fn task(&self) -> Task {
        match self {
            Self::Once(task) => task.clone(),
            Self::Kept(kept) => kept.task(),
            #[cfg(feature = "processes")]
            Self::Abroad(relay, _) => relay.clone(),
        }
    }

    pub(super) fn is_run_by(&self, task: &Task) -> bool {
        match self {
            Self::Once(mine) => mine == task,
            Self::Kept(kept) => kept.task() == *task,
            #[cfg(feature = "processes")]
            Self::Abroad(..) => false,
        }
    }

    /// Kills whoever it is now, and waits for that.
    pub(super) fn kill(&self) {
        match self {
            #[cfg(feature = "processes")]
            Self::Abroad(_, afar) => afar.kill(),
            _ => self.task().kill(),
        }
    }

    /// Notes that the mailbox is about to be closed by an address.
    pub(super) fn note_close(&self) {
        #[cfg(feature = "processes")]
        if let Self::Abroad(_, afar) = self {
            afar.note_close();
        }
    }

    /// Raises `e` in whoever it is now. One in another process is killed instead.
    pub(super) fn throw(&self, e: impl Into<Exception>) {
        match self {
            #[cfg(feature = "processes")]
            Self::Abroad(_, afar) => drop(afar.ask_to_end()),
            _ => self.task().throw(e),
        }
    }

    /// Whether it ends with its last address here, although the actor lives on elsewhere.
    pub(super) fn ends_with_its_address(&self) -> bool {
        #[cfg(feature = "processes")]
        return matches!(self, Self::Abroad(..));
        #[cfg(not(feature = "processes"))]
        false
    }

    /// Lets `told` know when it has ended for good, and why it has failed, if it has. That does not count as having been told.
    /// `None` if the runtime is shutting down.
    pub(super) fn watch(&self, told: Told) -> Option<Watch> {
        let tell = move |task: &Task| told(task.raw().failure().map(|(_, error)| error).as_ref());
        match self {
            Self::Once(task) => Some(Watch::Link(task.on_end(tell))),
            #[cfg(feature = "processes")]
            Self::Abroad(relay, _) => Some(Watch::Link(relay.on_end(tell))),
            Self::Kept(kept) => {
                let kept = kept.clone();
                let wait = move || {
                    kept.over.wait();
                    tell(&kept.task());
                };
                let waits = task::Builder::new().name("osier::actor::watch").daemon().try_spawn_lasting(wait);
                waits.ok().map(|waits| Watch::Task(waits.task()))
            }
        }
    }

    /// Waits for the end.
    pub(super) fn join(&self, deadline: Option<Instant>) -> Result<(), JoinError> {
        match (self, deadline) {
            (Self::Kept(kept), None) => {
                kept.over.wait();
                kept.task().join()
            }
            (Self::Kept(kept), Some(deadline)) => {
                if !kept.over.wait_deadline(deadline) {
                    return Err(JoinError::timeout());
                }
                kept.task().join()
            }
            (_, None) => self.task().join(),
            (_, Some(deadline)) => self.task().join_deadline(deadline),
        }
    }
}

/// Is told why an actor has failed, if it has.
pub(super) type Told = Box<dyn FnOnce(Option<&JoinError>) + Send>;

/// Dropped, it tells nobody any more.
pub(super) enum Watch {
    Link(Link),
    Task(Task),
}

impl Drop for Watch {
    fn drop(&mut self) {
        match self {
            Self::Link(link) => _ = link.unlink(),
            Self::Task(task) => task.cancel(),
        }
    }
}
