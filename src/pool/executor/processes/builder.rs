//! How an executor of processes is made.

use std::ffi::OsString;

use super::Processes;
use super::handle::Handle;
use crate::process::host::{self, Plan};

/// How an executor of processes is made: see [`Processes::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ProcessesBuilder {
    pub(super) places: usize,
    pub(super) queue: usize,
    pub(super) plan: Plan,
}

impl ProcessesBuilder {
    /// Sets how many jobs may be pending: who submits one more waits.
    ///
    /// # Panics
    /// If `jobs` is 0.
    pub fn queue(mut self, jobs: usize) -> Self {
        assert!(jobs > 0, "a queue holds one job at least");
        self.queue = jobs;
        self
    }

    /// Sets how many bytes an argument or a value may have, 64 MiB if it is not called. What has more fails its job.
    pub fn message_limit(mut self, bytes: usize) -> Self {
        self.plan.limit = bytes;
        self
    }

    /// Starts the processes with these arguments, instead of none.
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.plan.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts the processes with this variable in their environment, beside those of this process.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.plan.environment.push((key.into(), value.into()));
        self
    }

    /// Makes the executor. No process is started yet.
    ///
    /// # Panics
    /// If there is no place. In a process that was started as a host and has not called
    /// [`process::host`](crate::process::host).
    pub fn build(self) -> Processes {
        host::check_not_a_host();
        Processes { inner: Handle::new(self.places, self.queue, self.plan) }
    }
}
