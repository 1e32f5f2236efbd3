//! Tasks that spawn, join, yield and compute.

use std::hint::black_box;

use osier::{JoinHandle, Runtime, spawn, yield_now};

use crate::Failure;
use crate::args::{Key, Params, count};
use crate::line::work::{SEED, branches, compute, fib_by_sums, fib_calls, fib_index, share, sum_below};
use crate::measure::{Report, Sample, check, timed};

/// Runs `body` as a task on a runtime with as many workers as the parameters say.
pub(crate) fn on_workers<T: Send>(
    params: &Params,
    body: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let runtime = Runtime::builder().workers(params.size("threads")).build();
    runtime.map_err(|error| Failure::Wrong(format!("no runtime: {error}")))?.run(body)
}

/// The value of a task that has no reason to fail.
pub(crate) fn value_of<T>(handle: JoinHandle<T>) -> Result<T, Failure> {
    handle.join().map_err(|error| Failure::Wrong(format!("a task failed: {error}")))
}

/// Spawns `n` empty tasks in batches, joining each batch before the next.
fn spawn_join_round(n: u64, batch: u64, wait: bool) -> Result<Sample, Failure> {
    let mut handles = Vec::new();
    let (sample, joined) = timed(|| {
        let mut joined = 0;
        while joined < n {
            let size = batch.min(n - joined);
            if wait {
                handles.extend((0..size).map(|_| spawn(yield_now)));
            } else {
                handles.extend((0..size).map(|_| spawn(|| ())));
            }
            for handle in handles.drain(..) {
                value_of(handle)?;
                joined += 1;
            }
        }
        Ok(joined)
    });
    check("tasks joined", joined?, n)?;
    Ok(sample)
}

/// Some tasks yield, `n` times in all.
fn yield_round(n: u64, tasks: u64) -> Result<Sample, Failure> {
    let (sample, yielded) = timed(|| {
        let yielding = |times| {
            spawn(move || {
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

/// The number of a leaf, or the sum of those below: the leaves are `first` and the next ones, `size` of them.
fn skynet_node<const WAIT: bool>(first: u64, size: u64) -> u64 {
    if WAIT {
        yield_now();
    }
    if size == 1 {
        return first;
    }
    let branches =
        branches(first, size).map(|(first, size)| (size > 0).then(|| spawn(move || skynet_node::<WAIT>(first, size))));
    let sum_of = |branch: JoinHandle<u64>| branch.join().expect("a leaf has no reason to fail");
    branches.into_iter().flatten().map(sum_of).sum()
}

fn skynet_round(n: u64, wait: bool) -> Result<Sample, Failure> {
    let node = if wait { skynet_node::<true> } else { skynet_node::<false> };
    let (sample, sum) = timed(|| value_of(spawn(move || node(0, n))));
    check("the sum of the leaves", sum?, sum_below(n))?;
    Ok(sample)
}

/// The `k`th Fibonacci number: the first half in a task of its own, the second here.
fn fib<const WAIT: bool>(k: u64) -> u64 {
    if k < 2 {
        return k;
    }
    let first = spawn(move || {
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
    let (sample, number) = timed(|| value_of(spawn(move || fib(k))));
    check("the Fibonacci number", number?, fib_by_sums(k))?;
    Ok(sample)
}

/// `n` tasks that compute and do not wait.
fn parallel_round(n: u64, steps: u64) -> Result<Sample, Failure> {
    let expected = compute(SEED, steps);
    let (sample, right) = timed(|| {
        let handles: Vec<_> = (0..n).map(|_| spawn(move || compute(black_box(SEED), steps))).collect();
        handles.into_iter().map(|handle| Ok(u64::from(value_of(handle)? == expected))).sum::<Result<u64, _>>()
    });
    check("tasks that found the right number", right?, n)?;
    Ok(sample)
}

/// The keys of `spawn_outside`.
pub(crate) const OUTSIDE: &[Key] = &[count("n", 200_000), count("batch", 1000), count("threads", 1)];

/// As `spawn_join`, from a thread that is no worker.
pub(crate) fn spawn_outside(params: &Params) -> Result<Report, Failure> {
    let runtime = Runtime::builder().workers(params.size("threads")).build();
    let runtime = runtime.map_err(|error| Failure::Wrong(format!("no runtime: {error}")))?;
    let batch = params.size("batch");
    Report::of(params, params.number("n"), |n| {
        let (sample, joined) = timed(|| {
            let mut handles = Vec::with_capacity(batch);
            let mut joined = 0;
            while joined < n {
                handles.extend((joined..n).take(batch).map(|_| runtime.spawn(|| ())));
                for handle in handles.drain(..) {
                    value_of(handle)?;
                    joined += 1;
                }
            }
            Ok(joined)
        });
        check("tasks joined", joined?, n)?;
        Ok(sample)
    })
}

/// The keys of `unbalanced`.
pub(crate) const UNBALANCED: &[Key] = &[count("n", 10_000), count("iters", 30_000), count("threads", 1)];

/// A tree of `n` tasks that compute, of which one branch has nine tenths of what is left; the number of its tasks.
fn lopsided(n: u64, steps: u64, expected: u64) -> u64 {
    let rest = n - 1;
    let small = spawn_branch(rest / 10, steps, expected);
    let large = spawn_branch(rest - rest / 10, steps, expected);
    let right = u64::from(compute(black_box(SEED), steps) == expected);
    let sum_of = |branch: JoinHandle<u64>| branch.join().expect("a branch has no reason to fail");
    right + [small, large].into_iter().flatten().map(sum_of).sum::<u64>()
}

fn spawn_branch(n: u64, steps: u64, expected: u64) -> Option<JoinHandle<u64>> {
    (n > 0).then(|| spawn(move || lopsided(n, steps, expected)))
}

/// As `parallel_speedup`, with a tree that is as lopsided as trees get: all work begins in one task, and most of it lies in
/// one branch of each.
pub(crate) fn unbalanced(params: &Params) -> Result<Report, Failure> {
    let steps = params.number("iters");
    let expected = compute(SEED, steps);
    let round = |n| {
        let (sample, right) = timed(|| lopsided(n, steps, expected));
        check("tasks that found the right number", right, n)?;
        Ok(sample)
    };
    on_workers(params, || Report::of(params, params.number("n"), round)).map(Report::with_total)
}

pub(crate) fn spawn_join(params: &Params) -> Result<Report, Failure> {
    let (batch, wait) = (params.number("batch"), params.is_set("wait"));
    on_workers(params, || Report::of(params, params.number("n"), |n| spawn_join_round(n, batch, wait)))
}

pub(crate) fn yield_now_(params: &Params) -> Result<Report, Failure> {
    let tasks = params.number("tasks");
    on_workers(params, || Report::of(params, params.number("n"), |n| yield_round(n, tasks)))
}

pub(crate) fn skynet(params: &Params) -> Result<Report, Failure> {
    let wait = params.is_set("wait");
    on_workers(params, || Report::of(params, params.number("n"), |n| skynet_round(n, wait))).map(Report::with_total)
}

pub(crate) fn fib_(params: &Params) -> Result<Report, Failure> {
    let (k, wait) = (params.number("k"), params.is_set("wait"));
    let round = |calls| fib_round(fib_index(calls, k), wait);
    on_workers(params, || Report::of(params, fib_calls(k), round)).map(Report::with_total)
}

pub(crate) fn parallel_speedup(params: &Params) -> Result<Report, Failure> {
    let steps = params.number("iters");
    on_workers(params, || Report::of(params, params.number("n"), |n| parallel_round(n, steps))).map(Report::with_total)
}
