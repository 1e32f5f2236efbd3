//! Runs every system's program on every workload, turn and turn about, and writes down what came out.
//!
//! ```text
//! benches/peers/run --quick    # three rounds of small repetitions: about 5 minutes
//! benches/peers/run --check    # one round of almost nothing, and nothing is written: does every program still run?
//! benches/peers/run            # nine rounds of ten times as much: about 2 hours
//! ```
//!
//! In each round every system has its turn at one workload before the next workload begins, so that what slows the
//! machine down for a while slows all of them. The tables go where two comments mark their place: `<!-- measured -->` and
//! `<!-- /measured -->`, in `arch-notes/performance.md` (everything) and `README.md` (osier beside the best peer).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

/// Who is measured, by the name of the program.
const PEERS: [&str; 9] = [
    "osier",
    "corosensei",
    "generator",
    "may",
    "tokio_current_thread",
    "tokio_multi_thread",
    "smol",
    "rayon",
    "threads",
];

/// What is measured, and by how much the operations of a quick run are divided for threads of the system, which are about a
/// hundred times as slow as tasks.
const WORKLOADS: &[(&str, u64, u64)] = &[
    ("switch", 1_000_000, 1),
    ("switch_many", 500_000, 1),
    ("symmetric", 1_000_000, 1),
    ("gen_sum", 1_000_000, 1),
    ("create", 100_000, 1),
    ("spawn_join", 100_000, 20),
    ("spawn_join wait=1", 100_000, 20),
    ("spawn_join threads=2", 100_000, 20),
    ("spawn_join wait=1 threads=2", 100_000, 20),
    ("yield_now", 500_000, 10),
    ("yield_now tasks=1000", 500_000, 10),
    ("ping_pong", 200_000, 20),
    ("ping_pong threads=2", 200_000, 20),
    ("ping_pong chan=unbounded", 200_000, 20),
    ("ring", 200_000, 20),
    ("ring threads=2", 200_000, 20),
    ("mpmc", 500_000, 20),
    ("mpmc threads=2", 500_000, 20),
    ("select", 200_000, 20),
    ("skynet", 100_000, 100),
    ("skynet wait=1", 100_000, 100),
    ("skynet threads=2", 100_000, 100),
    ("mutex", 500_000, 10),
    ("mutex threads=2", 500_000, 10),
    ("mutex yield_in=1", 100_000, 10),
    ("timeout_churn", 200_000, 1),
    ("timeout_churn wait=1", 100_000, 1),
    ("idle_mem", 20_000, 10),
    ("sleep_many", 20_000, 10),
    ("parallel_speedup", 2_000, 1),
    ("parallel_speedup threads=2", 2_000, 1),
];

/// These have no number of operations.
const WHOLE: &[&str] = &["fib k=22", "fib k=22 wait=1", "fib k=22 threads=2"];

/// How long a program may take before it counts as hanging.
const LIMIT: Duration = Duration::from_secs(60);

/// What one program found in all its rounds: ns an operation, or why there is none.
#[derive(Default)]
struct Cell {
    times: Vec<f64>,
    failure: Option<String>,
}

impl Cell {
    fn median(&self) -> Option<f64> {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }

    /// The median, the least, and the spread: how far the highest is above the least.
    fn text(&self) -> String {
        let Some(median) = self.median() else {
            return self.failure.clone().unwrap_or_default();
        };
        let least = self.times.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.times.iter().copied().fold(0.0, f64::max);
        format!("{} ({}, +{:.0} %)", short(median), short(least), (most / least - 1.0) * 100.0)
    }
}

fn short(ns: f64) -> String {
    if ns < 10.0 { format!("{ns:.1}") } else { format!("{ns:.0}") }
}

/// Runs one program once.
///
/// # Errors
/// Why it has no result, in a word: it does not have the workload, it failed, or it hung.
fn turn(program: &Path, arguments: &[String]) -> Result<f64, Option<String>> {
    let failed = |why: &str| Err(Some(why.to_owned()));
    let started = Command::new(program).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = started else { return failed("missing") };
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < LIMIT => thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return failed("hangs");
            }
        }
    };
    let output = child.wait_with_output().map(|output| output.stdout).unwrap_or_default();
    match status.code() {
        Some(0) => {}
        Some(3) => return Err(None),
        Some(_) => return failed("fails"),
        None => return failed("crashes"),
    }
    let text = String::from_utf8_lossy(&output);
    let number = text.split_once("\"ns_per_op\":").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
    number.ok_or_else(|| Some("no result".to_owned()))
}

/// The machine, the compiler and the commit, as a sentence.
fn facts(root: &Path) -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(root).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("unknown");
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let (date, kernel) = (said("date", &["+%Y-%m-%d"]), said("uname", &["-sr"]));
    let (rustc, commit) = (said("rustc", &["--version"]), said("git", &["rev-parse", "--short", "HEAD"]));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown").to_owned();
    format!("{date}, {cpu}, {cores} cores, {kernel}, {rustc}, commit {commit}; load average when it ended: {load}.")
}

/// Puts `text` between the marks of a file; a check only looks whether there are any.
fn put(file: &Path, text: &str, is_check: bool) -> Result<(), String> {
    const MARKS: [&str; 2] = ["<!-- measured -->", "<!-- /measured -->"];
    let old = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let marks = old.split_once(MARKS[0]).and_then(|(before, rest)| Some((before, rest.split_once(MARKS[1])?.1)));
    let (before, after) = marks.ok_or_else(|| format!("{} has no marks", file.display()))?;
    if is_check {
        return Ok(());
    }
    let new = format!("{before}{}\n\n{text}\n{}{after}", MARKS[0], MARKS[1]);
    fs::write(file, new).map_err(|error| format!("{}: {error}", file.display()))
}

/// How much is run.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Check,
    Quick,
    Full,
}

fn run(root: &Path, scale: Scale) -> Result<(), String> {
    // Rounds; what the operations of a quick run are multiplied with, and divided by.
    let (rounds, factor, part) = match scale {
        Scale::Check => (1, 1, 100),
        Scale::Quick => (3, 1, 1),
        Scale::Full => (9, 10, 1),
    };
    let programs = env::current_exe().map_err(|error| error.to_string())?;
    let program = |peer: &str| match peer {
        "osier" => root.join("target/release/examples/workloads"),
        _ => programs.with_file_name(peer),
    };
    let lines: Vec<_> = WORKLOADS.iter().copied().chain(WHOLE.iter().map(|line| (*line, 0, 1))).collect();
    let mut cells: BTreeMap<(usize, usize), Cell> = BTreeMap::new();
    let start = Instant::now();
    for round in 0..rounds {
        for (row, (line, n, divisor)) in lines.iter().enumerate() {
            for turn_of in 0..PEERS.len() {
                // Another one goes first in each round.
                let column = (turn_of + round) % PEERS.len();
                let cell = cells.entry((row, column)).or_default();
                if round > 0 && cell.times.is_empty() {
                    continue;
                }
                let mut arguments: Vec<_> = line.split(' ').map(str::to_owned).collect();
                arguments.push("reps=1".to_owned());
                if *n > 0 {
                    let divisor = if PEERS[column] == "threads" { *divisor } else { 1 };
                    arguments.push(format!("n={}", n * factor / divisor / part));
                }
                match turn(&program(PEERS[column]), &arguments) {
                    Ok(ns) => cell.times.push(ns),
                    Err(why) => cell.failure = why,
                }
            }
            eprintln!("round {} of {rounds}, {:>4} s: {line}", round + 1, start.elapsed().as_secs());
        }
    }

    let facts = facts(root);
    let mut full = format!(
        "{facts}\n\nns an operation: the median of {rounds} rounds (the least, and how far the highest is above it).\n\n"
    );
    let _ = writeln!(full, "| workload | {} |", PEERS.join(" | "));
    let _ = writeln!(full, "| --- |{}", " ---: |".repeat(PEERS.len()));
    let mut brief =
        format!("{facts} Made by `benches/peers/run{}`.\n\n", if scale == Scale::Full { "" } else { " --quick" });
    brief.push_str(
        "| workload | osier, ns | best other, ns | who | osier / best |\n| --- | ---: | ---: | --- | ---: |\n",
    );
    for (row, (line, ..)) in lines.iter().enumerate() {
        let texts: Vec<_> = (0..PEERS.len()).map(|column| cells[&(row, column)].text()).collect();
        let _ = writeln!(full, "| `{line}` | {} |", texts.join(" | "));
        let others = (1..PEERS.len()).filter_map(|column| Some((cells[&(row, column)].median()?, PEERS[column])));
        let best = others.min_by(|a, b| a.0.total_cmp(&b.0));
        if let (Some(osier), Some((ns, who))) = (cells[&(row, 0)].median(), best) {
            let ratio = osier / ns;
            let mark = if ratio > 1.0 { "**" } else { "" };
            let _ = writeln!(brief, "| `{line}` | {} | {} | {who} | {mark}{ratio:.2}{mark} |", short(osier), short(ns));
        }
    }
    brief.push_str("\nBold: the other one is better.\n");
    println!("{brief}");
    put(&root.join("arch-notes/performance.md"), &full, scale == Scale::Check)?;
    put(&root.join("README.md"), &brief, scale == Scale::Check)
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let scale = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Scale::Full,
        ["--quick"] => Scale::Quick,
        ["--check"] => Scale::Check,
        _ => {
            eprintln!("usage: benches/peers/run [--quick | --check]");
            return ExitCode::from(2);
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match run(&root, scale) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
