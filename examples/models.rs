//! What a coroutine, a thread and a process cost, and what each makes of a map that computes.
//!
//! ```text
//! cargo run --release --example models
//! ```
//!
//! It prints two tables, whose numbers are this machine's; those of one are in `arch-notes/executors.md`:
//!
//! ```text
//! model             memory      create      switch     message
//! coroutine        4.1 KiB           …           …           …
//! …
//!
//! backend            a map       speed-up         a job
//! none               1.1 s           1.00
//! Coroutines             …              …             …
//! …
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::process::Stdio;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use osier::pool::{Coroutines, Executor, Processes, Threads};
use osier::process::{self, Command};
use osier::sync::{Event, WaitGroup, channel};
use osier::{Runtime, registered, spawn, yield_now};

fn nothing((): ()) {}

fn fib(n: u32) -> u64 {
    if n < 2 { u64::from(n) } else { fib(n - 1) + fib(n - 2) }
}

/// Workers in processes of this program; in a test they must be told to be hosts.
fn processes(n: usize) -> Processes {
    let arguments: &[&str] = if cfg!(test) { &["--exact", "host", "--nocapture"] } else { &[] };
    Processes::builder(n).args(arguments.iter().copied()).build()
}

/// A line of `/proc`, in bytes; 0 where there is none.
fn proc_bytes(file: &str, line: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{file}")).unwrap_or_default();
    let kilobytes = text.lines().filter(|found| found.starts_with(line));
    kilobytes.filter_map(|found| found.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>() * 1024
}

fn resident() -> u64 {
    proc_bytes("self/status", "VmRSS:")
}

/// The middle one of five times how long one of `n` takes.
fn each(n: u32, mut all: impl FnMut()) -> Duration {
    let mut times = [(); 5].map(|()| {
        let start = Instant::now();
        all();
        start.elapsed() / n
    });
    times.sort_unstable();
    times[2]
}

/// What one of a model costs.
struct Costs {
    /// Bytes of it that nobody shares, while it waits.
    memory: u64,
    /// To be made, to run once, to end and be joined.
    create: Duration,
    /// From one to another, without saying anything.
    switch: Duration,
    /// A message one way, to one who waits for it.
    message: Duration,
}

/// On one worker, so that a switch is one.
fn coroutine(n: u32) -> Costs {
    Runtime::builder().workers(1).build().expect("a runtime").run(|| {
        let (before, go, begun) = (resident(), Event::new(), WaitGroup::new());
        let wait = || {
            let (go, begins) = (go.clone(), begun.clone());
            spawn(move || {
                drop(begins);
                go.wait();
            })
        };
        let waiting: Vec<_> = (0..10 * n).map(|_| wait()).collect();
        begun.wait();
        let memory = resident().saturating_sub(before) / u64::from(10 * n);
        go.set();
        waiting.into_iter().for_each(|task| task.join().expect("it only waits"));
        let create = each(n, || (0..n).for_each(|_| spawn(yield_now).join().expect("it does nothing")));
        let switch = each(2 * n, || {
            let other = spawn(move || (0..n).for_each(|_| yield_now()));
            (0..n).for_each(|_| yield_now());
            other.join().expect("it only yields");
        });
        let ((ping, pinged), (pong, ponged)) = (channel::bounded(1), channel::bounded(1));
        let echo = spawn(move || pinged.iter().for_each(|n: u32| pong.send(n).expect("somebody listens")));
        let message = each(2 * n, || {
            (0..n).for_each(|n| {
                ping.send(n).expect("somebody listens");
                black_box(ponged.recv().expect("an answer"));
            });
        });
        drop(ping);
        echo.join().expect("it only answers");
        Costs { memory, create, switch, message }
    })
}

fn thread(n: u32) -> Costs {
    let (before, barrier) = (resident(), Arc::new(Barrier::new(201)));
    let waiting: Vec<_> = (0..200)
        .map(|_| {
            thread::spawn({
                let all = barrier.clone();
                move || {
                    all.wait();
                    all.wait();
                }
            })
        })
        .collect();
    barrier.wait();
    let memory = resident().saturating_sub(before) / 200;
    barrier.wait();
    waiting.into_iter().for_each(|thread| thread.join().expect("it only waits"));
    let create = each(n, || (0..n).for_each(|_| thread::spawn(|| ()).join().expect("it does nothing")));
    let barrier = Arc::new(Barrier::new(2));
    let switch = each(n, || {
        let other = barrier.clone();
        let other = thread::spawn(move || (0..n).for_each(|_| _ = other.wait()));
        (0..n).for_each(|_| _ = barrier.wait());
        other.join().expect("it only meets us");
    });
    let ((ping, pinged), (pong, ponged)) = (std::sync::mpsc::sync_channel(1), std::sync::mpsc::sync_channel(1));
    let echo = thread::spawn(move || pinged.iter().for_each(|n: u32| pong.send(n).expect("somebody listens")));
    let message = each(2 * n, || {
        (0..n).for_each(|n| {
            ping.send(n).expect("somebody listens");
            black_box(ponged.recv().expect("an answer"));
        });
    });
    drop(ping);
    echo.join().expect("it only answers");
    Costs { memory, create, switch, message }
}

/// Its message is a job without an argument, and its switch a byte through pipes to `cat` and back.
fn process(n: u32) -> io::Result<Costs> {
    let start = || {
        let ex = processes(1);
        ex.submit(registered!(nothing), ()).get().expect("it does nothing");
        ex
    };
    let ex = start();
    let memory = proc_bytes(&format!("{}/smaps_rollup", ex.ids()[0]), "Private_");
    let message =
        each(2 * n, || (0..n).for_each(|_| ex.submit(registered!(nothing), ()).get().expect("it does nothing")));
    let few = (n / 20).max(1);
    let create = each(few, || (0..few).for_each(|_| start().shutdown(false)));
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (mut input, mut output) = (cat.stdin.take().expect("a pipe"), cat.stdout.take().expect("a pipe"));
    let switch = each(2 * n, || {
        (0..n).for_each(|_| {
            input.write_all(b"x").and_then(|()| output.read_exact(&mut [0])).expect("it comes back");
        });
    });
    drop(input);
    cat.wait()?;
    Ok(Costs { memory, create, switch, message })
}

/// What an executor makes of work: a map that computes, and one that does nothing.
fn shows<E, F, N>(name: &str, ex: &E, n: u32, serial: Duration, (fib, nothing): (F, N))
where
    E: Executor<F, u32> + Executor<N, ()>,
    F: Fn(u32) -> u64 + Copy + Send + Sync + 'static,
    N: Fn(()) + Copy + Send + Sync + 'static,
{
    let computes = each(1, || _ = black_box(ex.map(fib, work(n))));
    let job = each(10 * n, || _ = black_box(ex.map(nothing, (0..10 * n).map(|_| ()))));
    let speedup = serial.as_secs_f64() / computes.as_secs_f64();
    println!("{name:<12}{:>12}{:>15}{:>14}", format!("{computes:.1?}"), format!("{speedup:.2}"), format!("{job:.2?}"));
    Executor::<F, u32>::shutdown(ex, false);
}

/// Some milliseconds for each item, fewer where there is less of everything.
fn work(n: u32) -> Vec<u32> {
    vec![if n < 1000 { 12 } else { 29 }; 64]
}

fn main() -> io::Result<()> {
    process::host();
    show(1000)
}

fn show(n: u32) -> io::Result<()> {
    println!("{:<12}{:>12}{:>12}{:>12}{:>12}", "model", "memory", "create", "switch", "message");
    for (name, costs) in [("coroutine", coroutine(n)), ("thread", thread(n)), ("process", process(n)?)] {
        let memory = format!("{:.1} KiB", costs.memory as f64 / 1024.0);
        let [create, switch, message] = [costs.create, costs.switch, costs.message].map(|time| format!("{time:.2?}"));
        println!("{name:<12}{memory:>12}{create:>12}{switch:>12}{message:>12}");
    }
    let serial = each(1, || _ = black_box(work(n).into_iter().map(fib).collect::<Vec<_>>()));
    println!("\n{:<12}{:>12}{:>15}{:>14}", "backend", "a map", "speed-up", "a job");
    println!("{:<12}{:>12}{:>15}", "none", format!("{serial:.1?}"), "1.00");
    let cores = thread::available_parallelism()?.get();
    let jobs = (registered!(fib), registered!(nothing));
    // The choice of a backend is one word.
    shows("Coroutines", &Coroutines::new(cores), n, serial, jobs);
    shows("Threads", &Threads::new(cores), n, serial, jobs);
    shows("Processes", &processes(cores), n, serial, jobs);
    Ok(())
}

#[test]
fn host() {
    process::host();
}

#[test]
fn shows_every_model() {
    show(40).unwrap();
}
