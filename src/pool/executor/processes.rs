//! Jobs in processes of their own, each served by a thread of the owner.
//!
//! ```text
//!   submit ─→ encode ─→ desk ─→ a thread ─→ socket ─→ host: decode, run, encode ─→ socket ─→ the thread ─→ decode ─→ result
//! ```
//!
//! # Invariants
//! - A place is a thread and, once it has had work, a host. The host is reaped by that thread, before it ends.
//! - A job is sent to one host, and never again: if that dies, the job has failed. Those of a chunk that it had not begun go
//!   to the next host.
//! - Bytes alone cross threads here: arguments are encoded, and a map's values decoded, by whoever has them.

use std::any::type_name;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::desk::Desk;
use super::job::{self, Gone, Left, Ticket};
use super::{Executor, Job, LazyMap, executor, threads};
use crate::coroutine::{region, unwind};
use crate::exception::{Exception, Raise};
use crate::process::host::{self, Frame, Hosting, Kind, Plan, Registrable, RemoteError, Started};
use crate::sync::{AsyncResult, Semaphore};
use crate::task::{self, JoinError};

/// How many jobs may be pending if nothing else is said.
const QUEUE: usize = 1024;
/// How many jobs of a map are at most with one host, so that it need not wait for the next.
const CHUNK: usize = 32;

/// Runs jobs in at most `n` processes of this same program, each of which lives as long as the executor.
///
/// For what may crash or must be killed, and for code that shares what it should not. A job is a plain `fn` item that
/// [`registered!`](crate::registered) names; its argument and its value have serde's traits, and cross as bytes. The program
/// calls [`process::host`](crate::process::host) first in `main`.
///
/// A process is started when there is a job that none waits for. One that dies fails the job that it ran, with
/// [`RemoteError::Died`], and another one takes its place. No process outlives its owner, however that ends.
///
/// # Examples
/// ```no_run
/// use osier::{pool::Processes, process, registered};
///
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// process::host();
/// let squares = Processes::with(4, |ex| ex.map(registered!(square), 0..10));
/// assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
/// ```
///
/// A closure that captures something does not run in another process:
/// ```compile_fail
/// let factor = 2;
/// osier::pool::Processes::with(1, |ex| ex.submit(move |n: u32| factor * n, 21).get());
/// ```
pub struct Processes {
    inner: Handle,
}

/// How an executor of processes is made: see [`Processes::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ProcessesBuilder {
    places: usize,
    queue: usize,
    plan: Plan,
}

impl ProcessesBuilder {
    /// Sets how many jobs may be pending: who submits one more waits.
    ///
    /// # Panics
    /// If `jobs` is 0.
    pub fn queue(mut self, jobs: usize) -> Self {
        assert!(jobs > 0, "a queue holds one job at least");
        self.queue = jobs;
        self
    }

    /// Sets how many bytes an argument or a value may have, 64 MiB if it is not called. What has more fails its job.
    pub fn message_limit(mut self, bytes: usize) -> Self {
        self.plan.limit = bytes;
        self
    }

    /// Starts the processes with these arguments, instead of none.
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.plan.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts the processes with this variable in their environment, beside those of this process.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.plan.environment.push((key.into(), value.into()));
        self
    }

    /// Makes the executor. No process is started yet.
    ///
    /// # Panics
    /// If there is no place. In a process that was started as a host and has not called
    /// [`process::host`](crate::process::host).
    pub fn build(self) -> Processes {
        host::check_not_a_host();
        let inner = Inner {
            plan: self.plan,
            desk: Arc::new(Desk::new(self.places)),
            room: Semaphore::new(self.queue),
            seats: Mutex::default(),
            is_killed: AtomicBool::new(false),
        };
        Processes { inner: Handle(Arc::new(inner)) }
    }
}

/// The executor's side.
struct Handle(Arc<Inner>);

struct Inner {
    plan: Plan,
    desk: Arc<Desk<Work>>,
    /// A permit for each job that may be pending.
    room: Semaphore,
    /// One for each thread that there is or was.
    seats: Mutex<Vec<Arc<Seat>>>,
    is_killed: AtomicBool,
}

/// What a job gives: its value, encoded.
type Answer = Result<Vec<u8>, JoinError>;

/// What a thread does, with its place.
type Work = Box<dyn FnOnce(&mut Place) + Send>;

executor!(Processes);

impl Processes {
    /// Makes an executor of at most `n` processes.
    ///
    /// # Panics
    /// As [`ProcessesBuilder::build`].
    pub fn new(n: usize) -> Self {
        Self::builder(n).build()
    }

    /// Begins to make an executor of at most `n` processes.
    pub fn builder(n: usize) -> ProcessesBuilder {
        ProcessesBuilder { places: n, queue: QUEUE, plan: Plan::default() }
    }

    /// Runs the registered function `f` with `argument` when a process has time, and gives its result.
    ///
    /// Its failures are the result's: a [`RemoteError`] as its exception, or a panic with the job's text; after a shutdown an
    /// error that [says so](JoinError::is_shutdown). One that nobody looks at is [reported](crate::Report::Unjoined).
    ///
    /// # Suspends
    /// Only while the queue is full: the calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled in it has submitted nothing.
    pub fn submit<F, A, R>(&self, f: F, argument: A) -> AsyncResult<R>
    where
        F: Fn(A) -> R + Copy + 'static,
        A: Serialize,
        R: DeserializeOwned + Send + 'static,
    {
        let _ = f;
        self.inner.submit::<F, A, R>(argument)
    }

    /// Runs the registered function `f` with `argument`, and waits for its value.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Panics
    /// With the job's failure.
    pub fn apply<F, A, R>(&self, f: F, argument: A) -> R
    where
        F: Fn(A) -> R + Copy + 'static,
        A: Serialize,
        R: DeserializeOwned + Send + 'static,
    {
        job::value_of(&self.submit(f, argument))
    }

    /// Runs the registered function `f` with each item, at most `n` at once, and returns the values in the order of the
    /// items. Each process is sent some items ahead, fewer where there are few.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, until all have run.
    ///
    /// # Cancel safety
    /// If that is interrupted, the processes that run one of the items are killed, and the others never run.
    ///
    /// # Panics
    /// With the failure of the earliest item, after all have run: with what [`submit`](Self::submit) gives as its error.
    pub fn map<I, F, R>(&self, f: F, items: I) -> Vec<R>
    where
        I: IntoIterator,
        I::Item: Serialize,
        F: Fn(I::Item) -> R + Copy + 'static,
        R: DeserializeOwned,
    {
        let _ = f;
        self.inner.map::<F, I, R>(None, items)
    }

    /// Maps as [`map`](Self::map) does, and sends `chunk` items ahead to each process.
    ///
    /// # Suspends
    /// As [`map`](Self::map).
    ///
    /// # Cancel safety
    /// As [`map`](Self::map).
    ///
    /// # Panics
    /// As [`map`](Self::map). If `chunk` is 0.
    pub fn map_chunked<I, F, R>(&self, chunk: usize, f: F, items: I) -> Vec<R>
    where
        I: IntoIterator,
        I::Item: Serialize,
        F: Fn(I::Item) -> R + Copy + 'static,
        R: DeserializeOwned,
    {
        let _ = f;
        assert!(chunk > 0, "a chunk has one item at least");
        self.inner.map::<F, I, R>(Some(chunk), items)
    }

    /// Maps lazily: an iterator over the values, in the order of the items, that is some items ahead. The items may be
    /// without end.
    pub fn imap<'a, I, F, R>(&'a self, f: F, items: I) -> LazyMap<'a, I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Serialize,
        F: Fn(I::Item) -> R + Copy + 'static,
        R: DeserializeOwned + Send + 'static,
    {
        let _ = f;
        LazyMap::new(self.inner.0.desk.places(), items.into_iter(), |item| self.inner.submit::<F, I::Item, R>(item))
    }

    /// Kills the processes that run a job, takes no more jobs, and waits until all processes have ended. The results of jobs
    /// that had not ended are cancelled.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    pub fn kill(&self) {
        self.inner.give_up();
        self.inner.wait();
    }

    /// The ids of the processes that there are at this moment.
    pub fn ids(&self) -> Vec<u32> {
        let seats = self.inner.0.seats();
        seats.iter().filter_map(|seat| seat.state().child.as_ref().map(Child::id)).collect()
    }
}

impl<J, A> Executor<J, A> for Processes
where
    J: Job<A> + Copy + 'static,
    J::Out: DeserializeOwned,
    A: Serialize,
{
    fn submit(&self, _job: J, argument: A) -> AsyncResult<J::Out>
    where
        J: Send + 'static,
        A: Send + 'static,
        J::Out: Send + 'static,
    {
        self.inner.submit::<J, A, J::Out>(argument)
    }

    fn map<I>(&self, _job: J, items: I) -> Vec<J::Out>
    where
        I: IntoIterator<Item = A>,
        J: Sync,
        A: Send,
        J::Out: Send,
    {
        self.inner.map::<J, I, J::Out>(None, items)
    }

    fn shutdown(&self, cancel_pending: bool) {
        Self::shutdown(self, cancel_pending);
    }
}

/// The name of the function `F`, which must have no captures.
fn name_of<F: Copy + 'static>() -> Result<&'static str, RemoteError> {
    const { assert!(size_of::<F>() == 0, "only functions in `registered!` run in processes: this captures, or points") };
    host::name_of_function::<F>().ok_or(RemoteError::NotRegistered { function: type_name::<F>() })
}

fn failure(error: RemoteError) -> JoinError {
    JoinError::raised(Exception::from(error))
}

impl Handle {
    fn submit<F: Copy + 'static, A: Serialize, R>(&self, argument: A) -> AsyncResult<R>
    where
        R: DeserializeOwned + Send + 'static,
    {
        let result = AsyncResult::of_job(type_name::<F>());
        let mut ticket = Ticket::new(result.clone());
        let encoded = name_of::<F>().and_then(|name| Ok((name, self.0.encode(&argument)?)));
        drop(argument);
        let (name, argument) = match encoded {
            Ok(call) => call,
            Err(error) => {
                ticket.settle(Err(failure(error)));
                return result;
            }
        };
        let permit = self.0.room.hold();
        let work: Work = Box::new(move |place| {
            drop(permit);
            place.take_turn(|place, _| {
                place.call(name, &[argument], &AtomicBool::new(false), |_, answer| {
                    ticket.settle(answer.and_then(|value| decode(&value)));
                });
            });
        });
        if let Err((work, error)) = self.push(work) {
            // Before its ticket says that it was cancelled.
            _ = result.complete(Err(error));
            drop(work);
        }
        result
    }

    fn map<F: Copy + 'static, I, R: DeserializeOwned>(&self, chunk: Option<usize>, items: I) -> Vec<R>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        region::forbid("wait");
        let name = name_of::<F>().unwrap_or_else(|error| failure(error).raise());
        let encode = |item| self.0.encode(&item).unwrap_or_else(|error| failure(error).raise());
        let arguments: Vec<_> = items.into_iter().map(encode).collect();
        if arguments.is_empty() {
            return Vec::new();
        }
        let places = self.0.desk.places();
        let chunk = chunk.unwrap_or_else(|| (arguments.len() / (4 * places)).clamp(1, CHUNK));
        let jobs = places.min(arguments.len().div_ceil(chunk));
        let batch = Arc::new(Batch::new(name, chunk, arguments));
        let refusal = self.run_batch(&batch, jobs);
        task::throw_if_due();
        let results = std::mem::take(&mut *batch.results());
        let values = results.into_iter().map(|result| match result {
            Some(Ok(value)) => decode(&value),
            Some(Err(error)) => Err(error),
            None => Err(refusal.clone().unwrap_or_else(JoinError::cancelled)),
        });
        values.collect::<Result<_, _>>().unwrap_or_else(|error| error.raise())
    }

    /// Runs the batch as `jobs` jobs, and waits for them. If that is interrupted, kills the processes that run it, and goes
    /// on unwinding when they have ended.
    fn run_batch(&self, batch: &Arc<Batch>, jobs: usize) -> Option<JoinError> {
        let left = Left::new(jobs);
        let mut refusal = None;
        let mut gone = (0..jobs).map(|_| Gone(left.clone())).collect::<Vec<_>>();
        let interrupted = unwind::intercept(|| {
            while !gone.is_empty() {
                let permit = self.0.room.hold();
                let (batch, gone) = (batch.clone(), gone.pop());
                let work: Work = Box::new(move |place| {
                    drop(permit);
                    place.take_turn(|place, turn| batch.work(place, turn));
                    drop((batch, gone));
                });
                if let Err((work, error)) = self.push(work) {
                    drop(work);
                    refusal.get_or_insert(error);
                }
            }
            left.none.wait();
        });
        if let Err(payload) = interrupted {
            drop(gone);
            batch.stop();
            task::shield(|| left.none.wait());
            unwind::throw(payload);
        }
        refusal
    }

    fn push(&self, work: Work) -> Result<(), (Work, JoinError)> {
        self.0.desk.push_to_waiting(work, |number| self.hire(number)).map_err(|(work, refusal)| (work, refusal.into()))
    }

    fn hire(&self, number: usize) -> io::Result<()> {
        let place = Place { inner: self.0.clone(), seat: Arc::default(), socket: None };
        let seat = place.seat.clone();
        let name = format!("osier-process-{number}");
        threads::start(self.0.desk.clone(), name, place, |place, work: Work| job::perform(0, || work(place)))?;
        let mut seats = self.0.seats();
        // Those of threads that have ended are nobody else's.
        seats.retain(|seat| Arc::strong_count(seat) > 1);
        seats.push(seat);
        Ok(())
    }

    fn shut_down(&self, cancel_pending: bool) {
        drop(self.0.desk.close(cancel_pending));
    }

    /// Cancels what is pending, and kills the processes.
    fn give_up(&self) {
        self.0.is_killed.store(true, Ordering::SeqCst);
        self.shut_down(true);
        self.0.seats().iter().for_each(|seat| seat.kill(None));
    }

    fn wait(&self) {
        self.0.desk.wait();
    }

    fn set_places(&self, places: usize) {
        self.0.desk.set_places_of_waiting(places, |number| self.hire(number));
    }
}

impl Inner {
    fn seats(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn encode(&self, value: &impl Serialize) -> Result<Vec<u8>, RemoteError> {
        let limit = self.plan.limit;
        let bytes = postcard::to_stdvec(value).map_err(|error| RemoteError::Encode(error.to_string()))?;
        if bytes.len() > limit { Err(RemoteError::TooLarge { bytes: bytes.len(), limit }) } else { Ok(bytes) }
    }
}

fn decode<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, JoinError> {
    job::run(|| postcard::from_bytes(bytes))?.map_err(|error| failure(RemoteError::Decode(error.to_string())))
}

/// The items of a `map`, as bytes, and what has become of them.
struct Batch {
    /// The function's.
    name: &'static str,
    arguments: Vec<Vec<u8>>,
    chunk: usize,
    /// The first item that nobody has taken.
    next: AtomicUsize,
    /// Empty for an item that never began.
    results: Mutex<Vec<Option<Answer>>>,
    /// Set before `turns` is looked at for the last time.
    is_stopped: AtomicBool,
    /// Who works on it.
    turns: Mutex<Vec<(Arc<Seat>, u64)>>,
}

impl Batch {
    fn new(name: &'static str, chunk: usize, arguments: Vec<Vec<u8>>) -> Self {
        let results = Mutex::new(arguments.iter().map(|_| None).collect());
        let (next, is_stopped, turns) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::default());
        Self { name, arguments, chunk, next, results, is_stopped, turns }
    }

    fn results(&self) -> MutexGuard<'_, Vec<Option<Answer>>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> MutexGuard<'_, Vec<(Arc<Seat>, u64)>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs items until none is left.
    fn work(&self, place: &mut Place, turn: u64) {
        self.turns().push((place.seat.clone(), turn));
        let count = self.arguments.len();
        while !self.is_stopped.load(Ordering::SeqCst) {
            // Relaxed: who gets which items does not matter.
            let first = self.next.fetch_add(self.chunk, Ordering::Relaxed).min(count);
            let chunk = &self.arguments[first..first.saturating_add(self.chunk).min(count)];
            if chunk.is_empty() {
                return;
            }
            place.call(self.name, chunk, &self.is_stopped, |index, result| {
                self.results()[first + index] = Some(result);
            });
        }
    }

    /// Lets nobody begin with an item, and kills those who run one.
    fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        self.turns().iter().for_each(|(seat, turn)| seat.kill(Some(*turn)));
    }
}

/// What a thread has: the host that it talks to.
struct Place {
    inner: Arc<Inner>,
    seat: Arc<Seat>,
    /// Empty while there is no host.
    socket: Option<UnixStream>,
}

/// Where others find a thread's host, to kill it.
#[derive(Default)]
struct Seat(Mutex<SeatState>);

#[derive(Default)]
struct SeatState {
    /// Counts the pieces of work.
    turn: u64,
    is_working: bool,
    /// Taken out by the thread before it reaps it, so that nobody kills a stranger who got its number.
    child: Option<Child>,
}

impl Seat {
    fn state(&self) -> MutexGuard<'_, SeatState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the host, if it works for that turn still, or for whichever.
    fn kill(&self, turn: Option<u64>) {
        let mut state = self.state();
        if turn.is_none_or(|turn| state.is_working && state.turn == turn)
            && let Some(child) = &mut state.child
        {
            // It fails if it has ended already.
            _ = child.kill();
        }
    }
}

impl Place {
    /// Lets `f` work, with a number for which the host can be killed meanwhile.
    fn take_turn(&mut self, f: impl FnOnce(&mut Self, u64)) {
        let turn = {
            let mut state = self.seat.state();
            state.turn += 1;
            state.is_working = true;
            state.turn
        };
        f(self, turn);
        self.seat.state().is_working = false;
    }

    /// Lets hosts run the function with these arguments, one after the other, and tells `each` what came of each.
    fn call(
        &mut self,
        name: &str,
        arguments: &[Vec<u8>],
        is_stopped: &AtomicBool,
        mut each: impl FnMut(usize, Answer),
    ) {
        let mut done = 0;
        while done < arguments.len() {
            // SeqCst: set before the hosts are killed that there are; so either this sees it, or the kill sees our host.
            let is_over = |inner: &Inner| is_stopped.load(Ordering::SeqCst) || inner.is_killed.load(Ordering::SeqCst);
            let has_host = self.ensure_host();
            if is_over(&self.inner) {
                return (done..arguments.len()).for_each(|index| each(index, Err(JoinError::cancelled())));
            }
            if let Err(error) = has_host {
                let error = failure(error);
                return (done..arguments.len()).for_each(|index| each(index, Err(error.clone())));
            }
            let end = self.converse(name, &arguments[done..], |result| {
                each(done, result);
                done += 1;
            });
            if let Err(reason) = end {
                let error = self.lose(reason);
                each(done, Err(if is_over(&self.inner) { JoinError::cancelled() } else { error }));
                done += 1;
            }
        }
    }

    /// Starts a host if there is none that lives.
    fn ensure_host(&mut self) -> Result<(), RemoteError> {
        let has_ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        if self.socket.is_some() && self.seat.state().child.as_mut().is_none_or(has_ended) {
            self.dismiss();
        }
        if self.socket.is_none() {
            let Started { child, socket } = self.inner.plan.start()?;
            self.seat.state().child = Some(child);
            self.socket = Some(socket);
        }
        Ok(())
    }

    /// Sends the calls, and reads an answer to each. An error if the host is of no use any more.
    fn converse(&mut self, name: &str, arguments: &[Vec<u8>], mut each: impl FnMut(Answer)) -> Result<(), io::Error> {
        let socket = self.socket.as_mut().expect("there is a host");
        let mut calls = Vec::with_capacity(arguments.iter().map(|argument| argument.len() + name.len() + 7).sum());
        for argument in arguments {
            host::put_call(&mut calls, name, argument)?;
        }
        // The host reads all the time, so this waits for no answer. If the host is gone, the reads find out.
        _ = socket.write_all(&calls);
        for _ in arguments {
            let frame = host::read(socket, self.inner.plan.limit)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            each(answer(frame, self.inner.plan.limit)?);
        }
        Ok(())
    }

    /// Gets rid of a host, and says why its job has failed.
    fn lose(&mut self, reason: io::Error) -> JoinError {
        let is_garbage = reason.kind() == io::ErrorKind::InvalidData;
        if is_garbage {
            self.seat.kill(None);
        }
        match self.dismiss() {
            _ if is_garbage => failure(RemoteError::Garbage),
            Some(Ok(status)) => failure(RemoteError::Died(status)),
            Some(Err(error)) => failure(RemoteError::NotStarted(error)),
            None => JoinError::cancelled(),
        }
    }

    /// Ends the host, if there is one, and waits for it.
    fn dismiss(&mut self) -> Option<io::Result<ExitStatus>> {
        let socket = self.socket.take()?;
        let mut child = self.seat.state().child.take()?;
        Some(host::reap(&mut child, &socket))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.dismiss();
    }
}

/// What a host's answer says of its job. An error if it is none.
fn answer(frame: Frame, limit: usize) -> io::Result<Answer> {
    let error = match frame.kind {
        Kind::Value => return Ok(Ok(frame.body)),
        Kind::Panicked => return Ok(Err(JoinError::panicked(Box::new(frame.text())))),
        Kind::Raised => RemoteError::Raised(frame.text()),
        Kind::Unknown => RemoteError::Unknown { function: frame.text() },
        Kind::BadArgument => RemoteError::Decode(frame.text()),
        Kind::BadValue => RemoteError::Encode(frame.text()),
        Kind::TooLarge => {
            let (bytes, _) = frame.numbered()?;
            RemoteError::TooLarge { bytes: usize::try_from(bytes).unwrap_or(usize::MAX), limit }
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    Ok(Err(failure(error)))
}

// ---- the host's side

/// Says that a function is a job from `A` to `R`.
#[derive(Debug)]
#[allow(unnameable_types, reason = "the compiler alone names it, to tell jobs from actors")]
pub struct AsJob<A, R>(PhantomData<fn(A) -> R>);

impl<F, A, R> Registrable<AsJob<A, R>> for F
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    const SERVE: fn(&[u8], &Hosting) -> io::Result<()> = serve::<F, A, R>;
}

/// Runs the job `F`, and answers with its value or its failure.
fn serve<F, A, R>(argument: &[u8], hosting: &Hosting) -> io::Result<()>
where
    F: Fn(A) -> R + Copy + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    let line = hosting.line();
    let ran = job::run(|| match postcard::from_bytes(argument) {
        Ok(argument) => Ok(postcard::to_stdvec(&host::function::<F>()(argument))),
        Err(error) => Err(error),
    });
    match ran {
        Ok(Ok(Ok(value))) if value.len() > line.limit() => {
            line.send(Kind::TooLarge, &[&(value.len() as u64).to_be_bytes()])
        }
        Ok(Ok(Ok(value))) => line.send(Kind::Value, &[&value]),
        Ok(Ok(Err(error))) => line.say(Kind::BadValue, &error.to_string()),
        Ok(Err(error)) => line.say(Kind::BadArgument, &error.to_string()),
        Err(error) => match (error.panic_text(), error.exception()) {
            (Some(text), _) => line.say(Kind::Panicked, text),
            (None, Some(exception)) => line.say(Kind::Raised, &exception.to_string()),
            (None, None) => line.say(Kind::Raised, &error.to_string()),
        },
    }
}

impl fmt::Debug for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threads, pending) = self.inner.0.desk.counts();
        let mut text = f.debug_struct("Processes");
        text.field("places", &self.inner.0.desk.places()).field("threads", &threads).field("pending", &pending).finish()
    }
}
