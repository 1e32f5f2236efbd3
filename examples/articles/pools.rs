//! The global lock and the ways around it: processes, pools, executors.

use std::time::{Duration, Instant};

use osier::{run, sleep, spawn};

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
