//! Groups and pools as what spawns a server's tasks: gevent's `StreamServer(listener, f, spawn=pool)`.

use super::{Full, Group, Pool};
use crate::net::{Serve, Spawner};
use crate::task::Task;

/// At most as many connections are served at once as it has places.
impl Spawner for Pool {
    fn wait_free(&self) {
        Self::wait_free(self);
    }

    fn try_spawn(&self, serve: Serve) -> Result<Task, Serve> {
        Self::try_spawn(self, serve).map(|handle| handle.task()).map_err(Full::into_inner)
    }
}

impl Spawner for Group {
    fn wait_free(&self) {}

    fn try_spawn(&self, serve: Serve) -> Result<Task, Serve> {
        Ok(self.spawn(serve).task())
    }
}
