//! What a spawn allocates. A file of its own: it has an allocator that counts.

#![cfg(feature = "runtime")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use osier::Runtime;
use osier::runtime::LocalRuntime;

struct Counting;

thread_local! {
    /// Those of this thread: others, that only watch, allocate when they like.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator, and a counter.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) };
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations `f` makes, and what else this thread does meanwhile.
fn count(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

/// Everything runs on one worker, or on the calling thread, so that its thread makes all that is counted.
#[test]
fn a_spawn_allocates_at_most_once() {
    let _watch = common::watch();
    let tasks = 1000;
    let spawn_and_join = |size: usize| {
        for n in 0..tasks {
            let joined = match size {
                0 => osier::spawn(move || n).join(),
                _ => {
                    // Too large for what a worker keeps of ended tasks.
                    let large = [n; 500];
                    osier::spawn(move || large[large[0] % 500]).join()
                }
            };
            assert_eq!(joined.unwrap(), n);
        }
    };
    let some = |n: usize| n <= 8;
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.run(|| {
        spawn_and_join(0);
        // The blocks of ended tasks serve the next ones.
        assert!(some(count(|| spawn_and_join(0))));
        // Header, closure and result together.
        spawn_and_join(1);
        let large = count(|| spawn_and_join(1));
        assert!(large >= tasks && some(large - tasks), "{large} for {tasks}");
    });
    LocalRuntime::new().run(|| {
        spawn_and_join(0);
        assert!(some(count(|| spawn_and_join(0))));
        let local = |n: usize| osier::spawn_local(move || n).join().unwrap();
        assert!(some(count(|| assert_eq!((0..tasks).map(local).sum::<usize>(), 499_500))));
    });
    // Many at once: those that the worker has no block for are one allocation each, and the list of handles is one.
    let many = |count: usize| (0..count).map(|n| osier::spawn(move || n)).collect::<Vec<_>>();
    let large = 20_000;
    let allocated = runtime.run(|| count(|| many(large).into_iter().for_each(|task| _ = task.join().unwrap())));
    assert!(allocated <= large + 100, "{allocated}");
}
