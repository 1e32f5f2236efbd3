//! What both of tokio's runtimes do.
//!
//! tokio has no channel with many receivers: `mpmc` takes `async_channel`, as programs on tokio do. Tasks wait for an
//! event in `acquire` of a semaphore without permits, which closing releases.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, error::SendError};
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};
use tokio::{select, spawn};

use crate::line::args::Params;
use crate::line::measure::{Report, Sample, Stopwatch, check};
use crate::line::memory::{Memory, Parked};
use crate::line::sleep::Lateness;
use crate::line::work::{
    SEED, branches, compute, fib_by_sums, fib_calls, fib_index, highest_in_ring, nap, share, sum_below,
};
use crate::line::{Failure, Measure};
use crate::{late, runtime};

/// Repeats a round, each time in a task of its own.
pub(crate) fn repeat<F>(params: &Params, n: u64, mut round: impl FnMut(u64) -> F) -> Result<Report, Failure>
where
    F: Future<Output = Result<Sample, Failure>> + Send + 'static,
{
    let runtime = runtime(params)?;
    Report::of(params, n, |n| runtime.block_on(value_of(runtime.spawn(round(n))))?)
}

pub(crate) async fn value_of<T>(handle: JoinHandle<T>) -> Result<T, Failure> {
    handle.await.map_err(|error| Failure::Wrong(format!("a task failed: {error}")))
}

async fn sum_of(handles: Vec<JoinHandle<u64>>) -> Result<u64, Failure> {
    let mut sum = 0;
    for handle in handles {
        sum += value_of(handle).await?;
    }
    Ok(sum)
}

async fn spawn_join_round(n: u64, batch: u64, wait: bool) -> Result<Sample, Failure> {
    let mut handles = Vec::new();
    let stopwatch = Stopwatch::start();
    let mut joined = 0;
    while joined < n {
        let size = batch.min(n - joined);
        if wait {
            handles.extend((0..size).map(|_| spawn(yield_now())));
        } else {
            handles.extend((0..size).map(|_| spawn(async {})));
        }
        for handle in handles.drain(..) {
            value_of(handle).await?;
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
    let yielded = sum_of((0..tasks).map(|task| yielding(share(n, task, tasks))).collect()).await?;
    let sample = stopwatch.stop();
    check("yields", yielded, n)?;
    Ok(sample)
}

/// The two kinds of channels, which have no trait in common.
trait Channel: 'static {
    type Sender: Clone + Send + Sync;
    type Receiver: Send;
    fn make() -> (Self::Sender, Self::Receiver);
    fn send(sender: &Self::Sender, number: u64) -> impl Future<Output = Result<(), SendError<u64>>> + Send;
    fn recv(receiver: &mut Self::Receiver) -> impl Future<Output = Option<u64>> + Send;
}

struct Bounded1;
struct Unbounded;

impl Channel for Bounded1 {
    type Sender = mpsc::Sender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    fn make() -> (Self::Sender, Self::Receiver) {
        mpsc::channel(1)
    }
    fn send(sender: &Self::Sender, number: u64) -> impl Future<Output = Result<(), SendError<u64>>> + Send {
        sender.send(number)
    }
    fn recv(receiver: &mut Self::Receiver) -> impl Future<Output = Option<u64>> + Send {
        receiver.recv()
    }
}

impl Channel for Unbounded {
    type Sender = mpsc::UnboundedSender<u64>;
    type Receiver = mpsc::UnboundedReceiver<u64>;
    fn make() -> (Self::Sender, Self::Receiver) {
        mpsc::unbounded_channel()
    }
    async fn send(sender: &Self::Sender, number: u64) -> Result<(), SendError<u64>> {
        sender.send(number)
    }
    fn recv(receiver: &mut Self::Receiver) -> impl Future<Output = Option<u64>> + Send {
        receiver.recv()
    }
}

async fn pass_on<C: Channel>(mut inbox: C::Receiver, next: C::Sender, last: u64) -> u64 {
    let mut highest = 0;
    while let Some(counter) = C::recv(&mut inbox).await {
        highest = counter;
        if counter == last || C::send(&next, counter + 1).await.is_err() {
            break;
        }
    }
    highest
}

async fn ring_round<C: Channel>(n: u64, tasks: u64) -> Result<Sample, Failure> {
    let stopwatch = Stopwatch::start();
    let (first, mut inbox) = C::make();
    let starter = first.clone();
    let mut handles = Vec::new();
    for _ in 1..tasks {
        let (next, next_inbox) = C::make();
        let this_inbox = std::mem::replace(&mut inbox, next_inbox);
        handles.push(spawn(pass_on::<C>(this_inbox, next, n)));
    }
    handles.push(spawn(pass_on::<C>(inbox, first, n)));
    C::send(&starter, 1).await.expect("somebody receives it");
    drop(starter);
    let mut highest = Vec::new();
    for handle in handles {
        highest.push(value_of(handle).await?);
    }
    let sample = stopwatch.stop();
    check("the highest number that each task had", highest, highest_in_ring(n, tasks))?;
    Ok(sample)
}

async fn mpmc_round(n: u64, capacity: usize, producers: u64, consumers: u64) -> Result<Sample, Failure> {
    let stopwatch = Stopwatch::start();
    let (sender, receiver) = async_channel::bounded(capacity);
    let sending: Vec<_> = (0..producers)
        .map(|producer| {
            let sender = sender.clone();
            let first = n * producer / producers;
            spawn(async move {
                for number in first..first + share(n, producer, producers) {
                    if sender.send(number).await.is_err() {
                        return 0;
                    }
                }
                1
            })
        })
        .collect();
    let adding: Vec<_> = (0..consumers)
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
    let sent = sum_of(sending).await?;
    let sum = sum_of(adding).await?;
    let sample = stopwatch.stop();
    check("producers that sent all", sent, producers)?;
    check("the sum of what was received", sum, sum_below(n))?;
    Ok(sample)
}

/// `select!` has its branches in the source: four of them.
async fn select_round(n: u64) -> Result<Sample, Failure> {
    let stopwatch = Stopwatch::start();
    let mut feeding = Vec::new();
    let inboxes: [_; 4] = std::array::from_fn(|feeder| {
        let (sender, inbox) = mpsc::channel(128);
        let first = n * feeder as u64 / 4;
        feeding.push(spawn(async move {
            for number in first..first + share(n, feeder as u64, 4) {
                if sender.send(number).await.is_err() {
                    return 0;
                }
            }
            1
        }));
        inbox
    });
    let [mut a, mut b, mut c, mut d] = inboxes;
    let (mut sum, mut received) = (0, 0);
    while received < n {
        let number = select! {
            Some(number) = a.recv() => number,
            Some(number) = b.recv() => number,
            Some(number) = c.recv() => number,
            Some(number) = d.recv() => number,
            else => break,
        };
        (sum, received) = (sum + number, received + 1);
    }
    let sent = sum_of(feeding).await?;
    let sample = stopwatch.stop();
    check("feeders that sent all", sent, 4)?;
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
        let mut sum = 0;
        for branch in branches.into_iter().flatten() {
            sum += branch.await.expect("a leaf has no reason to fail");
        }
        sum
    })
}

async fn skynet_round(n: u64, wait: bool) -> Result<Sample, Failure> {
    let stopwatch = Stopwatch::start();
    let sum = value_of(spawn(skynet_node(0, n, wait))).await?;
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
        first.await.expect("a sum of small numbers has no reason to fail") + second
    })
}

async fn fib_round(k: u64, wait: bool) -> Result<Sample, Failure> {
    let stopwatch = Stopwatch::start();
    let number = value_of(spawn(fib(k, wait))).await?;
    let sample = stopwatch.stop();
    check("the Fibonacci number", number, fib_by_sums(k))?;
    Ok(sample)
}

/// What a round of parked tasks found: creation, memory, release.
async fn idle_round(n: u64) -> Result<(Sample, Memory, Sample), Failure> {
    let event = Arc::new(Semaphore::new(0));
    let waiting = Arc::new(AtomicU64::new(0));
    let (last_parks, all_park) = oneshot::channel();
    let last_parks = Arc::new(std::sync::Mutex::new(Some(last_parks)));
    let stopwatch = Stopwatch::start();
    let task = |_| {
        let (event, waiting, last_parks) = (event.clone(), waiting.clone(), last_parks.clone());
        spawn(async move {
            if waiting.fetch_add(1, Ordering::Relaxed) + 1 == n {
                let last_parks = last_parks.lock().expect("nobody panics").take().expect("only one is the last");
                last_parks.send(()).expect("whoever spawns waits for this");
            }
            drop((waiting, last_parks));
            u64::from(event.acquire().await.is_err())
        })
    };
    let handles: Vec<_> = (0..n).map(task).collect();
    all_park.await.map_err(|_| Failure::Wrong("not every task began".to_owned()))?;
    let creation = stopwatch.stop();
    let memory = Memory::now()?;
    let stopwatch = Stopwatch::start();
    event.close();
    let released = sum_of(handles).await?;
    let release = stopwatch.stop();
    check("tasks released by closing", released, n)?;
    Ok((creation, memory, release))
}

async fn sleep_round(n: u64) -> Result<(Sample, Vec<Duration>), Failure> {
    let stopwatch = Stopwatch::start();
    let sleeper = |number| {
        spawn(async move {
            let due = Instant::now() + nap(number);
            sleep(nap(number)).await;
            due.elapsed()
        })
    };
    let handles: Vec<_> = (0..n).map(sleeper).collect();
    let mut late = Vec::new();
    for handle in handles {
        late.push(value_of(handle).await?);
    }
    Ok((stopwatch.stop(), late))
}

async fn churn_round(n: u64, wait: bool) -> Result<Sample, Failure> {
    let (sender, mut receiver) = mpsc::channel(1);
    let helper = spawn({
        let sender = sender.clone();
        async move {
            for value in 0..if wait { n } else { 0 } {
                if sender.send(value).await.is_err() {
                    return false;
                }
            }
            true
        }
    });
    let stopwatch = Stopwatch::start();
    let mut sum = 0;
    for value in 0..n {
        if !wait && sender.send(value).await.is_err() {
            break;
        }
        let received = timeout(Duration::from_secs(10), black_box(&mut receiver).recv()).await;
        sum += received.ok().flatten().unwrap_or(0);
    }
    let sample = stopwatch.stop();
    check("the sender's end", value_of(helper).await?, true)?;
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
        })
    };
    let handles: Vec<_> = (0..tasks).map(|task| adding(share(n, task, tasks))).collect();
    for handle in handles {
        value_of(handle).await?;
    }
    let sample = stopwatch.stop();
    check("the count", *count.lock().await, n)?;
    Ok(sample)
}

async fn parallel_round(n: u64, steps: u64) -> Result<Sample, Failure> {
    let expected = compute(SEED, steps);
    let stopwatch = Stopwatch::start();
    let task = |_| spawn(async move { u64::from(compute(black_box(SEED), steps) == expected) });
    let right = sum_of((0..n).map(task).collect()).await?;
    let sample = stopwatch.stop();
    check("tasks that found the right number", right, n)?;
    Ok(sample)
}

fn spawn_join(params: &Params) -> Result<Report, Failure> {
    let (batch, wait) = (params.number("batch"), params.is_set("wait"));
    repeat(params, params.number("n"), |n| spawn_join_round(n, batch, wait))
}

fn yields(params: &Params) -> Result<Report, Failure> {
    let tasks = params.number("tasks");
    repeat(params, params.number("n"), |n| yield_round(n, tasks))
}

/// The runtime decides where tasks are.
fn check_place(params: &Params) -> Result<(), Failure> {
    if params.word("place") == "auto" {
        return Ok(());
    }
    Err(Failure::Unsupported("tokio places tasks itself".to_owned()))
}

fn ping_pong(params: &Params) -> Result<Report, Failure> {
    check_place(params)?;
    match params.word("chan") {
        "bounded1" => repeat(params, params.number("n"), |n| ring_round::<Bounded1>(n, 2)),
        "unbounded" => repeat(params, params.number("n"), |n| ring_round::<Unbounded>(n, 2)),
        _ => Err(Failure::Unsupported("tokio has no rendezvous channels".to_owned())),
    }
}

fn ring(params: &Params) -> Result<Report, Failure> {
    check_place(params)?;
    let tasks = params.number("tasks");
    repeat(params, params.number("n"), |n| ring_round::<Bounded1>(n, tasks))
}

fn many_to_many(params: &Params) -> Result<Report, Failure> {
    let (producers, consumers, capacity) = (params.number("producers"), params.number("consumers"), params.size("cap"));
    repeat(params, params.number("n"), |n| mpmc_round(n, capacity, producers, consumers))
}

fn select_(params: &Params) -> Result<Report, Failure> {
    if params.number("chans") != 4 {
        return Err(Failure::Unsupported("this program's select! has four branches".to_owned()));
    }
    repeat(params, params.number("n"), select_round)
}

fn skynet(params: &Params) -> Result<Report, Failure> {
    let wait = params.is_set("wait");
    repeat(params, params.number("n"), |n| skynet_round(n, wait)).map(Report::with_total)
}

fn fib_(params: &Params) -> Result<Report, Failure> {
    let (k, wait) = (params.number("k"), params.is_set("wait"));
    repeat(params, fib_calls(k), |calls| fib_round(fib_index(calls, k), wait)).map(Report::with_total)
}

fn idle_mem(params: &Params) -> Result<Report, Failure> {
    let (runtime, n) = (runtime(params)?, params.number("n"));
    let mut parked = Parked::begin()?;
    let report = Report::of(params, n, |tasks| {
        let (creation, memory, release) = runtime.block_on(value_of(runtime.spawn(idle_round(tasks))))??;
        parked.push(creation, memory, release);
        Ok(creation)
    })?;
    Ok(parked.add_to(report, n))
}

fn sleep_many(params: &Params) -> Result<Report, Failure> {
    let runtime = runtime(params)?;
    let mut lateness = Lateness::default();
    let report = Report::of(params, params.number("n"), |n| {
        let (sample, late) = runtime.block_on(value_of(runtime.spawn(sleep_round(n))))??;
        lateness.push(sample, late, n)
    })?;
    Ok(lateness.add_to(report))
}

fn timeout_churn(params: &Params) -> Result<Report, Failure> {
    let wait = params.is_set("wait");
    repeat(params, params.number("n"), |n| churn_round(n, wait))
}

fn mutex(params: &Params) -> Result<Report, Failure> {
    let (tasks, yield_in) = (params.number("tasks"), params.is_set("yield_in"));
    repeat(params, params.number("n"), |n| mutex_round(n, tasks, yield_in))
}

fn parallel_speedup(params: &Params) -> Result<Report, Failure> {
    let steps = params.number("iters");
    repeat(params, params.number("n"), |n| parallel_round(n, steps)).map(Report::with_total)
}

pub(crate) fn find(workload: &str) -> Option<Measure> {
    Some(match workload {
        "spawn_join" => spawn_join,
        "yield_now" => yields,
        "ping_pong" => ping_pong,
        "ring" => ring,
        "mpmc" => many_to_many,
        "select" => select_,
        "skynet" => skynet,
        "fib" => fib_,
        "idle_mem" => idle_mem,
        "sleep_many" => sleep_many,
        "timeout_churn" => timeout_churn,
        "mutex" => mutex,
        "parallel_speedup" => parallel_speedup,
        "wake_remote" => late::wake_remote,
        "wake_latency" => late::wake_latency,
        "stall" => late::stall,
        "echo" => late::echo,
        _ => return None,
    })
}
