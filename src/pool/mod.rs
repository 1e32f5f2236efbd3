//! Many tasks as one: groups, and pools that run at most so many at once.
//!
//! | gevent | osier |
//! | --- | --- |
//! | `Group()`, `Pool(n)` | [`Group::new`], [`Pool::new`] |
//! | `pool.spawn(f, x)` | `pool.spawn(move \|\| f(x))`, which waits for a place |
//! | `pool.add(g, blocking=False)` | [`Pool::try_add`]; for a closure [`Pool::try_spawn`] |
//! | `pool.apply(f)`, `apply_async(f, callback=g)` | `pool.apply(f)`, `pool.apply_async(f)` and `link` |
//! | `pool.map(f, xs)` | `pool.map(xs, f)` |
//! | `pool.imap_unordered(f, xs, maxsize=n)` | `pool.imap_unordered(xs, f).maxsize(n)` |
//! | `pool.join(raise_error=True)` | `pool.join()?` |
//! | `pool.kill()`, `pool.kill(block=False)` | `pool.kill()`, `pool.cancel()` |
//! | `StreamServer(listener, f, spawn=pool)` | `StreamServer::with_spawner(listener, pool, f)` |
//!
//! Groups and pools are handles: clones are the same one, and dropping all of them detaches the members. Those of
//! [`Group::local`] and [`Pool::local`] share their spawner's worker, and ask nothing to be `Send`.
//!
//! A member that waits for a place in its own full pool may wait for ever: `spawn` and `map` in a member are such waits.
//! `apply` is none, it runs in place; `apply_async` and `try_spawn` never wait.
//!
//! # Rooms
//! - `group`: what a group is, and what a pool is beside that. `calls`: what both can do.
//! - `members`: who belongs to a group, `failures`: what of theirs nobody was told. `crew`: spawning, and bodies that
//!   borrow. `imap`: lazy maps.
//! - `executor`: jobs and their results, on tasks or on threads.
//! - `remote`: a generator whose body runs as a task, on another core. `servers`: groups and pools that spawn for a server.

mod calls;
mod crew;
mod executor;
mod failures;
mod group;
mod imap;
mod members;
mod remote;
#[cfg(feature = "net")]
mod servers;

pub use executor::{Coroutines, Executor, Job, LazyMap, Threads, UnorderedMap};
#[cfg(feature = "processes")]
pub use executor::{Processes, ProcessesBuilder};
pub use group::{Group, Pool};
pub use imap::IMap;
pub use remote::Remote;

use std::error::Error;
use std::fmt;

use crate::exception::{Raise, raise};

/// There is no place in the pool. What was to be spawned comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Full<F>(pub F);

impl<F> Full<F> {
    /// Gives back what was not spawned.
    pub fn into_inner(self) -> F {
        self.0
    }
}

impl<F> fmt::Debug for Full<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full(..)")
    }
}

impl<F> fmt::Display for Full<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pool is full")
    }
}

impl<F> Error for Full<F> {}

/// Raises the error, without what was to be spawned.
impl<F> Raise for Full<F> {
    #[track_caller]
    fn raise(self) -> ! {
        raise(Full(()))
    }
}
