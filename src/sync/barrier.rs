//! The barrier: a number of tasks wait for each other, again and again.
//!
//! Those who wait are in a queue. The last one of a round does not enter it: it runs the action, and gives each of the
//! others its number. Who comes while the action runs waits at the gate, for the next round.
//!
//! # Invariants
//! - `waiting` says how many are in the queue, and that is less than `parties` but while the action runs.
//! - Whatever ends a round, well or not, moves `round` on.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard};
use std::time::{Duration, Instant};

use super::waiting::{Waiting, after, lock};
use crate::coroutine::unwind;
use crate::exception::{Raise, raise};
use crate::task::{WaitQueue, Waiter, Wakeup, Woken};

/// A place where a fixed number of tasks and threads wait for each other: Python's `threading.Barrier`.
///
/// A handle: clones are the same barrier. When all have come they go on, each with a number of its own, and the next round
/// begins. Somebody whose time is up, an action that fails, and [`abort`](Self::abort) break it: everybody who waits, and
/// who comes later, gets an error until [`reset`](Self::reset). A cancelled task leaves, and the others wait for another.
///
/// # Examples
/// ```
/// use osier::sync::Barrier;
///
/// let barrier = Barrier::new(3);
/// let tasks: Vec<_> = (0..3)
///     .map(|_| {
///         let barrier = barrier.clone();
///         osier::spawn(move || barrier.wait().unwrap())
///     })
///     .collect();
/// let mut numbers: Vec<_> = tasks.into_iter().map(|t| t.join().unwrap()).collect();
/// numbers.sort_unstable();
/// assert_eq!(numbers, [0, 1, 2]);
/// ```
#[derive(Clone)]
pub struct Barrier {
    inner: Arc<Inner>,
}

type Action = dyn Fn() + Send + Sync;
type Outcome = Result<usize, BrokenBarrier>;

struct Inner {
    parties: usize,
    action: Option<Box<Action>>,
    state: StdMutex<State>,
}

struct State {
    /// Those who wait for the round to be full; beside each, its outcome.
    queue: WaitQueue,
    waiting: usize,
    /// Those who came while the action ran.
    gate: WaitQueue,
    is_acting: bool,
    is_broken: bool,
    round: u64,
}

/// The barrier is broken, or was while the call waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenBarrier;

impl Barrier {
    /// Makes one for `parties` tasks and threads.
    ///
    /// # Panics
    /// If that is 0.
    pub fn new(parties: usize) -> Self {
        Self::make(parties, None)
    }

    /// Makes one whose last arrival runs `action` before any of them goes on.
    ///
    /// # Panics
    /// If `parties` is 0.
    pub fn with_action(parties: usize, action: impl Fn() + Send + Sync + 'static) -> Self {
        Self::make(parties, Some(Box::new(action)))
    }

    fn make(parties: usize, action: Option<Box<Action>>) -> Self {
        assert!(parties > 0, "a barrier is for one party at least");
        let state = State {
            queue: WaitQueue::new(),
            waiting: 0,
            gate: WaitQueue::new(),
            is_acting: false,
            is_broken: false,
            round: 0,
        };
        Self { inner: Arc::new(Inner { parties, action, state: StdMutex::new(state) }) }
    }

    /// How many must come.
    pub fn parties(&self) -> usize {
        self.inner.parties
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        lock(&self.inner.state).waiting
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        lock(&self.inner.state).is_broken
    }

    /// Waits until all have come. Gives each a number of its own, from 0; the last one to come has the highest.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled before the last one has come unwinds from here, and has not come.
    ///
    /// # Errors
    /// The barrier is broken, or was broken or reset meanwhile.
    ///
    /// # Panics
    /// In the last one to come, with the action's panic.
    pub fn wait(&self) -> Result<usize, BrokenBarrier> {
        self.inner.wait(None)
    }

    /// Waits as [`wait`](Self::wait) does. If the others have not come within `timeout`, breaks the barrier.
    ///
    /// # Suspends
    /// As [`Barrier::wait`].
    ///
    /// # Cancel safety
    /// As [`Barrier::wait`].
    ///
    /// # Errors
    /// As [`Barrier::wait`]; or the time is up.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, BrokenBarrier> {
        self.inner.wait(after(timeout))
    }

    /// Waits as [`wait`](Self::wait) does. If the others have not come by `deadline`, breaks the barrier.
    ///
    /// # Suspends
    /// As [`Barrier::wait`].
    ///
    /// # Cancel safety
    /// As [`Barrier::wait`].
    ///
    /// # Errors
    /// As [`Barrier::wait`]; or the time is up.
    pub fn wait_deadline(&self, deadline: Instant) -> Result<usize, BrokenBarrier> {
        self.inner.wait(Some(deadline))
    }

    /// Breaks the barrier: everybody who waits, and who comes, gets an error.
    pub fn abort(&self) {
        self.inner.end(true);
    }

    /// Makes the barrier as new. Everybody who waits gets an error.
    pub fn reset(&self) {
        self.inner.end(false);
    }
}

impl Inner {
    /// Ends the round for everybody who waits, and leaves the barrier broken or not.
    fn end(&self, broken: bool) {
        let mut state = lock(&self.state);
        state.is_broken = broken;
        end_round(state);
    }

    fn wait(&self, deadline: Option<Instant>) -> Outcome {
        let waiting = Waiting::<Outcome>::new(Err(BrokenBarrier));
        let mut state = lock(&self.state);
        while state.is_acting && !state.is_broken {
            let waiter = Waiter::new();
            // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
            unsafe { state.gate.push(&raw const waiter) };
            drop(state);
            // SAFETY: it was pushed there.
            let woken = waiter.wait(deadline, || unsafe { lock(&self.state).gate.remove(&waiter) });
            state = lock(&self.state);
            if woken == Woken::Elapsed && state.is_acting {
                // The action takes longer than we wait: our round will not be complete in time.
                state.is_broken = true;
                end_round(state);
                return Err(BrokenBarrier);
            }
        }
        if state.is_broken {
            return Err(BrokenBarrier);
        }
        if state.waiting + 1 == self.parties {
            return self.complete(state).map(|()| self.parties - 1);
        }
        state.waiting += 1;
        let round = state.round;
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { state.queue.push(waiting.as_waiter()) };
        drop(state);
        let leave = || {
            let mut state = lock(&self.state);
            // SAFETY: it was pushed there.
            let left = unsafe { state.queue.remove(&waiting.waiter) };
            state.waiting -= usize::from(left);
            left
        };
        if waiting.waiter.wait(deadline, leave) == Woken::Elapsed {
            let mut state = lock(&self.state);
            if state.round == round {
                state.is_broken = true;
                end_round(state);
            }
        }
        waiting.into_place()
    }

    /// Ends a round for which all have come: the caller is the last.
    fn complete<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Result<(), BrokenBarrier> {
        if let Some(action) = &self.action {
            let round = state.round;
            state.is_acting = true;
            drop(state);
            let acted = unwind::intercept(action);
            state = lock(&self.state);
            state.is_acting = false;
            if state.round != round {
                // Somebody has broken or reset it meanwhile, and told those in the queue.
                let wakeups = state.gate.notify_all();
                drop(state);
                wakeups.into_iter().for_each(Wakeup::fire);
                return acted.map_or_else(|payload| unwind::throw(payload), |()| Err(BrokenBarrier));
            }
            if let Err(payload) = acted {
                state.is_broken = true;
                end_round(state);
                unwind::throw(payload);
            }
        }
        let mut number = 0;
        let mut wakeups = Vec::new();
        let mut deliver = |waiter| {
            // SAFETY: only `Waiting<Outcome>` enter this queue, and its lock is held.
            unsafe { *Waiting::<Outcome>::place_of(waiter) = Ok(number) };
            number += 1;
        };
        while let Some(wakeup) = state.queue.notify_first(&mut deliver) {
            wakeups.push(wakeup);
        }
        state.round += 1;
        state.waiting = 0;
        wakeups.extend(state.gate.notify_all());
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        Ok(())
    }
}

/// Ends a round for which not all have come: whoever waits goes on with an error.
fn end_round(mut state: MutexGuard<'_, State>) {
    state.round += 1;
    state.waiting = 0;
    let mut wakeups = state.queue.notify_all();
    wakeups.extend(state.gate.notify_all());
    drop(state);
    wakeups.into_iter().for_each(Wakeup::fire);
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.inner.state);
        let mut f = f.debug_struct("Barrier");
        f.field("parties", &self.inner.parties).field("waiting", &state.waiting);
        f.field("broken", &state.is_broken).finish()
    }
}

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier is broken")
    }
}

impl Error for BrokenBarrier {}

impl Raise for BrokenBarrier {
    #[track_caller]
    fn raise(self) -> ! {
        raise(self)
    }
}
