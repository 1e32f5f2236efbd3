//! The global lock and the ways around it: processes, pools, executors.

use std::thread;
use std::time::{Duration, Instant};

use osier::pool::{Coroutines, Processes, Threads};
use osier::{Report, raise, registered, run, set_report_hook, sleep, spawn};

/// Workers in processes of this program; in a test they must be told to be hosts.
pub(crate) fn processes(n: usize) -> Processes {
    let arguments: &[&str] = if cfg!(test) { &["--exact", "host", "--nocapture"] } else { &[] };
    Processes::builder(n).args(arguments.iter().copied()).build()
}

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

/// In processes, as there. What they print is not this one's, so it is said here for them.
pub(crate) fn s21_processes() {
    #[allow(clippy::disallowed_methods, reason = "it holds a process of its own, as in the article")]
    fn work((): ()) {
        thread::sleep(Duration::from_millis(500));
    }
    let start = Instant::now();
    processes(10).lend(|pool| {
        let submit = |_| {
            say!("Sleeping for 0.5 seconds");
            pool.submit(registered!(work), ())
        };
        for result in (0..10).map(submit).collect::<Vec<_>>() {
            result.get().unwrap();
            say!("Finished sleeping");
        }
    });
    let time = start.elapsed().as_secs_f64();
    assert!((0.5..5.0).contains(&time), "they sleep at once: {time}");
    say!("Program finished in {time:.2} seconds");
}

/// Mended: what the method needs is captured, not pickled. On coroutines it is one other word.
pub(crate) fn s22() {
    say!("{:?}", Threads::with(8, |pool| pool.map(|n| n * n, 0..10)));
}

/// In processes, as there: what runs is a registered function, found by its name on the other side.
pub(crate) fn s22_processes() {
    fn square(n: u32) -> u32 {
        n * n
    }
    say!("{:?}", processes(8).lend(|pool| pool.map(registered!(square), 0..10)));
}

/// Mended: the exception of a job that nobody asks for is reported, and the pool is closed and joined whatever happens.
pub(crate) fn s23() {
    let before = set_report_hook(|report: &Report<'_>| say!("{report}"));
    let parse = |text: &str| text.parse::<u32>().unwrap_or_else(|e| raise(e));
    Coroutines::with(4, |pool| drop(pool.submit(parse, "four")));
    drop(set_report_hook(before));
}

/// In processes, as there. The report comes back from the one that ran it.
pub(crate) fn s23_processes() {
    fn parse(text: String) -> u32 {
        text.parse().unwrap_or_else(|e| raise(e))
    }
    let before = set_report_hook(|report: &Report<'_>| say!("{report}"));
    processes(4).lend(|pool| drop(pool.submit(registered!(parse), "four".to_owned())));
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

/// In processes, as there.
pub(crate) fn s24_processes() {
    fn next(n: u32) -> u32 {
        n + 1
    }
    let pool = processes(8);
    for result in pool.map(registered!(next), 0..10) {
        say!("{result}");
    }
    pool.shutdown(true);
    say!("{}", pool.submit(registered!(next), 1).get().unwrap_err());
}
