//! What a runtime tells of its tasks.

#![cfg(all(feature = "backtrace", target_os = "linux"))]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::watch;
use osier::runtime::{Dump, LocalRuntime, TaskDump};
use osier::sync::channel;
use osier::task::{self, TaskState};
use osier::{Generator, Report, Runtime, Yielder, sleep, spawn, spawn_local};

/// Whether stacks of suspended tasks can be told here.
const STACKS: bool =
    cfg!(all(feature = "backtrace", target_os = "linux", target_arch = "x86_64")) && !common::OWN_THREADS;

fn named<'a>(dump: &'a Dump, name: &str) -> Option<&'a TaskDump> {
    dump.tasks.iter().find(|task| task.name == name)
}

/// Dumps again and again until `is_so`.
fn dump_when(runtime: &Runtime, is_so: impl Fn(&Dump) -> bool) -> Dump {
    loop {
        let dump = runtime.dump();
        if is_so(&dump) {
            return dump;
        }
        std::thread::yield_now();
    }
}

#[inline(never)]
fn waits_deep_inside(receiver: &channel::Receiver<u32>) -> u32 {
    let value = receiver.recv().unwrap_or(0);
    std::hint::black_box(value)
}

#[test]
fn smoke() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let (sender, receiver) = channel::bounded::<u32>(1);
    let line = line!() + 1;
    let reader = task::Builder::new().name("reader");
    let reader = runtime.run(|| reader.spawn(move || waits_deep_inside(&receiver)));
    let dump = dump_when(&runtime, |dump| named(dump, "reader").is_some_and(|task| task.state == TaskState::Waiting));
    let task = named(&dump, "reader").unwrap();
    assert_eq!(task.id, reader.task().id().get());
    assert_eq!(task.waits_for.as_deref(), Some("a channel"));
    assert_eq!((task.spawned_at.file(), task.spawned_at.line()), (file!(), line));
    assert_eq!(dump.workers.len(), 2);
    if STACKS {
        let functions: Vec<_> = task.stack.iter().map(|frame| frame.function.as_str()).collect();
        assert!(functions.iter().any(|function| function.contains("waits_deep_inside")), "{functions:?}");
        assert!(task.waits_at().unwrap().function.contains("waits_deep_inside"), "{functions:?}");
    }
    let (text, json) = (dump.to_string(), dump.to_json());
    assert!(text.contains("'reader'") && text.contains("waits for a channel"), "{text}");
    assert!(text.contains(&format!("spawned at {}:{line}", file!())), "{text}");
    assert!(json.contains("\"name\":\"reader\"") && json.contains("\"waits_for\":\"a channel\""), "{json}");
    sender.send(7).unwrap();
    assert_eq!(reader.join().unwrap(), 7);
}

#[test]
fn a_join_is_told_with_the_name_of_the_task() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let parked = runtime.run(|| {
        let parked = task::Builder::new().name("parked").spawn(task::park);
        let other = parked.task();
        drop(task::Builder::new().name("joiner").spawn(move || other.join()));
        parked
    });
    let waits = |dump: &Dump| named(dump, "joiner").is_some_and(|task| task.state == TaskState::Waiting);
    let dump = dump_when(&runtime, waits);
    assert_eq!(named(&dump, "joiner").unwrap().waits_for.as_deref(), Some("task 'parked'"));
    assert_eq!(named(&dump, "parked").unwrap().waits_for.as_deref(), Some("being unparked"));
    parked.task().unpark();
    parked.join().unwrap();
}

#[inline(never)]
fn sleeps_inside_a_generator() {
    sleep(Duration::from_secs(3600));
    std::hint::black_box(());
}

#[test]
fn a_stack_goes_through_the_generators_that_are_parked_with_the_task() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let sleeper = runtime.run(|| {
        task::Builder::new().name("sleeper").spawn(|| {
            let mut outer = Generator::new(|y: &Yielder<u32>| {
                let mut inner = Generator::new(|_: &Yielder<u32>| sleeps_inside_a_generator());
                _ = inner.next();
                y.yield_(1);
            });
            _ = std::hint::black_box(outer.next());
        })
    });
    let waits = |dump: &Dump| named(dump, "sleeper").is_some_and(|task| task.state == TaskState::Waiting);
    let dump = dump_when(&runtime, waits);
    let task = named(&dump, "sleeper").unwrap();
    assert_eq!(task.waits_for.as_deref(), Some("its time"));
    if STACKS {
        let is_here = |file: &String| file.ends_with("tests/diagnosis.rs");
        // By its path, or by its file where that is known.
        let own: Vec<_> = (task.stack.iter())
            .filter(|frame| frame.function.contains("diagnosis::") || frame.file.as_ref().is_some_and(is_here))
            .collect();
        assert!(own[0].function.contains("sleeps_inside_a_generator"), "{task}");
        assert!(own.len() >= 4, "the sleeper's function, two generators and the task: {task}");
    }
    sleeper.kill();
}

#[test]
fn a_dump_does_not_need_the_workers() {
    let _watch = watch();
    static RELEASE: AtomicBool = AtomicBool::new(false);
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let stuck = runtime.spawn(|| {
        // It shares its worker with what spins below.
        drop(spawn_local(|| sleep(Duration::from_secs(3600))));
        task::yield_now();
        while !RELEASE.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
    });
    let dump = dump_when(&runtime, |dump| {
        dump.workers[0].running.is_some() && dump.tasks.iter().any(|task| task.state == TaskState::Waiting)
    });
    assert_eq!(dump.workers[0].running.as_deref(), Some(stuck.name()));
    let sleeper = dump.tasks.iter().find(|task| task.state == TaskState::Waiting).unwrap();
    assert_eq!(sleeper.waits_for.as_deref(), Some("its time"));
    assert!(!STACKS || !sleeper.stack.is_empty());
    RELEASE.store(true, Ordering::SeqCst);
    stuck.join().unwrap();
}

#[test]
fn ten_thousand_tasks_are_told_in_less_than_a_second() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let event = osier::sync::Event::new();
    runtime.run(|| {
        for _ in 0..10_000 {
            let event = event.clone();
            drop(spawn(move || event.wait()));
        }
    });
    // Those that have not begun have no stack yet.
    let all_wait =
        |dump: &Dump| dump.tasks.len() == 10_000 && dump.tasks.iter().all(|task| task.state == TaskState::Waiting);
    let dump = dump_when(&runtime, all_wait);
    let began = Instant::now();
    let again = runtime.dump();
    let took = began.elapsed();
    eprintln!("10 000 tasks in {took:?}");
    assert_eq!(again.tasks.len(), 10_000);
    assert!(!STACKS || dump.tasks.iter().all(|task| !task.stack.is_empty()));
    // Unloaded it is a tenth of that; the machine may be busy with other tests.
    assert!(cfg!(debug_assertions) || took < Duration::from_secs(1), "{took:?}");
    event.set();
}

#[test]
fn tasks_may_come_and_go_while_they_are_looked_at() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    _ = runtime.dump().to_string();
                }
            });
        }
        runtime.run(|| {
            for _ in 0..common::rounds(200) {
                let tasks: Vec<_> = (0..20)
                    .map(|n| {
                        spawn(move || {
                            task::yield_now();
                            let inner = spawn(task::yield_now);
                            sleep(Duration::from_micros(n));
                            inner.join().unwrap();
                        })
                    })
                    .collect();
                tasks.into_iter().for_each(|task| task.join().unwrap());
            }
        });
        is_over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_task_may_dump_its_own_runtime() {
    let _watch = watch();
    let runtime = LocalRuntime::new();
    let text = runtime.run(|| {
        drop(spawn_local(task::park));
        task::yield_now();
        runtime.dump().to_string()
    });
    assert!(text.contains("being unparked") && text.contains("runs task"), "{text}");
}

#[test]
fn ages_and_times_since_are_told() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let waits = |name: &'static str| {
        let waits = move |dump: &Dump| named(dump, name).is_some_and(|task| task.state == TaskState::Waiting);
        let dump = dump_when(&runtime, waits);
        named(&dump, name).map(|task| (task.age, task.since)).unwrap()
    };
    let ms = Duration::from_millis;
    // All sleep, and nobody winds the clock.
    common::hold_thread(ms(1000));
    let began = Instant::now();
    let outside = runtime.spawn(task::park);
    let dump = dump_when(&runtime, |dump| dump.tasks.len() == 1);
    assert!(dump.tasks[0].age <= began.elapsed() + ms(30), "{dump}");
    let parks_twice = || {
        task::park();
        task::park();
    };
    let old = task::Builder::new().name("old");
    let old = runtime.run(|| old.spawn_local(parks_twice).task());
    common::hold_thread(ms(200));
    let (age, since) = waits("old");
    let most = began.elapsed() + ms(30);
    assert!(age >= ms(150) && age <= most && since >= ms(150) && since <= age, "{age:?} {since:?}");
    // Once it was woken, only its age goes on.
    let woken = Instant::now();
    let ran_for = age - since;
    old.unpark();
    // However long a look takes: what it waited for the first time has been added to what it did not wait.
    common::until(|| {
        let (age, since) = waits("old");
        age - since >= ran_for + ms(100)
    });
    let (age, since) = waits("old");
    assert!(age >= ms(150) && since <= woken.elapsed() + ms(30), "{age:?} {since:?}");
    let text = runtime.dump().to_string();
    assert!(
        text.lines().any(|line| line.contains("'old'") && line.contains(" since ") && line.contains("ms old, ")),
        "{text}"
    );
    old.unpark();
    outside.task().unpark();
    outside.join().unwrap();
}

#[test]
fn the_callers_runtime_is_told_without_a_handle_of_it() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(3).build().unwrap();
    let (dump, metrics) = runtime.run(|| (osier::runtime::dump(), osier::runtime::metrics()));
    assert_eq!((dump.workers.len(), metrics.workers.len()), (3, 3));
    assert!(metrics.ran() >= 1 && runtime.metrics().ran() >= metrics.ran());
    let default = osier::run(osier::runtime::dump);
    assert_eq!(osier::runtime::dump().workers.len(), default.workers.len());
}

/// What the watchdog has reported in this process.
fn blocked() -> &'static std::sync::Mutex<Vec<String>> {
    static SEEN: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    static SET: std::sync::Once = std::sync::Once::new();
    SET.call_once(|| {
        drop(osier::set_report_hook(|report| {
            if matches!(report, Report::Blocked { .. }) {
                SEEN.lock().unwrap().push(report.to_string());
            }
        }));
    });
    &SEEN
}

// H35, GV-212
#[test]
fn a_task_that_blocks_its_worker_is_reported_with_those_that_it_holds_up() {
    let _watch = watch();
    let seen = blocked();
    let runtime = Runtime::builder().workers(1).watchdog(Duration::from_millis(20)).build().unwrap();
    let lock = std::sync::Arc::new(std::sync::Mutex::new(()));
    let (holder, blocked) = (lock.clone(), lock.clone());
    let is_seen = || seen.lock().unwrap().iter().any(|line| line.contains("'wants it'") && line.contains("'has it'"));
    let tasks = runtime.run(move || {
        let (locked, is_locked) = channel::bounded(1);
        let (release, released) = channel::bounded::<()>(1);
        let has_it = task::Builder::new().name("has it");
        let (line, wants_it) = (line!(), task::Builder::new().name("wants it"));
        let has_it = has_it.spawn_local(move || {
            let guard = holder.lock().unwrap();
            locked.send(()).unwrap();
            _ = released.recv();
            drop(guard);
        });
        is_locked.recv().unwrap();
        let wants_it = wants_it.spawn_local(move || {
            let began = Instant::now();
            // As `lock` would, but that would never end.
            while blocked.try_lock().is_err() && began.elapsed() < Duration::from_secs(5) && !is_seen() {}
            drop(release);
        });
        (has_it.task(), wants_it.task(), line)
    });
    tasks.1.join().unwrap();
    tasks.0.join().unwrap();
    let line = tasks.2;
    let lines = seen.lock().unwrap().clone();
    let told = lines.iter().find(|line| line.contains("'wants it', spawned at"));
    let told = told.unwrap_or_else(|| panic!("{lines:?}"));
    assert!(told.contains(&format!("{}:{line}", file!())) && told.contains("has held worker 0 for"), "{told}");
    assert!(told.contains("held up meanwhile") && told.contains("'has it'"), "{told}");
}

// GV-212
#[test]
fn a_task_that_holds_its_worker_for_100_ms_is_reported_unless_asked_otherwise() {
    let _watch = watch();
    let seen = blocked();
    let told = |name: &str| {
        let lines = seen.lock().unwrap();
        let line = lines.iter().find(|line| line.contains(&format!("'{name}', spawned")))?;
        let time = line.split_once(" for ")?.1.split_once(" ms")?.0;
        Some(time.parse::<u64>().unwrap())
    };
    let hold_until = |runtime: &Runtime, name: &'static str, is_over: &(dyn Fn(Duration) -> bool + Sync)| {
        let began = Instant::now();
        let holds = task::Builder::new().name(name);
        runtime.run(|| osier::scope(|s| drop(holds.spawn_scoped(s, || while !is_over(began.elapsed()) {}))));
    };
    let default = Runtime::new().unwrap();
    hold_until(&default, "holds it by default", &|_| told("holds it by default").is_some());
    assert!(told("holds it by default").unwrap() >= 100);
    let unwatched = Runtime::builder().workers(1).watchdog(None).build().unwrap();
    hold_until(&unwatched, "nobody watches", &|held| held >= Duration::from_millis(300));
    assert_eq!(told("nobody watches"), None);
}

#[test]
fn a_dump_says_which_worker_is_stuck_in_which_task() {
    let _watch = watch();
    static RELEASE: AtomicBool = AtomicBool::new(false);
    let spin = || {
        while !RELEASE.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
    };
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let stuck = task::Builder::new().name("sticks");
    let stuck = runtime.run(|| stuck.spawn(spin));
    let dump = dump_when(&runtime, |dump| dump.workers.iter().any(|worker| worker.stuck.is_some()));
    let worker = dump.workers.iter().find(|worker| worker.stuck.is_some()).unwrap();
    assert_eq!(worker.running.as_deref(), Some("sticks"));
    assert!(worker.stuck.unwrap() >= Duration::from_millis(100));
    let text = dump.to_string();
    assert!(text.contains(&format!("worker {}: stuck in task 'sticks' for ", worker.index)), "{text}");
    // Where nobody watches nobody knows.
    let unwatched = Runtime::builder().workers(1).watchdog(None).build().unwrap();
    let unknown = unwatched.spawn(spin);
    common::hold_thread(Duration::from_millis(300));
    let dump = dump_when(&unwatched, |dump| dump.workers[0].running.is_some());
    assert_eq!(dump.workers[0].stuck, None);
    RELEASE.store(true, Ordering::SeqCst);
    stuck.join().unwrap();
    unknown.join().unwrap();
}

// GV-212
#[test]
fn a_task_that_may_hold_its_worker_is_not_reported() {
    let _watch = watch();
    let seen = blocked();
    let runtime = Runtime::builder().workers(1).watchdog(Duration::from_millis(20)).build().unwrap();
    let told = |name: &str| seen.lock().unwrap().iter().any(|line| line.contains(&format!("task '{name}'")));
    runtime.run(|| {
        let unwatched = task::Builder::new().name("may hold it").unwatched();
        unwatched.spawn_local(|| common::hold_thread(Duration::from_millis(300))).join().unwrap();
        // The next one is told as ever.
        let watched = task::Builder::new().name("may not hold it").spawn_local(move || {
            let began = Instant::now();
            while !told("may not hold it") && began.elapsed() < Duration::from_secs(30) {}
        });
        watched.join().unwrap();
    });
    assert!(told("may not hold it") && !told("may hold it"));
}

// GV-212
#[test]
fn workers_that_sleep_are_not_reported() {
    let _watch = watch();
    let seen = blocked();
    let runtime = Runtime::builder().workers(2).watchdog(Duration::from_millis(200)).build().unwrap();
    runtime.run(|| {
        task::Builder::new().name("sleeps long").spawn(|| sleep(Duration::from_millis(500))).join().unwrap();
    });
    assert!(!seen.lock().unwrap().iter().any(|line| line.contains("sleeps long")));
}

/// Makes the calling thread run on the first core that the process may use; if `idly`, when nobody else wants to.
fn run_on_first_core(idly: bool) {
    // SAFETY: plain calls on structs of this function's.
    unsafe {
        let mut cores: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&cores), &raw mut cores), 0);
        let first = (0..1024).find(|&core| libc::CPU_ISSET(core, &cores)).unwrap();
        libc::CPU_ZERO(&mut cores);
        libc::CPU_SET(first, &mut cores);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&cores), &raw const cores), 0);
        if idly {
            let normal = libc::sched_param { sched_priority: 0 };
            assert_eq!(libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const normal), 0);
        }
    }
}

#[test]
fn a_worker_that_is_given_no_core_is_not_reported() {
    let _watch = watch();
    if common::miri_cannot("say who gets a core") {
        return;
    }
    let seen = blocked();
    let builder = Runtime::builder().workers(1).watchdog(Duration::from_millis(100));
    let runtime = builder.on_thread_start(|_| run_on_first_core(true)).build().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            run_on_first_core(false);
            let began = Instant::now();
            while !is_over.load(Ordering::SeqCst) && began.elapsed() < Duration::from_millis(600) {
                std::hint::spin_loop();
            }
        });
        let slow = task::Builder::new().name("gets no core");
        runtime.run(|| slow.spawn(|| while common::thread_cpu_time() < Duration::from_millis(5) {}).join().unwrap());
        is_over.store(true, Ordering::SeqCst);
    });
    assert!(!seen.lock().unwrap().iter().any(|line| line.contains("gets no core")));
}

// H37
#[test]
fn workers_that_all_block_are_reported_and_go_on() {
    let _watch = watch();
    let seen = blocked();
    let runtime = Runtime::builder().workers(2).watchdog(Duration::from_millis(20)).build().unwrap();
    let is_seen = |name: &str| seen.lock().unwrap().iter().any(|line| line.contains(name));
    let names = ["first to block", "second to block"];
    let blocks = |name: &'static str| {
        let task = task::Builder::new().name(name);
        runtime.run(|| {
            task.spawn(move || {
                while !is_seen(name) {
                    common::hold_thread(Duration::from_millis(200));
                }
            })
        })
    };
    let tasks = names.map(blocks);
    tasks.into_iter().for_each(|task| task.join().unwrap());
    assert_eq!(runtime.spawn(|| 7).join().unwrap(), 7, "the workers go on");
}

// H36
#[test]
fn a_task_that_computes_for_ever_is_reported_and_holds_up_neither_others_nor_the_shutdown() {
    let _watch = watch();
    let seen = blocked();
    static RELEASE: AtomicBool = AtomicBool::new(false);
    let runtime = Runtime::builder().workers(2).watchdog(Duration::from_millis(20)).build().unwrap();
    let (pinned, is_pinned) = channel::bounded(1);
    let endless = task::Builder::new().name("computes for ever");
    let endless = runtime.run(|| {
        endless.spawn(move || {
            let neighbour =
                task::Builder::new().name("lives beside it").spawn_local(|| sleep(Duration::from_secs(3600)));
            task::yield_now();
            pinned.send(()).unwrap();
            while !RELEASE.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            drop(neighbour);
        })
    });
    is_pinned.recv().unwrap();
    runtime.run(|| (0..100).map(|n| spawn(move || n)).for_each(|task| _ = task.join().unwrap()));
    common::until(|| {
        let lines = seen.lock().unwrap();
        lines.iter().any(|line| line.contains("'computes for ever'") && line.contains("'lives beside it'"))
    });
    let began = Instant::now();
    assert_eq!(runtime.shutdown(Duration::from_millis(50)).unwrap_err().leaked(), 2);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    RELEASE.store(true, Ordering::SeqCst);
    drop(endless);
}

/// Makes the system call that a thread waits in fail with `EINTR`.
fn interrupt_thread(name: &str) {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    extern "C" fn note(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::SeqCst);
    }
    let has_name =
        |thread: &std::path::Path| std::fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let mut threads = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let thread: i32 =
        threads.find(|path| has_name(path)).unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
    // SAFETY: a struct of zeros is one without flags, and so without `SA_RESTART`; the handler only sets a flag.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
        assert_eq!(libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGUSR1), 0);
    }
    common::until(|| INTERRUPTED.load(Ordering::SeqCst));
}

/// Started by another test, in a process of its own.
#[test]
fn in_a_process_of_its_own() {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    if common::program().is_none() {
        return;
    }
    let runtime = Runtime::builder().workers(2).dump_on_quit(true).build().unwrap();
    let reader = task::Builder::new().name("reader");
    let (sender, receiver) = channel::bounded::<u32>(1);
    drop(runtime.run(|| reader.spawn(move || waits_deep_inside(&receiver))));
    drop(dump_when(&runtime, |dump| named(dump, "reader").is_some_and(|task| task.state == TaskState::Waiting)));
    let (mut output, input) = std::io::pipe().unwrap();
    // SAFETY: plain calls; standard error is put back before anybody else writes.
    let before = unsafe { libc::dup(2) };
    for round in 0..4 {
        if round == 3 {
            interrupt_thread("osier-quit");
        }
        // SAFETY: as above.
        unsafe { libc::dup2(input.as_raw_fd(), 2) };
        // To the process, while its workers sleep and its tasks are on their stacks; then while one runs.
        match round {
            // SAFETY: a signal that has a handler.
            0 | 1 | 3 => assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGQUIT) }, 0),
            // SAFETY: as above.
            _ => assert_eq!(runtime.run(|| unsafe { libc::raise(libc::SIGQUIT) }), 0),
        }
        let (mut told, mut bytes) = (Vec::new(), [0; 1024]);
        while !String::from_utf8_lossy(&told).contains("'reader' on worker") {
            let len = output.read(&mut bytes).unwrap();
            told.extend_from_slice(&bytes[..len]);
        }
        // SAFETY: as above.
        unsafe { libc::dup2(before, 2) };
    }
    drop(sender);
}

#[test]
fn sigquit_dumps_if_asked_to_and_ends_the_process_else() {
    let _watch = watch();
    if common::miri_cannot("send signals") {
        return;
    }
    common::assert_ended_well(&common::run_program("quit"));
    // SAFETY: the child calls nothing but these.
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::raise(libc::SIGQUIT);
            libc::_exit(0);
        }
        child
    };
    let mut status = 0;
    // SAFETY: it writes the status.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } != child {}
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGQUIT, "{status:#x}");
}
