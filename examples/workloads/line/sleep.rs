//! What the repetitions of a workload found whose tasks sleep.

use std::time::Duration;

use super::Failure;
use super::measure::{Report, Sample, check, median};

/// Medians over the repetitions, the first of which is the warm-up and left out.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    walls: Vec<f64>,
    cpus: Vec<f64>,
    /// Milliseconds at the median, the 99th of a hundred, and the last.
    lates: Vec<[f64; 3]>,
}

impl Lateness {
    /// One repetition: what it took, and how late each of `n` tasks woke. What it returns counts processor time as
    /// time: an operation is a task, and its time the processor's.
    ///
    /// # Errors
    /// It was not `n` tasks.
    pub(crate) fn push(&mut self, sample: Sample, mut late: Vec<Duration>, n: u64) -> Result<Sample, Failure> {
        check("tasks that woke", late.len() as u64, n)?;
        late.sort();
        self.walls.push(sample.wall.as_secs_f64());
        self.cpus.push(sample.cpu.as_secs_f64());
        self.lates.push([50, 99, 100].map(|part| late[(late.len() - 1) * part / 100].as_secs_f64() * 1e3));
        Ok(Sample { wall: sample.cpu, cpu: sample.cpu })
    }

    /// Adds the medians to a report.
    pub(crate) fn add_to(&self, report: Report) -> Report {
        let of = |values: &[f64]| median(values[1..].iter().copied());
        let late = |which: usize| median(self.lates[1..].iter().map(|late| late[which]));
        report
            .with("wall_s", of(&self.walls))
            .with("cpu_s", of(&self.cpus))
            .with("late_p50_ms", late(0))
            .with("late_p99_ms", late(1))
            .with("late_max_ms", late(2))
    }
}
