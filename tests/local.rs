//! Task locals: whose they are, when they are dropped, what is inherited. C.11.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{OnDrop, watch};
use osier::{Generator, Greenlet, Yielder, task_local};

task_local! {
    static NUMBER: Cell<u32> = Cell::new(7);
    static LOG: RefCell<Vec<&'static str>> = RefCell::new(Vec::new());
    inherit static NAME: String = "nobody".to_owned();
}

#[test]
fn smoke() {
    let _watch = watch();
    assert_eq!(NUMBER.with(Cell::get), 7);
    NUMBER.with(|n| n.set(8));
    assert_eq!(NUMBER.get().get(), 8);
    NUMBER.set(Cell::new(9));
    assert_eq!(NUMBER.with(Cell::get), 9);
    LOG.with(|log| log.borrow_mut().push("one"));
    assert_eq!(LOG.get().into_inner(), ["one"]);
}

#[test]
fn every_thread_has_its_own() {
    let _watch = watch();
    NUMBER.with(|n| n.set(1));
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                assert_eq!(NUMBER.with(|n| n.replace(100)), 7);
                assert_eq!(NUMBER.with(Cell::get), 100);
            });
        }
    });
    assert_eq!(NUMBER.with(Cell::get), 1);
}

#[test]
fn a_generator_shares_its_resumers() {
    let _watch = watch();
    NUMBER.with(|n| n.set(20));
    let mut g = Generator::new(|y: &Yielder<u32>| {
        loop {
            y.yield_(NUMBER.with(|n| n.replace(n.get() + 1)));
        }
    });
    assert_eq!((g.next(), g.next()), (Some(20), Some(21)));
    assert_eq!(NUMBER.with(Cell::get), 22);
    // Resumed by a greenlet it is part of that one.
    let inside = Greenlet::new(move |_: u32| g.next().unwrap());
    assert_eq!(inside.switch(0), 7);
    assert_eq!(NUMBER.with(Cell::get), 22);
}

// GL-091: what is left of a context when its greenlet has ended.
#[test]
fn every_greenlet_has_its_own_and_drops_it_when_it_ends() {
    let _watch = watch();
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    task_local! { static TOKEN: OnDrop<fn()> = OnDrop(|| _ = DROPS.fetch_add(1, Ordering::SeqCst)); }
    let drops = || DROPS.load(Ordering::SeqCst);
    let root = Greenlet::<u32>::current();
    let make = || {
        let root = root.clone();
        Greenlet::new(move |n| {
            TOKEN.with(|_| ());
            NUMBER.with(|number| number.set(n));
            root.switch(0);
            NUMBER.with(Cell::get)
        })
    };
    let (a, b) = (make(), make());
    a.switch(1);
    b.switch(2);
    assert_eq!((a.switch(0), drops()), (1, 1));
    assert_eq!((b.switch(0), drops()), (2, 2));
    assert_eq!(NUMBER.with(Cell::get), 7);
    // One that is dropped while suspended.
    let c = make();
    c.switch(3);
    drop(c);
    assert_eq!(drops(), 3);
}

// GL-088
#[test]
fn greenlets_that_take_turns_begin_with_the_default_and_keep_their_own() {
    let _watch = watch();
    NUMBER.with(|n| n.set(100));
    let root = Greenlet::<u32>::current();
    let all: Vec<_> = (1..=4)
        .map(|_| {
            let root = root.clone();
            Greenlet::new(move |id| {
                assert_eq!(NUMBER.with(Cell::get), 7, "the default, not the root's");
                NUMBER.with(|n| n.set(id));
                for turn in 1..=2 {
                    root.switch(turn);
                    assert_eq!(NUMBER.with(Cell::get), id);
                }
                id
            })
        })
        .collect();
    for expected in [[1, 1, 1, 1], [2, 2, 2, 2], [1, 2, 3, 4]] {
        let turn: Vec<_> = (1..).zip(&all).map(|(id, g)| g.switch(id)).collect();
        assert_eq!(turn, expected);
        assert_eq!(NUMBER.with(Cell::get), 100);
    }
    assert!(all.iter().all(Greenlet::is_dead));
}

// GL-089
#[test]
fn what_is_inherited_is_copied_when_a_greenlet_is_made() {
    let _watch = watch();
    NAME.set("root".to_owned());
    let g = Greenlet::new(|_: String| {
        let seen = NAME.get();
        NAME.set("greenlet".to_owned());
        seen
    });
    NAME.set("changed".to_owned());
    assert_eq!(g.switch(String::new()), "root");
    assert_eq!(NAME.get(), "changed");
    let without = Greenlet::new(|_: u32| NUMBER.with(Cell::get));
    NUMBER.with(|n| n.set(1));
    assert_eq!(without.switch(0), 7, "not inherited");
}

// GL-092: a borrow carried past the end of its context: of a greenlet, by a generator.
#[test]
fn a_borrow_that_a_generator_carries_away_stays_valid() {
    let _watch = watch();
    task_local! { static TEXT: String = "x".repeat(40); }
    let carried = Rc::new(RefCell::new(None));
    let g = Greenlet::new({
        let carried = carried.clone();
        move |n: u32| {
            let mut g = Generator::new(|y: &Yielder<usize>| {
                TEXT.with(|text| {
                    y.yield_(1);
                    y.yield_(text.matches('x').count());
                });
            });
            assert_eq!(g.next(), Some(1));
            *carried.borrow_mut() = Some(g);
            n
        }
    });
    g.switch(0);
    assert!(g.is_dead());
    let mut g = carried.take().unwrap();
    assert_eq!(g.next(), Some(40), "the greenlet whose value it is has ended");
    assert_eq!(g.next(), None);
}

// GL-094: replaced at any time, with effect at once.
#[test]
fn a_value_may_be_used_and_replaced_while_it_is_borrowed_and_while_it_is_made() {
    let _watch = watch();
    task_local! {
        static OUTER: String = INNER.with(|inner| format!("<{inner}>"));
        static INNER: String = "inner".to_owned();
        static RECURSIVE: u32 = if FIRST.replace(false) { RECURSIVE.get() + 1 } else { 1 };
    }
    thread_local! { static FIRST: Cell<bool> = const { Cell::new(true) }; }
    assert_eq!(OUTER.get(), "<inner>");
    OUTER.with(|old| {
        OUTER.set("new".to_owned());
        assert_eq!((old.as_str(), OUTER.get().as_str()), ("<inner>", "new"));
    });
    assert_eq!(RECURSIVE.get(), 1, "the value that was made first is kept");
}

#[test]
fn destructors_may_use_locals_and_even_make_new_ones() {
    let _watch = watch();
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    task_local! {
        static LATE: String = "made in a destructor".to_owned();
        static DROPPED: OnDrop<fn()> = OnDrop(|| SEEN.lock().unwrap().push(LATE.get()));
        static PANICS: OnDrop<fn()> = OnDrop(|| panic!("on purpose"));
        static ENDLESS: OnDrop<fn()> = OnDrop(|| {
            ROUNDS.fetch_add(1, Ordering::SeqCst);
            ENDLESS.with(|_| ());
        });
    }
    static ROUNDS: AtomicUsize = AtomicUsize::new(0);
    let g = Greenlet::new(|n: u32| {
        DROPPED.with(|_| ());
        PANICS.with(|_| ());
        n
    });
    assert_eq!(g.switch(3), 3);
    assert_eq!(*SEEN.lock().unwrap(), ["made in a destructor"]);
    let endless = Greenlet::new(|n: u32| {
        ENDLESS.with(|_| ());
        n
    });
    assert_eq!(endless.switch(4), 4);
    assert!(ROUNDS.load(Ordering::SeqCst) > 1, "and it came to an end");
}

#[cfg(feature = "runtime")]
mod tasks {
    use super::*;
    use common::{Tally, Token, ms, until};
    use osier::sync::channel;
    use osier::task::Builder;
    use osier::{Runtime, run, sleep, spawn, yield_now};

    #[test]
    fn every_task_has_its_own_over_its_waits() {
        let _watch = watch();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let tasks: Vec<_> = (0..100)
                .map(|n| {
                    spawn(move || {
                        assert_eq!(NUMBER.with(Cell::get), 7, "nothing of an earlier task of this worker");
                        NUMBER.with(|number| number.set(n));
                        yield_now();
                        assert_eq!(NUMBER.with(Cell::get), n);
                    })
                })
                .collect();
            tasks.into_iter().for_each(|t| t.join().unwrap());
            assert_eq!(NUMBER.with(Cell::get), 7);
        });
    }

    task_local! { static HELD: RefCell<Vec<Token>> = RefCell::new(Vec::new()); }

    // GV-205
    #[test]
    fn locals_of_tasks_that_have_ended_are_gone_though_their_handles_are_held() {
        let _watch = watch();
        let tally = Tally::default();
        run(|| {
            let handles: Vec<_> = (0..5)
                .map(|_| {
                    let token = tally.token();
                    spawn(move || HELD.with(|held| held.borrow_mut().push(token)))
                })
                .collect();
            until(|| handles.iter().all(osier::JoinHandle::is_finished));
            tally.assert_all_dropped(5);
            drop(handles);
        });
    }

    // GV-206
    #[test]
    fn values_that_are_replaced_are_freed_while_the_task_runs() {
        let _watch = watch();
        let tally = Tally::default();
        run(|| {
            for _ in 0..1000 {
                HELD.set(RefCell::new(vec![tally.token()]));
            }
            assert_eq!(tally.dropped(), 999);
        });
        tally.assert_all_dropped(1000);
    }

    // GV-211
    #[test]
    fn a_spawned_task_begins_anew_but_for_what_it_inherits() {
        let _watch = watch();
        run(|| {
            NUMBER.with(|n| n.set(1));
            NAME.set("parent".to_owned());
            let child = spawn(|| {
                let seen = (NUMBER.with(Cell::get), NAME.get());
                NAME.set("child".to_owned());
                let grandchild = spawn(|| NAME.get()).join().unwrap();
                (seen, grandchild)
            });
            // What changes after the spawn does not reach it.
            NAME.set("later".to_owned());
            let (seen, grandchild) = child.join().unwrap();
            assert_eq!(seen, (7, "parent".to_owned()));
            assert_eq!(grandchild, "child");
            assert_eq!(NAME.get(), "later");
        });
        // From a thread as well, and where there is no value, nothing is inherited.
        assert_eq!(spawn(|| NAME.get()).join().unwrap(), "nobody");
        NAME.set("thread".to_owned());
        assert_eq!(spawn(|| NAME.get()).join().unwrap(), "thread");
    }

    #[test]
    fn locals_are_dropped_by_their_task_which_may_wait_then() {
        let _watch = watch();
        static DONE: AtomicUsize = AtomicUsize::new(0);
        task_local! {
            static WAITS: OnDrop<fn()> = OnDrop(|| {
                assert!(osier::task::try_current().is_some());
                sleep(ms(3));
                yield_now();
                DONE.fetch_add(1, Ordering::SeqCst);
            });
            static WAITS_TOO: OnDrop<fn()> = OnDrop(|| {
                yield_now();
                DONE.fetch_add(1, Ordering::SeqCst);
            });
        }
        let use_both = || {
            WAITS.with(|_| ());
            WAITS_TOO.with(|_| ());
        };
        let told = common::reports(|| {
            run(|| {
                spawn(use_both).join().unwrap();
                assert_eq!(DONE.load(Ordering::SeqCst), 2, "before anybody learns that it has ended");
                // Of one that is cancelled, and of one that panics.
                let (started, starts) = channel::bounded(1);
                let t = Builder::new().name("cancelled").spawn(move || {
                    use_both();
                    started.send(()).unwrap();
                    sleep(common::FOR_EVER);
                });
                starts.recv().unwrap();
                t.kill();
                assert_eq!(DONE.load(Ordering::SeqCst), 4);
                let panics = move || {
                    use_both();
                    panic!("on purpose");
                };
                assert!(spawn(panics).join().is_err());
            });
        });
        assert_eq!(DONE.load(Ordering::SeqCst), 6);
        assert!(!told.iter().any(|report| report.contains("'cancelled'")), "{told:?}");
    }

    #[test]
    fn a_cancel_that_comes_while_locals_are_dropped_does_not_cut_that_short() {
        let _watch = watch();
        static DROPS: Mutex<Option<(channel::Sender<()>, channel::Receiver<()>)>> = Mutex::new(None);
        static DONE: AtomicUsize = AtomicUsize::new(0);
        task_local! {
            static WAITS: OnDrop<fn()> = OnDrop(|| {
                let (drops, go_on) = DROPS.lock().unwrap().take().unwrap();
                drops.send(()).unwrap();
                go_on.recv().unwrap();
                DONE.fetch_add(1, Ordering::SeqCst);
            });
        }
        run(|| {
            let ((drops, dropping), (go_on, goes_on)) = (channel::bounded(1), channel::bounded(1));
            *DROPS.lock().unwrap() = Some((drops, goes_on));
            let t = spawn(|| WAITS.with(|_| 7));
            dropping.recv().unwrap();
            t.cancel();
            yield_now();
            go_on.send(()).unwrap();
            assert_eq!(t.join().unwrap(), 7, "it had returned before");
        });
        assert_eq!(DONE.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn locals_of_a_greenlet_that_a_cancel_unwinds_may_wait() {
        let _watch = watch();
        static DONE: AtomicUsize = AtomicUsize::new(0);
        task_local! {
            static WAITS: OnDrop<fn()> = OnDrop(|| {
                sleep(ms(2));
                DONE.fetch_add(1, Ordering::SeqCst);
            });
        }
        let told = common::reports(|| {
            run(|| {
                let (started, starts) = channel::bounded(1);
                let t = Builder::new().name("has a greenlet").spawn(move || {
                    let inside = Greenlet::new(move |n: u32| {
                        WAITS.with(|_| ());
                        started.send(()).unwrap();
                        sleep(common::FOR_EVER);
                        n
                    });
                    inside.switch(1)
                });
                starts.recv().unwrap();
                t.cancel();
                assert!(t.join().unwrap_err().is_cancelled());
            });
        });
        assert_eq!(DONE.load(Ordering::SeqCst), 1);
        assert!(!told.iter().any(|report| report.contains("'has a greenlet'")), "{told:?}");
    }

    #[test]
    fn a_borrow_carried_past_the_end_of_its_task_stays_valid() {
        let _watch = watch();
        task_local! { static TEXT: String = "y".repeat(40); }
        thread_local! { static CARRIED: RefCell<Option<Generator<usize>>> = const { RefCell::new(None) }; }
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            spawn(|| {
                let mut g = Generator::new(|y: &Yielder<usize>| {
                    TEXT.with(|text| {
                        y.yield_(0);
                        y.yield_(text.matches('y').count());
                    });
                });
                assert_eq!(g.next(), Some(0));
                CARRIED.set(Some(g));
            })
            .join()
            .unwrap();
            let mut g = CARRIED.take().unwrap();
            assert_eq!(g.next(), Some(40));
        });
    }

    #[test]
    fn an_rc_in_a_local_does_not_travel_with_a_stepped_task() {
        let _watch = watch();
        task_local! { static SHARED: Rc<Cell<u32>> = Rc::new(Cell::new(0)); }
        thread_local! { static OURS: RefCell<Vec<Rc<Cell<u32>>>> = const { RefCell::new(Vec::new()) }; }
        let runtime = Runtime::builder().workers(4).build().unwrap();
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                runtime.spawn(|| {
                    osier::task::spawn_stepped(0, |step| {
                        // A count stays behind on each thread; were the local one of the task, two threads would count.
                        let shared = SHARED.get();
                        assert_eq!((shared.get(), Rc::strong_count(&shared)), (0, 2), "a new one in each step");
                        shared.set(1);
                        OURS.with_borrow_mut(|ours| ours.push(shared));
                        *step += 1;
                        if *step == 100 { osier::task::Step::Done(*step) } else { osier::task::Step::Again }
                    })
                    .join()
                    .unwrap()
                })
            })
            .collect();
        assert_eq!(tasks.into_iter().map(|t| t.join().unwrap()).sum::<u32>(), 1600);
    }

    #[test]
    fn a_task_that_never_runs_drops_what_it_inherited() {
        let _watch = watch();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            NAME.set("parent".to_owned());
            let t = spawn(|| ());
            t.cancel();
            assert!(t.join().unwrap_err().is_cancelled());
            let (sender, receiver) = channel::bounded(1);
            drop(spawn(move || sender.send(NAME.get())));
            assert_eq!(receiver.recv().unwrap(), "parent");
        });
    }
}
