//! How late tasks wake that are to wake at a fixed rate.
//!
//! Every wake-up has its due time from the beginning, and its lateness is counted from there, also when the one before it
//! was late: a system that stops for a while pays for each wake-up that it missed, and not for one alone. (Otherwise the
//! measurement waits together with what it measures, and leaves out the worst.)

use std::time::{Duration, Instant};

use super::args::Params;
use super::histogram::Histogram;
use super::measure::{Report, Sample, Stopwatch, check};
use super::{Failure, work};

/// When which wake-up is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    hz: u64,
}

impl Schedule {
    /// Wake-ups at this rate, the first a little later than now.
    pub(crate) fn at(hz: u64) -> Self {
        Self { start: Instant::now() + Duration::from_millis(10), hz }
    }

    /// When this wake-up is due.
    pub(crate) fn due(&self, wake: u64) -> Instant {
        self.start + Duration::from_nanos(wake * 1_000_000_000 / self.hz)
    }

    /// Runs on a plain thread: calls `wake` with every number below `n` when it is due, late if it must be.
    #[allow(clippy::disallowed_methods, reason = "no worker, but a thread of its own sleeps")]
    pub(crate) fn pace(&self, n: u64, mut wake: impl FnMut(u64)) {
        work::wake_sharply();
        for number in 0..n {
            let due = self.due(number);
            // Late wake-ups follow each other at once.
            if let Some(left) = due.checked_duration_since(Instant::now()) {
                std::thread::sleep(left);
            }
            wake(number);
        }
    }
}

/// What all repetitions found, the first of which is the warm-up and left out.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    rounds: Vec<Histogram>,
}

impl Latencies {
    /// One repetition: what each task found. An operation's time is the median lateness.
    ///
    /// # Errors
    /// It was not `n` wake-ups.
    pub(crate) fn push(
        &mut self,
        stopwatch: Stopwatch,
        tasks: impl IntoIterator<Item = Histogram>,
        n: u64,
    ) -> Result<Sample, Failure> {
        let cpu = stopwatch.stop().cpu;
        let mut all = Histogram::new();
        for task in tasks {
            all.add(&task);
        }
        check("wake-ups", all.total(), n)?;
        let wall = Duration::from_nanos(all.quantile(0.5).saturating_mul(n));
        self.rounds.push(all);
        Ok(Sample { wall, cpu })
    }

    /// Adds the quantiles over all repetitions to a report.
    pub(crate) fn add_to(&self, report: Report) -> Report {
        let mut all = Histogram::new();
        for round in &self.rounds[1..] {
            all.add(round);
        }
        quantiles(report, &all, ["p50_us", "p99_us", "p999_us", "max_us"])
    }
}

/// Adds the median, the 99th of a hundred, the 999th of a thousand and the highest to a report, in microseconds.
pub(crate) fn quantiles(report: Report, all: &Histogram, names: [&'static str; 4]) -> Report {
    let values = [all.quantile(0.5), all.quantile(0.99), all.quantile(0.999), all.most()];
    names.into_iter().zip(values).fold(report, |report, (name, ns)| report.with(name, ns as f64 / 1e3))
}

/// How much the tasks compute at a time that keep the workers busy: about 50 µs.
pub(crate) const LOAD_STEPS: u64 = 30_000;

/// The parameters of `wake_latency`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wakes {
    pub(crate) n: u64,
    pub(crate) hz: u64,
    pub(crate) tasks: u64,
    pub(crate) load: u64,
    pub(crate) from_thread: bool,
}

impl Wakes {
    /// Those of one repetition with `n` wake-ups.
    pub(crate) fn of(params: &Params, n: u64) -> Self {
        let [hz, tasks, load] = ["hz", "tasks", "load"].map(|key| params.number(key));
        Self { n, hz, tasks, load, from_thread: params.word("from") == "thread" }
    }

    /// The wake-ups of one task.
    pub(crate) fn of_task(&self, task: u64) -> impl Iterator<Item = u64> + use<> {
        (task..self.n).step_by(usize::try_from(self.tasks).expect("tasks are counted in memory"))
    }
}
