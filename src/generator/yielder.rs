//! The body's side of a generator.

use std::fmt;
use std::mem::MaybeUninit;

use super::block::{Books, Closing, Command};
use crate::coroutine::{self, Frame, current, unwind};

/// The right of a generator's body to yield; the body gets it as its argument.
///
/// It works wherever the generator is on the running chain: in the body, in functions it calls, and in generators that
/// it resumes. Elsewhere `yield_` panics. It is neither `Send` nor `Sync`.
///
/// ```compile_fail
/// use osier::{Generator, Yielder};
/// let g = Generator::new(|y: &Yielder<u32>| {
///     std::thread::scope(|s| { s.spawn(|| y.yield_(1)); });
/// });
/// ```
pub struct Yielder<Out, In: 'static = ()> {
    /// Both live as long as the body runs, and the body is what borrows this yielder.
    switch: *const coroutine::Yielder<MaybeUninit<In>, Out>,
    books: *const Books,
}

impl<Out, In: 'static> Yielder<Out, In> {
    /// Makes the yielder for a body that starts now.
    ///
    /// # Safety
    /// - `switch` and `books` belong to the running coroutine and outlive the yielder.
    #[inline]
    pub(super) unsafe fn new(switch: &coroutine::Yielder<MaybeUninit<In>, Out>, books: *const Books) -> Self {
        Self { switch, books }
    }

    /// Hands `out` to whoever resumed the generator and waits for the next resume; returns what that sends.
    ///
    /// # Suspends
    /// The generator, and everything that runs on top of it. When the generator is closed or dropped, this call
    /// unwinds.
    ///
    /// # Panics
    /// If the generator is not on the running chain: the yielder was lent to another coroutine that runs alone.
    #[inline]
    pub fn yield_(&self, out: Out) -> In {
        // SAFETY: see the field.
        let books = unsafe { &*self.books };
        let value = if std::ptr::eq(current::frame(), &raw const books.frame) {
            // SAFETY: this generator runs, with nothing on top of it.
            unsafe { self.suspend(&raw const books.frame, out) }
        } else {
            self.suspend_with_others(out)
        };
        if books.command.get() != Command::Send {
            self.obey();
        }
        // SAFETY: with `Command::Send`, whoever resumed passed a value.
        unsafe { value.assume_init() }
    }

    /// Suspends the generator, with everything from `top`, which runs, down to it.
    ///
    /// # Safety
    /// - The generator is on the running chain, and `top` is the running frame.
    #[inline(always)]
    unsafe fn suspend(&self, top: *const Frame, out: Out) -> MaybeUninit<In> {
        // SAFETY: see the field.
        let books = unsafe { &*self.books };
        let suspend = |may_throw: bool| {
            if !may_throw {
                books.takes_only_send.set(true);
            }
            // SAFETY: `switch` belongs to this generator, which is on the running chain.
            let value = unsafe { (*self.switch).suspend(out) };
            if !may_throw {
                books.takes_only_send.set(false);
            }
            value
        };
        // SAFETY: the caller's promise.
        unsafe { unwind::suspending(top, &books.frame, suspend) }
    }

    /// Suspends the generator from within coroutines that it resumed.
    #[cold]
    #[inline(never)]
    fn suspend_with_others(&self, out: Out) -> MaybeUninit<In> {
        // SAFETY: see the field.
        let on_chain = unsafe { &*self.books }.frame.is_on_chain();
        assert!(on_chain, "a yielder was used off its chain: its generator is not among the coroutines that run here");
        // SAFETY: the generator is on the chain, as was checked.
        unsafe { self.suspend(current::frame(), out) }
    }

    /// Does what was asked instead of a send.
    #[cold]
    fn obey(&self) -> ! {
        unwind::throw(Box::new(Closing::of(self.books)))
    }
}

impl<Out, In: 'static> fmt::Debug for Yielder<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}
