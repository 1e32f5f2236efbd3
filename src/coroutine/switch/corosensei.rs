//! Stacks switched in user space, by corosensei.
//!
//! corosensei's own `Drop` unwinds a suspended coroutine by force, which aborts when a destructor waits and loops when
//! the unwind is swallowed. So it is kept from running.

use std::hint;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;

use corosensei::CoroutineResult;

use super::Resumed;
use super::fiber::{self, Fiber};
use crate::stack::{self, Stack};

/// What corosensei needs to know of a stack. The stack itself is kept beside corosensei's coroutine: to have it back,
/// all of that would have to be moved, right after parts of it were written in smaller pieces, which stalls the
/// processor (a fifth of what a short-lived generator costs). The limit, which is never asked for, is looked up.
struct Bounds {
    base: NonZeroUsize,
}

// SAFETY: they are those of a `Stack`:
// - `Region::cut` guarded the slot's lowest part before the stack existed.
// - At least `MIN_STACK_SIZE` bytes are usable, above corosensei's minimum of 4096.
// - Both ends are multiples of 64.
unsafe impl corosensei::stack::Stack for Bounds {
    #[inline(always)]
    fn base(&self) -> NonZeroUsize {
        self.base
    }

    fn limit(&self) -> NonZeroUsize {
        stack::limit_of(self.base)
    }
}

/// A body on a stack of its own. Dropping it frees nothing: see the module's page.
pub(crate) struct Coroutine<In, Out> {
    inner: ManuallyDrop<corosensei::Coroutine<In, Out, (), Bounds>>,
    stack: Stack,
    fiber: Fiber,
}

impl<In, Out> Coroutine<In, Out> {
    /// Puts `body` on `stack`, to run at the first resume.
    ///
    /// # Safety
    /// - What `body` borrows stays valid until the coroutine has returned, or for ever if it never does.
    /// - `body` does not unwind.
    #[inline(always)]
    pub(crate) unsafe fn new(stack: Stack, body: impl FnOnce(&Yielder<In, Out>, In)) -> Self {
        #[cfg(osier_asan)]
        clear_marks(&stack);
        let body = move |yielder: &corosensei::Yielder<In, Out>, first| body(Yielder::wrap(yielder), first);
        let bounds = Bounds { base: stack.base() };
        // SAFETY: the first demand on our caller is corosensei's. The stack stays ours until the coroutine has returned.
        let inner = unsafe { corosensei::Coroutine::with_stack_unchecked(bounds, body) };
        Self { inner: ManuallyDrop::new(inner), stack, fiber: Fiber::new() }
    }

    /// Runs the body until it suspends or returns.
    ///
    /// # Safety
    /// - The coroutine has not returned, is not running, and was started on this thread if it was started.
    #[inline(always)]
    pub(crate) unsafe fn resume(&mut self, input: In) -> Resumed<Out> {
        // SAFETY: the caller's promise. corosensei asks before it switches.
        unsafe { hint::assert_unchecked(!self.inner.done()) };
        match self.fiber.enter(|| self.inner.resume(input)) {
            CoroutineResult::Yield(out) => Resumed::Suspended(out),
            CoroutineResult::Return(()) => Resumed::Returned,
        }
    }

    /// Gives the stack of a coroutine back that has returned.
    ///
    /// # Panics
    /// If it has not returned.
    #[inline(always)]
    pub(crate) fn into_stack(self) -> Stack {
        assert!(self.inner.done(), "the coroutine has returned");
        self.stack
    }
}

/// The right to suspend one coroutine.
#[repr(transparent)]
pub(crate) struct Yielder<In, Out> {
    inner: corosensei::Yielder<In, Out>,
}

impl<In, Out> Yielder<In, Out> {
    #[inline(always)]
    fn wrap(inner: &corosensei::Yielder<In, Out>) -> &Self {
        // SAFETY: `Yielder` is a transparent wrapper, so the reference has the same layout and the same meaning.
        unsafe { &*std::ptr::from_ref(inner).cast::<Self>() }
    }

    /// Goes back to whoever resumed this coroutine, with everything that runs on top of it.
    ///
    /// # Safety
    /// - This coroutine is on the running chain of this thread: running, or below the running one.
    #[inline(always)]
    pub(crate) unsafe fn suspend(&self, out: Out) -> In {
        fiber::leave(|| self.inner.suspend(out))
    }
}

/// Makes AddressSanitizer forget the frames that used this stack before: the lowest of them never returned.
#[cfg(osier_asan)]
fn clear_marks(stack: &Stack) {
    unsafe extern "C" {
        fn __asan_unpoison_memory_region(from: *const std::ffi::c_void, bytes: usize);
    }
    let (base, limit) = (stack.base().get(), stack.limit().get());
    // SAFETY: it only writes the sanitizer's notes on bytes that are ours, and that nobody runs on.
    unsafe { __asan_unpoison_memory_region(std::ptr::without_provenance(limit), base - limit) };
}

/// A stack that is lent for one call.
struct Lent<'a>(&'a Stack);

// SAFETY: as for `Stack`.
unsafe impl corosensei::stack::Stack for Lent<'_> {
    fn base(&self) -> NonZeroUsize {
        self.0.base()
    }

    fn limit(&self) -> NonZeroUsize {
        self.0.limit()
    }
}

/// Calls `f` on another stack, which nobody runs on. If `f` suspends the coroutine that calls it, the stack waits too.
pub(crate) fn on_stack<T>(stack: &Stack, f: impl FnOnce() -> T) -> T {
    #[cfg(osier_asan)]
    clear_marks(stack);
    corosensei::on_stack(Lent(stack), f)
}
