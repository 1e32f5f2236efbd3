//! Runs every system's program on every workload, turn and turn about, and writes down what came out.
//!
//! ```text
//! benches/peers/run --quick    # three rounds of short repetitions
//! benches/peers/run --check    # one round of almost nothing, and nothing is written: does every program still run?
//! benches/peers/run --curves   # how costs grow with tasks, workers, channels and timers, as plots
//! benches/peers/run            # nine rounds of longer ones
//! ```
//!
//! In each round every system has its turn at one workload before the next workload begins, so that what slows the
//! machine down for a while slows all of them. Before the first round each program is asked how many operations take long
//! enough that starting threads does not count. The tables go where two comments mark their place: `<!-- measured -->` and
//! `<!-- /measured -->`, in `arch-notes/performance.md` (everything) and `README.md` (osier beside the best peer); the plots
//! into `arch-notes/plots/`.
//!
//! # Rooms
//! - `rows`: what is measured. `systems`: who. `fit`: how much each does at a time. `cell`: programs that are run, and their numbers.
//! - `report`: the tables. `curves`, `plot`: the plots.

mod cell;
mod curves;
mod fit;
mod plot;
mod report;
mod rows;
mod systems;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use cell::turn;
use fit::{Fits, Work};
use report::Cells;
use rows::ROWS;
use systems::Program;

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

/// How much is run.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Check,
    Quick,
    Full,
}

impl Scale {
    fn rounds(self) -> usize {
        match self {
            Self::Check => 1,
            Self::Quick => 3,
            Self::Full => 9,
        }
    }

    /// How long the operations of a turn take, where that is chosen; none for almost nothing.
    fn length(self) -> Option<Duration> {
        match self {
            Self::Check => None,
            Self::Quick => Some(Duration::from_millis(200)),
            Self::Full => Some(Duration::from_secs(1)),
        }
    }

    /// What numbers of operations that are not chosen are multiplied with, and divided by.
    fn factor(self) -> (u64, u64) {
        match self {
            Self::Check => (1, 100),
            Self::Quick => (1, 1),
            Self::Full => (5, 1),
        }
    }
}

/// A workload's command for one program. The load of an echo server is the same for all: osier's.
fn command(osier: &Program, program: &Program, line: &str, work: Work) -> Command {
    let is_others_server = line.starts_with("echo_load") && program.system.name != osier.system.name;
    let mut command = if is_others_server { osier.command() } else { program.command() };
    command.args(line.split(' ')).arg(format!("reps={}", work.reps));
    if is_others_server {
        command.arg("server=other").env("ECHO_SERVER", program.echo_server());
    }
    if let Some(n) = work.n {
        command.arg(format!("n={}", n.max(1)));
    }
    command
}

/// The programs that are there; says which are not.
fn programs(root: &Path) -> Result<(Vec<Program>, Vec<&'static str>), String> {
    let beside = env::current_exe().map_err(|error| error.to_string())?;
    let (programs, missing) = systems::find(root, &beside);
    for name in &missing {
        eprintln!("{name}: no program; benches/peers/setup.sh installs what it needs on Debian");
    }
    match programs.first() {
        Some(first) if first.system.name == systems::SYSTEMS[0].name => Ok((programs, missing)),
        _ => Err("osier's own program is missing: cargo build --release --example workloads".to_owned()),
    }
}

fn run(root: &Path, scale: Scale) -> Result<(), String> {
    let (programs, missing) = programs(root)?;
    let mut cells = Cells::new();
    let mut fits = Fits::new(scale.length(), scale.factor());
    let start = Instant::now();
    for round in 0..scale.rounds() {
        // Rows of one line differ in what they read off it.
        for rows in (0..ROWS.len()).collect::<Vec<_>>().chunk_by(|&a, &b| ROWS[a].line == ROWS[b].line) {
            let row = &ROWS[rows[0]];
            for turn_of in 0..programs.len() {
                // Another one goes first in each round.
                let column = (turn_of + round) % programs.len();
                let program = &programs[column];
                if rows.iter().any(|&index| cells.get(&(index, column)).is_some_and(cell::Cell::has_failed)) {
                    continue;
                }
                let run = |work| turn(command(&programs[0], program, row.line, work));
                let said = fits.of((rows[0], column), row.size, program.system.is_slow, &run).and_then(&run);
                for &index in rows {
                    cells.entry((index, column)).or_default().read(&said, ROWS[index].field);
                }
            }
            eprintln!("round {} of {}, {:>4} s: {}", round + 1, scale.rounds(), start.elapsed().as_secs(), row.line);
        }
    }
    let made_by = if scale == Scale::Full { "benches/peers/run" } else { "benches/peers/run --quick" };
    let report = report::Report { facts: facts(root), made_by, rounds: scale.rounds(), programs, missing, cells };
    for line in report.failures() {
        eprintln!("{line}");
    }
    let brief = report.brief();
    println!("{brief}");
    report::put(&root.join("arch-notes/performance.md"), &report.full(), scale == Scale::Check)?;
    report::put(&root.join("README.md"), &brief, scale == Scale::Check)
}

const USAGE: &str = "\
usage: benches/peers/run [--quick | --check | --curves | --help]
  --quick    three rounds of 0.2 s: about 8 minutes on two cores that have nothing else to do
  --check    one round of almost nothing; writes nothing: about 3 minutes
  --curves   the plots: 10 to 15 minutes
  (nothing)  nine rounds of 1 s: about two hours
--quick and the full run write the tables into README.md and arch-notes/performance.md, --curves writes arch-notes/plots/.
To build what is measured takes some minutes more, the first time.";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(&root, Scale::Full),
        ["--quick"] => run(&root, Scale::Quick),
        ["--check"] => run(&root, Scale::Check).and_then(|()| curves::run(&root, true)),
        ["--curves"] => curves::run(&root, false),
        ["--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
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
