//! Greenlets: switches, parents, death, exits, last handles; trees in trees, generators and tasks; a plain model.

mod common;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use common::{Log, OnDrop, Random, Tally, levels, miri_cannot, panic_text, reports, rounds, watch};
use osier::greenlet::{self, ParentError, SwitchError, Weak};
use osier::{Generator, Greenlet, Step, Yielder};

type Payload = Box<dyn std::any::Any + Send>;

fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Payload> {
    panic::catch_unwind(AssertUnwindSafe(f))
}

/// A panic without the hook's message.
fn throw(payload: impl std::any::Any + Send) -> ! {
    osier::resume_unwind(Box::new(payload))
}

#[derive(Debug, PartialEq)]
struct Boom(u64);

/// The number in a panic that was thrown as a `Boom`; other unwinds go on.
fn boom(payload: Payload) -> u64 {
    match payload.downcast::<Boom>() {
        Ok(boom) => boom.0,
        Err(payload) => osier::resume_unwind(payload),
    }
}

/// A place for a handle that is made later, shared by those who switch to it.
type Slot<T> = Rc<OnceCell<Greenlet<T>>>;

/// A place for a handle that is taken out and dropped.
type Keep<T> = Rc<RefCell<Option<Greenlet<T>>>>;

/// A greenlet that hands each value on to the root, plus one, for ever.
fn echo() -> Greenlet<u64> {
    let root = Greenlet::current();
    Greenlet::new(move |mut n| {
        loop {
            n = root.switch(n + 1);
        }
    })
}

#[test]
fn in_a_process_of_its_own() {
    match common::program().as_deref() {
        None => {}
        Some("plateau") => plateau(),
        Some("no stack") => no_stack(),
        Some(other) => panic!("no program {other}"),
    }
}

// ---- switching

#[test]
fn smoke() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let other: Slot<u64> = Rc::default();
    let first = Greenlet::new({
        let other = other.clone();
        move |n| {
            let n = other.get().unwrap().switch(n + 1);
            root.switch(n + 1)
        }
    });
    let second = Greenlet::new({
        let first = first.clone();
        move |n| first.switch(n * 10)
    });
    other.set(second.clone()).unwrap();
    assert_eq!(first.switch(1), 21);
    assert_eq!(first.switch(7), 7);
    assert!(first.is_dead() && !second.is_dead());
    assert!(second.kill());
}

// GL-001
#[test]
fn control_goes_back_and_forth() {
    let _watch = watch();
    let log = Log::default();
    let root = Greenlet::<()>::current();
    let g = Greenlet::new({
        let log = log.clone();
        move |()| {
            log.push("1");
            root.switch(());
            log.push("3");
        }
    });
    log.push("0");
    g.switch(());
    log.push("2");
    g.switch(());
    log.push("4");
    assert_eq!(log.take(), ["0", "1", "2", "3", "4"]);
    assert!(g.is_dead());
}

// GL-002
#[test]
fn two_children_with_one_body_go_on_separately() {
    let _watch = watch();
    let log = Log::default();
    let root = Greenlet::<()>::current();
    let body = || {
        let (log, root) = (log.clone(), root.clone());
        move |()| {
            log.push("a");
            root.switch(());
            log.push("b");
            log.push("c");
        }
    };
    let (g, h) = (Greenlet::new(body()), Greenlet::new(body()));
    let lengths = [&g, &h, &h, &g].map(|next| {
        next.switch(());
        (log.len(), g.is_dead(), h.is_dead())
    });
    assert_eq!(lengths, [(1, false, false), (2, false, false), (4, false, true), (6, true, true)]);
}

// GL-004: every thread has a root of its own.
#[test]
fn ten_threads_at_once() {
    let _watch = watch();
    let threads: Vec<_> = (0..10).map(|_| std::thread::spawn(control_goes_back_and_forth)).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

// GL-005
#[test]
fn a_first_value_is_the_bodys_argument() {
    let _watch = watch();
    #[derive(Debug, PartialEq)]
    enum Message {
        Pair(&'static str, &'static str),
        Text(String),
        Number(u32),
        Nothing,
    }
    let log = Log::default();
    let second: Slot<Message> = Rc::default();
    let first = Greenlet::new({
        let (second, log) = (second.clone(), log.clone());
        move |pair| {
            let Message::Pair(x, y) = pair else { panic!("the first value comes first") };
            let got = second.get().unwrap().switch(Message::Text(format!("{x}{y}")));
            log.push(format!("{got:?}"));
            Message::Nothing
        }
    });
    let answering = Greenlet::new({
        let (first, log) = (first.clone(), log.clone());
        move |text| {
            log.push(format!("{text:?}"));
            first.switch(Message::Number(42))
        }
    });
    second.set(answering).unwrap();
    assert_eq!(first.switch(Message::Pair("hello", " world")), Message::Nothing);
    assert_eq!(log.take(), [r#"Text("hello world")"#, "Number(42)"]);
    let second = second.get().unwrap();
    assert!(first.is_dead() && second.is_active() && !second.is_dead());
}

// GL-007, GL-008: many values are a tuple; each switch gets the payload of its own hand-over, the last the return value.
#[test]
fn payloads_arrive_one_for_one() {
    let _watch = watch();
    let root = Greenlet::<(u32, Option<&str>)>::current();
    let g = Greenlet::new(move |(n, text): (u32, _)| {
        assert_eq!((n, text), (1, Some("one")));
        assert_eq!(root.switch((10, None)), (2, None));
        assert_eq!(root.switch((20, Some("b"))), (3, Some("three")));
        assert_eq!(root.switch((30, None)), (4, None));
        (40, Some("end"))
    });
    let sent = [(1, Some("one")), (2, None), (3, Some("three")), (4, None)];
    let got = sent.map(|payload| g.switch(payload));
    assert_eq!(got, [(10, None), (20, Some("b")), (30, None), (40, Some("end"))]);
    assert!(g.is_dead());
}

// GL-010: the body is consumed at the start; what it owned is dropped with it, not with the handle.
#[test]
fn a_body_is_gone_when_it_has_ended() {
    let _watch = watch();
    let tally = Tally::default();
    let token = tally.token();
    let g = Greenlet::new(move |()| drop(token));
    assert_eq!(tally.dropped(), 0);
    g.switch(());
    tally.assert_all_dropped(1);
    drop(g);
    tally.assert_all_dropped(1);
}

// GL-011: data "on a greenlet" is data it captures.
#[test]
fn captured_data_outlives_its_greenlet() {
    let _watch = watch();
    let data = Rc::new(Cell::new(0));
    let g = Greenlet::new({
        let data = data.clone();
        move |()| data.set(42)
    });
    g.switch(());
    assert!(g.is_dead());
    assert_eq!(data.get(), 42);
}

// GL-013, GL-014
#[test]
fn a_switch_to_a_dead_one_lands_in_its_nearest_living_ancestor() {
    let _watch = watch();
    let inner: Slot<u64> = Rc::default();
    let outer = Greenlet::new({
        let inner = inner.clone();
        move |_| {
            let g = Greenlet::new(|n| n + 1);
            inner.set(g.clone()).unwrap();
            assert_eq!(g.switch(1), 2);
            assert!(g.is_dead());
            // Its parent is the one that runs.
            assert_eq!(g.switch(3), 3);
            assert_eq!(g.switch(4), 4);
            5
        }
    });
    assert_eq!(outer.switch(0), 5);
    let inner = inner.get().unwrap();
    assert!(outer.is_dead() && inner.is_dead());
    assert_eq!(inner.parent().as_ref(), Some(&outer));
    assert_eq!(inner.switch(25), 25);
}

#[test]
fn a_switch_to_oneself_returns_the_value() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    assert_eq!(root.switch(7), 7);
    let g = Greenlet::new(|n| Greenlet::current().switch(n + 1));
    assert_eq!(g.switch(1), 2);
}

// GL-017
#[test]
fn a_value_goes_to_a_suspended_parent_where_it_waits() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let parent = Greenlet::new(move |_| root.switch(1) + 1000);
    assert_eq!(parent.switch(0), 1);
    let child = Greenlet::with_parent(&parent, |n| n + 70);
    assert_eq!(child.switch(7), 1077);
    assert!(parent.is_dead() && child.is_dead());
}

#[test]
fn a_value_starts_a_parent_that_has_not_begun() {
    let _watch = watch();
    let grandparent = Greenlet::new(|n| n * 2);
    let parent = Greenlet::with_parent(&grandparent, |n| n + 5);
    let child = Greenlet::with_parent(&parent, |n| n + 1);
    assert_eq!(child.switch(1), 14);
    assert!(grandparent.is_dead() && parent.is_dead() && child.is_dead());
}

// GL-022
#[test]
fn deep_frames_survive_a_suspension() {
    let _watch = watch();
    fn factorial(n: u64, at_the_bottom: &dyn Fn() -> u64) -> u64 {
        if n == 0 { at_the_bottom() } else { n * factorial(n - 1, at_the_bottom) }
    }
    let root = Greenlet::<u64>::current();
    let g = Greenlet::new(move |n| factorial(n, &|| root.switch(0)));
    assert_eq!(g.switch(5), 0);
    assert_eq!(g.switch(10), 1200);
}

// GL-023
#[test]
fn switching_inside_a_sorts_callback() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let sorted = Rc::new(RefCell::new(Vec::new()));
    let sorter = |numbers: Vec<u64>| {
        let (root, sorted) = (root.clone(), sorted.clone());
        Greenlet::new(move |_| {
            let mut numbers = numbers;
            let mut calls = 0;
            numbers.sort_by_key(|&n| {
                calls += 1;
                if calls % 5 == 1 {
                    root.switch(calls);
                }
                n
            });
            // Files and locks of the library work as ever.
            if !miri_cannot("open files") {
                assert!(std::fs::read_to_string("Cargo.toml").unwrap().contains("osier"));
            }
            sorted.borrow_mut().push(numbers);
            0
        })
    };
    let (first, second) = (sorter((0..30).rev().collect()), sorter((0..30).map(|n| n * 7 % 30).collect()));
    while !(first.is_dead() && second.is_dead()) {
        first.switch(0);
        second.switch(0);
    }
    let expected: Vec<u64> = (0..30).collect();
    assert_eq!(*sorted.borrow(), [expected.clone(), expected]);
}

// GL-025
#[test]
fn the_current_one_is_the_same_handle_in_a_callback() {
    let _watch = watch();
    if miri_cannot("call qsort") {
        return;
    }
    extern "C" fn compare(_: *const libc::c_void, _: *const libc::c_void) -> libc::c_int {
        SEEN.with(|seen| seen.borrow_mut().push(Greenlet::<i32>::current()));
        0
    }
    thread_local!(static SEEN: RefCell<Vec<Greenlet<i32>>> = const { RefCell::new(Vec::new()) });
    let seen = Rc::new(RefCell::new(Vec::new()));
    let taken = seen.clone();
    let g = Greenlet::new(move |n: i32| {
        let mut numbers = [2, 1];
        // SAFETY: the array has two elements of that size, and `compare` reads none.
        unsafe { libc::qsort(numbers.as_mut_ptr().cast(), 2, 4, Some(compare)) };
        taken.replace(SEEN.take());
        -3 * n
    });
    assert_eq!(g.switch(5), -15);
    assert!(!seen.borrow().is_empty() && seen.take().iter().all(|seen| *seen == g));
}

#[test]
fn a_ring_and_a_crowd_take_turns() {
    let _watch = watch();
    const COUNT: usize = levels(100);
    let all: Rc<RefCell<Vec<Greenlet<u64>>>> = Rc::default();
    let root = Greenlet::current();
    for i in 0..COUNT {
        let (members, root) = (Rc::downgrade(&all), root.clone());
        let body = move |mut n| {
            loop {
                let next = members.upgrade().unwrap().borrow()[(i + 1) % COUNT].clone();
                n = if n % 1000 == 999 { root.switch(n + 1) } else { next.switch(n + 1) };
            }
        };
        let g = Greenlet::builder(body).name(format!("member {i}")).stack_size(32 * 1024).build();
        all.borrow_mut().push(g);
    }
    let mut n = 0;
    for start in [0, COUNT / 6, COUNT - 1, COUNT / 2] {
        let g = all.borrow()[start].clone();
        n = g.switch(n);
        assert_eq!(n % 1000, 0);
    }
    assert_eq!(n, 4000);
    let members = all.borrow().clone();
    assert!(members.iter().all(Greenlet::kill));
}

#[test]
fn values_with_destructors_are_dropped_once_wherever_they_end_up() {
    let _watch = watch();
    let tally = Tally::default();
    {
        let root = Greenlet::current();
        let g = Greenlet::new({
            let tally = tally.clone();
            move |first| {
                let second = root.switch(first);
                drop(second);
                root.switch(tally.token());
                tally.token()
            }
        });
        drop(g.switch(tally.token()));
        drop(g.switch(tally.token()));
        // Suspended, it has taken all: nothing is left in between. Its exit drops what it is given.
        let unstarted = Greenlet::new(|value| value);
        drop(unstarted.throw_exit(tally.token()));
        drop(unstarted.switch(tally.token()));
        drop(g);
    }
    tally.assert_all_dropped(5);
}

// ---- parents

// GL-026, with panics: an error that a body re-raises goes on in its parent.
#[test]
fn a_panic_goes_on_in_the_parent_where_it_waits() {
    let _watch = watch();
    let log = Log::default();
    let root = Greenlet::<u64>::current();
    let body = |name: &'static str| {
        let (log, root) = (log.clone(), root.clone());
        move |n| {
            let payload = catch(|| root.switch(n)).unwrap_err();
            log.push(format!("{name} {:?}", payload.downcast_ref::<Boom>()));
            osier::resume_unwind(payload)
        }
    };
    let (first, second) = (Greenlet::new(body("first")), Greenlet::new(|_| throw(Boom(9))));
    assert_eq!(first.switch(3), 3);
    second.set_parent(&first).unwrap();
    assert_eq!(boom(catch(|| second.switch(0)).unwrap_err()), 9);
    assert_eq!(log.take(), ["first Some(Boom(9))"]);
    assert!(first.is_dead() && second.is_dead());
}

// GL-028
#[test]
fn a_panic_goes_to_the_parent_and_not_to_the_switcher() {
    let _watch = watch();
    let sibling: Slot<u64> = Rc::default();
    let middle = Greenlet::new({
        let sibling = sibling.clone();
        move |_| sibling.get().unwrap().switch(1) + 100
    });
    sibling.set(Greenlet::new(|_| throw(Boom(2)))).unwrap();
    assert_eq!(boom(catch(|| middle.switch(0)).unwrap_err()), 2);
    assert!(sibling.get().unwrap().is_dead() && middle.is_active() && !middle.is_dead());
    assert_eq!(middle.switch(11), 111);
}

// GL-043
#[test]
fn a_real_panic_is_a_payload_too_and_passes_unstarted_parents() {
    let _watch = watch();
    let parent = Greenlet::new(|n| n);
    let g = Greenlet::with_parent(&parent, |_: u64| panic!("at the disco"));
    assert_eq!(panic_text(|| g.switch(1)), "at the disco");
    assert!(g.is_dead() && parent.is_dead());
}

// GL-041: catches of suspended stacks do not mix.
#[test]
fn each_one_catches_its_own_panic_at_its_own_depth() {
    let _watch = watch();
    fn descend(depth: u64, at_the_bottom: &dyn Fn()) -> u64 {
        if depth == 0 {
            return match catch(at_the_bottom) {
                Ok(()) => unreachable!(),
                Err(payload) => boom(payload),
            };
        }
        let keep = [depth; 8];
        descend(depth - 1, at_the_bottom) + keep[7] - depth
    }
    let root = Greenlet::<u64>::current();
    let all: Vec<_> = (0..4)
        .map(|i| {
            let root = root.clone();
            Greenlet::new(move |_| {
                descend(i * 3, &|| {
                    root.switch(0);
                    throw(Boom(i));
                })
            })
        })
        .collect();
    for g in &all {
        assert_eq!(g.switch(0), 0);
    }
    let caught: Vec<_> = all.iter().map(|g| g.switch(0)).collect();
    assert_eq!(caught, [0, 1, 2, 3]);
}

// GL-044, GL-046
#[test]
fn a_root_has_no_parent_and_gets_none() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let g = Greenlet::new(|n| n);
    assert!(root.parent().is_none() && g.parent().is_some());
    assert_eq!(root.set_parent(&g), Err(ParentError::Root));
    assert_eq!(root.set_parent(&root), Err(ParentError::Root));
    assert!(root.parent().is_none() && root.name() == "root");
}

#[test]
fn a_parent_must_be_of_the_tree_and_no_descendant() {
    let _watch = watch();
    let foreign = in_another_tree(|n| n);
    let (a, b) = (Greenlet::new(|n: u64| n), Greenlet::new(|n: u64| n));
    b.set_parent(&a).unwrap();
    let c = Greenlet::with_parent(&b, |n| n);
    assert_eq!(a.set_parent(&c), Err(ParentError::Cycle));
    assert_eq!(a.set_parent(&a), Err(ParentError::Cycle));
    assert_eq!(ParentError::Cycle.to_string(), "a greenlet cannot be its own ancestor");
    assert_eq!(a.set_parent(&foreign), Err(ParentError::OtherTree));
    assert_eq!(a.parent().unwrap(), Greenlet::current());
}

/// A greenlet of a tree whose root, a greenlet of another type, is suspended. To be called before the thread is a root
/// itself: that tree would be the innermost, and get it.
fn in_another_tree(body: fn(u64) -> u64) -> Greenlet<u64> {
    let (root, made): (_, Slot<u64>) = (Greenlet::<()>::current(), Rc::default());
    let holder = Greenlet::new({
        let made = made.clone();
        move |()| {
            made.set(Greenlet::new(body)).unwrap();
            root.switch(());
        }
    });
    holder.switch(());
    // It stays suspended, and its tree as it is.
    std::mem::forget(holder);
    made.get().unwrap().clone()
}

// GL-050, GL-052
#[test]
fn the_parent_is_whoever_made_it() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let inner: Slot<u64> = Rc::default();
    let outer = Greenlet::new({
        let inner = inner.clone();
        move |n| {
            let outer = Greenlet::current();
            let made = Greenlet::new(move |n| u64::from(Greenlet::<u64>::current().parent() == Some(outer)) + n);
            inner.set(made).unwrap();
            n
        }
    });
    assert_eq!(outer.parent(), Some(root));
    outer.switch(1);
    let inner = inner.get().unwrap();
    // Switched to by the root, it still has its maker for a parent.
    assert_eq!(inner.switch(10), 11);
    assert_eq!(inner.parent(), Some(outer));
}

// GL-053
#[test]
fn another_parent_gets_what_a_suspended_one_leaves() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let parent = Greenlet::new(|_| unreachable!("its child is given away"));
    let child = Greenlet::with_parent(&parent, |n| {
        let me = Greenlet::current();
        let root = me.parent().unwrap().parent().unwrap();
        root.switch(n + 1);
        me.parent().unwrap().switch(7)
    });
    assert_eq!(child.switch(1), 2);
    child.set_parent(&root).unwrap();
    assert_eq!(child.switch(0), 7);
    assert_eq!(child.switch(9), 9);
    assert!(child.is_dead() && !parent.is_dead());
}

#[test]
fn parents_are_kept_alive_by_their_children_and_a_long_line_is_freed_without_recursion() {
    let _watch = watch();
    let tally = Tally::default();
    let mut youngest = Greenlet::<u64>::current();
    let count = rounds(100_000);
    for _ in 0..count {
        let token = tally.token();
        youngest = Greenlet::with_parent(&youngest, move |n| {
            drop(token);
            n
        });
    }
    assert_eq!(tally.dropped(), 0);
    drop(youngest);
    tally.assert_all_dropped(count);
}

#[test]
fn a_long_line_of_suspended_parents_is_unwound_one_by_one() {
    let _watch = watch();
    let tally = Tally::default();
    let root = Greenlet::<u64>::current();
    let mut youngest = root.clone();
    let count = levels(1000);
    for _ in 0..count {
        let (token, root) = (tally.token(), root.clone());
        let body = move |n| {
            let _token = token;
            root.switch(n)
        };
        youngest = Greenlet::builder(body).stack_size(32 * 1024).build_with_parent(&youngest);
        youngest.switch(0);
    }
    assert_eq!(tally.dropped(), 0);
    drop(youngest);
    tally.assert_all_dropped(count);
}

// ---- exits

// GL-029
#[test]
fn an_exit_ends_a_body_from_deep_inside_and_gives_the_value_to_the_parent() {
    let _watch = watch();
    fn deep(n: u64) {
        if n == 0 {
            greenlet::exit(("bye", 1));
        }
        deep(n - 1);
    }
    let tally = Tally::default();
    let token = tally.token();
    let g = Greenlet::new(move |_| {
        let _token = token;
        deep(10);
        unreachable!()
    });
    assert_eq!(g.switch(("go", 0)), ("bye", 1));
    assert!(g.is_dead());
    tally.assert_all_dropped(1);
}

// GL-032: thrown into a dead one, the value comes back as well.
#[test]
fn an_exit_thrown_into_a_suspended_one_gives_the_value_to_the_parent() {
    let _watch = watch();
    let tally = Tally::default();
    let root = Greenlet::<u64>::current();
    let token = tally.token();
    let g = Greenlet::new(move |n| {
        let _token = token;
        root.switch(n)
    });
    assert_eq!(g.switch(1), 1);
    assert_eq!(g.throw_exit(2), 2);
    assert!(g.is_dead());
    tally.assert_all_dropped(1);
    assert_eq!(g.throw_exit(3), 3);
}

#[test]
fn an_exit_thrown_into_an_unstarted_one_ends_it_unrun() {
    let _watch = watch();
    let tally = Tally::default();
    let token = tally.token();
    let g = Greenlet::new(move |_: u64| {
        drop(token);
        unreachable!()
    });
    assert_eq!(g.throw_exit(2), 2);
    assert!(g.is_dead());
    tally.assert_all_dropped(1);
}

// GL-034, GL-035 with an exit: its value goes to the parent, be the greenlet started or not.
#[test]
fn an_exits_value_goes_to_the_parent_where_it_waits() {
    let _watch = watch();
    for start in [false, true] {
        let root = Greenlet::<u64>::current();
        let parent = Greenlet::new({
            let root = root.clone();
            move |n| 100 + root.switch(n)
        });
        parent.switch(0);
        let g = Greenlet::with_parent(&parent, move |n| root.switch(n));
        if start {
            g.switch(0);
        }
        assert_eq!(g.throw_exit(5), 105);
        assert!(parent.is_dead() && g.is_dead());
    }
}

// GL-038
#[test]
fn an_exit_thrown_into_oneself_unwinds_from_that_very_call() {
    let _watch = watch();
    let log = Log::default();
    let g = Greenlet::new({
        let log = log.clone();
        move |n| {
            let _here = log.at_drop("unwound");
            log.push("before");
            Greenlet::current().throw_exit(n + 1);
            log.push("after");
            n
        }
    });
    assert_eq!(g.switch(1), 2);
    assert_eq!(log.take(), ["before", "unwound"]);
}

#[test]
fn an_exit_thrown_by_a_child_reaches_the_one_below() {
    let _watch = watch();
    let parent: Slot<u64> = Rc::default();
    let child = Rc::new(Cell::new(None));
    let g = Greenlet::new({
        let (parent, child) = (parent.clone(), child.clone());
        move |_| {
            let made = Greenlet::new(move |_| parent.get().unwrap().throw_exit(33));
            child.set(Some(made.clone()));
            made.switch(0)
        }
    });
    parent.set(g.clone()).unwrap();
    assert_eq!(g.switch(1), 33);
    let child = child.take().unwrap();
    assert!(g.is_dead() && child.is_active());
    assert!(child.kill());
}

#[test]
fn a_body_that_swallows_its_exit_goes_on() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let g = Greenlet::new(move |n| {
        assert!(catch(|| root.switch(n)).is_err());
        root.switch(50) + 1
    });
    assert_eq!(g.switch(1), 1);
    assert_eq!(g.throw_exit(2), 50);
    assert!(g.is_active());
    assert_eq!(g.switch(60), 61);
    assert!(g.is_dead());
}

#[test]
fn an_exit_thrown_into_one_that_unwinds_and_waits_is_a_value() {
    let _watch = watch();
    let seen = Rc::new(Cell::new(0));
    let g = Greenlet::new({
        let seen = seen.clone();
        move |n| {
            let me = Greenlet::<u64>::current();
            let _switches = OnDrop(|| {
                let to = me.clone();
                seen.set(Greenlet::new(move |n| to.throw_exit(n + 1)).switch(4));
            });
            throw(Boom(n));
        }
    });
    assert_eq!(boom(catch(|| g.switch(1)).unwrap_err()), 1);
    assert_eq!(seen.get(), 5);
}

#[test]
fn roots_and_outsiders_cannot_exit() {
    let _watch = watch();
    let expected = "the root of a tree of greenlets cannot exit: it has no parent";
    let root = Greenlet::<u64>::current();
    assert_eq!(panic_text(|| root.throw_exit(1)), expected);
    assert_eq!(panic_text(|| greenlet::exit(1u64)), expected);
    assert_eq!(
        panic_text(|| greenlet::exit("a type without a tree")),
        "`exit` is for code that runs in a greenlet, and no greenlet of that type runs"
    );
}

#[test]
fn an_exit_passes_through_generators_and_inner_trees() {
    let _watch = watch();
    let log = Log::default();
    let root = Greenlet::<u64>::current();
    let g = Greenlet::new({
        let log = log.clone();
        move |n| {
            let _outer = log.at_drop("body");
            let inner = log.clone();
            let mut items = Generator::new(move |y: &Yielder<u64>| {
                let _in_generator = inner.at_drop("generator");
                let innermost = inner.clone();
                let other = Greenlet::new(move |()| {
                    let _in_other = innermost.at_drop("other tree");
                    root.switch(n);
                });
                other.switch(());
                y.yield_(1);
            });
            items.next();
            unreachable!("the exit passes")
        }
    });
    assert_eq!(g.switch(4), 4);
    assert_eq!(g.throw_exit(8), 8);
    assert_eq!(log.take(), ["other tree", "generator", "body"]);
}

// ---- the last handle

// GL-064
#[test]
fn dropping_the_last_handle_of_a_suspended_one_unwinds_it_there_and_then() {
    let _watch = watch();
    let log = Log::default();
    let g = Greenlet::<()>::new({
        let log = log.clone();
        move |()| {
            let parent = Greenlet::<()>::current().parent().unwrap();
            let payload = catch(|| {
                loop {
                    parent.switch(());
                }
            })
            .unwrap_err();
            log.push("exit; quitting");
            osier::resume_unwind(payload);
        }
    });
    g.switch(());
    g.switch(());
    let another = g.clone();
    drop(g);
    assert_eq!(log.len(), 0);
    drop(another);
    log.push("dropped");
    assert_eq!(log.take(), ["exit; quitting", "dropped"]);
}

// GL-065, with a panic: whoever drops is not disturbed.
#[test]
fn a_panic_while_being_dropped_ends_there() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let g = Greenlet::new(move |n| {
        _ = catch(|| root.switch(n));
        throw(Boom(1))
    });
    g.switch(0);
    drop(g);
}

// GL-067: while it unwinds, the one that dropped it is its parent.
#[test]
fn the_dropper_is_the_parent_meanwhile() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let first = Greenlet::new(|n| n);
    let seen: Slot<u64> = Rc::default();
    let g = Greenlet::with_parent(&first, {
        let seen = seen.clone();
        let root = root.clone();
        move |n| {
            let _at_end = OnDrop(|| seen.set(Greenlet::current().parent().unwrap()).unwrap());
            root.switch(n)
        }
    });
    g.switch(0);
    drop(g);
    assert_eq!(seen.get(), Some(&root));
    assert!(!first.is_dead());
}

// GL-067: here a body that is being dropped gets hold of another handle to itself.
#[test]
fn one_that_finds_another_handle_while_it_is_dropped_lives_on() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let (kept, parent): (Slot<u64>, _) = (Rc::default(), Greenlet::new(|n| n + 7000));
    let g = Greenlet::with_parent(&parent, {
        let (kept, root) = (kept.clone(), root.clone());
        move |n| {
            assert!(catch(|| root.switch(n)).is_err());
            kept.set(Greenlet::current()).unwrap();
            root.switch(1) + 1
        }
    });
    g.switch(0);
    drop(g);
    let g = kept.get().unwrap();
    // Its parent is the former one again.
    assert!(g.is_active() && g.parent() == Some(parent));
    assert_eq!(g.switch(10), 7011);
}

// GL-068
#[test]
fn a_value_in_flight_survives_the_senders_last_handle() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let sender: Keep<u64> = Rc::default();
    // The parent, once it has the value, drops the sender, and hands it on.
    let parent = Greenlet::new({
        let (root, sender) = (root.clone(), sender.clone());
        move |_| {
            let n = root.switch(0);
            drop(sender.take());
            n
        }
    });
    parent.switch(0);
    *sender.borrow_mut() = Some(Greenlet::with_parent(&parent, {
        let sender = sender.clone();
        move |_| {
            // From now on the sender has only what whoever resumed it keeps.
            drop(sender.take());
            42
        }
    }));
    let weak = sender.borrow().as_ref().unwrap().downgrade();
    drop(parent);
    let g = sender.borrow().clone().unwrap();
    assert_eq!(g.switch(1), 42);
    drop(g);
    assert!(weak.upgrade().is_none());
}

#[test]
fn values_in_flight_survive_destructors_that_switch() {
    let _watch = watch();
    let tally = Tally::default();
    let root = Greenlet::<u64>::current();
    let busy = echo();
    busy.switch(0);
    // Dies with a value for the root while its own last handle, and that of another, go.
    let slot: Keep<u64> = Rc::default();
    let other = Greenlet::new({
        let (root, token, busy) = (root.clone(), tally.token(), busy.clone());
        move |n| {
            let _token = token;
            let _switches = OnDrop(move || {
                // A switch of a destructor, on behalf of whoever runs it.
                let me = Greenlet::<u64>::current();
                let answer = Greenlet::new(|n| n * 2);
                answer.set_parent(&me).unwrap();
                assert_eq!(answer.switch(4), 8);
                assert!(busy.is_active());
            });
            root.switch(n)
        }
    });
    other.switch(0);
    let g = Greenlet::new({
        let slot = slot.clone();
        move |_| {
            let _last = other;
            drop(slot.take());
            99
        }
    });
    *slot.borrow_mut() = Some(g.clone());
    let weak = g.downgrade();
    assert_eq!(g.switch(1), 99);
    drop(g);
    assert!(weak.upgrade().is_none());
    tally.assert_all_dropped(1);
}

// GL-070
#[test]
fn a_finished_one_is_freed_at_once() {
    let _watch = watch();
    let g = Greenlet::new(|n: u64| n);
    let weak = g.downgrade();
    g.switch(1);
    let before = osier::stack::usage().stacks;
    // Its stack went back when it ended: the next one gets it.
    for _ in 0..rounds(100) {
        Greenlet::new(|n: u64| n).switch(1);
    }
    assert!(osier::stack::usage().stacks <= before + 50, "other tests take stacks too, but not hundreds");
    drop(g);
    assert!(weak.upgrade().is_none());
}

// GL-071
#[test]
fn a_parent_is_unwound_when_the_last_child_that_kept_it_goes() {
    let _watch = watch();
    let tally = Tally::default();
    let root = Greenlet::<u64>::current();
    let token = tally.token();
    let parent = Greenlet::new(move |n| {
        let _finally = token;
        root.switch(n)
    });
    parent.switch(0);
    let child = Greenlet::with_parent(&parent, |n| n);
    drop(parent);
    assert_eq!(tally.dropped(), 0);
    drop(child);
    tally.assert_all_dropped(1);
}

#[test]
fn a_parent_link_may_be_the_last_handle_while_its_value_is_on_the_way() {
    let _watch = watch();
    let tally = Tally::default();
    let root = Greenlet::<u64>::current();
    let parent = Greenlet::new({
        let (root, token) = (root.clone(), tally.token());
        move |n| {
            let _token = token;
            let n = root.switch(n);
            root.switch(n + 1)
        }
    });
    parent.switch(0);
    let (switcher, starter): (Keep<u64>, Slot<u64>) = Default::default();
    let dying = Greenlet::with_parent(&parent, {
        let (root, switcher, starter, token) = (root.clone(), switcher.clone(), starter.clone(), tally.token());
        move |_| {
            let _token = token;
            // Whoever switched to us is suspended, and has our only handle on its stack. Now that goes.
            starter.get().unwrap().set_parent(&root).unwrap();
            drop(switcher.take());
            7
        }
    });
    drop(parent);
    let weak = dying.downgrade();
    *switcher.borrow_mut() = Some(Greenlet::new({
        let (root, token) = (root.clone(), tally.token());
        move |n| {
            let _token = token;
            let n = root.switch(n);
            dying.switch(n)
        }
    }));
    switcher.borrow().as_ref().unwrap().switch(0);
    let made = Greenlet::with_parent(switcher.borrow().as_ref().unwrap(), |n| n);
    starter.set(made).unwrap();
    let outer = Greenlet::new(move |n| starter.get().unwrap().switch(n));
    // The parent gets the value though nobody has a handle to it, and is unwound when it suspends again.
    assert_eq!(outer.switch(1), 8);
    assert!(weak.upgrade().is_none() && switcher.borrow().is_none());
    tally.assert_all_dropped(3);
}

#[test]
fn the_last_handle_of_an_active_one_ends_it_when_it_suspends() {
    let _watch = watch();
    let tally = Tally::default();
    let root = Greenlet::<u64>::current();
    let slot: Keep<u64> = Rc::default();
    // Suspended, with the only other handle on its stack.
    let switcher = Greenlet::new({
        let (root, slot) = (root.clone(), slot.clone());
        move |n| {
            let g: Greenlet<u64> = slot.take().unwrap();
            let n = root.switch(n);
            g.switch(n)
        }
    });
    let switcher: Keep<u64> = Rc::new(RefCell::new(Some(switcher)));
    *slot.borrow_mut() = Some(Greenlet::new({
        let (root, switcher, token) = (root.clone(), switcher.clone(), tally.token());
        move |n| {
            let _token = token;
            drop(switcher.take());
            root.switch(n + 1);
            unreachable!("nobody can switch here")
        }
    }));
    let weak = slot.borrow().as_ref().unwrap().downgrade();
    let run = switcher.borrow().clone().unwrap();
    run.switch(0);
    assert_eq!(tally.dropped(), 0);
    assert_eq!(run.switch(4), 5);
    // Our own handle kept the switcher, and so the other one, alive.
    assert_eq!(tally.dropped(), 0);
    drop(run);
    tally.assert_all_dropped(1);
    assert!(weak.upgrade().is_none());
}

#[test]
fn one_that_ignores_its_exit_is_leaked_and_does_no_harm() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let tally = Tally::default();
    let token = tally.token();
    let g = Greenlet::new(move |n| {
        let _token = token;
        loop {
            _ = catch(|| root.switch(n));
        }
    });
    g.switch(1);
    let weak = g.downgrade();
    drop(g);
    assert_eq!(tally.dropped(), 0);
    // It is still there, for whoever remembers it.
    assert_eq!(weak.upgrade().unwrap().switch(2), 1);
    assert_eq!(tally.dropped(), 0);
}

#[test]
fn dropping_one_that_is_suspended_in_its_own_unwind_leaks_it() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let tally = Tally::default();
    let token = tally.token();
    let body = move |n| {
        let _token = token;
        let _waits = OnDrop(move || assert_eq!(root.switch(5), 6));
        throw(Boom(n));
    };
    let g = Greenlet::new(body);
    assert_eq!(g.switch(1), 5);
    // It takes values only.
    assert!(!g.kill());
    assert!(panic_text(|| g.throw_exit(2)).ends_with("it is suspended in its own unwind"));
    assert!(!std::thread::panicking() || g.is_active());
    let weak = g.downgrade();
    drop(g);
    let g = weak.upgrade().unwrap();
    assert_eq!(tally.dropped(), 0);
    assert_eq!(boom(catch(|| g.switch(6)).unwrap_err()), 1);
    assert!(g.is_dead());
    tally.assert_all_dropped(1);
}

#[test]
fn a_panic_passes_by_a_parent_that_is_suspended_in_its_own_unwind() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let parent = Greenlet::new(move |_: u64| {
        let _waits = OnDrop(move || assert_eq!(root.switch(5), 6));
        throw(Boom(1));
    });
    assert_eq!(parent.switch(0), 5);
    let child = Greenlet::with_parent(&parent, |_| throw(Boom(2)));
    assert_eq!(boom(catch(|| child.switch(0)).unwrap_err()), 2);
    assert!(child.is_dead() && parent.is_active());
    assert_eq!(boom(catch(|| parent.switch(6)).unwrap_err()), 1);
}

#[test]
fn destructors_switch_while_their_greenlet_unwinds() {
    let _watch = watch();
    let log = Log::default();
    let root = Greenlet::<u64>::current();
    let helper = echo();
    let g = Greenlet::new({
        let (root, log) = (root.clone(), log.clone());
        move |n| {
            let me = Greenlet::<u64>::current();
            let _switches = OnDrop(|| {
                let child = Greenlet::with_parent(&me, |n| n * 3);
                log.push(format!("child {}", child.switch(5)));
                log.push(format!("root {}", root.switch(1)));
            });
            root.switch(n)
        }
    });
    g.switch(0);
    assert_eq!(g.throw_exit(9), 1);
    assert_eq!(helper.switch(20), 21);
    assert_eq!(g.switch(2), 9);
    assert!(g.is_dead());
    assert_eq!(log.take(), ["child 15", "root 2"]);
}

#[test]
fn handles_dropped_by_an_unwinding_thread_unwind_what_they_hold() {
    let _watch = watch();
    let tally = Tally::default();
    let payload = catch(|| {
        let root = Greenlet::<u64>::current();
        let held: Vec<_> = (0..5)
            .map(|_| {
                let (root, token) = (root.clone(), tally.token());
                let g = Greenlet::new(move |n| {
                    let _token = token;
                    root.switch(n)
                });
                g.switch(0);
                g
            })
            .collect();
        drop(held.first().cloned());
        throw(Boom(3))
    });
    assert_eq!(boom(payload.unwrap_err()), 3);
    tally.assert_all_dropped(5);
    assert!(!std::thread::panicking());
}

#[test]
fn kill_breaks_cycles_of_handles() {
    let _watch = watch();
    let tally = Tally::default();
    let root = Greenlet::<u64>::current();
    let slots: [Slot<u64>; 2] = Default::default();
    for i in 0..2 {
        let (other, root, token) = (slots[1 - i].clone(), root.clone(), tally.token());
        let g = Greenlet::new(move |n| {
            let _holds = (other.get().unwrap().clone(), token);
            root.switch(n)
        });
        slots[i].set(g).unwrap();
    }
    let both = slots.map(|slot| slot.get().unwrap().clone());
    for g in &both {
        g.switch(0);
    }
    let weak = both.each_ref().map(Greenlet::downgrade);
    drop(both);
    assert_eq!(tally.dropped(), 0);
    assert!(weak[0].upgrade().unwrap().kill());
    tally.assert_all_dropped(2);
}

#[test]
fn kill_says_what_it_could_not_do() {
    let _watch = watch();
    let foreign = in_another_tree(|n| n);
    let root = Greenlet::<u64>::current();
    foreign.set_parent(&root).unwrap_err();
    assert!(foreign.kill(), "one that has not begun can be killed from anywhere");
    assert!(!root.kill());
    let tally = Tally::default();
    let token = tally.token();
    let unstarted = Greenlet::new(move |n: u64| {
        drop(token);
        n
    });
    assert!(unstarted.kill() && unstarted.kill() && unstarted.is_dead());
    tally.assert_all_dropped(1);
    let parent = Greenlet::new({
        let root = root.clone();
        move |n| root.switch(n)
    });
    parent.switch(0);
    // An ancestor of the running one, which would become its child.
    let to_parent = parent.clone();
    let child = Greenlet::with_parent(&parent, move |_| u64::from(to_parent.kill()));
    assert_eq!(child.switch(0), 0);
    assert!(parent.is_dead(), "the child's value went there");
    // One that swallows its exit, and sends a value to whoever kills.
    let stubborn = Greenlet::new(move |n| {
        _ = catch(|| root.switch(n));
        root.switch(1);
        2
    });
    stubborn.switch(0);
    assert!(!stubborn.kill());
    assert!(stubborn.is_active());
    assert_eq!(stubborn.switch(0), 2);
}

#[test]
fn a_killed_one_that_ends_later_fails_its_parent_for_want_of_a_value() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let g = Greenlet::new(move |n| {
        let exit = catch(|| root.switch(n)).unwrap_err();
        root.switch(1);
        osier::resume_unwind(exit)
    });
    g.switch(0);
    assert!(!g.kill());
    let expected = "a greenlet was killed and has no value for its parent, which waits for one";
    assert_eq!(panic_text(|| g.switch(0)), expected);
    assert!(g.is_dead());
}

#[test]
fn weak_handles_do_not_keep_alive() {
    let _watch = watch();
    let g = Greenlet::new(|n: u64| n);
    let weak = g.downgrade();
    assert_eq!(weak.upgrade(), Some(g.clone()));
    drop(g);
    assert!(weak.clone().upgrade().is_none());
    // A running one that nobody holds can still be found by itself.
    let found = Rc::new(Cell::new(false));
    let flag = found.clone();
    Greenlet::new(move |()| flag.set(Greenlet::<()>::current().downgrade().upgrade().is_some())).switch(());
    assert!(found.get());
}

/// Memory that this process has mapped and touched, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

// GL-073, GL-074: in a process of its own, for its memory is measured.
#[test]
fn memory_reaches_a_plateau() {
    let _watch = watch();
    if cfg!(osier_asan) || miri_cannot("start a process") {
        // The sanitizer keeps what was freed, and 700 KiB of its own beside each coroutine.
        return;
    }
    common::assert_ended_well(&common::run_program("plateau"));
}

fn plateau() {
    let exits = Rc::new(Cell::new(0));
    let round = |count: usize| {
        for n in 0..rounds(10_000) as u64 {
            assert_eq!(Greenlet::new(|n: u64| n + 1).switch(n), n + 1);
        }
        let root = Greenlet::<u64>::current();
        let suspended: Vec<_> = (0..count)
            .map(|_| {
                let (root, exits) = (root.clone(), exits.clone());
                let body = move |n| {
                    let _at_exit = OnDrop(|| exits.set(exits.get() + 1));
                    root.switch(n)
                };
                let g = Greenlet::builder(body).stack_size(16 * 1024).build();
                g.switch(0);
                g
            })
            .collect();
        drop(suspended);
        assert_eq!(exits.replace(0), count);
        resident()
    };
    let count = levels(20_000);
    round(count);
    let (second, third, fourth) = (round(count), round(count), round(count));
    let most = second + second / 20;
    assert!(third <= most && fourth <= most, "KiB resident: {second}, {third}, {fourth}");
}

// GL-085: no stack to be had.
#[test]
fn without_a_stack_a_switch_changes_nothing() {
    let _watch = watch();
    if common::OWN_THREADS || cfg!(osier_asan) || miri_cannot("start a process") {
        // The memory is not reserved, and a thread that cannot be had is not an error there. The sanitizer ends a process
        // in which it gets no memory itself.
        return;
    }
    common::assert_ended_well(&common::run_program("no stack"));
}

fn no_stack() {
    const HUGE: usize = 1 << 30;
    let tally = Tally::default();
    let token = tally.token();
    let body = move |n: u64| {
        drop(token);
        n + 1
    };
    let g = Greenlet::builder(body).stack_size(HUGE).build();
    let parent = Greenlet::builder(|n: u64| n).stack_size(HUGE).build();
    let child = Greenlet::with_parent(&parent, |n| n);
    // Something small runs before, so that what the crate needs once is there.
    assert_eq!(Greenlet::new(|n: u64| n).switch(1), 1);
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct is written.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut before) }, 0);
    let little = libc::rlimit { rlim_cur: 768 << 20, rlim_max: before.rlim_max };
    // SAFETY: the struct is read.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const little) }, 0);
    match g.try_switch(7) {
        Err(SwitchError::NoStack(7, _)) => {}
        other => panic!("{other:?}"),
    }
    assert!(panic_text(|| g.switch(7)).contains("no stack for a coroutine"));
    assert!(!g.is_active() && !g.is_dead());
    // A parent that cannot start passes the error on to its own.
    assert!(panic_text(|| child.switch(7)).starts_with("a greenlet ended and its parent cannot start: "));
    assert!(child.is_dead() && parent.is_dead());
    // SAFETY: the struct is read.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const before) }, 0);
    assert_eq!(tally.dropped(), 0);
    assert_eq!(g.switch(7), 8);
    tally.assert_all_dropped(1);
}

// H03, GL-058 in part: what only a thread-local holds is leaked at the thread's end, not unwound.
#[test]
fn a_greenlet_in_a_thread_local_is_leaked_at_the_threads_end() {
    if miri_cannot("walk its own stack, to find that the thread ends") {
        return;
    }
    let _watch = watch();
    thread_local! {
        static KEPT: RefCell<Option<Greenlet<u64>>> = const { RefCell::new(None) };
        static BORROWED: String = "borrowed".repeat(10);
    }
    let tally = Tally::default();
    let token = tally.token();
    let told = reports(|| {
        let thread = std::thread::spawn(move || {
            // Registered first, and so destroyed last.
            KEPT.with(|kept| assert!(kept.borrow().is_none()));
            let root = Greenlet::<u64>::current();
            let body = move |n| {
                let _token = token;
                BORROWED.with(|text| {
                    let _reads = OnDrop(|| assert_eq!(text.len(), 80));
                    root.switch(n)
                })
            };
            let g = Greenlet::builder(body).name("left at the end").build();
            g.switch(1);
            KEPT.set(Some(g));
        });
        thread.join().unwrap();
    });
    assert_eq!(tally.dropped(), 0);
    let leaks = told.iter().filter(|told| *told == "coroutine 'left at the end' did not end: its stack is leaked");
    assert_eq!(leaks.count(), 1, "{told:?}");
}

// H03: asked to end by name, and not by its drop.
#[test]
fn an_exit_thrown_in_a_thread_locals_destructor_is_refused() {
    struct AtEnd(Greenlet<u64>, Log);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            self.1.push(panic_text(|| self.0.throw_exit(2)));
            assert!(!self.0.kill() && self.0.is_active());
        }
    }
    thread_local! {
        static KEPT: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
        static BORROWED: String = "borrowed".repeat(10);
    }
    if miri_cannot("walk its own stack, to find that the thread ends") {
        return;
    }
    let _watch = watch();
    let (log, tally) = (Log::default(), Tally::default());
    let (told, token) = (log.clone(), tally.token());
    std::thread::spawn(move || {
        // The root ends after `KEPT`, and that after what the greenlet borrows.
        let root = Greenlet::<u64>::current();
        KEPT.set(None);
        let body = move |n| {
            let _token = token;
            BORROWED.with(|_text| root.switch(n))
        };
        let g = Greenlet::builder(body).name("asked at the end").build();
        g.switch(1);
        KEPT.set(Some(AtEnd(g, told)));
    })
    .join()
    .unwrap();
    let refused =
        "cannot end greenlet 'asked at the end' in the destructor of a thread-local: what it borrows may be gone";
    assert_eq!(log.take(), [refused]);
    assert_eq!(tally.dropped(), 0);
}

#[test]
fn a_thread_that_is_past_its_end_can_still_run_greenlets() {
    struct AtEnd(Option<Greenlet<u64>>, std::sync::mpsc::Sender<(bool, u64)>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            let refused = self.0.as_ref().map(|g| g.try_switch(1));
            let sum = Greenlet::new(|n: u64| Greenlet::new(move |m: u64| m + n).switch(40)).switch(2);
            self.1.send((matches!(refused, Some(Err(SwitchError::RootEnded(1)))), sum)).unwrap();
        }
    }
    thread_local!(static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) });
    let _watch = watch();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Registered before the thread is a root, and so destroyed after that has ended.
        AT_END.set(None);
        let root = Greenlet::<u64>::current();
        let g = Greenlet::new(move |n| root.switch(n));
        g.switch(1);
        AT_END.set(Some(AtEnd(Some(g), sender)));
    })
    .join()
    .unwrap();
    assert_eq!(receiver.recv(), Ok((true, 42)));
}

// GL-059: what the thread itself holds is unwound before it ends.
#[test]
fn a_greenlet_that_the_thread_holds_is_unwound_before_it_ends() {
    let _watch = watch();
    let tally = Tally::default();
    let token = tally.token();
    std::thread::spawn(move || {
        let root = Greenlet::<u64>::current();
        let g = Greenlet::new(move |n| {
            let _finally = token;
            root.switch(n)
        });
        g.switch(1);
    })
    .join()
    .unwrap();
    tally.assert_all_dropped(1);
}

// ---- what can be asked

// GL-086
#[test]
fn debug_and_state_tell_where_it_is() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let g = Greenlet::builder({
        let root = root.clone();
        move |n| {
            let me = Greenlet::<u64>::current();
            assert!(me.is_active() && format!("{me:?}").contains("Active"));
            root.switch(n)
        }
    })
    .name("counter")
    .build();
    let states = |g: &Greenlet<u64>| (g.is_active(), g.is_dead());
    assert_eq!((g.name(), states(&g)), ("counter", (false, false)));
    assert_eq!(format!("{g:?}"), r#"Greenlet { name: "counter", state: New, .. }"#);
    g.switch(0);
    assert_eq!(states(&g), (true, false));
    assert!(format!("{g:?}").contains("Suspended"));
    g.switch(0);
    assert_eq!(states(&g), (false, true));
    assert!(format!("{g:?}").contains("Dead"));
    assert_eq!(states(&root), (true, false));
    assert!(Greenlet::new(|n: u64| n).name().contains("debug_and_state"));
}

#[test]
fn builders_say_what_they_make_and_travel_when_their_body_does() {
    let _watch = watch();
    let builder = Greenlet::builder(|n: u32| n + 1).name("adder").stack_size(1);
    assert_eq!(format!("{builder:?}"), r#"Builder { name: "adder", stack_size: 16384, .. }"#);
    let sum = std::thread::spawn(move || builder.build().switch(1)).join().unwrap();
    assert_eq!(sum, 2);
}

// ---- trees

#[test]
fn greenlets_of_another_tree_are_refused() {
    let _watch = watch();
    let foreign = in_another_tree(|n| n + 1);
    let error = foreign.try_switch(5).unwrap_err();
    assert!(matches!(error, SwitchError::OtherTree(5)));
    assert_eq!(error.to_string(), "cannot switch to a greenlet of another tree");
    assert_eq!(error.into_inner(), 5);
    assert!(panic_text(|| foreign.switch(5)).ends_with("cannot switch to a greenlet of another tree"));
    assert!(panic_text(|| foreign.throw_exit(5)).ends_with("cannot switch to a greenlet of another tree"));
    assert!(!foreign.is_dead());
}

#[test]
fn a_tree_inside_a_greenlet_of_another_type_has_its_own_root() {
    let _watch = watch();
    let outer_root = Greenlet::<u64>::current();
    let outer = Greenlet::new({
        let outer_root = outer_root.clone();
        move |n| {
            let inner_root = Greenlet::<String>::current();
            assert!(inner_root.parent().is_none());
            let inner = Greenlet::new({
                let (inner_root, outer_root) = (inner_root.clone(), outer_root.clone());
                move |text: String| {
                    // From here, the outer tree's running greenlet is the one that this tree is in.
                    let outer = Greenlet::<u64>::current();
                    assert_eq!(outer.parent(), Some(outer_root.clone()));
                    let n = outer_root.switch(text.len() as u64);
                    let text = inner_root.switch(format!("{text} {n}"));
                    format!("{text}!")
                }
            });
            assert_eq!(inner.switch(format!("{n}xx")), "3xx 40");
            // The tree goes with its root, and what is in it is unwound when dropped.
            inner.switch("end".to_owned()).len() as u64
        }
    });
    assert_eq!(outer.switch(3), 3);
    // The inner greenlet is parked in the outer one, which goes on where it was.
    assert_eq!(Greenlet::<String>::current().parent(), None);
    assert_eq!(outer.switch(40), 4);
}

#[test]
fn what_is_seen_does_not_depend_on_who_was_resumed_on_top_of_whom() {
    let _watch = watch();
    let sibling: Slot<u64> = Rc::default();
    let first = Greenlet::new({
        let sibling = sibling.clone();
        move |n| {
            let inner = Greenlet::new(move |()| {
                // Resumed on top of this inner greenlet, the sibling is none of its tree.
                assert_eq!(sibling.get().unwrap().switch(n), 1);
            });
            inner.switch(());
            assert!(inner.is_dead());
            7
        }
    });
    let seen: Rc<RefCell<Vec<Greenlet<()>>>> = Rc::default();
    sibling
        .set(Greenlet::new({
            let (first, seen) = (first.clone(), seen.clone());
            move |_| {
                seen.borrow_mut().push(Greenlet::<()>::current());
                assert!(Greenlet::<()>::current().parent().is_none());
                first.switch(1)
            }
        }))
        .unwrap();
    assert_eq!(first.switch(5), 7);
    let own_root = seen.borrow_mut().pop().unwrap();
    assert!(own_root.is_active() && own_root != Greenlet::current());
    // That root is the suspended sibling, and ends with it.
    assert!(sibling.get().unwrap().kill());
    assert!(own_root.is_dead());
}

#[test]
fn when_a_root_has_ended_its_tree_can_only_be_dropped() {
    let _watch = watch();
    let tally = Tally::default();
    let (suspended, unstarted, dead): (Slot<u64>, Slot<u64>, Slot<u64>) = Default::default();
    let roots: Slot<u64> = Rc::default();
    let holder = Greenlet::new({
        let (suspended, unstarted, dead, roots) = (suspended.clone(), unstarted.clone(), dead.clone(), roots.clone());
        let tally = tally.clone();
        move |()| {
            let root = Greenlet::<u64>::current();
            roots.set(root.clone()).unwrap();
            let token = tally.token();
            suspended
                .set(Greenlet::new(move |n| {
                    let _token = token;
                    root.switch(n)
                }))
                .unwrap();
            let token = tally.token();
            unstarted
                .set(Greenlet::new(move |n| {
                    drop(token);
                    n
                }))
                .unwrap();
            dead.set(Greenlet::new(|n| n)).unwrap();
            suspended.get().unwrap().switch(1);
            dead.get().unwrap().switch(1);
        }
    });
    holder.switch(());
    assert!(holder.is_dead() && roots.get().unwrap().is_dead() && !roots.get().unwrap().is_active());
    for left in [&suspended, &unstarted, &dead, &roots] {
        let left = left.get().unwrap();
        assert!(matches!(left.try_switch(5), Err(SwitchError::RootEnded(5))));
        assert!(panic_text(|| left.switch(5)).ends_with("cannot switch to a greenlet whose tree's root has ended"));
    }
    assert!(!suspended.get().unwrap().kill());
    // A new tree has nothing to do with the old one.
    assert_eq!(Greenlet::new(|n: u64| n + 1).switch(1), 2);
    let child = Greenlet::with_parent(unstarted.get().unwrap(), |n| n);
    assert!(matches!(child.try_switch(5), Err(SwitchError::RootEnded(5))));
    drop(child);
    assert_eq!(tally.dropped(), 0);
    drop((Rc::into_inner(suspended), Rc::into_inner(unstarted)));
    tally.assert_all_dropped(2);
}

#[test]
fn one_that_is_dropped_in_another_tree_is_unwound_there() {
    let _watch = watch();
    let log = Log::default();
    let foreign: Keep<u64> = Rc::default();
    let holders_root = Greenlet::<()>::current();
    let holder = Greenlet::new({
        let (foreign, log) = (foreign.clone(), log.clone());
        move |()| {
            let root = Greenlet::<u64>::current();
            let former = root.clone();
            let g = Greenlet::new(move |n| {
                let _at_exit = OnDrop(|| {
                    let parent = Greenlet::<u64>::current().parent().unwrap();
                    log.push(format!("child of another: {}", parent != former && parent.parent().is_none()));
                    log.push(format!("former root: {:?}", former.try_switch(1).map_err(SwitchError::into_inner)));
                    log.push(format!("new root: {}", parent.switch(7)));
                });
                root.switch(n)
            });
            g.switch(0);
            *foreign.borrow_mut() = Some(g);
            holders_root.switch(());
        }
    });
    holder.switch(());
    let weak = foreign.borrow().as_ref().unwrap().downgrade();
    drop(foreign.take());
    let root = Greenlet::<u64>::current();
    assert_eq!(log.take(), ["child of another: true", "former root: Err(1)"]);
    // It switched to the dropper while it unwound, so it was not ended; it is of that tree now.
    let g = weak.upgrade().unwrap();
    assert!(g.is_active());
    let expected = "a greenlet was killed and has no value for its parent, which waits for one";
    assert_eq!(panic_text(|| g.switch(3)), expected);
    assert_eq!(log.take(), ["new root: 3"]);
    assert!(g.is_dead() && g.parent() == Some(root));
}

// ---- generators in between

#[test]
fn greenlets_switch_from_inside_generators() {
    let _watch = watch();
    let root = Greenlet::<u64>::current();
    let other = echo();
    let mut items = Generator::new({
        let other = other.clone();
        move |y: &Yielder<u64>| {
            for n in 0..3 {
                // A generator is part of whoever resumed it: that one is switched back to.
                y.yield_(other.switch(n * 10));
            }
        }
    });
    assert_eq!(items.next(), Some(1));
    let items = Rc::new(RefCell::new(items));
    let g = Greenlet::new({
        let items = items.clone();
        move |n| items.borrow_mut().next().unwrap() + n
    });
    // Now it is part of `g`; but the other one switches to the root, which gets the value.
    assert_eq!(g.switch(100), 11);
    assert!(items.try_borrow().is_err());
    // `g` waits in the generator, in the switch.
    assert_eq!(g.switch(50), 150);
    assert!(g.is_dead());
    assert_eq!(items.borrow_mut().next(), Some(21));
    assert_eq!(items.borrow_mut().next(), None);
    assert_eq!(root.switch(1), 1);
}

#[test]
fn generators_are_resumed_in_greenlets_and_go_on_in_others() {
    let _watch = watch();
    let numbers = Rc::new(RefCell::new(Generator::new(|y: &Yielder<u64>| (1..100).for_each(|n| y.yield_(n)))));
    let root = Greenlet::<u64>::current();
    let takers: Vec<_> = (0..3)
        .map(|_| {
            let (numbers, root) = (numbers.clone(), root.clone());
            Greenlet::new(move |_: u64| {
                loop {
                    let n = numbers.borrow_mut().next().unwrap();
                    root.switch(n);
                }
            })
        })
        .collect();
    let taken: Vec<_> = (0..9).map(|i| takers[i % 3].switch(0)).collect();
    assert_eq!(taken, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_generator_closed_from_outside_unwinds_the_greenlets_parked_in_it() {
    let _watch = watch();
    let log = Log::default();
    let (mut items, _parked) = parked(&log);
    assert_eq!(items.next(), Some(1));
    drop(items);
    assert_eq!(log.take(), ["greenlet", "generator"]);
}

/// A generator that yields 1 from a greenlet on top of it, 2 from itself with what that greenlet ends with, and so on.
///
/// The greenlet is in the cell meanwhile. `Yielder` is lent to the body alone, and a greenlet's body borrows nothing; so
/// it gets at the yielder by a pointer.
fn parked(log: &Log) -> (Generator<u64>, Keep<u64>) {
    let log = log.clone();
    let parked = Rc::new(RefCell::new(None));
    let slot = parked.clone();
    let items = Generator::new(move |y: &Yielder<u64>| {
        let _in_generator = log.at_drop("generator");
        let yielder = std::ptr::from_ref(y);
        let inner = log.clone();
        let g = Greenlet::new(move |n: u64| {
            let _in_greenlet = inner.at_drop("greenlet");
            // SAFETY: the generator's body is below us and waits, so its yielder is alive.
            let y = unsafe { &*yielder };
            slot.replace(Some(Greenlet::current()));
            y.yield_(n);
            slot.replace(None);
            n + 1
        });
        let n = g.switch(1);
        y.yield_(n);
    });
    (items, parked)
}

#[test]
fn one_that_is_parked_in_a_suspended_generator_is_refused() {
    let _watch = watch();
    let log = Log::default();
    let root = Greenlet::<u64>::current();
    let (mut items, slot) = parked(&log);
    assert_eq!(items.next(), Some(1));
    let g = slot.take().unwrap();
    assert_eq!(Greenlet::<u64>::current(), root);
    assert!(g.is_active());
    let error = g.try_switch(5).unwrap_err();
    assert!(matches!(error, SwitchError::Parked(5)));
    let expected = "cannot switch to a greenlet that is parked inside a suspended coroutine";
    assert_eq!(error.to_string(), expected);
    assert!(panic_text(|| g.switch(5)).ends_with(expected));
    assert!(panic_text(|| g.throw_exit(5)).ends_with(expected));
    assert!(!g.kill());
    // A child of it can run, but has nobody to leave its value to.
    let child = Greenlet::with_parent(&g, |n| n);
    let expected = "a greenlet ended while its parent was parked inside a suspended coroutine";
    assert_eq!(panic_text(|| child.switch(1)), expected);
    let child = Greenlet::with_parent(&g, |_| throw(Boom(4)));
    assert_eq!(boom(catch(|| child.switch(1)).unwrap_err()), 4);
    // The others are as ever.
    assert_eq!(echo().switch(7), 8);
    assert_eq!(items.next(), Some(2));
    assert!(g.is_dead());
    assert_eq!(items.next(), None);
    assert_eq!(log.take(), ["greenlet", "generator"]);
}

#[test]
fn a_generator_that_goes_on_in_another_greenlet_takes_its_parked_ones_along() {
    let _watch = watch();
    let log = Log::default();
    let (mut items, slot) = parked(&log);
    assert_eq!(items.next(), Some(1));
    let weak = slot.take().unwrap().downgrade();
    let items = Rc::new(RefCell::new(items));
    let other = Greenlet::new({
        let (items, log) = (items.clone(), log.clone());
        move |n: u64| {
            let item = items.borrow_mut().next();
            log.push(format!("{item:?}"));
            n + 1
        }
    });
    // The parked one ends on top of the generator, which is part of `other` now. Its value goes to its parent, the
    // root, below: so `other` suspends, with the generator in it.
    assert_eq!(other.switch(100), 2);
    assert!(weak.upgrade().is_none_or(|g| g.is_dead()));
    assert!(items.try_borrow().is_err());
    // A value for `other` comes out of the switch in the generator's body: that is where `other` waits.
    assert_eq!(other.switch(30), 101);
    assert_eq!(log.take(), ["greenlet", "Some(30)"]);
    assert_eq!(items.borrow_mut().next(), None);
    assert_eq!(log.take(), ["generator"]);
}

#[test]
fn one_whose_tree_does_not_run_where_its_generator_goes_on_ends_with_an_error_there() {
    let _watch = watch();
    let log = Log::default();
    let items = Rc::new(RefCell::new(None));
    // The tree is that of a greenlet of another type, which is suspended when the generator goes on outside.
    let root = Greenlet::<()>::current();
    let slot = Rc::new(RefCell::new(None));
    let holder = Greenlet::new({
        let (items, slot, log) = (items.clone(), slot.clone(), log.clone());
        move |()| {
            let (mut made, parked) = parked(&log);
            assert_eq!(made.next(), Some(1));
            *items.borrow_mut() = Some(made);
            slot.replace(parked.take());
            root.switch(());
        }
    });
    holder.switch(());
    let g = slot.take().unwrap();
    let mut items = items.take().unwrap();
    let expected = "a greenlet ended while its parent was parked inside a suspended coroutine";
    assert_eq!(panic_text(|| items.next()), expected);
    assert!(g.is_dead());
    assert_eq!(log.take(), ["greenlet", "generator"]);
    holder.switch(());
    assert!(holder.is_dead());
}

// ---- generators built on greenlets

/// A generator as greenlets make one: whoever asks for an item becomes its parent.
struct Items<T: 'static> {
    g: Greenlet<Option<T>>,
    /// An inner one that handed an item past this one, and is to be asked for the next.
    inner: Rc<Cell<Option<Greenlet<Option<T>>>>>,
}

impl<T: 'static> Items<T> {
    fn new(body: impl FnOnce() + 'static) -> Self {
        let g = Greenlet::new(move |_| {
            body();
            None
        });
        Self { g, inner: Rc::default() }
    }
}

impl<T: 'static> Iterator for Items<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.g.is_dead() {
            return None;
        }
        if let Some(inner) = self.inner.take() {
            return inner.switch(None);
        }
        self.g.set_parent(&Greenlet::current()).unwrap();
        self.g.switch(None)
    }
}

/// Hands an item to whoever asked for it: a parent of the running greenlet.
fn hand<T: 'static>(item: T) {
    let parent = Greenlet::<Option<T>>::current().parent().expect("`hand` outside of `Items`");
    parent.switch(Some(item));
}

// GL-097: a plain generator, one of greenlets, and a helper that the body calls, from any depth.
#[test]
fn a_deep_yield_works_like_a_plain_one() {
    let _watch = watch();
    fn helper(log: &Log, n: u64) {
        log.push(format!("seen {n}"));
        hand(n);
    }
    let run = |items: Box<dyn FnOnce(Log) -> Box<dyn Iterator<Item = u64>>>| {
        let log = Log::default();
        for n in items(log.clone()) {
            log.push(format!("item {n}"));
        }
        log.take()
    };
    let plain = run(Box::new(|log| {
        Box::new(Generator::new(move |y: &Yielder<u64>| {
            for n in 0..5 {
                log.push(format!("seen {n}"));
                y.yield_(n);
            }
        }))
    }));
    let direct = run(Box::new(|log| {
        Box::new(Items::new(move || {
            for n in 0..5u64 {
                log.push(format!("seen {n}"));
                hand(n);
            }
        }))
    }));
    let deep = run(Box::new(|log| Box::new(Items::new(move || (0..5).for_each(|n| helper(&log, n))))));
    assert_eq!(plain.len(), 10);
    assert_eq!(direct, plain);
    assert_eq!(deep, plain);
}

// GL-098: the inner one hands `i` to its consumer and `i * i` two levels up.
#[test]
fn layers_of_generators_hand_items_past_each_other() {
    let _watch = watch();
    let inner_of_outer: Rc<Cell<Option<Greenlet<Option<u64>>>>> = Rc::default();
    let mut outer = Items::new({
        let past = inner_of_outer.clone();
        move || {
            let inner = Items::new(move || {
                for i in 1..5 {
                    hand(i);
                    let me = Greenlet::<Option<u64>>::current();
                    past.set(Some(me.clone()));
                    me.parent().unwrap().parent().unwrap().switch(Some(i * i));
                }
            });
            inner.for_each(hand::<u64>);
        }
    });
    outer.inner = inner_of_outer;
    assert_eq!(outer.collect::<Vec<_>>(), [1, 1, 2, 4, 3, 9, 4, 16]);
}

// GL-100
#[test]
fn recursive_permutations_interleave() {
    let _watch = watch();
    fn permutations(rest: Vec<u32>) -> Items<Vec<u32>> {
        Items::new(move || {
            if rest.len() <= 1 {
                hand(rest);
                return;
            }
            for (place, &first) in rest.iter().enumerate() {
                let others = [&rest[..place], &rest[place + 1..]].concat();
                permutations(others).for_each(|shorter| hand([vec![first], shorter].concat()));
            }
        })
    }
    let all: Vec<_> = permutations((1..5).collect()).collect();
    assert_eq!(all.len(), 24);
    assert!(all.is_sorted_by(|earlier, later| earlier < later));
    let pairs: Vec<_> = permutations((1..5).collect()).zip(permutations((1..4).collect())).collect();
    assert_eq!(pairs.len(), 6);
    assert_eq!(pairs[0], (vec![1, 2, 3, 4], vec![1, 2, 3]));
    assert_eq!(pairs[5], (vec![1, 4, 3, 2], vec![3, 2, 1]));
}

// GL-101
#[test]
fn a_yield_outside_is_an_error() {
    let _watch = watch();
    assert_eq!(panic_text(|| hand(1u64)), "`hand` outside of `Items`");
    let y = Rc::new(Cell::new(std::ptr::null::<Yielder<u64>>()));
    let mut items = Generator::new({
        let y = y.clone();
        move |yielder: &Yielder<u64>| {
            y.set(yielder);
            yielder.yield_(1);
        }
    });
    assert_eq!(items.start().unwrap(), Step::Yielded(1));
    // SAFETY: the generator is suspended, so its body's frame is there.
    let y = unsafe { &*y.get() };
    let g = Greenlet::new(move |n: u64| panic_text(|| y.yield_(n)).len() as u64);
    assert!(g.switch(1) > 1);
}

// ---- in tasks

#[cfg(feature = "runtime")]
mod tasks {
    use super::*;
    use osier::sync::channel;
    use osier::{Runtime, spawn, yield_now};

    fn run(f: impl FnOnce() + Send) {
        Runtime::builder().workers(2).build().unwrap().run(f);
    }

    #[test]
    fn a_task_is_a_root_and_waits_with_all_its_greenlets() {
        let _watch = watch();
        run(|| {
            let tasks: Vec<_> = (0..50)
                .map(|i| {
                    spawn(move || {
                        let root = Greenlet::<u64>::current();
                        assert!(root.parent().is_none());
                        let g = Greenlet::new(move |mut n| {
                            loop {
                                yield_now();
                                n = root.switch(n + 1);
                            }
                        });
                        let last = (0..20).fold(i, |n, _| {
                            yield_now();
                            g.switch(n)
                        });
                        assert_eq!(Greenlet::<u64>::current().name(), "root");
                        last
                    })
                })
                .collect();
            for (i, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.join().unwrap(), i as u64 + 20);
            }
        });
    }

    #[test]
    fn greenlets_of_one_task_talk_to_those_of_another_by_channels() {
        let _watch = watch();
        run(|| {
            let (ask, asked) = channel::bounded::<u64>(1);
            let (answer, answered) = channel::bounded::<u64>(1);
            let server = spawn(move || {
                let double = Greenlet::new(move |first| {
                    for n in std::iter::once(first).chain(asked.iter()) {
                        answer.send(n * 2).unwrap();
                    }
                    0
                });
                double.switch(0)
            });
            let client = Greenlet::new(move |count| {
                assert_eq!(answered.recv(), Ok(0));
                for n in 1..=count {
                    ask.send(n).unwrap();
                    assert_eq!(answered.recv(), Ok(n * 2));
                }
                count
            });
            assert_eq!(client.switch(100), 100);
            assert_eq!(server.join().unwrap(), 0);
        });
    }

    // H11: inner frames first.
    #[test]
    fn a_cancelled_task_unwinds_the_greenlet_it_waits_in_and_then_the_others() {
        let _watch = watch();
        let log = Log::default();
        let (ready, wait) = std::sync::mpsc::channel();
        let seen = log.clone();
        run(move || {
            let task = spawn({
                let log = log.clone();
                move || {
                    let _task = log.at_drop("task");
                    let root = Greenlet::<u64>::current();
                    let suspended = Greenlet::new({
                        let log = log.clone();
                        move |n| {
                            let _suspended = log.at_drop("suspended");
                            root.switch(n)
                        }
                    });
                    suspended.switch(0);
                    let waiting = Greenlet::new(move |_: u64| {
                        let _waiting = log.at_drop("waiting");
                        let (_sender, receiver) = channel::bounded::<u64>(1);
                        ready.send(()).unwrap();
                        receiver.recv().unwrap()
                    });
                    waiting.switch(0);
                }
            });
            while wait.try_recv().is_err() {
                yield_now();
            }
            task.cancel();
            assert!(task.join().unwrap_err().is_cancelled());
        });
        assert_eq!(seen.take(), ["waiting", "suspended", "task"]);
    }

    #[test]
    fn a_panic_in_a_greenlet_ends_the_task_when_nobody_catches_it() {
        let _watch = watch();
        run(|| {
            let task = spawn(|| {
                let inner = Greenlet::new(|_: u64| throw(Boom(6)));
                let outer = Greenlet::new(move |n| inner.switch(n));
                outer.switch(1);
            });
            assert_eq!(boom(task.join().unwrap_err().into_panic().unwrap()), 6);
        });
    }

    /// What the tasks of one worker leave for each other: each test has its own, and one worker.
    struct Left(RefCell<Vec<Greenlet<u64>>>);

    // SAFETY: only the tasks of one worker look at it.
    unsafe impl Sync for Left {}

    impl Left {
        const fn new() -> Self {
            Self(RefCell::new(Vec::new()))
        }
    }

    #[test]
    fn what_a_task_leaves_behind_can_only_be_dropped() {
        static LEFT: Left = Left::new();
        let _watch = watch();
        let tally = Tally::default();
        let counted = tally.clone();
        Runtime::builder().workers(1).build().unwrap().run(move || {
            let token = tally.token();
            let leaver = spawn(move || {
                let root = Greenlet::<u64>::current();
                let g = Greenlet::new({
                    let root = root.clone();
                    move |n| {
                        let _token = token;
                        root.switch(n)
                    }
                });
                g.switch(1);
                LEFT.0.replace(vec![g, root]);
            });
            leaver.join().unwrap();
            // Another task on the same worker, and maybe on the same stack.
            let finder = spawn(move || {
                let [g, root]: [_; 2] = LEFT.0.take().try_into().unwrap();
                assert!(root.is_dead() && g.is_active());
                assert!(matches!(g.try_switch(5), Err(SwitchError::RootEnded(5))));
                assert!(matches!(root.try_switch(5), Err(SwitchError::RootEnded(5))));
                assert!(Greenlet::<u64>::current() != root);
                assert_eq!(tally.dropped(), 0);
                drop(g);
                tally.assert_all_dropped(1);
            });
            finder.join().unwrap();
        });
        counted.assert_all_dropped(1);
    }

    #[test]
    fn another_tasks_greenlets_are_another_tree() {
        static LEFT: Left = Left::new();
        let _watch = watch();
        Runtime::builder().workers(1).build().unwrap().run(|| {
            let (go, wait) = channel::bounded::<()>(1);
            let owner = spawn(move || {
                let root = Greenlet::<u64>::current();
                let g = Greenlet::new(move |n| root.switch(n + 1));
                g.switch(1);
                LEFT.0.replace(vec![g.clone(), Greenlet::current()]);
                wait.recv().unwrap();
                g.switch(41)
            });
            while LEFT.0.borrow().is_empty() {
                yield_now();
            }
            let user = spawn(|| {
                for foreign in LEFT.0.take() {
                    assert!(matches!(foreign.try_switch(5), Err(SwitchError::OtherTree(5))));
                    assert!(!foreign.kill());
                }
                assert_eq!(Greenlet::new(|n: u64| n * 2).switch(4), 8);
            });
            user.join().unwrap();
            go.send(()).unwrap();
            assert_eq!(owner.join().unwrap(), 41);
        });
    }
}

// ---- against a model

/// What a greenlet wakes up with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wake {
    Value(u64),
    Panic(u64),
    Exit(u64),
}

/// A greenlet in the model; 0 is the root.
type Id = usize;

/// What must hold by the rules alone, whoever was resumed by whom: who is alive, whose parent is whose, and the one
/// wake-up that is under way.
#[derive(Default)]
struct Model {
    parents: HashMap<Id, Id>,
    dead: Vec<bool>,
    expected: Option<(Id, Wake)>,
    steps: u64,
    deaths: [u64; 4],
}

impl Model {
    /// The one that gets what comes for `id`.
    fn taker(&self, mut id: Id) -> Id {
        while self.dead[id] {
            id = self.parents[&id];
        }
        id
    }

    fn is_in_line(&self, ancestor: Id, mut id: Id) -> bool {
        while id != ancestor && id != 0 {
            id = self.parents[&id];
        }
        id == ancestor
    }

    fn expect(&mut self, id: Id, wake: Wake) {
        assert_eq!(self.expected.replace((self.taker(id), wake)), None);
    }

    #[track_caller]
    fn arrive(&mut self, id: Id, wake: Wake) {
        assert_eq!(self.expected.take(), Some((id, wake)));
    }

    fn die(&mut self, id: Id, how: usize) {
        assert!(!std::mem::replace(&mut self.dead[id], true));
        self.deaths[how] += 1;
    }
}

/// What all bodies share.
struct World {
    model: RefCell<Model>,
    random: RefCell<Random>,
    /// The greenlets that can be switched to, by place; the root stands outside.
    places: RefCell<Vec<(Id, Greenlet<u64>)>>,
    everyone: RefCell<Vec<Weak<u64>>>,
    started: Cell<u64>,
    ended: Cell<u64>,
}

const PLACES: usize = 20;

impl World {
    fn below(&self, end: u64) -> u64 {
        self.random.borrow_mut().below(end)
    }

    /// A random one of the greenlets that have a place.
    fn anyone(&self) -> (Id, Greenlet<u64>) {
        let places = self.places.borrow();
        places[self.place(places.len())].clone()
    }

    /// A random one of the greenlets that have a place, or the root.
    fn anyone_or_root(&self) -> (Id, Greenlet<u64>) {
        let place = self.place(PLACES + 1);
        let root = || (0, self.everyone.borrow()[0].upgrade().unwrap());
        self.places.borrow().get(place).cloned().unwrap_or_else(root)
    }

    fn place(&self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }

    /// Puts a new greenlet in a place; a handle to the former one goes, maybe the last.
    fn replace(self: &Rc<Self>, place: usize) {
        let (parent, handle) = self.anyone_or_root();
        let id = {
            let mut model = self.model.borrow_mut();
            model.dead.push(false);
            let id = model.dead.len() - 1;
            model.parents.insert(id, parent);
            id
        };
        let world = self.clone();
        let body = move |n| body(&world, id, n);
        let g = Greenlet::builder(body).name(id.to_string()).build_with_parent(&handle);
        self.everyone.borrow_mut().push(g.downgrade());
        let former = std::mem::replace(&mut self.places.borrow_mut()[place], (id, g));
        drop(handle);
        drop(former);
    }

    fn gives_another_parent(&self) {
        let ((id, g), (parent, handle)) = (self.anyone(), self.anyone_or_root());
        let result = g.set_parent(&handle);
        let mut model = self.model.borrow_mut();
        if model.is_in_line(id, parent) {
            assert_eq!(result, Err(ParentError::Cycle));
        } else {
            assert_eq!(result, Ok(()));
            model.parents.insert(id, parent);
        }
    }

    /// One step of `me`: something that ends with a wake-up of `me`, or never comes back.
    fn step(self: &Rc<Self>, me: Id) {
        assert_eq!(Greenlet::<u64>::current().name(), if me == 0 { "root".to_owned() } else { me.to_string() });
        let token = {
            let mut model = self.model.borrow_mut();
            model.steps += 1;
            model.steps * 7
        };
        match self.below(100) {
            0..4 => return self.replace(self.place(PLACES)),
            4..8 => return self.gives_another_parent(),
            8..12 if me != 0 => {
                self.model.borrow_mut().expect(me, Wake::Exit(token));
                greenlet::exit(token);
            }
            _ => {}
        }
        let (id, g) = self.anyone_or_root();
        let exits = id != 0 && self.below(25) == 0;
        if exits {
            let mut model = self.model.borrow_mut();
            let begun = g.is_active();
            if begun && !model.dead[id] {
                model.expect(id, Wake::Exit(token));
            } else {
                if !model.dead[id] {
                    model.die(id, 3);
                }
                model.expect(id, Wake::Value(token));
            }
        } else {
            self.model.borrow_mut().expect(id, Wake::Value(token));
        }
        let call = move || if exits { g.throw_exit(token) } else { g.switch(token) };
        let got = catch(|| {
            if token % 3 == 0 {
                // From inside a generator that is part of us; and sometimes from two.
                let twice = token % 2 == 0;
                let mut items = Generator::new(move |y: &Yielder<u64>| {
                    if twice {
                        let mut inner = Generator::new(move |y: &Yielder<u64>| y.yield_(call()));
                        y.yield_(inner.next().unwrap());
                    } else {
                        y.yield_(call());
                    }
                });
                items.next().unwrap()
            } else {
                call()
            }
        });
        match got {
            Ok(n) => self.model.borrow_mut().arrive(me, Wake::Value(n)),
            Err(payload) => {
                let n = boom(payload);
                self.model.borrow_mut().arrive(me, Wake::Panic(n));
            }
        }
    }
}

/// Lives on a body's stack: notes how it ends, if by an unwind.
struct End {
    world: Rc<World>,
    id: Id,
    returns: bool,
}

impl Drop for End {
    fn drop(&mut self) {
        self.world.ended.set(self.world.ended.get() + 1);
        if self.returns {
            return;
        }
        let (world, id) = (&self.world, self.id);
        let mut model = world.model.borrow_mut();
        if let Some((exiting, Wake::Exit(token))) = model.expected
            && exiting == id
        {
            model.expected = None;
            model.die(id, 0);
            model.expect(id, Wake::Value(token));
        } else {
            // Nobody can have a handle; what is under way for others stays so.
            assert!(world.places.borrow().iter().all(|(other, _)| *other != id), "{id} was unwound, but has a place");
            model.die(id, 1);
        }
    }
}

fn body(world: &Rc<World>, me: Id, first: u64) -> u64 {
    world.started.set(world.started.get() + 1);
    let mut end = End { world: world.clone(), id: me, returns: false };
    world.model.borrow_mut().arrive(me, Wake::Value(first));
    loop {
        world.step(me);
        let dies = world.below(60);
        if dies < 2 {
            let mut model = world.model.borrow_mut();
            model.die(me, 2);
            end.returns = true;
            model.steps += 1;
            let token = model.steps * 7;
            let wake = if dies == 0 { Wake::Panic(token) } else { Wake::Value(token) };
            let mut taker = me;
            if dies == 0 {
                // A panic ends those on its way that have not begun.
                loop {
                    taker = model.taker(taker);
                    if taker == 0 || world.everyone.borrow()[taker].upgrade().unwrap().is_active() {
                        break;
                    }
                    model.die(taker, 3);
                }
            }
            model.expect(taker, wake);
            drop(model);
            match wake {
                Wake::Panic(token) => throw(Boom(token)),
                _ => return token,
            }
        }
    }
}

#[test]
fn random_switches_exits_panics_and_drops_agree_with_the_model() {
    let _watch = watch();
    const STEPS: u64 = match () {
        () if cfg!(miri) => 50,
        // A switch between threads takes a thousand times as long.
        () if common::OWN_THREADS => 20_000,
        () => 100_000,
    };
    let root = Greenlet::<u64>::current();
    let world = Rc::new(World {
        model: RefCell::default(),
        random: RefCell::new(Random::new()),
        places: RefCell::default(),
        everyone: RefCell::new(vec![root.downgrade()]),
        started: Cell::new(0),
        ended: Cell::new(0),
    });
    world.model.borrow_mut().dead.push(false);
    *world.places.borrow_mut() = (0..PLACES).map(|_| (0, root.clone())).collect();
    (0..PLACES).for_each(|place| world.replace(place));
    while world.model.borrow().steps < STEPS {
        world.step(0);
    }
    {
        let model = world.model.borrow();
        assert_eq!(model.expected, None);
        // So few steps as Miri can take leave it to chance who dies of what.
        assert!(cfg!(miri) || model.deaths.iter().all(|&deaths| deaths > STEPS / 2000), "{:?}", model.deaths);
        for (id, weak) in world.everyone.borrow().iter().enumerate() {
            if let Some(g) = weak.upgrade() {
                assert_eq!((g.is_dead(), id), (model.dead[id], id));
                assert_eq!(
                    g.parent(),
                    (id != 0).then(|| world.everyone.borrow()[model.parents[&id]].upgrade().unwrap())
                );
            }
        }
    }
    // Handles on each other's stacks are cycles: `kill` ends what dropping the places does not.
    drop(world.places.take());
    let everyone = world.everyone.borrow().clone();
    for g in everyone.iter().skip(1).filter_map(Weak::upgrade) {
        assert!(g.kill());
    }
    assert_eq!(world.started.get(), world.ended.get());
    assert!(everyone.iter().skip(1).all(|weak| weak.upgrade().is_none()), "some are not freed");
}
