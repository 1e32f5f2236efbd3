//! smol: `async-executor` on as many threads as `threads` says, with `async-channel`, `async-lock` and `async-io`.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, bounded, unbounded};
use async_executor::{Executor, Task};
use async_io::Timer;
use async_lock::Mutex;
use futures_lite::future::{self, yield_now};
use line::args::Params;
use line::measure::{Report, Sample, Stopwatch, check};
use line::memory::{Memory, Parked};
use line::sleep::Lateness;
use line::work::{SEED, branches, compute, fib_by_sums, fib_calls, fib_index, highest_in_ring, nap, share, sum_below};
use line::{Failure, Measure};

#[path = "../../../examples/workloads/line/mod.rs"]
#[allow(dead_code, reason = "not every system needs every part")]
mod line;

static EXECUTOR: Executor<'static> = Executor::new();

fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    EXECUTOR.spawn(future)
}

/// Starts all threads but this one, which runs the executor whenever it waits in `block_on`.
fn start(params: &Params) {
    for _ in 1..params.number("threads") {
        thread::spawn(|| future::block_on(EXECUTOR.run(future::pending::<()>())));
    }
}

/// The same with `async-io`'s way to block, as smol's own programs do: whoever has nothing to run waits for timers itself, so
/// that none is woken by another thread.
fn start_for_timers(params: &Params) {
    for _ in 1..params.number("threads") {
        thread::spawn(|| async_io::block_on(EXECUTOR.run(future::pending::<()>())));
    }
}

fn block_on<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    future::block_on(EXECUTOR.run(spawn(future)))
}

fn block_on_timers<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    async_io::block_on(EXECUTOR.run(spawn(future)))
}

/// Repeats a round, each time in a task of its own.
fn repeat<F>(params: &Params, n: u64, mut round: impl FnMut(u64) -> F) -> Result<Report, Failure>
where
    F: Future<Output = Result<Sample, Failure>> + Send + 'static,
{
    start(params);
    Report::of(params, n, |n| block_on(round(n)))
}

async fn sum_of(tasks: Vec<Task<u64>>) -> u64 {
    let mut sum = 0;
    for task in tasks {
        sum += task.await;
    }
    sum
}

async fn spawn_join_round(n: u64, batch: u64, wait: bool) -> Result<Sample, Failure> {
    let mut tasks = Vec::new();
    let stopwatch = Stopwatch::start();
    let mut joined = 0;
    while joined < n {
        let size = batch.min(n - joined);
        if wait {
            tasks.extend((0..size).map(|_| spawn(yield_now())));
        } else {
            tasks.extend((0..size).map(|_| spawn(async {})));
        }
        for task in tasks.drain(..) {
            task.await;
            joined += 1;
        }
    }
    let sample = stopwatch.stop();
    check("tasks joined", joined, n)?;
    Ok(sample)
}

async fn yield_round(n: u64, tasks: u64) -> Result<Sample, Failure> {
    let stopwatch = Stopwatch::start();
    let yielding = |times| {
        spawn(async move {
            for _ in 0..times {
                yield_now().await;
            }
            times
        })
    };
    let yielded = sum_of((0..tasks).map(|task| yielding(share(n, task, tasks))).collect()).await;
    let sample = stopwatch.stop();
    check("yields", yielded, n)?;
    Ok(sample)
}

type Make = fn() -> (Sender<u64>, Receiver<u64>);

async fn pass_on(inbox: Receiver<u64>, next: Sender<u64>, last: u64) -> u64 {
    let mut highest = 0;
    while let Ok(counter) = inbox.recv().await {
        highest = counter;
        if counter == last || next.send(counter + 1).await.is_err() {
            break;
        }
    }
    highest
}

async fn ring_round(n: u64, tasks: u64, make: Make) -> Result<Sample, Failure> {
    let stopwatch = Stopwatch::start();
    let (first, mut inbox) = make();
    let starter = first.clone();
    let mut handles = Vec::new();
    for _ in 1..tasks {
        let (next, next_inbox) = make();
        let this_inbox = std::mem::replace(&mut inbox, next_inbox);
        handles.push(spawn(pass_on(this_inbox, next, n)));
    }
    handles.push(spawn(pass_on(inbox, first, n)));
    starter.send(1).await.expect("somebody receives it");
    drop(starter);
    let mut highest = Vec::new();
    for handle in handles {
        highest.push(handle.await);
    }
    let sample = stopwatch.stop();
    check("the highest number that each task had", highest, highest_in_ring(n, tasks))?;
    Ok(sample)
}

async fn feed(sender: Sender<u64>, first: u64, count: u64) -> u64 {
    for number in first..first + count {
        if sender.send(number).await.is_err() {
            return 0;
        }
    }
    1
}

async fn mpmc_round(n: u64, capacity: usize, producers: u64, consumers: u64) -> Result<Sample, Failure> {
    let stopwatch = Stopwatch::start();
    let (sender, receiver) = bounded(capacity);
    let sending = (0..producers)
        .map(|producer| spawn(feed(sender.clone(), n * producer / producers, share(n, producer, producers))))
        .collect();
    let adding = (0..consumers)
        .map(|_| {
            let receiver = receiver.clone();
            spawn(async move {
                let mut sum = 0;
                while let Ok(number) = receiver.recv().await {
                    sum += number;
                }
                sum
            })
        })
        .collect();
    drop((sender, receiver));
    let sent = sum_of(sending).await;
    let sum = sum_of(adding).await;
    let sample = stopwatch.stop();
    check("producers that sent all", sent, producers)?;
    check("the sum of what was received", sum, sum_below(n))?;
    Ok(sample)
}

fn skynet_node(first: u64, size: u64, wait: bool) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if wait {
            yield_now().await;
        }
        if size == 1 {
            return first;
        }
        let branches =
            branches(first, size).map(|(first, size)| (size > 0).then(|| spawn(skynet_node(first, size, wait))));
        sum_of(branches.into_iter().flatten().collect()).await
    })
}

async fn skynet_round(n: u64, wait: bool) -> Result<Sample, Failure> {
    let stopwatch = Stopwatch::start();
    let sum = spawn(skynet_node(0, n, wait)).await;
    let sample = stopwatch.stop();
    check("the sum of the leaves", sum, sum_below(n))?;
    Ok(sample)
}

fn fib(k: u64, wait: bool) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if k < 2 {
            return k;
        }
        let first = spawn(async move {
            if wait {
                yield_now().await;
            }
            fib(k - 1, wait).await
        });
        let second = fib(k - 2, wait).await;
        first.await + second
    })
}

async fn fib_round(k: u64, wait: bool) -> Result<Sample, Failure> {
    let stopwatch = Stopwatch::start();
    let number = spawn(fib(k, wait)).await;
    let sample = stopwatch.stop();
    check("the Fibonacci number", number, fib_by_sums(k))?;
    Ok(sample)
}

async fn idle_round(n: u64) -> Result<(Sample, Memory, Sample), Failure> {
    let (event, waiters) = bounded::<()>(1);
    let (last_parks, all_park) = bounded(1);
    let waiting = Arc::new(AtomicU64::new(0));
    let stopwatch = Stopwatch::start();
    let task = |_| {
        let (waiters, waiting, last_parks) = (waiters.clone(), waiting.clone(), last_parks.clone());
        spawn(async move {
            if waiting.fetch_add(1, Ordering::Relaxed) + 1 == n {
                last_parks.send(()).await.expect("whoever spawns waits for this");
            }
            drop((waiting, last_parks));
            u64::from(waiters.recv().await.is_err())
        })
    };
    let tasks: Vec<_> = (0..n).map(task).collect();
    all_park.recv().await.map_err(|_| Failure::Wrong("not every task began".to_owned()))?;
    let creation = stopwatch.stop();
    let memory = Memory::now()?;
    let stopwatch = Stopwatch::start();
    drop(event);
    let released = sum_of(tasks).await;
    let release = stopwatch.stop();
    check("tasks released by closing", released, n)?;
    Ok((creation, memory, release))
}

async fn sleep_round(n: u64) -> (Sample, Vec<Duration>) {
    let stopwatch = Stopwatch::start();
    let sleeper = |number| {
        spawn(async move {
            let due = Instant::now() + nap(number);
            Timer::after(nap(number)).await;
            due.elapsed()
        })
    };
    let tasks: Vec<_> = (0..n).map(sleeper).collect();
    let mut late = Vec::new();
    for task in tasks {
        late.push(task.await);
    }
    (stopwatch.stop(), late)
}

/// smol's own way: the operation races with a timer.
async fn churn_round(n: u64, wait: bool) -> Result<Sample, Failure> {
    let (sender, receiver) = bounded(1);
    let helper = spawn(feed(sender.clone(), 0, if wait { n } else { 0 }));
    let stopwatch = Stopwatch::start();
    let mut sum = 0;
    for value in 0..n {
        if !wait && sender.send(value).await.is_err() {
            break;
        }
        let received = async { black_box(&receiver).recv().await.unwrap_or(0) };
        let elapsed = async {
            Timer::after(Duration::from_secs(10)).await;
            0
        };
        sum += future::or(received, elapsed).await;
    }
    let sample = stopwatch.stop();
    check("senders that sent all", helper.await, 1)?;
    check("sum", sum, sum_below(n))?;
    Ok(sample)
}

async fn mutex_round(n: u64, tasks: u64, yield_in: bool) -> Result<Sample, Failure> {
    let count = Arc::new(Mutex::new(0));
    let stopwatch = Stopwatch::start();
    let adding = |times| {
        let count = count.clone();
        spawn(async move {
            for _ in 0..times {
                let mut guard = count.lock().await;
                *guard += 1;
                if yield_in {
                    yield_now().await;
                }
            }
            times
        })
    };
    let locked = sum_of((0..tasks).map(|task| adding(share(n, task, tasks))).collect()).await;
    let sample = stopwatch.stop();
    check("locks", locked, n)?;
    check("the count", *count.lock().await, n)?;
    Ok(sample)
}

async fn parallel_round(n: u64, steps: u64) -> Result<Sample, Failure> {
    let expected = compute(SEED, steps);
    let stopwatch = Stopwatch::start();
    let task = |_| spawn(async move { u64::from(compute(black_box(SEED), steps) == expected) });
    let right = sum_of((0..n).map(task).collect()).await;
    let sample = stopwatch.stop();
    check("tasks that found the right number", right, n)?;
    Ok(sample)
}

fn check_place(params: &Params) -> Result<(), Failure> {
    if params.word("place") == "auto" {
        return Ok(());
    }
    Err(Failure::Unsupported("the executor places tasks itself".to_owned()))
}

fn ping_pong(params: &Params) -> Result<Report, Failure> {
    check_place(params)?;
    let make: Make = match params.word("chan") {
        "bounded1" => || bounded(1),
        "unbounded" => unbounded,
        _ => return Err(Failure::Unsupported("async-channel has no rendezvous channels".to_owned())),
    };
    repeat(params, params.number("n"), |n| ring_round(n, 2, make))
}

fn idle_mem(params: &Params) -> Result<Report, Failure> {
    start(params);
    let n = params.number("n");
    let mut parked = Parked::begin()?;
    let report = Report::of(params, n, |tasks| {
        let (creation, memory, release) = block_on(idle_round(tasks))?;
        parked.push(creation, memory, release);
        Ok(creation)
    })?;
    Ok(parked.add_to(report, n))
}

fn sleep_many(params: &Params) -> Result<Report, Failure> {
    start_for_timers(params);
    let mut lateness = Lateness::default();
    let report = Report::of(params, params.number("n"), |n| {
        let (sample, late) = block_on_timers(sleep_round(n));
        lateness.push(sample, late, n)
    })?;
    Ok(lateness.add_to(report))
}

fn find(workload: &str) -> Option<Measure> {
    Some(match workload {
        "spawn_join" => |params| {
            let (batch, wait) = (params.number("batch"), params.is_set("wait"));
            repeat(params, params.number("n"), |n| spawn_join_round(n, batch, wait))
        },
        "yield_now" => |params| {
            let tasks = params.number("tasks");
            repeat(params, params.number("n"), |n| yield_round(n, tasks))
        },
        "ping_pong" => ping_pong,
        "ring" => |params| {
            check_place(params)?;
            let tasks = params.number("tasks");
            repeat(params, params.number("n"), |n| ring_round(n, tasks, || bounded(1)))
        },
        "mpmc" => |params| {
            let (capacity, producers, consumers) =
                (params.size("cap"), params.number("producers"), params.number("consumers"));
            repeat(params, params.number("n"), |n| mpmc_round(n, capacity, producers, consumers))
        },
        "skynet" => |params| {
            let wait = params.is_set("wait");
            repeat(params, params.number("n"), |n| skynet_round(n, wait)).map(Report::with_total)
        },
        "fib" => |params| {
            let (k, wait) = (params.number("k"), params.is_set("wait"));
            repeat(params, fib_calls(k), |calls| fib_round(fib_index(calls, k), wait)).map(Report::with_total)
        },
        "idle_mem" => idle_mem,
        "sleep_many" => sleep_many,
        "timeout_churn" => |params| {
            let wait = params.is_set("wait");
            start_for_timers(params);
            Report::of(params, params.number("n"), |n| block_on_timers(churn_round(n, wait)))
        },
        "mutex" => |params| {
            let (tasks, yield_in) = (params.number("tasks"), params.is_set("yield_in"));
            repeat(params, params.number("n"), |n| mutex_round(n, tasks, yield_in))
        },
        "parallel_speedup" => |params| {
            let steps = params.number("iters");
            repeat(params, params.number("n"), |n| parallel_round(n, steps)).map(Report::with_total)
        },
        _ => return None,
    })
}

fn main() -> ExitCode {
    line::main(|arguments| line::execute("smol", find, arguments))
}
