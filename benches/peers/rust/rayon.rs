//! rayon: fork and join. Its tasks cannot wait, so `wait=1`, channels and timers are not for it.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use line::args::Params;
use line::measure::{Report, Sample, check, timed};
use line::work::{SEED, branches, compute, fib_by_sums, fib_calls, fib_index, sum_below};
use line::{Failure, Measure};
use rayon::ThreadPoolBuilder;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

#[path = "../../../examples/workloads/line/mod.rs"]
#[allow(dead_code, reason = "not every system needs every part")]
mod line;

/// Runs `body` in a pool of as many threads as the parameters say.
fn in_pool(params: &Params, body: impl FnOnce() -> Result<Report, Failure> + Send) -> Result<Report, Failure> {
    let pool = ThreadPoolBuilder::new().num_threads(params.size("threads")).build();
    pool.map_err(|error| Failure::Wrong(format!("no pool: {error}")))?.install(body)
}

fn check_no_wait(params: &Params) -> Result<(), Failure> {
    if params.is_set("wait") { Err(Failure::Unsupported("rayon's tasks cannot wait".to_owned())) } else { Ok(()) }
}

fn spawn_join_round(n: u64, batch: u64) -> Result<Sample, Failure> {
    // Relaxed: the scope's end orders what its tasks did.
    let ran = AtomicU64::new(0);
    let (sample, ()) = timed(|| {
        let mut joined = 0;
        while joined < n {
            let size = batch.min(n - joined);
            rayon::scope(|scope| {
                for i in 0..size {
                    // As a join elsewhere says that all have run, the last one says that here.
                    let ran = (i + 1 == size).then_some(&ran);
                    scope.spawn(move |_| {
                        if let Some(ran) = ran {
                            ran.fetch_add(size, Ordering::Relaxed);
                        }
                    });
                }
            });
            joined += size;
        }
    });
    check("tasks of joined batches", ran.into_inner(), n)?;
    Ok(sample)
}

fn skynet_node(first: u64, size: u64) -> u64 {
    if size == 1 {
        return first;
    }
    // A task each, as elsewhere.
    let branches = branches(first, size).into_par_iter().with_max_len(1).filter(|branch| branch.1 > 0);
    branches.map(|(first, size)| skynet_node(first, size)).sum()
}

fn skynet_round(n: u64) -> Result<Sample, Failure> {
    let (sample, sum) = timed(|| skynet_node(0, n));
    check("the sum of the leaves", sum, sum_below(n))?;
    Ok(sample)
}

fn fib(k: u64) -> u64 {
    if k < 2 {
        return k;
    }
    let (first, second) = rayon::join(|| fib(k - 1), || fib(k - 2));
    first + second
}

fn fib_round(k: u64) -> Result<Sample, Failure> {
    let (sample, number) = timed(|| fib(k));
    check("the Fibonacci number", number, fib_by_sums(k))?;
    Ok(sample)
}

fn parallel_round(n: u64, steps: u64) -> Result<Sample, Failure> {
    let expected = compute(SEED, steps);
    let (sample, right) = timed(|| {
        // A task each, as elsewhere; only ranges of this type know their length.
        let all = 0..usize::try_from(n).expect("they are counted in memory");
        let tasks = all.into_par_iter().with_max_len(1).map(|_| u64::from(compute(black_box(SEED), steps) == expected));
        tasks.sum::<u64>()
    });
    check("tasks that found the right number", right, n)?;
    Ok(sample)
}

fn find(workload: &str) -> Option<Measure> {
    Some(match workload {
        "spawn_join" => |params| {
            check_no_wait(params)?;
            let batch = params.number("batch");
            in_pool(params, || Report::of(params, params.number("n"), |n| spawn_join_round(n, batch)))
        },
        "skynet" => |params| {
            check_no_wait(params)?;
            in_pool(params, || Report::of(params, params.number("n"), skynet_round)).map(Report::with_total)
        },
        "fib" => |params| {
            check_no_wait(params)?;
            let k = params.number("k");
            in_pool(params, || Report::of(params, fib_calls(k), |calls| fib_round(fib_index(calls, k))))
                .map(Report::with_total)
        },
        "parallel_speedup" => |params| {
            let steps = params.number("iters");
            in_pool(params, || Report::of(params, params.number("n"), |n| parallel_round(n, steps)))
                .map(Report::with_total)
        },
        _ => return None,
    })
}

fn main() -> ExitCode {
    line::main(|arguments| line::execute("rayon", find, arguments))
}
