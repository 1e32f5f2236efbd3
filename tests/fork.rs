//! Processes that fork, and what their children may do. Workers' threads: cores, names, hooks, a sudden end.

#![cfg(all(feature = "runtime", target_os = "linux"))]

mod common;

use std::panic::{self, AssertUnwindSafe};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{FOR_EVER, assert_died_of, assert_ended_well, ms, run_program, stderr, text, watch};
use osier::runtime::LocalRuntime;
use osier::sync::channel;
use osier::{Generator, Runtime, Yielder, run, sleep, spawn, task};

/// Forks; the child does `f` and ends without a destructor. Gives what the child's `f` said.
fn in_child(f: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child calls `f`, which allocates and prints: the other threads of these programs do neither meanwhile.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let told = panic::catch_unwind(AssertUnwindSafe(f)).unwrap_or(false);
        // SAFETY: ends the process.
        unsafe { libc::_exit(if told { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: it writes the status.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } != child {}
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

/// Whether a use of a runtime panics as it should in a child.
fn is_refused<T>(f: impl FnOnce() -> T) -> bool {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => false,
        Err(payload) => text(&*payload).contains("runtime used after fork"),
    }
}

/// Started by other tests, in a process of its own.
#[test]
fn in_a_process_of_its_own() {
    let Some(program) = common::program() else { return };
    match program.as_str() {
        "fork" => fork(),
        "fork in a local runtime" => fork_in_a_local_runtime(),
        "fork beside others" => fork_beside_others(),
        #[cfg(feature = "net")]
        "fork with sockets" => fork_with_sockets(),
        "end the thread" => end_the_thread(),
        other => panic!("no program is called {other}"),
    }
}

// H44, GV-203
#[test]
fn a_forked_child_is_told_and_the_parent_goes_on() {
    let _watch = watch();
    assert_ended_well(&run_program("fork"));
    assert_ended_well(&run_program("fork in a local runtime"));
}

fn fork() {
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let counter = Arc::new(AtomicUsize::new(0));
    let (stop, stopped) = channel::bounded::<()>(0);
    let waits = runtime.spawn({
        let counter = counter.clone();
        move || {
            assert!(stopped.recv().is_err());
            counter.fetch_add(1, Ordering::SeqCst)
        }
    });
    let task = waits.task();
    run(|| ());
    // On a plain thread.
    assert!(in_child(|| {
        is_refused(|| runtime.run(|| ()))
            && is_refused(|| runtime.spawn(|| ()))
            && is_refused(|| runtime.wait_idle(None))
            && is_refused(|| task.join())
            && is_refused(|| run(|| ()))
            && is_refused(|| spawn(|| ()))
    }));
    // A runtime of its own works there, and dropping the parent's does not wait.
    let holder = Mutex::new(Some(runtime));
    assert!(in_child(|| {
        drop(holder.lock().unwrap().take());
        let own = Runtime::builder().workers(1).build().unwrap();
        own.run(|| spawn(|| 5).join().unwrap()) == 5 && counter.load(Ordering::SeqCst) == 0
    }));
    // In a task, among others that are ready: they run in the parent alone.
    let runtime = holder.into_inner().unwrap().unwrap();
    let ready = counter.clone();
    let told = runtime.run(move || {
        let others: Vec<_> = (0..10)
            .map(|_| {
                let ready = ready.clone();
                spawn(move || ready.fetch_add(100, Ordering::SeqCst))
            })
            .collect();
        let told = in_child(|| {
            sleep(ms(1));
            is_refused(|| spawn(|| ()))
        });
        others.into_iter().for_each(|other| _ = other.join().unwrap());
        told
    });
    assert!(told);
    drop(stop);
    waits.join().unwrap();
    assert_eq!(counter.load(Ordering::SeqCst), 1001);
    // Processes that are started the usual way are none of our business.
    let children: Vec<_> = runtime.run(|| (0..20).map(|_| Command::new("true").spawn().unwrap()).collect());
    assert!(children.into_iter().all(|mut child| child.wait().unwrap().success()));
}

// H44
#[test]
fn a_forked_childs_own_runtime_does_not_miss_what_other_threads_of_the_parent_held() {
    let _watch = watch();
    assert_ended_well(&run_program("fork beside others"));
}

fn fork_beside_others() {
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        // They look at tasks, say that all is quiet, and take and give back stacks, all the time.
        let is_over = &is_over;
        let runtime = &runtime;
        threads.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                runtime.dump();
            }
        });
        threads.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                runtime.wait_idle(None);
            }
        });
        threads.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                drop(Generator::builder(|y: &Yielder<u32>| y.yield_(1)).stack_size(1 << 20).build().primed());
            }
        });
        for _ in 0..200 {
            assert!(in_child(|| {
                // SAFETY: it ends the child if that hangs.
                unsafe { libc::alarm(20) };
                let own = Runtime::builder().workers(1).build().unwrap();
                let value = own.run(|| task::Builder::new().stack_size(1 << 20).spawn(|| 5).join().unwrap());
                value == 5 && own.wait_idle(None) && own.shutdown(FOR_EVER).is_ok()
            }));
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

// H44
#[cfg(feature = "net")]
#[test]
fn a_forked_child_leaves_its_parents_sockets_as_they_are() {
    let _watch = watch();
    assert_ended_well(&run_program("fork with sockets"));
}

/// The child has the parent's epoll instances, too: what it does with sockets that wait there must not change them.
#[cfg(feature = "net")]
fn fork_with_sockets() {
    use common::hold_thread;
    use osier::net::{TcpListener, TcpStream, UnixStream};
    use osier::sync::Event;
    use osier::{Wait, wait};
    use std::io::{Read, Write};

    fn echo(stream: &mut TcpStream, byte: u8) -> bool {
        let mut answer = [0];
        stream.write_all(&[byte]).is_ok() && stream.read_exact(&mut answer).is_ok() && answer == [byte]
    }

    fn serve(listener: &TcpListener) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).unwrap();
        }
    }

    fn selects_on_a_thread() -> bool {
        let (near, mut far) = UnixStream::pair().unwrap();
        let writes = thread::spawn(move || {
            hold_thread(ms(10));
            far.write_all(b"!").map(|()| far)
        });
        let never = Event::new();
        let told = wait(&[&near.when_readable() as &dyn Wait, &never]).next();
        told == Some(0) && writes.join().unwrap().is_ok()
    }

    let runtime = Runtime::builder().workers(2).build().unwrap();
    let listener = runtime.run(|| TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let server = runtime.spawn(move || serve(&listener));
    let mut stream = runtime.run(|| TcpStream::connect(address)).unwrap();
    // Now the server waits for the next byte, in one of the epoll instances.
    let stream = runtime.run(move || echo(&mut stream, 1).then_some(stream)).expect("it answers");
    let stream = Mutex::new(Some(stream));
    assert!(selects_on_a_thread());
    assert!(in_child(selects_on_a_thread));
    assert!(in_child(|| {
        // Closes the child's copy, and has sockets of its own in a runtime of its own.
        drop(stream.lock().unwrap().take());
        let own = Runtime::builder().workers(1).build().unwrap();
        own.run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = spawn(move || serve(&listener));
            let mut stream = TcpStream::connect(address).unwrap();
            let is_answered = echo(&mut stream, 2);
            drop(stream);
            server.join().is_ok() && is_answered
        })
    }));
    let mut stream = stream.into_inner().unwrap().expect("the parent has it still");
    assert!(runtime.run(|| (3..100).all(|byte| echo(&mut stream, byte))), "the parent's go on");
    drop(stream);
    server.join().unwrap();
}

fn fork_in_a_local_runtime() {
    let runtime = LocalRuntime::new();
    let waiting = runtime.spawn_local(|| 3);
    assert!(in_child(|| is_refused(|| runtime.run(|| ())) && is_refused(|| runtime.spawn_local(|| ()))));
    runtime.run_until_idle();
    assert_eq!(waiting.join().unwrap(), 3);
    assert!(runtime.run(|| in_child(|| is_refused(|| runtime.run(|| ())))));
}

// H47
#[test]
fn a_workers_thread_that_is_made_to_end_ends_the_process_with_a_message() {
    let _watch = watch();
    let output = run_program("end the thread");
    assert_died_of(&output, libc::SIGABRT);
    // From within a task it is glibc that notices: its unwind was caught at the task's root.
    let told = stderr(&output);
    assert!(told.contains("exception not rethrown") || told.contains("was made to end"), "{told}");
}

fn end_the_thread() {
    drop(run(|| {
        let detached = spawn(|| {
            // SAFETY: ends the thread, with what is on its stack: the process does not survive it.
            unsafe { libc::pthread_exit(std::ptr::null_mut()) }
        });
        detached.join()
    }));
}

// ---- threads

#[test]
fn pinned_workers_stay_on_their_cores() {
    let _watch = watch();
    let cores = thread::available_parallelism().unwrap().get();
    let runtime = Runtime::builder().workers(cores).pinned(true).build().unwrap();
    let seen = Mutex::new(std::collections::HashSet::new());
    runtime.run(|| {
        osier::scope(|s| {
            for _ in 0..20 * cores {
                let place = osier::task::Builder::new().place(osier::task::Place::Spread);
                drop(place.spawn_scoped(s, || {
                    // SAFETY: plain calls.
                    let core = unsafe { libc::sched_getcpu() };
                    seen.lock().unwrap().insert((osier::task::worker().unwrap(), core));
                    sleep(ms(1));
                    // SAFETY: as above.
                    assert_eq!(unsafe { libc::sched_getcpu() }, core);
                }));
            }
        });
    });
    let seen = seen.into_inner().unwrap();
    let workers: std::collections::HashSet<_> = seen.iter().map(|&(worker, _)| worker).collect();
    assert_eq!(seen.len(), workers.len(), "one core a worker: {seen:?}");
}

#[test]
fn hooks_run_once_a_thread_around_its_tasks_and_may_panic() {
    let _watch = watch();
    let log = common::Log::default();
    let (starts, stops) = (log.clone(), log.clone());
    let runtime = Runtime::builder()
        .workers(2)
        .thread_name("named")
        .on_thread_start(move |index| {
            assert!(osier::task::try_current().is_none());
            starts.push(format!("start {index} on {}", thread::current().name().unwrap()));
        })
        .on_thread_stop(move |index| {
            stops.push(format!("stop {index}"));
            panic!("in a hook");
        })
        .build()
        .unwrap();
    runtime.run(|| ());
    drop(runtime.spawn(|| sleep(FOR_EVER)));
    runtime.shutdown(Duration::from_secs(10)).unwrap();
    let mut lines = log.take();
    lines.sort();
    assert_eq!(lines, ["start 0 on named-0", "start 1 on named-1", "stop 0", "stop 1"]);
}
