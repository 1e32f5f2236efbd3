//! The global lock and the ways around it: processes, pools, executors.

use std::time::{Duration, Instant};

use osier::pool::{Coroutines, Threads};
use osier::{Report, raise, run, set_report_hook, sleep, spawn};

/// Ten processes in the article, ten tasks here; they need one worker. Nothing to mend.
pub(crate) fn s21() {
    let start = Instant::now();
    let work = || {
        say!("Sleeping for 0.5 seconds");
        sleep(Duration::from_millis(500));
        say!("Finished sleeping");
    };
    run(|| {
        let tasks: Vec<_> = (0..10).map(|_| spawn(work)).collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
    });
    let time = start.elapsed().as_secs_f64();
    assert!((0.5..5.0).contains(&time), "they sleep at once: {time}");
    say!("Program finished in {time:.2} seconds");
}

/// Mended: what the method needs is captured, not pickled. On coroutines it is one other word.
pub(crate) fn s22() {
    say!("{:?}", Threads::with(8, |pool| pool.map(|n| n * n, 0..10)));
}

/// Mended: the exception of a job that nobody asks for is reported, and the pool is closed and joined whatever happens.
pub(crate) fn s23() {
    let before = set_report_hook(|report: &Report<'_>| say!("{report}"));
    let parse = |text: &str| text.parse::<u32>().unwrap_or_else(|e| raise(e));
    Coroutines::with(4, |pool| drop(pool.submit(parse, "four")));
    drop(set_report_hook(before));
}

/// Mended: no dummy parameter, one shutdown, and a submit after it gives an error that says so.
pub(crate) fn s24() {
    let pool = Threads::new(8);
    for result in pool.map(|n| n + 1, 0..10) {
        say!("{result}");
    }
    pool.shutdown(true);
    say!("{}", pool.submit(|n: u32| n, 1).get().unwrap_err());
}
