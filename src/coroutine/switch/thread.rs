//! Each coroutine on a thread of its own, and a baton that says which of them runs.
//!
//! ```text
//!     resumer                      coroutine's thread
//!       │ new ─────────────────────→ ┊ waits
//!       │ resume: Coroutine(value) ─→ │ runs
//!       ┊ waits                       │
//!       │ ←──── Resumer(Suspended) ── ┊ waits in suspend
//!       │ resume ──────────────────→  │
//!       │ ←──── Resumer(Returned) ─── ╵ ends, and is joined
//! ```
//!
//! The threads of coroutines that one thread started, directly or through others, are a group: to everybody above they
//! are one thread, with one context (`current`, `group`). Whoever calls `suspend` waits on that coroutine's baton, so a
//! coroutine that is suspended through inner ones goes on in the innermost, as it does with stacks.
//!
//! # Invariants
//! - The baton says whose turn it is. `Taken` is left by whoever takes a turn, so no value is taken twice.
//! - Of a group exactly one thread runs; the others wait on batons.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::Resumed;
use crate::coroutine::group::{Group, Waiting};
use crate::stack::Stack;

/// The least bytes of a coroutine's thread: nothing is measured here, and std's own frames come on top.
const LEAST_STACK: usize = 1 << 20;

/// Whose turn it is.
enum Turn<In, Out> {
    Coroutine(In),
    Resumer(Resumed<Out>),
    /// Whoever's turn it was has taken its value, and runs.
    Taken,
}

struct Baton<In, Out> {
    turn: Mutex<Turn<In, Out>>,
    passed: Condvar,
}

impl<In, Out> Baton<In, Out> {
    fn pass(&self, turn: Turn<In, Out>) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn;
        // Both sides may wait here for a moment: the one that has just passed the baton on, and the other.
        self.passed.notify_all();
    }

    /// Waits until `take` finds its turn.
    fn wait<T>(&self, take: impl Fn(Turn<In, Out>) -> Result<T, Turn<In, Out>>) -> T {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match take(std::mem::replace(&mut *turn, Turn::Taken)) {
                Ok(value) => return value,
                Err(other) => *turn = other,
            }
            turn = self.passed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wait_as_coroutine(&self) -> In {
        self.wait(|turn| match turn {
            Turn::Coroutine(input) => Ok(input),
            other => Err(other),
        })
    }

    fn wait_as_resumer(&self) -> Resumed<Out> {
        self.wait(|turn| match turn {
            Turn::Resumer(resumed) => Ok(resumed),
            other => Err(other),
        })
    }
}

/// Carries a body to its thread.
struct Carried<F>(F);

// SAFETY: of a group one thread runs at a time, and the baton's lock orders what they do: to the body it is one thread.
unsafe impl<F> Send for Carried<F> {}

impl<F> Carried<F> {
    fn get(self) -> F {
        self.0
    }
}

/// A body on a thread of its own. Dropping it frees nothing: its thread waits for ever.
pub(crate) struct Coroutine<In, Out> {
    baton: Arc<Baton<In, Out>>,
    /// Its thread, until it has ended.
    thread: Option<JoinHandle<()>>,
    /// Nobody runs on it; it is kept for its name and for whoever counts stacks.
    stack: Stack,
}

impl<In, Out> Coroutine<In, Out> {
    /// Starts a thread for `body`, to run at the first resume.
    ///
    /// # Safety
    /// - What `body` borrows stays valid until the coroutine has returned, or for ever if it never does.
    /// - `body` does not unwind.
    pub(crate) unsafe fn new(stack: Stack, body: impl FnOnce(&Yielder<In, Out>, In)) -> Self {
        let baton = Arc::new(Baton { turn: Mutex::new(Turn::Taken), passed: Condvar::new() });
        let group = Group::here();
        let carried = Carried((Arc::clone(&baton), body));
        let run = move || {
            let (baton, body) = carried.get();
            // SAFETY: this thread is started for a coroutine of the group that runs now, and ends before its resumer
            // goes on; a coroutine is resumed by its group alone.
            unsafe { group.join() };
            let first = baton.wait_as_coroutine();
            body(&Yielder { baton: Arc::clone(&baton) }, first);
            baton.pass(Turn::Resumer(Resumed::Returned));
        };
        let bytes = stack.usable().max(LEAST_STACK);
        let builder = thread::Builder::new().name("coroutine".to_owned()).stack_size(bytes);
        // SAFETY: the caller's promise; the thread is joined when its body has returned, or leaked.
        let thread = unsafe { builder.spawn_unchecked(run) }.expect("a thread for a coroutine");
        Self { baton, thread: Some(thread), stack }
    }

    /// Runs the body until it suspends or returns.
    ///
    /// # Safety
    /// - The coroutine has not returned, is not running, and was started on this thread if it was started.
    pub(crate) unsafe fn resume(&mut self, input: In) -> Resumed<Out> {
        let waiting = Waiting::begin();
        self.baton.pass(Turn::Coroutine(input));
        let resumed = self.baton.wait_as_resumer();
        if let Resumed::Returned = resumed
            && let Some(thread) = self.thread.take()
        {
            // The destructors of its thread-locals run while we wait, so that still one thread runs at a time. One that
            // panics has aborted the process.
            thread.join().expect("the body does not unwind");
        }
        drop(waiting);
        resumed
    }

    /// Gives the stack of a coroutine back that has returned.
    ///
    /// # Panics
    /// If it has not returned.
    pub(crate) fn into_stack(self) -> Stack {
        assert!(self.thread.is_none(), "the coroutine has returned");
        self.stack
    }
}

impl<In, Out> fmt::Debug for Coroutine<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine").field("stack", &self.stack).finish_non_exhaustive()
    }
}

/// The right to suspend one coroutine.
pub(crate) struct Yielder<In, Out> {
    baton: Arc<Baton<In, Out>>,
}

impl<In, Out> Yielder<In, Out> {
    /// Goes back to whoever resumed this coroutine, with everything that runs on top of it.
    ///
    /// # Safety
    /// - This coroutine is on the running chain of this thread: running, or below the running one.
    pub(crate) unsafe fn suspend(&self, out: Out) -> In {
        let waiting = Waiting::begin();
        self.baton.pass(Turn::Resumer(Resumed::Suspended(out)));
        let input = self.baton.wait_as_coroutine();
        drop(waiting);
        input
    }
}

/// Calls `f`, on the thread's own stack: it is large enough.
pub(crate) fn on_stack<T>(_stack: &Stack, f: impl FnOnce() -> T) -> T {
    f()
}
