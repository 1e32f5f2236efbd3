//! A pipeline of two stages: both on one core, then the first one ahead of the second, on another.
//!
//! ```text
//! cargo run --release --example pipeline
//! both made 2000 items, sum 4200763605
//! the first stage ahead: 1.9 times as fast (with two cores or more)
//! ```
//!
//! The body of the first stage is the same both times; only the way it is started differs. How many times as fast that is
//! depends on the machine, and on what else it does. That both stages compute at once is asserted where there are two cores.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use osier::{Generator, Runtime, Yielder};

const ITEMS: u64 = 2000;

/// Computes for some microseconds: what a stage does to an item.
fn work(seed: u64) -> u64 {
    (0..20_000).fold(seed, |x, _| (x ^ (x >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 43
}

/// Whether the first stage computes.
static PRODUCES: AtomicBool = AtomicBool::new(false);

/// The first stage.
fn produce(y: &Yielder<u64>) {
    for n in 0..ITEMS {
        PRODUCES.store(true, Ordering::Relaxed);
        let item = work(n);
        PRODUCES.store(false, Ordering::Relaxed);
        y.yield_(item);
    }
}

/// The second stage: how many items, their sum, and beside how many the first stage computed.
fn consume(items: impl Iterator<Item = u64>) -> (u64, u64, u64) {
    items.fold((0, 0, 0), |(count, sum, at_once), item| {
        let sum = sum + work(item) + item;
        (count + 1, sum, at_once + u64::from(PRODUCES.load(Ordering::Relaxed)))
    })
}

fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = f();
    (value, start.elapsed())
}

fn main() {
    let runtime = Runtime::builder().workers(2).build().expect("two threads are to be had");
    runtime.run(|| {
        let ((count, sum, none), alone) = timed(|| consume(Generator::builder(produce).build()));
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let mut tries = 0;
        let together = loop {
            let (ahead, together) = timed(|| consume(Generator::builder(produce).spawn_ahead(16)));
            assert_eq!(((count, sum), none), ((ahead.0, ahead.1), 0));
            // Others may have had the second core.
            tries += 1;
            if cores == 1 || ahead.2 > ITEMS / 10 {
                break together;
            }
            assert!(tries < 20, "both stages computed at once beside {} items", ahead.2);
        };
        println!("both made {count} items, sum {sum}");
        let times = alone.as_secs_f64() / together.as_secs_f64();
        println!("the first stage ahead: {times:.1} times as fast (with two cores or more)");
    });
}

#[test]
fn runs() {
    main();
}
