//! Tasks that change their worker where no frame of theirs exists: between steps, and where they hop.
//!
//! A started coroutine never changes its thread. A task may, if its code returns: what it goes on with is a value that is
//! `Send`, and lies in the task like the closure of a fresh one. So a step that returns is queued as one, and any worker may
//! take it.

use std::any::type_name;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use super::builder::Builder;
use super::join::JoinHandle;
use crate::runtime::Shared;

/// What a task does when it is its turn: what was spawned, or the rest of it.
pub(super) trait Body<T>: Sized {
    /// What is left when it wants another turn.
    type Rest;

    fn run(self) -> Turn<Self::Rest, T>;

    fn again(rest: Self::Rest) -> Self;
}

/// What became of a turn.
pub(super) enum Turn<R, T> {
    Again(R),
    Done(T),
}

impl<F: FnOnce() -> T, T> Body<T> for F {
    type Rest = Infallible;

    #[inline(always)]
    fn run(self) -> Turn<Infallible, T> {
        Turn::Done(self())
    }

    fn again(rest: Infallible) -> Self {
        match rest {}
    }
}

/// What a step of a [`spawn_stepped`] task says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// There is more to do: call the step again, on whichever worker has time.
    Again,
    /// The task has ended, with this value.
    Done(T),
}

/// What a part of a [`spawn_hop`] task says.
pub enum Hop<T> {
    /// Goes on with this closure, on whichever worker has time.
    On(Box<dyn FnOnce() -> Hop<T> + Send>),
    /// The task has ended, with this value.
    Done(T),
}

impl<T> Hop<T> {
    /// Goes on with `f`: [`Hop::On`], which boxes it.
    pub fn on(f: impl FnOnce() -> Self + Send + 'static) -> Self {
        Self::On(Box::new(f))
    }
}

impl<T: fmt::Debug> fmt::Debug for Hop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(_) => f.write_str("On(..)"),
            Self::Done(value) => f.debug_tuple("Done").field(value).finish(),
        }
    }
}

struct Stepped<S, F> {
    state: S,
    step: F,
}

impl<S, F: FnMut(&mut S) -> Step<T>, T> Body<T> for Stepped<S, F> {
    type Rest = Self;

    fn run(mut self) -> Turn<Self, T> {
        match (self.step)(&mut self.state) {
            Step::Again => Turn::Again(self),
            Step::Done(value) => Turn::Done(value),
        }
    }

    fn again(rest: Self) -> Self {
        rest
    }
}

enum Hopping<F, T> {
    First(F, PhantomData<fn() -> T>),
    On(Box<dyn FnOnce() -> Hop<T> + Send>),
}

impl<F: FnOnce() -> Hop<T>, T> Body<T> for Hopping<F, T> {
    type Rest = Box<dyn FnOnce() -> Hop<T> + Send>;

    fn run(self) -> Turn<Self::Rest, T> {
        let hop = match self {
            Self::First(f, _) => f(),
            Self::On(f) => f(),
        };
        match hop {
            Hop::On(f) => Turn::Again(f),
            Hop::Done(value) => Turn::Done(value),
        }
    }

    fn again(rest: Self::Rest) -> Self {
        Self::On(rest)
    }
}

/// Spawns a task that calls `step` again and again, and may change its worker between two calls.
///
/// For work that computes for long: a task that was spawned by [`spawn`](super::spawn) stays on the worker that started it,
/// however busy that is, while the steps of these are taken by whoever has time. Only `state` and `step` travel; a step may
/// wait, and stays on its worker until it returns. Each step counts as a task started in the metrics.
///
/// A cancelled task unwinds from the wait it is in, or ends before its next step.
///
/// # Panics
/// If the runtime is shutting down.
///
/// # Examples
/// ```
/// use osier::task::{Step, spawn_stepped};
///
/// // Sums up a thousand numbers, a hundred at a time.
/// let sum = spawn_stepped((0_u64, 0_u64), |(next, sum)| {
///     for _ in 0..100 {
///         *sum += *next;
///         *next += 1;
///     }
///     if *next == 1000 { Step::Done(*sum) } else { Step::Again }
/// });
/// assert_eq!(sum.join().unwrap(), 499_500);
/// ```
///
/// What travels must be `Send`:
/// ```compile_fail
/// use osier::task::{Step, spawn_stepped};
/// spawn_stepped(std::rc::Rc::new(0), |_| Step::Done(()));
/// ```
#[track_caller]
pub fn spawn_stepped<S, F, T>(state: S, step: F) -> JoinHandle<T>
where
    S: Send + 'static,
    F: FnMut(&mut S) -> Step<T> + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn_stepped(state, step)
}

/// Spawns a task that may go on elsewhere, with a closure that it returns: for one that finds out that it is heavy, when
/// the worker it is on has others to serve.
///
/// # Panics
/// If the runtime is shutting down.
///
/// # Examples
/// ```
/// use osier::task::{Hop, spawn_hop};
///
/// let handler = spawn_hop(|| {
///     let request = 30_u64;
///     if request < 10 {
///         return Hop::Done(request);
///     }
///     Hop::on(move || Hop::Done((1..=request).sum()))
/// });
/// assert_eq!(handler.join().unwrap(), 465);
/// ```
#[track_caller]
pub fn spawn_hop<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> Hop<T> + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn_hop(f)
}

impl Builder {
    /// Spawns a task in steps, as [`spawn_stepped`] does.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    pub fn spawn_stepped<S, F, T>(self, state: S, step: F) -> JoinHandle<T>
    where
        S: Send + 'static,
        F: FnMut(&mut S) -> Step<T> + Send + 'static,
        T: Send + 'static,
    {
        self.name_after(type_name::<F>()).spawn_body(Stepped { state, step })
    }

    /// Spawns a task that may hop, as [`spawn_hop`] does.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    pub fn spawn_hop<F, T>(self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> Hop<T> + Send + 'static,
        T: Send + 'static,
    {
        self.name_after(type_name::<F>()).spawn_body(Hopping::First(f, PhantomData))
    }

    fn spawn_body<B, T>(self, body: B) -> JoinHandle<T>
    where
        B: Body<T> + Send + 'static,
        T: Send + 'static,
    {
        Shared::with_current(|shared| {
            // SAFETY: body and value are `'static` and `Send`, and so is what a body leaves for another turn: itself.
            let spawned = unsafe { self.submit_anything(shared, body, false, false) };
            JoinHandle::new(spawned.unwrap_or_else(|error| panic!("{error}")))
        })
    }
}
