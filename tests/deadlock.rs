//! Tasks that wait for each other, or for nobody: when that is certain, and when it is not.

#![cfg(all(feature = "blocking", target_os = "linux", panic = "unwind"))]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::time::{Duration, Instant};

use common::{assert_ended_well, hold_thread, ms, panic_text, run_program, watch};
use osier::actor::{self, Mailbox, Reply};
use osier::runtime::{Deadlock, LocalRuntime, OnDeadlock};
use osier::sync::channel;
use osier::task::{self, Task, TaskState};
use osier::{Pool, Report, Runtime, run, sleep, spawn, spawn_local};

/// Longer than until the second look.
const WHILE_OTHERS_LOOK: Duration = Duration::from_millis(300);

fn closed(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).closed_world(true).build().unwrap()
}

/// Waits for what only its own task could send.
fn wait_for_oneself() {
    let (sender, receiver) = channel::bounded::<u32>(1);
    _ = receiver.recv();
    drop(sender);
}

// H34
#[test]
fn two_tasks_that_wait_for_each_other_are_told() {
    let _watch = watch();
    let runtime = closed(2);
    let began = Instant::now();
    let line = line!();
    let deadlock = runtime.try_run(|| {
        let (to_left, left) = channel::bounded::<u32>(1);
        let (to_right, right) = channel::bounded::<u32>(1);
        let left_hand = task::Builder::new().name("left hand");
        let left_hand = left_hand.spawn(move || left.recv().map(|n| to_right.send(n)));
        let right_hand = task::Builder::new().name("right hand");
        let right_hand = right_hand.spawn(move || right.recv().map(|n| to_left.send(n)));
        _ = left_hand.join();
        _ = right_hand.join();
    });
    let deadlock: Deadlock = deadlock.unwrap_err();
    eprintln!("after {:?}: {deadlock}", began.elapsed());
    let tasks: Vec<_> = deadlock.tasks().collect();
    assert_eq!(tasks.len(), 3, "{deadlock}");
    for name in ["left hand", "right hand"] {
        let task = tasks.iter().find(|task| task.name == name).unwrap();
        assert_eq!((task.state, task.waits_for.as_deref()), (TaskState::Waiting, Some("a channel")));
        assert_eq!(task.spawned_at.file(), file!());
        assert!((line..line + 10).contains(&task.spawned_at.line()));
    }
    assert!(tasks.iter().any(|task| task.waits_for.as_deref() == Some("task 'left hand'")), "{deadlock}");
    let text = deadlock.to_string();
    assert!(text.starts_with("deadlock: ") && text.contains("'left hand'") && text.contains(file!()), "{text}");
    assert!(
        !cfg!(all(feature = "backtrace", target_arch = "x86_64")) || text.contains("two_tasks_that_wait"),
        "{text}"
    );
    assert!(deadlock.dumps().len() == 1 && deadlock.dumps()[0].workers.iter().all(|worker| worker.is_asleep));
    assert_eq!(runtime.run(|| 7), 7, "the runtime goes on");
}

/// How long it takes until a deadlock is told, at best: the machine may be busy with other tests, and names of functions
/// are looked up the first time.
fn soonest(mut told: impl FnMut()) -> Duration {
    let time = |_| {
        let began = Instant::now();
        told();
        began.elapsed()
    };
    (0..5).map(time).min().unwrap()
}

// H34
#[test]
fn it_is_told_within_a_second() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = closed(workers);
        let took = soonest(|| assert!(runtime.try_run(wait_for_oneself).is_err()));
        assert!(took < Duration::from_secs(1), "{workers} workers: {took:?}");
    }
    let local = Runtime::builder().closed_world(true).build_local();
    let took = soonest(|| assert!(local.try_run(wait_for_oneself).is_err()));
    assert!(took < Duration::from_secs(1), "a local runtime: {took:?}");
}

// GV-023
#[test]
fn a_task_that_joins_itself_is_told() {
    let _watch = watch();
    let joins_itself = || {
        let me = task::Builder::new().name("joins itself");
        me.spawn(|| task::current().join()).join().map(drop)
    };
    let told = closed(1).try_run(joins_itself).unwrap_err().to_string();
    assert!(told.contains("waits for task 'joins itself'"), "{told}");
    let told = panic_text(|| Runtime::builder().closed_world(true).build_local().run(|| task::current().join()));
    assert!(told.starts_with("deadlock: "), "{told}");
}

/// Answers each question with what the actor `other` answers, and one more.
fn ask_on(other: &'static str) -> impl FnOnce(&Mailbox<Reply<u32>>) + Send + 'static {
    move |inbox| {
        for reply in inbox {
            let other = actor::find::<Reply<u32>>(other).unwrap();
            let answer = other.ask(|reply| reply).unwrap_or(0);
            _ = reply.send(answer + 1);
        }
    }
}

// Which of them would be answered by somebody else cannot be known: so it is no error, until nobody can go on.
#[test]
fn actors_that_ask_each_other_in_a_circle_are_told() {
    let _watch = watch();
    let runtime = closed(2);
    let names = ["asks the second", "asks the third", "asks the first"];
    let deadlock = runtime.try_run(|| {
        let circle = [0, 1, 2].map(|n| actor::start(names[n], ask_on(names[(n + 1) % 3])).unwrap());
        circle[0].ask(|reply| reply)
    });
    let told = deadlock.unwrap_err().to_string();
    assert!(names.iter().all(|name| told.contains(&format!("'{name}'"))), "{told}");
}

// GV-188
#[test]
fn run_panics_with_what_its_tasks_wait_for_once_they_have_unwound() {
    let _watch = watch();
    let tokens = common::Tally::default();
    let told = panic_text(|| {
        closed(1).run(|| {
            let _token = tokens.token();
            wait_for_oneself();
        });
    });
    assert!(told.starts_with("deadlock: ") && told.contains("waits for a channel"), "{told}");
    tokens.assert_all_dropped(1);
}

// GV-152
#[test]
fn a_member_that_waits_for_a_place_in_its_own_full_pool_is_told() {
    let _watch = watch();
    let deadlock = closed(1).try_run(|| {
        let pool = Pool::new(1);
        let inner = pool.clone();
        pool.spawn(move || inner.spawn(|| 7).join().unwrap()).join()
    });
    let deadlock = deadlock.unwrap_err();
    assert_eq!(deadlock.tasks().count(), 2, "{deadlock}");
    // Those that need no place of their own.
    let value = closed(1).try_run(|| {
        let pool = Pool::new(1);
        let inner = pool.clone();
        let outer = pool.spawn(move || (inner.apply(|| 7), inner.apply_async(|| 8)));
        let (seven, eight) = outer.join().unwrap();
        (seven, eight.join().unwrap())
    });
    assert_eq!(value.unwrap(), (7, 8));
}

#[test]
fn a_root_that_returns_nevertheless_returns() {
    let _watch = watch();
    let value = closed(1).try_run(|| osier::catch_exit(wait_for_oneself).is_err());
    assert!(value.unwrap());
}

#[test]
fn a_local_runtime_and_one_for_tests_tell_as_well() {
    let _watch = watch();
    let local = Runtime::builder().closed_world(true).build_local();
    let deadlock = local.try_run(|| {
        let parked = spawn_local(task::park);
        parked.join().unwrap();
    });
    assert_eq!(deadlock.unwrap_err().tasks().count(), 2);
    assert_eq!(local.run(|| 7), 7);
    let told = panic_text(|| local.run(|| local.run(wait_for_oneself)));
    assert!(told.contains("waits for a channel"), "{told}");
    let test = Runtime::builder().test(7).closed_world(true).build().unwrap();
    let deadlock = test.try_run(|| {
        sleep(Duration::from_secs(3600));
        wait_for_oneself();
    });
    assert!(deadlock.unwrap_err().to_string().contains("waits for a channel"));
}

#[test]
fn every_run_that_waits_is_told() {
    let _watch = watch();
    let runtime = closed(2);
    let both = Barrier::new(2);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    runtime.try_run(|| {
                        // Both roots wait before the workers have slept for long.
                        both.wait();
                        wait_for_oneself();
                    })
                })
            })
            .collect();
        for run in runs {
            assert!(run.join().unwrap().is_err());
        }
    });
}

// H46
#[test]
fn a_run_inside_another_runtime_is_told_where_it_waits() {
    let _watch = watch();
    let (outer, inner) = (closed(1), closed(1));
    let told = panic_text(|| outer.run(|| inner.run(wait_for_oneself)));
    assert!(told.contains("deadlock: "), "{told}");
}

// ---- what is no deadlock

#[test]
fn timers_blocking_calls_and_descriptors_wake_tasks() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = closed(workers);
        assert!(runtime.try_run(|| sleep(WHILE_OTHERS_LOOK)).is_ok());
        // The channel is not what will come; its timeout is.
        let (sender, receiver) = channel::bounded::<u32>(1);
        assert!(runtime.try_run(|| receiver.recv_timeout(WHILE_OTHERS_LOOK).is_err()).unwrap());
        drop(sender);
        assert_eq!(runtime.try_run(|| task::unblock(|| hold_thread(WHILE_OTHERS_LOOK))).ok(), Some(()));
    }
    let local = Runtime::builder().closed_world(true).build_local();
    assert!(local.try_run(|| sleep(WHILE_OTHERS_LOOK)).is_ok());
    assert!(local.try_run(|| task::unblock(|| hold_thread(WHILE_OTHERS_LOOK))).is_ok());
}

#[cfg(feature = "net")]
#[test]
fn a_socket_wakes_tasks_daemons_too() {
    use std::io::{Read, Write};
    let _watch = watch();
    let runtime = closed(2);
    let listener = osier::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::thread::spawn(move || {
        hold_thread(WHILE_OTHERS_LOOK);
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        hold_thread(WHILE_OTHERS_LOOK);
        stream.write_all(b"7").unwrap();
    });
    let received = runtime.try_run(|| {
        let (sender, receiver) = channel::bounded(1);
        // Nobody but the daemon waits for the socket, and all others for the daemon.
        let daemon = task::Builder::new().name("daemon").daemon();
        drop(daemon.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            sender.send(byte[0]).unwrap();
        }));
        receiver.recv().unwrap()
    });
    assert_eq!(received.unwrap(), b'7');
    client.join().unwrap();
}

#[cfg(feature = "net")]
#[test]
fn a_signal_wakes_tasks_though_the_world_is_closed() {
    use osier::signal::{Signal, Signals};
    let _watch = watch();
    let signals = Signals::new([Signal::USER1]).unwrap();
    let raiser = std::thread::spawn(|| {
        hold_thread(2 * WHILE_OTHERS_LOOK);
        // SAFETY: it takes no pointers, and the signal has a handler.
        unsafe { libc::raise(libc::SIGUSR1) };
    });
    assert_eq!(closed(1).try_run(|| signals.wait().unwrap()).unwrap(), Signal::USER1);
    raiser.join().unwrap();
}

// H37
#[test]
fn workers_that_block_are_no_deadlock() {
    let _watch = watch();
    let runtime = closed(2);
    let value = runtime.try_run(|| {
        let held: Vec<_> = (0..2).map(|_| spawn(|| hold_thread(WHILE_OTHERS_LOOK))).collect();
        held.into_iter().for_each(|task| task.join().unwrap());
        7
    });
    assert_eq!(value.unwrap(), 7);
}

#[test]
fn daemons_that_wait_are_no_deadlock() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(2).closed_world(true).on_deadlock(OnDeadlock::Report).build().unwrap();
    let waiting = task::Builder::new().name("waits for ever").daemon();
    drop(runtime.run(|| waiting.spawn(task::park)));
    assert!(runtime.wait_idle(Duration::from_secs(10)));
    let local = LocalRuntime::new();
    let waiting = task::Builder::new().daemon();
    local.run(|| drop(waiting.spawn_local(task::park)));
    local.run_until_idle();
}

/// What was reported in this process as a deadlock.
fn reported() -> &'static Mutex<Vec<String>> {
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static SET: std::sync::Once = std::sync::Once::new();
    SET.call_once(|| {
        drop(osier::set_report_hook(|report| {
            if matches!(report, Report::Deadlock { .. }) {
                SEEN.lock().unwrap().push(report.to_string());
            }
        }));
    });
    &SEEN
}

#[test]
fn a_deadlock_may_only_be_reported() {
    let _watch = watch();
    let reported = reported();
    let runtime = Runtime::builder().workers(2).closed_world(true).on_deadlock(OnDeadlock::Report).build().unwrap();
    let (sender, receiver) = channel::bounded(1);
    std::thread::scope(|scope| {
        let name = task::Builder::new().name("only reported");
        let run = scope.spawn(|| runtime.try_run(|| name.spawn(move || receiver.recv()).join()));
        let told = || reported.lock().unwrap().iter().filter(|text| text.contains("'only reported'")).count();
        common::until(|| told() > 0);
        // After the last look it is still told once.
        hold_thread(ms(1000));
        assert_eq!(told(), 1);
        // The promise was not kept, and nothing has been cancelled.
        sender.send(7).unwrap();
        assert_eq!(run.join().unwrap().unwrap().unwrap(), Ok(7));
    });
}

// ---- without a promise: in processes that have no other threads

/// What a program does alone in its process, by its name.
const PROGRAMS: &[(&str, fn())] = &[
    ("root", || {
        let took = soonest(|| {
            let told = panic_text(|| run(wait_for_oneself));
            assert!(told.contains("waits for a channel"), "{told}");
        });
        assert!(took < Duration::from_secs(1), "{took:?}");
    }),
    ("two runtimes", || {
        let runtimes = [1, 2].map(|workers| Runtime::builder().workers(workers).build().unwrap());
        let [left, right] = &runtimes;
        let deadlock = left.try_run(|| {
            let (sender, receiver) = channel::bounded::<u32>(1);
            let other = right.spawn(move || receiver.recv());
            let joined = other.join().map(drop);
            drop(sender);
            joined
        });
        let deadlock = deadlock.unwrap_err();
        assert_eq!(deadlock.dumps().len(), 2, "{deadlock}");
        // And where a task of the other one will wake it, there is none.
        let woken = left.try_run(|| {
            let (sender, receiver) = channel::bounded(1);
            drop(right.spawn(move || {
                sleep(WHILE_OTHERS_LOOK);
                sender.send(7).unwrap();
            }));
            receiver.recv()
        });
        assert_eq!(woken.unwrap(), Ok(7));
    }),
    ("local", || {
        let told = panic_text(|| LocalRuntime::new().run(wait_for_oneself));
        assert!(told.contains("waits for a channel"), "{told}");
        let told = panic_text(|| run(|| LocalRuntime::new().run(wait_for_oneself)));
        assert!(told.contains("waits for a channel"), "{told}");
    }),
    ("thread that waits for the task", || {
        let (sender, receiver) = channel::bounded::<u32>(1);
        let (to_thread, in_thread) = channel::bounded::<u32>(1);
        let thread = std::thread::spawn(move || {
            _ = in_thread.recv();
            drop(sender);
        });
        let told = panic_text(|| {
            run(move || {
                _ = receiver.recv();
                drop(to_thread);
            });
        });
        assert!(told.contains("waits for a channel"), "{told}");
        thread.join().unwrap();
    }),
    ("no run", || {
        drop(osier::set_report_hook(|report| {
            let is_told = matches!(report, Report::Deadlock { .. }) && report.to_string().contains("'nobody runs'");
            // SAFETY: ends the process.
            unsafe { libc::_exit(if is_told { 0 } else { 2 }) }
        }));
        task::Builder::new().name("nobody runs").spawn(task::park).join().unwrap();
    }),
    ("thread with a sender", || {
        static SENDER: OnceLock<channel::Sender<u32>> = OnceLock::new();
        let (sender, receiver) = channel::bounded(2);
        SENDER.set(sender).unwrap();
        let thread = std::thread::spawn(|| {
            hold_thread(WHILE_OTHERS_LOOK);
            SENDER.get().unwrap().send(7).unwrap();
        });
        assert_eq!(run(|| receiver.recv()), Ok(7));
        thread.join().unwrap();
    }),
    ("thread with a timeout", || {
        let (sender, receiver) = channel::bounded(1);
        let thread = std::thread::spawn(move || {
            let (_never, nothing) = channel::bounded::<u32>(1);
            assert!(nothing.recv_timeout(WHILE_OTHERS_LOOK).is_err());
            sender.send(7).unwrap();
        });
        assert_eq!(run(|| receiver.recv()), Ok(7));
        thread.join().unwrap();
    }),
    ("thread that waits for a signal", || {
        let (sender, receiver) = channel::bounded(1);
        // SAFETY: plain calls on a set of this function's; the signal is blocked in threads that begin after this.
        let signals = unsafe {
            let mut signals = std::mem::zeroed();
            libc::sigemptyset(&raw mut signals);
            libc::sigaddset(&raw mut signals, libc::SIGALRM);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
            signals
        };
        let thread = std::thread::spawn(move || {
            let mut signal = 0;
            // SAFETY: it reads the set and writes the number.
            unsafe { libc::sigwait(&raw const signals, &raw mut signal) };
            sender.send(signal).unwrap();
        });
        alarm_soon();
        assert_eq!(run(|| receiver.recv()), Ok(libc::SIGALRM));
        thread.join().unwrap();
    }),
    ("signal handler", || {
        static WAITING: OnceLock<Task> = OnceLock::new();
        extern "C" fn wake(_: libc::c_int) {
            // Every thread sleeps, so none is interrupted while it has a lock.
            WAITING.get().unwrap().unpark();
        }
        let handler: extern "C" fn(libc::c_int) = wake;
        // SAFETY: a function of the right type.
        unsafe { libc::signal(libc::SIGALRM, handler as libc::sighandler_t) };
        run(|| {
            WAITING.set(task::current()).unwrap();
            alarm_soon();
            task::park();
        });
    }),
    #[cfg(feature = "net")]
    ("task that waits for a signal", || {
        let alarm = osier::signal::Signals::new([osier::signal::Signal::ALARM]).unwrap();
        run(|| {
            alarm_soon();
            assert_eq!(alarm.wait().unwrap(), osier::signal::Signal::ALARM);
        });
    }),
    ("many short waits", || {
        // Threads and tasks that wake each other all the time; a look that is wrong once would end it.
        let runtime = Arc::new(Runtime::builder().workers(2).build().unwrap());
        let is_over = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let (runtime, is_over) = (runtime.clone(), is_over.clone());
                std::thread::spawn(move || {
                    let (sender, receiver) = channel::bounded(0);
                    let (back, again) = channel::bounded(0);
                    let echo = runtime.spawn(move || receiver.iter().for_each(|n: u64| back.send(n).unwrap()));
                    while !is_over.load(Ordering::SeqCst) {
                        sender.send(n).unwrap();
                        assert_eq!(again.recv(), Ok(n));
                        // Around the first look.
                        hold_thread(ms(48 + n));
                    }
                    drop(sender);
                    echo.join().unwrap();
                })
            })
            .collect();
        runtime.run(|| sleep(ms(2000)));
        is_over.store(true, Ordering::SeqCst);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }),
];

/// Sends the process SIGALRM after a while.
fn alarm_soon() {
    let after = libc::timeval { tv_sec: 0, tv_usec: WHILE_OTHERS_LOOK.as_micros().try_into().unwrap() };
    let never = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: never, it_value: after };
    // SAFETY: it reads the struct.
    assert_eq!(unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) }, 0);
}

/// Started by other tests, in a process of its own.
#[test]
fn in_a_process_of_its_own() {
    let Some(program) = common::program() else { return };
    let (_, program) = PROGRAMS.iter().find(|(name, _)| *name == program).expect("a program of this name");
    // The harness has a thread; the child of a fork has only this one.
    // SAFETY: no other thread does anything meanwhile.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: it ends the process, after too long a time.
        unsafe { libc::setpgid(0, 0) };
        let ended_well = std::panic::catch_unwind(program).is_ok();
        // SAFETY: ends the process.
        unsafe { libc::_exit(if ended_well { 0 } else { 1 }) };
    }
    let mut status = 0;
    let began = Instant::now();
    // SAFETY: it writes the status.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } != child {
        if began.elapsed() > Duration::from_secs(40) {
            // SAFETY: a child of ours, that has not been waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
        hold_thread(ms(2));
    }
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "status {status:#x}");
}

fn runs_well(program: &str) {
    let _watch = watch();
    if common::OWN_THREADS || common::miri_cannot("fork") {
        return;
    }
    assert_ended_well(&run_program(program));
}

#[test]
fn it_is_certain_where_every_thread_sleeps() {
    for program in ["root", "two runtimes", "local", "thread that waits for the task", "no run"] {
        runs_well(program);
    }
}

#[test]
fn it_is_not_while_another_thread_may_wake_a_task() {
    for program in ["thread with a sender", "thread with a timeout", "thread that waits for a signal"] {
        runs_well(program);
    }
}

#[test]
fn it_is_not_where_a_signal_has_a_handler() {
    runs_well("signal handler");
}

#[cfg(feature = "net")]
#[test]
fn it_is_not_while_a_task_waits_for_a_signal() {
    runs_well("task that waits for a signal");
}

#[test]
fn nothing_is_claimed_of_programs_that_go_on() {
    runs_well("many short waits");
}
