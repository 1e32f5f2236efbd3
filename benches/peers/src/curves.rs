//! How the cost of an operation grows with how many there are of something.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::cell::Cell;
use crate::plot::{self, Curve};
use crate::{command, systems};

/// A plot: the workload, the key that grows and its values, the operations, the number that is read off.
struct Plot {
    file: &'static str,
    title: &'static str,
    line: &'static str,
    key: &'static str,
    values: &'static [u64],
    /// Operations at each value; at least as many as the value says.
    n: u64,
    field: &'static str,
}

const TASKS: &[u64] = &[100, 1_000, 10_000, 100_000, 1_000_000];
const WORKERS: &[u64] = &[1, 2, 4, 8];

const PLOTS: &[Plot] = &[
    Plot {
        file: "yield_over_tasks",
        title: "yield_now",
        line: "yield_now",
        key: "tasks",
        values: TASKS,
        n: 1_000_000,
        field: "ns_per_op",
    },
    Plot {
        file: "memory_over_tasks",
        title: "idle_mem",
        line: "idle_mem",
        key: "n",
        values: TASKS,
        n: 0,
        field: "bytes_per_task",
    },
    Plot {
        file: "creation_over_tasks",
        title: "idle_mem",
        line: "idle_mem",
        key: "n",
        values: TASKS,
        n: 0,
        field: "ns_per_op",
    },
    Plot {
        file: "spawn_over_workers",
        title: "spawn_join",
        line: "spawn_join",
        key: "threads",
        values: WORKERS,
        n: 200_000,
        field: "ns_per_op",
    },
    Plot {
        file: "skynet_over_workers",
        title: "skynet",
        line: "skynet",
        key: "threads",
        values: WORKERS,
        n: 100_000,
        field: "ns_per_op",
    },
    Plot {
        file: "mpmc_over_workers",
        title: "mpmc",
        line: "mpmc",
        key: "threads",
        values: WORKERS,
        n: 500_000,
        field: "ns_per_op",
    },
    Plot {
        file: "ring_over_channels",
        title: "ring",
        line: "ring",
        key: "tasks",
        values: &[2, 10, 100, 1_000, 10_000],
        n: 200_000,
        field: "ns_per_op",
    },
    Plot {
        file: "sleep_over_timers",
        title: "sleep_many",
        line: "sleep_many",
        key: "n",
        values: &[1_000, 10_000, 100_000, 1_000_000],
        n: 0,
        field: "ns_per_op",
    },
];

/// Whose curves are drawn; more would hide each other.
const DRAWN: [&str; 6] = ["osier", "may", "tokio_multi_thread", "smol", "go", "boost"];

/// Measures all plots, three rounds in turns, and writes them into `arch-notes/plots/`; a check measures the least value of each,
/// and writes nothing.
pub(crate) fn run(root: &Path, is_check: bool) -> Result<(), String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?;
    let (mut programs, _) = systems::find(root, &beside);
    programs.retain(|program| DRAWN.contains(&program.system.name));
    let rounds = if is_check { 1 } else { 3 };
    let start = Instant::now();
    for plot in PLOTS {
        let values = if is_check { &plot.values[..1] } else { plot.values };
        let mut cells: Vec<Vec<Cell>> =
            programs.iter().map(|_| values.iter().map(|_| Cell::default()).collect()).collect();
        for _ in 0..rounds {
            for (point, value) in values.iter().enumerate() {
                for (program, cells) in programs.iter().zip(&mut cells) {
                    let line = if plot.key == "n" {
                        plot.line.to_owned()
                    } else {
                        format!("{} {}={value}", plot.line, plot.key)
                    };
                    let n = if plot.key == "n" { *value } else { plot.n.max(*value) };
                    cells[point].turn(command(&programs[0], program, &line, Some(n)), plot.field);
                }
            }
        }
        eprintln!("{:>4} s: {}", start.elapsed().as_secs(), plot.file);
        if is_check {
            continue;
        }
        let curves = programs.iter().zip(&cells).filter_map(|(program, cells)| {
            let points = values.iter().zip(cells).filter_map(|(&value, cell)| Some((value as f64, cell.median()?)));
            let points: Vec<_> = points.collect();
            (!points.is_empty()).then(|| Curve { name: program.system.name.to_owned(), points })
        });
        let unit = if plot.field == "ns_per_op" { "ns an operation" } else { "bytes a task" };
        let x = if plot.key == "n" { "tasks" } else { plot.key };
        let svg = plot::curves(plot.title, x, unit, &curves.collect::<Vec<_>>());
        let folder = root.join("arch-notes/plots");
        let written =
            fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(plot.file).with_extension("svg"), svg));
        written.map_err(|error| error.to_string())?;
    }
    Ok(())
}
