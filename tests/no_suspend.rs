//! `no_suspend`: what it forbids, what it allows, and the two holes that it is for. The crate's front page names them.

mod common;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use common::{OWN_THREADS, panic_text, watch};
use osier::generator::yield_;
use osier::{Generator, Greenlet, Step, Yielder, catch, catch_exit, no_suspend, raise};

/// Asserts that a panic's text says what was forbidden, and where the region was opened: in this file.
#[track_caller]
fn assert_forbids(verb: &str, text: &str) {
    let start = format!("cannot {verb} inside `no_suspend`, opened at tests/no_suspend.rs:");
    assert!(text.starts_with(&start), "{text}");
}

#[test]
fn smoke() {
    let _watch = watch();
    assert_eq!(no_suspend(|| 42), 42);
    let line = line!() + 2;
    let mut g = Generator::new(move |y: &Yielder<u32>| {
        no_suspend(|| y.yield_(1));
    });
    let text = panic_text(|| g.next());
    assert_forbids("yield", &text);
    assert!(text.contains(&format!(":{line}:")), "the place of the `no_suspend` is in it: {text}");
}

#[test]
fn a_yield_from_inside_panics_and_the_generator_can_go_on() {
    let _watch = watch();
    let mut g = Generator::new(|y: &Yielder<String, u32>| {
        let first = y.yield_("ready".into());
        let text = panic_text(|| no_suspend(|| y.yield_("inside".into())));
        let second = y.yield_(text);
        assert_eq!(first + second, 3);
    });
    assert_eq!(g.start().unwrap(), Step::Yielded("ready".to_owned()));
    assert_forbids("yield", &g.send(1).unwrap().yielded().unwrap());
    assert_eq!(g.send(2).unwrap(), Step::Returned(()));
}

#[test]
fn every_way_to_yield_is_forbidden() {
    let _watch = watch();
    let ways: [fn(&Yielder<u32>); 5] = [
        |y| y.yield_(1),
        |y| _ = y.try_yield(1),
        |_| yield_::<u32, ()>(1),
        |y| y.yield_all([1]),
        |y| y.yield_from(&mut Generator::new(|y: &Yielder<u32>| y.yield_(1))),
    ];
    for way in ways {
        let mut g = Generator::new(move |y: &Yielder<u32>| no_suspend(|| way(y)));
        assert_forbids("yield", &panic_text(|| g.next()));
        assert_eq!(g.next(), None);
    }
}

#[test]
fn generators_inside_may_be_resumed_and_yield_among_themselves() {
    let _watch = watch();
    let before = Rc::new(RefCell::new(Generator::new(|y: &Yielder<u32>| y.yield_all(1..))));
    assert_eq!(before.borrow_mut().next(), Some(1));
    let g = Generator::new({
        let before = before.clone();
        move |y: &Yielder<u32>| {
            let sum = no_suspend(|| {
                // One made inside, one that has started outside, and one that delegates to another.
                let made: u32 = Generator::new(|y: &Yielder<u32>| y.yield_all([10, 20])).sum();
                let started: u32 = before.borrow_mut().by_ref().take(2).sum();
                let nested: u32 = Generator::new(|y: &Yielder<u32>| {
                    y.yield_from(&mut Generator::new(|y: &Yielder<u32>| y.yield_all([100, 200])));
                })
                .sum();
                made + started + nested
            });
            y.yield_(sum);
        }
    });
    assert_eq!(g.collect::<Vec<_>>(), [335]);
    assert_eq!(before.borrow_mut().next(), Some(4), "it went on in the region and goes on behind it");
}

#[test]
fn a_generator_inside_cannot_carry_the_region_away() {
    let _watch = watch();
    let outer = Generator::new(|outer: &Yielder<String>| {
        let text = no_suspend(|| {
            // The inner generator's code yields through the outer one, across the region.
            panic_text(|| {
                yield_::<String, ()>("out".into());
            })
        });
        outer.yield_(text);
        let (sent, seen) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(None)));
        let mut inner = Generator::new({
            let (sent, outer) = (sent.clone(), std::ptr::from_ref(outer));
            move |_: &Yielder<u32>| {
                // SAFETY: the outer body, whose yielder it is, outlives this generator.
                sent.set(Some(panic_text(|| unsafe { &*outer }.yield_("out".into()))));
            }
        });
        no_suspend(|| seen.set(inner.next()));
        outer.yield_(sent.take().unwrap());
    });
    let texts: Vec<_> = outer.collect();
    assert_eq!(texts.len(), 2);
    texts.iter().for_each(|text| assert_forbids("yield", text));
}

#[test]
fn regions_nest_and_end_with_a_panic() {
    let _watch = watch();
    let mut g = Generator::new(|y: &Yielder<u32>| {
        no_suspend(|| {
            no_suspend(|| ());
            assert_forbids("yield", &panic_text(|| y.yield_(1)));
        });
        y.yield_(2);
        let panicked = catch_unwind(AssertUnwindSafe(|| no_suspend(|| panic!("out of it"))));
        assert!(panicked.is_err());
        y.yield_(3);
    });
    assert_eq!(g.by_ref().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn exceptions_and_exits_pass_the_region() {
    let _watch = watch();
    let caught = catch(|| no_suspend(|| raise(std::fmt::Error)));
    assert!(caught.unwrap_err().is::<std::fmt::Error>());
    assert_eq!(panic_text(|| no_suspend(|| raise(std::fmt::Error))), std::fmt::Error.to_string(), "nobody catches it");
    let inside = no_suspend(|| catch(|| raise(std::fmt::Error)));
    assert!(inside.unwrap_err().is::<std::fmt::Error>());
    // A close that arrives in a generator inside.
    no_suspend(|| {
        let mut g = Generator::new(|y: &Yielder<u32>| {
            assert!(catch_exit(|| y.yield_(1)).is_err());
        });
        assert_eq!(g.next(), Some(1));
        assert!(g.close().is_ok());
    });
}

#[test]
fn a_switch_out_of_the_region_panics_and_the_tree_stays_whole() {
    let _watch = watch();
    let root = Greenlet::<String>::current();
    let g = Greenlet::new({
        let root = root.clone();
        move |_| {
            let text = no_suspend(|| panic_text(|| root.switch("out".into())));
            root.switch(text)
        }
    });
    assert_forbids("switch", &g.switch(String::new()));
    assert_eq!(g.switch("end".into()), "end");
}

#[test]
fn a_greenlet_resumed_inside_cannot_switch_across_the_region() {
    let _watch = watch();
    let root = Greenlet::<String>::current();
    let inner = Greenlet::new({
        let root = root.clone();
        move |_| panic_text(|| root.switch("out".into()))
    });
    let g = Greenlet::new(move |_| {
        // `inner` becomes this one's child for the time, so that its value comes here.
        inner.set_parent(&Greenlet::current()).unwrap();
        no_suspend(|| inner.switch(String::new()))
    });
    assert_forbids("switch", &g.switch(String::new()));
}

#[test]
fn greenlets_inside_switch_among_themselves() {
    let _watch = watch();
    // From the root, and from a greenlet that stands two above it, where a switch would go through the root.
    let play = || {
        let here = Greenlet::<u32>::current();
        let make = |here: &Greenlet<u32>| {
            let here = here.clone();
            Greenlet::new(move |n| {
                let n = here.switch(n + 1);
                here.switch(n + 10)
            })
        };
        no_suspend(|| {
            let (a, b) = (make(&here), make(&here));
            let sum = [a.switch(1), b.switch(2), a.switch(3), b.switch(4)];
            assert_eq!(sum, [2, 3, 13, 14]);
            assert!(a.kill());
            drop(b);
        });
    };
    play();
    let root = Greenlet::<u32>::current();
    let outer = Greenlet::new(move |n| {
        let inner = Greenlet::new(move |n| {
            play();
            n + 1
        });
        let n = inner.switch(n);
        assert!(root.is_active());
        n
    });
    assert_eq!(outer.switch(1), 2);
}

// ---- H07: a lazy thread-local's initialiser

thread_local! {
    static FIRST: Cell<bool> = const { Cell::new(true) };
    static INITS: Cell<u32> = const { Cell::new(0) };
}

/// Suspends the running generator the first time: an initialiser that calls this is hole R1.
fn suspend_once() {
    INITS.set(INITS.get() + 1);
    if FIRST.replace(false) {
        yield_::<u32, ()>(0);
    }
}

// H07
#[test]
fn an_initialiser_that_suspends_panics_and_leaves_the_variable_usable() {
    if OWN_THREADS {
        return; // Each has a variable of its own.
    }
    let _watch = watch();
    thread_local! {
        static TEXT: String = no_suspend(|| {
            suspend_once();
            "A".repeat(40)
        });
    }
    let mut a = Generator::new(|_: &Yielder<u32>| TEXT.with(|text| assert_eq!(text.len(), 40)));
    let mut b = Generator::new(|y: &Yielder<u32>| {
        TEXT.with(|text| {
            y.yield_(1);
            assert_eq!(*text, "A".repeat(40));
        });
    });
    assert_forbids("yield", &panic_text(|| a.next()));
    assert_eq!(b.next(), Some(1), "borrows what the initialiser made when it was run again");
    assert_eq!(b.next(), None);
    assert_eq!(INITS.get(), 2);
}

// ---- H08: a library that keeps a pointer in a thread-local

scoped_tls::scoped_thread_local!(static SCOPED: String);

// H08
#[test]
fn a_callback_of_scoped_tls_that_suspends_panics_and_the_pointer_is_restored() {
    let _watch = watch();
    let make = || {
        Generator::new(|y: &Yielder<String>| {
            let text = "x".repeat(40);
            let panicked = panic_text(|| SCOPED.set(&text, || no_suspend(|| y.yield_(String::new()))));
            y.yield_(panicked);
        })
    };
    let (mut a, mut b) = (make(), make());
    assert_forbids("yield", &a.next().unwrap());
    assert_forbids("yield", &b.next().unwrap());
    assert_eq!((a.next(), b.next()), (None, None));
    assert!(!SCOPED.is_set());
}

// ---- the report hook

#[test]
fn the_report_hook_cannot_suspend() {
    let _watch = watch();
    if common::miri_cannot("start a process") {
        return;
    }
    // In a process of its own: the hook is everybody's.
    let output = common::run_program("hook");
    common::assert_ended_well(&output);
    assert!(common::stderr(&output).contains("reported, and could not yield"), "{}", common::stderr(&output));
}

#[test]
fn in_a_process_of_its_own() {
    if common::program().is_none() {
        return;
    }
    _ = osier::set_report_hook(|_| {
        let text = panic_text(|| yield_::<u32, ()>(7));
        assert!(text.starts_with("cannot yield inside `no_suspend`"), "{text}");
        eprintln!("reported, and could not yield");
    });
    let mut g = Generator::new(|_: &Yielder<u32>| {
        // Answers every close by yielding: reported when it is dropped, in the outer generator.
        let stubborn = Generator::new(|y: &Yielder<u8>| {
            loop {
                _ = catch_exit(|| y.yield_(1));
            }
        });
        drop(stubborn.primed());
    });
    assert_eq!(g.next(), None);
}

// ---- waits

#[cfg(feature = "runtime")]
mod waits {
    use std::time::{Duration, Instant};

    use super::*;
    use common::{Tally, ms};
    use osier::sync::channel;
    use osier::{Runtime, run, sleep, spawn, task, time, yield_now};

    type Wait = Box<dyn Fn() + Send + Sync>;

    /// The name of each, what it does, and how.
    fn every_wait() -> Vec<(&'static str, &'static str, Wait)> {
        let full = || {
            let (sender, receiver) = channel::bounded(1);
            sender.send(1).unwrap();
            (sender, receiver)
        };
        vec![
            ("sleep", "wait", Box::new(|| sleep(ms(1)))),
            ("sleep_until", "wait", Box::new(|| time::sleep_until(Instant::now() + Duration::from_secs(1)))),
            ("yield_now", "yield", Box::new(yield_now)),
            ("recv", "wait", Box::new(|| _ = channel::bounded::<u8>(1).1.recv())),
            ("send", "wait", Box::new(move || _ = full().0.send(1))),
            ("join", "wait", Box::new(|| _ = spawn(|| sleep(Duration::from_secs(60))).join())),
            ("run", "wait", Box::new(|| run(|| ()))),
            ("timeout", "wait", Box::new(|| _ = time::timeout(ms(1), || sleep(ms(10))))),
            ("shield", "wait", Box::new(|| task::shield(|| sleep(ms(1))))),
            (
                "in a generator",
                "wait",
                Box::new(|| {
                    Generator::new(|_: &Yielder<u8>| sleep(ms(1))).for_each(drop);
                }),
            ),
        ]
    }

    #[test]
    fn every_wait_panics_in_a_task_and_on_a_thread() {
        let _watch = watch();
        for in_task in [true, false] {
            for (name, verb, wait) in every_wait() {
                let attempt = move || panic_text(|| no_suspend(&wait));
                let text = if in_task { spawn(attempt).join().unwrap() } else { attempt() };
                let start = format!("cannot {verb} inside `no_suspend`");
                assert!(text.starts_with(&start), "{name}, in a task: {in_task}: {text}");
            }
        }
    }

    #[test]
    fn calls_that_find_what_they_want_return_it() {
        let _watch = watch();
        run(|| {
            let (sender, receiver) = channel::bounded(1);
            let ended = spawn(|| 3);
            while !ended.is_finished() {
                yield_now();
            }
            no_suspend(|| {
                sender.send(1).unwrap();
                assert_eq!(receiver.recv(), Ok(1));
                assert_eq!(receiver.try_recv().ok(), None);
                assert_eq!(ended.join().unwrap(), 3);
                drop(spawn(|| ()));
            });
            assert_eq!(time::timeout(ms(1000), || no_suspend(|| 4)), Ok(4));
        });
    }

    #[test]
    fn a_wait_that_was_refused_loses_nothing() {
        let _watch = watch();
        run(|| {
            let tally = Tally::default();
            let (sender, receiver) = channel::bounded(1);
            assert_forbids("wait", &panic_text(|| no_suspend(|| receiver.recv())));
            sender.send(tally.token()).unwrap();
            assert_forbids("wait", &panic_text(|| no_suspend(|| sender.send(tally.token()))));
            assert_eq!(tally.dropped(), 1, "the value that was not sent is dropped by the unwind");
            drop(receiver.recv().unwrap());
            assert!(receiver.try_recv().is_err());
            tally.assert_all_dropped(2);
        });
    }

    #[test]
    fn a_fresh_child_is_not_joined_in_place() {
        let _watch = watch();
        // With another worker, that one may have run it to its end: then there is nothing to wait for.
        Runtime::builder().workers(1).build().unwrap().run(|| {
            // It would run to its end without a wait; but whether it does must not depend on who starts it.
            let text = panic_text(|| no_suspend(|| spawn(|| ()).join()));
            assert_forbids("wait", &text);
        });
    }

    #[test]
    fn a_region_of_one_task_does_not_concern_its_neighbours() {
        let _watch = watch();
        run(|| {
            let child = spawn(|| sleep(ms(1)));
            no_suspend(|| drop(spawn(|| sleep(ms(1)))));
            child.join().unwrap();
            // A region around the creation of a task is not around its run.
            no_suspend(|| spawn(|| sleep(ms(1)))).join().unwrap();
        });
    }

    // H15
    #[test]
    fn a_wait_in_a_foreign_callback_is_refused_also_when_the_task_is_cancelled() {
        let _watch = watch();
        /// Called by C. A panic that left it would abort, so it is kept.
        extern "C" fn compare(_: *const std::ffi::c_void, _: *const std::ffi::c_void) -> std::ffi::c_int {
            let text = panic_text(|| no_suspend(|| sleep(ms(1))));
            assert_forbids("wait", &text);
            0
        }
        let (started, starts) = channel::bounded(1);
        let (go_on, may_go_on) = channel::bounded::<()>(0);
        let handle = spawn(move || {
            started.send(()).unwrap();
            task::shield(|| _ = may_go_on.recv());
            let mut numbers = [2, 1];
            // SAFETY: two numbers of four bytes each, and a function that compares them.
            unsafe { libc::qsort(numbers.as_mut_ptr().cast(), 2, 4, Some(compare)) };
            sleep(ms(1));
        });
        starts.recv().unwrap();
        handle.cancel();
        drop(go_on);
        assert!(handle.join().unwrap_err().is_cancelled());
    }
}

#[test]
fn an_end_that_cannot_reach_its_parent_names_the_region() {
    let _watch = watch();
    let sibling = Greenlet::new(|v: u32| v + 1);
    let g = Greenlet::new(move |_: u32| {
        let text = panic_text(|| _ = no_suspend(|| sibling.switch(5)));
        assert!(text.starts_with("a greenlet ended inside `no_suspend`, opened at tests/no_suspend.rs:"), "{text}");
        assert!(sibling.is_dead());
        7
    });
    assert_eq!(g.switch(0), 7);
}
