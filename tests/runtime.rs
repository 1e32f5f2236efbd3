//! Runtimes: running with what is borrowed, several at once, metrics, idling, shutting down.

#![cfg(feature = "runtime")]

mod common;

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    FOR_EVER, Log, OnDrop, Tally, assert_died_of, assert_ended_well, count_in_proc, cpu_time, hold_thread, ms,
    panic_text, program, run_program, run_program_with, stderr, until, watch,
};
use osier::sync::channel;
use osier::{JoinHandle, Runtime, run, sleep, spawn, task, try_spawn, yield_now};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// The programs. Each is run by a test below, which looks at how the process ended.
#[test]
fn in_a_process_of_its_own() {
    let Some(program) = program() else { return };
    let _watch = watch();
    match program.as_str() {
        "fresh behind a loop" => fresh_behind_a_loop(),
        "a loop without waits" => a_loop_without_waits(),
        "a borrower that stays" => a_borrower_that_stays(),
        "the default runtime shuts down" => the_default_runtime_shuts_down(),
        "nothing is left of many runtimes" => nothing_is_left_of_many_runtimes(),
        "idle" => idle(),
        "default workers" => default_workers(),
        "memory" => memory_stays_where_it_is(),
        "main returns" => drop(spawn(|| sleep(FOR_EVER))),
        other => panic!("no program '{other}'"),
    }
}

// ---- run

#[test]
fn runtimes_and_handles_go_anywhere() {
    fn check<T: Send + Sync>() {}
    check::<Runtime>();
    check::<JoinHandle<std::cell::Cell<u32>>>();
}

#[test]
fn smoke() {
    let _watch = watch();
    let runtime = runtime(2);
    assert_eq!(runtime.workers(), 2);
    assert_eq!(runtime.run(|| runtime.spawn(|| 6 * 7).join().unwrap()), 42);
    assert!(format!("{runtime:?}").contains("workers: 2"), "{runtime:?}");
    assert!(Runtime::new().unwrap().workers() >= 1);
    assert!(Runtime::builder().workers(0).build().unwrap().workers() >= 1);
}

#[test]
fn run_borrows_from_its_caller() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let text = String::from("borrowed");
        let mut written = Vec::new();
        let length = runtime.run(|| {
            written.push(text.len());
            yield_now();
            written.push(spawn(|| 1).join().unwrap());
            sleep(ms(1));
            &text[..3]
        });
        assert_eq!((length, written), ("bor", vec![8, 1]));
    }
}

#[test]
fn a_panic_in_run_comes_out_with_its_payload() {
    #[derive(Debug, PartialEq)]
    struct Payload(u32);
    let _watch = watch();
    let runtime = runtime(1);
    let tally = Tally::default();
    for waits in [false, true] {
        let token = tally.token();
        let payload = panic::catch_unwind(AssertUnwindSafe(|| {
            runtime.run(|| {
                let _token = token;
                if waits {
                    sleep(ms(1));
                }
                panic::panic_any(Payload(7));
            });
        }));
        assert_eq!(*payload.map(|()| 0).unwrap_err().downcast::<Payload>().unwrap(), Payload(7));
    }
    tally.assert_all_dropped(2);
    assert_eq!(runtime.run(|| 5), 5);
}

#[test]
fn run_in_a_task_of_the_same_runtime_waits_as_a_task() {
    let _watch = watch();
    let runtime = runtime(1);
    // On one worker: if `run` held it, nothing inside could run.
    let depth = runtime.run(|| runtime.run(|| 1 + runtime.run(|| 1 + runtime.run(|| spawn(|| 1).join().unwrap()))));
    assert_eq!(depth, 3);
    assert_eq!(run(|| run(|| run(|| 4))), 4);
    // Its neighbours run meanwhile.
    runtime.run(|| {
        let (go_on, goes_on) = channel::bounded(1);
        let neighbour = spawn(move || go_on.send(5).unwrap());
        assert_eq!(runtime.run(|| goes_on.recv().unwrap()), 5);
        neighbour.join().unwrap();
    });
}

// H46
#[test]
fn run_in_a_task_of_another_runtime_waits_as_a_task() {
    let _watch = watch();
    let (here, there) = (runtime(1), runtime(1));
    let sum = here.run(|| {
        let neighbour = spawn(|| {
            yield_now();
            1
        });
        let far = there.run(|| {
            let back = here.run(|| there.run(|| 100));
            back + spawn(|| 10).join().unwrap()
        });
        far + neighbour.join().unwrap()
    });
    assert_eq!(sum, 111);
}

// H46
#[test]
fn two_runtimes_join_each_others_tasks() {
    let _watch = watch();
    for workers in [1, 2] {
        let (a, b) = (Arc::new(runtime(workers)), Arc::new(runtime(workers)));
        // Each task joins one of the other runtime, down to the ground.
        fn across(depth: u32, here: Arc<Runtime>, there: Arc<Runtime>) -> u32 {
            if depth == 0 {
                return 0;
            }
            let (next_here, next_there) = (there.clone(), here.clone());
            1 + there.spawn(move || across(depth - 1, next_here, next_there)).join().unwrap()
        }
        let many: Vec<_> = (0..20)
            .map(|n| {
                let (here, there) = if n % 2 == 0 { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) };
                here.clone().spawn(move || across(50, here, there))
            })
            .collect();
        assert!(many.into_iter().all(|task| task.join().unwrap() == 50));
        // The tasks held the runtimes; the last of them may still be on its way out.
        until(|| Arc::strong_count(&a) == 1 && Arc::strong_count(&b) == 1);
    }
}

#[test]
fn spawn_in_a_task_goes_to_that_tasks_runtime() {
    let _watch = watch();
    let (one, two) = (runtime(1), runtime(2));
    for runtime in [&one, &two] {
        let before = runtime.metrics().ran();
        runtime.run(|| (0..10).for_each(|_| spawn(|| ()).join().unwrap()));
        assert_eq!(runtime.metrics().ran(), before + 11);
    }
    let three = runtime(3);
    assert!(three.run(|| spawn(task::worker).join().unwrap()).is_some_and(|index| index < 3));
    assert!(three.run(task::worker).is_some_and(|index| index < 3));
}

// ---- shutting down

#[test]
fn dropping_a_runtime_cancels_and_waits() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let log = Log::default();
        let (started, starts) = channel::bounded(1);
        let runtime = runtime(workers);
        let task = {
            let log = log.clone();
            runtime.spawn(move || {
                let _slow = OnDrop(|| {
                    sleep(ms(5));
                    log.push("unwound");
                });
                started.send(()).unwrap();
                sleep(FOR_EVER);
            })
        };
        starts.recv().unwrap();
        drop(runtime);
        assert_eq!(log.take(), ["unwound"]);
        assert!(task.join().unwrap_err().is_cancelled());
    }
}

// H45, smaller
#[test]
fn ten_thousand_suspended_tasks_are_unwound_by_a_drop() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let tally = Tally::default();
        let started = Arc::new(AtomicUsize::new(0));
        let (_sender, receiver) = channel::bounded::<()>(0);
        runtime.run(|| {
            for n in 0..10_000 {
                let (token, started, receiver) = (tally.token(), started.clone(), receiver.clone());
                drop(spawn(move || {
                    let _token = token;
                    started.fetch_add(1, Ordering::Relaxed);
                    match n % 3 {
                        0 => sleep(FOR_EVER),
                        1 => _ = receiver.recv(),
                        _ => loop {
                            sleep(ms(50));
                        },
                    }
                }));
            }
            until(|| started.load(Ordering::Relaxed) == 10_000);
        });
        assert_eq!(tally.dropped(), 0);
        // A hundred thousand in five seconds (`stress suspended=100_000`), and here as many for a tenth of them: debug builds, and
        // other tests beside.
        runtime.shutdown(ms(5000)).unwrap();
        tally.assert_all_dropped(10_000);
    }
}

#[test]
fn fresh_tasks_are_dropped_unrun_by_a_shutdown() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (tally, ran) = (Tally::default(), Arc::new(AtomicUsize::new(0)));
        let task = |tally: &Tally, ran: &Arc<AtomicUsize>| {
            let (token, ran) = (tally.token(), ran.clone());
            move || {
                let _token = token;
                ran.fetch_add(1, Ordering::Relaxed);
                sleep(FOR_EVER);
            }
        };
        let [begun, held] = [workers, workers + 1].map(|count| Arc::new(Barrier::new(count)));
        for _ in 0..workers {
            let (begun, held, ran, tally) = (begun.clone(), held.clone(), ran.clone(), tally.clone());
            drop(runtime.spawn(move || {
                // Every worker is held before there is anything to steal.
                begun.wait();
                (0..1000).for_each(|_| drop(spawn(task(&tally, &ran))));
                held.wait();
                // Holds its worker until the runtime closes, so that what it has spawned stays fresh.
                while try_spawn(|| ()).is_ok() {
                    hold_thread(ms(1));
                }
            }));
        }
        held.wait();
        let injected: Vec<_> = (0..100).map(|_| runtime.spawn(task(&tally, &ran))).collect();
        runtime.shutdown(FOR_EVER).unwrap();
        tally.assert_all_dropped(workers * 1000 + 100);
        // Some start before their worker sees that the runtime closes; they are cancelled in their wait.
        assert!(ran.load(Ordering::Relaxed) < 300, "{ran:?}");
        assert!(injected.into_iter().all(|task| task.join().unwrap_err().is_cancelled()));
    }
}

#[test]
fn tasks_spawned_while_a_runtime_closes_are_refused_and_come_back() {
    // H38
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (tally, log) = (Tally::default(), Log::default());
        let (started, starts) = channel::bounded(1);
        let (inner_tally, inner_log) = (tally.clone(), log.clone());
        drop(runtime.spawn(move || {
            let _tries = OnDrop(|| {
                let token = inner_tally.token();
                let error = try_spawn(move || drop(token)).unwrap_err();
                assert!(error.is_shutdown());
                inner_log.push(error.to_string());
                error.into_inner()();
                sleep(ms(1));
                let error = task::Builder::new().name("late").try_spawn(|| 7).unwrap_err();
                inner_log.push(format!("{error:?}"));
                assert_eq!(error.into_inner()(), 7);
            });
            started.send(()).unwrap();
            sleep(FOR_EVER);
        }));
        starts.recv().unwrap();
        runtime.shutdown(FOR_EVER).unwrap();
        let refused = "cannot spawn: the runtime has shut down";
        assert_eq!(log.take(), [refused.to_owned(), format!("SpawnError({refused})")]);
        tally.assert_all_dropped(1);
    }
}

#[test]
fn handles_outlive_their_runtime() {
    let _watch = watch();
    let runtime = runtime(2);
    let (value, panicked, suspended, detached) = (
        runtime.spawn(|| String::from("kept")),
        runtime.spawn(|| panic!("kept")),
        runtime.spawn(|| sleep(FOR_EVER)),
        runtime.spawn(|| sleep(FOR_EVER)),
    );
    until(|| value.is_finished() && panicked.is_finished());
    drop(runtime);
    assert!([suspended.is_finished(), detached.is_finished()] == [true, true]);
    detached.cancel();
    suspended.cancel();
    drop(detached);
    assert_eq!(value.join().unwrap(), "kept");
    assert_eq!(panicked.join().map(|()| 0).unwrap_err().to_string(), "task panicked: kept");
    assert!(suspended.join().unwrap_err().is_cancelled());
}

#[test]
fn who_waits_for_a_task_is_told_when_its_runtime_goes() {
    let _watch = watch();
    let (mine, other) = (runtime(1), runtime(1));
    let task = mine.spawn(|| sleep(FOR_EVER));
    let waits = other.spawn(move || task.join());
    let task = mine.spawn(|| sleep(FOR_EVER));
    let thread = thread::spawn(move || task.join());
    drop(mine);
    assert!(waits.join().unwrap().unwrap_err().is_cancelled());
    assert!(thread.join().unwrap().unwrap_err().is_cancelled());
}

#[test]
fn a_runtime_dropped_by_its_own_task_ends_without_waiting_for_itself() {
    let _watch = watch();
    for workers in [1, 2] {
        let (tally, log) = (Tally::default(), Log::default());
        let runtime = runtime(workers);
        let (hand_over, own) = channel::bounded::<Runtime>(1);
        let (started, starts) = channel::bounded(1);
        let neighbour = {
            let token = tally.token();
            runtime.spawn(move || {
                let _token = token;
                started.send(()).unwrap();
                sleep(FOR_EVER);
            })
        };
        starts.recv().unwrap();
        let task = {
            let (token, log) = (tally.token(), log.clone());
            runtime.spawn(move || {
                let _token = token;
                let runtime = own.recv().unwrap();
                drop(runtime);
                log.push("dropped");
                assert!(try_spawn(|| ()).unwrap_err().is_shutdown());
                assert_eq!(panic_text(|| spawn(|| ())), "cannot spawn: the runtime has shut down");
                sleep(FOR_EVER);
            })
        };
        hand_over.send(runtime).unwrap();
        assert!(task.join().unwrap_err().is_cancelled());
        assert!(neighbour.join().unwrap_err().is_cancelled());
        assert_eq!(log.take(), ["dropped"]);
        tally.assert_all_dropped(2);
    }
}

#[test]
fn shutdown_in_a_task_of_the_same_runtime_returns_at_once() {
    let _watch = watch();
    let runtime = runtime(1);
    let (hand_over, own) = channel::bounded::<Runtime>(1);
    let task = runtime.spawn(move || own.recv().unwrap().shutdown(FOR_EVER).is_ok());
    hand_over.send(runtime).unwrap();
    assert!(task.join().unwrap());
}

#[test]
fn a_runtime_dropped_in_a_task_of_another_one_is_waited_for() {
    let _watch = watch();
    let tally = Tally::default();
    let other = runtime(1);
    let token = tally.token();
    let (started, starts) = channel::bounded(1);
    drop(other.spawn(move || {
        let _token = token;
        started.send(()).unwrap();
        sleep(FOR_EVER);
    }));
    starts.recv().unwrap();
    runtime(2).run(|| drop(other));
    tally.assert_all_dropped(1);
}

// H46
#[test]
fn a_runtime_dropped_in_a_task_may_need_that_tasks_worker() {
    let _watch = watch();
    let (outer, inner) = (runtime(1), runtime(1));
    let (started, starts) = channel::bounded(1);
    let (ask, asked) = channel::bounded::<channel::Sender<()>>(0);
    let answers = outer.spawn(move || asked.iter().for_each(|answer| answer.send(()).unwrap()));
    drop(inner.spawn(move || {
        // What it drops while it unwinds asks a task of the other runtime, whose only worker waits for this one to end.
        let _asks = OnDrop(move || {
            let (answer, answered) = channel::bounded(0);
            ask.send(answer).unwrap();
            answered.recv().unwrap();
        });
        started.send(()).unwrap();
        sleep(FOR_EVER);
    }));
    starts.recv().unwrap();
    outer.run(|| inner.shutdown(FOR_EVER)).unwrap();
    answers.join().unwrap();
}

// H13
#[test]
fn a_shutdown_that_gives_up_names_what_it_leaves() {
    let _watch = watch();
    for workers in [1, 2] {
        let reports = common::reports(|| {
            let runtime = runtime(workers);
            let (started, starts) = channel::bounded(1);
            let swallows = move || {
                let (_sender, receiver) = channel::bounded::<()>(0);
                started.send(()).unwrap();
                loop {
                    _ = osier::catch_exit(|| receiver.recv());
                    yield_now();
                }
            };
            runtime.run(|| drop(task::Builder::new().name("stubborn").spawn(swallows)));
            starts.recv().unwrap();
            let error = runtime.shutdown(ms(50)).unwrap_err();
            assert_eq!((error.leaked(), error.names()), (1, &["stubborn".to_owned()][..]));
        });
        assert!(reports.iter().any(|line| line.contains("'stubborn' did not end")), "{reports:?}");
    }
}

// H20
#[test]
fn a_runtime_dropped_during_a_panic_is_shut_down() {
    let _watch = watch();
    let tally = Tally::default();
    let text = panic_text(|| {
        let runtime = runtime(2);
        let handle = {
            let token = tally.token();
            runtime.spawn(move || {
                let _token = token;
                sleep(FOR_EVER);
            })
        };
        let waits = OnDrop(|| assert_eq!(runtime.run(|| 5), 5));
        assert!(!handle.is_finished());
        drop(waits);
        panic!("outside");
    });
    assert_eq!(text, "outside");
    tally.assert_all_dropped(1);
}

// H04
#[test]
fn a_task_suspended_in_a_thread_locals_borrow_unwinds_before_the_variable_goes() {
    thread_local!(static TEXT: String = "F".repeat(40));
    let _watch = watch();
    let runtime = runtime(2);
    let log = Log::default();
    let (started, starts) = channel::bounded(2);
    for _ in 0..2 {
        let (log, started) = (log.clone(), started.clone());
        drop(runtime.spawn(move || {
            TEXT.with(|text| {
                let _reads = OnDrop(|| log.push(text.as_str()));
                started.send(()).unwrap();
                sleep(FOR_EVER);
            });
        }));
    }
    starts.recv().unwrap();
    starts.recv().unwrap();
    drop(runtime);
    assert_eq!(log.take(), ["F".repeat(40), "F".repeat(40)]);
}

/// What waits in a destructor for ever cannot be unwound: it is left behind, and nobody's message goes to it.
#[test]
fn a_message_never_goes_to_a_task_that_was_left_behind() {
    let _watch = watch();
    let runtime = runtime(1);
    let (sender, receiver) = channel::bounded::<u32>(1);
    let (started, starts) = channel::bounded(1);
    let dead = receiver.clone();
    drop(runtime.spawn(move || {
        let _waits = OnDrop(|| _ = dead.recv());
        started.send(()).unwrap();
        sleep(FOR_EVER);
    }));
    starts.recv().unwrap();
    let began = Instant::now();
    let error = runtime.shutdown(ms(200)).unwrap_err();
    assert!(began.elapsed() >= ms(200));
    assert_eq!(error.leaked(), 1);
    assert!(error.to_string().contains("left behind"), "{error}");
    sender.send(7).unwrap();
    assert_eq!(receiver.recv_timeout(ms(1000)), Ok(7));
}

/// A task that goes on whatever is thrown into its wait; started when this returns.
fn spawn_swallower(runtime: &Runtime) -> JoinHandle<()> {
    let (started, starts) = channel::bounded(1);
    let swallower = runtime.spawn(move || {
        let (_sender, receiver) = channel::bounded::<()>(0);
        started.send(()).unwrap();
        loop {
            let swallowed = panic::catch_unwind(AssertUnwindSafe(|| receiver.recv()));
            assert!(swallowed.is_err());
        }
    });
    starts.recv().unwrap();
    swallower
}

// H13
#[test]
fn a_task_that_swallows_every_cancel_is_left_behind_at_the_deadline() {
    let _watch = watch();
    let alone = runtime(1);
    let swallower = spawn_swallower(&alone);
    let began = Instant::now();
    let error = alone.shutdown(ms(1000)).unwrap_err();
    assert!((ms(1000)..ms(10_000)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(error.leaked(), 1);
    let error = swallower.join().unwrap_err();
    assert!(error.is_cancelled());
    assert!(error.to_string().contains("left behind"), "{error}");
}

// H13
#[test]
fn the_neighbours_of_one_that_swallows_its_cancels_are_unwound() {
    let _watch = watch();
    for workers in [1, 2] {
        let (runtime, tally) = (runtime(workers), Tally::default());
        drop(spawn_swallower(&runtime));
        let (joins, started) = (spawn_swallower(&runtime), Arc::new(AtomicUsize::new(0)));
        let joiner = runtime.spawn(move || joins.join().unwrap_err().to_string());
        let waiting = |n: usize| {
            let (token, started) = (tally.token(), started.clone());
            move || {
                let _token = token;
                let _waits = OnDrop(|| if n < 50 { yield_now() } else { sleep(ms(1)) });
                started.fetch_add(1, Ordering::Relaxed);
                sleep(FOR_EVER);
            }
        };
        let neighbours: Vec<_> = (0..100).map(|n| runtime.spawn(waiting(n))).collect();
        until(|| started.load(Ordering::Relaxed) == 100);
        assert_eq!(runtime.shutdown(ms(300)).unwrap_err().leaked(), 2);
        tally.assert_all_dropped(100);
        assert!(neighbours.into_iter().all(|task| task.join().unwrap_err().is_cancelled()));
        assert!(joiner.join().unwrap_err().is_cancelled());
    }
}

// H36
fn a_loop_without_waits() {
    let runtime = runtime(2);
    let (started, starts) = channel::bounded(1);
    let stop = Arc::new(AtomicBool::new(false));
    let stops = stop.clone();
    let loops = runtime.spawn(move || {
        // They wait in the deque of a worker that never looks at it again: the other one takes them.
        let behind: Vec<_> = (0..10).map(|n| spawn(move || n)).collect();
        started.send(behind).unwrap();
        while !stops.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    let behind: Vec<JoinHandle<i32>> = starts.recv().unwrap();
    assert_eq!(behind.into_iter().map(|task| task.join().unwrap()).sum::<i32>(), 45);
    for n in 0..100 {
        assert_eq!(runtime.spawn(move || n).join().unwrap(), n);
    }
    assert!(runtime.metrics().stolen() >= 10);
    let began = Instant::now();
    assert_eq!(runtime.shutdown(ms(200)).unwrap_err().leaked(), 1);
    assert!((ms(200)..ms(10_000)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(!loops.is_finished());
    stop.store(true, Ordering::Relaxed);
}

// H36
#[test]
fn a_loop_without_waits_holds_one_worker_and_nothing_else() {
    let _watch = watch();
    assert_ended_well(&run_program("a loop without waits"));
}

/// Whoever joins a task that nobody will ever start is told so.
fn fresh_behind_a_loop() {
    let runtime = runtime(1);
    let tally = Tally::default();
    let (started, starts) = channel::bounded(1);
    let tokens: Vec<_> = (0..10).map(|_| tally.token()).collect();
    drop(runtime.spawn(move || {
        let behind: Vec<_> = tokens.into_iter().map(|token| spawn(move || drop(token))).collect();
        started.send(behind).unwrap();
        loop {
            std::hint::spin_loop();
        }
    }));
    let mut behind: Vec<JoinHandle<()>> = starts.recv().unwrap();
    for _ in 0..10 {
        let token = tally.token();
        behind.push(runtime.spawn(move || drop(token)));
    }
    assert_eq!(runtime.shutdown(ms(200)).unwrap_err().leaked(), 1);
    assert!(behind.into_iter().all(|task| task.join().unwrap_err().is_cancelled()));
    tally.assert_all_dropped(20);
}

#[test]
fn fresh_tasks_behind_a_loop_that_never_ends_are_cancelled_at_the_deadline() {
    let _watch = watch();
    assert_ended_well(&run_program("fresh behind a loop"));
}

fn a_borrower_that_stays() {
    let (started, starts) = channel::bounded(1);
    drop(thread::spawn(move || {
        starts.recv().unwrap();
        _ = osier::shutdown(ms(200));
    }));
    let lent = String::from("lent");
    run(|| {
        let _stays = OnDrop(|| {
            sleep(FOR_EVER);
            assert_eq!(lent, "lent");
        });
        started.send(()).unwrap();
        sleep(FOR_EVER);
    });
}

#[test]
fn a_task_that_borrows_is_never_left_behind() {
    let _watch = watch();
    let output = run_program("a borrower that stays");
    assert_died_of(&output, libc::SIGABRT);
    assert!(stderr(&output).contains("borrows"), "{}", stderr(&output));
}

fn the_default_runtime_shuts_down() {
    let (started, starts) = channel::bounded(1);
    let tally = Tally::default();
    let token = tally.token();
    let task = spawn(move || {
        let _token = token;
        started.send(()).unwrap();
        sleep(FOR_EVER);
    });
    starts.recv().unwrap();
    // One that waits in `run` on another thread is told.
    let (runs, is_run) = channel::bounded(1);
    let runner = thread::spawn(move || {
        panic_text(|| {
            run(|| {
                runs.send(()).unwrap();
                sleep(FOR_EVER);
            });
        })
    });
    is_run.recv().unwrap();
    osier::shutdown(FOR_EVER).unwrap();
    assert!(runner.join().unwrap().contains("shut down, before"));
    assert!(task.join().unwrap_err().is_cancelled());
    tally.assert_all_dropped(1);
    let began = Instant::now();
    osier::shutdown(FOR_EVER).unwrap();
    assert!(began.elapsed() < ms(10_000));

    let error = try_spawn(|| "came back").unwrap_err();
    assert!(error.is_shutdown());
    assert_eq!(error.into_inner()(), "came back");
    assert_eq!(panic_text(|| spawn(|| ())), "cannot spawn: the runtime has shut down");
    assert_eq!(panic_text(|| run(|| ())), "cannot spawn: the runtime has shut down");
    // Channels and sleeping work without it, and so do other runtimes.
    let (sender, receiver) = channel::bounded(1);
    sender.send(1).unwrap();
    assert_eq!(receiver.recv(), Ok(1));
    sleep(ms(1));
    assert_eq!(runtime(2).run(|| spawn(|| 5).join().unwrap()), 5);
}

#[test]
fn the_default_runtime_can_be_shut_down() {
    let _watch = watch();
    assert_ended_well(&run_program("the default runtime shuts down"));
}

#[test]
fn a_process_may_end_with_tasks_suspended() {
    let _watch = watch();
    assert_ended_well(&run_program("main returns"));
}

// H45
fn nothing_is_left_of_many_runtimes() {
    let usage = || (count_in_proc("task"), count_in_proc("fd"), count_in_proc("maps"));
    let use_one = |n: usize| {
        let runtime = runtime(1 + n % 8);
        runtime.run(|| {
            let tasks: Vec<_> = (0..100).map(|n| spawn(move || sleep(ms(n % 2)))).collect();
            tasks.into_iter().for_each(|task| task.join().unwrap());
            (0..100).for_each(|_| drop(spawn(|| sleep(FOR_EVER))));
        });
        if n.is_multiple_of(2) {
            runtime.shutdown(FOR_EVER).unwrap();
        }
    };
    // The most workers at once first, so that the allocator's arenas and the stacks are there.
    (0..32).for_each(use_one);
    let (threads, fds, maps) = usage();
    (0..1000).for_each(use_one);
    let (threads_after, fds_after, maps_after) = usage();
    assert_eq!((threads_after, fds_after), (threads, fds));
    // The allocator may map a little more; one mapping a runtime would be 1000.
    assert!(maps_after < maps + 50, "{maps} mappings before, {maps_after} after");
}

// H45
#[test]
fn runtimes_leave_no_threads_files_or_mappings_behind() {
    let _watch = watch();
    assert_ended_well(&run_program("nothing is left of many runtimes"));
}

/// The memory of this process that is in use, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

// §5, "No leak"
fn memory_stays_where_it_is() {
    let round = || {
        let runtime = runtime(2);
        runtime.run(|| {
            let tasks: Vec<_> = (0..2000).map(|n| spawn(move || sleep(ms(n % 5)))).collect();
            tasks.into_iter().for_each(|task| task.join().unwrap());
            (0..2000).for_each(|_| drop(spawn(|| sleep(FOR_EVER))));
            yield_now();
            for n in 0..2000 {
                let task = spawn(move || assert!(n % 2 == 0 || panic::catch_unwind(|| n).is_ok()));
                task.cancel();
                drop(task.join());
            }
        });
    };
    (0..5).for_each(|_| round());
    let before = resident();
    (0..20).for_each(|_| round());
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{} KiB more after 20 rounds", grown / 1024);
}

#[test]
fn memory_does_not_grow_with_what_was_run() {
    let _watch = watch();
    assert_ended_well(&run_program("memory"));
}

fn default_workers() {
    let names = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
        let mut workers: Vec<_> = names.filter(|name| name.starts_with("osier-")).collect();
        workers.sort_unstable();
        workers
    };
    assert_eq!(names(), [""; 0], "nothing starts before it is needed");
    assert!(run(task::worker).is_some());
    // A thread takes its name when it starts to run.
    until(|| names().len() == 3);
    assert_eq!(names(), ["osier-0\n", "osier-1\n", "osier-2\n"]);
}

#[test]
fn the_environment_says_how_many_workers_the_default_runtime_has() {
    let _watch = watch();
    assert_ended_well(&run_program_with("default workers", &[("OSIER_WORKERS", "3")]));
    let output = run_program_with("default workers", &[("OSIER_WORKERS", "many")]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("OSIER_WORKERS must be a number, and is 'many'"), "{}", stderr(&output));
}

#[test]
fn a_runtime_that_is_not_used_comes_and_goes() {
    let _watch = watch();
    for n in 0..200 {
        drop(runtime(1 + n % 8));
    }
}

// ---- idling

fn idle() {
    let runtime = runtime(4);
    let (_sender, receiver) = channel::bounded::<()>(0);
    let parked = Arc::new(AtomicUsize::new(0));
    for n in 0..400 {
        let (receiver, parked) = (receiver.clone(), parked.clone());
        drop(runtime.spawn(move || {
            parked.fetch_add(1, Ordering::Relaxed);
            if n % 2 == 0 { sleep(Duration::from_secs(3600)) } else { _ = receiver.recv() }
        }));
    }
    until(|| parked.load(Ordering::Relaxed) == 400);
    let counts = || runtime.metrics().workers.iter().map(|worker| (worker.parked, worker.woken)).collect::<Vec<_>>();
    // They search for a while before they sleep: looks at the same counts twice, some time apart, tell when they do.
    let mut before = counts();
    loop {
        hold_thread(ms(50));
        let now = counts();
        if now == before {
            break;
        }
        before = now;
    }
    let used = cpu_time();
    hold_thread(ms(300));
    let used = cpu_time() - used;
    assert_eq!(counts(), before, "a worker woke up for nothing");
    assert!(used < ms(20), "{used:?} of processor time in 300 ms of idling");
}

#[test]
fn parked_tasks_use_no_processor() {
    let _watch = watch();
    assert_ended_well(&run_program("idle"));
}

/// Each call comes to workers that are falling asleep or just have.
// H32
#[test]
fn calls_from_outside_wake_sleeping_workers() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let mut random = common::Random::new();
        for n in 0..3000 {
            assert_eq!(runtime.run(|| n), n);
            let pause = Duration::from_nanos(random.below(80_000));
            let began = Instant::now();
            while began.elapsed() < pause {
                std::hint::spin_loop();
            }
        }
        assert_eq!(runtime.metrics().ran(), 3000);
    }
}

#[test]
fn many_threads_run_on_one_runtime_at_once() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let total = AtomicUsize::new(0);
        thread::scope(|scope| {
            for n in 0..8 {
                let (runtime, total) = (&runtime, &total);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let got = runtime.run(|| spawn(move || n).join().unwrap());
                        total.fetch_add(got, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 28 * 200);
    }
}

// ---- stealing

#[test]
fn fresh_tasks_are_stolen_from_a_worker_that_computes() {
    let _watch = watch();
    let runtime = runtime(2);
    runtime.run(|| {
        let mine = task::worker();
        let children: Vec<_> = (0..100).map(|_| spawn(task::worker)).collect();
        // Computes, without ever giving way: others must do the work.
        while children.iter().any(|child| !child.is_finished()) {
            std::hint::spin_loop();
        }
        assert!(children.into_iter().all(|child| child.join().unwrap() != mine));
    });
    let metrics = runtime.metrics();
    assert_eq!((metrics.stolen(), metrics.ran()), (100, 101));
    assert_eq!(metrics.workers.len(), 2);
}

#[test]
fn one_worker_steals_nothing() {
    let _watch = watch();
    let runtime = runtime(1);
    runtime.run(|| (0..100).map(|n| spawn(move || n)).for_each(|task| _ = task.join().unwrap()));
    assert_eq!((runtime.metrics().stolen(), runtime.metrics().ran()), (0, 101));
}

// H37
#[test]
fn workers_that_were_all_held_go_on() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let tasks: Vec<_> = (0..2 * workers).map(|_| runtime.spawn(|| hold_thread(ms(20)))).collect();
        assert_eq!(runtime.run(|| 5), 5);
        tasks.into_iter().for_each(|task| task.join().unwrap());
    }
}

/// A task that another thread wakes goes home, whoever wakes it and however its home sleeps.
#[test]
fn wake_ups_from_threads_reach_sleeping_homes() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let (to_task, from_thread) = channel::bounded::<u32>(0);
        let (to_thread, from_task) = mpsc::channel();
        let echo = runtime.spawn(move || {
            let home = thread::current().id();
            for n in &from_thread {
                assert_eq!(thread::current().id(), home);
                to_thread.send(n).unwrap();
            }
        });
        for n in 0..2000 {
            to_task.send(n).unwrap();
            assert_eq!(from_task.recv(), Ok(n));
        }
        drop(to_task);
        echo.join().unwrap();
    }
}

/// Thread-locals of a worker outlive its tasks, and go with it.
#[test]
fn a_workers_thread_locals_go_with_the_runtime() {
    thread_local!(static KEPT: RefCell<Vec<common::Token>> = const { RefCell::new(Vec::new()) });
    let _watch = watch();
    let (tally, runtime) = (Tally::default(), runtime(1));
    for _ in 0..10 {
        let token = tally.token();
        runtime.run(|| KEPT.with_borrow_mut(|kept| kept.push(token)));
    }
    assert_eq!(tally.dropped(), 0);
    drop(runtime);
    tally.assert_all_dropped(10);
}

#[test]
fn pushes_that_a_running_worker_will_see_wake_nobody() {
    let _watch = watch();
    let runtime = runtime(2);
    let (hold, holds) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(true)));
    let busy = runtime.spawn({
        let (hold, holds) = (hold.clone(), holds.clone());
        move || {
            hold.wait();
            while holds.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        }
    });
    runtime.run(|| {
        // Both workers run from here on: one in each task.
        hold.wait();
        let woken = |metrics: osier::runtime::Metrics| metrics.workers.iter().map(|worker| worker.woken).sum::<u64>();
        let before = woken(runtime.metrics());
        let tasks: Vec<_> = (0..1000_u64)
            .map(|n| {
                let (sender, receiver) = channel::bounded(1);
                let task = spawn(move || receiver.recv().unwrap() + n);
                sender.send(1).unwrap();
                task
            })
            .collect();
        assert_eq!(tasks.into_iter().map(|task| task.join().unwrap()).sum::<u64>(), 1000 + 499_500);
        assert_eq!(woken(runtime.metrics()), before, "a system call for nothing");
    });
    holds.store(false, Ordering::Relaxed);
    busy.join().unwrap();
}

#[test]
fn a_sleeping_worker_is_woken_once_for_a_task() {
    let _watch = watch();
    let runtime = runtime(1);
    let (started, starts) = channel::bounded(1);
    let parked = runtime.spawn(move || {
        started.send(()).unwrap();
        for _ in 0..10 {
            task::park();
        }
    });
    starts.recv().unwrap();
    let worker = || runtime.metrics().workers[0];
    for _ in 0..9 {
        until(|| runtime.dump().workers[0].is_asleep);
        let before = worker();
        parked.task().unpark();
        until(|| worker().parked > before.parked);
        assert_eq!(worker().woken, before.woken + 1);
    }
    parked.task().unpark();
    parked.join().unwrap();
}
