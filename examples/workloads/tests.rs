//! The command line, the line of JSON, and a tiny run of every workload.

use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::line::args::{Key, Params, Value, count, number, word};
use crate::line::histogram::Histogram;
use crate::line::measure::{kib, median};
use crate::line::table::WORKLOADS;
use crate::{Failure, OWN, execute, osier};

const KEYS: &[Key] = &[count("n", 1000), number("wait", 0), word("place", &["auto", "same"])];

fn parse(line: &str) -> Result<Params, String> {
    Params::parse(KEYS, &words(line))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Runs a command line on a thread of its own and ends the process if it does not end.
fn watched(line: &str) -> Result<String, Failure> {
    let (done, ended) = mpsc::channel();
    let arguments = words(line);
    let thread = thread::spawn(move || {
        let result = execute(&arguments);
        let _ = done.send(());
        result
    });
    if ended.recv_timeout(Duration::from_secs(120)) == Err(mpsc::RecvTimeoutError::Timeout) {
        eprintln!("the workload '{line}' hangs");
        process::abort();
    }
    thread.join().expect("a workload fails without a panic")
}

/// The line of JSON that a command line prints.
fn json(line: &str) -> String {
    let text = watched(line).unwrap_or_else(|failure| panic!("'{line}': {failure:?}"));
    let json = text.strip_suffix('\n').expect("a line ends");
    assert!(!json.contains('\n') && json.starts_with('{') && json.ends_with("}}"), "one object in one line: {json}");
    assert_eq!(json.matches('{').count(), json.matches('}').count(), "{json}");
    assert_eq!(json.matches('"').count() % 2, 0, "{json}");
    assert!(!json.contains("NaN") && !json.contains("inf"), "JSON has no such numbers: {json}");
    for key in ["peer", "workload", "params", "n", "ns_per_op", "ops_per_s", "rss_kib", "extra", "min_ns", "max_ns"] {
        assert_eq!(json.matches(&format!("\"{key}\":")).count(), 1, "{key} in {json}");
    }
    assert!(json.contains("\"all_ns\":[") && json.contains("\"cpu_per_wall\":"), "{json}");
    json.to_owned()
}

#[test]
fn keys_that_are_not_given_have_their_defaults() {
    let params = parse("").unwrap();
    assert_eq!((params.number("n"), params.is_set("wait"), params.word("place")), (1000, false, "auto"));
    assert_eq!(params.number("reps"), 5);
}

#[test]
fn numbers_may_have_underscores_and_the_last_of_a_key_counts() {
    let params = parse("n=1_000_000 wait=1 place=same reps=3 n=20_0").unwrap();
    assert_eq!((params.number("n"), params.size("n"), params.is_set("wait")), (200, 200, true));
    assert_eq!((params.word("place"), params.number("reps")), ("same", 3));
}

#[test]
fn what_a_key_does_not_take_is_a_mistake() {
    for line in ["n=", "n=x", "n=-1", "n=1.5", "n=_1", "n=+1", "n=0", "n=99999999999999999999", "reps=0", "wait=yes"] {
        let mistake = parse(line).unwrap_err();
        assert!(mistake.contains(line) && mistake.contains("whole number"), "{mistake}");
    }
    assert_eq!(parse("place=here").unwrap_err(), "'place=here': expected one of auto, same");
    assert_eq!(parse("N=1").unwrap_err(), "unknown key 'N'; this workload has n, wait, place, reps");
    assert_eq!(parse("n").unwrap_err(), "expected key=value, found 'n'");
}

#[test]
fn operations_and_repetitions_are_not_among_the_shown_parameters() {
    let shown: Vec<_> = parse("wait=2").unwrap().shown().collect();
    assert_eq!(shown, [("place", Value::Word("auto")), ("wait", Value::Number(2))]);
    let written: Vec<_> = shown.iter().map(|(_, value)| value.to_string()).collect();
    assert_eq!(written, ["\"auto\"", "2"]);
}

#[test]
fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
    assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
    assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.5);
}

#[test]
fn lines_of_the_kernels_files_are_found_by_their_whole_name() {
    let status = "VmHWM:\t    5120 kB\nVmRSS:\t  4096 kB\nThreads:\t3\n";
    assert_eq!([kib(status, "VmHWM"), kib(status, "VmRSS")], [Some(5120), Some(4096)]);
    assert_eq!([kib(status, "Vm"), kib(status, "Threads"), kib(status, "VmPTE")], [None; 3]);
}

#[test]
fn mistakes_in_the_command_line_are_told_from_what_is_missing() {
    let mistakes = ["", "rign", "ring tsaks=3", "ring threads=0", "switch threads=1", "mpmc place=auto", "echo n=1"];
    for line in mistakes {
        assert!(matches!(watched(line), Err(Failure::Mistake(_))), "'{line}'");
    }
    let missing = ["create pool=0", "ping_pong place=apart", "bare_echo threads=2"];
    for line in missing {
        assert!(matches!(watched(line), Err(Failure::Unsupported(_))), "'{line}'");
    }
}

/// Every workload that measures something is in one of the tests below; this finds one that was forgotten.
const TINY: &[&str] = &[
    "switch n=1000 reps=2",
    "switch_many n=1001 count=100 reps=2",
    "symmetric n=1000 reps=2",
    "gen_sum n=1000 reps=2",
    "create n=1000 reps=2",
    "bare_switch n=1000 reps=2",
    "bare_switch_many n=1001 count=100 reps=2",
    "bare_item n=1000 reps=2",
    "bare_create n=1000 reps=2",
    "idle_generators n=1000 reps=2",
    "sleep_together n=1000 ms=20 reps=2",
    "bare_create n=1000 reps=2 pool=0",
    "spawn_join n=2000 batch=300 reps=2",
    "spawn_join n=2000 batch=300 reps=2 wait=1",
    "yield_now n=2000 reps=2",
    "yield_now n=2000 tasks=7 reps=2",
    "ping_pong n=1001 reps=2",
    "ping_pong n=1001 reps=2 chan=unbounded place=same",
    "ping_pong n=1001 reps=2 chan=rendezvous",
    "mpmc n=3001 reps=2",
    "mutex n=3001 reps=2",
    "mutex n=3001 reps=2 tasks=3 yield_in=1 threads=2",
    "mpmc n=3001 reps=2 cap=1 producers=2 consumers=3",
    "select n=3001 reps=2",
    "select n=301 reps=2 chans=100",
    "ring n=2000 reps=2",
    "ring n=100 tasks=1 reps=2",
    "skynet n=1000 reps=2",
    "skynet n=777 reps=2 wait=1",
    "fib k=1 reps=2",
    "fib k=12 reps=2",
    "fib k=12 reps=2 wait=1",
    "idle_mem n=500 reps=2",
    "parallel_speedup n=50 iters=1000 reps=2",
    "spawn_outside n=1001 reps=2",
    "unbalanced n=101 iters=1000 reps=2",
    "sleep_many n=50 reps=1",
    "timeout_churn n=1000 reps=2",
    "timeout_churn n=1000 reps=2 wait=1",
    "timeout_live n=1000 live=100 reps=2",
    "wake_remote n=1001 reps=2",
    "idle_cpu ms=20 reps=1",
    "stall ms=20 reps=1",
    "wake_latency n=100 hz=2000 reps=2",
    "wake_latency n=100 hz=2000 reps=2 load=2 from=thread",
];

#[test]
fn every_workload_runs() {
    let measured = WORKLOADS.iter().map(|(name, _)| *name).filter(|name| osier(name).is_some());
    for name in measured.chain(OWN.iter().map(|own| own.name)) {
        let is_run = TINY.iter().any(|line| words(line)[0] == name);
        // The first is a table, two answer until they are killed, and the last start this very program for that.
        let others = ["ratios", "echo", "bare_echo", "echo_load", "echo_turns"];
        assert!(is_run || others.contains(&name), "'{name}' is not run");
    }
    for line in TINY {
        let json = json(line);
        let name = &words(line)[0];
        assert!(json.contains(&format!("\"workload\":\"{name}\"")), "{json}");
        let peer = if name.starts_with("bare_") { "corosensei" } else { "osier" };
        assert!(json.starts_with(&format!("{{\"peer\":\"{peer}\"")), "{json}");
    }
}

#[test]
fn every_workload_with_workers_runs_on_more_of_them() {
    let has_threads = |name: &str| WORKLOADS.iter().any(|w| w.0 == name && w.1.iter().any(|key| key.name == "threads"));
    for line in TINY.iter().filter(|line| has_threads(&words(line)[0])) {
        for threads in [2, 4] {
            let json = json(&format!("{line} threads={threads}"));
            assert!(json.contains(&format!("\"threads\":{threads}")), "{json}");
        }
    }
}

#[test]
fn tasks_go_where_they_are_told() {
    for line in ["ping_pong n=500 reps=2 place=apart threads=2", "ring n=500 tasks=7 reps=2 place=same threads=2"] {
        json(line);
    }
}

#[test]
fn reports_say_what_their_workload_adds() {
    assert!(json("skynet n=100 reps=1").contains("\"total_ms\":"));
    // The calls with more than one below them: fib(13) - 1.
    assert!(json("fib k=12 reps=1").contains("\"n\":232,"));
    let idle = json("idle_mem n=100 reps=1");
    for key in ["rss_bytes_per_task", "pte_bytes_per_task", "bytes_per_task", "maps", "create_s", "release_s"] {
        assert!(idle.contains(&format!("\"{key}\":")), "{idle}");
    }
    let idle = json("idle_cpu ms=10 reps=1");
    assert!(["wakeups_per_s", "cpu_ms"].iter().all(|key| idle.contains(&format!("\"{key}\":"))), "{idle}");
    let stall = json("stall ms=10 reps=1");
    for (who, part) in
        ["sleep", "apart", "spawn"].into_iter().flat_map(|who| ["p50", "p99", "p999", "max"].map(|part| (who, part)))
    {
        assert!(stall.contains(&format!("\"{who}_{part}_us\":")), "{stall}");
    }
    let ring = json("ring n=100 tasks=10 reps=1");
    assert!(ring.contains("\"params\":{\"place\":\"auto\",\"tasks\":10,\"threads\":1},\"n\":100,"), "{ring}");
}

#[test]
fn histograms_are_off_by_less_than_a_hundredth() {
    let mut histogram = Histogram::new();
    for ns in (0..1000).map(|i| i * i * 1000 + 3) {
        histogram.record(ns);
    }
    for (part, exact) in [(0.5, 499_u64), (0.99, 989), (0.001, 0)].map(|(part, i)| (part, i * i * 1000 + 3)) {
        let read = histogram.quantile(part);
        assert!(exact <= read && read <= exact + exact / 100, "{part}: {exact} read as {read}");
    }
    histogram.record(u64::MAX);
    assert_eq!((histogram.total(), histogram.most(), histogram.quantile(1.0)), (1001, u64::MAX, u64::MAX));
    let mut sum = Histogram::new();
    sum.add(&histogram);
    sum.add(&histogram);
    assert_eq!((sum.total(), sum.quantile(0.5)), (2002, histogram.quantile(0.5)));
}

#[test]
fn ratios_are_a_table() {
    let table = watched("ratios n=1000 rounds=3").unwrap();
    for name in ["switch", "switch_many", "gen_sum", "create"] {
        assert!(table.lines().any(|line| line.starts_with(&format!("| {name:<11} |"))), "{table}");
    }
}
