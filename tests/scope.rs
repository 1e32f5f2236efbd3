//! Scopes: tasks that borrow, and everything that may go wrong in them.

#![cfg(feature = "runtime")]

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{FOR_EVER, Log, OnDrop, Tally, ms, panic_text, watch};
use osier::runtime::LocalRuntime;
use osier::sync::channel;
use osier::{Runtime, catch, raise, run, scope, sleep, spawn, task, yield_now};

fn runtimes() -> impl Iterator<Item = Runtime> {
    [1, 2, 4].into_iter().map(|workers| Runtime::builder().workers(workers).build().unwrap())
}

#[derive(Debug)]
struct Oops(u32);

impl std::fmt::Display for Oops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "oops {}", self.0)
    }
}

impl std::error::Error for Oops {}

#[test]
fn smoke() {
    let _watch = watch();
    // On a plain thread, in a task, on a local runtime.
    let sum = || {
        let numbers: Vec<u32> = (0..100).collect();
        let total = AtomicUsize::new(0);
        let returned = scope(|s| {
            let tasks: Vec<_> = numbers
                .chunks(10)
                .map(|chunk| {
                    let total = &total;
                    s.spawn(move || {
                        yield_now();
                        let sum = chunk.iter().sum::<u32>();
                        total.fetch_add(sum as usize, Ordering::Relaxed);
                        sum
                    })
                })
                .collect();
            tasks.into_iter().map(|task| task.join().unwrap()).sum::<u32>()
        });
        (returned, total.into_inner())
    };
    assert_eq!(sum(), (4950, 4950));
    assert_eq!(run(sum), (4950, 4950));
    assert_eq!(LocalRuntime::new().run(sum), (4950, 4950));
}

#[test]
fn it_waits_for_children_that_nobody_joins_and_for_their_children() {
    let _watch = watch();
    for runtime in runtimes() {
        let ended = AtomicUsize::new(0);
        runtime.run(|| {
            scope(|s| {
                for _ in 0..20 {
                    drop(s.spawn(|| {
                        sleep(ms(1));
                        let inner = s.spawn(|| {
                            yield_now();
                            ended.fetch_add(1, Ordering::SeqCst);
                        });
                        std::mem::forget(inner);
                        ended.fetch_add(1, Ordering::SeqCst);
                    }));
                }
            });
        });
        assert_eq!(ended.into_inner(), 40);
    }
}

#[test]
fn local_children_share_what_is_not_send() {
    let _watch = watch();
    for runtime in runtimes() {
        let seen = runtime.run(|| {
            let log = Rc::new(RefCell::new(Vec::new()));
            let here = task::worker();
            let names = [String::from("a"), String::from("b")];
            scope(|s| {
                for name in &names {
                    let log = &log;
                    s.spawn_local(move || {
                        for n in 1..=2 {
                            assert_eq!(task::worker(), here);
                            log.borrow_mut().push(format!("{name}{n}"));
                            yield_now();
                        }
                    });
                }
                let count = s.spawn_local(|| Rc::strong_count(&log));
                assert_eq!(count.join().unwrap(), 1);
            });
            log.take()
        });
        assert_eq!(seen, ["a1", "b1", "a2", "b2"]);
    }
    assert!(panic_text(|| scope(|s| drop(s.spawn_local(|| ())))).contains("spawn_local"));
}

#[test]
fn the_earliest_unjoined_failure_leaves_it_and_siblings_go_on() {
    let _watch = watch();
    for runtime in runtimes() {
        let finished = AtomicUsize::new(0);
        let text = runtime.run(|| {
            panic_text(|| {
                let (go, goes) = channel::bounded::<()>(0);
                scope(|s| {
                    let (finished, goes) = (&finished, &goes);
                    s.spawn(move || {
                        _ = goes.recv();
                        panic!("second");
                    });
                    s.spawn(move || {
                        _ = goes.recv();
                        sleep(ms(2));
                        finished.fetch_add(1, Ordering::SeqCst);
                    });
                    let first = s.spawn(|| panic!("first"));
                    while !first.is_finished() {
                        yield_now();
                    }
                    drop(go);
                });
            })
        });
        assert_eq!((text.as_str(), finished.into_inner()), ("first", 1));
    }
}

#[test]
fn a_joined_failure_stays_with_its_joiner() {
    let _watch = watch();
    let value = scope(|s| {
        assert!(s.spawn(|| panic!("joined")).join().is_err());
        let mut late = s.spawn(|| raise(Oops(1)));
        let error = late.join_timeout(FOR_EVER).unwrap_err();
        assert!(error.exception().unwrap().is::<Oops>());
        s.spawn(|| sleep(FOR_EVER)).cancel();
        5
    });
    assert_eq!(value, 5);
}

#[test]
fn an_exception_of_a_child_is_raised_as_it_is() {
    let _watch = watch();
    for runtime in runtimes() {
        let exception = runtime.run(|| catch(|| scope(|s| drop(s.spawn(|| raise(Oops(7)))))).unwrap_err());
        assert_eq!(exception.downcast_ref::<Oops>().unwrap().0, 7);
    }
}

// H10, GV-037, GV-038
#[test]
fn when_the_body_unwinds_what_the_children_spawn_meanwhile_is_cancelled_too() {
    let _watch = watch();
    for runtime in runtimes() {
        let (started, starts) = channel::bounded(1);
        let log = Log::default();
        let text = runtime.run(|| {
            panic_text(|| {
                scope(|s| {
                    s.spawn(|| {
                        // While it unwinds, when the scope has been cancelled.
                        let _spawns = OnDrop(|| {
                            drop(s.spawn(|| {
                                let _at_end = log.at_drop("the second");
                                sleep(FOR_EVER);
                            }));
                        });
                        started.send(()).unwrap();
                        sleep(FOR_EVER);
                    });
                    starts.recv().unwrap();
                    panic!("the body's");
                })
            })
        });
        assert_eq!(text, "the body's");
        assert!(log.len() <= 1);
    }
}

#[test]
fn when_the_body_unwinds_the_children_are_cancelled_and_waited_for() {
    let _watch = watch();
    for runtime in runtimes() {
        for raises in [false, true] {
            let log = Log::default();
            let text = runtime.run(|| {
                let borrowed = String::from("alive");
                let outcome = || {
                    scope(|s| {
                        let (started, starts) = channel::bounded(3);
                        for _ in 0..3 {
                            let (started, log, borrowed) = (started.clone(), &log, &borrowed);
                            s.spawn(move || {
                                let _at_end = OnDrop(|| {
                                    sleep(ms(2));
                                    log.push(borrowed.as_str());
                                });
                                started.send(()).unwrap();
                                sleep(FOR_EVER);
                            });
                        }
                        (0..3).for_each(|_| starts.recv().unwrap());
                        if raises {
                            raise(Oops(3));
                        }
                        panic!("the body's");
                    });
                };
                if raises { catch(outcome).unwrap_err().to_string() } else { panic_text(outcome) }
            });
            assert_eq!(text, if raises { "oops 3" } else { "the body's" });
            assert_eq!(log.take(), ["alive"; 3]);
        }
    }
}

// H10
#[test]
fn a_cancelled_parent_cancels_its_children_first_wherever_it_waits() {
    let _watch = watch();
    for runtime in runtimes() {
        // In the body, and at the scope's end.
        for in_body in [false, true] {
            let log = Log::default();
            let (started, starts) = channel::bounded(3);
            let inner = log.clone();
            let parent = runtime.spawn(move || {
                let local = inner.at_drop("local");
                scope(|s| {
                    for _ in 0..3 {
                        let (started, log, local) = (started.clone(), &inner, &local);
                        s.spawn(move || {
                            let _at_end = OnDrop(|| {
                                yield_now();
                                log.push(format!("child of {}", local.line()));
                            });
                            started.send(()).unwrap();
                            sleep(FOR_EVER);
                        });
                    }
                    if in_body {
                        sleep(FOR_EVER);
                    }
                });
                inner.push("went on");
            });
            (0..3).for_each(|_| starts.recv().unwrap());
            parent.cancel();
            assert!(parent.join().unwrap_err().is_cancelled());
            assert_eq!(log.take(), ["child of local", "child of local", "child of local", "local"]);
        }
    }
}

#[test]
fn a_timeout_around_a_scope_ends_its_children_first() {
    let _watch = watch();
    for runtime in runtimes() {
        let ended = AtomicUsize::new(0);
        let result = runtime.run(|| {
            osier::time::timeout(ms(10), || {
                scope(|s| {
                    for _ in 0..3 {
                        s.spawn(|| {
                            let _at_end = OnDrop(|| _ = ended.fetch_add(1, Ordering::SeqCst));
                            sleep(FOR_EVER);
                        });
                    }
                });
            })
        });
        assert!(result.is_err());
        assert_eq!(ended.into_inner(), 3);
    }
}

#[test]
fn scopes_nest_and_a_child_may_be_one() {
    fn tree(depth: u32) -> u32 {
        if depth == 0 {
            return 1;
        }
        let mut halves = [0, 0];
        let [left, right] = &mut halves;
        scope(|s| {
            s.spawn(|| *left = tree(depth - 1));
            *right = tree(depth - 1);
        });
        halves.iter().sum()
    }
    let _watch = watch();
    for runtime in runtimes() {
        assert_eq!(runtime.run(|| tree(8)), 256);
    }
    assert_eq!(tree(6), 64);
    assert_eq!(LocalRuntime::new().run(|| tree(6)), 64);
}

#[test]
fn many_children_one_after_the_other_are_not_kept() {
    let _watch = watch();
    run(|| {
        let count = Cell::new(0);
        scope(|s| {
            for _ in 0..20_000 {
                s.spawn(|| ()).join().unwrap();
                count.set(count.get() + 1);
            }
            assert!(format!("{s:?}").contains("running: 0"), "{s:?}");
        });
        assert_eq!(count.get(), 20_000);
    });
}

/// Says what it borrows, and counts, when it is dropped or shown.
struct Reads<'a>(&'a Mutex<Vec<&'static str>>);

impl Drop for Reads<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("dropped");
    }
}

impl std::fmt::Debug for Reads<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.lock().unwrap().push("shown");
        f.write_str("Reads")
    }
}

/// A channel whose link waits for the end of it, and so keeps its task from being settled.
fn holds(task: &osier::Task) -> channel::Sender<()> {
    let (release, released) = channel::bounded::<()>(0);
    task.link(move |_| _ = released.recv());
    release
}

// H10
#[test]
fn a_scope_waits_for_the_end_of_its_tasks_and_not_for_their_links() {
    let _watch = watch();
    for runtime in runtimes() {
        runtime.run(|| {
            let mut release = Vec::new();
            scope(|s| {
                // On one worker it has not begun when the scope begins to wait.
                let child = s.spawn(|| ());
                release.push(holds(&child.task()));
            });
            drop(release);
        });
    }
}

// H10
#[test]
fn links_keep_no_value_that_borrows() {
    let _watch = watch();
    for runtime in runtimes() {
        runtime.run(|| {
            let log = Mutex::new(Vec::new());
            let mut release = Vec::new();
            scope(|s| {
                // Detached before its end; after it; linked by itself; and one whose handle another task drops.
                let first = s.spawn(|| {
                    yield_now();
                    Reads(&log)
                });
                release.push(holds(&first.task()));
                drop(first);
                let second = s.spawn(|| Reads(&log));
                release.push(holds(&second.task()));
                while !second.is_finished() {
                    yield_now();
                }
                drop(second);
                let (give, given) = channel::bounded(1);
                let log = &log;
                drop(s.spawn(move || {
                    give.send(holds(&task::current())).unwrap();
                    Reads(log)
                }));
                release.push(given.recv().unwrap());
                let fourth = s.spawn(|| Reads(log));
                release.push(holds(&fourth.task()));
                drop(s.spawn(move || {
                    while !fourth.is_finished() {
                        yield_now();
                    }
                    drop(fourth);
                }));
            });
            assert_eq!(log.lock().unwrap().len(), 4, "when the scope ends, all are gone");
            drop(release);
            assert_eq!(log.into_inner().unwrap(), ["dropped"; 4]);
        });
    }
}

// H10
#[test]
fn an_error_that_borrows_is_reported_before_it_returns() {
    let _watch = watch();
    for runtime in runtimes() {
        let log = Mutex::new(Vec::new());
        let reports = common::reports(|| {
            runtime.run(|| {
                for _ in 0..100 {
                    scope(|s| s.spawn(|| Err::<(), _>(Reads(&log))).report());
                    assert_eq!(std::mem::take(&mut *log.lock().unwrap()), ["shown", "dropped"]);
                }
            });
        });
        assert_eq!(reports.iter().filter(|line| line.contains("Reads")).count(), 100, "{reports:?}");
    }
}

#[test]
fn a_failure_is_not_lost_with_who_gave_up_waiting_for_it() {
    let _watch = watch();
    for runtime in runtimes() {
        let text = panic_text(|| {
            runtime.run(|| {
                scope(|s| {
                    let (sender, receiver) = channel::bounded::<()>(0);
                    let child = s.spawn(move || {
                        _ = receiver.recv();
                        panic!("seen by the scope");
                    });
                    let gave_up = child.task().join_timeout(ms(1));
                    assert!(gave_up.unwrap_err().is_timeout());
                    drop(sender);
                });
            });
        });
        assert_eq!(text, "seen by the scope");
    }
}

#[test]
fn values_that_borrow_are_dropped_before_it_returns() {
    let _watch = watch();
    struct Writes<'a>(&'a Mutex<Vec<u32>>, u32);
    impl Drop for Writes<'_> {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(self.1);
        }
    }
    let log = Mutex::new(Vec::new());
    scope(|s| {
        // Unjoined, detached, joined, cancelled before it starts.
        drop(s.spawn(|| Writes(&log, 1)));
        let kept = s.spawn(|| Writes(&log, 2));
        drop(s.spawn(|| Writes(&log, 3)).join().unwrap());
        while !kept.is_finished() {
            yield_now();
        }
        let captured = Writes(&log, 4);
        s.spawn(move || drop(captured)).cancel();
    });
    let mut log = log.into_inner().unwrap();
    log.sort_unstable();
    assert_eq!(log, [1, 2, 3, 4]);
}

#[test]
fn a_scope_of_a_closing_runtime_ends_with_its_children() {
    let _watch = watch();
    for runtime in runtimes() {
        let tally = Tally::default();
        let (started, starts) = channel::bounded(1);
        let token = tally.token();
        let inner = Arc::new(tally.clone());
        let parent = runtime.spawn(move || {
            let _token = token;
            scope(|s| {
                for _ in 0..10 {
                    let token = inner.token();
                    s.spawn(move || {
                        let _token = token;
                        sleep(FOR_EVER);
                    });
                }
                started.send(()).unwrap();
            });
            // Its children may all have ended before it was asked itself.
            sleep(FOR_EVER);
        });
        starts.recv().unwrap();
        drop(runtime);
        assert!(parent.join().unwrap_err().is_cancelled());
        tally.assert_all_dropped(11);
    }
}

#[test]
fn handles_of_a_scope_wait_kill_and_tell_as_others_do() {
    let _watch = watch();
    run(|| {
        let text = String::from("borrowed");
        scope(|s| {
            let named = task::Builder::new().name("reader").spawn_scoped(s, || text.len());
            assert_eq!((named.name(), named.task().name()), ("reader", "reader"));
            assert_eq!(named.join().unwrap(), 8);
            let sleeper = s.spawn(|| {
                sleep(FOR_EVER);
                text.len()
            });
            sleeper.kill();
            assert!(sleeper.is_finished());
            // Another task may wait for it, by its untyped handle, also after the scope.
            let task = sleeper.task();
            let outside = spawn(move || task.join().is_err());
            assert!(outside.join().unwrap());
        });
    });
}
