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
    Limit(Semaphore),
    Spawner(Box<dyn Spawner>),
}

impl Places {
    /// Waits for a place, and gives what has to be kept for it.
    pub(super) fn take(&self) -> Option<Permit> {
        match self {
            Self::All => None,
            Self::Limit(places) => Some(places.hold()),
            Self::Spawner(spawner) => {
                spawner.wait_free();
                None
            }
        }
    }
}
