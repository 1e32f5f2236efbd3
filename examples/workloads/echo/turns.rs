//! Echo servers side by side: all of them run, and each is given some messages in turn, again and again, as a table.
//!
//! What slows the machine down for a while slows all of them, so the ratios are taken within each round. A round is short, and
//! begins for each server with messages that are not measured, since the caches hold what another one needs.
//!
//! The raw loop is there twice. The second one also touches a few lines of a page that each connection has of its own: what a
//! stack for each connection costs whoever switches between them at no cost.
//!
//! Others' servers come from the environment's `ECHO_SERVER`: command lines, with `;` between them.

use std::env;
use std::fmt::Write;

use super::load::{Load, Places, Taken, own, words_of};
use crate::Failure;
use crate::args::Params;
use crate::measure::{median, ns_per_op};

/// How many cache lines of a stack a message takes, about, where each connection has one.
const STACK_LINES: u64 = 8;

/// A server, and what it took in each round.
struct Server {
    name: String,
    load: Load,
    taken: Vec<Taken>,
}

/// The program's name, without where it lies.
fn name_of(line: &str) -> String {
    let program = line.split_whitespace().next().unwrap_or_default();
    program.rsplit('/').next().unwrap_or_default().to_owned()
}

fn servers(params: &Params) -> Result<Vec<Server>, Failure> {
    let threads = params.number("threads");
    let keys = [format!("threads={threads}"), format!("lines={STACK_LINES}")];
    let mut lines = vec![("osier".to_owned(), own("echo", &keys[..1])?)];
    if threads == 1 {
        lines.push(("epoll".to_owned(), own("bare_echo", &keys[..1])?));
        lines.push(("epoll, a page each".to_owned(), own("bare_echo", &keys)?));
    }
    let others = env::var("ECHO_SERVER").unwrap_or_default();
    let others = others.split(';').filter(|line| !line.trim().is_empty());
    lines.extend(others.map(|line| (name_of(line), words_of(line))));
    let places = Places::of(params)?;
    let start = |(name, words): (_, Vec<_>)| {
        let load = Load::start(&words, &places, params)?;
        Ok(Server { name, load, taken: Vec::new() })
    };
    lines.into_iter().map(start).collect()
}

/// Measures, and returns the table.
pub(crate) fn echo_turns(params: &Params) -> Result<String, Failure> {
    let (n, rounds) = (params.number("n"), params.size("rounds"));
    let mut servers = servers(params)?;
    let count = servers.len();
    for round in 0..rounds {
        // Another one goes first in each round.
        for turn in 0..count {
            let server = &mut servers[(round + turn) % count];
            server.load.measure((n / 5).max(1))?;
            let taken = server.load.measure(n)?;
            server.taken.push(taken);
        }
    }

    let conns = params.number("conns");
    let mut text = String::new();
    let _ =
        writeln!(text, "A message, {conns} connections, medians of {rounds} rounds; ratios to osier within a round");
    let _ = writeln!(text);
    let _ = writeln!(
        text,
        "| server               |   ns | ratio | server's cpu, µs | ratio | p50, µs | p99, µs | ratio |"
    );
    let _ = writeln!(
        text,
        "| :------------------- | ---: | ----: | ---------------: | ----: | ------: | ------: | ----: |"
    );
    for server in &servers {
        let of = |what: fn(&Taken, u64) -> f64| {
            let own = median(server.taken.iter().map(|taken| what(taken, n)));
            let beside = server.taken.iter().zip(&servers[0].taken);
            (own, median(beside.map(|(taken, osier)| what(taken, n) / what(osier, n))))
        };
        let (ns, ns_ratio) = of(|taken, n| ns_per_op(taken.sample, n));
        let (cpu, cpu_ratio) = of(|taken, _| taken.cpu_us);
        let (p50, _) = of(|taken, _| taken.p50_us);
        let (p99, p99_ratio) = of(|taken, _| taken.p99_us);
        let _ = writeln!(
            text,
            "| {:<20} | {ns:>4.0} | {ns_ratio:>5.3} | {cpu:>16.2} | {cpu_ratio:>5.3} | {p50:>7.0} | {p99:>7.0} | {p99_ratio:>5.3} |",
            server.name
        );
    }
    Ok(text)
}
