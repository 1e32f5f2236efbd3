//! One task computes and lets nobody else run on its worker: how late those come meanwhile that sleep or are spawned.
//!
//! Sleepers wake a thousand times a second, and fresh tasks come at the same rate, all by one schedule that is made before
//! anything stalls: who comes late is late for each wake-up that was missed meanwhile (see `latency`). There is a sleeper for
//! each thread. Where a system can place tasks, the first is beside the task that computes, the others are not; fresh tasks are
//! spawned by the task that computes, without waiting for them, and by all sleepers but the first.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::Failure;
use super::args::Params;
use super::histogram::Histogram;
use super::latency::{Schedule, quantiles};
use super::measure::{Report, check};
use super::work::compute;

/// Wake-ups a second, of each sleeper.
const HZ: u64 = 1000;

/// When who is to come in one repetition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    schedule: Schedule,
    /// Of each sleeper, and fresh tasks of each that spawns them.
    wakes: u64,
    pub(crate) sleepers: u64,
}

impl Plan {
    /// That of one repetition, which begins now.
    pub(crate) fn of(params: &Params) -> Self {
        Self { schedule: Schedule::at(HZ), wakes: params.number("ms"), sleepers: params.number("threads") }
    }

    /// When the wake-ups of one sleeper are due.
    pub(crate) fn dues(self) -> impl Iterator<Item = Instant> {
        (0..self.wakes).map(move |wake| self.schedule.due(wake))
    }

    /// Computes to the end of the plan, without waiting; calls `spawn` with each due time when it has come.
    pub(crate) fn compute(self, mut spawn: impl FnMut(Instant)) {
        let mut dues = self.dues().peekable();
        let end = self.schedule.due(self.wakes);
        while Instant::now() < end {
            black_box(compute(1, 1000));
            while let Some(due) = dues.next_if(|due| *due <= Instant::now()) {
                spawn(due);
            }
        }
        dues.for_each(spawn);
    }

    /// How many wake-ups all sleepers have, and how many tasks are spawned.
    fn total(self) -> u64 {
        self.wakes * self.sleepers
    }
}

/// What all repetitions found but the first, which is the warm-up.
#[derive(Debug)]
pub(crate) struct Late {
    rounds: u64,
    sleeps: Histogram,
    /// Of the sleepers that are for sure on other workers than the task that computes.
    apart: Histogram,
    spawns: Histogram,
}

impl Late {
    pub(crate) fn new() -> Self {
        Self { rounds: 0, sleeps: Histogram::new(), apart: Histogram::new(), spawns: Histogram::new() }
    }

    /// One repetition: how late each sleeper woke, the first one's first; how late fresh tasks began.
    ///
    /// # Errors
    /// Somebody is missing.
    pub(crate) fn push(
        &mut self,
        plan: Plan,
        sleepers: &[Histogram],
        spawns: impl Iterator<Item = Duration>,
    ) -> Result<(), Failure> {
        let (mut slept, mut apart, mut began) = (Histogram::new(), Histogram::new(), Histogram::new());
        sleepers.iter().for_each(|late| slept.add(late));
        sleepers.iter().skip(1).for_each(|late| apart.add(late));
        spawns.for_each(|late| began.record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX)));
        check("wake-ups", slept.total(), plan.total())?;
        check("fresh tasks", began.total(), plan.total())?;
        if self.rounds > 0 {
            self.sleeps.add(&slept);
            self.apart.add(&apart);
            self.spawns.add(&began);
        }
        self.rounds += 1;
        Ok(())
    }

    /// Adds the quantiles to a report.
    pub(crate) fn add_to(&self, report: Report) -> Report {
        let report = quantiles(report, &self.sleeps, ["sleep_p50_us", "sleep_p99_us", "sleep_p999_us", "sleep_max_us"]);
        quantiles(report, &self.spawns, ["spawn_p50_us", "spawn_p99_us", "spawn_p999_us", "spawn_max_us"])
    }

    /// The same for those apart, where a system places tasks and there are any.
    pub(crate) fn add_apart_to(&self, report: Report) -> Report {
        if self.apart.total() == 0 {
            return report;
        }
        quantiles(report, &self.apart, ["apart_p50_us", "apart_p99_us", "apart_p999_us", "apart_max_us"])
    }
}
