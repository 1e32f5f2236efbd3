//! What stands for the reactor where the feature `net` is off: nothing to watch.

use std::sync::Arc;
use std::time::Instant;

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Reactor(());

impl Reactor {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(()))
    }

    #[inline]
    pub(super) fn is_used(&self) -> bool {
        false
    }

    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        false
    }

    #[inline]
    pub(super) fn is_awaited_by_what_counts(&self) -> bool {
        false
    }

    pub(super) fn poll(&self) {}

    pub(super) fn wait(&self, _deadline: Option<Instant>) {}

    pub(super) fn ring(&self) {}

    pub(super) fn retire(&self) {}
}
