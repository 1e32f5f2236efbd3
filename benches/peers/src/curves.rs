//! How the cost of an operation grows with how many there are of something.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::cell::{Cell, turn};
use crate::plot::{self, Curve};
use crate::{command, systems};

/// A plot, or several: the workload, the key that grows and its values, the operations.
struct Plot {
    /// The file for each field, which is read off the line.
    files: &'static [(&'static str, &'static str)],
    title: &'static str,
    line: &'static str,
    key: &'static str,
    values: &'static [u64],
    /// Operations at each value; at least as many as the value says.
    n: u64,
}

const TASKS: &[u64] = &[100, 1_000, 10_000, 100_000, 1_000_000];
const WORKERS: &[u64] = &[1, 2, 4, 8];

const PLOTS: &[Plot] = &[
    Plot {
        files: &[("yield_over_tasks", "ns_per_op")],
        title: "yield_now",
        line: "yield_now",
        key: "tasks",
        values: TASKS,
        n: 1_000_000,
    },
    Plot {
        files: &[("memory_over_tasks", "bytes_per_task"), ("creation_over_tasks", "ns_per_op")],
        title: "idle_mem",
        line: "idle_mem",
        key: "n",
        values: TASKS,
        n: 0,
    },
    Plot {
        files: &[("spawn_over_workers", "ns_per_op")],
        title: "spawn_join",
        line: "spawn_join",
        key: "threads",
        values: WORKERS,
        n: 200_000,
    },
    Plot {
        files: &[("skynet_over_workers", "ns_per_op")],
        title: "skynet",
        line: "skynet",
        key: "threads",
        values: WORKERS,
        n: 100_000,
    },
    Plot {
        files: &[("mpmc_over_workers", "ns_per_op")],
        title: "mpmc",
        line: "mpmc",
        key: "threads",
        values: WORKERS,
        n: 500_000,
    },
    Plot {
        files: &[("ring_over_channels", "ns_per_op")],
        title: "ring",
        line: "ring",
        key: "tasks",
        values: &[2, 10, 100, 1_000, 10_000],
        n: 200_000,
    },
    Plot {
        files: &[("sleep_over_timers", "ns_per_op")],
        title: "sleep_many",
        line: "sleep_many",
        key: "n",
        values: &[1_000, 10_000, 100_000, 1_000_000],
        n: 0,
    },
];

/// Whose curves are drawn; more would hide each other.
const DRAWN: [&str; 6] = ["osier", "may", "tokio_multi_thread", "smol", "go", "boost"];

/// Measures all plots, three rounds of one repetition in turns, and writes them into `arch-notes/plots/`; a check measures the
/// least value of each, and writes nothing.
pub(crate) fn run(root: &Path, is_check: bool) -> Result<(), String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?;
    let (mut programs, _) = systems::find(root, &beside);
    programs.retain(|program| DRAWN.contains(&program.system.name));
    let rounds = if is_check { 1 } else { 3 };
    let start = Instant::now();
    for plot in PLOTS {
        let values = if is_check { &plot.values[..1] } else { plot.values };
        // By field, program and value.
        let mut cells: BTreeMap<(usize, usize, usize), Cell> = BTreeMap::new();
        for round in 0..rounds {
            for (point, value) in values.iter().enumerate() {
                for turn_of in 0..programs.len() {
                    let column = (turn_of + round) % programs.len();
                    if cells.get(&(0, column, point)).is_some_and(Cell::has_failed) {
                        continue;
                    }
                    let (line, n) = match plot.key {
                        "n" => (plot.line.to_owned(), *value),
                        key => (format!("{} {key}={value}", plot.line), plot.n.max(*value)),
                    };
                    let said = turn(command(&programs[0], &programs[column], &line, Some(n)));
                    for (field, (_, name)) in plot.files.iter().enumerate() {
                        cells.entry((field, column, point)).or_default().read(&said, name);
                    }
                }
            }
        }
        eprintln!("{:>4} s: {} over {}", start.elapsed().as_secs(), plot.title, plot.key);
        if is_check {
            continue;
        }
        for (field, (file, name)) in plot.files.iter().enumerate() {
            let curves = programs.iter().enumerate().filter_map(|(column, program)| {
                let median = |point| cells.get(&(field, column, point))?.median();
                let points =
                    values.iter().enumerate().filter_map(|(point, &value)| Some((value as f64, median(point)?)));
                let points: Vec<_> = points.collect();
                (!points.is_empty()).then(|| Curve { name: program.system.name.to_owned(), points })
            });
            let unit = if *name == "ns_per_op" { "ns an operation" } else { "bytes a task" };
            let x = if plot.key == "n" { "tasks" } else { plot.key };
            let svg = plot::curves(plot.title, x, unit, &curves.collect::<Vec<_>>());
            let folder = root.join("arch-notes/plots");
            let written =
                fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(file).with_extension("svg"), svg));
            written.map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}
