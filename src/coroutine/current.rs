//! Who runs on this thread: the chain of frames, and every thread-local of the crate (but for `group`'s).
//!
//! ```text
//!   thread ── task ── generator ── generator        each frame points to the one that resumed it;
//!     null ←─ base ←─── frame ←───── frame ← current   a task's frame is a base: the chain starts anew there
//! ```
//!
//! A coroutine sets `current` to itself when it is switched in, and its resumer sets it back when the switch returns.
//! When an outer coroutine suspends through inner ones, these stay where they are: `current` is saved on the suspended
//! stack and restored with it, so the next resume of the outer one goes on in the innermost.
//!
//! A region (`region`: a timeout, a shield, `no_suspend`) is a frame without a coroutine, on its opener's stack. While it
//! is open it stands on top of its opener's frame, so the chain also says which regions are in force; and since the
//! running frame is not the one that a yield or a wait expects then, only calls inside a region look for any.
//!
//! A thread, a task and a greenlet are contexts: each can be the root of trees of greenlets, one of a type, and carries
//! them until it ends. A generator is none: it counts as part of whoever resumed it.
//!
//! # Invariants
//! - Thread-locals are read through functions that return values; no reference to one crosses a suspension.
//! - A coroutine never changes its thread, so an address of one that the compiler keeps over a switch stays right.

use std::any::{Any, TypeId};
use std::cell::{Cell, OnceCell, RefCell};
use std::ptr;
use std::rc::Rc;
#[cfg(feature = "runtime")]
use std::time::Instant;

#[cfg(any(miri, osier_threads))]
pub(super) use super::group::THREAD;
#[cfg(any(miri, osier_threads))]
use super::group::{LOCALS, Shared, TRACER, TREES};
use super::local::Locals;
use super::memory::BlockCache;
use super::own_stack::OwnStack;
pub(crate) use super::trees::{Root, Trees};
#[cfg(feature = "runtime")]
use super::turns::BUDGET;
#[cfg(feature = "runtime")]
pub(crate) use super::turns::{Pace, count_checkpoint, fill_budget, pace, set_checkpoints_left, set_pace, spend};
use crate::stack::{SignalStack, Spare, Stack, StackCache, StackSize};

/// One running or suspended coroutine, as a link of the chain. Lives in its holder's block.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Who resumed this one, also while it is suspended, for it is mostly the same one again. [`NOBODY`] before it is
    /// first resumed.
    pub(crate) resumer: Cell<*const Frame>,
    kind: Kind,
    /// What there is to know when this coroutine goes on, in one byte, so that one look tells that there is nothing.
    signals: Cell<u8>,
    /// Tells it from others that lay or will lie at the same address: see [`Identity`](super::Identity).
    pub(super) number: Cell<u32>,
    /// The trees of greenlets whose root this coroutine is. Empty in a generator's frame.
    pub(crate) trees: Trees,
    /// The values of task locals that this coroutine has. Empty in a generator's frame.
    pub(crate) locals: Locals,
    /// The type of its yielder, for generators whose yielder can be found through the chain; they have their frame in
    /// `generator::block::Books`.
    pub(crate) yields: Option<fn() -> TypeId>,
}

/// No frame's address, and not null, which stands for a plain thread.
const NOBODY: *const Frame = ptr::dangling();

/// In `Frame::signals`: an unwind began in this coroutine, as far as is known. Void once it has suspended outside one.
const UNWINDING: u8 = 1;
/// It suspended in the middle of that unwind, so the note is not void.
const PARKED_UNWINDING: u8 = 2;
/// Its holder asks for something else than that it goes on.
const ASKED: u8 = 4;
/// What a frame is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A coroutine that counts as part of whoever resumed it.
    Generator,
    /// A greenlet: the frame is the first field of `greenlet::node::Head`.
    Greenlet,
    /// A task: the chain starts here. Its resumer is the worker's loop or a joiner.
    #[cfg_attr(not(feature = "runtime"), allow(dead_code, reason = "only tasks are bases"))]
    Base,
    /// No coroutine: the frame is the first field of a `Region`.
    Region,
}

impl Frame {
    /// A frame of a coroutine that counts as part of whoever resumed it.
    pub(crate) const fn new() -> Self {
        Self {
            resumer: Cell::new(NOBODY),
            kind: Kind::Generator,
            signals: Cell::new(0),
            number: Cell::new(0),
            trees: Trees::new(),
            locals: Locals::new(),
            yields: None,
        }
    }

    /// A frame at the head of a greenlet's node.
    pub(crate) const fn of_greenlet() -> Self {
        let mut frame = Self::new();
        frame.kind = Kind::Greenlet;
        frame
    }

    /// A generator's frame. With `yields`, it is the first field of the books of a generator with that yielder.
    pub(crate) const fn of_generator(yields: Option<fn() -> TypeId>) -> Self {
        let mut frame = Self::new();
        frame.yields = yields;
        frame
    }

    /// A frame at which the chain starts.
    #[cfg(feature = "runtime")]
    pub(crate) const fn base() -> Self {
        let mut frame = Self::new();
        frame.kind = Kind::Base;
        frame
    }

    /// The frame of a region that is to be opened by whoever runs.
    pub(super) const fn of_region() -> Self {
        let mut frame = Self::new();
        frame.kind = Kind::Region;
        frame
    }

    /// Says that another body begins on this frame's coroutine.
    #[cfg(feature = "runtime")]
    pub(crate) fn begin(&self) {
        self.signals.set(0);
    }

    /// Whether the one that runs now is who resumed this coroutine last. Never before it is first resumed, nor after
    /// [`forget_resumer`](Self::forget_resumer).
    #[inline(always)]
    pub(crate) fn was_resumed_from_here(&self) -> bool {
        ptr::eq(self.resumer.get(), frame())
    }

    /// Notes that the one that runs now resumes this coroutine.
    ///
    /// A compare, mostly, and no store: what is loaded after the switch was then stored long ago, and no switch waits for
    /// the one before (a third of a nanosecond).
    #[inline(always)]
    pub(super) fn is_resumed_from_here(&self) {
        if !self.was_resumed_from_here() {
            self.resumer.set(frame());
        }
    }

    /// Says that this coroutine will not be resumed again.
    pub(crate) fn forget_resumer(&self) {
        self.resumer.set(NOBODY);
    }

    /// Whether an unwind began in this coroutine and has not ended, as far as is known.
    pub(super) fn is_unwinding(&self) -> bool {
        self.signals.get() & UNWINDING != 0
    }

    /// Notes that an unwind began in this running coroutine, or has ended.
    pub(super) fn set_unwinding(&self, unwinding: bool) {
        self.signals.set(if unwinding { UNWINDING } else { 0 });
    }

    /// Notes that this coroutine suspends in the middle of its own unwind, if it is in one.
    pub(super) fn park_unwinding(&self) {
        if self.is_unwinding() {
            self.signals.set(UNWINDING | PARKED_UNWINDING);
        }
    }

    /// Lets this suspended coroutine find a request of its holder when it goes on.
    pub(crate) fn ask(&self) {
        self.signals.set(self.signals.get() | ASKED);
    }

    /// Whether there is a request for this coroutine, which goes on.
    pub(crate) fn is_asked(&self) -> bool {
        self.signals.get() & ASKED != 0
    }

    /// Whether this coroutine, which goes on, has something to look at.
    #[inline(always)]
    pub(crate) fn has_signals(&self) -> bool {
        self.signals.get() != 0
    }

    /// Whether there is a request, for a coroutine that goes on. Wipes what is void.
    pub(crate) fn take_signals(&self) -> bool {
        let signals = self.signals.get();
        self.signals.set(if signals & PARKED_UNWINDING == 0 { 0 } else { signals & UNWINDING });
        signals & ASKED != 0
    }

    /// Says that the context that ran on this frame's coroutine has ended, and with it the trees whose root it was.
    ///
    /// One load where there are none. Runs no code of users.
    #[inline(always)]
    pub(crate) fn end_trees(&self) {
        self.trees.end();
    }

    #[inline(always)]
    pub(crate) fn is_base(&self) -> bool {
        self.kind == Kind::Base
    }

    #[inline(always)]
    pub(crate) fn is_greenlet(&self) -> bool {
        self.kind == Kind::Greenlet
    }

    #[inline(always)]
    pub(crate) fn is_region(&self) -> bool {
        self.kind == Kind::Region
    }
}

/// What a thread keeps for the coroutines on it. No destructor: it can be read as long as the thread runs.
pub(super) struct Thread {
    /// The innermost running frame: a coroutine's, or a region's; or null.
    frame: Cell<*const Frame>,
    /// The worker this thread is, or null. Typed in `runtime::worker`.
    #[cfg(feature = "runtime")]
    worker: Cell<*const ()>,
    /// The worker whose loop this thread runs first of all, or null: no destructor of a thread-local is below it.
    #[cfg(feature = "runtime")]
    vouched_worker: Cell<*const ()>,
    /// The running task, or null. Typed in `task`.
    #[cfg(feature = "runtime")]
    task: Cell<*const ()>,
    /// How many coroutines of this thread are parked in the middle of their own unwind.
    parked_unwinding: Cell<usize>,
    /// Whether an unwind began on this thread outside every coroutine, as far as is known ([`THREAD_UNWINDING`]); and whether
    /// any frame was ever noted to unwind ([`FRAME_NOTED`]).
    notes: Cell<u8>,
    /// How many panics our hook has seen on this thread; it wraps.
    panics_shown: Cell<usize>,
    /// How many `catch` run on this thread outside every coroutine.
    catches: Cell<usize>,
    /// What the clock shows on a thread whose time is made up.
    #[cfg(feature = "runtime")]
    virtual_now: Cell<Option<Instant>>,
    /// The last of this thread's random numbers.
    #[cfg(feature = "runtime")]
    random: Cell<u32>,
    /// Whether `TRACER` is set.
    traced: Cell<bool>,
    /// The stack that this thread gave back last.
    spare: Spare,
    /// The stack that it was made with.
    pub(super) own_stack: Cell<OwnStack>,
    /// How many checkpoints pass before one looks at the clock. See `task::checkpoint`.
    #[cfg(feature = "runtime")]
    pub(super) checkpoints_left: Cell<u32>,
    /// How many calls that need not wait are made before somebody looks whether others shall run. See `task::budget`.
    #[cfg(feature = "runtime")]
    pub(super) budget: Cell<u32>,
    /// What coroutines with threads of their own share besides.
    #[cfg(any(miri, osier_threads))]
    pub(super) group: Shared,
}

impl Thread {
    pub(super) const fn new() -> Self {
        Self {
            frame: Cell::new(ptr::null()),
            #[cfg(feature = "runtime")]
            worker: Cell::new(ptr::null()),
            #[cfg(feature = "runtime")]
            vouched_worker: Cell::new(ptr::null()),
            #[cfg(feature = "runtime")]
            task: Cell::new(ptr::null()),
            parked_unwinding: Cell::new(0),
            notes: Cell::new(0),
            panics_shown: Cell::new(0),
            catches: Cell::new(0),
            #[cfg(feature = "runtime")]
            virtual_now: Cell::new(None),
            #[cfg(feature = "runtime")]
            random: Cell::new(0x9E37_79B9),
            traced: Cell::new(false),
            spare: Spare::new(),
            own_stack: Cell::new(OwnStack::Unasked),
            #[cfg(feature = "runtime")]
            checkpoints_left: Cell::new(0),
            #[cfg(feature = "runtime")]
            budget: Cell::new(BUDGET),
            #[cfg(any(miri, osier_threads))]
            group: Shared::new(),
        }
    }
}

#[cfg(not(any(miri, osier_threads)))]
thread_local! {
    pub(super) static THREAD: Thread = const { Thread::new() };
    static TREES: Trees = const { Trees::new() };
    /// Typed in `greenlet::trace`.
    static TRACER: RefCell<Option<Rc<dyn Any>>> = const { RefCell::new(None) };
    static LOCALS: Locals = const { Locals::new() };
}

thread_local! {
    static STACKS: Stacks = const { Stacks { cache: RefCell::new(StackCache::new()), signals: OnceCell::new() } };
    static BLOCKS: BlockCache = const { BlockCache::new() };
    #[cfg(feature = "runtime")]
    pub(super) static PACE: Cell<Pace> = const { Cell::new(Pace::NONE) };
}

/// A thread's free stacks. What the thread has apart from them goes with them.
struct Stacks {
    cache: RefCell<StackCache>,
    /// Where the fault handler runs, if nobody else has given this thread a place for that.
    signals: OnceCell<Option<SignalStack>>,
}

impl Drop for Stacks {
    fn drop(&mut self) {
        if let Some((size, stack)) = THREAD.with(|thread| thread.spare.close()) {
            self.cache.get_mut().put(size, stack);
        }
    }
}

/// The innermost running frame, or null.
#[inline(always)]
pub(crate) fn frame() -> *const Frame {
    THREAD.with(|thread| thread.frame.get())
}

#[inline(always)]
pub(crate) fn set_frame(frame: *const Frame) {
    THREAD.with(|thread| thread.frame.set(frame));
}

/// The running frames, innermost first, up to and with the base.
pub(crate) fn chain() -> impl Iterator<Item = &'static Frame> {
    // SAFETY: as in `chain_pointers`. Callers look at one at a time.
    chain_pointers().map(|frame| unsafe { &*frame })
}

/// Whether a frame's coroutine runs, or has resumed one that does, and so on: beyond bases, too.
#[cold]
pub(crate) fn is_running(frame: *const Frame) -> bool {
    let mut next = self::frame();
    while !next.is_null() {
        if ptr::eq(next, frame) {
            return true;
        }
        // SAFETY: a running frame's resumer is one, or null.
        next = unsafe { (*next).resumer.get() };
    }
    false
}

/// As [`chain`], with pointers that lead to what a frame lies in.
pub(crate) fn chain_pointers() -> impl Iterator<Item = *const Frame> {
    let mut next = frame();
    std::iter::from_fn(move || {
        let this = next;
        // SAFETY: `current` is null or a running coroutine's frame, and a running coroutine's resumer is null or a
        // frame that runs below it; none of them is freed while it is on the chain.
        let frame = unsafe { this.as_ref() }?;
        next = if frame.is_base() { ptr::null() } else { frame.resumer.get() };
        Some(this)
    })
}

/// Whether no coroutine runs on this thread.
pub(crate) fn is_outside() -> bool {
    chain().all(Frame::is_region)
}

/// The root of a tree whose context is this thread itself, outside every coroutine.
pub(crate) fn find_tree_of_thread<R: Root>() -> Option<Rc<R>> {
    TREES.try_with(Trees::find).ok()?
}

/// Adds a tree whose context is this thread itself. False when the thread is past its end.
pub(crate) fn add_tree_of_thread(root: Rc<dyn Root>) -> bool {
    TREES.try_with(|trees| trees.add(root)).is_ok()
}

/// A number that stands for who runs: the innermost greenlet, else the task, else the thread. No other has it as long as
/// that one lives.
#[cfg(feature = "runtime")]
pub(crate) fn context() -> usize {
    let greenlet = chain().find(|frame| frame.is_greenlet());
    match greenlet.map(|frame| ptr::from_ref(frame).addr()) {
        Some(greenlet) => greenlet,
        None if !task().is_null() => task().addr(),
        None => THREAD.with(|thread| ptr::from_ref(thread).addr()),
    }
}

#[cfg(feature = "runtime")]
#[inline(always)]
pub(crate) fn worker() -> *const () {
    THREAD.with(|thread| thread.worker.get())
}

#[cfg(feature = "runtime")]
pub(crate) fn set_worker(worker: *const ()) {
    THREAD.with(|thread| thread.worker.set(worker));
}

/// Says that no destructor of a thread-local is below the loop of this thread's worker.
#[cfg(feature = "runtime")]
pub(super) fn vouch_for_worker() {
    THREAD.with(|thread| thread.vouched_worker.set(thread.worker.get()));
}

/// Whether that was said of the worker that this thread is now.
#[cfg(feature = "runtime")]
pub(super) fn is_worker_vouched_for() -> bool {
    THREAD.with(|thread| !thread.worker.get().is_null() && thread.worker.get() == thread.vouched_worker.get())
}

#[cfg(feature = "runtime")]
#[inline(always)]
pub(crate) fn task() -> *const () {
    THREAD.with(|thread| thread.task.get())
}

#[cfg(feature = "runtime")]
#[inline(always)]
pub(crate) fn set_task(task: *const ()) {
    THREAD.with(|thread| thread.task.set(task));
}

/// Runs `f` as on a thread that is no worker, runs no task, and has the system's time.
pub(super) fn outside_of_tasks<T>(f: impl FnOnce() -> T) -> T {
    #[cfg(feature = "runtime")]
    let _back = {
        struct Back(*const (), *const (), Option<Instant>);
        impl Drop for Back {
            fn drop(&mut self) {
                set_worker(self.0);
                set_task(self.1);
                set_virtual_now(self.2);
            }
        }
        let back = Back(worker(), task(), THREAD.with(|thread| thread.virtual_now.get()));
        set_worker(ptr::null());
        set_task(ptr::null());
        set_virtual_now(None);
        back
    };
    f()
}

/// Whether anything unwinds on this thread, as std counts it.
#[cfg(not(any(miri, osier_threads)))]
#[inline(always)]
pub(crate) fn panicking() -> bool {
    std::thread::panicking()
}

#[cfg(any(miri, osier_threads))]
pub(crate) use super::group::panicking;

pub(super) fn parked_unwinding() -> usize {
    THREAD.with(|thread| thread.parked_unwinding.get())
}

pub(super) fn set_parked_unwinding(count: usize) {
    THREAD.with(|thread| thread.parked_unwinding.set(count));
}

/// In `Thread::notes`.
const THREAD_UNWINDING: u8 = 1;
const FRAME_NOTED: u8 = 2;

/// Whether there may be any note of an unwind on this thread, in a frame or of its own. One load.
#[inline(always)]
pub(super) fn has_notes() -> bool {
    THREAD.with(|thread| thread.notes.get()) != 0
}

/// Says that a frame was noted to unwind.
pub(super) fn note_in_frame() {
    THREAD.with(|thread| thread.notes.set(thread.notes.get() | FRAME_NOTED));
}

#[inline(always)]
pub(super) fn thread_unwinding() -> bool {
    THREAD.with(|thread| thread.notes.get()) & THREAD_UNWINDING != 0
}

pub(super) fn set_thread_unwinding(unwinding: bool) {
    THREAD.with(|thread| {
        let others = thread.notes.get() & !THREAD_UNWINDING;
        thread.notes.set(if unwinding { others | THREAD_UNWINDING } else { others });
    });
}

/// How many panics our hook has seen on this thread.
pub(crate) fn panics_shown() -> usize {
    THREAD.with(|thread| thread.panics_shown.get())
}

/// Counts a panic that our hook sees.
pub(super) fn count_panic_shown() {
    THREAD.with(|thread| thread.panics_shown.set(thread.panics_shown.get().wrapping_add(1)));
}

/// How many `catch` run on this thread outside every coroutine.
pub(crate) fn catches() -> usize {
    THREAD.with(|thread| thread.catches.get())
}

pub(crate) fn set_catches(count: usize) {
    THREAD.with(|thread| thread.catches.set(count));
}

/// What time it is for whoever runs on this thread.
#[cfg(feature = "runtime")]
pub(crate) fn now() -> Instant {
    THREAD.with(|thread| thread.virtual_now.get()).unwrap_or_else(Instant::now)
}

/// A random number, for fairness alone: the same series on every thread whose series was not seeded. Xorshift (Marsaglia,
/// "Xorshift RNGs", 2003).
#[cfg(feature = "runtime")]
pub(crate) fn random() -> u32 {
    THREAD.with(|thread| {
        let mut random = thread.random.get();
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        thread.random.set(random);
        random
    })
}

/// Gives this thread's random numbers another beginning.
#[cfg(feature = "runtime")]
pub(crate) fn seed_random(seed: u64) {
    // Neighbouring seeds shall differ in all bits, and the series of zero is zeros.
    let mixed = (seed ^ 0x5851_F42D_4C95_7F2D).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    THREAD.with(|thread| thread.random.set(mixed as u32 | 1));
}

/// Whether the switches of this thread's greenlets are traced.
#[inline(always)]
pub(crate) fn is_traced() -> bool {
    THREAD.with(|thread| thread.traced.get())
}

/// Who is told of the switches of this thread's greenlets.
pub(crate) fn tracer() -> Option<Rc<dyn Any>> {
    TRACER.try_with(|tracer| tracer.borrow().clone()).ok()?
}

/// Sets who is told of the switches of this thread's greenlets; returns who was. Does nothing when the thread is past its
/// end.
pub(crate) fn set_tracer(tracer: Option<Rc<dyn Any>>) -> Option<Rc<dyn Any>> {
    let traced = tracer.is_some();
    let former = TRACER.try_with(|now| now.replace(tracer)).ok()?;
    THREAD.with(|thread| thread.traced.set(traced));
    former
}

/// Whether the time on this thread is made up.
#[cfg(feature = "runtime")]
pub(crate) fn is_virtual() -> bool {
    THREAD.with(|thread| thread.virtual_now.get()).is_some()
}

/// Sets what the clock shows on this thread; `None` for the system's.
#[cfg(feature = "runtime")]
pub(crate) fn set_virtual_now(now: Option<Instant>) {
    THREAD.with(|thread| thread.virtual_now.set(now));
}

/// Lends the values of task locals that this thread has outside every coroutine; `None` when it is past its end.
pub(super) fn with_locals_of_thread<T>(f: impl FnOnce(&Locals) -> T) -> Option<T> {
    LOCALS.try_with(f).ok()
}

/// Lends this thread's free stacks, or `None` when the thread is past its end.
#[inline(always)]
pub(super) fn with_stack_cache<T>(f: impl FnOnce(Option<&mut StackCache>) -> T) -> T {
    // Only the address is asked for in there: with all of `f` it is no longer inlined, and hands on in memory what could lie
    // in registers.
    let stacks = STACKS.try_with(ptr::from_ref).unwrap_or(ptr::null());
    // SAFETY: null, or this thread's, which does not end before this returns.
    let mut cache = unsafe { stacks.as_ref() }.and_then(|stacks| stacks.cache.try_borrow_mut().ok());
    f(cache.as_deref_mut())
}

/// Whether the thread's own free stacks are gone already: it has had some, and its thread-locals have been destroyed.
pub(super) fn is_past_end() -> bool {
    STACKS.try_with(|_| ()).is_err()
}

/// Gives this thread a place where the fault handler can run, unless it has one. Once a thread; past its end there is none.
pub(super) fn ensure_signal_stack() {
    _ = STACKS.try_with(|stacks| _ = stacks.signals.get_or_init(SignalStack::ensure));
}

/// Gives the free stacks and blocks of this thread back.
pub(super) fn clear_caches() {
    with_stack_cache(|cache| {
        let Some(cache) = cache else { return };
        if let Some((size, stack)) = THREAD.with(|thread| thread.spare.close()) {
            cache.put(size, stack);
        }
        cache.clear();
    });
    with_blocks(BlockCache::clear);
}

/// Hands out the stack that this thread gave back last, if it has this size.
#[inline(always)]
pub(super) fn take_spare_stack(size: StackSize) -> Option<Stack> {
    THREAD.with(|thread| thread.spare.take(size))
}

/// Keeps a stack that nobody runs on, for the next that asks. It comes back if there is one already, or the thread is past
/// its end.
#[inline(always)]
pub(super) fn keep_stack(size: StackSize, stack: Stack) -> Option<Stack> {
    THREAD.with(|thread| thread.spare.put(size, stack))
}

/// Lets this thread keep a stack apart from its cache, which was asked for just now. Not where coroutines have threads of
/// their own: these share what is kept here, and not the cache.
pub(super) fn keeps_spare_stack() {
    if !cfg!(any(miri, osier_threads)) {
        THREAD.with(|thread| thread.spare.open());
    }
}

/// Lends this thread's free blocks; `None` when it is past its end.
#[inline(always)]
pub(super) fn with_blocks<T>(f: impl FnOnce(&BlockCache) -> T) -> Option<T> {
    BLOCKS.try_with(f).ok()
}
