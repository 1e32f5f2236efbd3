//! The workloads that every system may be asked for: their keys, and what those are when nobody gives them.

use super::args::{Key, count, number, word};

/// A workload's name and its keys, besides `reps`.
pub(crate) type Entry = (&'static str, &'static [Key]);

const THREADS: Key = count("threads", 1);
const TWO_THREADS: Key = count("threads", 2);
const PLACE: Key = word("place", &["auto", "same", "apart"]);
const FROM: Key = word("from", &["timer", "thread"]);
const CHAN: Key = word("chan", &["bounded1", "unbounded", "rendezvous"]);

/// All of them, from the smallest move to the largest program.
pub(crate) const WORKLOADS: &[Entry] = &[
    ("switch", &[count("n", 10_000_000)]),
    ("switch_many", &[count("n", 2_000_000), count("count", 10_000)]),
    ("symmetric", &[count("n", 10_000_000)]),
    ("gen_sum", &[count("n", 10_000_000)]),
    ("create", &[count("n", 1_000_000), number("pool", 1)]),
    ("spawn_join", &[count("n", 1_000_000), count("batch", 1000), number("wait", 0), THREADS]),
    ("yield_now", &[count("n", 2_000_000), count("tasks", 2), THREADS]),
    ("ping_pong", &[count("n", 1_000_000), CHAN, PLACE, THREADS]),
    ("ring", &[count("n", 1_000_000), count("tasks", 503), PLACE, THREADS]),
    ("mpmc", &[count("n", 4_000_000), count("cap", 128), count("producers", 4), count("consumers", 4), THREADS]),
    ("select", &[count("n", 1_000_000), count("chans", 4), THREADS]),
    ("skynet", &[count("n", 1_000_000), number("wait", 0), THREADS]),
    ("fib", &[count("k", 30), number("wait", 0), THREADS]),
    ("idle_mem", &[count("n", 100_000), THREADS]),
    ("sleep_many", &[count("n", 100_000), THREADS]),
    ("timeout_churn", &[count("n", 1_000_000), number("wait", 0), THREADS]),
    ("mutex", &[count("n", 1_000_000), count("tasks", 8), number("yield_in", 0), THREADS]),
    ("parallel_speedup", &[count("n", 10_000), count("iters", 30_000), THREADS]),
    ("wake_remote", &[count("n", 200_000), TWO_THREADS]),
    (
        "wake_latency",
        &[count("n", 20_000), count("hz", 5_000), count("tasks", 16), number("load", 0), FROM, TWO_THREADS],
    ),
    ("idle_cpu", &[count("ms", 2000), THREADS]),
    ("stall", &[count("ms", 300), TWO_THREADS]),
    ("echo", &[THREADS]),
];
