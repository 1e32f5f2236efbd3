//! The body's side of a generator.

use std::fmt;
use std::mem::MaybeUninit;

use super::block::{Books, Closing, Command};
use crate::coroutine::{self, current, unwind};

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
        let top = current::frame();
        if !std::ptr::eq(top, &raw const books.frame) {
            self.check_chain();
        }
        // SAFETY: this generator is on the running chain, as was checked; `switch` belongs to it.
        let value = unsafe {
            unwind::suspending(top, &books.frame, |may_throw| {
                books.takes_only_send.set(!may_throw);
                (*self.switch).suspend(out)
            })
        };
        if books.command.get() != Command::Send {
            self.obey();
        }
        // SAFETY: with `Command::Send`, whoever resumed passed a value.
        unsafe { value.assume_init() }
    }

    #[cold]
    fn check_chain(&self) {
        // SAFETY: see the field.
        let on_chain = unsafe { &*self.books }.frame.is_on_chain();
        assert!(on_chain, "a yielder was used off its chain: its generator is not among the coroutines that run here");
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
