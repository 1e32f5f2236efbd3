//! Coroutines: the only room that knows how stacks are switched.
//!
//! A coroutine is resumed by whoever holds it, runs on its own stack, and suspends back to its resumer. Generators,
//! greenlets and tasks are three ways to hold one. This room gives them the switch, the chain of who resumed whom, and
//! the rules of unwinding; it knows nothing of values, parents or schedulers.
//!
//! # Rooms
//! - `switch`: stacks switched by corosensei, or a thread for each; the same two types.
//! - `current`: who runs on this thread, and every thread-local of the crate. `group`: the same where each coroutine has
//!   a thread.
//! - `local`: variables that each context has for itself. `trees`: the trees of greenlets that it is the root of.
//! - `turns`: what a thread counts so that others have their turn.
//! - `memory`: what tasks and generators lie in.
//! - `region`: parts of a coroutine's run in which a wait ends early, later, or not at all.
//! - `unwind`: the payloads that we throw, and who is unwinding.
//! - `thread_end`: whether this thread destroys its thread-locals, so that a suspended coroutine must be left as it is.
//!   `own_stack`: the quick look that mostly answers that.
//! - `bookmark`: where a suspended task stands, for whoever looks at its stack from outside.
//!
//! # Invariants
//! - A started coroutine is resumed only on the thread that started it.
//! - No unwind crosses a switch: a coroutine's root catches, and its resumer goes on with what was caught.
//! - A stack with live frames is never freed or reused; what cannot be unwound is leaked.
//!
//! The proofs behind these rules: `arch-notes/coroutines.md`.

#[cfg(feature = "runtime")]
mod bookmark;
pub(crate) mod current;
#[cfg(any(miri, osier_threads))]
mod group;
mod identity;
pub(crate) mod local;
pub(crate) mod memory;
mod own_stack;
pub(crate) mod region;
mod switch;
mod thread_end;
mod trees;
#[cfg(feature = "runtime")]
mod turns;
pub(crate) mod unwind;

#[cfg(feature = "runtime")]
pub(crate) use bookmark::{Bookmark, Registers};
pub(crate) use current::Frame;
pub(crate) use identity::Identity;
pub(crate) use switch::{Coroutine, Resumed, Yielder};
#[cfg(feature = "runtime")]
pub(crate) use thread_end::vouching_for_worker;
pub(crate) use thread_end::{is_here as is_thread_ending, vouching};

use std::io;

#[cfg(feature = "runtime")]
use crate::stack::StackCache;
use crate::stack::{self, Stack, StackSize};

/// How many bytes must be left for a panic hook to run on the coroutine's own stack: a full backtrace takes 24 to 27 KiB.
const AMPLE: usize = 32 * 1024;

/// Whether a suspended coroutine of this thread may be unwound, rather than leaked. Looks at the stack; who gets a yes ends it
/// within [`vouching`].
///
/// A worker is asked as any thread: it ends its tasks before its thread ends, but one of them may call
/// `std::process::exit`, which runs the destructors of its thread's variables right there.
#[cold]
pub(crate) fn may_unwind() -> bool {
    !cfg!(panic = "abort") && !thread_end::is_here()
}

/// Takes a stack from this thread's cache.
///
/// # Errors
/// The system has no memory, address space or mapping left.
#[inline(always)]
pub(crate) fn take_stack(size: StackSize) -> io::Result<Stack> {
    unwind::prepare();
    take_spare(size)
}

/// Calls `f` on another stack if little is left of the coroutine's own, which would run out otherwise: for panic hooks.
#[cold]
pub(crate) fn on_ample_stack(f: impl FnOnce()) {
    if stack::left_here().is_none_or(|left| left >= AMPLE) {
        return f();
    }
    // Without memory for it, the hook does what it can where it is.
    let Ok(ample) = take_spare(StackSize::OF_HOOKS) else { return f() };
    on_spare(StackSize::OF_HOOKS, ample, "panic hook", f);
}

/// Calls `f`, which does not unwind, on a big stack, whose overflow names `name`; on the running one if that is as large.
///
/// # Errors
/// The system has no memory for it; nothing was called.
#[cfg(feature = "runtime")]
pub(crate) fn on_big_stack<T>(name: &str, f: impl FnOnce() -> T) -> io::Result<T> {
    if stack::usable_here().is_some_and(|usable| usable >= stack::BIG_STACK_SIZE) {
        return Ok(f());
    }
    let big = take_spare(StackSize::BIG)?;
    Ok(on_spare(StackSize::BIG, big, name, f))
}

/// Makes this thread keep as many free stacks as it asks for again and again, until [`give_stacks_back`].
#[cfg(feature = "runtime")]
pub(crate) fn keep_stacks() {
    current::with_stack_cache(|cache| cache.into_iter().for_each(StackCache::adapt));
}

/// Whether this thread keeps more free stacks than a thread usually does.
#[cfg(feature = "runtime")]
pub(crate) fn keeps_many_stacks() -> bool {
    current::with_stack_cache(|cache| cache.is_some_and(|cache| cache.is_large()))
}

/// Gives the memory of some of them back.
#[cfg(feature = "runtime")]
pub(crate) fn give_stacks_back() {
    current::with_stack_cache(|cache| cache.into_iter().for_each(StackCache::shrink));
}

/// Gives the memory of what the calling thread keeps for its next coroutines back to the system, and asks the allocator to do
/// so with what lies in its free lists (`malloc_trim`, with glibc).
///
/// A thread keeps up to 1024 free stacks of each size, with the pages that they have touched, and the allocator what a million
/// ended generators and greenlets lay in. That makes the next ones cheap; this is for a thread that has had many and will not
/// soon have more. It takes milliseconds after a million.
///
/// A worker of a runtime gives back by itself what it has beyond that, when it has nothing to do for a while. Called in a task,
/// this is about that task's worker, but not about the up to 1024 stacks that it has ready for tasks.
///
/// # Examples
/// ```
/// use osier::{Generator, Yielder, stack};
///
/// let many: Vec<_> = (0..1000).map(|_| {
///     let mut g = Generator::new(|y: &Yielder<u32>| y.yield_(1));
///     g.next();
///     g
/// }).collect();
/// drop(many);
/// // Their stacks' memory goes back; the stacks themselves are kept for all threads.
/// stack::trim();
/// ```
pub fn trim() {
    current::clear_caches();
    stack::trim_heap();
}

/// Takes a stack; a thread that panics may do so too.
#[inline(always)]
fn take_spare(size: StackSize) -> io::Result<Stack> {
    if let Some(stack) = current::take_spare_stack(size) {
        return Ok(stack);
    }
    match current::with_stack_cache(|cache| cache?.take(size)) {
        Some(stack) => Ok(stack),
        None => take_uncached(size),
    }
}

/// Takes a stack that the thread does not keep; its first one comes so.
#[cold]
#[inline(never)]
fn take_uncached(size: StackSize) -> io::Result<Stack> {
    current::ensure_signal_stack();
    stack::take_uncached(size)
}

/// Calls `f`, which does not unwind, on a stack of this size, and gives it back.
fn on_spare<T>(size: StackSize, stack: Stack, name: &str, f: impl FnOnce() -> T) -> T {
    stack.name_tag().set(name);
    let value = switch::on_stack(&stack, f);
    give_stack(size, stack);
    value
}

/// Gives a stack that nobody runs on back to this thread's cache.
#[inline(always)]
pub(crate) fn give_stack(size: StackSize, stack: Stack) {
    if let Some(stack) = current::keep_stack(size, stack) {
        give_to_cache(size, stack);
    }
}

/// Where this thread keeps one already, or has kept none yet.
#[inline(never)]
fn give_to_cache(size: StackSize, stack: Stack) {
    current::with_stack_cache(|cache| match cache {
        Some(cache) => {
            // It will be dropped at the end of the thread, and takes the other one then.
            current::keeps_spare_stack();
            cache.put(size, stack);
        }
        None => stack::put_uncached(size, stack),
    });
}
