//! One task computes and lets nobody else run on its worker: how late others come meanwhile, that sleep or are spawned.
//!
//! Started tasks stay on their workers, so the sleeper beside it waits until it is done, and is late for each wake-up that it
//! missed; `apart_…` are the sleepers on other workers alone. What has not started goes to another worker.

use std::time::{Duration, Instant};

use osier::spawn;
use osier::sync::channel::{self, Sender};
use osier::time::sleep_until;

use crate::Failure;
use crate::args::Params;
use crate::line::histogram::Histogram;
use crate::line::stall::{Late, Plan};
use crate::measure::{Report, Sample, Stopwatch};
use crate::places::Places;
use crate::tasks::{on_workers, value_of};

/// Spawns a task that says how late it began. Nobody joins it, for a join might start it in place.
fn spawn_fresh(due: Instant, tell: &Sender<Duration>) {
    let tell = tell.clone();
    drop(spawn(move || tell.send(due.elapsed()).expect("somebody counts them")));
}

fn round(params: &Params, places: &Places, late: &mut Late) -> Result<Sample, Failure> {
    let (tell, told) = channel::unbounded();
    let stopwatch = Stopwatch::start();
    let plan = Plan::of(params);
    // Each on the worker of the anchor with its number.
    let sleeper = |index| {
        let tell = tell.clone();
        places.spawn(index, move || {
            let mut late = Histogram::new();
            for due in plan.dues() {
                sleep_until(due);
                late.record_since(due);
                if index > 0 {
                    spawn_fresh(due, &tell);
                }
            }
            late
        })
    };
    let sleepers: Vec<_> = (0..params.size("threads")).map(sleeper).collect();
    let computes = places.spawn(0, move || plan.compute(|due| spawn_fresh(due, &tell)));
    value_of(computes)?;
    let slept = sleepers.into_iter().map(value_of).collect::<Result<Vec<_>, _>>()?;
    let sample = stopwatch.stop();
    // Nobody waits for these while somebody is late: the last sender goes with the last fresh task.
    late.push(plan, &slept, told.into_iter())?;
    Ok(sample)
}

pub(crate) fn stall(params: &Params) -> Result<Report, Failure> {
    on_workers(params, || {
        let places = Places::on(params.size("threads"))?;
        let mut late = Late::new();
        let report = Report::of(params, 1, |_| round(params, &places, &mut late))?;
        Ok(late.add_apart_to(late.add_to(report)))
    })
}
