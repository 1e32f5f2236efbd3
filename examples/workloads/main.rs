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
//! `line/table.rs` lists the workloads, their keys and the defaults, `line/mod.rs` the exit codes. Other systems do the same
//! in `benches/peers/`. Those that begin with `bare_` do it with corosensei alone, the crate that switches osier's
//! stacks, or `bare_echo` with epoll alone. `echo` and `bare_echo` are servers, and run until they are killed; `echo_load`
//! starts one and measures it, as its page says. Two are not like the others:
//!
//! ```text
//! cargo run --release --example workloads -- ratios [n=2_000_000] [rounds=11]
//! cargo run --release --example workloads -- echo_turns [conns=50] [n=20_000] [rounds=31]
//! ```
//!
//! measure osier and others in turns and print a table of medians and ratios instead of JSON: the first beside corosensei, the
//! second beside echo servers on a raw loop, and on what the environment's `ECHO_SERVER` says.
//!
//! # Rooms
//! - `coroutines`: switches, items, creation. `bare`: the same without osier. `ratios`: both in turns.
//! - `tasks`: spawning, joining, yielding. `messages`: channels. `idle`: what waiting tasks cost. `sleep`: timers. `wake`: how late
//!   wake-ups come. `stall`: who comes late beside a task that computes. `places`: which worker tasks go to.
//! - `echo`: sockets.
//! - `line`: what all systems share: the command line, repetitions, JSON, the work itself.

mod bare;
mod coroutines;
#[cfg(all(feature = "net", target_os = "linux"))]
mod echo;
mod idle;
#[allow(dead_code, reason = "some parts are for other systems' programs")]
mod line;
mod locks;
mod messages;
mod places;
mod ratios;
mod sleep;
mod stall;
mod tasks;
mod wake;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use line::args::{Key, Params, count, number};
use line::{Failure, Measure, args, measure};
/// Of the stacks that corosensei alone is measured on.
use osier::stack::DEFAULT_STACK_SIZE as STACK_SIZE;

/// A workload that only this program has.
struct Own {
    name: &'static str,
    keys: &'static [Key],
    run: Run,
}

/// What measures it.
#[derive(Clone, Copy)]
enum Run {
    /// corosensei alone, as a line of JSON.
    Bare(Measure),
    /// osier, as a line of JSON.
    Osier(Measure),
    /// osier and corosensei, as a text of its own.
    Table(fn(&Params) -> Result<String, Failure>),
}

const fn bare(name: &'static str, keys: &'static [Key], run: Measure) -> Own {
    Own { name, keys, run: Run::Bare(run) }
}

const OWN: &[Own] = &[
    bare("bare_switch", &[count("n", 10_000_000)], bare::switch),
    bare("bare_switch_many", &[count("n", 2_000_000), count("count", 10_000)], bare::switch_many),
    bare("bare_item", &[count("n", 10_000_000)], bare::item),
    bare("bare_create", &[count("n", 1_000_000), number("pool", 1)], bare::create),
    Own { name: "idle_generators", keys: &[count("n", 100_000)], run: Run::Osier(idle::idle_generators) },
    #[cfg(all(feature = "net", target_os = "linux"))]
    bare("bare_echo", echo::BARE, echo::bare_echo),
    #[cfg(all(feature = "net", target_os = "linux"))]
    Own { name: "echo_load", keys: echo::LOAD, run: Run::Osier(echo::echo_load) },
    #[cfg(all(feature = "net", target_os = "linux"))]
    Own { name: "echo_turns", keys: echo::TURNS, run: Run::Table(echo::echo_turns) },
    Own { name: "spawn_outside", keys: tasks::OUTSIDE, run: Run::Osier(tasks::spawn_outside) },
    Own { name: "unbalanced", keys: tasks::UNBALANCED, run: Run::Osier(tasks::unbalanced) },
    Own { name: "sleep_together", keys: sleep::TOGETHER, run: Run::Osier(sleep::sleep_together) },
    Own { name: "timeout_live", keys: sleep::LIVE, run: Run::Osier(sleep::timeout_live) },
    Own { name: "ratios", keys: &[count("n", 2_000_000), count("rounds", 11)], run: Run::Table(ratios::table) },
];

/// What measures osier.
fn osier(workload: &str) -> Option<Measure> {
    Some(match workload {
        "switch" => coroutines::switch,
        "switch_many" => coroutines::switch_many,
        "symmetric" => coroutines::symmetric,
        "gen_sum" => coroutines::gen_sum,
        "create" => coroutines::create,
        "spawn_join" => tasks::spawn_join,
        "yield_now" => tasks::yield_now_,
        "ping_pong" => messages::ping_pong,
        "ring" => messages::ring,
        "mpmc" => messages::mpmc,
        "select" => messages::select,
        "skynet" => tasks::skynet,
        "fib" => tasks::fib_,
        "idle_mem" => idle::idle_mem,
        "sleep_many" => sleep::sleep_many,
        "timeout_churn" => sleep::timeout_churn,
        "wake_remote" => wake::remote,
        "wake_latency" => wake::latency,
        "idle_cpu" => idle::idle_cpu,
        "stall" => stall::stall,
        "mutex" => locks::mutex,
        "parallel_speedup" => tasks::parallel_speedup,
        #[cfg(all(feature = "net", target_os = "linux"))]
        "echo" => echo::echo,
        _ => return None,
    })
}

/// Does what the command line says and returns what is to be printed.
fn execute(arguments: &[String]) -> Result<String, Failure> {
    let own = arguments.first().and_then(|name| OWN.iter().find(|own| own.name == name));
    let Some(own) = own else {
        return line::execute("osier", osier, arguments);
    };
    let params = Params::parse(own.keys, &arguments[1..]).map_err(Failure::Mistake)?;
    match own.run {
        Run::Bare(run) => Ok(run(&params)?.json("corosensei", own.name, &params) + "\n"),
        Run::Osier(run) => Ok(run(&params)?.json("osier", own.name, &params) + "\n"),
        Run::Table(run) => run(&params),
    }
}

fn main() -> ExitCode {
    line::main(execute)
}
