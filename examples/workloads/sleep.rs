//! Timers: tasks that sleep, and timeouts that never fire.

use std::hint::black_box;
use std::time::{Duration, Instant};

use osier::sync::channel;
use osier::time::timeout;
use osier::{sleep, spawn};

use crate::Failure;
use crate::args::Params;
use crate::measure::{Report, Sample, check, median, timed};
use crate::tasks::{on_workers, value_of};

/// For how long the task with this number sleeps: something below a second, always the same.
fn nap(number: u64) -> Duration {
    Duration::from_nanos(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_000)
}

/// Tasks sleep; the time is the processor's. Adds how late each woke, in milliseconds, to `late`.
fn sleep_round(n: u64, late: &mut Vec<f64>) -> Result<Sample, Failure> {
    let (sample, woken) = timed(|| {
        let sleeper = |number| {
            spawn(move || {
                let due = Instant::now() + nap(number);
                sleep(nap(number));
                due.elapsed().as_secs_f64() * 1e3
            })
        };
        let handles: Vec<_> = (0..n).map(sleeper).collect();
        handles.into_iter().map(value_of).collect::<Result<Vec<_>, _>>()
    });
    *late = woken?;
    late.sort_by(f64::total_cmp);
    check("tasks that woke", late.len() as u64, n)?;
    Ok(sample)
}

pub(crate) fn sleep_many(params: &Params) -> Result<Report, Failure> {
    on_workers(params, || {
        let (mut walls, mut cpus, mut lates) = (Vec::new(), Vec::new(), Vec::new());
        let report = Report::of(params, params.number("n"), |n| {
            let mut late = Vec::new();
            let sample = sleep_round(n, &mut late)?;
            walls.push(sample.wall.as_secs_f64());
            cpus.push(sample.cpu.as_secs_f64());
            let at = |hundredths: usize| late[(late.len() - 1) * hundredths / 100];
            lates.push([at(50), at(99), at(100)]);
            // An operation is a task, and its time the processor's.
            Ok(Sample { wall: sample.cpu, cpu: sample.cpu })
        })?;
        // Without the warm-up.
        let of = |values: &[f64]| median(values[1..].iter().copied());
        let late = |which: usize| median(lates[1..].iter().map(|late| late[which]));
        Ok(report
            .with("wall_s", of(&walls))
            .with("cpu_s", of(&cpus))
            .with("late_p50_ms", late(0))
            .with("late_p99_ms", late(1))
            .with("late_max_ms", late(2)))
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
    check("sum", sum, n * (n - 1) / 2)?;
    Ok(sample)
}

pub(crate) fn timeout_churn(params: &Params) -> Result<Report, Failure> {
    on_workers(params, || Report::of(params, params.number("n"), |n| churn_round(n, params.is_set("wait"))))
}
