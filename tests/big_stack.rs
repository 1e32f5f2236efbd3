//! Deep calls on a lent stack: they have room, they do not wait, and what unwinds comes out as it went in.

#![cfg(feature = "runtime")]

mod common;

use std::hint::black_box;
use std::panic::{Location, catch_unwind, panic_any};

use common::{Log, OWN_THREADS, assert_died_of, levels, program, run_program, stderr, text, watch};
use osier::stack::{BIG_STACK_SIZE, MIN_STACK_SIZE};
use osier::task::{Builder, with_big_stack};
use osier::{Generator, Yielder, catch, catch_exit, no_suspend, raise, run, sleep, spawn, yield_now};

/// Calls itself, with a kilobyte of frame each time.
fn deep(calls: usize) -> usize {
    let frame = black_box([1_u8; 1024]);
    if calls == 0 { 0 } else { deep(calls - 1) + usize::from(frame[black_box(7)]) }
}

/// Three quarters of a big stack, were frames no larger than they say.
fn many() -> usize {
    levels(if cfg!(debug_assertions) { BIG_STACK_SIZE / 8192 } else { BIG_STACK_SIZE / 2048 })
}

#[test]
fn smoke() {
    let _watch = watch();
    let small = Builder::new().stack_size(MIN_STACK_SIZE * 2);
    assert_eq!(run(|| small.spawn(|| with_big_stack(|| deep(many()))).join().unwrap()), many());
    assert_eq!(with_big_stack(|| deep(many())), many(), "on a plain thread");
}

#[test]
fn it_may_borrow_and_its_value_moves_out() {
    let _watch = watch();
    run(|| {
        let words = vec![String::from("lent")];
        let copy = with_big_stack(|| words.clone());
        assert_eq!(words, copy);
    });
}

#[test]
fn panics_exceptions_and_exits_cross_it_with_their_payloads() {
    #[derive(Debug, PartialEq)]
    struct Payload(u32);
    let _watch = watch();
    let body = || {
        let log = Log::default();
        let panic = catch_unwind(|| {
            with_big_stack(|| {
                let _dropped = log.at_drop("dropped");
                panic_any(Payload(7))
            })
        });
        assert_eq!(*panic.unwrap_err().downcast::<Payload>().unwrap(), Payload(7));
        assert_eq!(log.take(), ["dropped"]);
        let raised = catch(|| -> () { with_big_stack(|| raise(std::fmt::Error)) }).unwrap_err();
        assert!(raised.is::<std::fmt::Error>());
        // What was caught inside is over: the task can be cancelled and suspended as before.
        with_big_stack(|| _ = catch_unwind(|| panic!("on purpose")));
        yield_now();
    };
    body();
    run(body);
    // An exit that began outside, and goes on from in there.
    run(|| {
        let ends = spawn(|| {
            osier::task::current().cancel();
            let exit = catch_exit(yield_now).unwrap_err();
            with_big_stack(|| exit.resume())
        });
        assert!(ends.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn who_waits_in_it_panics_and_is_told_where_it_was_opened() {
    let _watch = watch();
    let body = || {
        let line = Location::caller().line() + 1;
        let payload = catch_unwind(|| with_big_stack(|| sleep(common::ms(1)))).unwrap_err();
        assert!(text(&*payload).starts_with("cannot wait inside `no_suspend`"), "{}", text(&*payload));
        assert!(text(&*payload).contains(&format!("{}:{line}:", file!())), "{}", text(&*payload));
    };
    body();
    run(body);
}

#[test]
fn generators_inside_run_and_no_yield_leaves_it() {
    let _watch = watch();
    let mut g = Generator::new(|y: &Yielder<usize>| {
        y.yield_(with_big_stack(|| Generator::new(|y: &Yielder<usize>| y.yield_all(0..5)).sum()));
        with_big_stack(|| y.yield_(0));
    });
    assert_eq!(g.next(), Some(10));
    let payload = catch_unwind(std::panic::AssertUnwindSafe(|| g.next())).unwrap_err();
    assert!(text(&*payload).starts_with("cannot yield inside `no_suspend`"), "{}", text(&*payload));
}

#[test]
fn nested_it_stays_on_the_stack_that_it_has() {
    let _watch = watch();
    let address = || {
        let here = 0_u8;
        (&raw const here).addr()
    };
    run(|| {
        let (outer, inner) = with_big_stack(|| (address(), no_suspend(|| with_big_stack(address))));
        assert!(outer.abs_diff(inner) < BIG_STACK_SIZE);
        let first = with_big_stack(address);
        let again = with_big_stack(address);
        assert!(first.abs_diff(again) < 4096, "the worker keeps the stack");
    });
}

#[test]
fn an_overflow_names_the_task_and_ends_the_process() {
    if OWN_THREADS {
        return;
    }
    let _watch = watch();
    let output = run_program("too deep");
    assert_died_of(&output, libc::SIGABRT);
    let expected = format!("coroutine 'digger, on a big stack' overflowed its {} KiB stack", BIG_STACK_SIZE / 1024);
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
}

#[test]
fn in_a_process_of_its_own() {
    if program().is_some() {
        let digger = Builder::new().name("digger");
        run(|| digger.spawn(|| with_big_stack(|| deep(usize::MAX))).join().unwrap());
    }
}
