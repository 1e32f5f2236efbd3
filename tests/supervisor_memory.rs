//! What restarts leave behind: nothing. A file of its own: it counts what the whole process has allocated.

#![cfg(feature = "runtime")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

use osier::actor::{Builder, Mailbox, Reply, Restart, Strategy, Supervisor};
use osier::{Runtime, raise};

struct Counting;

/// How many bytes are allocated and not freed.
static LIVE: AtomicIsize = AtomicIsize::new(0);

/// How often the child shall fail before it answers.
static FAILURES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator, and a counter.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) };
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_hundred_thousand_restarts_leave_nothing_behind() {
    let _watch = common::watch();
    drop(osier::set_report_hook(|_| ()));
    let runtime = Runtime::builder().workers(2).build().unwrap();
    runtime.run(|| {
        let supervisor = Supervisor::builder(Strategy::OneForOne).unlimited().start();
        let body = |inbox: &Mailbox<(usize, Reply<()>)>| {
            // Another memory than the task's and the mailbox's, on a frame that unwinds.
            let _boxed = Box::new(1);
            let is_due = FAILURES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
            if !is_due {
                let (times, reply) = inbox.recv();
                FAILURES.store(times, Ordering::Relaxed);
                reply.send(()).unwrap();
            }
            raise(std::fmt::Error)
        };
        let child = supervisor.start("ends always", Restart::Permanent, Builder::new().child_body(body)).unwrap();
        let fail = |times: usize| {
            child.ask(|reply| (times, reply)).unwrap();
            // It is answered when all of them are done.
            child.ask(|reply| (0, reply)).unwrap();
            (LIVE.load(Ordering::Relaxed), common::count_in_proc("task"))
        };
        let (before, threads_before) = fail(10_000);
        let (after, threads_after) = fail(100_000);
        // Each thread keeps some free blocks for its next tasks, some thousand bytes more or less. If each restart left the
        // smallest thing behind that can be allocated, that would be four times as much as this.
        assert!(after - before < 4 * 100_000, "{} bytes", after - before);
        assert_eq!(threads_before, threads_after);
        assert!(supervisor.restarts().unwrap() >= 110_000);
        supervisor.stop();
    });
}
