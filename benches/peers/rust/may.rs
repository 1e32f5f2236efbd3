//! `may`: stackful coroutines that are stolen while they wait.
//!
//! Its channels have no bound, so `ring` and `mpmc` run on unbounded ones, which is less work than what is asked for. In
//! `ring` there is one message at a time either way. It keeps its stacks of 32 KiB, and its workers pinned, which is
//! what it does by itself.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use line::args::Params;
use line::measure::{Report, Sample, check, timed};
use line::memory::{Memory, Parked};
use line::sleep::Lateness;
use line::work::{SEED, branches, compute, fib_by_sums, fib_calls, fib_index, highest_in_ring, nap, share, sum_below};
use line::{Failure, Measure};
use may::coroutine::{JoinHandle, sleep, yield_now};
use may::go;
use may::sync::{Mutex, mpmc, mpsc};

#[path = "../../../examples/workloads/line/mod.rs"]
#[allow(dead_code, reason = "not every system needs every part")]
mod line;

/// Runs `body` as a coroutine on as many workers as the parameters say.
fn on_workers<T: Send + 'static>(
    params: &Params,
    body: impl FnOnce(Params) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    may::config().set_workers(params.size("threads"));
    let params = params.clone();
    go!(move || body(params)).join().unwrap_or_else(|_| Err(Failure::Wrong("the root panicked".to_owned())))
}

fn value_of<T>(handle: JoinHandle<T>) -> Result<T, Failure> {
    handle.join().map_err(|_| Failure::Wrong("a coroutine panicked".to_owned()))
}

fn spawn_join_round(n: u64, batch: u64, wait: bool) -> Result<Sample, Failure> {
    let mut handles = Vec::new();
    let (sample, joined) = timed(|| {
        let mut joined = 0;
        while joined < n {
            let size = batch.min(n - joined);
            if wait {
                handles.extend((0..size).map(|_| go!(yield_now)));
            } else {
                handles.extend((0..size).map(|_| go!(|| ())));
            }
            for handle in handles.drain(..) {
                value_of(handle)?;
                joined += 1;
            }
        }
        Ok(joined)
    });
    check("coroutines joined", joined?, n)?;
    Ok(sample)
}

fn yield_round(n: u64, tasks: u64) -> Result<Sample, Failure> {
    let (sample, yielded) = timed(|| {
        let yielding = |times| {
            go!(move || {
                (0..times).for_each(|_| yield_now());
                times
            })
        };
        let handles: Vec<_> = (0..tasks).map(|task| yielding(share(n, task, tasks))).collect();
        handles.into_iter().map(value_of).sum::<Result<u64, _>>()
    });
    check("yields", yielded?, n)?;
    Ok(sample)
}

fn pass_on(inbox: &mpsc::Receiver<u64>, next: &mpsc::Sender<u64>, last: u64) -> u64 {
    let mut highest = 0;
    for counter in inbox.iter() {
        highest = counter;
        if counter == last || next.send(counter + 1).is_err() {
            break;
        }
    }
    highest
}

fn ring_round(n: u64, tasks: u64) -> Result<Sample, Failure> {
    let (sample, highest) = timed(|| {
        let (first, mut inbox) = mpsc::channel();
        let starter = first.clone();
        let mut handles = Vec::new();
        for _ in 1..tasks {
            let (next, next_inbox) = mpsc::channel();
            let this_inbox = std::mem::replace(&mut inbox, next_inbox);
            handles.push(go!(move || pass_on(&this_inbox, &next, n)));
        }
        handles.push(go!(move || pass_on(&inbox, &first, n)));
        starter.send(1).expect("somebody receives it");
        drop(starter);
        handles.into_iter().map(value_of).collect::<Result<Vec<_>, _>>()
    });
    check("the highest number that each coroutine had", highest?, highest_in_ring(n, tasks))?;
    Ok(sample)
}

fn mpmc_round(n: u64, producers: u64, consumers: u64) -> Result<Sample, Failure> {
    let (sample, sum) = timed(|| {
        let (sender, receiver) = mpmc::channel();
        let sending: Vec<_> = (0..producers)
            .map(|producer| {
                let sender = sender.clone();
                let first = n * producer / producers;
                go!(move || (first..first + share(n, producer, producers)).all(|number| sender.send(number).is_ok()))
            })
            .collect();
        let adding: Vec<_> = (0..consumers)
            .map(|_| {
                let receiver = receiver.clone();
                go!(move || receiver.iter().sum::<u64>())
            })
            .collect();
        drop((sender, receiver));
        for sent in sending {
            value_of(sent)?;
        }
        adding.into_iter().map(value_of).sum::<Result<u64, _>>()
    });
    check("the sum of what was received", sum?, sum_below(n))?;
    Ok(sample)
}

fn skynet_node<const WAIT: bool>(first: u64, size: u64) -> u64 {
    if WAIT {
        yield_now();
    }
    if size == 1 {
        return first;
    }
    let branches =
        branches(first, size).map(|(first, size)| (size > 0).then(|| go!(move || skynet_node::<WAIT>(first, size))));
    branches.into_iter().flatten().map(|branch| branch.join().expect("a leaf has no reason to fail")).sum()
}

fn skynet_round(n: u64, wait: bool) -> Result<Sample, Failure> {
    let node = if wait { skynet_node::<true> } else { skynet_node::<false> };
    let (sample, sum) = timed(|| value_of(go!(move || node(0, n))));
    check("the sum of the leaves", sum?, sum_below(n))?;
    Ok(sample)
}

fn fib<const WAIT: bool>(k: u64) -> u64 {
    if k < 2 {
        return k;
    }
    let first = go!(move || {
        if WAIT {
            yield_now();
        }
        fib::<WAIT>(k - 1)
    });
    let second = fib::<WAIT>(k - 2);
    first.join().expect("a sum of small numbers has no reason to fail") + second
}

fn fib_round(k: u64, wait: bool) -> Result<Sample, Failure> {
    let fib = if wait { fib::<true> } else { fib::<false> };
    let (sample, number) = timed(|| value_of(go!(move || fib(k))));
    check("the Fibonacci number", number?, fib_by_sums(k))?;
    Ok(sample)
}

fn idle_round(n: u64, parked: &mut Parked) -> Result<Sample, Failure> {
    let (event, waiters) = mpmc::channel::<()>();
    let (last_parks, all_park) = mpsc::channel();
    let waiting = Arc::new(AtomicU64::new(0));
    let (creation, handles) = timed(|| {
        let waiter = |_| {
            let (waiters, waiting, last_parks) = (waiters.clone(), waiting.clone(), last_parks.clone());
            go!(move || {
                if waiting.fetch_add(1, Ordering::Relaxed) + 1 == n {
                    last_parks.send(()).expect("whoever spawns waits for this");
                }
                drop((waiting, last_parks));
                waiters.recv().is_err()
            })
        };
        let handles: Vec<_> = (0..n).map(waiter).collect();
        all_park.recv().map_err(|_| Failure::Wrong("not every coroutine began".to_owned()))?;
        Ok(handles)
    });
    let handles = handles?;
    let memory = Memory::now()?;
    let (release, released) = timed(|| {
        drop(event);
        handles.into_iter().map(|handle| Ok(u64::from(value_of(handle)?))).sum::<Result<u64, _>>()
    });
    check("coroutines released by closing", released?, n)?;
    parked.push(creation, memory, release);
    Ok(creation)
}

fn sleep_round(n: u64, lateness: &mut Lateness) -> Result<Sample, Failure> {
    let (sample, late) = timed(|| {
        let sleeper = |number| {
            go!(move || {
                let due = Instant::now() + nap(number);
                sleep(nap(number));
                due.elapsed()
            })
        };
        let handles: Vec<_> = (0..n).map(sleeper).collect();
        handles.into_iter().map(value_of).collect::<Result<Vec<_>, _>>()
    });
    lateness.push(sample, late?, n)
}

/// A receive with a timeout: there is no timeout around anything else.
fn churn_round(n: u64) -> Result<Sample, Failure> {
    let (sender, receiver) = mpsc::channel();
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

fn mutex_round<const YIELD_IN: bool>(n: u64, tasks: u64) -> Result<Sample, Failure> {
    let count = Arc::new(Mutex::new(0));
    let (sample, done) = timed(|| {
        let adding = |times| {
            let count = count.clone();
            go!(move || {
                for _ in 0..times {
                    let mut guard = count.lock().expect("nobody panics");
                    *guard += 1;
                    if YIELD_IN {
                        yield_now();
                    }
                }
            })
        };
        let handles: Vec<_> = (0..tasks).map(|task| adding(share(n, task, tasks))).collect();
        handles.into_iter().try_for_each(value_of)
    });
    done?;
    check("the count", *count.lock().expect("nobody panicked"), n)?;
    Ok(sample)
}

fn parallel_round(n: u64, steps: u64) -> Result<Sample, Failure> {
    let expected = compute(SEED, steps);
    let (sample, right) = timed(|| {
        let handles: Vec<_> = (0..n).map(|_| go!(move || compute(std::hint::black_box(SEED), steps))).collect();
        handles.into_iter().map(|handle| Ok(u64::from(value_of(handle)? == expected))).sum::<Result<u64, _>>()
    });
    check("coroutines that found the right number", right?, n)?;
    Ok(sample)
}

fn spawn_join(params: &Params) -> Result<Report, Failure> {
    on_workers(params, |params| {
        let (batch, wait) = (params.number("batch"), params.is_set("wait"));
        Report::of(&params, params.number("n"), |n| spawn_join_round(n, batch, wait))
    })
}

fn yields(params: &Params) -> Result<Report, Failure> {
    on_workers(params, |params| Report::of(&params, params.number("n"), |n| yield_round(n, params.number("tasks"))))
}

fn ping_pong(params: &Params) -> Result<Report, Failure> {
    if params.word("chan") != "unbounded" || params.word("place") != "auto" {
        return Err(Failure::Unsupported("may has unbounded channels, and places coroutines itself".to_owned()));
    }
    on_workers(params, |params| Report::of(&params, params.number("n"), |n| ring_round(n, 2)))
}

fn ring(params: &Params) -> Result<Report, Failure> {
    if params.word("place") != "auto" {
        return Err(Failure::Unsupported("may places coroutines itself".to_owned()));
    }
    on_workers(params, |params| Report::of(&params, params.number("n"), |n| ring_round(n, params.number("tasks"))))
}

fn many_to_many(params: &Params) -> Result<Report, Failure> {
    on_workers(params, |params| {
        let (producers, consumers) = (params.number("producers"), params.number("consumers"));
        Report::of(&params, params.number("n"), |n| mpmc_round(n, producers, consumers))
    })
}

fn skynet(params: &Params) -> Result<Report, Failure> {
    on_workers(params, |params| Report::of(&params, params.number("n"), |n| skynet_round(n, params.is_set("wait"))))
        .map(Report::with_total)
}

fn fib_(params: &Params) -> Result<Report, Failure> {
    on_workers(params, |params| {
        let (k, wait) = (params.number("k"), params.is_set("wait"));
        Report::of(&params, fib_calls(k), |calls| fib_round(fib_index(calls, k), wait))
    })
    .map(Report::with_total)
}

fn idle_mem(params: &Params) -> Result<Report, Failure> {
    on_workers(params, |params| {
        let n = params.number("n");
        let mut parked = Parked::begin()?;
        let report = Report::of(&params, n, |tasks| idle_round(tasks, &mut parked))?;
        Ok(parked.add_to(report, n))
    })
}

fn sleep_many(params: &Params) -> Result<Report, Failure> {
    on_workers(params, |params| {
        let mut lateness = Lateness::default();
        let report = Report::of(&params, params.number("n"), |n| sleep_round(n, &mut lateness))?;
        Ok(lateness.add_to(report))
    })
}

fn timeout_churn(params: &Params) -> Result<Report, Failure> {
    if params.is_set("wait") {
        return Err(Failure::Unsupported("may has no timeout around what waits".to_owned()));
    }
    on_workers(params, |params| Report::of(&params, params.number("n"), churn_round))
}

fn mutex(params: &Params) -> Result<Report, Failure> {
    on_workers(params, |params| {
        let round = if params.is_set("yield_in") { mutex_round::<true> } else { mutex_round::<false> };
        Report::of(&params, params.number("n"), |n| round(n, params.number("tasks")))
    })
}

fn parallel_speedup(params: &Params) -> Result<Report, Failure> {
    on_workers(params, |params| Report::of(&params, params.number("n"), |n| parallel_round(n, params.number("iters"))))
        .map(Report::with_total)
}

fn echo(params: &Params) -> Result<Report, Failure> {
    let failed = |error: std::io::Error| Failure::Wrong(format!("no server: {error}"));
    on_workers(params, move |_| {
        let listener = may::net::TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        line::echo::announce(listener.local_addr().map_err(failed)?);
        for stream in listener.incoming() {
            let mut stream = stream.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            go!(move || {
                let mut buffer = vec![0; line::echo::BUFFER];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
            });
        }
        Err(Failure::Wrong("the listener ended".to_owned()))
    })
}

fn find(workload: &str) -> Option<Measure> {
    Some(match workload {
        "spawn_join" => spawn_join,
        "yield_now" => yields,
        "ping_pong" => ping_pong,
        "ring" => ring,
        "mpmc" => many_to_many,
        "skynet" => skynet,
        "fib" => fib_,
        "idle_mem" => idle_mem,
        "sleep_many" => sleep_many,
        "timeout_churn" => timeout_churn,
        "mutex" => mutex,
        "parallel_speedup" => parallel_speedup,
        "echo" => echo,
        _ => return None,
    })
}

fn main() -> ExitCode {
    line::main(|arguments| line::execute("may", find, arguments))
}
