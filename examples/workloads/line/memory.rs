//! What the process occupies, as the kernel counts it.

use std::fs;

use super::Failure;
use super::measure::{Report, Sample, kib, median, status_kib};

/// What the process occupies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Bytes in memory.
    pub(crate) rss: f64,
    /// Bytes of page tables.
    pub(crate) tables: f64,
    /// Mappings.
    pub(crate) maps: f64,
}

impl Memory {
    /// Asks the kernel.
    ///
    /// # Errors
    /// This system is not Linux.
    pub(crate) fn now() -> Result<Self, Failure> {
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

/// What the repetitions of a workload found whose tasks all wait.
#[derive(Debug)]
pub(crate) struct Parked {
    before: Memory,
    rounds: Vec<Round>,
}

#[derive(Debug)]
struct Round {
    create_s: f64,
    release_s: f64,
    memory: Memory,
}

impl Parked {
    /// Before the first task.
    ///
    /// # Errors
    /// This system is not Linux.
    pub(crate) fn begin() -> Result<Self, Failure> {
        Ok(Self { before: Memory::now()?, rounds: Vec::new() })
    }

    /// One repetition: how long it took to create and park all, what the process occupied then, how long it took to
    /// release and join them.
    pub(crate) fn push(&mut self, creation: Sample, memory: Memory, release: Sample) {
        self.rounds.push(Round {
            create_s: creation.wall.as_secs_f64(),
            release_s: release.wall.as_secs_f64(),
            memory,
        });
    }

    /// Adds the medians of `n` tasks to a report. The first repetition was the warm-up with fewer tasks and is left out.
    pub(crate) fn add_to(&self, report: Report, n: u64) -> Report {
        let of = |value: fn(&Round) -> f64| median(self.rounds[1..].iter().map(value));
        // Before the warm-up there were no stacks, so every round that is counted is compared with that.
        let rss = (of(|round| round.memory.rss) - self.before.rss) / n as f64;
        let tables = (of(|round| round.memory.tables) - self.before.tables) / n as f64;
        let report = match (Memory::now(), &self.rounds[1..]) {
            // All were released: what is left of them, and whether the later ones needed more mappings than the first.
            (Ok(after), [first, .., last]) => report
                .with("rss_start_kib", self.before.rss / 1024.0)
                .with("rss_end_kib", after.rss / 1024.0)
                .with("maps_more", last.memory.maps - first.memory.maps),
            _ => report,
        };
        report
            .with("rss_bytes_per_task", rss)
            .with("pte_bytes_per_task", tables)
            .with("bytes_per_task", rss + tables)
            .with("maps", of(|round| round.memory.maps))
            .with("create_s", of(|round| round.create_s))
            .with("release_s", of(|round| round.release_s))
    }
}
