//! Times repetitions, asks the system what they took, and writes it down as one line of JSON.

use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use super::Failure;
use super::args::Params;

/// What one repetition took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    /// Processor time of the whole process.
    pub(crate) cpu: Duration,
}

/// Times `work`.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (Sample, T) {
    let stopwatch = Stopwatch::start();
    let value = work();
    (stopwatch.stop(), value)
}

/// Times what is no closure, as what an asynchronous function does between two lines.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    cpu: Duration,
    start: Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        let cpu = cpu_time();
        Self { cpu, start: Instant::now() }
    }

    pub(crate) fn stop(self) -> Sample {
        let wall = self.start.elapsed();
        Sample { wall, cpu: cpu_time().saturating_sub(self.cpu) }
    }
}

/// Passes if the workload found what it should.
pub(crate) fn check<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(Failure::Wrong(format!("{what}: expected {expected:?}, found {found:?}")))
}

/// All repetitions of one workload.
#[derive(Debug)]
pub(crate) struct Report {
    /// Operations in each repetition.
    n: u64,
    samples: Vec<Sample>,
    /// What the workload says besides.
    extra: Vec<(&'static str, f64)>,
}

impl Report {
    /// Runs a workload of `n` operations: once with a tenth of them as a warm-up, then as often as `reps` says. `run`
    /// is told how many operations to do, checks what it found, and says what the timed part of it took.
    ///
    /// # Errors
    /// Those of `run`, at the first.
    pub(crate) fn of(
        params: &Params,
        n: u64,
        mut run: impl FnMut(u64) -> Result<Sample, Failure>,
    ) -> Result<Self, Failure> {
        run((n / 10).max(1))?;
        let samples = (0..params.number("reps")).map(|_| run(n)).collect::<Result<_, _>>()?;
        Ok(Self { n, samples, extra: Vec::new() })
    }

    /// Adds a number to `extra`.
    pub(crate) fn with(mut self, name: &'static str, value: f64) -> Self {
        self.extra.push((name, value));
        self
    }

    /// Adds the median wall time of a repetition to `extra`.
    pub(crate) fn with_total(self) -> Self {
        let total = median(self.samples.iter().map(|sample| sample.wall.as_secs_f64() * 1e3));
        self.with("total_ms", total)
    }

    /// Nanoseconds of one operation: of each repetition, in the order they ran.
    pub(crate) fn all_ns(&self) -> impl Iterator<Item = f64> {
        self.samples.iter().map(|sample| ns_per_op(*sample, self.n))
    }

    /// The line that this program prints.
    pub(crate) fn json(&self, peer: &str, workload: &str, params: &Params) -> String {
        let ns = median(self.all_ns());
        let wall: Duration = self.samples.iter().map(|sample| sample.wall).sum();
        let cpu: Duration = self.samples.iter().map(|sample| sample.cpu).sum();
        let least = self.all_ns().fold(f64::INFINITY, f64::min);
        let most = self.all_ns().fold(0.0, f64::max);
        let all: Vec<_> = self.all_ns().map(|ns| decimal(ns, 2)).collect();

        let shown: Vec<_> = params.shown().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let mut line = format!("{{\"peer\":\"{peer}\",\"workload\":\"{workload}\",\"params\":{{{}}}", shown.join(","));
        let rate = decimal(1e9 / ns, 1);
        let _ = write!(line, ",\"n\":{},\"ns_per_op\":{},\"ops_per_s\":{rate}", self.n, decimal(ns, 2));
        let rss = status_kib("VmHWM").map_or_else(|| "null".to_owned(), |kib| kib.to_string());
        let _ = write!(line, ",\"rss_kib\":{rss}");
        let _ = write!(line, ",\"extra\":{{\"min_ns\":{},\"max_ns\":{}", decimal(least, 2), decimal(most, 2));
        let _ = write!(line, ",\"all_ns\":[{}]", all.join(","));
        let _ = write!(line, ",\"cpu_per_wall\":{}", decimal(cpu.as_secs_f64() / wall.as_secs_f64(), 3));
        for (name, value) in &self.extra {
            let _ = write!(line, ",\"{name}\":{}", decimal(*value, 3));
        }
        line.push_str("}}");
        line
    }
}

/// Nanoseconds of one of `n` operations.
pub(crate) fn ns_per_op(sample: Sample, n: u64) -> f64 {
    sample.wall.as_secs_f64() * 1e9 / n as f64
}

/// A number as JSON has them: infinity and the like are not among them.
fn decimal(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "null".to_owned() }
}

/// The middle value; of an even number of values, the mean of the two in the middle.
///
/// # Panics
/// If there is none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// The processor time that this process has used, on all its threads.
#[cfg(unix)]
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every Unix has this clock");
    let seconds = u64::try_from(time.tv_sec).expect("processor time is positive");
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).expect("so are its parts"))
}

#[cfg(not(unix))]
fn cpu_time() -> Duration {
    Duration::ZERO
}

/// A line of `/proc/self/status`, in KiB; `None` where there is no such file.
pub(crate) fn status_kib(name: &str) -> Option<u64> {
    kib(&fs::read_to_string("/proc/self/status").ok()?, name)
}

/// The line `name: 123 kB` of a file that the kernel made.
pub(crate) fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
