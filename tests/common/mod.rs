//! What the integration tests share: a watchdog, seeded random numbers, tokens that count their drops, and programs
//! that run in a process of their own because they end it.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::Write as _;
#[cfg(feature = "net")]
use std::net::SocketAddr;
use std::panic::Location;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use osier::generator::ResumeError;
#[cfg(feature = "net")]
use osier::net::{TcpListener, TcpStream};
use osier::{Exception, Step};

/// How long a test may take before the watchdog ends the process: a minute, or as many seconds as `OSIER_TEST_LIMIT` says,
/// for tools that make everything slow.
fn limit() -> Duration {
    let seconds = std::env::var("OSIER_TEST_LIMIT").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// Whether every coroutine has a thread of the system's to itself: Miri's backend (`arch-notes/checking.md`). Then what
/// belongs to a thread, thread-locals of the test, ids and std's count of panics, is not the resumer's.
pub(crate) const OWN_THREADS: bool = cfg!(any(miri, osier_threads));

/// How many rounds of something to do instead of `full`: fewer in Miri, which is a thousand times slower.
pub(crate) const fn rounds(full: usize) -> usize {
    if cfg!(miri) && full > 20 { 20 } else { full }
}

/// How deep to nest instead of `full`: less where each level is a thread.
pub(crate) const fn levels(full: usize) -> usize {
    match full {
        _ if cfg!(miri) && full > 20 => 20,
        _ if OWN_THREADS && full > 500 => 500,
        _ => full,
    }
}

/// Says that the rest of a test cannot run here. True in Miri, for what it cannot do, named in `why`.
#[must_use = "the test must return"]
pub(crate) fn miri_cannot(why: &str) -> bool {
    if cfg!(miri) {
        eprintln!("not in Miri: {why}");
    }
    cfg!(miri)
}

// ---- the watchdog

/// The tests that run, and when each must have ended.
static WATCHED: Mutex<Vec<(u64, Instant, String)>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();

/// Watches the calling test until the guard is dropped. If that takes too long, says which test hangs and what every
/// thread of the process does, and aborts.
#[track_caller]
#[must_use = "the test is watched until the guard is dropped"]
pub(crate) fn watch() -> Watch {
    static STARTED: std::sync::Once = std::sync::Once::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if cfg!(miri) {
        // It sees by itself when nobody can go on, and its clock is its own.
        return Watch { id: 0 };
    }
    STARTED.call_once(|| {
        // Waits until it runs: a test may leave the process no room for what a thread needs to start.
        let started = Arc::new(Barrier::new(2));
        let runs = started.clone();
        let guard = move || {
            runs.wait();
            guard_watched();
        };
        thread::Builder::new().name("watchdog".to_owned()).spawn(guard).expect("a thread for the watchdog");
        started.wait();
    });
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{} ({})", Location::caller(), thread::current().name().unwrap_or("a thread without a name"));
    lock(&WATCHED).push((id, Instant::now() + limit(), name));
    CHANGED.notify_all();
    Watch { id }
}

/// See [`watch`].
#[derive(Debug)]
pub(crate) struct Watch {
    id: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&WATCHED).retain(|&(id, ..)| id != self.id);
    }
}

fn guard_watched() {
    let mut watched = lock(&WATCHED);
    loop {
        let now = Instant::now();
        let next = watched.iter().map(|&(_, deadline, _)| deadline).min();
        let left = next.map_or_else(limit, |deadline| deadline.saturating_duration_since(now));
        if left.is_zero() {
            break;
        }
        watched = CHANGED.wait_timeout(watched, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    let mut report = format!("\nwatchdog: not ended within {} s:\n", limit().as_secs());
    for (.., name) in watched.iter() {
        _ = writeln!(report, "  {name}");
    }
    report.push_str(&threads_report());
    // Not `eprintln`: the test harness would keep it for a report that never comes.
    _ = std::io::stderr().write_all(report.as_bytes());
    std::process::abort();
}

/// The name, the state and the waiting place of every thread, as far as the system tells.
fn threads_report() -> String {
    let mut report = String::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let status = read("status");
        let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or("?").trim();
        let (name, place) = (read("comm"), read("wchan"));
        _ = writeln!(report, "  thread {:?} '{}': {state}, {place}", task.file_name(), name.trim());
    }
    report
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---- waiting

/// Waits until `condition` holds, giving way to others meanwhile: for what has no event to wait for.
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        osier_or_thread_yield();
    }
}

#[cfg(feature = "runtime")]
fn osier_or_thread_yield() {
    osier::yield_now();
}

#[cfg(not(feature = "runtime"))]
fn osier_or_thread_yield() {
    thread::yield_now();
}

/// Holds the thread, as code does that knows nothing of tasks. Never for order.
#[allow(clippy::disallowed_methods, reason = "the point is to hold the thread")]
pub(crate) fn hold_thread(duration: Duration) {
    thread::sleep(duration);
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Longer than any test: for waits that only something else can end.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(1 << 30);

// ---- generators

/// An error of the kind that programs define.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Oops(pub(crate) &'static str);

impl fmt::Display for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Oops {}

/// The exception that a resume ended with.
#[track_caller]
pub(crate) fn raised<T, In>(result: Result<T, ResumeError<In>>) -> Exception {
    match result {
        Err(ResumeError::Raised(exception)) => exception,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("nothing was raised"),
    }
}

/// The item that a resume gave.
#[track_caller]
pub(crate) fn yielded<Out, In, Ret>(step: Result<Step<Out, Ret>, ResumeError<In>>) -> Out {
    match step {
        Ok(Step::Yielded(out)) => out,
        Ok(Step::Returned(_)) => panic!("the generator returned"),
        Err(error) => panic!("{error}"),
    }
}

// ---- sockets

/// A listener whose backlog is full, so that it does not answer, and who fills it.
#[cfg(feature = "net")]
pub(crate) fn full_listener() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = TcpListener::bind_with(&address, 0, false).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, ms(50)) {
        queued.push(stream);
        assert!(queued.len() < 100);
    }
    (listener, address, queued)
}

// ---- random numbers

/// Random numbers from a printed seed, the same for the same seed. `OSIER_SEED` replays one.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        let asked = std::env::var("OSIER_SEED").ok().and_then(|seed| seed.parse().ok());
        // Miri has no clock for the time of day.
        let now = || if cfg!(miri) { 1 } else { std::time::UNIX_EPOCH.elapsed().map_or(1, |s| s.as_secs() << 20 | 1) };
        let seed = asked.unwrap_or_else(now);
        eprintln!("OSIER_SEED={seed}");
        Self::seeded(seed)
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// A number below `end`. Xorshift (Marsaglia, "Xorshift RNGs", 2003).
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

// ---- drops

/// Counts how many tokens were made and how many dropped. A token dropped twice is counted twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    counts: Arc<(AtomicUsize, AtomicUsize)>,
}

impl Tally {
    pub(crate) fn token(&self) -> Token {
        self.counts.0.fetch_add(1, Ordering::SeqCst);
        Token { tally: self.clone() }
    }

    pub(crate) fn made(&self) -> usize {
        self.counts.0.load(Ordering::SeqCst)
    }

    pub(crate) fn dropped(&self) -> usize {
        self.counts.1.load(Ordering::SeqCst)
    }

    /// Asserts that `made` tokens were made and each was dropped once.
    #[track_caller]
    pub(crate) fn assert_all_dropped(&self, made: usize) {
        assert_eq!((self.made(), self.dropped()), (made, made), "(made, dropped)");
    }
}

/// A value whose destructor is counted. See [`Tally`].
#[derive(Debug)]
pub(crate) struct Token {
    tally: Tally,
}

impl Drop for Token {
    fn drop(&mut self) {
        self.tally.counts.1.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs a closure when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A log that tasks and destructors write to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn push(&self, line: impl Into<String>) {
        lock(&self.0).push(line.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.0))
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Writes `line` when the guard is dropped.
    pub(crate) fn at_drop(&self, line: impl Into<String>) -> AtDrop {
        AtDrop { log: self.clone(), line: line.into() }
    }
}

/// See [`Log::at_drop`].
#[derive(Debug)]
pub(crate) struct AtDrop {
    log: Log,
    line: String,
}

impl AtDrop {
    pub(crate) fn line(&self) -> &str {
        &self.line
    }
}

impl Drop for AtDrop {
    fn drop(&mut self) {
        self.log.push(std::mem::take(&mut self.line));
    }
}

// ---- reports

/// What is reported while `f` runs: one test of a file at a time.
pub(crate) fn reports(f: impl FnOnce()) -> Vec<String> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = lock(&ONE);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let before = osier::set_report_hook({
        let seen = seen.clone();
        move |report: &osier::Report<'_>| lock(&seen).push(report.to_string())
    });
    f();
    drop(osier::set_report_hook(before));
    std::mem::take(&mut *lock(&seen))
}

// ---- panics

/// The text of a panic's payload.
pub(crate) fn text(payload: &(dyn std::any::Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no text",
    }
}

/// Runs `f`, which must panic, and gives the panic's text.
#[track_caller]
pub(crate) fn panic_text<T>(f: impl FnOnce() -> T) -> String {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(_) => panic!("should have panicked"),
        Err(payload) => text(&*payload).to_owned(),
    }
}

// ---- programs in a process of their own

const PROGRAM: &str = "OSIER_TEST_PROGRAM";

/// Runs `program` in a process of its own: the test named `in_a_process_of_its_own` of the same file, which asks
/// [`program`] what to do. What happened is in the output.
pub(crate) fn run_program(program: &str) -> Output {
    run_program_with(program, &[])
}

/// As [`run_program`], with more in the environment.
pub(crate) fn run_program_with(program: &str, environment: &[(&str, &str)]) -> Output {
    let this = std::env::current_exe().expect("the path of the test");
    let arguments = ["--exact", "in_a_process_of_its_own", "--nocapture", "--test-threads=1"];
    let mut command = Command::new(this);
    command.args(arguments).env(PROGRAM, program).env("RUST_BACKTRACE", "0").envs(environment.iter().copied());
    command.output().expect("the test can be started again")
}

/// The program to run, in a process made for one.
pub(crate) fn program() -> Option<String> {
    let program = std::env::var(PROGRAM).ok()?;
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `setrlimit` only reads the struct. These programs die on purpose and leave no core behind.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    Some(program)
}

/// What a program wrote to its standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that a program ended well.
#[track_caller]
pub(crate) fn assert_ended_well(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), stderr(output));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("1 passed"), "the program was not found:\n{out}");
}

/// Asserts that a program died of `signal`.
#[track_caller]
pub(crate) fn assert_died_of(output: &Output, signal: i32) {
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(output.status.signal(), Some(signal), "{}\n{}", output.status, stderr(output));
}

// ---- what the process uses

/// How many entries a folder below `/proc/self` has, or lines a file there.
pub(crate) fn count_in_proc(name: &str) -> usize {
    let path = std::path::Path::new("/proc/self").join(name);
    if path.is_dir() {
        std::fs::read_dir(path).expect("a folder in /proc").count()
    } else {
        std::fs::read_to_string(path).expect("a file in /proc").lines().count()
    }
}

/// The processor time that all threads of this process have used.
pub(crate) fn cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: `getrusage` writes the struct that it is given.
    let answer = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(answer, 0);
    // SAFETY: the call succeeded, so the struct was written.
    let usage = unsafe { usage.assume_init() };
    let time = |t: libc::timeval| {
        Duration::from_secs(u64::try_from(t.tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(t.tv_usec).unwrap_or(0))
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// The processor time that this thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes the struct.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(answer, 0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
