//! A task's end: what users' code does there, in destructors, links and reports, is nobody else's trouble.

#![cfg(feature = "runtime")]

mod common;

use std::cell::Cell;
use std::fmt;
use std::panic;

use common::{Log, OnDrop, watch};
use osier::runtime::LocalRuntime;
use osier::sync::{AsyncResult, channel};
use osier::{Runtime, raise, run, spawn, spawn_local, task, yield_now};

fn runtimes() -> impl Iterator<Item = Runtime> {
    [1, 2].into_iter().map(|workers| Runtime::builder().workers(workers).build().unwrap())
}

/// An error that cannot be told.
struct PanicsInDebug;

impl fmt::Debug for PanicsInDebug {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no words")
    }
}

/// An error that takes its time to be told.
struct WaitsInDebug;

impl fmt::Debug for WaitsInDebug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        yield_now();
        f.write_str("told at last")
    }
}

#[test]
fn smoke() {
    let _watch = watch();
    let reports = common::reports(|| {
        for runtime in runtimes() {
            let failing = runtime.spawn(|| Err::<(), _>(PanicsInDebug));
            let task = failing.task();
            failing.report();
            task.join().unwrap();
            assert_eq!(runtime.run(|| 5), 5, "its worker goes on");
        }
    });
    let told = reports.iter().filter(|report| report.ends_with("task panicked: no words")).count();
    assert_eq!(told, 2, "{reports:?}");
}

// What unwound from the loop left `run` while the closure that borrows was suspended, and ran on later.
#[test]
fn an_error_that_cannot_be_told_leaves_a_local_runtimes_tasks_as_they_are() {
    let _watch = watch();
    let log = Log::default();
    let reports = common::reports(|| {
        let runtime = LocalRuntime::new();
        let ran = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            let text = String::from("borrowed");
            runtime.run(|| {
                let _at_end = OnDrop(|| log.push(text.as_str()));
                spawn_local(|| Err::<(), _>(PanicsInDebug)).report();
                yield_now();
                yield_now();
            });
        }));
        ran.expect("nothing unwinds out of a task's end");
        assert_eq!(log.take(), ["borrowed"]);
        drop(runtime);
        assert_eq!(log.len(), 0);
    });
    assert!(reports.iter().any(|report| report.ends_with("task panicked: no words")), "{reports:?}");
}

#[test]
fn an_error_may_take_its_time_to_be_told_although_the_task_was_cancelled() {
    let _watch = watch();
    let reports = common::reports(|| {
        for runtime in runtimes() {
            let failing = runtime.spawn(|| {
                task::current().cancel();
                Err::<(), _>(WaitsInDebug)
            });
            let task = failing.task();
            failing.report();
            task.join().unwrap();
            // Its runtime waits for what it does after its end.
            drop(runtime);
        }
    });
    let told = reports.iter().filter(|report| report.ends_with("returned an error: told at last")).count();
    assert_eq!((told, reports.len()), (2, 2), "{reports:?}");
}

/// A value whose destructor does what it was given.
struct Drops(fn());

impl Drop for Drops {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_value_that_a_result_refuses_may_panic_in_its_drop() {
    let _watch = watch();
    let reports = common::reports(|| {
        for runtime in runtimes() {
            runtime.run(|| {
                let (go, goes) = channel::bounded(1);
                let task = spawn(move || {
                    goes.recv().unwrap();
                    Drops(|| panic!("unwanted"))
                });
                let ended = task.task();
                let shared = task.shared();
                shared.set(Drops(|| ())).ok().unwrap();
                go.send(()).unwrap();
                ended.join().unwrap();
            });
        }
    });
    let told = reports.iter().filter(|report| report.ends_with("task panicked: unwanted")).count();
    assert_eq!(told, 2, "{reports:?}");
}

thread_local! {
    static DROPPED: Cell<u32> = const { Cell::new(0) };
}

#[test]
fn the_value_of_a_cancelled_task_is_dropped_in_peace_after_its_links() {
    let _watch = watch();
    LocalRuntime::new().run(|| {
        for has_link in [false, true] {
            let task = spawn_local(|| {
                task::current().cancel();
                Drops(|| {
                    yield_now();
                    DROPPED.set(DROPPED.get() + 1);
                })
            });
            let ended = task.task();
            if has_link {
                drop(task.link(|_| ()));
            }
            drop(task);
            ended.join().unwrap();
            common::until(|| DROPPED.get() == 1);
            DROPPED.set(0);
        }
    });
}

#[test]
fn an_exception_that_leaves_the_destructor_of_a_value_is_told() {
    let _watch = watch();
    let reports = common::reports(|| {
        run(|| {
            // Its result is dropped by the handle, by the task itself, and unrun.
            let task = task::Builder::new().name("by its handle").spawn(|| Drops(|| raise(fmt::Error)));
            task.task().join().unwrap();
            drop(task);
            let (go, goes) = channel::bounded(1);
            let task = task::Builder::new().name("by itself").spawn(move || {
                goes.recv().unwrap();
                Drops(|| raise(fmt::Error))
            });
            let ended = task.task();
            drop(task);
            go.send(()).unwrap();
            ended.join().unwrap();
            let value = Drops(|| raise(fmt::Error));
            // Local, so that it has not started before this task waits.
            let task = spawn_local(move || drop(value));
            task.cancel();
            assert!(task.join().unwrap_err().is_cancelled());
        });
    });
    for name in ["by its handle", "by itself", "told::{{closure}}::{{closure}}::{{closure}}"] {
        let told = reports.iter().filter(|report| report.contains(name)).count();
        assert_eq!(told, 1, "{name}: {reports:?}");
    }
}

// The value of another result, which nobody refuses.
#[test]
fn a_shared_result_still_arrives() {
    let _watch = watch();
    for runtime in runtimes() {
        let shared: AsyncResult<u32> = runtime.spawn(|| 7).shared();
        assert_eq!(shared.get().unwrap(), 7);
    }
}
