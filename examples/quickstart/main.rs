//! A tour of osier that does real work: counts the words of real files on one worker and on all of them.
//!
//! ```text
//! cargo run --release --example quickstart [DIR]
//! ```
//!
//! Without `DIR` it reads this checkout and the sources that cargo has downloaded. It prints the most frequent words,
//! the times with one worker and with one per core, what each worker ran and stole; then a generator and two greenlets
//! ported from Python, and what the basic moves cost here.
//!
//! # Rooms
//! - `walk`: a generator that finds the files.
//! - `words`: the tasks that read and count; start reading here.
//! - `ports`: Python, line by line.
//! - `costs`: nanoseconds.
//! - `progress`: how far it is.

#![allow(clippy::print_stdout, reason = "an example prints")]

mod costs;
mod ports;
mod progress;
mod walk;
mod words;

#[cfg(test)]
mod tests;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use osier::Runtime;
use osier::runtime::WorkerMetrics;

use progress::Progress;
use walk::Limits;
use words::Tally;

const USAGE: &str = "usage: cargo run --release --example quickstart [DIR]";

const LIMITS: Limits = Limits {
    files: 20_000,
    // A debug build is ten times as slow, and would take as much longer.
    bytes: if cfg!(debug_assertions) { 6_000_000 } else { 64_000_000 },
    file_bytes: 4_000_000,
};
/// A count that takes less than this says nothing about speed.
const ENOUGH: Duration = Duration::from_millis(50);
/// What the timed runs may take together; they are repeated as long as it lasts.
const TIME: Duration = Duration::from_secs(6);
/// Timed runs with each number of workers: at least, and at most.
const RUNS: (usize, usize) = (3, 9);

/// How often the comparison begins before it gives up on files that change.
const TRIES: usize = 3;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let (mistake, failure) = (ExitCode::from(2), ExitCode::FAILURE);
    let roots = match arguments.as_slice() {
        [] => default_roots(),
        [help] if help == Path::new("--help") || help == Path::new("-h") => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [directory] => match fs::read_dir(directory) {
            Ok(_) => vec![directory.clone()],
            Err(error) => {
                return fail(mistake, format_args!("cannot read directory '{}': {error}", directory.display()));
            }
        },
        _ => return fail(mistake, format_args!("{USAGE}")),
    };
    match tour(&roots) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(failure, format_args!("{error}")),
    }
}

fn fail(code: ExitCode, message: std::fmt::Arguments<'_>) -> ExitCode {
    eprintln!("quickstart: {message}");
    code
}

/// This checkout, and what cargo has downloaded, if it is there.
fn default_roots() -> Vec<PathBuf> {
    let checkout = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let registry = cargo.map(|cargo| cargo.join("registry").join("src"));
    [Some(checkout), registry].into_iter().flatten().filter(|root| root.is_dir()).collect()
}

fn tour(roots: &[PathBuf]) -> io::Result<()> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!("1. The words of real files: a generator walks, tasks read and count");
    println!();
    let comparison = compare(roots, cores)?;
    print_tally(roots, &comparison.tally);
    if comparison.tally.words > 0 {
        print_top(&comparison.tally);
        print_times(&comparison, cores);
    }
    print_ports();
    print_costs()
}

/// One timed count.
struct Run {
    time: Duration,
    workers: Vec<WorkerMetrics>,
}

/// The runs with one worker and with many, in the order of their times.
struct Comparison {
    tally: Tally,
    one: Vec<Run>,
    many: Vec<Run>,
}

/// Compares, and begins again when a file changes meanwhile: one reads what others may be writing.
fn compare(roots: &[PathBuf], cores: usize) -> io::Result<Comparison> {
    let progress = Arc::new(Progress::new());
    for _ in 0..TRIES {
        if let Some(comparison) = compare_once(roots, cores, &progress)? {
            progress.end();
            return Ok(comparison);
        }
        progress.begin("a file has changed, so once more".into(), true);
    }
    Err(io::Error::other("the files change all the time: give a DIR that stands still"))
}

/// Compares; nothing if a file changes meanwhile.
fn compare_once(roots: &[PathBuf], cores: usize, progress: &Arc<Progress>) -> io::Result<Option<Comparison>> {
    // The first run fills the page cache, so that no timed one is the one that waits for the disk.
    progress.begin("reading everything once".into(), true);
    let (tally, first) = run(roots, cores, progress)?;
    let mut comparison = Comparison { tally, one: Vec::new(), many: Vec::new() };
    let pairs = runs_in(TIME, first.time, cores);
    // In turn, so that whatever else the machine does meets both alike.
    for i in 1..=pairs {
        for (workers, is_one) in [(1, true), (cores, false)] {
            let name = format!("run {i} of {pairs} with {}", plural(workers as u64, "worker"));
            progress.begin(name, i == 1);
            let (tally, run) = run(roots, workers, progress)?;
            if !is_of_same_files(&comparison.tally, &tally)? {
                return Ok(None);
            }
            let runs = if is_one { &mut comparison.one } else { &mut comparison.many };
            runs.push(run);
        }
    }
    comparison.one.sort_by_key(|run| run.time);
    comparison.many.sort_by_key(|run| run.time);
    Ok(Some(comparison))
}

/// How often both kinds of run fit into `time`, if one run on all cores takes `first`.
fn runs_in(time: Duration, first: Duration, cores: usize) -> usize {
    let both = first.as_secs_f64() * (1 + cores) as f64;
    let mut runs = RUNS.0;
    while runs < RUNS.1 && (runs + 1) as f64 * both < time.as_secs_f64() {
        runs += 1;
    }
    runs
}

fn run(roots: &[PathBuf], workers: usize, progress: &Arc<Progress>) -> io::Result<(Tally, Run)> {
    let runtime = Runtime::builder().workers(workers).build()?;
    let start = Instant::now();
    let tally = runtime.run(|| words::count(roots.to_vec(), LIMITS, workers, progress));
    let time = start.elapsed();
    Ok((tally, Run { time, workers: runtime.metrics().workers }))
}

/// Whether both counted the same files; it is an error if they did and did not find the same in them.
fn is_of_same_files(a: &Tally, b: &Tally) -> io::Result<bool> {
    if a.input == b.input && a != b {
        let words = format!("{} and {} words, {} and {} different", a.words, b.words, a.distinct(), b.distinct());
        return Err(io::Error::other(format!("two counts of the same files do not agree: {words}")));
    }
    Ok(a.input == b.input)
}

fn print_tally(roots: &[PathBuf], tally: &Tally) {
    for (i, root) in roots.iter().enumerate() {
        println!("   {:<7}  {}", if i == 0 { "input" } else { "" }, root.display());
    }
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let (files, words) = (plural(tally.files, "file"), plural(tally.words, "word"));
    let different = grouped(tally.distinct() as u64);
    println!("   counted  {files}, {}, {words}, {different} of them different", megabytes(tally.bytes));
    print!("   skipped  {} ({}) not UTF-8", plural(tally.not_utf8, "file"), megabytes(tally.not_utf8_bytes));
    println!(", {} unreadable, {} too large", grouped(tally.unreadable), grouped(tally.too_large));
    let Limits { files, bytes, file_bytes } = LIMITS;
    print!("   limits   {} files, {}, none above {}", grouped(files), megabytes(bytes), megabytes(file_bytes));
    println!("{}", if tally.limited { "; reached, so the rest was left out" } else { "" });
    println!();
}

fn print_top(tally: &Tally) {
    println!("   The most frequent, of {} letters or more:", words::SHORTEST);
    let top = tally.top(10);
    let most = top.first().map_or(1, |&(_, count)| count);
    for (word, count) in top {
        let bar = "█".repeat(usize::try_from(count * 40 / most).unwrap_or(40));
        println!("   {word:>12}  {:>9}  {bar}", grouped(count));
    }
    println!();
}

fn print_times(comparison: &Comparison, cores: usize) {
    let Comparison { tally, one, many } = comparison;
    let (one_median, many_median) = (&one[one.len() / 2], &many[many.len() / 2]);
    let rate = |run: &Run| tally.bytes as f64 / 1e6 / run.time.as_secs_f64();
    let line = |workers: usize, run: &Run| {
        let (time, rate) = (run.time.as_secs_f64() * 1e3, rate(run));
        println!("   {:>10}  {time:>9.1} ms  {rate:>6.0} MB/s", plural(workers as u64, "worker"));
    };
    line(1, one_median);
    line(cores, many_median);
    let speedup = one_median.time.as_secs_f64() / many_median.time.as_secs_f64();
    println!("   {:>10}  {speedup:>9.2} x", "speed-up");
    println!();
    let runs = one.len() + many.len();
    println!("   Medians of {} runs each, taken in turn after one that filled the page cache;", one.len());
    println!("   all {} found the same words.", runs + 1);
    if cores == 1 {
        println!("   This machine has one core: there is nothing to gain.");
    } else if one_median.time < ENOUGH {
        println!("   So little is over before the workers have shared it: give a larger DIR.");
    } else {
        println!("   With one worker, too, a second core is busy: files are read by threads beside the workers.");
    }
    println!();
    println!("   In the median run with {}:", plural(cores as u64, "worker"));
    for (i, worker) in many_median.workers.iter().enumerate() {
        println!("   worker {i:<3} ran {:>5} tasks, {:>5} of them stolen from another", worker.ran, worker.stolen);
    }
    println!();
}

fn print_ports() {
    println!("2. From Python, line by line: a generator that is sent values");
    println!();
    print_side_by_side(&ports::AVERAGE);
    let values = [10.0, 20.0, 60.0];
    for (value, average) in values.iter().zip(ports::averages(&values)) {
        println!("   g.send({value})  ->  {average}");
    }
    println!();
    println!("3. Two greenlets that switch straight to each other; pong is like ping, but never ends");
    println!();
    print_side_by_side(&ports::PING_PONG);
    print!("  ");
    let last = ports::ping_pong(|who, n| print!(" {who} {n} ->"));
    println!(" back at the parent with {last}");
    println!();
}

fn print_side_by_side(lines: &[(&str, &str)]) {
    for (python, rust) in lines {
        println!("   {python:<38} {rust}");
    }
    println!();
}

fn print_costs() -> io::Result<()> {
    println!("4. What it costs on this machine, on one core");
    println!();
    for (what, ns) in costs::measure()? {
        println!("   {what:<32} {ns:>7.1} ns");
    }
    println!();
    if cfg!(debug_assertions) {
        println!("   This is a debug build: add --release for times that mean something.");
        println!();
    }
    println!("How it is done: examples/quickstart/words.rs. What else there is: cargo doc --open");
    Ok(())
}

fn plural(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// A number with a space between each three digits.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
