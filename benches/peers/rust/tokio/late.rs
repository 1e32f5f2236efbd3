//! Who comes late, and the echo server: what tokio's two runtimes do where time, other threads and sockets come in.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::spawn;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep_until;

use crate::line::Failure;
use crate::line::args::Params;
use crate::line::echo::{BUFFER, announce};
use crate::line::histogram::Histogram;
use crate::line::latency::{LOAD_STEPS, Latencies, Schedule, Wakes};
use crate::line::measure::{Report, Sample, Stopwatch, check};
use crate::line::stall::{Late, Plan};
use crate::line::work::compute;
use crate::runtime;
use crate::workloads::{repeat, value_of};

/// A thread and a task wake each other, `n` times in all.
async fn remote_round(n: u64) -> Result<Sample, Failure> {
    let (there, mut inbox) = mpsc::channel(1);
    let (back, mut answers) = mpsc::channel(1);
    let stopwatch = Stopwatch::start();
    let thread = std::thread::spawn(move || {
        let mut woken = 0;
        for _ in 0..n.div_ceil(2) {
            if there.blocking_send(()).is_err() || answers.blocking_recv().is_none() {
                break;
            }
            woken += 2;
        }
        woken
    });
    while inbox.recv().await.is_some() {
        if back.send(()).await.is_err() {
            break;
        }
    }
    let woken = thread.join().map_err(|_| Failure::Wrong("the thread panicked".to_owned()))?;
    let sample = stopwatch.stop();
    check("wake-ups", woken, n.div_ceil(2) * 2)?;
    Ok(sample)
}

/// Tasks that keep the workers busy until they are told to end.
fn loads(count: u64, end: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
    let load = |seed| {
        let end = end.clone();
        spawn(async move {
            while !end.load(Ordering::Relaxed) {
                black_box(compute(seed, LOAD_STEPS));
                yield_now().await;
            }
        })
    };
    (0..count).map(load).collect()
}

async fn wake_round(wakes: Wakes) -> Result<(Stopwatch, Vec<Histogram>), Failure> {
    let end = Arc::new(AtomicBool::new(false));
    let loads = loads(wakes.load, &end);
    let stopwatch = Stopwatch::start();
    let schedule = Schedule::at(wakes.hz);
    let mut pacer = None;
    let handles: Vec<_> = if wakes.from_thread {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..wakes.tasks).map(|_| mpsc::unbounded_channel()).unzip();
        pacer = Some(std::thread::spawn(move || {
            schedule.pace(wakes.n, |wake| {
                let sender = &senders[usize::try_from(wake % wakes.tasks).expect("tasks are counted in memory")];
                sender.send(wake).expect("the task waits for it");
            });
        }));
        let woken = |mut inbox: mpsc::UnboundedReceiver<u64>| {
            spawn(async move {
                let mut late = Histogram::new();
                while let Some(wake) = inbox.recv().await {
                    late.record_since(schedule.due(wake));
                }
                late
            })
        };
        receivers.into_iter().map(woken).collect()
    } else {
        let sleeper = |task| {
            spawn(async move {
                let mut late = Histogram::new();
                for wake in wakes.of_task(task) {
                    let due = schedule.due(wake);
                    sleep_until(due.into()).await;
                    late.record_since(due);
                }
                late
            })
        };
        (0..wakes.tasks).map(sleeper).collect()
    };
    let mut late = Vec::new();
    for handle in handles {
        late.push(value_of(handle).await?);
    }
    end.store(true, Ordering::Relaxed);
    for load in loads {
        value_of(load).await?;
    }
    if let Some(pacer) = pacer {
        pacer.join().map_err(|_| Failure::Wrong("the thread panicked".to_owned()))?;
    }
    Ok((stopwatch, late))
}

/// Spawns a task that says how late it began.
fn spawn_fresh(due: Instant, tell: &mpsc::UnboundedSender<Duration>) {
    let tell = tell.clone();
    drop(spawn(async move { tell.send(due.elapsed()).expect("somebody counts them") }));
}

/// One task computes, others sleep and spawn meanwhile. Where tasks run is the runtime's matter: it moves started ones, too.
async fn stall_round(plan: Plan) -> Result<(Vec<Histogram>, Vec<Duration>), Failure> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let sleeper = |index| {
        let tell = tell.clone();
        spawn(async move {
            let mut late = Histogram::new();
            for due in plan.dues() {
                sleep_until(due.into()).await;
                late.record_since(due);
                if index > 0 {
                    spawn_fresh(due, &tell);
                }
            }
            late
        })
    };
    let sleepers: Vec<_> = (0..plan.sleepers).map(sleeper).collect();
    let computes = spawn(async move { plan.compute(|due| spawn_fresh(due, &tell)) });
    value_of(computes).await?;
    let mut slept = Vec::new();
    for sleeper in sleepers {
        slept.push(value_of(sleeper).await?);
    }
    let mut began = Vec::new();
    while let Some(late) = told.recv().await {
        began.push(late);
    }
    Ok((slept, began))
}

async fn serve() -> Result<(), std::io::Error> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?);
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn(async move {
            let mut buffer = vec![0; BUFFER];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        });
    }
}

pub(crate) fn wake_remote(params: &Params) -> Result<Report, Failure> {
    repeat(params, params.number("n"), remote_round)
}

pub(crate) fn wake_latency(params: &Params) -> Result<Report, Failure> {
    let runtime = runtime(params)?;
    let mut latencies = Latencies::default();
    let report = Report::of(params, params.number("n"), |n| {
        let (stopwatch, late) = runtime.block_on(value_of(runtime.spawn(wake_round(Wakes::of(params, n)))))??;
        latencies.push(stopwatch, late, n)
    })?;
    Ok(latencies.add_to(report))
}

pub(crate) fn stall(params: &Params) -> Result<Report, Failure> {
    let runtime = runtime(params)?;
    let mut late = Late::new();
    let report = Report::of(params, 1, |_| {
        let stopwatch = Stopwatch::start();
        let plan = Plan::of(params);
        let (slept, began) = runtime.block_on(value_of(runtime.spawn(stall_round(plan))))??;
        let sample = stopwatch.stop();
        late.push(plan, &slept, began.into_iter())?;
        Ok(sample)
    })?;
    Ok(late.add_to(report))
}

pub(crate) fn echo(params: &Params) -> Result<Report, Failure> {
    let runtime = runtime(params)?;
    let ended = runtime.block_on(value_of(runtime.spawn(serve())))?;
    Err(Failure::Wrong(format!("the server ended: {ended:?}")))
}
