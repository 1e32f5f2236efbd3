//! Groups and pools as what spawns a server's tasks: gevent's `StreamServer(listener, f, spawn=pool)`.

use super::{Group, Pool};
use crate::net::{Serve, Spawner};
use crate::task::Task;

/// At most as many connections are served at once as it has places.
impl Spawner for Pool {
    fn wait_free(&self) {
        Self::wait_free(self);
    }

    fn is_full(&self) -> bool {
        Self::is_full(self)
    }

    fn try_spawn(&self, serve: Serve) -> Result<Task, Serve> {
        self.crew.try_serve(serve)
    }
}

impl Spawner for Group {
    fn wait_free(&self) {}

    fn try_spawn(&self, serve: Serve) -> Result<Task, Serve> {
        self.crew.try_serve(serve)
    }
}
