//! Generators in greenlets in tasks, each suspending the others' way.

#![cfg(feature = "runtime")]

mod common;

use std::cell::{OnceCell, RefCell};
use std::error::Error;
use std::fmt;
use std::rc::Rc;

use common::{FOR_EVER, Log, OnDrop, ms, panic_text, text, watch};
use osier::sync::channel;
use osier::time::timeout;
use osier::{
    ExitKind, Generator, Greenlet, LocalRuntime, Runtime, Step, Yielder, catch, catch_exit, catch_unwind, generator,
    greenlet, raise, sleep, spawn, spawn_local, yield_now,
};

#[derive(Debug)]
struct Oops;

impl fmt::Display for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("oops")
    }
}

impl Error for Oops {}

/// Runs `f` as a task on one worker, so that the order of things is certain.
fn on_one_worker<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    Runtime::builder().workers(1).build().unwrap().run(f)
}

/// A generator in a greenlet: `inner` runs in the generator, which yields what the greenlet then sums up.
fn nested(log: &Log, inner: impl FnOnce(&Yielder<u32>) + 'static) -> Greenlet<u32> {
    let log = log.clone();
    Greenlet::new(move |n| {
        let _guard = log.at_drop("greenlet");
        let generator = Generator::new({
            let log = log.clone();
            move |y: &Yielder<u32>| {
                let _guard = log.at_drop("generator");
                inner(y);
            }
        });
        generator.sum::<u32>() + n
    })
}

#[test]
fn smoke() {
    let _watch = watch();
    let sum = osier::run(|| {
        nested(&Log::default(), |y| {
            y.yield_(1);
            yield_now();
            y.yield_(2);
        })
        .switch(10)
    });
    assert_eq!(sum, 13);
}

// A wait parks the whole task, and its neighbours run meanwhile.
#[test]
fn a_wait_inside_parks_the_task_with_all_that_is_in_it() {
    let _watch = watch();
    let log = Log::default();
    on_one_worker(|| {
        let (sender, receiver) = channel::bounded::<u32>(0);
        let task = spawn({
            let log = log.clone();
            move || {
                let inner = {
                    let log = log.clone();
                    move |y: &Yielder<u32>| {
                        for n in receiver.iter() {
                            log.push(format!("got {n}"));
                            y.yield_(n);
                            log.push("waits");
                        }
                    }
                };
                log.push("waits");
                nested(&Log::default(), inner).switch(100)
            }
        });
        for n in 1..=3 {
            // To the other task, which goes on until it waits; else nobody would come back here.
            yield_now();
            log.push(format!("sends {n}"));
            sender.send(n).unwrap();
        }
        drop(sender);
        assert_eq!(task.join().unwrap(), 106);
    });
    assert_eq!(
        log.take(),
        ["waits", "sends 1", "got 1", "waits", "sends 2", "got 2", "waits", "sends 3", "got 3", "waits"]
    );
}

// What ends in a drop is a drop's own: nobody has swallowed it, and it comes again.
#[test]
fn a_cancel_and_a_timeout_that_end_in_a_drop_are_thrown_again_and_blame_nobody() {
    let _watch = watch();
    /// Waits when it is to end.
    fn waits() -> Generator<u32> {
        Generator::new(|y: &Yielder<u32>| {
            _ = catch_exit(|| y.yield_(1));
            sleep(FOR_EVER);
        })
        .primed()
    }
    let told = common::reports(|| {
        on_one_worker(|| {
            let log = Log::default();
            let task = spawn({
                let log = log.clone();
                move || {
                    drop(waits());
                    log.push("dropped");
                    let suspended = Greenlet::<u32>::new(|n| {
                        _ = catch_exit(|| greenlet::parent().switch(n));
                        n
                    });
                    suspended.switch(1);
                    drop(suspended);
                    sleep(FOR_EVER);
                }
            });
            yield_now();
            task.cancel();
            assert!(task.join().unwrap_err().is_cancelled());
            assert_eq!(log.take(), ["dropped"]);
            let late = timeout(ms(3), || {
                drop(waits());
                log.push("dropped");
                sleep(FOR_EVER);
            });
            assert!(late.is_err());
            assert_eq!(log.take(), ["dropped"]);
        });
    });
    assert!(told.is_empty(), "{told:?}");
}

// Two trees of greenlets, a generator and a task take turns at suspending what lies under them.
#[test]
fn each_suspends_the_way_of_the_others() {
    let _watch = watch();
    let log = Log::default();
    let seen = log.clone();
    let items = on_one_worker(move || {
        let root = Greenlet::<u32>::current();
        let mut outer = Generator::new({
            let (log, root) = (log.clone(), root.clone());
            move |y: &Yielder<&'static str>| {
                // A generator is no context: the greenlets in it are of the task's tree.
                let first = Greenlet::new(|n: u32| {
                    yield_now();
                    n + 1
                });
                assert!(first.parent() == Some(root));
                y.yield_("begins");
                log.push(format!("first says {}", first.switch(1)));
                let texts = Greenlet::new({
                    let log = log.clone();
                    move |text: String| {
                        // Out of the greenlet, which stays parked on top of the generator.
                        generator::yield_::<&'static str, ()>("from the greenlet");
                        yield_now();
                        log.push(format!("texts got {text}"));
                        text + "!"
                    }
                });
                log.push(format!("texts says {}", texts.switch("hello".to_owned())));
                y.yield_("ends");
            }
        });
        let other = spawn(yield_now);
        let items: Vec<_> = outer.by_ref().collect();
        other.join().unwrap();
        assert!(root.is_active());
        items
    });
    assert_eq!(items, ["begins", "from the greenlet", "ends"]);
    assert_eq!(seen.take(), ["first says 2", "texts got hello", "texts says hello!"]);
}

// A greenlet switches away in the middle of a generator that it runs, and other greenlets go on with it later.
#[test]
fn a_greenlet_switches_out_of_its_generator() {
    let _watch = watch();
    let handed = osier::run(|| {
        let root = Greenlet::<u32>::current();
        let bodies: Vec<_> = (0..3)
            .map(|_| {
                let root = root.clone();
                Greenlet::new(move |first: u32| {
                    let mut asks = Generator::new(move |y: &Yielder<u32, u32>| {
                        let mut n = first;
                        loop {
                            // To the root and back, through the generator.
                            n = root.switch(n) + y.yield_(n);
                            yield_now();
                        }
                    })
                    .primed();
                    let mut sum = 0;
                    for n in 0..3 {
                        if let Ok(Step::Yielded(item)) = asks.send(n) {
                            sum += item;
                        }
                    }
                    sum
                })
            })
            .collect();
        let mut handed = Vec::new();
        for round in 0.. {
            let living: Vec<_> = bodies.iter().filter(|body| !body.is_dead()).collect();
            if living.is_empty() {
                break;
            }
            handed.push(living.into_iter().map(|body| body.switch(round)).collect::<Vec<_>>());
        }
        handed
    });
    // What `n` is at each switch; in the end the items' sum, 1 + 3 + 5.
    assert_eq!(handed, [[0; 3], [1; 3], [3; 3], [5; 3], [9; 3]]);
}

#[test]
fn a_cancel_unwinds_inner_before_outer() {
    let _watch = watch();
    let log = Log::default();
    on_one_worker(|| {
        let (ready, is_ready) = channel::bounded::<()>(1);
        let task = spawn({
            let log = log.clone();
            move || {
                let _guard = log.at_drop("task");
                let (_sender, receiver) = channel::bounded::<u32>(1);
                let sibling = {
                    let (log, root) = (log.clone(), Greenlet::<u32>::current());
                    Greenlet::new(move |n: u32| {
                        let _guard = log.at_drop("sibling");
                        root.switch(n)
                    })
                };
                sibling.switch(0);
                nested(&log.clone(), move |_| {
                    ready.send(()).unwrap();
                    _ = receiver.recv();
                    unreachable!("it is cancelled here")
                })
                .switch(0);
            }
        });
        is_ready.recv().unwrap();
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    });
    // The sibling is not on the chain: it goes when its handle does.
    assert_eq!(log.take(), ["generator", "greenlet", "sibling", "task"]);
}

#[test]
fn a_panic_crosses_every_frame_once_and_no_other() {
    let _watch = watch();
    let log = Log::default();
    on_one_worker(|| {
        let neighbour = spawn(|| {
            yield_now();
            7
        });
        let task = spawn({
            let log = log.clone();
            move || {
                let sibling = {
                    let root = Greenlet::<u32>::current();
                    Greenlet::new(move |n: u32| root.switch(n) + 1)
                };
                sibling.switch(0);
                let failing = nested(&log, |y| {
                    y.yield_(1);
                    yield_now();
                    panic!("deep inside");
                });
                let payload = catch_unwind(std::panic::AssertUnwindSafe(|| failing.switch(0))).unwrap_err();
                assert_eq!(text(&*payload), "deep inside");
                assert!(failing.is_dead());
                // Who had no part in it goes on.
                assert_eq!(sibling.switch(4), 5);
                osier::resume_unwind(payload);
            }
        });
        let payload = task.join().unwrap_err().into_panic().unwrap();
        assert_eq!(text(&*payload), "deep inside");
        assert_eq!(neighbour.join().unwrap(), 7);
    });
    assert_eq!(log.take(), ["generator", "greenlet"]);
}

#[test]
fn an_exception_crosses_all_of_them_as_the_same_object() {
    let _watch = watch();
    let log = Log::default();
    let error = osier::Exception::from(Oops);
    let joined = osier::run(|| {
        spawn({
            let (error, log) = (error.clone(), log.clone());
            move || {
                nested(&log, move |y| {
                    y.yield_(1);
                    yield_now();
                    raise(error)
                })
                .switch(0)
            }
        })
        .join()
    });
    assert!(joined.unwrap_err().exception().unwrap().ptr_eq(&error));
    assert_eq!(log.take(), ["generator", "greenlet"]);
}

// Whoever catches is in the middle: what is above it unwinds, what is below it does not notice.
#[test]
fn an_exception_thrown_into_the_task_is_caught_in_the_greenlet() {
    let _watch = watch();
    let log = Log::default();
    on_one_worker(|| {
        let (ready, is_ready) = channel::bounded::<()>(1);
        let task = spawn({
            let log = log.clone();
            move || {
                let _guard = log.at_drop("task");
                let g = Greenlet::new({
                    let log = log.clone();
                    move |n: u32| {
                        let caught = catch(|| {
                            let mut waits = Generator::new({
                                let log = log.clone();
                                move |y: &Yielder<u32>| {
                                    let _guard = log.at_drop("generator");
                                    ready.send(()).unwrap();
                                    let (_sender, receiver) = channel::bounded::<u32>(1);
                                    _ = receiver.recv();
                                    y.yield_(0);
                                }
                            });
                            waits.next()
                        });
                        assert!(caught.unwrap_err().is::<Oops>());
                        log.push("caught");
                        yield_now();
                        n + 1
                    }
                });
                g.switch(1)
            }
        });
        is_ready.recv().unwrap();
        task.throw(Oops);
        assert_eq!(task.join().unwrap(), 2);
    });
    assert_eq!(log.take(), ["generator", "caught", "task"]);
}

#[test]
fn an_exit_is_caught_where_catch_exit_stands_and_used_up() {
    let _watch = watch();
    let log = Log::default();
    on_one_worker(|| {
        let (ready, is_ready) = channel::bounded::<()>(1);
        let task = spawn({
            let log = log.clone();
            move || {
                let g = Greenlet::new({
                    let log = log.clone();
                    move |n: u32| {
                        let exit = catch_exit(|| {
                            nested(&log, move |_| {
                                ready.send(()).unwrap();
                                let (_sender, receiver) = channel::bounded::<u32>(1);
                                _ = receiver.recv();
                            })
                            .switch(n)
                        });
                        assert_eq!(exit.unwrap_err().kind(), ExitKind::Cancel);
                        // It waits as ever.
                        yield_now();
                        n + 1
                    }
                });
                g.switch(1)
            }
        });
        is_ready.recv().unwrap();
        task.cancel();
        assert_eq!(task.join().unwrap(), 2);
    });
    assert_eq!(log.take(), ["generator", "greenlet"]);
}

// Each kind of exit ends its own coroutine alone.
#[test]
fn a_close_a_kill_and_a_drop_end_what_they_are_for() {
    let _watch = watch();
    let log = Log::default();
    osier::run(|| {
        let root = Greenlet::<u32>::current();
        // A greenlet inside a generator, which is closed while the greenlet is parked on top of it.
        let mut outer = Generator::new({
            let log = log.clone();
            move |_: &Yielder<u32>| {
                let _guard = log.at_drop("outer");
                let inner = Greenlet::new({
                    let log = log.clone();
                    move |_: &'static str| {
                        let _guard = log.at_drop("inner");
                        let exit = catch_exit(|| generator::yield_::<u32, ()>(1)).unwrap_err();
                        log.push(format!("{:?}", exit.kind()));
                        exit.resume()
                    }
                });
                inner.switch("go");
            }
        });
        assert_eq!(outer.next(), Some(1));
        assert!(outer.close().unwrap().is_none());
        assert_eq!(log.take(), ["Close", "inner", "outer"]);

        // A generator inside a greenlet that is killed: its drop closes the generator, on the way.
        let g = Greenlet::new({
            let (log, root) = (log.clone(), root.clone());
            move |n: u32| {
                let _guard = log.at_drop("greenlet");
                let mut kept = Generator::new({
                    let log = log.clone();
                    move |y: &Yielder<u32>| {
                        let exit = catch_exit(|| y.yield_(1)).unwrap_err();
                        // It waits while it is closed by an unwind.
                        yield_now();
                        log.push(format!("{:?}", exit.kind()));
                    }
                });
                kept.next();
                let _reads = OnDrop(|| log.push("reads"));
                root.switch(n)
            }
        });
        g.switch(0);
        assert!(g.kill());
        assert_eq!(log.take(), ["reads", "Close", "greenlet"]);
    });
}

#[test]
fn local_tasks_share_what_their_greenlets_hold() {
    let _watch = watch();
    let order = osier::run(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let handles: Vec<_> = (0..3)
            .map(|i| {
                let order = order.clone();
                spawn_local(move || {
                    let g = Greenlet::new(move |n: u32| {
                        order.borrow_mut().push((i, n));
                        yield_now();
                        order.borrow_mut().push((i, n + 1));
                        n
                    });
                    g.switch(0);
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
        Rc::try_unwrap(order).unwrap().into_inner()
    });
    assert_eq!(order, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]);
}

// ---- used where it is not valid

#[test]
fn a_yielder_off_its_chain_says_so() {
    let _watch = watch();
    osier::run(|| {
        let root = Greenlet::<u32>::current();
        // The generator suspends its greenlet, with itself in it; somebody else gets at its yielder meanwhile.
        let lent: Rc<OnceCell<Box<dyn Fn() -> String>>> = Rc::default();
        let g = Greenlet::new({
            let lent = lent.clone();
            move |n: u32| {
                let mut generator = Generator::new(move |_: &Yielder<u32>| {
                    let yields = || panic_text(|| generator::yield_::<u32, ()>(7));
                    assert!(lent.set(Box::new(yields)).is_ok());
                    root.switch(n);
                });
                generator.next();
                n
            }
        });
        g.switch(1);
        let says = lent.get().unwrap()();
        assert!(says.starts_with("no running generator yields `u32`"), "{says}");
        // Nor does it find one across the border of a task.
        let says = spawn_local(|| panic_text(|| generator::yield_::<u32, ()>(7))).join().unwrap();
        assert!(says.starts_with("no running generator yields `u32`"), "{says}");
        assert!(g.kill());
    });
}

// What borrows a yielder may run elsewhere after all: as a task, which has a chain of its own.
#[test]
fn a_yielder_lent_to_a_task_that_borrows_is_off_its_chain() {
    let _watch = watch();
    let lends_to_a_scoped_task = |y: &Yielder<u32>| {
        osier::scope(|s| {
            let said = s.spawn_local(|| panic_text(|| y.yield_(1))).join().unwrap();
            assert!(said.contains("off its chain"), "{said}");
        });
        // One that nobody joins goes on in the scope, and so here.
        let said = panic_text(|| osier::scope(|s| drop(s.spawn_local(|| y.yield_(1)))));
        assert!(said.contains("off its chain"), "{said}");
        y.yield_(2);
    };
    let lends_to_a_local_runtime = |y: &Yielder<u32>| {
        let said = panic_text(|| LocalRuntime::new().run(|| y.yield_(1)));
        assert!(said.contains("off its chain"), "{said}");
        y.yield_(3);
    };
    osier::run(|| {
        assert_eq!(Generator::new(lends_to_a_scoped_task).collect::<Vec<_>>(), [2]);
        assert_eq!(Generator::new(lends_to_a_local_runtime).collect::<Vec<_>>(), [3]);
    });
    assert_eq!(Generator::new(lends_to_a_local_runtime).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_generator_suspends_a_greenlet_from_within_a_scoped_one() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    let mut outer = Generator::new({
        let root = root.clone();
        move |y: &Yielder<u32>| {
            // A scoped generator may borrow `y`, and hand it to whoever runs when this generator is not on the chain.
            let body = |inner: &Yielder<u32, ()>| {
                inner.yield_(1);
                y.yield_(2);
            };
            generator::scoped(body, |scoped| {
                assert_eq!(scoped.next(), Some(1));
                // Through the inner one, which is on the chain: that is allowed.
                assert_eq!(scoped.next(), None);
            });
            root.switch(9);
        }
    });
    assert_eq!(outer.next(), Some(2));
    let g = Greenlet::new(move |n: u32| {
        outer.next();
        n
    });
    assert_eq!(g.switch(0), 9);
    assert!(g.kill());
}
