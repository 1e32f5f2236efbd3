//! Threads of the operating system with crossbeam's channels: a thread for each task, on as many cores as `threads` says.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, yield_now};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, bounded, unbounded};
use line::args::Params;
use line::measure::{Report, Sample, check, timed};
use line::memory::{Memory, Parked};
use line::processors;
use line::sleep::Lateness;
use line::work::{SEED, branches, compute, highest_in_ring, nap, share, sum_below};
use line::{Failure, Measure};

#[path = "../../../examples/workloads/line/mod.rs"]
#[allow(dead_code, reason = "not every system needs every part")]
mod line;

/// Keeps this thread, and all that it starts, to as many cores as the parameters say.
///
/// # Errors
/// There are not so many.
fn on_cores(params: &Params) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Wrong(error.to_string());
    let allowed = processors::allowed().map_err(failed)?;
    match allowed.get(..params.size("threads")) {
        Some(cores) => processors::run_on(cores).map_err(failed),
        None => Err(Failure::Unsupported("there are not so many cores".to_owned())),
    }
}

fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, Failure> {
    let thread = thread::Builder::new().stack_size(80 * 1024).spawn(body);
    thread.map_err(|error| Failure::Unsupported(format!("no thread: {error}")))
}

fn value_of<T>(handle: JoinHandle<T>) -> Result<T, Failure> {
    handle.join().map_err(|_| Failure::Wrong("a thread panicked".to_owned()))
}

fn sum_of(handles: Vec<JoinHandle<u64>>) -> Result<u64, Failure> {
    handles.into_iter().map(value_of).sum()
}

fn spawn_join_round(n: u64, batch: u64, wait: bool) -> Result<Sample, Failure> {
    let (sample, joined) = timed(|| {
        let mut joined = 0;
        while joined < n {
            let size = batch.min(n - joined);
            let task = move || {
                if wait {
                    yield_now()
                }
            };
            let handles = (0..size).map(|_| spawn(task)).collect::<Result<Vec<_>, _>>()?;
            for handle in handles {
                value_of(handle)?;
                joined += 1;
            }
        }
        Ok(joined)
    });
    check("threads joined", joined?, n)?;
    Ok(sample)
}

fn yield_round(n: u64, tasks: u64) -> Result<Sample, Failure> {
    let (sample, yielded) = timed(|| {
        let yielding = |times| {
            spawn(move || {
                (0..times).for_each(|_| yield_now());
                times
            })
        };
        sum_of((0..tasks).map(|task| yielding(share(n, task, tasks))).collect::<Result<_, _>>()?)
    });
    check("yields", yielded?, n)?;
    Ok(sample)
}

type Make = fn() -> (Sender<u64>, Receiver<u64>);

fn pass_on(inbox: &Receiver<u64>, next: &Sender<u64>, last: u64) -> u64 {
    let mut highest = 0;
    for counter in inbox {
        highest = counter;
        if counter == last || next.send(counter + 1).is_err() {
            break;
        }
    }
    highest
}

fn ring_round(n: u64, tasks: u64, make: Make) -> Result<Sample, Failure> {
    let (sample, highest) = timed(|| {
        let (first, mut inbox) = make();
        let starter = first.clone();
        let mut handles = Vec::new();
        for _ in 1..tasks {
            let (next, next_inbox) = make();
            let this_inbox = std::mem::replace(&mut inbox, next_inbox);
            handles.push(spawn(move || pass_on(&this_inbox, &next, n))?);
        }
        handles.push(spawn(move || pass_on(&inbox, &first, n))?);
        starter.send(1).expect("somebody receives it");
        drop(starter);
        handles.into_iter().map(value_of).collect::<Result<Vec<_>, _>>()
    });
    check("the highest number that each thread had", highest?, highest_in_ring(n, tasks))?;
    Ok(sample)
}

fn mpmc_round(n: u64, capacity: usize, producers: u64, consumers: u64) -> Result<Sample, Failure> {
    let (sample, sum) = timed(|| {
        let (sender, receiver) = bounded(capacity);
        let sending = (0..producers).map(|producer| {
            let sender = sender.clone();
            let first = n * producer / producers;
            spawn(move || {
                let mut numbers = first..first + share(n, producer, producers);
                u64::from(numbers.all(|number| sender.send(number).is_ok()))
            })
        });
        let sending = sending.collect::<Result<_, _>>()?;
        let adding = (0..consumers).map(|_| {
            let receiver = receiver.clone();
            spawn(move || receiver.iter().sum::<u64>())
        });
        let adding = adding.collect::<Result<_, _>>()?;
        drop((sender, receiver));
        check("producers that sent all", sum_of(sending)?, producers)?;
        sum_of(adding)
    });
    check("the sum of what was received", sum?, sum_below(n))?;
    Ok(sample)
}

fn select_round(n: u64, channels: u64) -> Result<Sample, Failure> {
    let (sample, sum) = timed(|| {
        let (mut feeding, mut inboxes) = (Vec::new(), Vec::new());
        for feeder in 0..channels {
            let (sender, inbox) = bounded(128);
            let first = n * feeder / channels;
            let mut numbers = first..first + share(n, feeder, channels);
            feeding.push(spawn(move || u64::from(numbers.all(|number| sender.send(number).is_ok())))?);
            inboxes.push(inbox);
        }
        let mut select = Select::new();
        for inbox in &inboxes {
            select.recv(inbox);
        }
        let (mut sum, mut received) = (0, 0);
        while received < n {
            let operation = select.select();
            let index = operation.index();
            match operation.recv(&inboxes[index]) {
                Ok(number) => (sum, received) = (sum + number, received + 1),
                Err(_) => select.remove(index),
            }
        }
        check("feeders that sent all", sum_of(feeding)?, channels)?;
        Ok(sum)
    });
    check("the sum of what was received", sum?, sum_below(n))?;
    Ok(sample)
}

fn skynet_node(first: u64, size: u64) -> Result<u64, Failure> {
    if size == 1 {
        return Ok(first);
    }
    let branches = branches(first, size).into_iter().filter(|branch| branch.1 > 0);
    let branches = branches.map(|(first, size)| spawn(move || skynet_node(first, size)));
    branches.collect::<Result<Vec<_>, _>>()?.into_iter().map(|branch| value_of(branch)?).sum()
}

fn skynet_round(n: u64) -> Result<Sample, Failure> {
    let (sample, sum) = timed(|| skynet_node(0, n));
    check("the sum of the leaves", sum?, sum_below(n))?;
    Ok(sample)
}

fn idle_round(n: u64, parked: &mut Parked) -> Result<Sample, Failure> {
    let (event, waiters) = bounded::<()>(1);
    let (last_parks, all_park) = bounded(1);
    let waiting = Arc::new(AtomicU64::new(0));
    let (creation, handles) = timed(|| {
        let waiter = |_| {
            let (waiters, waiting, last_parks) = (waiters.clone(), waiting.clone(), last_parks.clone());
            spawn(move || {
                if waiting.fetch_add(1, Ordering::Relaxed) + 1 == n {
                    last_parks.send(()).expect("whoever spawns waits for this");
                }
                drop((waiting, last_parks));
                u64::from(waiters.recv().is_err())
            })
        };
        let handles = (0..n).map(waiter).collect::<Result<Vec<_>, _>>()?;
        all_park.recv().map_err(|_| Failure::Wrong("not every thread began".to_owned()))?;
        Ok(handles)
    });
    let handles = handles?;
    let memory = Memory::now()?;
    let (release, released) = timed(|| {
        drop(event);
        sum_of(handles)
    });
    check("threads released by closing", released?, n)?;
    parked.push(creation, memory, release);
    Ok(creation)
}

#[allow(clippy::disallowed_methods, reason = "a thread is what sleeps here")]
fn sleep_round(n: u64, lateness: &mut Lateness) -> Result<Sample, Failure> {
    let (sample, late) = timed(|| {
        let sleeper = |number| {
            spawn(move || {
                let due = Instant::now() + nap(number);
                thread::sleep(nap(number));
                due.elapsed()
            })
        };
        let handles = (0..n).map(sleeper).collect::<Result<Vec<_>, _>>()?;
        handles.into_iter().map(value_of).collect::<Result<Vec<_>, _>>()
    });
    lateness.push(sample, late?, n)
}

fn churn_round(n: u64) -> Result<Sample, Failure> {
    let (sender, receiver) = bounded(1);
    let (sample, sum) = timed(|| {
        let mut sum = 0;
        for value in 0..n {
            sender.send(value).expect("the receiver lives");
            sum += receiver.recv_timeout(Duration::from_secs(10)).unwrap_or(0);
        }
        sum
    });
    check("sum", sum, sum_below(n))?;
    Ok(sample)
}

fn mutex_round(n: u64, tasks: u64, yield_in: bool) -> Result<Sample, Failure> {
    let count = Arc::new(Mutex::new(0));
    let (sample, done) = timed(|| {
        let adding = |times| {
            let count = count.clone();
            spawn(move || {
                for _ in 0..times {
                    let mut guard = count.lock().expect("nobody panics");
                    *guard += 1;
                    if yield_in {
                        yield_now();
                    }
                }
                times
            })
        };
        sum_of((0..tasks).map(|task| adding(share(n, task, tasks))).collect::<Result<_, _>>()?)
    });
    check("locks", done?, n)?;
    check("the count", *count.lock().expect("nobody panicked"), n)?;
    Ok(sample)
}

fn parallel_round(n: u64, steps: u64) -> Result<Sample, Failure> {
    let expected = compute(SEED, steps);
    let (sample, right) = timed(|| {
        let handles = (0..n).map(|_| spawn(move || u64::from(compute(black_box(SEED), steps) == expected)));
        sum_of(handles.collect::<Result<_, _>>()?)
    });
    check("threads that found the right number", right?, n)?;
    Ok(sample)
}

fn messages(params: &Params, tasks: u64, make: Make) -> Result<Report, Failure> {
    if params.word("place") != "auto" {
        return Err(Failure::Unsupported("the kernel places threads".to_owned()));
    }
    on_cores(params)?;
    Report::of(params, params.number("n"), |n| ring_round(n, tasks, make))
}

fn find(workload: &str) -> Option<Measure> {
    Some(match workload {
        "spawn_join" => |params| {
            on_cores(params)?;
            let (batch, wait) = (params.number("batch"), params.is_set("wait"));
            Report::of(params, params.number("n"), |n| spawn_join_round(n, batch, wait))
        },
        "yield_now" => |params| {
            on_cores(params)?;
            Report::of(params, params.number("n"), |n| yield_round(n, params.number("tasks")))
        },
        "ping_pong" => |params| {
            let make: Make = match params.word("chan") {
                "bounded1" => || bounded(1),
                "unbounded" => unbounded,
                _ => || bounded(0),
            };
            messages(params, 2, make)
        },
        "ring" => |params| messages(params, params.number("tasks"), || bounded(1)),
        "mpmc" => |params| {
            on_cores(params)?;
            let (producers, consumers) = (params.number("producers"), params.number("consumers"));
            Report::of(params, params.number("n"), |n| mpmc_round(n, params.size("cap"), producers, consumers))
        },
        "select" => |params| {
            on_cores(params)?;
            Report::of(params, params.number("n"), |n| select_round(n, params.number("chans")))
        },
        "skynet" => |params| {
            if params.is_set("wait") {
                return Err(Failure::Unsupported("a thread that gives way waits for nobody".to_owned()));
            }
            on_cores(params)?;
            Report::of(params, params.number("n"), skynet_round).map(Report::with_total)
        },
        "idle_mem" => |params| {
            on_cores(params)?;
            let n = params.number("n");
            let mut parked = Parked::begin()?;
            let report = Report::of(params, n, |n| idle_round(n, &mut parked))?;
            Ok(parked.add_to(report, n))
        },
        "sleep_many" => |params| {
            on_cores(params)?;
            let mut lateness = Lateness::default();
            let report = Report::of(params, params.number("n"), |n| sleep_round(n, &mut lateness))?;
            Ok(lateness.add_to(report))
        },
        "timeout_churn" => |params| {
            if params.is_set("wait") {
                return Err(Failure::Unsupported("a thread has no timeout around what waits".to_owned()));
            }
            on_cores(params)?;
            Report::of(params, params.number("n"), churn_round)
        },
        "mutex" => |params| {
            on_cores(params)?;
            let (tasks, yield_in) = (params.number("tasks"), params.is_set("yield_in"));
            Report::of(params, params.number("n"), |n| mutex_round(n, tasks, yield_in))
        },
        "parallel_speedup" => |params| {
            on_cores(params)?;
            let steps = params.number("iters");
            Report::of(params, params.number("n"), |n| parallel_round(n, steps)).map(Report::with_total)
        },
        _ => return None,
    })
}

fn main() -> ExitCode {
    line::main(|arguments| line::execute("threads", find, arguments))
}
