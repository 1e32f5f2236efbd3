//! What the four basic moves cost on this machine, in nanoseconds.
//!
//! Each is timed in rounds that take about 20 ms; the median round counts. For numbers with confidence intervals see
//! `benches/`, for comparisons with other systems the `workloads` example.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use osier::sync::channel;
use osier::{Generator, Greenlet, Runtime, Yielder, spawn};

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(20);

/// Names and nanoseconds.
pub(crate) fn measure() -> io::Result<Vec<(&'static str, f64)>> {
    let mut rows =
        vec![("an item from a generator", generator_item()), ("a switch to a greenlet and back", greenlet_switch())];
    // One worker: what the calls cost, without the wake-up of a thread.
    let runtime = Runtime::builder().workers(1).build()?;
    rows.push(("spawn and join a task", runtime.run(spawn_join)));
    rows.push(("a message from task to task", runtime.run(channel_hop)));
    Ok(rows)
}

/// The time of one operation: `run` does as many as it is told and returns how long that took.
fn median(mut run: impl FnMut(u32) -> Duration) -> f64 {
    // Doubled until a round is long enough; the first ones also warm up stacks and caches.
    let mut n = 1000;
    while run(n) < ROUND {
        n *= 2;
    }
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| run(n).as_secs_f64() * 1e9 / f64::from(n)).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn generator_item() -> f64 {
    let mut numbers = Generator::new(|y: &Yielder<u64>| {
        for n in 0.. {
            y.yield_(n);
        }
    });
    median(|n| {
        timed(|| {
            for _ in 0..n {
                black_box(numbers.next());
            }
        })
    })
}

fn greenlet_switch() -> f64 {
    let root = Greenlet::current();
    let echo = Greenlet::new(move |mut n: u32| {
        loop {
            n = root.switch(n);
        }
    });
    median(|n| {
        timed(|| {
            for i in 0..n {
                black_box(echo.switch(i));
            }
        })
    })
}

fn spawn_join() -> f64 {
    median(|n| {
        timed(|| {
            for i in 0..n {
                black_box(spawn(move || i).join()).ok();
            }
        })
    })
}

fn channel_hop() -> f64 {
    median(|n| {
        let (there, inbox) = channel::bounded(1);
        let (back, answers) = channel::bounded(1);
        let echo = spawn(move || inbox.into_iter().take_while(|&i| back.send(i).is_ok()).count());
        let time = timed(|| {
            for i in 0..n / 2 {
                there.send(i).expect("the other task lives as long as this end");
                black_box(answers.recv()).expect("the other task answers");
            }
        });
        drop(there);
        echo.join().expect("the other task ends when the channel is closed");
        time
    })
}
