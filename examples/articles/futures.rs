//! "Generators: The Final Frontier", the first half: futures in straight-line code.

use std::thread;

use osier::pool::{Coroutines, Threads};
use osier::{registered, run, task};

use crate::pools::processes;

fn fib(n: u32) -> u64 {
    if n <= 2 { 1 } else { fib(n - 1) + fib(n - 2) }
}

/// Mended: the step after a wait runs where the step before it did, so there is no thread to wonder about.
pub(crate) fn s01() {
    let pool = Threads::new(2);
    let result = run(|| {
        let home = task::worker().expect("a task has a worker");
        let mut result = Vec::new();
        for i in 0..12 {
            assert_eq!(task::worker(), Some(home));
            say!("step {i} on worker {home}");
            result.push(pool.submit(fib, i).get().unwrap());
        }
        result
    });
    say!("{result:?}");
}

/// In processes, as there: that each step runs where the one before did is no matter of the pool.
pub(crate) fn s01_processes() {
    let result = processes(2).lend(|pool| {
        run(|| {
            let home = task::worker().expect("a task has a worker");
            let step = |i| {
                assert_eq!(task::worker(), Some(home));
                say!("step {i} on worker {home}");
                pool.submit(registered!(fib), i).get().unwrap()
            };
            (0..12).map(step).collect::<Vec<_>>()
        })
    });
    say!("{result:?}");
}

/// Mended: a call that waits is a plain call, so what drove the generator on its thread is gone; errors come out of `get`.
pub(crate) fn s02() {
    let pool = Coroutines::new(2);
    let compute_fib = |n: u32| {
        let name = || thread::current().name().unwrap_or("no name").to_owned();
        let home = name();
        let step = |i| {
            assert_eq!(name(), home);
            say!("step {i} on {home}");
            pool.submit(fib, i).get().unwrap()
        };
        (0..n).map(step).collect::<Vec<_>>()
    };
    for result in Threads::with(2, |threads| threads.map(compute_fib, [12, 12])) {
        say!("{result:?}");
    }
}
