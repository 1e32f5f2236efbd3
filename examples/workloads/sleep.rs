//! Timers: tasks that sleep, and timeouts that never fire.

use std::hint::black_box;
use std::time::{Duration, Instant};

use osier::sync::channel;
use osier::time::timeout;
use osier::{sleep, spawn};

use crate::Failure;
use crate::args::Params;
use crate::line::sleep::Lateness;
use crate::line::work::{nap, sum_below};
use crate::measure::{Report, Sample, check, timed};
use crate::tasks::{on_workers, value_of};

/// Tasks sleep, and say how late each woke.
fn sleep_round(n: u64, lateness: &mut Lateness) -> Result<Sample, Failure> {
    let (sample, late) = timed(|| {
        let sleeper = |number| {
            spawn(move || {
                let due = Instant::now() + nap(number);
                sleep(nap(number));
                due.elapsed()
            })
        };
        let handles: Vec<_> = (0..n).map(sleeper).collect();
        handles.into_iter().map(value_of).collect::<Result<Vec<_>, _>>()
    });
    lateness.push(sample, late?, n)
}

pub(crate) fn sleep_many(params: &Params) -> Result<Report, Failure> {
    on_workers(params, || {
        let mut lateness = Lateness::default();
        let report = Report::of(params, params.number("n"), |n| sleep_round(n, &mut lateness))?;
        Ok(lateness.add_to(report))
    })
}

/// Timeouts around a receive that finds a value; with `wait`, around one that waits for a yielding sender, so that a timer
/// is really set.
fn churn_round(n: u64, wait: bool) -> Result<Sample, Failure> {
    let (sender, receiver) = channel::bounded(1);
    let helper = spawn({
        let sender = sender.clone();
        move || (0..if wait { n } else { 0 }).all(|value| sender.send(value).is_ok())
    });
    let (sample, sum) = timed(|| {
        let mut sum = 0;
        for value in 0..n {
            if !wait && sender.send(value).is_err() {
                break;
            }
            sum +=
                timeout(Duration::from_secs(10), || black_box(&receiver).recv()).map_or(0, |value| value.unwrap_or(0));
        }
        sum
    });
    check("the sender's end", value_of(helper)?, true)?;
    check("sum", sum, sum_below(n))?;
    Ok(sample)
}

pub(crate) fn timeout_churn(params: &Params) -> Result<Report, Failure> {
    on_workers(params, || Report::of(params, params.number("n"), |n| churn_round(n, params.is_set("wait"))))
}
