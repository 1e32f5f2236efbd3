//! What a task costs that waits: memory, page tables, mappings.
//!
//! The tasks wait in `recv` of one channel on which nothing is ever sent; closing it releases them all.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use osier::spawn;
use osier::sync::channel;

use crate::Failure;
use crate::args::Params;
use crate::measure::{Report, Sample, check, kib, median, status_kib, timed};
use crate::tasks::{on_workers, value_of};

/// What the process occupies.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// Bytes in memory.
    rss: f64,
    /// Bytes of page tables.
    tables: f64,
    /// Mappings.
    maps: f64,
}

impl Memory {
    /// Asks the kernel.
    ///
    /// # Errors
    /// This system is not Linux.
    fn now() -> Result<Self, Failure> {
        let unsupported = || Failure::Unsupported("memory is only measured on Linux".to_owned());
        let bytes = |kib: u64| kib as f64 * 1024.0;
        // The sum over all mappings is exact; the counter in `status` lags behind by some pages a thread.
        let rollup = fs::read_to_string("/proc/self/smaps_rollup").map_err(|_| unsupported())?;
        let rss = bytes(kib(&rollup, "Rss").ok_or_else(unsupported)?);
        let tables = bytes(status_kib("VmPTE").ok_or_else(unsupported)?);
        let maps = fs::read_to_string("/proc/self/maps").map_err(|_| unsupported())?.lines().count() as f64;
        Ok(Self { rss, tables, maps })
    }
}

/// What one repetition found, while all tasks were parked and after.
struct Round {
    creation: Sample,
    release: Sample,
    memory: Memory,
}

fn round(n: u64) -> Result<Round, Failure> {
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
    Ok(Round { creation, release, memory })
}

pub(crate) fn idle_mem(params: &Params) -> Result<Report, Failure> {
    let n = params.number("n");
    let mut rounds = Vec::new();
    let (report, before) = on_workers(params, || {
        let before = Memory::now()?;
        let report = Report::of(params, n, |tasks| {
            let round = round(tasks)?;
            let sample = round.creation;
            // Before the warm-up there are no stacks, so every round that is counted is compared with that.
            if tasks == n {
                rounds.push(round);
            }
            Ok(sample)
        })?;
        Ok((report, before))
    })?;
    let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value));
    let rss = (of(|round| round.memory.rss) - before.rss) / n as f64;
    let tables = (of(|round| round.memory.tables) - before.tables) / n as f64;
    Ok(report
        .with("rss_bytes_per_task", rss)
        .with("pte_bytes_per_task", tables)
        .with("bytes_per_task", rss + tables)
        .with("maps", of(|round| round.memory.maps))
        .with("create_s", of(|round| round.creation.wall.as_secs_f64()))
        .with("release_s", of(|round| round.release.wall.as_secs_f64())))
}
