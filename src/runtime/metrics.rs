//! What each worker has done: counters that cost one store each, read at leisure.

use super::shared::Shared;

/// What the workers of a runtime have done since it started.
///
/// # Examples
/// ```
/// let runtime = osier::Runtime::builder().workers(2).build()?;
/// runtime.run(|| osier::spawn(|| ()).join()).unwrap();
/// let metrics = runtime.metrics();
/// assert_eq!(metrics.workers.len(), 2);
/// assert_eq!(metrics.ran(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// One entry a worker, in the order of their numbers.
    pub workers: Vec<WorkerMetrics>,
}

/// What one worker has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// Tasks it started; they stayed with it.
    pub ran: u64,
    /// Fresh tasks it took from other workers' deques.
    pub stolen: u64,
    /// How often it went to sleep.
    pub parked: u64,
    /// How often another thread woke it.
    pub woken: u64,
}

/// What the workers of the caller's runtime have done, else of the default one: see [`Runtime::metrics`](crate::Runtime::metrics).
///
/// # Examples
/// ```
/// let ran = || osier::runtime::metrics().ran();
/// let before = ran();
/// osier::run(|| assert!(ran() > before));
/// ```
pub fn metrics() -> Metrics {
    Shared::with_current(Metrics::read)
}

impl Metrics {
    pub(super) fn read(shared: &Shared) -> Self {
        let workers = shared.remotes.iter().map(|remote| WorkerMetrics {
            ran: remote.counts.started.get(),
            stolen: remote.counts.stolen.get(),
            parked: remote.counts.parked.get(),
            woken: remote.counts.woken.get(),
        });
        Self { workers: workers.collect() }
    }

    /// Tasks started by all workers together.
    pub fn ran(&self) -> u64 {
        self.workers.iter().map(|worker| worker.ran).sum()
    }

    /// Fresh tasks that one worker took from another.
    pub fn stolen(&self) -> u64 {
        self.workers.iter().map(|worker| worker.stolen).sum()
    }
}
