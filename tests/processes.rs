//! Jobs in processes: what crosses, what fails, and that nothing is left behind.

#![cfg(feature = "processes")]
#![allow(clippy::print_stdout, reason = "processes of this file talk by it")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{hold_thread, panic_text, reports, until, watch};
use osier::pool::{Coroutines, Executor, Processes, ProcessesBuilder, Threads};
use osier::process::{self, RemoteError};
use osier::sync::AsyncResult;
use osier::{catch, raise, registered, run, spawn, time};
use serde::{Deserialize, Serialize};

/// What runs in the hosts of this file: the harness is told to run this alone.
#[test]
fn host() {
    process::host();
}

fn builder(n: usize) -> ProcessesBuilder {
    Processes::builder(n).args(["--exact", "host", "--nocapture"])
}

fn processes(n: usize) -> Processes {
    builder(n).build()
}

fn square(n: u64) -> u64 {
    n * n
}

fn id((): ()) -> u32 {
    std::process::id()
}

fn fail(text: String) -> u32 {
    match text.as_str() {
        "panic" => panic!("a bug"),
        "raise" => raise(std::io::Error::other("an error")),
        "exit" => std::process::exit(7),
        "abort" => std::process::abort(),
        "print" => {
            println!("garbage? no: it goes to the output");
            1
        }
        _ => 0,
    }
}

fn for_ever((): ()) {
    loop {
        hold_thread(Duration::from_secs(1));
    }
}

// Text, for a debug build takes a second to write a million numbers, one by one.
fn echo(text: String) -> String {
    text
}

fn zeros(n: usize) -> String {
    "0".repeat(n)
}

fn remote<T: std::fmt::Debug>(result: Result<T, osier::JoinError>) -> String {
    let error = result.unwrap_err();
    let exception = error.exception().unwrap_or_else(|| panic!("no exception: {error}"));
    let remote = exception.downcast_ref::<RemoteError>().expect("a remote error");
    format!("{remote:?}")
}

// S22
#[test]
fn smoke() {
    let _watch = watch();
    let ex = processes(2);
    assert_eq!(ex.submit(registered!(square), 7).get().unwrap(), 49);
    assert_eq!(ex.map(registered!(square), 0..10), [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
    assert_eq!(run(|| ex.map(registered!(square), 0..1000)).len(), 1000);
    assert_eq!(ex.map_chunked(7, registered!(square), 0..20).iter().sum::<u64>(), 2470);
    assert_eq!(ex.imap(registered!(square), 0..).take(5).collect::<Vec<_>>(), [0, 1, 4, 9, 16]);
    assert_eq!(ex.imap_unordered(registered!(square), 0..20).sum::<u64>(), 2470);
    assert_eq!(ex.apply(registered!(square), 3), 9);
    assert!(ex.map(registered!(square), []).is_empty());
    ex.shutdown(false);
    let error = ex.submit(registered!(square), 1).get().unwrap_err();
    assert!(error.is_shutdown());
    assert!(catch(|| ex.map(registered!(square), 0..3)).is_err());
}

#[test]
fn the_backend_is_one_word() {
    let _watch = watch();
    fn work<J, E: Executor<J, u64>>(ex: &E, square: J) -> (u64, Vec<u64>, bool)
    where
        J: Fn(u64) -> u64 + Copy + Send + Sync + 'static,
    {
        let one = ex.submit(square, 3).get().unwrap();
        let all = ex.map(square, vec![1, 2]);
        assert_eq!(ex.map_chunked(2, square, 0..3), [0, 1, 4]);
        assert_eq!(ex.imap(square, 0..).take(3).sum::<u64>(), 5);
        assert_eq!(ex.imap_unordered(square, 0..4).sum::<u64>(), 14);
        ex.close(false);
        ex.shutdown(false);
        (one, all, ex.submit(square, 1).get().unwrap_err().is_shutdown())
    }
    let expected = (9, vec![1, 4], true);
    assert_eq!(work(&Coroutines::new(2), registered!(square)), expected);
    assert_eq!(work(&Threads::new(2), registered!(square)), expected);
    assert_eq!(work(&processes(2), registered!(square)), expected);
}

#[test]
fn jobs_run_in_processes_that_stay() {
    let _watch = watch();
    processes(2).lend(|ex| {
        let mut ids = ex.map(registered!(id), [(); 20]);
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.len() <= 2 && !ids.contains(&std::process::id()));
        let mut known = ex.ids();
        known.sort_unstable();
        assert!(ids.iter().all(|id| known.contains(id)));
    });
}

#[test]
fn a_job_fails_alone() {
    let _watch = watch();
    let ex = processes(1);
    let fail = |text: &str| ex.submit(registered!(self::fail), text.to_owned());
    assert!(fail("panic").get().unwrap_err().to_string().contains("a bug"));
    let payload = fail("panic").get().unwrap_err().into_panic().unwrap();
    assert_eq!(common::text(&*payload), "a bug");
    assert_eq!(remote(fail("raise").get()), r#"Raised("an error")"#);
    assert_eq!(fail("print").get().unwrap(), 1);
    assert_eq!(fail("fine").get().unwrap(), 0);
}

#[test]
fn a_process_that_dies_is_replaced() {
    use std::os::unix::process::ExitStatusExt;
    let _watch = watch();
    let ex = processes(1);
    let died = |result: AsyncResult<u32>| {
        let error = result.get().unwrap_err();
        match error.exception().unwrap().downcast_ref::<RemoteError>() {
            Some(RemoteError::Died(status)) => *status,
            other => panic!("{other:?}"),
        }
    };
    let fail = |text: &str| ex.submit(registered!(self::fail), text.to_owned());
    let first = ex.submit(registered!(id), ()).get().unwrap();
    assert_eq!(died(fail("exit")).code(), Some(7));
    let second = ex.submit(registered!(id), ()).get().unwrap();
    assert_ne!(first, second);
    assert_eq!(died(fail("abort")).signal(), Some(libc::SIGABRT));
    // Killed from outside while it works; what waits behind it runs.
    let endless = ex.submit(registered!(for_ever), ());
    let next = ex.submit(registered!(square), 5);
    until(|| ex.ids().len() == 1);
    kill(ex.ids()[0]);
    let error = endless.get().unwrap_err();
    assert!(error.to_string().contains("signal: 9"), "{error}");
    assert_eq!(next.get().unwrap(), 25);
    // Killed while it is idle: nobody notices.
    let idle = ex.ids()[0];
    kill(idle);
    // Its first thread may have ended before the others.
    let threads = || std::fs::read_dir(format!("/proc/{idle}/task")).map_or(0, Iterator::count);
    until(|| is_zombie(idle) && threads() <= 1);
    assert_eq!(ex.submit(registered!(square), 6).get().unwrap(), 36);
}

fn kill(id: u32) {
    let status = Command::new("kill").args(["-KILL", &id.to_string()]).status().unwrap();
    assert!(status.success());
}

fn exit_at_three(n: u32) -> u32 {
    if n == 3 { std::process::exit(3) } else { n }
}

#[test]
fn those_of_a_chunk_that_had_not_begun_go_to_the_next_process() {
    let _watch = watch();
    let ex = processes(1);
    let failure = catch(|| ex.map_chunked(10, registered!(exit_at_three), 0..10)).unwrap_err();
    assert!(failure.to_string().contains("exit status: 3"), "{failure}");
    let ran: Vec<_> = ex.imap(registered!(exit_at_three), [1, 2, 4, 5]).collect();
    assert_eq!(ran, [1, 2, 4, 5]);
    // Of a lazy map each item fails by itself.
    let mut values = ex.imap(registered!(exit_at_three), 2..5).ahead(1);
    assert_eq!(values.next(), Some(2));
    assert!(catch(|| values.next()).is_err());
    assert_eq!((values.next(), values.next()), (Some(4), None));
}

#[derive(Serialize, Deserialize, Clone, Debug)]
struct Picky(u32);

/// Writes itself as one thing and reads another.
#[derive(Clone, Copy, Debug)]
struct Crooked;

impl Serialize for Crooked {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(2)
    }
}

impl<'de> Deserialize<'de> for Crooked {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bool::deserialize(deserializer).map(|_| Self)
    }
}

/// Refuses to be written.
#[derive(Debug)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not this one"))
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

fn takes_crooked(_: Crooked) -> u32 {
    1
}

fn gives_crooked((): ()) -> Crooked {
    Crooked
}

fn takes_unwritable(_: Unwritable) {}

fn gives_unwritable((): ()) -> Unwritable {
    Unwritable
}

fn picky(Picky(n): Picky) -> Picky {
    Picky(n + 1)
}

#[test]
fn what_does_not_cross_fails_its_job_alone() {
    let _watch = watch();
    let ex = processes(1);
    let process = ex.submit(registered!(id), ()).get().unwrap();
    assert!(remote(ex.submit(registered!(takes_crooked), Crooked).get()).starts_with("Decode("));
    assert!(remote(ex.submit(registered!(gives_crooked), ()).get()).starts_with("Decode("));
    assert!(remote(ex.submit(registered!(takes_unwritable), Unwritable).get()).starts_with("Encode("));
    let text = remote(ex.submit(registered!(gives_unwritable), ()).wait_and_take());
    assert!(text.starts_with("Encode("), "{text}");
    assert_eq!(ex.submit(registered!(picky), Picky(1)).get().unwrap().0, 2);
    assert_eq!(ex.submit(registered!(id), ()).get().unwrap(), process, "it is the same process still");
}

trait WaitAndTake<T> {
    fn wait_and_take(&self) -> Result<T, osier::JoinError>;
}

impl<T> WaitAndTake<T> for AsyncResult<T> {
    fn wait_and_take(&self) -> Result<T, osier::JoinError> {
        self.wait();
        self.take().unwrap()
    }
}

#[test]
fn a_message_over_the_bound_fails_its_job_alone() {
    let _watch = watch();
    let ex = builder(1).message_limit(1 << 20).build();
    let process = ex.submit(registered!(id), ()).get().unwrap();
    assert_eq!(
        remote(ex.submit(registered!(echo), "1".repeat(1 << 20)).get()),
        "TooLarge { bytes: 1048579, limit: 1048576 }"
    );
    assert_eq!(remote(ex.submit(registered!(zeros), 1 << 20).get()), "TooLarge { bytes: 1048579, limit: 1048576 }");
    let fits = "7".repeat((1 << 20) - 3);
    assert_eq!(ex.submit(registered!(echo), fits.clone()).get().unwrap(), fits);
    assert_eq!(ex.submit(registered!(id), ()).get().unwrap(), process);
}

#[test]
fn big_messages_both_ways_at_once() {
    let _watch = watch();
    processes(2).lend(|ex| {
        let big = "3".repeat(3 << 20);
        let echoed = ex.map_chunked(8, registered!(echo), (0..16).map(|_| big.clone()));
        assert!(echoed.iter().all(|text| *text == big));
    });
}

#[test]
fn only_registered_functions_run() {
    fn nobody_registers_this(n: u32) -> u32 {
        n
    }
    let _watch = watch();
    let ex = processes(1);
    let text = remote(ex.submit(nobody_registers_this, 1).get());
    assert!(text.starts_with("NotRegistered") && text.contains("nobody_registers_this"), "{text}");
    assert!(catch(|| ex.map(nobody_registers_this, 0..3)).unwrap_err().is::<RemoteError>());
    assert!(ex.ids().is_empty(), "nothing was started for it");
}

// S23
#[test]
fn a_failure_nobody_looks_at_is_reported() {
    let _watch = watch();
    let lines = reports(|| {
        processes(1).lend(|ex| {
            drop(ex.submit(registered!(fail), "raise".to_owned()));
            _ = ex.submit(registered!(fail), "panic".to_owned()).get();
        });
    });
    let lines: Vec<_> = lines.iter().filter(|line| line.contains("processes::fail")).collect();
    assert!(matches!(lines[..], [line] if line.contains("an error")), "{lines:?}");
}

// S24
#[test]
fn shutdown_may_cancel_what_has_not_begun() {
    let _watch = watch();
    let ex = processes(1);
    let running = ex.submit(registered!(for_ever), ());
    until(|| ex.ids().len() == 1);
    let pending: Vec<_> = (0..5).map(|n| ex.submit(registered!(square), n)).collect();
    ex.close(true);
    assert!(pending.iter().all(|result| result.get().unwrap_err().is_cancelled()));
    assert!(!running.is_ready());
    let id = ex.ids()[0];
    ex.kill();
    assert!(running.get().unwrap_err().is_cancelled());
    assert!(!exists(id), "it was waited for");
}

/// Whether there is a process of this number; a zombie is one.
fn exists(id: u32) -> bool {
    std::path::Path::new(&format!("/proc/{id}")).exists()
}

#[test]
fn a_scope_that_unwinds_kills_what_runs() {
    let _watch = watch();
    let mut kept = None;
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        processes(1).lend(|ex| {
            let result = ex.submit(registered!(for_ever), ());
            until(|| ex.ids().len() == 1);
            kept = Some((result, ex.ids()[0]));
            panic!("out of the scope");
        })
    }));
    assert_eq!(common::text(&*unwound.err().unwrap()), "out of the scope");
    let (result, id) = kept.unwrap();
    assert!(result.get().unwrap_err().is_cancelled());
    assert!(!exists(id));
}

#[test]
fn a_map_that_is_cancelled_kills_its_processes_and_no_others() {
    let _watch = watch();
    let ex = std::sync::Arc::new(processes(2));
    let other = ex.submit(registered!(for_ever), ());
    until(|| ex.ids().len() == 1);
    let others = ex.ids();
    let mapping = spawn({
        let ex = ex.clone();
        move || ex.map(registered!(for_ever), [(); 3])
    });
    until(|| ex.ids().len() == 2);
    let timed_out = run(|| {
        let mut mapping = mapping;
        mapping.kill();
        mapping.join_timeout(Duration::from_secs(30))
    });
    assert!(timed_out.unwrap_err().is_cancelled());
    assert!(!other.is_ready() && exists(others[0]));
    // A timeout is an interruption as well.
    let expired = run(|| time::timeout(Duration::from_millis(50), || ex.map(registered!(for_ever), [()])));
    assert!(expired.is_err());
    assert_eq!(ex.submit(registered!(square), 4).get().unwrap(), 16);
    ex.kill();
}

#[test]
fn an_apply_that_is_cancelled_kills_its_process_and_no_other() {
    let _watch = watch();
    let ex = std::sync::Arc::new(processes(2));
    let other = ex.submit(registered!(for_ever), ());
    until(|| ex.ids().len() == 1);
    let others = ex.ids();
    let applying = spawn({
        let ex = ex.clone();
        move || ex.apply(registered!(for_ever), ())
    });
    until(|| ex.ids().len() == 2);
    let its_own = ex.ids().into_iter().find(|id| !others.contains(id)).unwrap();
    applying.kill();
    assert!(applying.join().unwrap_err().is_cancelled());
    assert!(!exists(its_own) && !other.is_ready() && exists(others[0]));
    // One that has not begun never does, and is not waited for.
    let both_busy = ex.submit(registered!(for_ever), ());
    until(|| ex.ids().len() == 2);
    let pending = run(|| time::timeout(Duration::from_millis(20), || ex.apply(registered!(square), 4)));
    assert!(pending.is_err() && !both_busy.is_ready());
    let pending = run(|| time::timeout(Duration::from_millis(20), || ex.map(registered!(square), 0..100)));
    assert!(pending.is_err() && !both_busy.is_ready());
    ex.kill();
}

#[test]
fn a_pending_job_is_taken_back() {
    let _watch = watch();
    let ex = processes(1);
    let running = ex.submit(registered!(for_ever), ());
    until(|| ex.ids().len() == 1);
    let pending = ex.submit(registered!(square), 1);
    let stays = ex.submit(registered!(square), 2);
    until(|| !format!("{ex:?}").contains("pending: 3"));
    assert!(pending.cancel() && !pending.cancel());
    assert!(pending.get().unwrap_err().is_cancelled());
    kill(ex.ids()[0]);
    assert!(running.get().is_err() && !running.cancel());
    assert_eq!(stays.get().unwrap(), 4);
}

#[test]
fn a_submit_after_a_shutdown_does_not_wait_for_room() {
    let _watch = watch();
    let ex = builder(1).queue(1).build();
    let running = ex.submit(registered!(for_ever), ());
    until(|| ex.ids().len() == 1);
    let pending = ex.submit(registered!(square), 1);
    ex.close(false);
    assert!(ex.submit(registered!(square), 2).get().unwrap_err().is_shutdown());
    assert!(catch(|| ex.map(registered!(square), 0..3)).is_err());
    assert!(!running.is_ready() && !pending.is_ready());
    ex.kill();
}

#[test]
fn two_functions_may_have_one_name() {
    fn first() -> AsyncResult<u32> {
        fn job((): ()) -> u32 {
            1
        }
        processes(1).lend(|ex| ex.submit(registered!(job), ()))
    }
    fn second() -> AsyncResult<u32> {
        fn job((): ()) -> u32 {
            2
        }
        // Twice, too: it is known by both.
        processes(1).lend(|ex| (ex.submit(registered!(job), ()), ex.submit(registered!(job), ())).1)
    }
    let _watch = watch();
    assert_eq!((first().get().unwrap(), second().get().unwrap()), (1, 2));
}

/// Whether a program that it starts ends by the signal that a Ctrl-C is.
fn interrupts_a_child((): ()) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    let mut child = Command::new("sh");
    child.args(["-c", "kill -INT $$; echo alive"]).stdout(Stdio::null());
    child.status().unwrap().signal()
}

/// Whether it lives on when it gets that signal itself.
fn interrupts_itself((): ()) -> bool {
    // SAFETY: a call without arguments that matter.
    unsafe { libc::raise(libc::SIGINT) == 0 }
}

/// In a process of its own: an owner that is sure not to have been started to ignore the signal.
#[test]
fn owner_of_interrupted() {
    if std::env::var_os("OWNER").is_none() {
        return;
    }
    // SAFETY: it installs no handler.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    processes(1).lend(|ex| {
        assert!(ex.apply(registered!(interrupts_itself), ()));
        assert_eq!(ex.apply(registered!(interrupts_a_child), ()), Some(libc::SIGINT));
    });
}

#[test]
fn a_host_ignores_interrupts_and_what_its_jobs_start_does_not() {
    let _watch = watch();
    let mut owner = Command::new(std::env::current_exe().unwrap());
    let output = owner.args(["--exact", "owner_of_interrupted", "--nocapture"]).env("OWNER", "1").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_queue_is_bounded() {
    let _watch = watch();
    let ex = std::sync::Arc::new(builder(1).queue(2).build());
    let first = ex.submit(registered!(for_ever), ());
    until(|| ex.ids().len() == 1);
    let pending: Vec<_> = (0..2).map(|n| ex.submit(registered!(square), n)).collect();
    let waiting = spawn({
        let ex = ex.clone();
        move || ex.submit(registered!(square), 3)
    });
    assert!(!waiting.kill_timeout(Duration::ZERO) || waiting.is_finished());
    assert!(waiting.join().unwrap_err().is_cancelled(), "it waited, and has submitted nothing");
    let waiting = spawn({
        let ex = ex.clone();
        move || ex.submit(registered!(square), 4)
    });
    kill(ex.ids()[0]);
    assert!(first.get().is_err());
    assert_eq!(waiting.join().unwrap().get().unwrap(), 16);
    assert_eq!(pending.iter().map(|result| result.get().unwrap()).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_program_that_does_not_host_is_an_error() {
    let _watch = watch();
    // Runs no test at all, and so ends.
    let ex = Processes::builder(1).args(["--exact", "no test of this name"]).build();
    let error = ex.submit(registered!(square), 1).get().unwrap_err();
    assert!(error.to_string().contains("call `osier::process::host()` first in `main`"), "{error}");
    assert!(remote(ex.submit(registered!(square), 1).get()).starts_with("NoHost(Some("));
    // Writes garbage where a host says hello.
    let ex = Processes::builder(1).args(["--exact", "prints_garbage", "--nocapture"]).env("GARBAGE", "1").build();
    assert!(remote(ex.submit(registered!(square), 1).get()).starts_with("NoHost("));
    assert!(catch(|| ex.map(registered!(square), 0..100)).is_err());
}

/// In a process of its own: writes to the socket that it was given, as one that prints to its standard input's end would.
#[test]
fn prints_garbage() {
    if std::env::var_os("GARBAGE").is_some() {
        let socket = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned().unwrap();
        std::io::Write::write_all(&mut std::fs::File::from(socket), b"hello, I am no host at all").unwrap();
        // Long enough to be killed.
        hold_thread(Duration::from_secs(60));
    }
}

/// Writes to the socket behind the library's back.
fn scribbles((): ()) {
    use std::io::Write;
    use std::os::fd::{FromRawFd, OwnedFd};
    for descriptor in 3..20 {
        let is_socket = std::fs::read_link(format!("/proc/self/fd/{descriptor}"))
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        if is_socket {
            // SAFETY: it is open, and forgotten again.
            let mut file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
            file.write_all(b"\xff\xff\xff\xffVgarbage").unwrap();
            std::mem::forget(file);
        }
    }
}

#[test]
fn garbage_from_a_process_fails_its_job_and_ends_it() {
    let _watch = watch();
    let ex = processes(1);
    let process = ex.submit(registered!(id), ()).get().unwrap();
    assert_eq!(remote(ex.submit(registered!(scribbles), ()).get()), "Garbage");
    assert!(!exists(process));
    assert_eq!(ex.submit(registered!(square), 3).get().unwrap(), 9);
}

// ---- nothing is left behind

/// In a process of its own: an owner, whose host computes, and that is killed.
#[test]
fn owner() {
    if std::env::var_os("OWNER").is_none() {
        return;
    }
    let ex = processes(2);
    let idle = ex.submit(registered!(id), ()).get().unwrap();
    let _busy = ex.submit(registered!(for_ever), ());
    let _busy = ex.submit(registered!(for_ever), ());
    until(|| ex.ids().len() == 2);
    println!("\nidle {idle} hosts {:?}", ex.ids());
    hold_thread(Duration::from_secs(60));
}

#[test]
fn no_process_outlives_an_owner_that_is_killed() {
    use std::io::{BufRead, BufReader};
    let _watch = watch();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner", "--nocapture"])
        .env("OWNER", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(owner.stdout.take().unwrap());
    let line = output.lines().map_while(Result::ok).find(|line| line.contains("hosts [")).expect("it starts hosts");
    let list = line.split_once("hosts [").unwrap().1.trim_end_matches(']');
    let hosts: Vec<u32> = list.split(", ").map(|id| id.parse().unwrap()).collect();
    assert_eq!(hosts.len(), 2);
    assert!(hosts.iter().all(|&id| exists(id)));
    owner.kill().unwrap();
    owner.wait().unwrap();
    // They compute, and end all the same; whoever inherits them reaps them.
    until(|| hosts.iter().all(|&id| !exists(id) || is_zombie(id)));
}

fn is_zombie(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn processes_end_with_their_executor() {
    let _watch = watch();
    let ex = processes(2);
    ex.map(registered!(square), 0..50);
    let ids = ex.ids();
    assert!(!ids.is_empty());
    ex.shutdown(false);
    assert!(ids.iter().all(|&id| !exists(id)), "they were waited for");
    // Dropped, it ends them too, when they are done.
    let ex = processes(1);
    let last = ex.submit(registered!(square), 9);
    let id = ex.submit(registered!(id), ()).get().unwrap();
    drop(ex);
    assert_eq!(last.get().unwrap(), 81);
    until(|| !exists(id));
}

#[test]
fn a_program_that_a_job_starts_is_no_host() {
    let _watch = watch();
    processes(1).lend(|ex| {
        let text = ex.submit(registered!(run_this_again), ()).get().unwrap();
        assert!(text.contains("1 passed"), "{text}");
    });
}

fn run_this_again((): ()) -> String {
    let output = Command::new(std::env::current_exe().unwrap()).args(["--exact", "host"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// In a process of its own, started as a host: it uses the executor without having become one.
fn nested((): ()) -> u64 {
    // A host may own hosts.
    processes(1).lend(|ex| ex.submit(registered!(square), 12).get().unwrap())
}

#[test]
fn a_host_may_own_hosts() {
    let _watch = watch();
    assert_eq!(processes(1).lend(|ex| ex.submit(registered!(nested), ()).get().unwrap()), 144);
}

#[test]
fn an_executor_has_a_place() {
    let _watch = watch();
    assert_eq!(panic_text(|| Processes::new(0)), "an executor has one place at least");
}

// GV-179
#[test]
fn places_can_be_added() {
    let _watch = watch();
    let ex = processes(1);
    let first = ex.submit(registered!(for_ever), ());
    until(|| ex.ids().len() == 1);
    let second = ex.submit(registered!(square), 2);
    ex.set_places(2);
    assert_eq!(second.get().unwrap(), 4);
    assert!(!first.is_ready());
    ex.kill();
}
