//! Who runs an actor: one task, or one after the other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::sync::Event;
use crate::task::{JoinError, Task};

/// Who runs an actor.
#[derive(Clone)]
pub(super) enum Life {
    /// This task, to its end.
    Once(Task),
    /// The tasks that a supervisor starts.
    Kept(Arc<Kept>),
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
        }
    }

    pub(super) fn is_run_by(&self, task: &Task) -> bool {
        match self {
            Self::Once(mine) => mine == task,
            Self::Kept(kept) => kept.task() == *task,
        }
    }

    /// Waits for the end.
    pub(super) fn join(&self, timeout: Option<Duration>) -> Result<(), JoinError> {
        match (self, timeout) {
            (Self::Once(task), None) => task.join(),
            (Self::Once(task), Some(timeout)) => task.join_timeout(timeout),
            (Self::Kept(kept), None) => {
                kept.over.wait();
                kept.task().join()
            }
            (Self::Kept(kept), Some(timeout)) => {
                if !kept.over.wait_timeout(timeout) {
                    return Err(JoinError::timeout());
                }
                kept.task().join()
            }
        }
    }
}
