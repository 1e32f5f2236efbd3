//! What must hold whatever a program does: tasks keep their threads, values their owners, locals their thread.

#![cfg(feature = "runtime")]

mod common;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use common::{FOR_EVER, OnDrop, Random, Tally, assert_ended_well, hold_thread, ms, program, run_program, until, watch};
use osier::sync::channel::{self, Receiver, Sender};
use osier::{Generator, Greenlet, JoinHandle, Runtime, Yielder, run, sleep, spawn, task, try_spawn, yield_now};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// The programs. Each is run by a test below, which looks at how the process ended.
#[test]
fn in_a_process_of_its_own() {
    let Some(program) = program() else { return };
    let _watch = watch();
    match program.as_str() {
        "signals" => signals(),
        "random unwinding" => random_unwinding(),
        "exit in a task" => exit_in_a_task(),
        other => panic!("no program '{other}'"),
    }
}

// ---- a greenlet or a task is asked for anew after each switch

// H06: at any level of optimisation; `.ci/run` has these tests in release builds, too.
#[test]
fn who_runs_is_asked_anew_when_somebody_else_resumes() {
    let _watch = watch();
    let g = Generator::new(|y: &Yielder<Greenlet<u32>>| {
        loop {
            y.yield_(Greenlet::current());
        }
    });
    let g = Rc::new(RefCell::new(g));
    let resumes = |_| {
        let g = g.clone();
        Greenlet::new(move |n| {
            let me = Greenlet::<u32>::current();
            assert!(g.borrow_mut().next().unwrap() == me);
            n + 1
        })
    };
    for n in 0..3 {
        assert_eq!(resumes(n).switch(n), n + 1);
    }
}

// H06
#[test]
fn which_task_runs_is_asked_anew_when_another_one_resumes() {
    let _watch = watch();
    runtime(1).run(|| {
        let looks = Generator::new(|y: &Yielder<(task::TaskId, task::TaskId)>| {
            let id = || task::current().id();
            loop {
                let before = id();
                // The same instructions, so that an address or a value could be kept over the switch.
                yield_now();
                y.yield_((before, id()));
            }
        });
        let g = Rc::new(RefCell::new(looks));
        for _ in 0..3 {
            let g = g.clone();
            let handle = osier::spawn_local(move || {
                let me = task::current().id();
                assert_eq!(g.borrow_mut().next(), Some((me, me)));
            });
            handle.join().unwrap();
        }
    });
}

// ---- a task keeps its thread

/// What each thread shares among its tasks, without locks; says at the thread's end what is left of it.
struct Local {
    shared: Rc<Cell<u64>>,
    at_end: RefCell<Option<mpsc::Sender<(ThreadId, usize, u64)>>>,
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(at_end) = self.at_end.take() {
            let report = (thread::current().id(), Rc::strong_count(&self.shared), self.shared.get());
            // Nobody listens if the test has failed already.
            _ = at_end.send(report);
        }
    }
}

thread_local! {
    static LOCAL: Local = Local { shared: Rc::default(), at_end: RefCell::default() };
}

// H02
#[test]
fn a_started_task_never_changes_its_thread_while_fresh_ones_are_stolen() {
    const TASKS: usize = 64;
    const YIELDS: u64 = 2000;
    let _watch = watch();
    let runtime = runtime(16);
    let (at_end, ends) = mpsc::channel();
    let (spawner, threads) = runtime.run(|| {
        // All from one task, which computes until others have begun with half of them: what is only stolen may be stolen back.
        let (spawner, begun_elsewhere) = (thread::current().id(), Arc::new(AtomicUsize::new(0)));
        let handles: Vec<_> = (0..TASKS)
            .map(|n| {
                let (at_end, begun_elsewhere) = (at_end.clone(), begun_elsewhere.clone());
                spawn(move || {
                    begun_elsewhere.fetch_add(usize::from(thread::current().id() != spawner), Ordering::SeqCst);
                    keep_a_thread_for(YIELDS, n as u64, &at_end)
                })
            })
            .collect();
        while begun_elsewhere.load(Ordering::SeqCst) < TASKS / 2 {
            std::hint::spin_loop();
        }
        (spawner, handles.into_iter().map(|handle| handle.join().unwrap()).collect::<Vec<_>>())
    });
    assert!(runtime.metrics().stolen() >= TASKS as u64 / 2);
    // Perhaps all on one, if that thread alone gets a core for a while.
    assert!(threads.iter().filter(|&&id| id != spawner).count() >= TASKS / 2, "stolen tasks run on other threads");
    let mut counts = HashMap::new();
    threads.iter().for_each(|&id| *counts.entry(id).or_insert(0) += 1);

    // Each thread's count is exact, and nobody else holds what was its own.
    drop(runtime);
    drop(at_end);
    let mut total = 0;
    for (id, owners, count) in ends {
        assert_eq!(owners, 1);
        assert_eq!(count, counts[&id] * YIELDS);
        total += count;
    }
    assert_eq!(total, TASKS as u64 * YIELDS);
}

/// Holds an `Rc` of the thread it runs on over many waits, and counts with it.
fn keep_a_thread_for(yields: u64, seed: u64, at_end: &mpsc::Sender<(ThreadId, usize, u64)>) -> ThreadId {
    let home = thread::current().id();
    let worker = task::worker();
    let shared = LOCAL.with(|local| {
        local.at_end.borrow_mut().get_or_insert_with(|| at_end.clone());
        local.shared.clone()
    });
    let mut random = Random::seeded(seed + 1);
    for _ in 0..yields {
        let before = shared.get();
        let copy = shared.clone();
        match random.below(100) {
            0 => sleep(Duration::from_micros(random.below(200))),
            1 => assert_eq!(spawn(move || before).join().unwrap(), before),
            _ => yield_now(),
        }
        drop(copy);
        shared.set(shared.get() + 1);
        assert_eq!((thread::current().id(), task::worker()), (home, worker));
        LOCAL.with(|local| assert!(Rc::ptr_eq(&local.shared, &shared)));
    }
    home
}

/// The same through generators, whose frames lie on stacks of their own.
#[test]
fn generators_in_tasks_keep_the_thread_too() {
    let _watch = watch();
    let runtime = runtime(8);
    runtime.run(|| {
        let handles: Vec<_> = (0..64)
            .map(|_| {
                spawn(|| {
                    let g = Generator::new(|y: &Yielder<ThreadId>| {
                        let shared = LOCAL.with(|local| local.shared.clone());
                        for n in 0..100 {
                            shared.set(shared.get() + 1);
                            if n % 3 == 0 {
                                sleep(ms(0));
                            } else {
                                yield_now();
                            }
                            y.yield_(thread::current().id());
                        }
                    });
                    let home = thread::current().id();
                    assert!(g.inspect(|_| yield_now()).all(|id| id == home));
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

/// What `std` keeps per thread: a lock guard that must be dropped where it was made.
#[test]
fn a_lock_guard_is_released_by_the_thread_that_took_it() {
    let _watch = watch();
    let runtime = runtime(8);
    runtime.run(|| {
        let handles: Vec<_> = (0..64)
            .map(|_| {
                spawn(|| {
                    // A lock of its own: held over waits, it stops nobody else.
                    let (own, taken_on) = (Mutex::new(0), thread::current().id());
                    for _ in 0..50 {
                        let mut guard = own.lock().unwrap();
                        yield_now();
                        *guard += 1;
                        assert_eq!(thread::current().id(), taken_on);
                    }
                    assert!(!own.is_poisoned() && own.into_inner().unwrap() == 50);
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

/// Closures are dropped on the thread that starts their task, or on the one that gets them back.
#[test]
fn a_fresh_task_and_its_value_cross_threads_and_nothing_else_does() {
    let _watch = watch();
    let runtime = runtime(2);
    let (made, started, given) = runtime.run(|| {
        let made = thread::current().id();
        let task = spawn(move || {
            let started = thread::current().id();
            yield_now();
            assert_eq!(thread::current().id(), started);
            (made, started, vec![started])
        });
        while !task.is_finished() {
            // Computes: somebody else must take it.
            std::hint::spin_loop();
        }
        task.join().unwrap()
    });
    assert_ne!(made, started);
    assert_eq!(given, [started]);
}

// ---- unwinding

/// The thread's count of panics is as it should be for every task, whoever unwinds beside it.
// H17, R4
#[test]
fn unwinding_neighbours_leave_the_threads_count_of_panics_right() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        for round in 0..20 {
            runtime.run(|| {
                let unwinding: Vec<_> = (0..10_u64)
                    .map(|n| {
                        spawn(move || {
                            let _waits = OnDrop(|| {
                                (0..(n + round) % 4).for_each(|_| yield_now());
                                sleep(Duration::from_micros(100 * (n % 3)));
                            });
                            osier::resume_unwind(Box::new(n));
                        })
                    })
                    .collect();
                let healthy: Vec<_> = (0..10_u64)
                    .map(|n| {
                        spawn(move || {
                            (0..n).for_each(|_| yield_now());
                            // A panic of its own among neighbours that unwind, caught where it should be.
                            let caught = osier::catch_unwind(|| {
                                yield_now();
                                osier::resume_unwind(Box::new(n));
                            });
                            *caught.map(|()| 0).unwrap_err().downcast::<u64>().unwrap()
                        })
                    })
                    .collect();
                let cancelled: Vec<_> = (0..10)
                    .map(|n| {
                        spawn(move || {
                            let _waits = OnDrop(|| {
                                yield_now();
                                sleep(Duration::from_micros(50));
                            });
                            if n % 2 == 0 {
                                drop(osier::catch_unwind(|| osier::resume_unwind(Box::new(n))));
                            }
                            sleep(FOR_EVER);
                        })
                    })
                    .collect();
                yield_now();
                cancelled.iter().for_each(JoinHandle::cancel);
                for (n, task) in (0..).zip(unwinding) {
                    let payload = task.join().map(|()| 0).unwrap_err().into_panic().unwrap();
                    assert_eq!(*payload.downcast::<u64>().unwrap(), n);
                }
                for (n, task) in (0..).zip(healthy) {
                    assert_eq!(task.join().unwrap(), n);
                }
                for task in cancelled {
                    assert!(task.join().unwrap_err().is_cancelled());
                }
            });
        }
        // A fresh look from each worker.
        let looks: Vec<_> = (0..4 * workers).map(|_| runtime.spawn(thread::panicking)).collect();
        assert!(looks.into_iter().all(|look| !look.join().unwrap()));
    }
}

/// A task that caught a panic of its own, with std's `catch_unwind`, while a neighbour waits in the middle of an unwind:
/// nobody can tell whether it unwinds too, so a cancel may have to wait for the neighbour. It must not be forgotten.
// H17
#[test]
fn a_cancel_that_comes_beside_an_unwinding_neighbour_is_not_lost() {
    let _watch = watch();
    let runtime = runtime(1);
    let (in_drop, dropping) = channel::bounded(1);
    let (go_on, goes_on) = channel::bounded::<()>(0);
    let neighbour = runtime.spawn(move || {
        let _waits = OnDrop(|| {
            in_drop.send(()).unwrap();
            _ = goes_on.recv();
        });
        panic!("a neighbour that takes its time");
    });
    dropping.recv().unwrap();
    let (caught, catches) = channel::bounded(1);
    let task = runtime.spawn(move || {
        drop(panic::catch_unwind(|| panic!("caught")));
        caught.send(()).unwrap();
        sleep(FOR_EVER);
    });
    catches.recv().unwrap();
    // The worker has nothing else to do: when it answers, the task sleeps.
    runtime.run(yield_now);
    task.cancel();
    runtime.run(yield_now);
    drop(go_on);
    assert!(neighbour.join().map(|()| 0).unwrap_err().is_panic());
    let (ended, ends) = channel::bounded(1);
    thread::spawn(move || ended.send(task.join().map_err(|error| error.is_cancelled())));
    assert_eq!(ends.recv_timeout(ms(5000)), Ok(Err(true)), "the task sleeps on, though nobody unwinds any more");
}

/// Cancels that come at any moment, into tasks that wait in every way and clean up in every way.
#[test]
fn random_cancels_leave_nothing_behind() {
    let _watch = watch();
    let mut random = Random::new();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let tally = Tally::default();
        let seeds: Vec<_> = (0..4).map(|_| random.below(1 << 40)).collect();
        runtime.run(|| {
            let spawners: Vec<_> = seeds
                .into_iter()
                .map(|seed| {
                    let tally = tally.clone();
                    spawn(move || cancel_at_random(&tally, Random::seeded(seed)))
                })
                .collect();
            spawners.into_iter().for_each(|spawner| spawner.join().unwrap());
        });
        drop(runtime);
        tally.assert_all_dropped(tally.made());
    }
}

/// Shutdowns that come at any moment, into the same; whatever spawns then panics, and that is all.
#[test]
fn random_shutdowns_leave_nothing_behind() {
    let _watch = watch();
    let mut random = Random::new();
    for round in 0..30 {
        let runtime = runtime([1, 2, 8][round % 3]);
        let tally = Tally::default();
        let spawners: Vec<_> = (0..4)
            .map(|_| {
                let (tally, seed) = (tally.clone(), random.below(1 << 40));
                runtime.spawn(move || cancel_at_random(&tally, Random::seeded(seed)))
            })
            .collect();
        let enough = usize::try_from(random.below(2000)).unwrap();
        until(|| tally.made() >= enough || spawners.iter().all(JoinHandle::is_finished));
        runtime.shutdown(FOR_EVER).unwrap();
        assert!(spawners.iter().all(JoinHandle::is_finished));
        tally.assert_all_dropped(tally.made());
    }
}

fn cancel_at_random(tally: &Tally, mut random: Random) {
    let (sender, receiver) = channel::bounded(2);
    let mut tasks: Vec<JoinHandle<u64>> = Vec::new();
    for _ in 0..1500 {
        let (tally, sender, inner, seed) = (tally.clone(), sender.clone(), receiver.clone(), random.below(1 << 40));
        tasks.push(spawn(move || wait_at_random(&tally, &sender, &inner, Random::seeded(seed), 3)));
        if tasks.len() > 20 {
            let at = usize::try_from(random.below(20)).unwrap();
            let task = tasks.swap_remove(at);
            if random.below(2) == 0 {
                task.cancel();
            }
            if random.below(3) == 0 {
                // Detached: whatever it waits for comes, or the runtime's end does.
                continue;
            }
            if let Err(error) = join_while_serving(task, &receiver) {
                assert!(error.is_cancelled(), "{error}");
            }
        }
        if random.below(10) == 0 {
            yield_now();
        }
    }
    tasks.iter().for_each(JoinHandle::cancel);
    for task in tasks {
        if let Err(error) = join_while_serving(task, &receiver) {
            assert!(error.is_cancelled(), "{error}");
        }
    }
}

/// Joins, and takes from the channel meanwhile what the joined one may be trying to send.
fn join_while_serving(task: JoinHandle<u64>, receiver: &Receiver<common::Token>) -> Result<u64, osier::JoinError> {
    until(|| {
        receiver.try_iter().for_each(drop);
        task.is_finished()
    });
    task.join()
}

fn wait_at_random(
    tally: &Tally,
    sender: &Sender<common::Token>,
    receiver: &Receiver<common::Token>,
    mut random: Random,
    depth: u32,
) -> u64 {
    let _token = tally.token();
    let seed = random.below(1 << 40);
    let _cleans = OnDrop(|| match seed % 5 {
        0 => yield_now(),
        1 => sleep(Duration::from_micros(seed % 100)),
        2 => drop(sender.send_timeout(tally.token(), Duration::from_micros(100))),
        // Not `spawn`: the runtime may be closing, and a panic in a destructor that cleans up aborts.
        3 => _ = try_spawn(move || seed).map(JoinHandle::join),
        _ => drop(receiver.try_recv()),
    });
    for _ in 0..random.below(6) {
        match random.below(8) {
            0 => yield_now(),
            1 => sleep(Duration::from_micros(random.below(300))),
            2 => drop(receiver.recv_timeout(Duration::from_micros(random.below(300)))),
            3 => drop(sender.send(tally.token())),
            4 if depth > 0 => {
                let (tally, sender, receiver) = (tally.clone(), sender.clone(), receiver.clone());
                let seed = random.below(1 << 40);
                let inner = move || wait_at_random(&tally, &sender, &receiver, Random::seeded(seed), depth - 1);
                drop(spawn(inner).join());
            }
            5 if depth > 0 => {
                let inner = Random::seeded(random.below(1 << 40));
                _ = run(|| wait_at_random(tally, sender, receiver, inner, depth - 1));
            }
            6 if depth > 0 => {
                let (tally, sender, receiver) = (tally.clone(), sender.clone(), receiver.clone());
                let inner = Random::seeded(random.below(1 << 40));
                let mut g = Generator::new(move |y: &Yielder<u64>| {
                    let _token = tally.token();
                    y.yield_(1);
                    y.yield_(wait_at_random(&tally, &sender, &receiver, inner, 0));
                });
                _ = (g.next(), g.next());
            }
            _ => {}
        }
    }
    seed
}

// ---- who unwinds

/// Generators within reach of everybody on a thread.
type Slots = [RefCell<Option<Generator<u64>>>; 8];

thread_local! {
    static SLOTS: Slots = const { [const { RefCell::new(None) }; 8] };
}

/// What bodies and destructors do: yield, wait, resume, close, drop and make others, panic, and nest destructors that
/// do the same. Nothing panics out of a destructor; everything else may.
struct Chaos<'a> {
    yielder: Option<&'a Yielder<u64>>,
    in_task: bool,
    random: RefCell<Random>,
}

impl Chaos<'_> {
    fn below(&self, end: u64) -> u64 {
        self.random.borrow_mut().below(end)
    }

    fn act(&self, depth: u32, may_panic: bool) {
        let slot = usize::try_from(self.below(8)).unwrap();
        let slot = |f: &dyn Fn(&mut Generator<u64>)| {
            // Taken out meanwhile, so that whoever comes by finds nothing.
            let Some(mut g) = SLOTS.with(|slots| slots[slot].take()) else { return };
            // A panic that leaves a body ends here.
            _ = panic::catch_unwind(panic::AssertUnwindSafe(|| f(&mut g)));
            let other = SLOTS.with(|slots| slots[slot].replace(Some(g)));
            drop(other);
        };
        match self.below(12) {
            0..2 => _ = self.yielder.map(|yielder| yielder.yield_(1)),
            2..5 => slot(&|g| _ = g.next()),
            5 => slot(&|g| _ = g.close()),
            6 => slot(&|g| drop(std::mem::replace(g, chaotic(self.below(1 << 40), self.in_task)))),
            7 => {
                let made = chaotic(self.below(1 << 40), self.in_task);
                let at = usize::try_from(self.below(8)).unwrap();
                let other = SLOTS.with(|slots| slots[at].replace(Some(made)));
                drop(other);
            }
            8 if depth > 0 => {
                let _then = OnDrop(|| self.act(depth - 1, false));
                self.act(depth - 1, may_panic);
            }
            9 if may_panic => panic!("chaos"),
            10 if self.in_task => sleep(Duration::from_micros(self.below(30))),
            11 if self.in_task => {
                let n = self.below(100);
                if let Ok(task) = try_spawn(move || n) {
                    _ = task.join();
                }
            }
            _ => {}
        }
    }
}

fn chaotic(seed: u64, in_task: bool) -> Generator<u64> {
    Generator::new(move |y: &Yielder<u64>| {
        let chaos = Chaos { yielder: Some(y), in_task, random: RefCell::new(Random::seeded(seed)) };
        let _last = OnDrop(|| chaos.act(1, false));
        (0..20).for_each(|_| chaos.act(2, true));
    })
}

fn chaotic_task(seed: u64) {
    let chaos = Chaos { yielder: None, in_task: true, random: RefCell::new(Random::seeded(seed)) };
    let _last = OnDrop(|| chaos.act(1, false));
    (0..30).for_each(|_| {
        chaos.act(2, true);
        yield_now();
    });
}

/// Throwing into what unwinds already would end the process; so would a wrong count of panics.
fn random_unwinding() {
    // Thousands of panics need not be seen.
    panic::set_hook(Box::new(|_| ()));
    let mut random = Random::new();
    let rounds = if cfg!(debug_assertions) { 100 } else { 400 };
    for _ in 0..rounds {
        // What a leaked stack leaves behind is its thread's: a new one each time.
        let seed = random.below(1 << 40);
        let thread = thread::spawn(move || {
            let chaos = Chaos { yielder: None, in_task: false, random: RefCell::new(Random::seeded(seed)) };
            (0..300).for_each(|_| _ = panic::catch_unwind(panic::AssertUnwindSafe(|| chaos.act(2, true))));
            SLOTS.with(|slots| slots.iter().for_each(|slot| drop(slot.take())));
        });
        thread.join().unwrap();

        let runtime = runtime(1);
        let seeds: Vec<_> = (0..30).map(|_| random.below(1 << 40)).collect();
        let tasks: Vec<_> = seeds.iter().map(|&seed| runtime.spawn(move || chaotic_task(seed))).collect();
        for (task, seed) in tasks.iter().zip(seeds) {
            if seed % 3 == 0 {
                task.cancel();
            }
            if seed % 5 == 0 {
                yield_now();
            }
        }
        for task in tasks {
            drop(task.join());
        }
        runtime.run(|| SLOTS.with(|slots| slots.iter().for_each(|slot| drop(slot.take()))));
    }
}

// H17, H48
#[test]
fn random_unwinding_among_waits_never_aborts() {
    let _watch = watch();
    assert_ended_well(&run_program("random unwinding"));
}

// ---- signals

/// A timer's signal at 1 kHz and another one, whose handlers run on whatever stack is current.
// H31
fn signals() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn handler(_: libc::c_int) {
        SEEN.fetch_add(1, Ordering::Relaxed);
    }
    for signal in [libc::SIGPROF, libc::SIGUSR1] {
        // SAFETY: all zeroes is a valid `sigaction`; the handler has the plain signature and touches one atomic.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
        }
    }
    let every = libc::timeval { tv_sec: 0, tv_usec: 1000 };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: the struct is read during the call.
    assert_eq!(unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, std::ptr::null_mut()) }, 0);
    let runtime = Runtime::builder().workers(2).stack_size(64 * 1024).build().unwrap();
    until(|| {
        // SAFETY: sends a signal that has a handler to this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
        let sum: u64 = runtime.run(|| {
            let tasks: Vec<_> = (0..100_u64)
                .map(|n| {
                    spawn(move || {
                        let mut g = Generator::new(move |y: &Yielder<u64>| (0..20).for_each(|i| y.yield_(i * n)));
                        let sum = g.by_ref().inspect(|_| yield_now()).sum::<u64>();
                        assert_eq!(format!("{sum:>10}").trim(), sum.to_string());
                        sum
                    })
                })
                .collect();
            tasks.into_iter().map(|task| task.join().unwrap()).sum()
        });
        assert_eq!(sum, 190 * 4950);
        SEEN.load(Ordering::Relaxed) > 300
    });
}

// H31
#[test]
fn signal_handlers_on_task_stacks_do_no_harm() {
    let _watch = watch();
    assert_ended_well(&run_program("signals"));
}

// ---- foreign threads

/// Threads that come and go, spawn, join, cancel and receive, while the runtime's own tasks do the same.
#[test]
fn foreign_threads_use_handles_and_channels_freely() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = Arc::new(runtime(workers));
        let tally = Tally::default();
        let threads: Vec<_> = (0..8)
            .map(|id| {
                let (runtime, tally) = (runtime.clone(), tally.clone());
                thread::spawn(move || {
                    let mut random = Random::seeded(id + 1);
                    for _ in 0..200 {
                        let (sender, receiver) = channel::bounded(usize::try_from(random.below(2)).unwrap());
                        let token = tally.token();
                        let task = runtime.spawn(move || {
                            yield_now();
                            drop(sender.send(token));
                            sleep(Duration::from_micros(50));
                            7
                        });
                        match random.below(4) {
                            0 => {
                                drop(receiver.recv().unwrap());
                                assert_eq!(task.join().unwrap(), 7);
                            }
                            1 => {
                                task.cancel();
                                drop(receiver.recv());
                                assert!(task.join().is_ok_and(|n| n == 7) || receiver.recv().is_err());
                            }
                            2 => drop((task, receiver)),
                            _ => {
                                drop(receiver);
                                assert_eq!(task.join().unwrap(), 7);
                            }
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(Arc::into_inner(runtime).unwrap());
        tally.assert_all_dropped(1600);
    }
}

/// A handle's last owner may be anybody: tasks whose handles are dropped elsewhere, at any moment.
#[test]
fn handles_dropped_while_their_tasks_end_free_everything_once() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let tally = Tally::default();
        let (hand_over, handles) = channel::bounded::<JoinHandle<common::Token>>(16);
        let dropper = thread::spawn(move || {
            for (n, handle) in handles.iter().enumerate() {
                match n % 3 {
                    0 => drop(handle),
                    1 => handle.cancel(),
                    _ => drop(handle.join()),
                }
            }
        });
        for _ in 0..5000 {
            let token = tally.token();
            hand_over.send(runtime.spawn(move || token)).unwrap();
        }
        drop(hand_over);
        dropper.join().unwrap();
        drop(runtime);
        tally.assert_all_dropped(5000);
    }
}

/// Code that blocks its thread holds its worker and no other.
#[test]
fn a_held_worker_gets_its_wake_ups_later() {
    let _watch = watch();
    let runtime = runtime(2);
    runtime.run(|| {
        let (sender, receiver) = channel::bounded::<u32>(1);
        let holds = spawn(move || {
            // Its wake-up lies in its worker's inbox while the worker is held.
            let value = receiver.recv().unwrap();
            hold_thread(ms(5));
            value
        });
        yield_now();
        sender.send(5).unwrap();
        let others: Vec<_> = (0..100).map(|n| spawn(move || n)).collect();
        assert_eq!(others.into_iter().map(|other| other.join().unwrap()).sum::<u32>(), 4950);
        assert_eq!(holds.join().unwrap(), 5);
    });
}

// H03: `exit` runs the destructors of its thread's variables in the middle of a task, where the worker lives.
#[test]
fn what_a_workers_thread_local_holds_is_left_when_a_task_ends_the_process() {
    let _watch = watch();
    let output = run_program("exit in a task");
    assert_eq!(output.status.code(), Some(42), "{}", common::stderr(&output));
    let said = common::stderr(&output);
    assert!(said.contains("coroutine 'left at the exit' did not end: its stack is leaked"), "{said}");
    assert!(!said.contains("read"), "{said}");
}

fn exit_in_a_task() {
    thread_local! {
        static KEPT: RefCell<Option<Generator<()>>> = const { RefCell::new(None) };
        static TEXT: String = "F".repeat(40);
    }
    run(|| {
        // First, so it is destroyed last.
        KEPT.set(None);
        let body = |y: &Yielder<()>| {
            TEXT.with(|text| {
                let _reads = OnDrop(|| eprintln!("read {text}"));
                y.yield_(());
            });
        };
        let mut g = Generator::builder(body).name("left at the exit").build();
        g.next();
        KEPT.set(Some(g));
        std::process::exit(42);
    });
}
