//! Children: their ends, their pipes, and that nothing is left behind.
//!
//! Numbers in comments are rows of `arch-notes/conformance.md`.

#![cfg(all(feature = "net", not(miri)))]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use common::{FOR_EVER, ms, until, watch};
use osier::process::{Child, Command};
use osier::runtime::LocalRuntime;
use osier::signal::Signal;
use osier::sync::Event;
use osier::{Runtime, Wait, net, run, spawn, spawn_local, time, wait};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// A child that runs until it is killed, which it is when its handle is dropped.
fn endless() -> Child {
    Command::new("sleep").arg("1000").kill_on_drop(true).spawn().unwrap()
}

/// The state of a child of this process, as one letter; `None` if there is none of this number any more.
fn state(id: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    (fields.next()? == std::process::id().to_string()).then_some(state)
}

// GV-239
#[test]
fn smoke() {
    let _watch = watch();
    run(|| {
        assert_eq!(shell("exit 10").spawn().unwrap().wait().unwrap().code(), Some(10));
        assert_eq!(shell("exit 9").status().unwrap().code(), Some(9));
        let output = shell("echo out; echo err >&2; exit 3").output().unwrap();
        assert_eq!((output.stdout, output.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
        assert_eq!(output.status.code(), Some(3));
    });
}

#[test]
fn in_a_process_of_its_own() {
    if common::program().as_deref() == Some("no descriptors") {
        fail_to_keep_a_child();
    }
}

/// Starts a child where there are descriptors for that, and none for whoever is to watch it.
fn fail_to_keep_a_child() {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let limit = libc::rlimit { rlim_cur: open as u64 + 2, rlim_max: open as u64 + 100 };
    // SAFETY: it only reads the struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let taken: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    assert!(!taken.is_empty());
    let error = Command::new("sleep").arg("1000").spawn().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    // SAFETY: it takes no other pointer than null.
    let answer = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
    assert_eq!((answer, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ECHILD)), "a child is left");
}

#[test]
fn a_child_that_cannot_be_kept_is_ended_and_reaped() {
    let _watch = watch();
    common::assert_ended_well(&common::run_program("no descriptors"));
}

// GV-239
#[test]
fn children_are_waited_for_among_other_things() {
    let _watch = watch();
    let both = || {
        let event = Event::new();
        let mut child = shell("exit 11").spawn().unwrap();
        let objects: [&dyn Wait; 2] = [&event, &child];
        assert_eq!(wait(&objects).next(), Some(1));
        assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(11));
        let mut child = endless();
        event.set();
        let objects: [&dyn Wait; 2] = [&child, &event];
        assert_eq!(wait(&objects).timeout(ms(20)).collect::<Vec<_>>(), [1]);
        child.kill().unwrap();
        let objects: [&dyn Wait; 1] = [&child];
        assert_eq!(wait(&objects).count(1).collect::<Vec<_>>(), [0]);
    };
    both();
    run(both);
    LocalRuntime::new().run(both);
}

// GV-239
#[test]
fn a_program_that_is_not_there_is_an_error() {
    let _watch = watch();
    run(|| {
        for error in [
            Command::new("/no/such/program").spawn().unwrap_err(),
            Command::new("no such program").output().unwrap_err(),
            Command::new("no such program").status().unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::NotFound, Some(libc::ENOENT)));
        }
        let error = Command::new("true").current_dir("/no/such/directory").spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

// GV-239
#[test]
fn communicating_feeds_and_reads_everything() {
    let _watch = watch();
    let both = || {
        let mut child = shell("cat; echo pineapple >&2").spawn_piped().unwrap();
        let output = child.communicate(b"banana").unwrap();
        assert_eq!((output.stdout, output.stderr), (b"banana".to_vec(), b"pineapple\n".to_vec()));
        // More than any pipe holds, on all three.
        let much: Vec<u8> = (0..1_u32 << 20).map(|n| n.to_le_bytes()[0]).collect();
        let output = shell("tee /dev/stderr").spawn_piped().unwrap().communicate(&much).unwrap();
        assert!(output.status.success());
        assert!(output.stdout == much && output.stderr == much);
        // A child that reads nothing.
        let output = shell("echo no thanks").spawn_piped().unwrap().communicate(&much).unwrap();
        assert_eq!(output.stdout, b"no thanks\n");
    };
    both();
    run(both);
    LocalRuntime::new().run(both);
}

#[test]
fn streams_that_were_set_are_left_alone() {
    let _watch = watch();
    run(|| {
        let mut command = shell("cat; echo err >&2");
        command.stderr(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
        // What is captured once is not the next time.
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        assert!(child.stdout.is_none() && child.stdin.is_none() && child.stderr.is_none());
        let mut piped = command.stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(piped.communicate(b"nobody reads it").unwrap().stdout, b"");
    });
}

#[test]
fn a_pipeline_of_children() {
    let _watch = watch();
    run(|| {
        let mut first = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut second = Command::new("tr");
        second.args(["a-z", "A-Z"]).stdin(first.stdout.take().unwrap()).stdout(Stdio::piped());
        let second = second.spawn().unwrap();
        let mut stdin = first.stdin.take().unwrap();
        spawn(move || stdin.write_all("willow ".repeat(100_000).as_bytes())).report();
        let output = second.wait_with_output().unwrap();
        assert_eq!(output.stdout, "WILLOW ".repeat(100_000).as_bytes());
        assert!(first.wait().unwrap().success());
    });
}

#[test]
fn waiting_closes_the_input() {
    let _watch = watch();
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    assert_eq!(child.wait_timeout(ms(10)).unwrap(), None);
    assert!(child.stdin.is_some());
    assert!(child.wait().unwrap().success());
}

// GV-240
#[test]
fn a_wait_with_a_limit_ends_in_time_and_loses_nothing() {
    let _watch = watch();
    let both = || {
        let mut child = endless();
        assert_eq!(child.wait_timeout(ms(10)).unwrap(), None);
        assert_eq!(child.wait_deadline(Instant::now() + ms(10)).unwrap(), None);
        assert!(time::timeout(ms(10), || child.wait()).is_err());
        assert!(time::timeout(ms(10), || child.communicate(b"")).is_err());
        assert_eq!(child.try_wait().unwrap(), None);
        child.signal(Signal::TERMINATE).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert_eq!(child.wait_timeout(FOR_EVER).unwrap().unwrap().signal(), Some(libc::SIGTERM));
        // Nobody is there any more, and nobody else is hit.
        child.signal(Signal::KILL).unwrap();
        child.kill().unwrap();
    };
    both();
    run(both);
}

// GV-240
#[test]
fn a_communication_that_was_interrupted_goes_on() {
    let _watch = watch();
    run(|| {
        let mut child = shell("echo early; kill -STOP $$; echo late").spawn_piped().unwrap();
        until(|| state(child.id()) == Some('T'));
        assert!(time::timeout(ms(20), || child.communicate(b"")).is_err());
        child.signal(Signal::CONTINUE).unwrap();
        assert_eq!(child.communicate(b"").unwrap().stdout, b"early\nlate\n");
    });
}

#[test]
fn a_call_that_owns_its_child_kills_it_when_it_is_interrupted() {
    let _watch = watch();
    run(|| {
        for output in [true, false] {
            let (mut reader, writer) = net::pipe().unwrap();
            let mut command = Command::new("sleep");
            command.arg("1000").stderr(writer);
            let interrupted = time::timeout(ms(20), || match output {
                true => command.output().map(drop),
                false => command.status().map(drop),
            });
            assert!(interrupted.is_err());
            // Our end of it.
            drop(command);
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the child has it no more");
        }
    });
}

// GV-241
#[test]
fn polling_sees_the_end_without_the_loop() {
    let _watch = watch();
    LocalRuntime::new().run(|| {
        let mut child = shell("exit 4").spawn().unwrap();
        let code = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.code();
            }
        };
        assert_eq!(code, Some(4));
    });
}

// GV-242
#[test]
fn tasks_of_one_thread_wait_for_children_at_once() {
    let _watch = watch();
    LocalRuntime::new().run(|| {
        let started: Vec<_> = (0..3)
            .map(|n| {
                let mut child = shell(&format!("read line; exit {n}")).stdin(Stdio::piped()).spawn().unwrap();
                let stdin = child.stdin.take().unwrap();
                (stdin, spawn_local(move || child.wait().unwrap().code()))
            })
            .collect();
        // All three wait: none goes on before it is told to, and the last is told first.
        let (inputs, waiting): (Vec<_>, Vec<_>) = started.into_iter().unzip();
        osier::yield_now();
        assert!(waiting.iter().all(|task| !task.is_finished()));
        inputs.into_iter().rev().for_each(|mut stdin| stdin.write_all(b"\n").unwrap());
        let codes: Vec<_> = waiting.into_iter().map(|task| task.join().unwrap()).collect();
        assert_eq!(codes, [Some(0), Some(1), Some(2)]);
    });
}

#[test]
fn a_hundred_children_at_once_leave_nothing_behind() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let ids = runtime.run(|| {
        let tasks: Vec<_> = (0..100_i32)
            .map(|n| {
                spawn(move || {
                    let mut child = shell(&format!("exit {n}")).spawn().unwrap();
                    (child.id(), child.wait().unwrap().code() == Some(n))
                })
            })
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(ids.iter().all(|&(_, is_right)| is_right));
    assert!(ids.iter().all(|&(id, _)| state(id) != Some('Z')), "a zombie is left");
}

#[test]
fn children_whose_handles_are_gone_are_reaped() {
    let _watch = watch();
    let ids: Vec<_> = (0..20).map(|_| Command::new("true").spawn().unwrap().id()).collect();
    until(|| ids.iter().all(|&id| state(id).is_none()));
    // In the middle of a wait, too.
    let mut child = endless();
    let id = child.id();
    let task = spawn(move || child.wait());
    assert!(time::timeout(ms(10), || task.task().join()).is_err());
    task.kill();
    assert!(task.join().unwrap_err().is_cancelled());
    until(|| state(id).is_none());
}

#[test]
fn a_child_outlives_its_handle_unless_it_is_killed_with_it() {
    let _watch = watch();
    for kills in [true, false] {
        let mut child = shell("read line").kill_on_drop(kills).stdin(Stdio::piped()).spawn().unwrap();
        let (stdin, id) = (child.stdin.take().unwrap(), child.id());
        drop(child);
        if kills {
            until(|| state(id).is_none());
        } else {
            assert!(matches!(state(id), Some('R' | 'S' | 'D')), "{:?}", state(id));
        }
        drop(stdin);
        until(|| state(id).is_none());
    }
}

#[test]
fn threads_wait_as_tasks_do_and_a_runtime_waits_for_its_children() {
    let _watch = watch();
    let waiters: Vec<_> =
        (0..4).map(|n| thread::spawn(move || shell(&format!("exit {n}")).status().unwrap().code())).collect();
    let codes: Vec<_> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
    assert_eq!(codes, [Some(0), Some(1), Some(2), Some(3)]);
    let local = LocalRuntime::new();
    let task = local.spawn_local(|| shell("exit 5").status().unwrap().code());
    local.run_until_idle();
    assert!(task.is_finished(), "a wait for a child is something to wait for");
    assert_eq!(task.join().unwrap(), Some(5));
}

// H34
#[test]
fn a_child_among_other_things_is_something_to_wait_for() {
    let _watch = watch();
    let waits = |script: &'static str| {
        move || {
            let (never, child) = (Event::new(), shell(script).spawn().unwrap());
            let objects: [&dyn Wait; 2] = [&never, &child];
            assert_eq!(wait(&objects).next(), Some(1));
            let child = shell(script).spawn().unwrap();
            osier::select! {
                wait(never) => unreachable!("nobody sets it"),
                wait(child) => {}
            }
        }
    };
    // Longer than until the second look at a deadlock.
    let closed = Runtime::builder().workers(1).closed_world(true).build().unwrap();
    assert!(closed.try_run(waits("sleep 0.6")).is_ok());
    let local = LocalRuntime::new();
    let task = local.spawn_local(waits("sleep 0.1"));
    local.run_until_idle();
    assert!(task.is_finished());
    // Who has given up waits for nothing any more.
    let child = endless();
    local.run(|| {
        let objects: [&dyn Wait; 1] = [&child];
        assert!(time::timeout(ms(1), || wait(&objects).next()).is_err());
        assert_eq!(wait(&objects).timeout(ms(1)).next(), None);
    });
    local.run_until_idle();
}
