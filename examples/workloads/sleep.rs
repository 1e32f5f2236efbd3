//! Timers: tasks that sleep, and timeouts that never fire.

use std::hint::black_box;
use std::time::{Duration, Instant};

use osier::sync::{Event, WaitGroup, channel};
use osier::time::{sleep_until, timeout};
use osier::{JoinHandle, sleep, spawn};

use crate::Failure;
use crate::args::{Key, Params, count, number};
use crate::line::sleep::Lateness;
use crate::line::work::{nap, sum_below};
use crate::measure::{Report, Sample, check, median, timed};
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

pub(crate) const TOGETHER: &[Key] = &[count("n", 20_000), number("ms", 500), count("threads", 1)];

/// Tasks that sleep until the same moment, `ms` after the first was spawned: how many timers fire together does not depend on how fast
/// they are set.
pub(crate) fn sleep_together(params: &Params) -> Result<Report, Failure> {
    let length = Duration::from_millis(params.number("ms"));
    on_workers(params, || {
        Report::of(params, params.number("n"), |n| {
            let (sample, slept) = timed(|| {
                let due = Instant::now() + length;
                let handles: Vec<_> = (0..n).map(|_| spawn(move || sleep_until(due))).collect();
                handles.into_iter().try_for_each(value_of)
            });
            slept.map(|()| sample)
        })
    })
}

/// Timeouts around a receive that finds a value; with `wait`, around one that waits for a yielding sender, so that a timer
/// is really set. Without a `limit` there is none.
fn churn_round(n: u64, wait: bool, limit: Option<Duration>) -> Result<Sample, Failure> {
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
            sum += timeout(limit, || black_box(&receiver).recv()).map_or(0, |value| value.unwrap_or(0));
        }
        sum
    });
    check("the sender's end", value_of(helper)?, true)?;
    check("sum", sum, sum_below(n))?;
    Ok(sample)
}

/// Tasks that wait for an hour, or until the event is set: as many timers that live beside those that come and go.
fn waiting_for(event: &Event, count: u64) -> Vec<JoinHandle<bool>> {
    let begun = WaitGroup::new();
    let wait = |number| {
        let (event, begun) = (event.clone(), begun.clone());
        let limit = Duration::from_secs(3600) + nap(number);
        spawn(move || {
            drop(begun);
            event.wait_timeout(limit)
        })
    };
    let waiting = (0..count).map(wait).collect();
    begun.wait();
    waiting
}

const TEN_SECONDS: Option<Duration> = Some(Duration::from_secs(10));

pub(crate) fn timeout_churn(params: &Params) -> Result<Report, Failure> {
    on_workers(params, || {
        Report::of(params, params.number("n"), |n| churn_round(n, params.is_set("wait"), TEN_SECONDS))
    })
}

pub(crate) const LIVE: &[Key] =
    &[count("n", 1_000_000), count("live", 100_000), number("limit", 1), count("threads", 1)];

/// As `timeout_churn wait=1`, beside timers that wait meanwhile; says what it costs without timeouts, too. With `limit=0`
/// neither has any: what the other takes more, however it is counted, is a timer that is set and cancelled.
pub(crate) fn timeout_live(params: &Params) -> Result<Report, Failure> {
    on_workers(params, || {
        let (event, n) = (Event::new(), params.number("n"));
        let limit = TEN_SECONDS.filter(|_| params.is_set("limit"));
        let waiting = waiting_for(&event, params.number("live"));
        let plain = Report::of(params, n, |n| churn_round(n, true, None))?;
        let report = Report::of(params, n, |n| churn_round(n, true, limit))?;
        event.set();
        for task in waiting {
            check("whether it was woken", value_of(task)?, true)?;
        }
        Ok(report.with("plain_ns", median(plain.all_ns())))
    })
}
