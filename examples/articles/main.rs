//! The programs of five articles on Python's coroutines, in osier: as short as there, with their bugs mended.
//!
//! ```text
//! cargo run --release --example articles                 lists the programs, then runs them all
//! cargo run --release --example articles -- s05 16       runs these
//! cargo run --release --example articles -- list         lists them
//! ```
//! Each says above its function what the original did, and what was mended. `expected/` holds what each prints, written
//! down from the articles: where the order is free, or a number is, the check says so.
//!
//! # Rooms
//! - `say`: printing, so that the test sees it as well. `check`: whether that is what the article says.
//! - One room per topic; start reading at `messages`.

#![allow(clippy::print_stdout, reason = "an example prints")]

#[macro_use]
mod say;
mod check;
mod event_loop;
mod futures;
mod messages;
mod models;
mod pipelines;
mod pools;

use std::process::ExitCode;

use check::Order;

/// One program.
struct Program {
    name: &'static str,
    title: &'static str,
    run: fn(),
    /// What it prints; a `*` stands for any text.
    expected: &'static str,
    /// Which lines may come in which order.
    order: Order,
}

macro_rules! programs {
    ($($room:ident :: $name:ident, $order:ident, $title:literal;)*) => {
        const PROGRAMS: &[Program] = &[$(Program {
            name: stringify!($name),
            title: $title,
            run: $room::$name,
            expected: include_str!(concat!("expected/", stringify!($name), ".txt")),
            order: Order::$order,
        }),*];
    };
}

programs! {
    futures::s01, Fixed, "inlined futures: a task that waits for a pool's results";
    futures::s01_processes, Fixed, "the same with a pool of processes";
    futures::s02, Any, "the same on a chosen thread, twice";
    messages::s03, Fixed, "messages to an actor that is known by name";
    messages::s04, Fixed, "actors by name, as generators with a send that resumes";
    messages::s05, Fixed, "ping-pong by such a send: the generator is already executing";
    messages::s06, Fixed, "the same with a thread for each actor";
    messages::s07, Fixed, "the same with one queue of messages, and a loop";
    messages::s07_tasks, Fixed, "the same as actors that run on by themselves, on all workers";
    pipelines::s08, Fixed, "a producer and a consumer";
    pipelines::s09, Fixed, "a foreman, a chain of workers, and one who takes the results";
    models::s10, PerSide, "a queue between two threads";
    models::s11, Fixed, "an event that travels in a message";
    models::s12, Fixed, "an actor with a mailbox, that is closed and joined";
    models::s13, Fixed, "an actor as a generator, that is closed";
    models::s14, PerSide, "publishing and subscribing, through a gateway";
    event_loop::s15, Fixed, "two tasks, one after the other";
    event_loop::s16, Fixed, "two generators, round robin";
    event_loop::s17, Fixed, "a server of callbacks, on a selector";
    event_loop::s18, Fixed, "a server that answers each request with ok";
    event_loop::s19, Fixed, "a bare event loop";
    event_loop::s20, Fixed, "waiting at any depth of calls";
    pools::s21, Any, "ten that sleep half a second, at once";
    pools::s21_processes, Any, "the same in ten processes";
    pools::s22, Fixed, "a map over a list, with eight workers";
    pools::s22_processes, Fixed, "the same in eight processes";
    pools::s23, Fixed, "a job whose result nobody fetches, and that fails";
    pools::s23_processes, Fixed, "the same in a process";
    pools::s24, Fixed, "an executor, its map and its shutdown";
    pools::s24_processes, Fixed, "the same with processes";
}

fn main() -> ExitCode {
    // Does not return in the processes that run jobs.
    osier::process::host();
    let names: Vec<String> = std::env::args().skip(1).map(|name| name_of(&name)).collect();
    let list = || PROGRAMS.iter().for_each(|program| println!("{}  {}", program.name, program.title));
    if let [only] = names.as_slice()
        && only == "list"
    {
        list();
        return ExitCode::SUCCESS;
    }
    if names.is_empty() {
        list();
    }
    if let Some(name) = names.iter().find(|name| PROGRAMS.iter().all(|program| program.name != *name)) {
        eprintln!("articles: there is no program '{name}'; `list` lists them");
        return ExitCode::from(2);
    }
    let mut all_right = true;
    for program in PROGRAMS.iter().filter(|program| names.is_empty() || names.iter().any(|name| name == program.name)) {
        println!("\n{}: {}", program.name, program.title);
        if let Err(difference) = run(program) {
            eprintln!("articles: that is not what the article says: {difference}");
            all_right = false;
        }
    }
    if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a program is called that was asked for as `s05`, `S05` or `5`.
fn name_of(asked: &str) -> String {
    asked.parse::<u32>().map_or_else(|_| asked.to_lowercase(), |number| format!("s{number:02}"))
}

/// Runs a program; an error if it printed something else than its article says.
fn run(program: &Program) -> Result<(), String> {
    (program.run)();
    check::compare(program.expected, &say::take(), program.order)
}

/// What runs in the processes of the test: the harness is told to run this alone.
#[test]
fn host() {
    osier::process::host();
}

#[test]
fn programs_are_known_by_their_numbers_too() {
    assert_eq!(
        ["s05", "S05", "5", "05", "16", "s07_tasks", "list"].map(name_of).join(" "),
        "s05 s05 s05 s05 s16 s07_tasks list"
    );
}

/// One test, since all of them print to the same place.
#[test]
fn all_print_what_the_articles_say() {
    for program in PROGRAMS {
        if let Err(difference) = run(program) {
            panic!("{}: {}\n{difference}", program.name, program.title);
        }
    }
}
