//! One allocation per generator: the books, the coroutine, and the body until it starts.
//!
//! ```text
//!   Block<F>:  ┌ Head ──────────────────────────────────────────────┬──────┐
//!              │ Books: frame, state, command, …                     │ body │
//!              │ coroutine, ended, returned, name, vtable             │  F   │
//!              └─────────────────────────────────────────────────────┴──────┘
//! ```
//!
//! Values travel in corosensei's registers, as `MaybeUninit`: a request brings no `In`, and an answer to one no `Out`. What
//! a resume asks for is one byte in the books, looked at after the switch. So an item costs little more than the bare switch (`arch-notes/
//! coroutines.md` has the numbers and the layouts that were slower).
//!
//! # Invariants
//! - One call at a time: `Generator` and `ScopedGenerator` make it with `&mut self`, `Shared` under its own mark. So nobody
//!   looks at `state` while the body runs, and it says suspended then.
//! - `coroutine` is initialised from `mount` to `finish`; `body` from `new` to the first resume or `finish_unstarted`; `ended`
//!   from the body's end to `finish`.
//! - The block is freed only when the body has finished; otherwise it is leaked with the stack that points to it.

use std::any::TypeId;
use std::backtrace::Backtrace;
use std::borrow::Cow;
use std::cell::{Cell, UnsafeCell};
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::{self, NonNull};

use super::name::Name;
use super::{State, Yielder};
use crate::coroutine::memory;
use crate::coroutine::unwind::{self, Payload};
use crate::coroutine::{self, Coroutine, Frame, Resumed};
use crate::exception::{self, Exception, ExitKind, Leaving};
use crate::stack::StackSize;

/// What the next resume asks of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Command {
    /// `yield_` returns the value passed.
    Send,
    /// `yield_` unwinds with the exception in `Books::asked`.
    Throw,
    /// `yield_` unwinds with an exit.
    Close,
    /// `yield_` puts a backtrace where `Books::asked` says, and suspends again without an item.
    Trace,
}

/// What a command comes with.
union Asked {
    nothing: (),
    thrown: ManuallyDrop<Exception>,
    /// Where the backtrace is put.
    trace: *const Cell<Option<Backtrace>>,
}

/// Says the name of what stands in for a generator.
pub(super) type Naming<'a> = dyn Fn() -> &'a str + 'a;

/// What generator and yielder both look at. `repr(C)`: the frame leads to the books.
#[repr(C)]
pub(super) struct Books {
    /// A generator is no context, so its frame has no trees and no locals: there is nothing to drop.
    pub(super) frame: ManuallyDrop<Frame>,
    /// Written by whoever resumes: before that, and after.
    state: Cell<State>,
    /// Anything but `Send` is set before a resume, with a signal in the frame, and taken by the yielder right after it.
    pub(super) command: Cell<Command>,
    /// Whether the body is suspended in the middle of its own unwind: nothing can be thrown into it.
    pub(super) takes_only_send: Cell<bool>,
    /// Whether the body borrows from its creator, who must not go on while it is alive: it is never leaked.
    borrows: bool,
    stack_size: StackSize,
    /// What the command says is there, from just before the resume until the yielder takes it.
    asked: UnsafeCell<Asked>,
    /// Who stands in for this generator, while it is suspended in a `yield_from`; else null. It lies on its stack.
    pub(super) delegate: Cell<*const &'static Naming<'static>>,
    /// The body's `Yielder<Out, In>`, while the body runs.
    pub(super) yielder: Cell<*const ()>,
}

impl Books {
    /// The exit that ends this generator. It names it, so that an inner one passes it on.
    pub(super) fn closing(&self) -> Leaving {
        Leaving::new(ExitKind::Close, &self.frame)
    }

    /// Takes what is thrown.
    ///
    /// # Safety
    /// - The command was `Throw`, and this is the only call for it.
    pub(super) unsafe fn take_thrown(&self) -> Exception {
        // SAFETY: the caller's promise; nobody else looks at it while the body runs.
        unsafe { ManuallyDrop::take(&mut (*self.asked.get()).thrown) }
    }

    /// Where the backtrace is put.
    ///
    /// # Safety
    /// - The command was `Trace`, and whoever asked still waits.
    pub(super) unsafe fn trace(&self) -> &Cell<Option<Backtrace>> {
        // SAFETY: the caller's promise; it lies in the frame of whoever asked.
        unsafe { &*(*self.asked.get()).trace }
    }

    /// Sorts out what a body unwound with.
    #[cold]
    fn classify<Ret>(&self, payload: Payload) -> Ended<Ret> {
        if Leaving::of(&payload).is_some_and(|leaving| leaving.is_for(ExitKind::Close, &self.frame)) {
            return Ended::Closed;
        }
        match exception::from_payload(payload) {
            Ok(exception) => Ended::Raised(exception),
            Err(payload) => Ended::Panicked(payload),
        }
    }
}

/// How a body ended.
pub(super) enum Ended<Ret> {
    Returned(Ret),
    Closed,
    Raised(Exception),
    /// With a panic, or with an exit meant for a coroutine further out.
    Panicked(Payload),
}

/// What a resume came back with.
pub(super) enum Outcome<Out, Ret> {
    Yielded(Out),
    Ended(Ended<Ret>),
}

/// What a body's coroutine is switched with.
pub(super) type Switch<Out, In> = coroutine::Yielder<MaybeUninit<In>, MaybeUninit<Out>>;

#[repr(C)]
struct Head<Out, In: 'static, Ret> {
    books: Books,
    coroutine: UnsafeCell<MaybeUninit<Coroutine<MaybeUninit<In>, MaybeUninit<Out>>>>,
    /// Written by the root when the body has ended, taken by `finish`.
    ended: UnsafeCell<MaybeUninit<Ended<Ret>>>,
    /// What the body returned to an iteration.
    returned: Cell<Option<Ret>>,
    name: Name,
    /// One for each type of body, never freed. No reference, for what is yielded may borrow.
    vtable: *const Vtable<Out, In, Ret>,
}

#[repr(C)]
struct Block<Out, In: 'static, Ret, F> {
    head: Head<Out, In, Ret>,
    body: UnsafeCell<MaybeUninit<F>>,
}

type RunBody<Out, In, Ret> = unsafe fn(NonNull<Head<Out, In, Ret>>, &Switch<Out, In>) -> Ret;

/// What depends on the body's type. Each takes the block that the vtable was made for.
struct Vtable<Out, In: 'static, Ret> {
    /// Runs the body, which must be there.
    run: RunBody<Out, In, Ret>,
    /// Drops the body, which must be there.
    drop_body: unsafe fn(NonNull<Head<Out, In, Ret>>),
    /// Frees the block; body and coroutine must be gone.
    free: unsafe fn(NonNull<Head<Out, In, Ret>>),
}

impl<Out, In: 'static, Ret, F> Block<Out, In, Ret, F>
where
    F: FnOnce(&Yielder<Out, In>) -> Ret,
{
    const VTABLE: *const Vtable<Out, In, Ret> =
        &Vtable { run: Self::run, drop_body: Self::drop_body, free: Self::free };

    /// Takes the body out of its block.
    ///
    /// # Safety
    /// - `head` is the head of a `Self` whose body is there; it is gone afterwards.
    unsafe fn take_body(head: NonNull<Head<Out, In, Ret>>) -> F {
        // SAFETY: the caller vouches for the type and for the body.
        unsafe { (*head.cast::<Self>().as_ref().body.get()).assume_init_read() }
    }

    // Safety: `take_body`'s, and `switch` belongs to the running coroutine of this block.
    unsafe fn run(head: NonNull<Head<Out, In, Ret>>, switch: &Switch<Out, In>) -> Ret {
        // SAFETY: the caller's promise.
        let body = unsafe { Self::take_body(head) };
        // SAFETY: the block outlives the body, or is leaked with it; `switch` is the running coroutine's.
        let yielder = unsafe { Yielder::new(switch, &raw const (*head.as_ptr()).books) };
        // SAFETY: the block outlives the body, or is leaked with it.
        unsafe { head.as_ref() }.books.yielder.set((&raw const yielder).cast());
        body(&yielder)
    }

    // Safety: `take_body`'s.
    unsafe fn drop_body(head: NonNull<Head<Out, In, Ret>>) {
        // SAFETY: the caller's promise.
        drop(unsafe { Self::take_body(head) });
    }

    // Safety: `head` came from `Owner::new` with this type, and is not used again.
    unsafe fn free(head: NonNull<Head<Out, In, Ret>>) {
        // SAFETY: `Owner::new` put it into the room for a `Self`.
        unsafe { memory::remove(head.cast::<Self>()) };
    }
}

/// The generator's side of the block, and its owner.
pub(super) struct Owner<Out, In: 'static, Ret> {
    head: NonNull<Head<Out, In, Ret>>,
}

/// What a block is made with, besides its body.
pub(super) struct Plan {
    pub(super) name: Cow<'static, str>,
    pub(super) stack_size: StackSize,
    /// See [`Frame::yields`].
    pub(super) yields: Option<fn() -> TypeId>,
    pub(super) borrows: bool,
}

impl<Out, In: 'static, Ret> Owner<Out, In, Ret> {
    /// # Safety
    /// - What `body` borrows stays valid until the owner is dropped; for ever, unless `plan.borrows`.
    /// - `plan.yields` gives the type of `Yielder<Out, In>`.
    #[inline]
    pub(super) unsafe fn new<F>(body: F, plan: Plan) -> Self
    where
        F: FnOnce(&Yielder<Out, In>) -> Ret,
    {
        let room = memory::room_for::<Block<Out, In, Ret, F>>();
        let block = room.as_ptr();
        // Part by part: made as one value, it would be copied as a whole, which is a tenth of what a short-lived
        // generator costs.
        // SAFETY: the room was allocated for a `Block`; a field is written without being read.
        unsafe {
            (&raw mut (*block).head.books).write(Books {
                frame: ManuallyDrop::new(Frame::of_generator(plan.yields)),
                state: Cell::new(State::New),
                command: Cell::new(Command::Send),
                takes_only_send: Cell::new(false),
                borrows: plan.borrows,
                stack_size: plan.stack_size,
                asked: UnsafeCell::new(Asked { nothing: () }),
                delegate: Cell::new(ptr::null()),
                yielder: Cell::new(ptr::null()),
            });
            (&raw mut (*block).head.returned).write(Cell::new(None));
            (&raw mut (*block).head.name).write(Name::new(plan.name));
            (&raw mut (*block).head.vtable).write(Block::<Out, In, Ret, F>::VTABLE);
            (&raw mut (*block).body).write(UnsafeCell::new(MaybeUninit::new(body)));
        }
        // `Block` is `repr(C)` with the head first, so a pointer to one is a pointer to the other.
        Self { head: room.cast() }
    }

    #[inline(always)]
    fn head(&self) -> &Head<Out, In, Ret> {
        // SAFETY: the block is freed only when this owner is dropped.
        unsafe { self.head.as_ref() }
    }

    fn vtable(&self) -> &Vtable<Out, In, Ret> {
        // SAFETY: it is a constant.
        unsafe { &*self.head().vtable }
    }

    /// Whether the body is suspended. One compare if the one that asks resumed it last: only a suspended generator has
    /// a resumer while nobody looks into it.
    #[inline(always)]
    pub(super) fn is_suspended(&self) -> bool {
        self.head().books.frame.was_resumed_from_here() || self.says_suspended()
    }

    /// Cold, so that the code of the usual way lies in one piece.
    #[cold]
    fn says_suspended(&self) -> bool {
        self.state() == State::Suspended
    }

    pub(super) fn state(&self) -> State {
        self.head().books.state.get()
    }

    /// Whether the body runs; `state` does not say so. One that is parked with its task does not.
    pub(super) fn is_running(&self) -> bool {
        coroutine::current::is_running(&raw const *self.head().books.frame)
    }

    pub(super) fn name(&self) -> &str {
        self.head().name.as_str()
    }

    pub(super) fn is_unwinding(&self) -> bool {
        self.head().books.takes_only_send.get()
    }

    pub(super) fn borrows(&self) -> bool {
        self.head().books.borrows
    }

    /// What the body returned to an iteration.
    pub(super) fn returned(&self) -> &Cell<Option<Ret>> {
        &self.head().returned
    }

    /// Makes the next resume unwind the body, from the `yield_` it waits in, with an exit.
    pub(super) fn ask_to_close(&self) {
        self.ask(Command::Close, Asked { nothing: () });
    }

    /// Makes the next resume unwind the body, from the `yield_` it waits in, with an exception.
    pub(super) fn ask_to_raise(&self, exception: Exception) {
        self.ask(Command::Throw, Asked { thrown: ManuallyDrop::new(exception) });
    }

    /// Asks for something at the next resume, which comes at once, so that what is asked is taken.
    fn ask(&self, command: Command, asked: Asked) {
        // SAFETY: nobody else looks at it while the body is suspended.
        unsafe { self.head().books.asked.get().write(asked) };
        self.head().books.command.set(command);
        self.head().books.frame.ask();
    }

    /// Gives a new generator its stack and puts its body there, ready to be resumed.
    pub(super) fn mount(&self) -> io::Result<()> {
        debug_assert_eq!(self.state(), State::New);
        let head = self.head;
        let stack = coroutine::take_stack(self.head().books.stack_size)?;
        stack.name_tag().set(self.name());
        let root = move |switch: &Switch<Out, In>, _first: MaybeUninit<In>| {
            // SAFETY: the block outlives the coroutine, or is leaked with it.
            let block = unsafe { head.as_ref() };
            // By the block's own pointer, so that it leads to the books as well.
            // SAFETY: as above.
            coroutine::current::set_frame(unsafe { &raw const (*head.as_ptr()).books.frame }.cast());
            // SAFETY: the vtable was made with the block; the body is there, since this is its only start.
            let result = unwind::catch(|| unsafe { ((*block.vtable).run)(head, switch) });
            let ended = match result {
                Ok(ret) => Ended::Returned(ret),
                Err(payload) => block.books.classify(payload),
            };
            // SAFETY: this is its only end, and `finish` comes after it.
            unsafe { (*block.ended.get()).write(ended) };
        };
        // SAFETY:
        // - `root` borrows the block alone, which outlives the coroutine or is leaked with it.
        // - `root` catches whatever the body throws.
        let coroutine = unsafe { Coroutine::new(stack, root) };
        // SAFETY: nothing runs, so nobody else looks at the cell.
        unsafe { (*self.head().coroutine.get()).write(coroutine) };
        self.head().books.state.set(State::Suspended);
        Ok(())
    }

    /// Runs a suspended body to its next `yield_` or its end.
    #[inline(always)]
    pub(super) fn resume(&self, value: MaybeUninit<In>) -> Outcome<Out, Ret> {
        match self.switch(value) {
            // SAFETY: only `Command::Trace` suspends without an item.
            Resumed::Suspended(out) => Outcome::Yielded(unsafe { out.assume_init() }),
            // SAFETY: the body has returned just now, and this owner keeps the block.
            Resumed::Returned => Outcome::Ended(unsafe { Self::finish_apart(self.head) }),
        }
    }

    /// Runs a body that was mounted just now to its first `yield_` or its end.
    #[inline(always)]
    pub(super) fn begin(&self) -> Outcome<Out, Ret> {
        match self.switch(MaybeUninit::uninit()) {
            // SAFETY: as in `resume`.
            Resumed::Suspended(out) => Outcome::Yielded(unsafe { out.assume_init() }),
            // SAFETY: as in `resume`.
            Resumed::Returned => Outcome::Ended(unsafe { Self::finish(self.head) }),
        }
    }

    /// Goes to a suspended body, and comes back when it suspends or has ended.
    #[inline(always)]
    fn switch(&self, value: MaybeUninit<In>) -> Resumed<MaybeUninit<Out>> {
        debug_assert!(self.is_suspended());
        let head = self.head();
        let coroutine = head.coroutine.get();
        // SAFETY:
        // - The state says suspended: the coroutine is there and has not returned; a generator is not `Send`, so it was
        //   started on this thread.
        // - One call at a time is made: nobody else resumes it, or makes another reference to the coroutine, while its
        //   body runs or is parked with others. A drop in between, by the destructor of a thread-local in an `exit`, looks
        //   for itself first (`abandon`).
        unsafe { unwind::resuming(&head.books.frame, || (*coroutine).assume_init_mut().resume(value)) }
    }

    /// The stack of a suspended body, and of those that stand in for it.
    #[cold]
    pub(super) fn backtrace(&self) -> Option<Backtrace> {
        if self.state() != State::Suspended {
            return None;
        }
        let taken = Cell::new(None);
        self.ask(Command::Trace, Asked { trace: &raw const taken });
        match self.switch(MaybeUninit::uninit()) {
            // Without an item.
            Resumed::Suspended(_) => {}
            Resumed::Returned => unreachable!("a body that is asked for its stack suspends again"),
        }
        taken.into_inner()
    }

    /// The name of what stands in for a suspended body, in a `yield_from`. It is right until the next resume.
    pub(super) fn delegate(&self) -> Option<&str> {
        if self.state() != State::Suspended {
            return None;
        }
        // SAFETY: it lies on the suspended stack, and is not null only as long as it stays there.
        unsafe { self.head().books.delegate.get().as_ref() }.map(|name| name())
    }

    /// As `finish`, kept out of loops that resume: in there it costs them registers, ten instructions an item. It gets the
    /// block, not the owner, whose address would be known to others then and read anew for each item.
    ///
    /// # Safety
    /// - As `finish`.
    #[cold]
    #[inline(never)]
    unsafe fn finish_apart(head: NonNull<Head<Out, In, Ret>>) -> Ended<Ret> {
        // SAFETY: the caller's promise.
        unsafe { Self::finish(head) }
    }

    /// Gives the stack of a body that has ended back, and says how it ended.
    ///
    /// # Safety
    /// - It is the head of a block that is not freed meanwhile, and whose body has returned just now.
    #[inline(always)]
    unsafe fn finish(head: NonNull<Head<Out, In, Ret>>) -> Ended<Ret> {
        // SAFETY: the caller's promise.
        let head = unsafe { head.as_ref() };
        head.books.state.set(State::Finished);
        head.books.frame.forget_resumer();
        // SAFETY: the coroutine was there and has returned; the mark says that it is gone now.
        let coroutine = unsafe { (*head.coroutine.get()).assume_init_read() };
        coroutine::give_stack(head.books.stack_size, coroutine.into_stack());
        // SAFETY: the root has written it before it returned, and it is read only here, once.
        unsafe { (*head.ended.get()).assume_init_read() }
    }

    /// Ends a new generator without running it.
    pub(super) fn finish_unstarted(&self) {
        debug_assert_eq!(self.state(), State::New);
        self.head().books.state.set(State::Finished);
        // SAFETY: the mark said that the body is there; it says now that it is gone.
        unsafe { (self.vtable().drop_body)(self.head) };
    }

    /// Frees the block of a body that has ended.
    ///
    /// # Safety
    /// - The generator has finished, and its owner is not used afterwards.
    pub(super) unsafe fn free(&mut self) {
        // SAFETY: the caller's promise: body and coroutine are gone, and this owner is the block's only one.
        unsafe { (self.vtable().free)(self.head) };
    }
}

/// The size of a block, which a million of them multiply: with what glibc adds, no more than 192 bytes.
/// What the sanitizers note of a fiber lies in there as well.
#[cfg(all(target_pointer_width = "64", not(any(miri, osier_threads, osier_asan, osier_tsan))))]
const _: () = assert!(size_of::<Head<u64, u64, ()>>() <= 184);
