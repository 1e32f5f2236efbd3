//! How many may be served at the same time, and who makes their tasks.

use crate::sync::{Permit, Semaphore};
use crate::task::Task;

/// What spawns the tasks of a server, and says how many: a [`Pool`](crate::Pool), or a [`Group`](crate::Group). Several servers
/// may share one.
pub trait Spawner: Send + Sync + 'static {
    /// Waits until it has a place.
    ///
    /// # Suspends
    /// Until then.
    ///
    /// # Cancel safety
    /// No place is taken.
    fn wait_free(&self);

    /// Whether it has none. What is provided says that it has always one.
    fn is_full(&self) -> bool {
        false
    }

    /// Spawns a task that runs `serve`, if it has a place. It is the accepting task that calls, with no lock held.
    ///
    /// # Errors
    /// It has none, or cannot spawn now; `serve` comes back. The server waits until there is a place, and tries again; from the
    /// second time in a row on, after a pause that begins with 10 ms. One that panics or raises instead loses `serve`, which
    /// closes the connection; the server reports that, and pauses as after an error.
    fn try_spawn(&self, serve: Serve) -> Result<Task, Serve>;
}

/// What serves one connection, or one datagram.
pub type Serve = Box<dyn FnOnce() + Send>;

/// How many may be served at the same time.
pub(super) enum Places {
    All,
    /// How many, and who holds a place of those.
    Limit(usize, Semaphore),
    Spawner(Box<dyn Spawner>),
}

impl Places {
    pub(super) fn limited_to(limit: usize) -> Self {
        Self::Limit(limit, Semaphore::new(limit))
    }

    /// Whether there is no place for one more, where so many are served. Who accepts has taken one for the next.
    pub(super) fn is_full(&self, served: usize) -> bool {
        match self {
            Self::All => false,
            Self::Limit(limit, _) => served >= *limit,
            Self::Spawner(spawner) => spawner.is_full(),
        }
    }

    /// Waits for a place, and gives what has to be kept for it.
    pub(super) fn take(&self) -> Option<Permit> {
        match self {
            Self::All => None,
            Self::Limit(_, places) => Some(places.hold()),
            Self::Spawner(spawner) => {
                spawner.wait_free();
                None
            }
        }
    }
}
