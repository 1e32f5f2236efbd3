//! Workloads that measure osier, with the command line that every system measured beside it has.
//!
//! ```text
//! cargo run --release --example workloads -- WORKLOAD [key=value ...]
//! cargo run --release --example workloads -- ring threads=2
//! {"peer":"osier","workload":"ring","params":{"place":"auto","tasks":503,"threads":2},"n":1000000,"ns_per_op":...}
//! ```
//!
//! A workload does its `n` operations `reps` times, after a warm-up with a tenth of them, and prints one line of JSON:
//! `ns_per_op` and `ops_per_s` are the median's, `rss_kib` is the most memory that the process had. `extra` holds every
//! repetition, processor time per time, and what the workload adds. Numbers may have underscores. Each workload checks
//! what it found.
//!
//! | exit code | means | on standard error |
//! | --- | --- | --- |
//! | 0 | measured | |
//! | 1 | a wrong result, or a panic | `FAIL why` |
//! | 2 | a mistake in the command line | what is wrong, and what there is |
//! | 3 | something osier does not have | `UNSUPPORTED why` |
//!
//! `WORKLOADS` below lists the workloads, their keys and the defaults. Those that begin with `bare_` do the same with
//! corosensei alone, the crate that switches osier's stacks. One is not like the others:
//!
//! ```text
//! cargo run --release --example workloads -- ratios [n=2_000_000] [rounds=11]
//! ```
//!
//! measures osier and corosensei in turns and prints a table of medians and ratios instead of JSON.
//!
//! # Rooms
//! - `coroutines`: switches, items, creation. `bare`: the same without osier. `ratios`: both in turns.
//! - `tasks`: spawning, joining, yielding. `messages`: channels. `idle`: what waiting tasks cost. `sleep`: timers.
//! - `args`: the command line. `measure`: repetitions, memory, JSON.

#![allow(clippy::print_stdout, reason = "printing a line is what this program is for")]

mod args;
mod bare;
mod coroutines;
mod idle;
mod locks;
mod measure;
mod messages;
mod ratios;
mod sleep;
mod tasks;

#[cfg(test)]
mod tests;

use std::env;
use std::panic;
use std::process::ExitCode;

use args::{Key, Params, count, number, word};
use measure::Report;

/// Why there is no report.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The command line asks for something that no workload has.
    Mistake(String),
    /// osier does not have what would be measured.
    Unsupported(String),
    /// The result was wrong.
    Wrong(String),
}

/// What measures a workload.
#[derive(Clone, Copy)]
enum Run {
    /// osier, as a line of JSON.
    Osier(fn(&Params) -> Result<Report, Failure>),
    /// corosensei alone, as a line of JSON.
    Bare(fn(&Params) -> Result<Report, Failure>),
    /// Both, as a text of its own.
    Table(fn(&Params) -> Result<String, Failure>),
    /// Nobody yet: what osier lacks.
    Lacks(&'static str),
}

struct Workload {
    name: &'static str,
    keys: &'static [Key],
    run: Run,
}

const THREADS: Key = count("threads", 1);
const PLACE: Key = word("place", &["auto", "same", "apart"]);
const CHAN: Key = word("chan", &["bounded1", "unbounded", "rendezvous"]);

const fn workload(name: &'static str, keys: &'static [Key], run: Run) -> Workload {
    Workload { name, keys, run }
}

const WORKLOADS: &[Workload] = &[
    workload("switch", &[count("n", 10_000_000)], Run::Osier(coroutines::switch)),
    workload("switch_many", &[count("n", 2_000_000), count("count", 10_000)], Run::Osier(coroutines::switch_many)),
    workload("symmetric", &[count("n", 10_000_000)], Run::Osier(coroutines::symmetric)),
    workload("gen_sum", &[count("n", 10_000_000)], Run::Osier(coroutines::gen_sum)),
    workload("create", &[count("n", 1_000_000), number("pool", 1)], Run::Osier(coroutines::create)),
    workload(
        "spawn_join",
        &[count("n", 1_000_000), count("batch", 1000), number("wait", 0), THREADS],
        Run::Osier(tasks::spawn_join),
    ),
    workload("yield_now", &[count("n", 2_000_000), count("tasks", 2), THREADS], Run::Osier(tasks::yield_now_)),
    workload("ping_pong", &[count("n", 1_000_000), CHAN, PLACE, THREADS], Run::Osier(messages::ping_pong)),
    workload("ring", &[count("n", 1_000_000), count("tasks", 503), PLACE, THREADS], Run::Osier(messages::ring)),
    workload(
        "mpmc",
        &[count("n", 4_000_000), count("cap", 128), count("producers", 4), count("consumers", 4), THREADS],
        Run::Osier(messages::mpmc),
    ),
    workload("select", &[count("n", 1_000_000), count("chans", 4), THREADS], Run::Osier(messages::select)),
    workload("skynet", &[count("n", 1_000_000), number("wait", 0), THREADS], Run::Osier(tasks::skynet)),
    workload("fib", &[count("k", 30), number("wait", 0), THREADS], Run::Osier(tasks::fib_)),
    workload("idle_mem", &[count("n", 100_000), THREADS], Run::Osier(idle::idle_mem)),
    workload("sleep_many", &[count("n", 100_000), THREADS], Run::Osier(sleep::sleep_many)),
    workload("timeout_churn", &[count("n", 1_000_000), number("wait", 0), THREADS], Run::Osier(sleep::timeout_churn)),
    workload(
        "mutex",
        &[count("n", 1_000_000), count("tasks", 8), number("yield_in", 0), THREADS],
        Run::Osier(locks::mutex),
    ),
    workload(
        "parallel_speedup",
        &[count("n", 10_000), count("iters", 30_000), THREADS],
        Run::Osier(tasks::parallel_speedup),
    ),
    workload(
        "wake_remote",
        &[count("n", 200_000), count("threads", 2)],
        Run::Lacks("this program does not measure wake-ups between threads yet"),
    ),
    workload("idle_cpu", &[count("ms", 2000), THREADS], Run::Lacks("this program does not measure idle runtimes yet")),
    workload("stall", &[count("ms", 300), count("threads", 2)], Run::Lacks("this program does not measure stalls yet")),
    workload("echo", &[THREADS], Run::Lacks("osier has no sockets")),
    workload("bare_switch", &[count("n", 10_000_000)], Run::Bare(bare::switch)),
    workload("bare_switch_many", &[count("n", 2_000_000), count("count", 10_000)], Run::Bare(bare::switch_many)),
    workload("bare_item", &[count("n", 10_000_000)], Run::Bare(bare::item)),
    workload("bare_create", &[count("n", 1_000_000), number("pool", 1)], Run::Bare(bare::create)),
    workload("ratios", &[count("n", 2_000_000), count("rounds", 11)], Run::Table(ratios::table)),
];

/// Does what the command line says and returns what is to be printed.
fn execute(arguments: &[String]) -> Result<String, Failure> {
    let known = || WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ");
    let Some((name, arguments)) = arguments.split_first() else {
        return Err(Failure::Mistake(format!("usage: workloads WORKLOAD [key=value ...]; there are {}", known())));
    };
    let Some(workload) = WORKLOADS.iter().find(|workload| workload.name == name) else {
        return Err(Failure::Mistake(format!("unknown workload '{name}'; there are {}", known())));
    };
    let params = Params::parse(workload.keys, arguments).map_err(Failure::Mistake)?;
    match workload.run {
        Run::Osier(run) => Ok(run(&params)?.json("osier", name, &params) + "\n"),
        Run::Bare(run) => Ok(run(&params)?.json("corosensei", name, &params) + "\n"),
        Run::Table(run) => run(&params),
        Run::Lacks(what) => Err(Failure::Unsupported(what.to_owned())),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    // The panic hook has shown the message and the place; this says what became of it.
    let result = panic::catch_unwind(|| execute(&arguments))
        .unwrap_or_else(|payload| Err(Failure::Wrong(message(payload.as_ref()).to_owned())));
    match result {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(Failure::Wrong(why)) => {
            eprintln!("FAIL {why}");
            ExitCode::FAILURE
        }
        Err(Failure::Mistake(what)) => {
            eprintln!("{what}");
            ExitCode::from(2)
        }
        Err(Failure::Unsupported(why)) => {
            eprintln!("UNSUPPORTED {why}");
            ExitCode::from(3)
        }
    }
}

/// What a panic said.
fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "a panic without a message",
    }
}
