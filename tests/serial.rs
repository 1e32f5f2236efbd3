//! Serial domains: tasks of one worker, of which each runs undisturbed between two waits, as greenlets of one thread do.

#![cfg(feature = "runtime")]

mod common;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use common::{Log, watch};
use osier::runtime::LocalRuntime;
use osier::{Runtime, spawn, spawn_local, yield_now};

/// Runs `program` wherever one thread may be had: alone, on one worker, and on one of several that have other things to do.
fn in_each_domain(program: fn()) {
    LocalRuntime::new().run(program);
    Runtime::builder().workers(1).build().unwrap().run(program);
    let runtime = Runtime::builder().workers(4).build().unwrap();
    runtime.run(|| {
        let others: Vec<_> = (0..8).map(|_| spawn(|| (0..200).for_each(|_| yield_now()))).collect();
        program();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

// S16, as tasks
#[test]
fn two_counters_take_turns_as_tasks() {
    let _watch = watch();
    in_each_domain(|| {
        let (log, queue) = (Log::default(), Rc::new(RefCell::new(VecDeque::from([15, 10, 5, 2]))));
        let tasks = ["One", "Two"].map(|name| {
            let (log, queue) = (log.clone(), queue.clone());
            spawn_local(move || {
                loop {
                    let Some(count) = queue.borrow_mut().pop_front() else { return };
                    let mut total = 0;
                    log.push(format!("{name} running"));
                    while total < count {
                        total += 1;
                        yield_now();
                    }
                    log.push(format!("{name} total: {total}"));
                }
            })
        });
        tasks.into_iter().for_each(|task| task.join().unwrap());
        let expected = [
            "One running",
            "Two running",
            "Two total: 10",
            "Two running",
            "One total: 15",
            "One running",
            "Two total: 5",
            "One total: 2",
        ];
        assert_eq!(log.take(), expected);
    });
}

#[test]
fn what_lies_between_two_waits_is_atomic() {
    let _watch = watch();
    in_each_domain(|| {
        const TASKS: usize = 20;
        const EACH: usize = 50;
        let accounts = Rc::new(std::array::from_fn::<_, 5, _>(|_| Cell::new(100_i64)));
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let accounts = accounts.clone();
                spawn_local(move || {
                    for n in 0..EACH {
                        let (from, to) = ((task + n) % 5, (task + 3 * n + 1) % 5);
                        // Read, think and write, in several steps and without a lock.
                        let balance = accounts[from].get();
                        accounts[from].set(balance - 1);
                        assert_eq!(accounts.iter().map(Cell::get).sum::<i64>(), 499, "nobody else is half way");
                        accounts[to].set(accounts[to].get() + 1);
                        yield_now();
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(accounts.iter().map(Cell::get).sum::<i64>(), 500);
    });
}

// The other half of the rule: a wait in the middle lets others in, here as in gevent.
#[test]
fn a_wait_in_the_middle_is_where_others_come_in() {
    let _watch = watch();
    in_each_domain(|| {
        let count = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let count = count.clone();
                spawn_local(move || {
                    let before = count.get();
                    yield_now();
                    count.set(before + 1);
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(count.get(), 1, "all of them had read before the first one wrote");
    });
}

// S01, S02: a job's result arrives where the task waits for it.
#[test]
fn a_task_goes_on_where_it_waited_for_a_job() {
    let _watch = watch();
    in_each_domain(|| {
        // What it shares with nobody may be on its stack across the waits: it is not `Send`.
        let mine = Rc::new(Cell::new(0));
        let (thread, worker) = (std::thread::current().id(), osier::task::worker());
        let pool = osier::pool::Threads::new(2);
        for n in 0..20 {
            mine.set(mine.get() + pool.submit(|n: u32| n + 1, n).get().unwrap());
            assert_eq!((std::thread::current().id(), osier::task::worker()), (thread, worker));
        }
        assert_eq!(mine.get(), 210);
        // An error is fed back to where it is waited for.
        let error = pool.submit(|_: u32| -> u32 { osier::raise(std::fmt::Error) }, 1).get().unwrap_err();
        assert!(error.exception().unwrap().is::<std::fmt::Error>());
    });
}
