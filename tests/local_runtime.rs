//! The runtime on the calling thread: order, waiting for quiet, driving it from outside.

#![cfg(feature = "runtime")]

mod common;

use std::cell::{Cell, RefCell};
use std::panic;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{FOR_EVER, OnDrop, Tally, hold_thread, ms, panic_text, watch};
use osier::runtime::LocalRuntime;
use osier::sync::{Event, channel};
use osier::task::{self, Builder};
use osier::{Generator, JoinHandle, Runtime, Yielder, run, sleep, spawn, spawn_local, yield_now};

type Lines = Rc<RefCell<Vec<String>>>;

fn lines() -> (Lines, impl Fn(&str) + Clone) {
    let lines = Lines::default();
    let log = lines.clone();
    (lines, move |line: &str| log.borrow_mut().push(line.to_owned()))
}

#[test]
fn smoke() {
    let _watch = watch();
    let runtime = LocalRuntime::new();
    let mut borrowed = vec![1, 2];
    let not_send = Rc::new(3);
    let sum = runtime.run(|| {
        borrowed.push(*not_send);
        spawn(|| 1).join().unwrap() + spawn_local(|| 2).join().unwrap()
    });
    assert_eq!((sum, borrowed), (3, vec![1, 2, 3]));
    assert_eq!(runtime.metrics().ran(), 3);
}

// GV-010
#[test]
fn all_tasks_stand_in_one_line() {
    let _watch = watch();
    let (seen, log) = lines();
    LocalRuntime::new().run(|| {
        let inner = log.clone();
        let sibling = spawn_local({
            let log = log.clone();
            move || log("s")
        });
        let parent = spawn_local(move || {
            inner("p1");
            let child = spawn_local({
                let log = inner.clone();
                move || log("c")
            });
            inner("p2");
            yield_now();
            inner("p3");
            child.join().unwrap();
        });
        parent.join().unwrap();
        sibling.join().unwrap();
    });
    assert_eq!(seen.take(), ["s", "p1", "p2", "c", "p3"]);
}

// GV-011
#[test]
fn two_tasks_take_turns_also_those_that_may_be_sent() {
    let _watch = watch();
    let (sender, receiver) = mpsc::channel();
    LocalRuntime::new().run(|| {
        let tasks = [1, 2].map(|n| {
            let sender = sender.clone();
            spawn(move || {
                sender.send(format!("{n}A")).unwrap();
                sleep(Duration::ZERO);
                sender.send(format!("{n}B")).unwrap();
            })
        });
        tasks.into_iter().for_each(|task| task.join().unwrap());
    });
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["1A", "2A", "1B", "2B"]);
}

// GV-034
#[test]
fn links_come_before_the_joiner() {
    let _watch = watch();
    let (seen, log) = lines();
    LocalRuntime::new().run(|| {
        let task = spawn_local(yield_now);
        for name in ["raw", "l1", "l2"] {
            let log = log.clone();
            task.link(move |_| log(name));
        }
        task.join().unwrap();
        log("joiner");
    });
    assert_eq!(seen.take(), ["raw", "l1", "l2", "joiner"]);
}

#[test]
fn a_panic_in_run_comes_out_and_the_runtime_goes_on() {
    let _watch = watch();
    let runtime = LocalRuntime::new();
    assert_eq!(panic_text(|| runtime.run(|| panic!("inside"))), "inside");
    assert_eq!(runtime.run(|| 7), 7);
}

#[test]
fn tasks_stay_between_two_runs() {
    let _watch = watch();
    let runtime = LocalRuntime::new();
    let counter = Rc::new(Cell::new(0));
    let task = runtime.run(|| {
        let counter = counter.clone();
        let task = spawn_local(move || {
            for _ in 0..3 {
                counter.set(counter.get() + 1);
                yield_now();
            }
        });
        yield_now();
        task
    });
    assert_eq!(counter.get(), 1);
    assert!(task::try_current().is_none() && task::worker().is_none(), "nothing is left behind on the thread");
    runtime.run(|| ());
    assert_eq!(counter.get(), 2);
    runtime.run(|| task.join().unwrap());
    assert_eq!(counter.get(), 3);
}

#[test]
fn run_inside_a_task_of_the_same_runtime_is_a_wait() {
    let _watch = watch();
    let runtime = LocalRuntime::new();
    let order = RefCell::new(Vec::new());
    let value = runtime.run(|| {
        drop(spawn_local(|| ()));
        runtime.run(|| {
            yield_now();
            order.borrow_mut().push(1);
        });
        order.borrow_mut().push(2);
        5
    });
    assert_eq!((value, order.take()), (5, vec![1, 2]));
}

// H46
#[test]
fn runtimes_inside_each_other_work_or_say_why_not() {
    let _watch = watch();
    // A local one in a task of a parallel one, and the other way round.
    let (sum, worker) = run(|| {
        let here = task::worker();
        let sum = LocalRuntime::new().run(|| spawn_local(|| 1).join().unwrap() + spawn(|| 2).join().unwrap());
        assert_eq!(task::worker(), here);
        yield_now();
        (sum, here)
    });
    assert!(sum == 3 && worker.is_some());
    let parallel = Runtime::builder().workers(2).build().unwrap();
    let other = parallel.spawn(|| {
        sleep(ms(2));
        4
    });
    let local = LocalRuntime::new();
    assert_eq!(local.run(|| other.join().unwrap() + parallel.run(|| 1)), 5);
    // Tasks of two threads' local runtimes join each other.
    let (sender, receiver) = mpsc::channel::<JoinHandle<u32>>();
    let there = thread::spawn(move || {
        let local = LocalRuntime::new();
        let (go, goes) = channel::bounded(1);
        sender.send(local.spawn(move || goes.recv().unwrap())).unwrap();
        go.send(9).unwrap();
        local.run_until_idle();
    });
    assert_eq!(local.run(|| receiver.recv().unwrap().join().unwrap()), 9);
    there.join().unwrap();
    // One within another, and back into the first, which is busy.
    let second = LocalRuntime::new();
    let text = panic_text(|| local.run(|| second.run(|| local.run(|| 1))));
    assert!(text.contains("entered"), "{text}");
    assert_eq!(local.run(|| second.run(|| 2)), 2);
}

#[test]
fn spawned_from_outside_they_run_when_it_is_their_turn() {
    let _watch = watch();
    let runtime = LocalRuntime::new();
    let (seen, log) = lines();
    let tasks = ["a", "b", "c"].map(|name| {
        let log = log.clone();
        runtime.spawn_local(move || log(name))
    });
    let late = runtime.spawn(|| 4);
    assert!(seen.borrow().is_empty());
    runtime.run_until_idle();
    assert_eq!(seen.take(), ["a", "b", "c"]);
    assert!(tasks.iter().all(JoinHandle::is_finished));
    assert_eq!(late.join().unwrap(), 4);
}

// GV-074, GV-190
#[test]
fn idle_is_when_nothing_can_go_on_by_itself() {
    let _watch = watch();
    let runtime = LocalRuntime::new();
    assert!(runtime.wait_idle(Duration::ZERO) && runtime.wait_idle(None));
    let slept = runtime.spawn_local(|| sleep(ms(20)));
    assert!(!runtime.wait_idle(ms(1)));
    assert!(!slept.is_finished());
    assert!(runtime.wait_idle(None));
    assert!(slept.is_finished());
    // Who waits for nobody does not hold it up; nor do daemons, asleep or not.
    let (never, waits) = channel::bounded::<()>(0);
    let stuck = runtime.spawn_local(move || waits.recv().is_err());
    runtime.run(|| {
        drop(Builder::new().daemon().spawn(|| {
            loop {
                sleep(ms(1));
            }
        }));
        drop(Builder::new().daemon().spawn_local(|| {
            loop {
                yield_now();
            }
        }));
    });
    for _ in 0..3 {
        let work = runtime.spawn_local(|| (0..100).for_each(|_| yield_now()));
        assert!(runtime.wait_idle(FOR_EVER));
        assert!(work.is_finished() && !stuck.is_finished());
    }
    // From inside: the caller does not count itself.
    runtime.run(|| {
        let sleeper = spawn_local(|| sleep(ms(20)));
        assert!(!runtime.wait_idle(ms(1)));
        assert!(runtime.wait_idle(None));
        assert!(sleeper.is_finished() && !stuck.is_finished());
        assert!(runtime.wait_idle(FOR_EVER));
    });
    drop(never);
    runtime.run_until_idle();
    assert!(stuck.join().unwrap());
}

// GV-074, GV-190
#[test]
fn idle_with_several_workers() {
    let _watch = watch();
    for workers in [1, 2, 4] {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        for round in 0..20 {
            let ended = Arc::new(AtomicUsize::new(0));
            for n in 0..20_u64 {
                let ended = ended.clone();
                drop(runtime.spawn(move || {
                    if n % 4 == 0 {
                        sleep(ms(n % 3));
                    }
                    let inner = ended.clone();
                    drop(spawn(move || {
                        yield_now();
                        inner.fetch_add(1, Ordering::SeqCst);
                    }));
                    ended.fetch_add(1, Ordering::SeqCst);
                }));
            }
            let is_idle =
                if round % 2 == 0 { runtime.wait_idle(None) } else { runtime.run(|| runtime.wait_idle(FOR_EVER)) };
            assert!(is_idle);
            assert_eq!(ended.load(Ordering::SeqCst), 40);
        }
        let sleeper = runtime.spawn(|| sleep(FOR_EVER));
        assert!(!runtime.wait_idle(ms(5)));
        assert!(!runtime.run(|| runtime.wait_idle(ms(5))));
        sleeper.kill();
        assert!(runtime.wait_idle(None));
    }
}

#[cfg(feature = "blocking")]
#[test]
fn a_blocking_call_is_waited_for() {
    let _watch = watch();
    let runtime = LocalRuntime::new();
    let call = runtime.spawn_local(|| task::unblock(|| hold_thread(ms(20))));
    runtime.run_until_idle();
    assert!(call.is_finished());
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let call = runtime.spawn(|| task::unblock(|| hold_thread(ms(20))));
    assert!(runtime.wait_idle(None));
    assert!(call.is_finished());
}

#[test]
fn run_once_runs_what_is_ready_and_waits_if_it_may() {
    let _watch = watch();
    let runtime = LocalRuntime::new();
    assert!(!runtime.run_once(Duration::ZERO));
    let counter = Rc::new(Cell::new(0));
    let counts = counter.clone();
    let task = runtime.spawn_local(move || {
        for _ in 0..2 {
            counts.set(counts.get() + 1);
            yield_now();
        }
        sleep(ms(10));
        counts.set(10);
    });
    for expected in [1, 2, 2] {
        assert!(runtime.run_once(Duration::ZERO));
        assert_eq!(counter.get(), expected);
    }
    assert!(runtime.next_deadline().is_some());
    let began = Instant::now();
    while !task.is_finished() {
        runtime.run_once(FOR_EVER);
    }
    assert!(counter.get() == 10 && began.elapsed() < FOR_EVER);
    assert!(runtime.next_deadline().is_none());
    let began = Instant::now();
    assert!(!runtime.run_once(ms(10)));
    assert!(began.elapsed() >= ms(10));
    let inside = runtime.run(|| panic_text(|| runtime.run_once(None)));
    assert!(inside.contains("run_once"), "{inside}");
}

// GV-196
#[test]
fn another_thread_wakes_it() {
    let _watch = watch();
    let runtime = LocalRuntime::new();
    let (sender, receiver) = channel::bounded(0);
    let there = thread::spawn(move || {
        for n in 0..100 {
            if n % 10 == 0 {
                hold_thread(ms(1));
            }
            sender.send(n).unwrap();
        }
    });
    let sum: u32 = runtime.run(|| receiver.iter().sum());
    assert_eq!(sum, 4950);
    there.join().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn its_file_descriptor_tells_a_foreign_loop_what_to_do() {
    use std::os::fd::AsRawFd;
    let _watch = watch();
    let runtime = LocalRuntime::new();
    let poll = |timeout: i32| {
        let fd = runtime.event_fd().unwrap().as_raw_fd();
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one struct.
        unsafe { libc::poll(&raw mut poll, 1, timeout) == 1 }
    };
    assert!(!poll(0));
    let (sender, receiver) = channel::unbounded();
    let got = Rc::new(Cell::new(0));
    let sees = got.clone();
    let task = runtime.spawn_local(move || {
        for n in receiver.iter() {
            sees.set(n);
        }
        sleep(ms(5));
    });
    assert!(poll(0));
    while poll(0) {
        runtime.run_once(Duration::ZERO);
    }
    let there = thread::spawn(move || {
        hold_thread(ms(5));
        sender.send(7).unwrap();
    });
    while got.get() == 0 {
        assert!(poll(-1));
        runtime.run_once(Duration::ZERO);
    }
    // The timer rings, too.
    while !task.is_finished() {
        assert!(poll(-1));
        runtime.run_once(Duration::ZERO);
    }
    there.join().unwrap();
    while poll(0) {
        runtime.run_once(Duration::ZERO);
    }
}

#[test]
fn dropping_it_unwinds_and_drops_everything() {
    let _watch = watch();
    let tally = Tally::default();
    for shuts_down in [false, true] {
        let runtime = LocalRuntime::new();
        for n in 0..50 {
            let token = tally.token();
            drop(runtime.spawn_local(move || {
                let _at_end = OnDrop(yield_now);
                let _token = token;
                sleep(FOR_EVER);
            }));
            if n == 24 {
                runtime.run_once(Duration::ZERO);
            }
        }
        if shuts_down {
            runtime.shutdown(FOR_EVER).unwrap();
        } else {
            drop(runtime);
        }
    }
    tally.assert_all_dropped(100);
}

#[test]
fn a_task_that_swallows_its_cancel_is_left_behind_at_the_deadline() {
    let _watch = watch();
    let runtime = LocalRuntime::new();
    let handle = runtime.spawn_local(|| {
        loop {
            _ = std::panic::catch_unwind(|| sleep(FOR_EVER));
        }
    });
    runtime.run_once(Duration::ZERO);
    let began = Instant::now();
    let error = runtime.shutdown(ms(20)).unwrap_err();
    assert!(error.leaked() == 1 && began.elapsed() >= ms(20));
    assert!(handle.join().unwrap_err().is_cancelled());
}

// H03
#[test]
fn one_in_a_thread_local_is_left_at_the_threads_end() {
    thread_local! {
        static RUNTIME: RefCell<Option<LocalRuntime>> = const { RefCell::new(None) };
    }
    let _watch = watch();
    thread::spawn(|| {
        let runtime = LocalRuntime::new();
        let stays = runtime.spawn_local(|| {
            let _never = OnDrop(|| eprintln!("not reached"));
            sleep(FOR_EVER);
        });
        runtime.run_once(Duration::ZERO);
        RUNTIME.with(|place| *place.borrow_mut() = Some(runtime));
        assert!(!stays.is_finished());
    })
    .join()
    .unwrap();
}

/// What a destructor of a thread-local does, in a process of its own, or a thread that says it.
struct AtEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

type Deed = AtEnd<Box<dyn FnMut()>>;

/// Starts a thread and calls `prepare` there; what that returns is called by the destructor of a thread-local, which is
/// destroyed after `TEXT`.
fn at_a_threads_end(prepare: impl FnOnce() -> Box<dyn FnMut()> + Send + 'static) {
    thread_local! {
        static KEPT: RefCell<Option<Deed>> = const { RefCell::new(None) };
    }
    let thread = thread::spawn(move || {
        KEPT.set(None);
        KEPT.set(Some(AtEnd(prepare())));
    });
    thread.join().unwrap();
}

thread_local! {
    static TEXT: String = "F".repeat(40);
}

/// A task that waits in a borrow of `TEXT`, and reads it when it goes on.
fn waits_in_a_borrow(runtime: &LocalRuntime, read: &common::Log) {
    let read = read.clone();
    drop(runtime.spawn_local(move || {
        TEXT.with(|text| {
            let _reads = OnDrop(|| read.push(text.as_str()));
            yield_now();
        });
    }));
    runtime.run_once(Duration::ZERO);
}

// H03: not only its drop would resume what waits.
#[test]
fn one_in_a_thread_local_runs_no_tasks_from_before_at_the_threads_end() {
    let _watch = watch();
    let (said, read) = (common::Log::default(), common::Log::default());
    at_a_threads_end({
        let (said, read) = (said.clone(), read.clone());
        move || {
            let runtime = LocalRuntime::new();
            waits_in_a_borrow(&runtime, &read);
            let mut runtime = Some(runtime);
            Box::new(move || {
                let kept = runtime.as_ref().unwrap();
                said.push(panic_text(|| kept.run(|| ())));
                said.push(panic_text(|| kept.run_until_idle()));
                said.push(panic_text(|| kept.run_once(Duration::ZERO)));
                said.push(runtime.take().unwrap().shutdown(FOR_EVER).unwrap_err().to_string());
                // One that has none runs them.
                let fresh = LocalRuntime::new();
                assert_eq!(fresh.run(|| spawn_local(|| 3).join().unwrap()), 3);
                assert!(fresh.shutdown(FOR_EVER).is_ok());
            })
        }
    });
    let refused = "a `LocalRuntime` that has tasks was told to run them in the destructor of a thread-local";
    let left = "1 tasks did not end before the deadline and were left behind with their stacks";
    assert_eq!(said.take(), [refused, refused, refused, left]);
    assert_eq!(read.take(), [""; 0], "the task would read a string that is gone");
}

// H03: a worker is no sign that the thread lives on.
#[test]
fn a_generator_that_a_task_drops_at_the_threads_end_is_left() {
    let _watch = watch();
    let read = common::Log::default();
    at_a_threads_end({
        let read = read.clone();
        move || {
            let mut g = Generator::new(move |y: &Yielder<()>| {
                TEXT.with(|text| {
                    let _reads = OnDrop(|| read.push(text.as_str()));
                    y.yield_(());
                });
            });
            g.next();
            let mut g = Some(g);
            Box::new(move || LocalRuntime::new().run(|| drop(g.take())))
        }
    });
    assert_eq!(read.take(), [""; 0], "the destructor would read a string that is gone");
}

// GV-191
#[test]
fn made_and_dropped_in_many_threads_it_leaves_nothing() {
    let _watch = watch();
    let round = || {
        let threads: Vec<_> = (0..10)
            .map(|_| {
                thread::spawn(|| {
                    let runtime = LocalRuntime::new();
                    _ = runtime.spawn_local(|| sleep(FOR_EVER));
                    runtime.run(|| spawn_local(|| sleep(ms(1))).join().unwrap());
                    assert!(!runtime.wait_idle(Duration::ZERO));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    };
    round();
    let (files, threads) = (common::count_in_proc("fd"), common::count_in_proc("task"));
    (0..5).for_each(|_| round());
    // Other tests run beside this one: a leak of ours would be fifty.
    assert!(common::count_in_proc("fd") < files + 30);
    assert!(common::count_in_proc("task") < threads + 30);
}

#[test]
fn a_timeout_around_run_cancels_its_task() {
    let _watch = watch();
    let runtime = LocalRuntime::new();
    let dropped = Cell::new(false);
    let result = osier::time::timeout(ms(10), || {
        runtime.run(|| {
            let _at_end = OnDrop(|| dropped.set(true));
            sleep(FOR_EVER);
        });
    });
    assert!(result.is_err() && dropped.get());
    assert_eq!(runtime.run(|| 3), 3);
}

// ---- in a task of another runtime, which it keeps from its worker

#[test]
fn who_cancels_its_host_wakes_it() {
    let _watch = watch();
    for shielded in [false, true] {
        let outer = Runtime::builder().workers(1).build().unwrap();
        let (started, starts) = channel::bounded(1);
        let (let_go, goes) = channel::bounded(1);
        let host = outer.spawn(move || {
            let work = || {
                LocalRuntime::new().run(|| {
                    started.send(task::current()).unwrap();
                    match shielded {
                        true => goes.recv().unwrap(),
                        false => task::park(),
                    }
                });
            };
            match shielded {
                true => task::shield(work),
                false => work(),
            }
            sleep(FOR_EVER);
        });
        starts.recv().unwrap();
        host.cancel();
        if shielded {
            hold_thread(ms(5));
            assert!(!host.is_finished());
            let_go.send(()).unwrap();
        }
        assert!(host.join().unwrap_err().is_cancelled());
    }
}

#[test]
fn an_exception_for_its_host_ends_it() {
    let _watch = watch();
    let outer = Runtime::builder().workers(2).build().unwrap();
    let (started, starts) = channel::bounded(1);
    let host = outer.spawn(move || {
        LocalRuntime::new().run(|| {
            started.send(()).unwrap();
            task::park();
        });
    });
    starts.recv().unwrap();
    host.throw(std::io::Error::other("not now"));
    assert!(host.join().unwrap_err().exception().unwrap().is::<std::io::Error>());
}

#[test]
fn a_shutdown_of_the_outer_runtime_ends_it() {
    let _watch = watch();
    let outer = Runtime::builder().workers(2).build().unwrap();
    let (started, starts) = channel::bounded(1);
    let tally = Tally::default();
    let token = tally.token();
    let host = outer.spawn(move || {
        LocalRuntime::new().run(|| {
            let _token = token;
            started.send(()).unwrap();
            task::park();
        });
    });
    starts.recv().unwrap();
    outer.shutdown(FOR_EVER).unwrap();
    assert!(host.join().unwrap_err().is_cancelled());
    tally.assert_all_dropped(1);
}

#[test]
fn a_cancel_that_had_to_wait_for_a_neighbours_unwind_is_thrown_by_whoever_calls_next() {
    let _watch = watch();
    let rt = LocalRuntime::new();
    let gate = Event::new();
    let opens = gate.clone();
    let unwinding = rt.spawn_local(move || {
        let _waits = OnDrop(|| opens.wait());
        std::panic::resume_unwind(Box::new("goes on when the gate opens"));
    });
    while rt.run_once(Duration::ZERO) {}
    assert!(!unwinding.is_finished());
    let cancelled = rt.spawn_local(|| {
        // std's `catch_unwind` does not say that the unwind has ended: that is known when nobody on the thread unwinds.
        _ = std::panic::catch_unwind(|| panic!("caught"));
        sleep(FOR_EVER);
    });
    while rt.run_once(Duration::ZERO) {}
    cancelled.cancel();
    while rt.run_once(Duration::ZERO) {}
    assert!(!cancelled.is_finished(), "it cannot be told yet that it is only the other one that unwinds");
    gate.set();
    // One task is ready, so one step is taken: it ends the unwind.
    assert!(rt.run_once(None));
    assert!(unwinding.is_finished());
    assert!(rt.run_once(None));
    assert!(cancelled.is_finished());
}

// A runtime that goes in an unwind cancels its tasks all the same: they are not the ones that unwind.
#[test]
fn dropped_in_an_unwind_it_ends_its_tasks() {
    let _watch = watch();
    let tally = Tally::default();
    let began = Instant::now();
    let told = common::reports(|| {
        for in_task in [false, true] {
            let tokens = [(); 4].map(|()| tally.token());
            let unwinds = || {
                let [first, second, third, fourth] = tokens;
                let local = LocalRuntime::new();
                let (sender, receiver) = channel::unbounded::<u32>();
                drop(local.spawn_local(move || {
                    let _token = first;
                    while receiver.recv().is_ok() {}
                }));
                drop(local.spawn_local(move || {
                    let _held = (sender, second);
                    sleep(FOR_EVER);
                }));
                let (_gate, closed) = channel::bounded::<()>(0);
                drop(local.spawn_local(move || {
                    let _token = third;
                    _ = closed.recv();
                }));
                // In a wait of a kind that does not end by itself when its task is cancelled.
                drop(local.spawn_local(move || {
                    let _token = fourth;
                    _ = osier::sync::Barrier::new(2).wait();
                }));
                local.run(yield_now);
                panic::resume_unwind(Box::new("on purpose"));
            };
            if in_task {
                assert!(run(|| osier::spawn(unwinds).join()).unwrap_err().is_panic());
            } else {
                assert!(panic::catch_unwind(panic::AssertUnwindSafe(unwinds)).is_err());
            }
        }
    });
    tally.assert_all_dropped(8);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}, {told:?}", began.elapsed());
}
