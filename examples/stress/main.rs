//! Random operations, cancels, timeouts and drops on everything that tasks wait for, checked against a model, for as long
//! as is asked.
//!
//! ```text
//! cargo run --release --example stress -- [seed=N] [seconds=10] [only=NAME]
//! seed 42: 318 rounds in 10 s: channels 160, broadcasts 158; nothing lost, nothing hangs
//! hole R1 open, R2 open, R3 open
//! cargo run --release --example stress -- parks=100_000_000
//! cargo run --release --example stress -- actors=1_000_000
//! cargo run --release --example stress -- restarts=1_000_000
//! cargo run --release --example stress -- suspended=100_000
//! 100000000 parked and were woken in N s: nothing lost
//! cargo run --release --example stress -- sockets=10_000
//! 10000 connections, idle and echoing, twice: 100000 messages in N s, N bytes of memory each: nothing left
//! ```
//!
//! Each round has a seed of its own, made from the first one and its number. A round that finds a mistake, or that has
//! not ended after half a minute, ends the process with the seed that replays it: `seed=N seconds=0 only=NAME`.
//!
//! To add a primitive, write a round (a function that makes random tasks on the runtime it is given, and asserts in the
//! end what its model says) and name it in `ROUNDS`.

#![allow(clippy::print_stdout, reason = "printing a line is what this program is for")]

mod actors;
mod alarms;
mod answers;
mod books;
mod broadcasts;
mod cast;
mod channels;
mod crowds;
mod groups;
mod holes;
mod locks;
mod meetings;
mod parks;
mod queues;
mod random;
mod remotes;
#[cfg(all(feature = "net", target_os = "linux"))]
mod sockets;
mod tickets;
mod waits;

use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use osier::{Report, Runtime};
use random::Random;

/// A round: makes its tasks, waits for them, and asserts what must be true then.
type Round = fn(&mut Random);

const ROUNDS: &[(&str, Round)] = &[
    ("channels", channels::round),
    ("broadcasts", broadcasts::round),
    ("alarms", alarms::round),
    ("oneshots", answers::oneshots),
    ("results", answers::results),
    ("locks", locks::round),
    ("tickets", tickets::round),
    ("barriers", meetings::barriers),
    ("onces", meetings::onces),
    ("events", meetings::events),
    ("queues", queues::round),
    ("waits", waits::round),
    ("groups", groups::round),
    ("parks", parks::round),
    ("remotes", remotes::round),
];

/// How long a round may take. Most take milliseconds.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs one round on a runtime of a random size, and ends the process if it does not end.
fn run(name: &'static str, round: Round, seed: u64) {
    let (done, ended) = mpsc::channel();
    let runner = thread::spawn(move || {
        let mut random = Random::new(seed);
        let workers = random.below(4) + 1;
        let runtime = Runtime::builder().workers(workers).build().expect("a few threads are to be had");
        runtime.run(|| round(&mut random));
        drop(runtime);
        _ = done.send(());
    });
    let replay = || format!("seed={seed} seconds=0 only={name}");
    if ended.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
        eprintln!("FAIL a round hangs: {}", replay());
        process::abort();
    }
    if runner.join().is_err() {
        eprintln!("FAIL {}", replay());
        process::exit(1);
    }
}

/// Prints what is reported, but for what fails on purpose.
fn expect_failures() {
    _ = osier::set_report_hook(|report| match report {
        Report::Unjoined { error, .. } if error.exception().is_some_and(|e| e.is::<std::fmt::Error>()) => {}
        other => eprintln!("{other}"),
    });
}

/// Runs rounds until the time is up, at least one of each kind. Returns how many of each.
fn stress(seed: u64, time: Duration, only: Option<&str>) -> Vec<(&'static str, u64)> {
    expect_failures();
    let began = Instant::now();
    let mut counts: Vec<_> =
        ROUNDS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).map(|&(name, _)| (name, 0)).collect();
    let mut number = 0;
    while number == 0 || began.elapsed() < time {
        for (name, count) in &mut counts {
            let round = ROUNDS.iter().find(|(known, _)| known == name).expect("it comes from there").1;
            run(name, round, seed.wrapping_add(number));
            *count += 1;
        }
        number += 1;
    }
    counts
}

fn many_parks(count: u64) {
    let began = Instant::now();
    let count = parks::many(count);
    println!("{count} parked and were woken in {} s: nothing lost", began.elapsed().as_secs());
}

fn many_actors(count: u64) {
    let began = Instant::now();
    let each = actors::crowd(count);
    println!("{count} actors at once, {each} bytes of memory each, in {} ms", began.elapsed().as_millis());
    // A page of stack, and what else there is of it; frames are larger where nothing is optimized.
    let bound = if cfg!(debug_assertions) { 16 << 10 } else { 8 << 10 };
    assert!(each <= bound, "more than {bound} bytes for each");
}

fn many_restarts(count: u64) {
    let began = Instant::now();
    let grown = actors::restarts(count);
    println!("{count} restarts in {} ms: {grown} bytes more than before", began.elapsed().as_millis());
    assert!(grown <= (1 << 20) + 4 * count, "a restart leaves nothing");
}

/// Tasks that wait for ever, unwound by a shutdown.
fn many_suspended(count: u64) {
    let time = crowds::unwind(count);
    println!("{count} suspended tasks unwound in {} ms", time.as_millis());
}

/// Many connections between this process and another.
#[cfg(all(feature = "net", target_os = "linux"))]
fn many_sockets(count: u64, server: process::Command) {
    let outcome = sockets::many(count, server).unwrap_or_else(|error| panic!("{error}"));
    let sockets::Outcome { connections, messages, time, memory_each } = outcome;
    println!(
        "{connections} connections, idle and echoing, twice: {messages} messages in {} s, {memory_each} bytes of memory \
         each: nothing left",
        time.as_secs()
    );
}

#[cfg(not(all(feature = "net", target_os = "linux")))]
fn many_sockets(_: u64, _: process::Command) {
    eprintln!("sockets: needs the feature `net`, and Linux");
}

/// Whether this process is the server of `sockets=N`, which then has served.
fn was_server(argument: Option<&str>) -> bool {
    #[cfg(all(feature = "net", target_os = "linux"))]
    if argument == Some(SERVER) {
        sockets::serve().unwrap_or_else(|error| panic!("{error}"));
        return true;
    }
    argument == Some(SERVER)
}

/// Names that server on the command line, and to the test that is it.
const SERVER: &str = "serve-sockets";

/// Something that is done once, with so many.
type Many = fn(u64);

const COUNTED: &[(&str, Many)] = &[
    ("parks", many_parks),
    ("actors", many_actors),
    ("restarts", many_restarts),
    ("suspended", many_suspended),
    ("sockets", |count| {
        let mut server = process::Command::new(std::env::current_exe().expect("the path of this program"));
        server.arg(SERVER);
        many_sockets(count, server);
    }),
];

fn main() {
    if was_server(std::env::args().nth(1).as_deref()) {
        return;
    }
    let (mut seed, mut seconds, mut only) = (None, 10, None);
    for argument in std::env::args().skip(1) {
        let (key, value) = argument.split_once('=').unwrap_or((&argument, ""));
        if let Some((_, run)) = COUNTED.iter().find(|(name, _)| *name == key)
            && let Ok(count) = value.replace('_', "").parse()
        {
            return run(count);
        }
        let known = match key {
            "seed" => value.parse().map(|n| seed = Some(n)).is_ok(),
            "seconds" => value.parse().map(|n| seconds = n).is_ok(),
            "only" if ROUNDS.iter().any(|(known, _)| *known == value) => {
                only = Some(value.to_owned());
                true
            }
            _ => false,
        };
        if !known {
            let names: Vec<_> = ROUNDS.iter().map(|(name, _)| name).collect();
            let counted: Vec<_> = COUNTED.iter().map(|(name, _)| name).collect();
            eprintln!(
                "'{argument}': expected a number for one of {counted:?}, seed=N, seconds=N or only=NAME, of {names:?}"
            );
            process::exit(2);
        }
    }
    let seed = seed.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs()) << 20);
    println!("seed {seed}, {seconds} s");
    let counts = stress(seed, Duration::from_secs(seconds), only.as_deref());
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    let each: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("seed {seed}: {all} rounds in {seconds} s: {}; nothing lost, nothing hangs", each.join(", "));
    println!("{}", holes::report());
}

#[test]
fn many_actors_and_many_restarts() {
    actors::crowd(2_000);
    actors::restarts(2_000);
}

#[test]
fn many_suspended_tasks_are_unwound() {
    many_suspended(5_000);
}

// H32
#[test]
fn a_million_wake_ups_and_none_is_lost() {
    assert!(parks::many(1_000_000) >= 1_000_000);
}

#[test]
fn the_server_of_many_connections() {
    was_server(std::env::var("OSIER_STRESS").ok().as_deref());
}

#[cfg(all(feature = "net", target_os = "linux"))]
#[test]
fn many_connections_leave_nothing() {
    let mut server = process::Command::new(std::env::current_exe().expect("the path of this program"));
    server.args(["--exact", "the_server_of_many_connections", "--nocapture"]).env("OSIER_STRESS", SERVER);
    many_sockets(400, server);
}

#[test]
fn a_short_run_of_each_round() {
    let counts = stress(7, Duration::from_millis(500), None);
    assert_eq!(counts.len(), ROUNDS.len());
    assert!(counts.iter().all(|&(_, count)| count > 0));
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let numbers = |seed| {
        let mut random = Random::new(seed);
        (0..10).map(|_| random.below(1000)).collect::<Vec<_>>()
    };
    assert_eq!(numbers(1), numbers(1));
    assert_ne!(numbers(1), numbers(2));
}
