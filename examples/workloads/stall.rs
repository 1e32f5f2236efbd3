//! One task computes and lets nobody else run on its worker: how late others come meanwhile, that sleep or are spawned.
//!
//! Started tasks stay on their workers, so those that share one with it wait until it is done; what has not started goes
//! to another worker.

use std::hint::black_box;
use std::time::{Duration, Instant};

use osier::sync::Barrier;
use osier::task::{Builder, Place};
use osier::{sleep, spawn};

use crate::Failure;
use crate::args::Params;
use crate::line::histogram::Histogram;
use crate::line::work::compute;
use crate::measure::{Report, Sample, check, timed};
use crate::tasks::{on_workers, value_of};

/// What the tasks beside the one that computes found.
struct Late {
    sleeps: Histogram,
    spawns: Histogram,
}

impl Late {
    fn new() -> Self {
        Self { sleeps: Histogram::new(), spawns: Histogram::new() }
    }

    fn add(&mut self, other: &Self) {
        self.sleeps.add(&other.sleeps);
        self.spawns.add(&other.spawns);
    }
}

/// Sleeps for a millisecond and spawns a task, again and again until `end`.
fn look_until(end: Instant) -> Result<Late, Failure> {
    let mut late = Late::new();
    while Instant::now() < end {
        let due = Instant::now() + Duration::from_millis(1);
        sleep(Duration::from_millis(1));
        late.sleeps.record_since(due);
        let spawned = Instant::now();
        let started = value_of(spawn(move || spawned.elapsed()))?;
        late.spawns.record(u64::try_from(started.as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(late)
}

fn round(length: Duration, workers: usize, all: &mut Late) -> Result<Sample, Failure> {
    let begin = Barrier::new(workers + 1);
    let look = |_| {
        let begin = begin.clone();
        // On the emptier one of two workers: with two, one on each.
        Builder::new().place(Place::Spread).spawn(move || {
            check("the barrier", begin.wait().is_ok(), true)?;
            look_until(Instant::now() + length)
        })
    };
    let looking: Vec<_> = (0..workers).map(look).collect();
    check("the barrier", begin.wait().is_ok(), true)?;
    let (sample, late) = timed(|| {
        let computes = spawn(move || {
            let end = Instant::now() + length;
            while Instant::now() < end {
                black_box(compute(1, 1000));
            }
        });
        let late: Vec<_> = looking.into_iter().map(|task| value_of(task)?).collect();
        value_of(computes).map(|()| late)
    });
    for found in late? {
        let found = found?;
        check("whether it woke", found.sleeps.total() > 0 && found.spawns.total() > 0, true)?;
        all.add(&found);
    }
    Ok(sample)
}

pub(crate) fn stall(params: &Params) -> Result<Report, Failure> {
    let length = Duration::from_millis(params.number("ms"));
    let workers = params.size("threads");
    let mut late = Late::new();
    let report = on_workers(params, || Report::of(params, 1, |_| round(length, workers, &mut late)))?;
    let of = |histogram: &Histogram, part| histogram.quantile(part) as f64 / 1e3;
    Ok(report
        .with("sleep_p50_us", of(&late.sleeps, 0.5))
        .with("sleep_p99_us", of(&late.sleeps, 0.99))
        .with("sleep_max_us", late.sleeps.most() as f64 / 1e3)
        .with("spawn_p50_us", of(&late.spawns, 0.5))
        .with("spawn_p99_us", of(&late.spawns, 0.99))
        .with("spawn_max_us", late.spawns.most() as f64 / 1e3))
}
