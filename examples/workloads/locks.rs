//! Tasks that take turns with a mutex.

use std::sync::Arc;

use osier::sync::Mutex;
use osier::{spawn, yield_now};

use crate::Failure;
use crate::args::Params;
use crate::line::work::share;
use crate::measure::{Report, Sample, check, timed};
use crate::tasks::{on_workers, value_of};

/// Some tasks lock, add and unlock, `n` times in all; with `YIELD_IN` they yield while they hold it.
fn round<const YIELD_IN: bool>(n: u64, tasks: u64) -> Result<Sample, Failure> {
    let count = Arc::new(Mutex::new(0));
    let (sample, done) = timed(|| {
        let adding = |times| {
            let count = count.clone();
            spawn(move || {
                for _ in 0..times {
                    let mut guard = count.lock();
                    *guard += 1;
                    if YIELD_IN {
                        yield_now();
                    }
                }
            })
        };
        let handles: Vec<_> = (0..tasks).map(|task| adding(share(n, task, tasks))).collect();
        handles.into_iter().try_for_each(value_of)
    });
    done?;
    check("the count", *count.lock(), n)?;
    Ok(sample)
}

pub(crate) fn mutex(params: &Params) -> Result<Report, Failure> {
    let (tasks, yield_in) = (params.number("tasks"), params.is_set("yield_in"));
    let round = if yield_in { round::<true> } else { round::<false> };
    on_workers(params, || Report::of(params, params.number("n"), |n| round(n, tasks)))
}
