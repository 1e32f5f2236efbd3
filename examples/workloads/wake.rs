//! Wake-ups: how many a thread and a task give each other, and at a fixed rate, how late each comes, counted from when it
//! was due.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use osier::sync::channel;
use osier::time::sleep_until;
use osier::{JoinHandle, spawn, yield_now};

use crate::Failure;
use crate::args::Params;
use crate::line::histogram::Histogram;
use crate::line::latency::{LOAD_STEPS, Latencies, Schedule, Wakes};
use crate::line::work::compute;
use crate::measure::{Report, Sample, Stopwatch, check, timed};
use crate::tasks::{on_workers, value_of};

/// Tasks that keep the workers busy until they are told to end.
fn loads(count: u64, end: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
    let load = |seed| {
        let end = end.clone();
        spawn(move || {
            while !end.load(Ordering::Relaxed) {
                black_box(compute(seed, LOAD_STEPS));
                yield_now();
            }
        })
    };
    (0..count).map(load).collect()
}

/// Tasks that sleep until each of their wake-ups is due.
fn sleepers(wakes: Wakes, schedule: Schedule) -> Vec<JoinHandle<Histogram>> {
    let sleeper = |task| {
        spawn(move || {
            let mut late = Histogram::new();
            for wake in wakes.of_task(task) {
                let due = schedule.due(wake);
                sleep_until(due);
                late.record_since(due);
            }
            late
        })
    };
    (0..wakes.tasks).map(sleeper).collect()
}

/// Tasks that a plain thread wakes by a message each time.
fn receivers(wakes: Wakes, schedule: Schedule) -> (Vec<JoinHandle<Histogram>>, std::thread::JoinHandle<()>) {
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..wakes.tasks).map(|_| channel::unbounded()).unzip();
    let pacer = std::thread::spawn(move || {
        schedule.pace(wakes.n, |wake| {
            let sender = &senders[usize::try_from(wake % wakes.tasks).expect("tasks are counted in memory")];
            sender.send(wake).expect("the task waits for it");
        });
    });
    let woken = |inbox: channel::Receiver<u64>| {
        spawn(move || {
            let mut late = Histogram::new();
            for wake in inbox {
                late.record_since(schedule.due(wake));
            }
            late
        })
    };
    (inboxes.into_iter().map(woken).collect(), pacer)
}

fn round(wakes: Wakes) -> Result<(Stopwatch, Vec<Histogram>), Failure> {
    let end = Arc::new(AtomicBool::new(false));
    let loads = loads(wakes.load, &end);
    let stopwatch = Stopwatch::start();
    let schedule = Schedule::at(wakes.hz);
    let (handles, pacer) = if wakes.from_thread {
        let (handles, pacer) = receivers(wakes, schedule);
        (handles, Some(pacer))
    } else {
        (sleepers(wakes, schedule), None)
    };
    let late = handles.into_iter().map(value_of).collect::<Result<Vec<_>, _>>();
    end.store(true, Ordering::Relaxed);
    loads.into_iter().try_for_each(value_of)?;
    if let Some(pacer) = pacer {
        pacer.join().map_err(|_| Failure::Wrong("the thread panicked".to_owned()))?;
    }
    Ok((stopwatch, late?))
}

pub(crate) fn latency(params: &Params) -> Result<Report, Failure> {
    on_workers(params, || {
        let mut latencies = Latencies::default();
        let report = Report::of(params, params.number("n"), |n| {
            let (stopwatch, late) = round(Wakes::of(params, n))?;
            latencies.push(stopwatch, late, n)
        })?;
        Ok(latencies.add_to(report))
    })
}

/// A plain thread and a task wake each other, `n` times in all.
fn remote_round(n: u64) -> Result<Sample, Failure> {
    let (there, inbox) = channel::bounded(1);
    let (back, answers) = channel::bounded(1);
    let (sample, woken) = timed(|| {
        let thread = std::thread::spawn(move || {
            let mut woken = 0;
            while woken < n && there.send(()).is_ok() && answers.recv().is_ok() {
                woken += 2;
            }
            woken
        });
        for () in inbox {
            if back.send(()).is_err() {
                break;
            }
        }
        thread.join()
    });
    let woken = woken.map_err(|_| Failure::Wrong("the thread panicked".to_owned()))?;
    check("wake-ups", woken, n.div_ceil(2) * 2)?;
    Ok(sample)
}

pub(crate) fn remote(params: &Params) -> Result<Report, Failure> {
    on_workers(params, || Report::of(params, params.number("n"), remote_round))
}
