//! The end of a runtime: from odd places, with threads that take their time, and what it says of what is left.

#![cfg(feature = "runtime")]

mod common;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use common::{FOR_EVER, OnDrop, Tally, assert_ended_well, hold_thread, ms, program, run_program, watch};
use osier::runtime::LocalRuntime;
use osier::sync::channel;
use osier::{Runtime, sleep, spawn, task, try_spawn};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// The programs. Each is run by a test below, which looks at how the process ended.
#[test]
fn in_a_process_of_its_own() {
    let Some(program) = program() else { return };
    let _watch = watch();
    match program.as_str() {
        "shut down twice" => shut_down_twice(),
        "spawn at exit" => spawn_at_exit(),
        "spawn at exit after a shutdown" => {
            osier::run(|| ());
            osier::shutdown(FOR_EVER).unwrap();
            spawn_at_exit();
        }
        other => panic!("no program '{other}'"),
    }
}

/// What is done when a thread ends.
type AtEnd = OnDrop<Box<dyn FnMut()>>;

thread_local! {
    static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
}

#[test]
fn smoke() {
    let _watch = watch();
    let tally = Tally::default();
    let runtime = runtime(2);
    let token = tally.token();
    let sleeper = runtime.spawn(move || {
        let _token = token;
        sleep(FOR_EVER);
    });
    runtime.shutdown(FOR_EVER).unwrap();
    assert!(sleeper.join().unwrap_err().is_cancelled());
    tally.assert_all_dropped(1);
}

#[test]
fn what_a_workers_thread_locals_do_at_its_end_may_need_the_worker_that_ends_it() {
    let _watch = watch();
    for by_shutdown in [false, true] {
        let (outer, inner) = (runtime(1), runtime(1));
        let (ask, asked) = channel::unbounded::<mpsc::Sender<()>>();
        let is_answered = Arc::new(AtomicBool::new(false));
        let answers = outer.spawn(move || asked.iter().for_each(|answer| answer.send(()).unwrap()));
        let answered = is_answered.clone();
        inner.run(move || {
            AT_END.set(Some(OnDrop(Box::new(move || {
                let (answer, answers) = mpsc::channel();
                ask.send(answer).unwrap();
                answers.recv().unwrap();
                answered.store(true, Ordering::SeqCst);
            }))));
        });
        outer.run(|| match by_shutdown {
            true => inner.shutdown(FOR_EVER).unwrap(),
            false => drop(inner),
        });
        assert!(is_answered.load(Ordering::SeqCst), "the thread was waited for");
        answers.join().unwrap();
    }
}

#[test]
fn a_runtime_is_shut_down_by_its_own_task_from_within_a_local_one() {
    let _watch = watch();
    for workers in [1, 2] {
        for depth in [1, 2] {
            let runtime = runtime(workers);
            let (hand_over, own) = channel::bounded::<Runtime>(1);
            let task = runtime.spawn(move || {
                let shut_down = || own.recv().unwrap().shutdown(FOR_EVER).is_ok();
                match depth {
                    1 => LocalRuntime::new().run(shut_down),
                    _ => LocalRuntime::new().run(|| LocalRuntime::new().run(shut_down)),
                }
            });
            hand_over.send(runtime).unwrap();
            // It may be told of the cancel before it returns, but it does not wait for itself.
            assert!(task.join().is_ok_and(|is_ok| is_ok));
        }
    }
}

#[test]
fn a_local_runtime_without_patience_ends_what_has_not_started() {
    let _watch = watch();
    let tally = Tally::default();
    let reports = common::reports(|| {
        let runtime = LocalRuntime::new();
        let tasks = [(); 3].map(|()| {
            let token = tally.token();
            runtime.spawn_local(move || drop(token))
        });
        runtime.shutdown(Duration::ZERO).unwrap();
        tally.assert_all_dropped(3);
        assert!(tasks.into_iter().all(|task| task.join().unwrap_err().is_cancelled()));
        // One that has started is left behind, and it alone.
        let runtime = LocalRuntime::new();
        let started = runtime.spawn_local(|| sleep(FOR_EVER));
        runtime.run_once(Duration::ZERO);
        let fresh = runtime.spawn_local(|| ());
        assert_eq!(runtime.shutdown(Duration::ZERO).unwrap_err().leaked(), 1);
        assert!(started.join().is_err() && fresh.join().is_err());
    });
    assert_eq!(reports.len(), 1, "{reports:?}");
}

#[test]
fn what_is_refused_when_the_deadline_has_passed_does_not_count_as_left() {
    let _watch = watch();
    let runtime = runtime(1);
    let tally = Tally::default();
    let (ready, is_ready) = channel::bounded(1);
    let holds = runtime.spawn({
        let tally = tally.clone();
        move || {
            let tasks = [(); 10].map(|()| {
                let token = tally.token();
                task::Builder::new().place(task::Place::Here).spawn(move || drop(token))
            });
            ready.send(tasks).unwrap();
            // Holds its worker until the runtime closes, and a little longer.
            while try_spawn(|| ()).is_ok() {
                hold_thread(ms(1));
            }
            hold_thread(ms(20));
        }
    });
    let tasks = is_ready.recv().unwrap();
    let ended = runtime.shutdown(Duration::ZERO);
    holds.join().unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    // They have run, or were refused.
    tasks.into_iter().for_each(|task| _ = task.join());
    tally.assert_all_dropped(10);
}

#[test]
fn a_shutdown_that_has_given_up_does_not_wait_again() {
    let _watch = watch();
    assert_ended_well(&run_program("shut down twice"));
}

// H38
#[test]
fn a_handler_that_runs_at_the_processs_exit_may_spawn() {
    let _watch = watch();
    let output = run_program("spawn at exit");
    assert_ended_well(&output);
    assert!(common::stderr(&output).contains("spawned, and joined 7"), "{}", common::stderr(&output));
    let output = run_program("spawn at exit after a shutdown");
    assert_ended_well(&output);
    let said = common::stderr(&output);
    assert!(said.contains("refused: cannot spawn: the runtime has shut down"), "{said}");
}

fn spawn_at_exit() {
    extern "C" fn handler() {
        match try_spawn(|| 7) {
            Ok(task) => eprintln!("spawned, and joined {}", task.join().unwrap()),
            Err(error) => eprintln!("refused: {error}"),
        }
    }
    // SAFETY: it is a function without arguments that does not unwind.
    assert_eq!(unsafe { libc::atexit(handler) }, 0);
}

fn shut_down_twice() {
    let reports = common::reports(|| {
        let (started, starts) = channel::bounded(1);
        drop(spawn(move || {
            started.send(()).unwrap();
            loop {
                hold_thread(ms(1000));
            }
        }));
        starts.recv().unwrap();
        assert_eq!(osier::shutdown(ms(1)).unwrap_err().leaked(), 1);
        let began = Instant::now();
        assert_eq!(osier::shutdown(ms(30_000)).unwrap_err().leaked(), 1);
        assert!(began.elapsed() < ms(20_000));
    });
    assert_eq!(reports.len(), 1, "{reports:?}");
}
