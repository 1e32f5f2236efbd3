//! What a program is told when its tasks wait for each other: here two of them take two locks, each the other one's first.
//! `run` would panic with that; `try_run` gives it.
//!
//! ```sh
//! cargo run --release --example deadlock
//! ```
//!
//! A dump tells of a program that goes on, too; with `dump_on_quit` it comes also for Ctrl-\. All that is known of the
//! deadlock, with numbers and the code's lines, goes to standard error; to standard output:
//!
//! ```text
//! in the meantime:
//! 'left' waits for its time
//! 'right' waits for its time
//! at the end:
//! 'left' waits for a mutex
//! 'right' waits for a mutex
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::time::Duration;

use osier::runtime::{Runtime, TaskDump};
use osier::sync::Mutex;
use osier::{sleep, task};

/// Takes both locks, and does something that takes a while in between.
fn take_both(first: &Mutex<u32>, second: &Mutex<u32>) {
    let held = first.lock();
    sleep(Duration::from_millis(100));
    *second.lock() += *held;
}

fn lines<'a>(tasks: impl IntoIterator<Item = &'a TaskDump>) -> Vec<String> {
    let line =
        |task: &TaskDump| format!("'{}' waits for {}", task.name, task.waits_for.as_deref().unwrap_or("nothing"));
    let mut lines: Vec<_> = tasks.into_iter().map(line).collect();
    lines.sort();
    lines
}

fn main() {
    // The promise that no other thread wakes the tasks. A program whose threads are all osier's needs none.
    let runtime = Runtime::builder().workers(2).closed_world(true).dump_on_quit(true).build().expect("threads");
    let (left, right) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    let result = runtime.try_run(|| {
        let locks = (left.clone(), right.clone());
        let one = task::Builder::new().name("left").spawn(move || take_both(&locks.0, &locks.1));
        let locks = (left.clone(), right.clone());
        let other = task::Builder::new().name("right").spawn(move || take_both(&locks.1, &locks.0));
        sleep(Duration::from_millis(50));
        println!("in the meantime:");
        for line in lines(&runtime.dump().tasks).iter().filter(|line| line.contains("its time")) {
            println!("{line}");
        }
        one.join().and(other.join())
    });
    let deadlock = result.expect_err("they wait for each other");
    println!("at the end:");
    for line in lines(deadlock.tasks()).iter().filter(|line| line.contains("a mutex")) {
        println!("{line}");
    }
    eprintln!("{deadlock}");
}

#[test]
fn it_runs() {
    main();
}
