//! A million actors at once, and a million restarts of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use osier::actor::{Address, Builder, Mailbox, Reply, Restart, Strategy, Supervisor};
use osier::sync::WaitGroup;
use osier::{Runtime, raise, set_report_hook};

/// What this process holds in memory, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

/// Starts `count` actors, each of which has received one message and waits for the next; sends them that. Returns the memory
/// of each.
pub(crate) fn crowd(count: u64) -> u64 {
    let runtime = Runtime::builder().workers(2).build().expect("two threads are to be had");
    runtime.run(|| {
        let before = memory();
        let sum = Arc::new(AtomicU64::new(0));
        let started = WaitGroup::new();
        let actors: Vec<Address<u64>> = (0..count)
            .map(|_| {
                let (sum, started) = (sum.clone(), started.clone());
                let actor = Builder::new().spawn(move |inbox: &Mailbox<u64>| {
                    sum.fetch_add(inbox.recv(), Ordering::Relaxed);
                    drop(started);
                    sum.fetch_add(inbox.recv(), Ordering::Relaxed);
                });
                actor.send(1).expect("it listens");
                actor
            })
            .collect();
        started.wait();
        let each = memory().saturating_sub(before) / count;
        actors.iter().for_each(|actor| actor.send(1).expect("it listens"));
        actors.iter().for_each(|actor| actor.join().expect("it ends well"));
        assert_eq!(sum.load(Ordering::Relaxed), 2 * count);
        each
    })
}

/// Lets an actor fail `count` times, and a supervisor start it again each time. Returns by how much the memory has grown.
pub(crate) fn restarts(count: u64) -> u64 {
    let before = set_report_hook(|_| ());
    let runtime = Runtime::builder().workers(2).build().expect("two threads are to be had");
    let grown = runtime.run(|| {
        let supervisor = Supervisor::builder(Strategy::OneForOne).unlimited().start();
        let failures = Arc::new(AtomicU64::new(count / 10));
        // Whoever asks when it has failed often enough says how often it shall fail before it answers again.
        let body = move |inbox: &Mailbox<(u64, Reply<()>)>| {
            if failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_err() {
                let (next, reply) = inbox.recv();
                failures.store(next, Ordering::Relaxed);
                reply.send(()).expect("somebody waits for it");
            }
            raise(std::fmt::Error)
        };
        let child = Builder::new().child_body(body);
        let child = supervisor.start("fails always", Restart::Permanent, child).expect("the name is free");
        child.ask(|reply| (count, reply)).expect("it answers when it has failed often enough");
        let before = memory();
        child.ask(|reply| (0, reply)).expect("it answers when it has failed often enough");
        let grown = memory().saturating_sub(before);
        assert!(supervisor.restarts().expect("it runs") >= count);
        supervisor.stop();
        grown
    });
    drop(set_report_hook(before));
    grown
}
