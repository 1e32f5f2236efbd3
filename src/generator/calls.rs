//! The four calls and the drop, the same for every form of a generator.
//!
//! They take `&self`, since the handles of a shared generator have no more; all that they touch lies in cells. Each form
//! makes one call at a time, and refuses others as `Executing` before it comes here.

use std::any::TypeId;
use std::mem::MaybeUninit;

use super::block::{Ended, Outcome, Owner};
use super::{ResumeError, State, Step};
use crate::coroutine::{self, unwind};
use crate::exception::{Ending, Exception, Raise, Report, raise, report};

/// How often a drop asks a body to end.
const TRIES: usize = 3;

/// How often a drop resumes a body that borrows, and yields out of destructors.
const STEPS: usize = 1000;

impl<Out, In: 'static, Ret> Owner<Out, In, Ret> {
    #[inline]
    pub(super) fn start(&self) -> Result<Step<Out, Ret>, ResumeError<In>> {
        match self.state() {
            State::New => {}
            State::Suspended => return Err(ResumeError::AlreadyStarted),
            State::Executing => return Err(ResumeError::executing()),
            State::Finished => return Err(ResumeError::finished()),
        }
        self.mount().map_err(ResumeError::NoStack)?;
        Self::told(self.begin())
    }

    #[inline(always)]
    pub(super) fn send(&self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        if !self.is_suspended() {
            return Err(self.cannot_send(value));
        }
        self.step(MaybeUninit::new(value))
    }

    pub(super) fn start_or_send(&self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        if self.state() == State::New {
            drop(value);
            return self.start();
        }
        self.send(value)
    }

    #[cold]
    fn cannot_send(&self, value: In) -> ResumeError<In> {
        match self.state() {
            State::New => ResumeError::NotStarted(value),
            State::Finished => ResumeError::Finished(value),
            State::Executing | State::Suspended => ResumeError::Executing(value),
        }
    }

    pub(super) fn throw(&self, exception: Exception) -> Result<Step<Out, Ret>, ResumeError<In>> {
        match self.state() {
            State::New => {
                self.finish_unstarted();
                Err(ResumeError::Raised(exception))
            }
            State::Finished => Err(ResumeError::Raised(exception)),
            State::Executing => Err(ResumeError::executing()),
            State::Suspended if self.is_unwinding() => Err(ResumeError::Unwinding),
            State::Suspended => {
                self.ask_to_raise(exception);
                self.step(MaybeUninit::uninit())
            }
        }
    }

    pub(super) fn close(&self) -> Result<Option<Ret>, ResumeError<In>> {
        match self.state() {
            State::New => self.finish_unstarted(),
            State::Finished => {}
            State::Executing => return Err(ResumeError::executing()),
            State::Suspended if self.is_unwinding() => return Err(ResumeError::Unwinding),
            State::Suspended if cfg!(panic = "abort") => return Err(ResumeError::IgnoredClose),
            // What borrows has begun in the same destructor, if in any: what its frames borrow is there.
            State::Suspended if self.borrows() => return self.end(),
            State::Suspended if coroutine::may_unwind() => return coroutine::vouching(|| self.end()),
            State::Suspended => return Err(ResumeError::ThreadEnding),
        }
        Ok(None)
    }

    /// Asks a suspended body, which may be unwound, to end.
    fn end(&self) -> Result<Option<Ret>, ResumeError<In>> {
        self.ask_to_close();
        self.go_on()
    }

    /// Resumes a suspended body that is asked to end, or whose `yield_` gives nothing, and is to end now.
    fn go_on(&self) -> Result<Option<Ret>, ResumeError<In>> {
        match self.resume(MaybeUninit::uninit()) {
            Outcome::Yielded(_) => Err(ResumeError::IgnoredClose),
            Outcome::Ended(Ended::Closed) => Ok(None),
            Outcome::Ended(Ended::Returned(ret)) => Ok(Some(ret)),
            Outcome::Ended(Ended::Raised(exception)) => Err(ResumeError::Raised(exception)),
            Outcome::Ended(Ended::Panicked(payload)) => unwind::throw(payload),
        }
    }

    /// Resumes a suspended body and says what came of it.
    #[inline(always)]
    fn step(&self, value: MaybeUninit<In>) -> Result<Step<Out, Ret>, ResumeError<In>> {
        Self::told(self.resume(value))
    }

    #[inline(always)]
    fn told(outcome: Outcome<Out, Ret>) -> Result<Step<Out, Ret>, ResumeError<In>> {
        match outcome {
            Outcome::Yielded(out) => Ok(Step::Yielded(out)),
            Outcome::Ended(Ended::Returned(ret)) => Ok(Step::Returned(ret)),
            // Spelled out, for a call here keeps the result of every step in memory.
            Outcome::Ended(Ended::Raised(exception)) => Err(ResumeError::Raised(exception)),
            // An earlier close, which the body had answered by yielding, has unwound it only now.
            Outcome::Ended(Ended::Closed) => Err(ResumeError::finished()),
            Outcome::Ended(Ended::Panicked(payload)) => unwind::throw(payload),
        }
    }

    /// Asks a suspended body to end, up to three times, where nobody can be told what comes of it.
    fn end_in_drop(&self) {
        let (mut closes, mut steps, mut is_told) = (0, 0, false);
        while self.state() == State::Suspended && !cfg!(panic = "abort") {
            // A body that is suspended in its own unwind takes only `send`.
            let is_ending = self.is_unwinding();
            let tries = if is_ending { &mut steps } else { &mut closes };
            *tries += 1;
            if *tries > if is_ending { self.steps_to_end() } else { TRIES } {
                break;
            }
            let ending = Ending::begin();
            // What it returned is dropped in there: its destructor may panic.
            match unwind::intercept(|| if is_ending { self.go_on() } else { self.end() }.map(drop)) {
                Ok(Err(ResumeError::IgnoredClose)) if !std::mem::replace(&mut is_told, true) => {
                    report(&Report::IgnoredClose { name: self.name() });
                }
                Ok(Err(ResumeError::Raised(exception))) => {
                    report(&Report::RaisedInDrop { name: self.name(), exception: &exception });
                }
                Ok(Ok(()) | Err(_)) => {}
                Err(payload) => ending.end(self.name(), payload),
            }
        }
    }

    /// How often a drop resumes a body that waits in the middle of its unwind, where that can be done without a value: one that
    /// borrows must come to its end, or the process does.
    fn steps_to_end(&self) -> usize {
        if self.borrows() && TypeId::of::<In>() == TypeId::of::<()>() { STEPS } else { 0 }
    }

    /// Gives up a generator that nobody holds any more: asks its body to end, and says so if it does not.
    #[cold]
    fn abandon(&mut self) {
        // One that lies in a thread-local is dropped while it runs if its body calls `exit`.
        if self.state() == State::Suspended && !self.is_running() {
            if self.borrows() {
                // Wherever that is: its frames borrow from callers that still run.
                self.end_in_drop();
            } else if coroutine::may_unwind() {
                coroutine::vouching(|| self.end_in_drop());
            }
        }
        if self.state() == State::New {
            // A new body is a closure; its destructor may panic, or raise, as any value's.
            let freeing = Freeing(self);
            freeing.0.finish_unstarted();
            std::mem::forget(freeing);
        }
        if self.state() != State::Finished {
            report(&Report::Leaked { name: self.name() });
            if self.borrows() {
                eprintln!("osier: generator '{}' borrows from its caller, which cannot go on", self.name());
                std::process::abort();
            }
        }
    }
}

impl<Out, Ret> Owner<Out, (), Ret> {
    #[inline(always)]
    pub(super) fn next(&self) -> Option<Out> {
        if !self.is_suspended() {
            return self.first();
        }
        match self.resume(MaybeUninit::new(())) {
            Outcome::Yielded(out) => Some(out),
            Outcome::Ended(ended) => {
                self.end_iteration(ended);
                None
            }
        }
    }

    #[cold]
    fn first(&self) -> Option<Out> {
        match self.start() {
            Ok(Step::Yielded(out)) => return Some(out),
            Ok(Step::Returned(ret)) => self.returned().set(Some(ret)),
            Err(ResumeError::Finished(())) => {}
            Err(error) => error.raise(),
        }
        None
    }

    #[cold]
    fn end_iteration(&self, ended: Ended<Ret>) {
        match ended {
            Ended::Returned(ret) => self.returned().set(Some(ret)),
            Ended::Closed => {}
            Ended::Raised(exception) => raise(exception),
            Ended::Panicked(payload) => unwind::throw(payload),
        }
    }
}

/// Frees the block of a body whose destructor unwinds.
struct Freeing<'a, Out, In: 'static, Ret>(&'a mut Owner<Out, In, Ret>);

impl<Out, In: 'static, Ret> Drop for Freeing<'_, Out, In, Ret> {
    fn drop(&mut self) {
        // SAFETY: it has finished, and its owner is being dropped, which the unwind leaves.
        unsafe { self.0.free() };
    }
}

impl<Out, In: 'static, Ret> Drop for Owner<Out, In, Ret> {
    #[inline]
    fn drop(&mut self) {
        if self.state() != State::Finished {
            self.abandon();
            if self.state() != State::Finished {
                // Block and stack stay for ever: somebody may still run on them.
                return;
            }
        }
        // SAFETY: it has finished, and this is the end of its owner.
        unsafe { self.free() };
    }
}
