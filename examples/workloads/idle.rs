//! What a task costs that waits: memory, page tables, mappings; and what a runtime costs whose only task waits: processor
//! time, wake-ups.
//!
//! The tasks of `idle_mem` wait in `recv` of one channel on which nothing is ever sent; closing it releases them all. Beside
//! them the same for generators that have yielded once: coroutines without a scheduler.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use osier::sync::{Event, channel};
use osier::{Generator, Runtime, Yielder, spawn};

use crate::Failure;
use crate::args::Params;
use crate::line::memory::{Memory, Parked};
use crate::measure::{Report, Sample, check, median, timed};
use crate::tasks::{on_workers, value_of};

/// One repetition; tells `parked` what it found.
fn round(n: u64, parked: &mut Parked) -> Result<Sample, Failure> {
    let (event, waiters) = channel::bounded::<()>(1);
    let (last_parks, all_park) = channel::bounded(1);
    let waiting = Arc::new(AtomicU64::new(0));
    let (creation, handles) = timed(|| {
        let task = |_| {
            let (waiters, waiting, last_parks) = (waiters.clone(), waiting.clone(), last_parks.clone());
            spawn(move || {
                // Relaxed: only the count itself is of interest, and `send` tells the rest.
                if waiting.fetch_add(1, Ordering::Relaxed) + 1 == n {
                    last_parks.send(()).expect("whoever spawns waits for this");
                }
                drop((waiting, last_parks));
                waiters.recv().is_err()
            })
        };
        let handles: Vec<_> = (0..n).map(task).collect();
        // The last ones, one a worker, may still be on their way into `recv`.
        all_park.recv().map_err(|_| Failure::Wrong("not every task began".to_owned()))?;
        Ok(handles)
    });
    let handles = handles?;
    let memory = Memory::now()?;
    let (release, released) = timed(|| {
        drop(event);
        handles.into_iter().map(|handle| Ok(u64::from(value_of(handle)?))).sum::<Result<u64, _>>()
    });
    check("tasks released by closing", released?, n)?;
    parked.push(creation, memory, release);
    Ok(creation)
}

/// How many are made before memory is measured for the first time, so that what any number of them needs is there.
const FEW: u64 = 1000;

pub(crate) fn idle_mem(params: &Params) -> Result<Report, Failure> {
    let n = params.number("n");
    on_workers(params, || {
        let mut parked = Parked::begin()?;
        round(FEW, &mut Parked::begin()?)?;
        let warm = trimmed()?;
        let report = Report::of(params, n, |tasks| round(tasks, &mut parked))?;
        let report = parked.add_to(report, n);
        // Until the workers have found nothing to do for long enough to give back what they kept.
        osier::time::sleep(Duration::from_secs(1));
        Ok(report.with("rss_warm_kib", warm).with("rss_trimmed_kib", trimmed()?))
    })
}

/// KiB in memory when this thread has given back what it keeps for the next ones.
fn trimmed() -> Result<f64, Failure> {
    osier::stack::trim();
    Ok(Memory::now()?.rss / 1024.0)
}

/// How often threads of this process have gone to sleep, but for the calling one: each time, something woke them before.
fn sleeps_of_others() -> Result<u64, Failure> {
    let unsupported = || Failure::Unsupported("sleeps are only counted on Linux".to_owned());
    let own = fs::read_link("/proc/thread-self").map_err(|_| unsupported())?;
    let mut sleeps = 0;
    for thread in fs::read_dir("/proc/self/task").map_err(|_| unsupported())?.flatten() {
        // A thread may have ended meanwhile.
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        if Some(thread.file_name().as_os_str()) != own.file_name() {
            sleeps += line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(sleeps)
}

/// Looks at a runtime for `length` whose only task waits, from a thread that is none of its own.
#[allow(clippy::disallowed_methods, reason = "no worker, but a thread of its own sleeps")]
fn quiet_round(runtime: &Runtime, length: Duration, sleeps: &mut Vec<u64>) -> Result<Sample, Failure> {
    let (event, begun) = (Event::new(), Event::new());
    let parked = runtime.spawn({
        let (event, begun) = (event.clone(), begun.clone());
        move || {
            begun.set();
            event.wait();
        }
    });
    begun.wait();
    // Until all workers have looked for work and gone to sleep.
    std::thread::sleep(Duration::from_millis(50));
    let before = sleeps_of_others()?;
    let (sample, ()) = timed(|| std::thread::sleep(length));
    sleeps.push(sleeps_of_others()?.saturating_sub(before));
    event.set();
    value_of(parked)?;
    Ok(sample)
}

pub(crate) fn idle_cpu(params: &Params) -> Result<Report, Failure> {
    let length = Duration::from_millis(params.number("ms"));
    let runtime = Runtime::builder().workers(params.size("threads")).build();
    let runtime = runtime.map_err(|error| Failure::Wrong(format!("no runtime: {error}")))?;
    let (mut sleeps, mut cpus) = (Vec::new(), Vec::new());
    let report = Report::of(params, 1, |_| {
        let sample = quiet_round(&runtime, length, &mut sleeps)?;
        cpus.push(sample.cpu.as_secs_f64() * 1e3);
        Ok(sample)
    })?;
    // The first is the warm-up.
    let wakeups = median(sleeps[1..].iter().map(|&sleeps| sleeps as f64 / length.as_secs_f64()));
    Ok(report.with("wakeups_per_s", wakeups).with("cpu_ms", median(cpus[1..].iter().copied())))
}

/// One repetition with generators.
fn generators_round(n: u64, parked: &mut Parked) -> Result<Sample, Failure> {
    let (creation, suspended) = timed(|| {
        let suspended = |_| {
            let mut generator = Generator::new(|y: &Yielder<()>| y.yield_(()));
            generator.next().map(|()| generator)
        };
        (0..n).map(suspended).collect::<Option<Vec<_>>>()
    });
    let suspended = suspended.ok_or_else(|| Failure::Wrong("not every generator yielded".to_owned()))?;
    let memory = Memory::now()?;
    let (release, ()) = timed(|| drop(suspended));
    parked.push(creation, memory, release);
    Ok(creation)
}

pub(crate) fn idle_generators(params: &Params) -> Result<Report, Failure> {
    let n = params.number("n");
    let mut parked = Parked::begin()?;
    generators_round(FEW, &mut Parked::begin()?)?;
    let warm = trimmed()?;
    let report = Report::of(params, n, |generators| generators_round(generators, &mut parked))?;
    Ok(parked.add_to(report, n).with("rss_warm_kib", warm).with("rss_trimmed_kib", trimmed()?))
}
