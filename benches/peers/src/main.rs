//! Runs every system's program on every workload, turn and turn about, and writes down what came out.
//!
//! ```text
//! benches/peers/run --quick    # three rounds of small repetitions
//! benches/peers/run --check    # one round of almost nothing, and nothing is written: does every program still run?
//! benches/peers/run --curves   # how costs grow with tasks, workers, channels and timers, as plots
//! benches/peers/run            # nine rounds of ten times as much
//! ```
//!
//! In each round every system has its turn at one workload before the next workload begins, so that what slows the
//! machine down for a while slows all of them. The tables go where two comments mark their place: `<!-- measured -->` and
//! `<!-- /measured -->`, in `arch-notes/performance.md` (everything) and `README.md` (osier beside the best peer); the plots
//! into `arch-notes/plots/`.

mod cell;
mod curves;
mod plot;
mod systems;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs, thread};

use cell::{Cell, short, turn};
use systems::Program;

/// What is measured: the workload with its keys; the operations of a quick run, if it has a number of them; how much smaller
/// they are for slow systems; the number that is read off.
struct Row {
    line: &'static str,
    n: u64,
    divisor: u64,
    field: &'static str,
}

const fn row(line: &'static str, n: u64, divisor: u64) -> Row {
    Row { line, n, divisor, field: "ns_per_op" }
}

const fn field(line: &'static str, n: u64, divisor: u64, field: &'static str) -> Row {
    Row { line, n, divisor, field }
}

const ROWS: &[Row] = &[
    row("switch", 1_000_000, 10),
    row("switch_many", 500_000, 10),
    row("symmetric", 1_000_000, 10),
    row("gen_sum", 1_000_000, 10),
    row("create", 100_000, 10),
    row("spawn_join", 100_000, 20),
    row("spawn_join wait=1", 100_000, 20),
    row("spawn_join threads=2", 100_000, 20),
    row("spawn_join wait=1 threads=2", 100_000, 20),
    row("yield_now", 500_000, 10),
    row("yield_now tasks=1000", 500_000, 10),
    row("ping_pong", 200_000, 20),
    row("ping_pong threads=2", 200_000, 20),
    row("ping_pong chan=unbounded", 200_000, 20),
    row("ping_pong chan=rendezvous", 200_000, 20),
    row("ring", 200_000, 20),
    row("ring threads=2", 200_000, 20),
    row("mpmc", 500_000, 20),
    row("mpmc threads=2", 500_000, 20),
    row("select", 200_000, 20),
    row("skynet", 100_000, 100),
    row("skynet wait=1", 100_000, 100),
    row("skynet threads=2", 100_000, 100),
    row("fib k=22", 0, 1),
    row("fib k=22 wait=1", 0, 1),
    row("fib k=22 threads=2", 0, 1),
    row("mutex", 500_000, 10),
    row("mutex threads=2", 500_000, 10),
    row("mutex yield_in=1", 100_000, 10),
    row("timeout_churn", 200_000, 20),
    row("timeout_churn wait=1", 100_000, 20),
    row("sleep_many", 20_000, 10),
    row("parallel_speedup", 2_000, 1),
    row("parallel_speedup threads=2", 2_000, 1),
    row("wake_remote", 50_000, 10),
    field("idle_mem", 20_000, 10, "bytes_per_task"),
    field("wake_latency", 5_000, 1, "p50_us"),
    field("wake_latency", 5_000, 1, "p99_us"),
    field("wake_latency", 5_000, 1, "p999_us"),
    field("wake_latency load=2", 5_000, 1, "p50_us"),
    field("wake_latency load=2", 5_000, 1, "p99_us"),
    field("stall", 0, 1, "sleep_p99_us"),
    field("stall", 0, 1, "spawn_p99_us"),
    field("echo_load conns=50", 50_000, 10, "ns_per_op"),
    field("echo_load conns=50", 50_000, 10, "server_cpu_us"),
    field("echo_load conns=50", 50_000, 10, "p99_us"),
    field("echo_load conns=1000", 50_000, 10, "ns_per_op"),
    field("echo_load conns=1000", 50_000, 10, "server_cpu_us"),
    field("echo_load conns=1000", 50_000, 10, "p99_us"),
];

/// Which of them the README shows: what users do most, and where osier is behind.
const BRIEF: &[&str] = &[
    "switch",
    "gen_sum",
    "create",
    "spawn_join",
    "spawn_join wait=1",
    "spawn_join wait=1 threads=2",
    "yield_now",
    "yield_now tasks=1000",
    "ping_pong",
    "ping_pong threads=2",
    "ring threads=2",
    "mpmc",
    "mpmc threads=2",
    "select",
    "skynet wait=1",
    "fib k=22",
    "mutex",
    "mutex threads=2",
    "timeout_churn",
    "sleep_many",
    "wake_remote",
    "idle_mem",
    "wake_latency",
    "wake_latency load=2",
    "echo_load conns=50",
    "echo_load conns=1000",
];

impl Row {
    fn name(&self) -> String {
        match self.field {
            "ns_per_op" => format!("`{}`", self.line),
            field => format!("`{}`: {field}", self.line),
        }
    }
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

/// A workload's command for one program, one repetition of `n` operations; none for the workload's own number of them. The
/// load of an echo server is the same for all: osier's.
fn command(osier: &Program, program: &Program, line: &str, n: Option<u64>) -> Command {
    let is_others_server = line.starts_with("echo_load") && program.system.name != osier.system.name;
    let mut command = if is_others_server { osier.command() } else { program.command() };
    command.args(line.split(' ')).arg("reps=1");
    if is_others_server {
        command.arg("server=other").env("ECHO_SERVER", program.echo_server());
    }
    if let Some(n) = n {
        command.arg(format!("n={}", n.max(1)));
    }
    command
}

fn run(root: &Path, scale: Scale) -> Result<(), String> {
    // Rounds; what the operations of a quick run are multiplied with, and divided by.
    let (rounds, factor, part) = match scale {
        Scale::Check => (1, 1, 100),
        Scale::Quick => (3, 1, 1),
        Scale::Full => (9, 10, 1),
    };
    let beside = env::current_exe().map_err(|error| error.to_string())?;
    let (programs, missing) = systems::find(root, &beside);
    for name in &missing {
        eprintln!("{name}: no program; benches/peers/setup.sh installs what it needs on Debian");
    }
    let mut cells: BTreeMap<(usize, usize), Cell> = BTreeMap::new();
    let start = Instant::now();
    for round in 0..rounds {
        // Rows of one line differ in what they read off it.
        for rows in (0..ROWS.len()).collect::<Vec<_>>().chunk_by(|&a, &b| ROWS[a].line == ROWS[b].line) {
            let row = &ROWS[rows[0]];
            for turn_of in 0..programs.len() {
                // Another one goes first in each round.
                let column = (turn_of + round) % programs.len();
                let program = &programs[column];
                if cells.get(&(rows[0], column)).is_some_and(Cell::has_failed) {
                    continue;
                }
                let divisor = if program.system.is_slow { row.divisor } else { 1 };
                let n = (row.n > 0).then(|| row.n * factor / divisor / part);
                let said = turn(command(&programs[0], program, row.line, n));
                for &index in rows {
                    cells.entry((index, column)).or_default().read(&said, ROWS[index].field);
                }
            }
            eprintln!("round {} of {rounds}, {:>4} s: {}", round + 1, start.elapsed().as_secs(), row.line);
        }
    }

    let facts = facts(root);
    let absent =
        if missing.is_empty() { String::new() } else { format!(" Not installed there: {}.", missing.join(", ")) };
    let mut full = format!(
        "{facts}{absent}\n\nns an operation, unless the row says otherwise: the median of {rounds} rounds (the least, and how \
         far the highest is above it).\n\n"
    );
    let names: Vec<_> = programs.iter().map(|program| program.system.name).collect();
    let _ = writeln!(full, "| workload | {} |", names.join(" | "));
    let _ = writeln!(full, "| --- |{}", " ---: |".repeat(names.len()));
    let mut brief = format!(
        "{facts}{absent} Made by `benches/peers/run{}`.\n\n",
        if scale == Scale::Full { "" } else { " --quick" }
    );
    brief.push_str(
        "| workload | osier, ns | best other, ns | who | osier / best |\n| --- | ---: | ---: | --- | ---: |\n",
    );
    for (index, row) in ROWS.iter().enumerate() {
        let texts: Vec<_> = (0..names.len()).map(|column| cells[&(index, column)].text()).collect();
        let _ = writeln!(full, "| {} | {} |", row.name(), texts.join(" | "));
        let others = (1..names.len()).filter_map(|column| Some((cells[&(index, column)].median()?, names[column])));
        let best = others.min_by(|a, b| a.0.total_cmp(&b.0));
        if let (true, Some(osier), Some((other, who))) = (BRIEF.contains(&row.line), cells[&(index, 0)].median(), best)
        {
            let ratio = osier / other;
            let mark = if ratio > 1.0 { "**" } else { "" };
            let _ = writeln!(
                brief,
                "| {} | {} | {} | {who} | {mark}{ratio:.2}{mark} |",
                row.name(),
                short(osier),
                short(other)
            );
        }
    }
    brief.push_str("\nBold: the other one is better.\n");
    println!("{brief}");
    put(&root.join("arch-notes/performance.md"), &full, scale == Scale::Check)?;
    put(&root.join("README.md"), &brief, scale == Scale::Check)
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(&root, Scale::Full),
        ["--quick"] => run(&root, Scale::Quick),
        ["--check"] => run(&root, Scale::Check).and_then(|()| curves::run(&root, true)),
        ["--curves"] => curves::run(&root, false),
        _ => {
            eprintln!("usage: benches/peers/run [--quick | --check | --curves]");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
