//! How the cost of an operation grows with how many there are of something.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::cell::{Cell, turn};
use crate::fit::Work;
use crate::plot::{self, Curve};
use crate::systems::Program;
use crate::{command, facts, programs};

/// What is read off a line: the field, what it is an amount of, and the ending of the plot's file.
type Read = (&'static str, &'static str, &'static str);

const TIME: &[Read] = &[("ns_per_op", "ns an operation", "")];
const PROCESSOR: &[Read] = &[("ns_per_op", "ns of processor time a task", "")];

/// A workload over a key that grows.
struct Plot {
    /// The file; each of the `reads` adds its ending.
    file: &'static str,
    title: &'static str,
    line: &'static str,
    key: &'static str,
    /// What the key counts.
    axis: &'static str,
    values: &'static [u64],
    /// Operations: at least so many, and so many for each of what the key counts.
    least: u64,
    each: u64,
    reads: &'static [Read],
    /// What is read is the whole process's, in KiB, and drawn for each: the field, the file, the title.
    rss: Option<(&'static str, &'static str)>,
}

const TASKS: &[u64] = &[100, 1_000, 10_000, 100_000, 1_000_000];
const WORKERS: &[u64] = &[1, 2, 4, 8];
const CHANNELS: &[u64] = &[1, 10, 100, 1_000, 10_000];
const TIMERS: &[u64] = &[1_000, 10_000, 100_000, 1_000_000];

/// A workload over the number of workers.
const fn over_workers(file: &'static str, title: &'static str, line: &'static str, n: u64) -> Plot {
    let (key, axis) = ("threads", "workers");
    Plot { file, title, line, key, axis, values: WORKERS, least: n, each: 0, reads: TIME, rss: None }
}

const PLOTS: &[Plot] = &[
    // Some yields a task, or the tasks' creation is what is seen.
    Plot {
        file: "yield_over_tasks",
        title: "yield_now: a yield",
        line: "yield_now",
        key: "tasks",
        axis: "tasks",
        values: TASKS,
        least: 1_000_000,
        each: 30,
        reads: TIME,
        rss: None,
    },
    Plot {
        file: "tasks",
        title: "idle_mem: tasks that wait",
        line: "idle_mem",
        key: "n",
        axis: "tasks",
        values: TASKS,
        least: 0,
        each: 1,
        reads: &[
            ("bytes_per_task", "bytes a task", "_memory"),
            ("ns_per_op", "ns to create and park one", "_creation"),
        ],
        rss: None,
    },
    // As many hops a task, for the same reason.
    Plot {
        file: "ring_over_channels",
        title: "ring: a hop",
        line: "ring",
        key: "tasks",
        axis: "channels, and as many tasks",
        values: CHANNELS,
        least: 200_000,
        each: 100,
        reads: TIME,
        rss: Some(("channels_memory", "ring: memory of a channel and its task")),
    },
    Plot {
        file: "sleep_over_timers",
        title: "sleep_many: tasks that sleep",
        line: "sleep_many",
        key: "n",
        axis: "sleepers",
        values: TIMERS,
        least: 0,
        each: 1,
        reads: PROCESSOR,
        rss: Some(("sleepers_memory", "sleep_many: memory of a sleeper")),
    },
    Plot {
        file: "timeout_over_timers",
        title: "timeout_live: a timeout around a receive that waits, set and cancelled",
        line: "timeout_live",
        key: "live",
        axis: "other timers that are set",
        values: TIMERS,
        least: 100_000,
        each: 0,
        reads: &[("ns_per_op", "ns an operation", ""), ("plain_ns", "ns an operation without a timeout", "_plain")],
        rss: None,
    },
    over_workers("yield_over_workers", "yield_now tasks=1000: a yield", "yield_now tasks=1000", 500_000),
    over_workers("ping_pong_over_workers", "ping_pong: a message", "ping_pong", 200_000),
    over_workers("ring_over_workers", "ring: a hop", "ring", 200_000),
    over_workers("mpmc_over_workers", "mpmc: an item", "mpmc", 500_000),
    over_workers("mutex_over_workers", "mutex: a lock", "mutex", 500_000),
    over_workers("spawn_over_workers", "spawn_join: a task", "spawn_join", 200_000),
    over_workers("skynet_over_workers", "skynet: a leaf", "skynet", 100_000),
    Plot {
        reads: PROCESSOR,
        ..over_workers("sleep_over_workers", "sleep_many: tasks that sleep", "sleep_many", 20_000)
    },
];

/// Whose curves are drawn; more would hide each other.
const DRAWN: [&str; 6] = ["osier", "may", "tokio_multi_thread", "smol", "go", "boost"];

/// By read, program and value; what the process had is read last.
type Cells = BTreeMap<(usize, usize, usize), Cell>;

impl Plot {
    /// The line and the operations at a value.
    fn at(&self, value: u64) -> (String, Work) {
        let n = self.least.max(self.each * value);
        let line = if self.key == "n" { self.line.to_owned() } else { format!("{} {}={value}", self.line, self.key) };
        (line, Work { n: Some(n), reps: 1 })
    }

    fn fields(&self) -> impl Iterator<Item = &'static str> {
        self.reads.iter().map(|read| read.0).chain(self.rss.map(|_| "rss_kib"))
    }

    /// All rounds of all programs at all values.
    fn measure(&self, programs: &[Program], values: &[u64], rounds: usize) -> Cells {
        let mut cells = Cells::new();
        for round in 0..rounds {
            for (point, &value) in values.iter().enumerate() {
                for turn_of in 0..programs.len() {
                    let column = (turn_of + round) % programs.len();
                    // What hangs or fails at one value takes longer at the next.
                    let has_failed = |point| cells.get(&(0, column, point)).is_some_and(Cell::has_failed);
                    if (0..=point).any(has_failed) {
                        continue;
                    }
                    let (line, work) = self.at(value);
                    let said = turn(command(&programs[0], &programs[column], &line, work));
                    for (read, field) in self.fields().enumerate() {
                        cells.entry((read, column, point)).or_default().read(&said, field);
                    }
                }
            }
        }
        cells
    }

    /// The plots: the file of each, and its text.
    fn draw(&self, programs: &[Program], values: &[u64], cells: &Cells, facts: &str) -> Vec<(String, String)> {
        let curves = |of: &dyn Fn(usize, usize) -> Option<f64>| -> Vec<Curve> {
            let curve = |(column, program): (usize, &Program)| {
                let at = |(point, &value): (usize, &u64)| Some((value as f64, of(column, point)?));
                let points: Vec<_> = values.iter().enumerate().filter_map(at).collect();
                (!points.is_empty()).then(|| Curve { name: program.system.name.to_owned(), points })
            };
            programs.iter().enumerate().filter_map(curve).collect()
        };
        let median = |read: usize, column: usize, point: usize| cells.get(&(read, column, point))?.median();
        let mut drawn = Vec::new();
        for (read, (_, unit, ending)) in self.reads.iter().enumerate() {
            let curves = curves(&|column, point| median(read, column, point));
            let file = format!("{}{ending}", self.file);
            drawn.push((file, plot::curves(self.title, self.axis, unit, facts, &curves)));
        }
        if let Some((file, title)) = self.rss {
            let read = self.reads.len();
            // What the program has with the fewest is no matter of how many there are.
            let each = |column, point: usize| {
                let more = values[point].checked_sub(values[0]).filter(|more| *more > 0)?;
                let kib = median(read, column, point)? - median(read, column, 0)?;
                Some(kib.max(0.0) * 1024.0 / more as f64)
            };
            drawn.push((file.to_owned(), plot::curves(title, self.axis, "bytes each", facts, &curves(&each))));
        }
        drawn
    }
}

/// Measures all plots, three rounds of one repetition in turns, and writes them into `arch-notes/plots/`; a check measures the
/// least value of each, and writes nothing.
pub(crate) fn run(root: &Path, is_check: bool) -> Result<(), String> {
    let (mut programs, _) = programs(root)?;
    programs.retain(|program| DRAWN.contains(&program.system.name));
    let rounds = if is_check { 1 } else { 3 };
    let start = Instant::now();
    let folder = root.join("arch-notes/plots");
    for plot in PLOTS {
        let values = if is_check { &plot.values[..1] } else { plot.values };
        let cells = plot.measure(&programs, values, rounds);
        eprintln!("{:>4} s: {} over {}", start.elapsed().as_secs(), plot.title, plot.axis);
        for (file, svg) in plot.draw(&programs, values, &cells, &facts(root)) {
            if !is_check {
                let path = folder.join(file).with_extension("svg");
                let written = fs::create_dir_all(&folder).and_then(|()| fs::write(path, svg));
                written.map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(())
}
