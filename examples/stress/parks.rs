//! Tasks that park and wake each other, in pairs, mostly on two workers: no wake-up is lost.
//!
//! The model: a pair takes turns. Whoever has its turn passes it on and wakes the other; whoever has not parks. A wake-up
//! that is lost stops the pair for ever. Many pairs keep their workers awake; one alone, whose members compute for about as
//! long as a worker searches before it sleeps, has each wake-up meet the other worker on its way to sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use osier::sync::channel;
use osier::task::{self, Builder, Place, Task};
use osier::{JoinHandle, Runtime};

use crate::random::Random;

/// How many pairs take turns at the same time.
const PAIRS: u64 = 32;
/// How long nobody may get on.
const LIMIT: Duration = Duration::from_secs(30);

/// How long a member of the pair that is alone computes at most. A worker searches for 50 µs before it sleeps.
const LONGEST: usize = 100;

/// Makes a pair whose members hand the turn to each other `rounds` times each, and compute before, if there is a seed for how
/// long.
fn pair(rounds: u64, done: &Arc<AtomicU64>, seed: Option<u64>) -> [JoinHandle<()>; 2] {
    let turn = Arc::new(AtomicU64::new(0));
    let [(first, its), (second, other)] = [0, 1].map(|me| {
        let (turn, done) = (turn.clone(), done.clone());
        let (partner, get) = channel::bounded::<Task>(1);
        let mut random = seed.map(|seed| Random::new(seed.wrapping_add(me)));
        let member = move || {
            let partner = get.recv().expect("it is told who the other one is");
            for round in 0..rounds {
                while turn.load(Ordering::Acquire) != 2 * round + me {
                    task::park();
                }
                if let Some(random) = &mut random {
                    let (began, time) = (Instant::now(), Duration::from_micros(random.below(LONGEST) as u64));
                    while began.elapsed() < time {
                        std::hint::spin_loop();
                    }
                }
                turn.store(2 * round + me + 1, Ordering::Release);
                partner.unpark();
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        (Builder::new().place(Place::Spread).spawn(member), partner)
    });
    its.send(second.task()).expect("it waits for that");
    other.send(first.task()).expect("it waits for that");
    [first, second]
}

fn pairs(rounds: u64, done: &Arc<AtomicU64>) {
    let members: Vec<_> = (0..PAIRS).flat_map(|_| pair(rounds, done, None)).collect();
    members.into_iter().for_each(|member| member.join().expect("it ends by itself"));
}

/// Some thousands of them, on whatever runtime it is.
pub(crate) fn round(random: &mut Random) {
    let (rounds, done) = (random.below(100) as u64 + 1, Arc::default());
    pairs(rounds, &done);
    assert_eq!(done.load(Ordering::Relaxed), 2 * PAIRS * rounds);
}

/// At least `count` of them, on 1, 2, 4, 8 and 16 workers, and some by a pair alone. Ends the process if one is lost. Returns how
/// many there were.
pub(crate) fn many(count: u64) -> u64 {
    let workers = [1, 2, 4, 8, 16];
    let each = count.div_ceil(2 * PAIRS * workers.len() as u64);
    let done = Arc::<AtomicU64>::default();
    for workers in workers {
        let all = done.clone();
        watched(workers, &done, move || pairs(each, &all));
    }
    for workers in [2, 4] {
        let (all, rounds) = (done.clone(), (count / 200).clamp(100, 100_000));
        watched(workers, &done, move || {
            let members = pair(rounds, &all, Some(count));
            members.into_iter().for_each(|member| member.join().expect("it ends by itself"));
        });
    }
    done.load(Ordering::Relaxed)
}

/// Runs `f` on a runtime, and ends the process if nobody gets on any more.
fn watched(workers: usize, done: &AtomicU64, f: impl FnOnce() + Send + 'static) {
    let runtime = Runtime::builder().workers(workers).build().expect("a few threads are to be had");
    let root = runtime.spawn(f);
    let (mut seen, mut since) = (0, Instant::now());
    while !root.is_finished() {
        // Not `join`, to see when nobody gets on any more.
        std::thread::park_timeout(Duration::from_millis(20));
        let now = done.load(Ordering::Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > LIMIT {
            eprintln!("FAIL a wake-up is lost: {now} were not, {workers} workers");
            std::process::abort();
        }
    }
    root.join().expect("it ends by itself");
}
