//! A job and its result; a batch of jobs, that may borrow.
//!
//! # Invariants
//! - A job that was made has a result in the end: what it returned, why it failed, or that it never ran.
//! - [`map`] neither returns nor unwinds while one of its jobs can still run.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::coroutine::{region, unwind};
use crate::exception::{self, Raise};
use crate::pool::crew::AbortOnDrop;
use crate::sync::{AsyncResult, Event};
use crate::task::{self, JoinError};

/// What a backend queues, and gives to [`perform`].
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// Who queues work.
pub(super) trait Backend {
    /// How much may run at once.
    fn places(&self) -> usize;

    /// What tells it from all other executors.
    fn id(&self) -> usize;

    /// Queues `work`.
    ///
    /// # Errors
    /// Why not; it will not run.
    fn push(&self, work: Work) -> Result<(), (Work, JoinError)>;
}

/// Runs user code for its value, or its failure. On a plain thread, too, an exception is one.
pub(super) fn run<T>(f: impl FnOnce() -> T) -> Result<T, JoinError> {
    match unwind::intercept(|| exception::catch(f)) {
        Ok(result) => result.map_err(JoinError::raised),
        Err(payload) => Err(JoinError::from_payload(payload)),
    }
}

crate::task_local! {
    /// Which executor's job this is; 0 for none.
    static JOB_OF: Cell<usize> = Cell::new(0);
}

/// Whether the caller is a job of the executor `id`.
pub(super) fn is_job_of(id: usize) -> bool {
    JOB_OF.with(Cell::get) == id
}

/// Does `work`, on a thread or a task of the executor `id` that goes on afterwards. What may still unwind is the destructor
/// of a value that nobody waits for.
pub(super) fn perform(id: usize, work: impl FnOnce()) {
    JOB_OF.with(|job_of| job_of.set(id));
    if let Err(payload) = unwind::intercept(work) {
        unwind::drop_quietly(payload);
    }
}

/// The duty to set a result.
pub(super) struct Ticket<T>(Option<AsyncResult<T>>);

impl<T> Ticket<T> {
    pub(super) fn new(result: AsyncResult<T>) -> Self {
        Self(Some(result))
    }

    /// Says that the job begins. False if it was taken back: then it must not.
    pub(super) fn begin(&self) -> bool {
        self.0.as_ref().is_some_and(AsyncResult::begin)
    }

    pub(super) fn settle(&mut self, result: Result<T, JoinError>) {
        if let Some(ticket) = self.0.take() {
            _ = ticket.complete(result);
        }
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            _ = ticket.complete(Err(JoinError::cancelled()));
        }
    }
}

/// Queues `f`. Its failure is reported under `name` if nobody looks at it.
pub(super) fn submit<T: Send + 'static>(
    backend: &impl Backend,
    name: &'static str,
    f: impl FnOnce() -> T + Send + 'static,
) -> AsyncResult<T> {
    let result = AsyncResult::of_job(name);
    let ticket = Ticket::new(result.clone());
    // The closure first: if it never runs it is dropped before its result is set.
    let parts = (f, ticket);
    let work = Box::new(move || {
        let (f, mut ticket) = parts;
        if ticket.begin() {
            ticket.settle(run(f));
        }
    });
    if let Err((work, error)) = backend.push(work) {
        _ = result.complete(Err(error));
        drop(work);
    }
    result
}

/// Waits for the value of a job; raises its failure.
pub(super) fn value_of<T>(result: &AsyncResult<T>) -> T {
    result.wait();
    match result.take() {
        Some(Ok(value)) => value,
        Some(Err(error)) => error.raise(),
        None => unreachable!("nobody else has the result"),
    }
}

/// The items of a `map`, and what has become of them.
struct Batch<'a, F, A, R> {
    f: &'a F,
    slots: Vec<Mutex<Slot<A, R>>>,
    /// How many items a job takes at once.
    chunk: usize,
    /// The first item that nobody has taken.
    next: AtomicUsize,
    /// Whether the rest is not wanted any more.
    is_stopped: AtomicBool,
}

enum Slot<A, R> {
    Item(A),
    /// It runs, or never did.
    Empty,
    Done(Result<R, JoinError>),
}

impl<F: Fn(A) -> R, A, R> Batch<'_, F, A, R> {
    /// Runs items until none is left.
    fn work(&self) {
        loop {
            // Relaxed: who gets which items does not matter; they are under their locks.
            let first = self.next.fetch_add(self.chunk, Ordering::Relaxed).min(self.slots.len());
            let chunk = &self.slots[first..first.saturating_add(self.chunk).min(self.slots.len())];
            if chunk.is_empty() {
                return;
            }
            for slot in chunk {
                // When it is cancelled, the runtime ends: each further item would be cancelled at its first wait.
                if self.is_stopped.load(Ordering::Relaxed) || task::is_cancelled() {
                    return;
                }
                let set = |value| std::mem::replace(&mut *slot.lock().unwrap_or_else(PoisonError::into_inner), value);
                let Slot::Item(item) = set(Slot::Empty) else { unreachable!("an item is taken once") };
                set(Slot::Done(run(|| (self.f)(item))));
            }
        }
    }
}

/// How many jobs of a batch are left, and who waits for the last.
pub(super) struct Left {
    jobs: AtomicUsize,
    pub(super) none: Event,
}

impl Left {
    pub(super) fn new(jobs: usize) -> Arc<Self> {
        Arc::new(Self { jobs: AtomicUsize::new(jobs), none: Event::new() })
    }
}

/// Counts a job as gone, when nothing that it borrows can be used any more.
pub(super) struct Gone(pub(super) Arc<Left>);

impl Drop for Gone {
    fn drop(&mut self) {
        // AcqRel: what every job did happens before what follows the wait.
        if self.0.jobs.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.set();
        }
    }
}

/// What the jobs of a batch need to begin: one each. Whoever has no use for those that have not begun takes it away.
pub(super) struct Pending<T>(Arc<Mutex<Vec<T>>>);

impl<T> Pending<T> {
    pub(super) fn new(jobs: impl Iterator<Item = T>) -> Self {
        Self(Arc::new(Mutex::new(jobs.collect())))
    }

    /// The right of one job to begin.
    pub(super) fn begins(&self) -> Begins<T> {
        Begins(Some(Self(self.0.clone())))
    }

    /// Lets none of them begin.
    pub(super) fn forget_all(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(all);
    }

    fn take_one(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// The right of a job of a batch to begin. Dropped instead, the job has gone.
pub(super) struct Begins<T>(Option<Pending<T>>);

impl<T> Begins<T> {
    /// `None` if nobody waits for it any more: then it must not.
    pub(super) fn begin(mut self) -> Option<T> {
        self.0.take()?.take_one()
    }
}

impl<T> Drop for Begins<T> {
    fn drop(&mut self) {
        let gone = self.0.take().and_then(|pending| pending.take_one());
        drop(gone);
    }
}

/// Runs `f` with each item, `chunk` items to a job, and returns the values in their order.
pub(super) fn map<F, I, R>(backend: &impl Backend, chunk: usize, f: &F, items: I) -> Vec<R>
where
    F: Fn(I::Item) -> R + Sync,
    I: IntoIterator,
    I::Item: Send,
    R: Send,
{
    region::forbid("wait");
    assert!(chunk > 0, "a chunk has one item at least");
    let slots: Vec<_> = items.into_iter().map(|item| Mutex::new(Slot::Item(item))).collect();
    let jobs = backend.places().min(slots.len().div_ceil(chunk));
    if jobs == 0 {
        return Vec::new();
    }
    let batch = Batch { f, slots, chunk, next: AtomicUsize::new(0), is_stopped: AtomicBool::new(false) };
    let mut refusal = None;
    let interrupted = run_jobs(backend, &batch, jobs, &mut refusal);
    if let Err(payload) = interrupted {
        unwind::throw(payload);
    }
    task::throw_if_due();
    let mut values = Vec::with_capacity(batch.slots.len());
    for slot in batch.slots {
        match slot.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Slot::Done(Ok(value)) => values.push(value),
            Slot::Done(Err(error)) => error.raise(),
            Slot::Item(_) | Slot::Empty => refusal.unwrap_or_else(JoinError::cancelled).raise(),
        }
    }
    values
}

/// Lets `backend` run `jobs` jobs on `batch`, and waits for them. An error if the wait was interrupted: then they have
/// gone as well, those that had begun when they were done with their items, the others at once.
fn run_jobs<F, A, R>(
    backend: &impl Backend,
    batch: &Batch<'_, F, A, R>,
    jobs: usize,
    refusal: &mut Option<JoinError>,
) -> Result<(), unwind::Payload>
where
    F: Fn(A) -> R + Sync,
    A: Send,
    R: Send,
{
    let left = Left::new(jobs);
    let abort = AbortOnDrop;
    let works = (0..jobs).map(|_| {
        let gone = Gone(left.clone());
        let work: Box<dyn FnOnce() + Send + '_> = Box::new(move || {
            let _gone = gone;
            batch.work();
        });
        // SAFETY: the types differ in a lifetime alone. What the closure borrows, `batch`, outlives this function, which
        // ends only when every `Gone` was dropped, or not at all: `abort` sees to that. A closure holds nothing else that
        // borrows, and touches nothing of that after its `Gone`, whether it runs or is dropped.
        unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Work>(work) }
    });
    // What the backend queues, and may keep for longer, borrows nothing.
    let pending = Pending::new(works);
    for _ in 0..jobs {
        let begins = pending.begins();
        let work = Box::new(move || begins.begin().into_iter().for_each(|work| work()));
        if let Err((work, error)) = backend.push(work) {
            refusal.get_or_insert(error);
            drop(work);
        }
    }
    let interrupted = unwind::intercept(|| left.none.wait());
    if interrupted.is_err() {
        batch.is_stopped.store(true, Ordering::Relaxed);
        pending.forget_all();
        task::shield(|| left.none.wait());
    }
    std::mem::forget(abort);
    interrupted
}
