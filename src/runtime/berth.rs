//! A worker's place to sleep: in its poller while it has descriptors to watch, else on its parker.
//!
//! # Invariants
//! - Only the worker itself makes its reactor watch more, so one that has nothing to watch has nothing to miss.
//! - Whoever unparks it leaves a token, and rings if it sleeps in its poller; a ring outlasts the time before the sleep.

use std::sync::Arc;
use std::time::Instant;

use super::parker::Parker;
use super::reactor::Reactor;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Berth {
    parker: Parker,
    pub(super) reactor: Arc<Reactor>,
}

impl Berth {
    pub(super) fn new() -> Self {
        Self { parker: Parker::new(), reactor: Reactor::new() }
    }

    /// Sleeps until somebody unparks the worker, until what it watches is ready, which it delivers, or until `deadline`. True
    /// if it was unparked.
    pub(super) fn park(&self, deadline: Option<Instant>) -> bool {
        if self.reactor.is_used() {
            self.parker.park_elsewhere(|| self.reactor.wait(deadline))
        } else {
            self.parker.park(deadline)
        }
    }

    pub(super) fn unpark(&self) {
        self.parker.unpark_or(|| self.reactor.ring());
    }
}
