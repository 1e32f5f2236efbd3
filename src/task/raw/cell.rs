//! The part of a task that depends on its types: the slot for its closure and its result.

use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use super::{Header, JoinError};
use crate::coroutine::{memory, unwind};
use crate::exception::drop_telling;
use crate::task::stepped::{Body, Turn};

/// What depends on the types. Each takes the header of a `TaskCell` of the types it was made for.
#[derive(Clone, Copy)]
pub(in crate::task) struct Vtable {
    /// Runs the body and keeps its result, or what is left of it.
    pub(super) run: unsafe fn(NonNull<Header>) -> Ran,
    /// Drops the closure unrun and keeps an error as the result.
    pub(super) refuse: unsafe fn(NonNull<Header>, JoinError),
    /// Moves the result to `*mut Option<Result<T, JoinError>>`, leaving the slot empty.
    pub(super) take_result: unsafe fn(NonNull<Header>, *mut ()),
    /// Where the `Result<T, JoinError>` lies, which is in the slot.
    pub(super) result: unsafe fn(NonNull<Header>) -> *const (),
    /// The error that is the result, if it is one.
    pub(super) error: unsafe fn(NonNull<Header>) -> Option<JoinError>,
    /// Drops the result, leaving the slot empty.
    pub(in crate::task) drop_result: unsafe fn(NonNull<Header>),
    pub(super) free: unsafe fn(NonNull<Header>),
}

/// What is in the slot after a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ran {
    Value,
    Error,
    /// The body, for another run.
    Again,
}

/// What is in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Closure,
    Result,
    Nothing,
}

/// Which of them is there is said by `Header::holds`: an enum's own mark would take a word.
pub(super) union Slot<F, T> {
    pub(super) closure: ManuallyDrop<F>,
    result: ManuallyDrop<Result<T, JoinError>>,
}

/// What was in a slot.
pub(super) enum Content<F, T> {
    Closure(F),
    Result(Result<T, JoinError>),
    Nothing,
}

#[repr(C)]
pub(super) struct TaskCell<F, T> {
    pub(super) header: Header,
    pub(super) slot: UnsafeCell<Slot<F, T>>,
}

impl<F: Body<T>, T> TaskCell<F, T> {
    pub(super) const VTABLE: &'static Vtable = &Vtable {
        run: Self::run,
        refuse: Self::refuse,
        take_result: Self::take_result,
        result: Self::result,
        error: Self::error,
        drop_result: Self::drop_result,
        free: Self::free,
    };

    /// The slot, and what is in it.
    ///
    /// # Safety
    /// - `header` is that of a `Self`.
    #[inline(always)]
    unsafe fn slot<'a>(header: NonNull<Header>) -> (*mut Slot<F, T>, &'a Cell<Holds>) {
        let cell = header.cast::<Self>().as_ptr();
        // SAFETY: the caller's promise; `TaskCell` is `repr(C)` with the header first.
        unsafe { (UnsafeCell::raw_get(&raw const (*cell).slot), &(*cell).header.holds) }
    }

    /// Takes out what is in the slot.
    ///
    /// # Safety
    /// - `header` is that of a `Self`, and nobody else uses its slot now.
    #[inline(always)]
    pub(super) unsafe fn take(header: NonNull<Header>) -> Content<F, T> {
        // SAFETY: the caller's promise.
        let (slot, holds) = unsafe { Self::slot(header) };
        match holds.replace(Holds::Nothing) {
            Holds::Closure => {
                // SAFETY: the mark said that it is there, and says now that it is gone.
                Content::Closure(ManuallyDrop::into_inner(unsafe { (&raw const (*slot).closure).read() }))
            }
            // SAFETY: as above.
            Holds::Result => Content::Result(ManuallyDrop::into_inner(unsafe { (&raw const (*slot).result).read() })),
            Holds::Nothing => Content::Nothing,
        }
    }

    /// Puts a result into the slot, which holds nothing.
    ///
    /// # Safety
    /// - As `take`.
    #[inline(always)]
    unsafe fn put(header: NonNull<Header>, result: Result<T, JoinError>) {
        // SAFETY: the caller's promise.
        let (slot, holds) = unsafe { Self::slot(header) };
        debug_assert_eq!(holds.get(), Holds::Nothing);
        // SAFETY: the caller's promise.
        unsafe { slot.write(Slot { result: ManuallyDrop::new(result) }) };
        holds.set(Holds::Result);
    }

    // Safety: `take`'s.
    unsafe fn run(header: NonNull<Header>) -> Ran {
        // SAFETY: the caller's promise, here and below. The body runs with the slot empty and unborrowed.
        let Content::Closure(body) = (unsafe { Self::take(header) }) else { return Ran::Value };
        match unwind::catch(|| body.run()) {
            Ok(Turn::Done(value)) => {
                // SAFETY: as above.
                unsafe { Self::put(header, Ok(value)) };
                Ran::Value
            }
            Ok(Turn::Again(rest)) => {
                // SAFETY: as above.
                let (slot, holds) = unsafe { Self::slot(header) };
                // SAFETY: as above.
                unsafe { slot.write(Slot { closure: ManuallyDrop::new(F::again(rest)) }) };
                holds.set(Holds::Closure);
                Ran::Again
            }
            Err(payload) => {
                // SAFETY: as above.
                unsafe { Self::put(header, Err(JoinError::from_payload(payload))) };
                Ran::Error
            }
        }
    }

    // Safety: `take`'s.
    unsafe fn refuse(header: NonNull<Header>, error: JoinError) {
        // SAFETY: the caller's promise.
        let content = unsafe { Self::take(header) };
        // SAFETY: the caller's promise.
        unsafe { Self::put(header, Err(error)) };
        // SAFETY: the caller's promise.
        drop_telling(&unsafe { header.as_ref() }.name, content);
    }

    // Safety: `take`'s, and `to` points to an `Option<Result<T, JoinError>>`.
    unsafe fn take_result(header: NonNull<Header>, to: *mut ()) {
        // SAFETY: the caller's promise.
        if let Content::Result(result) = unsafe { Self::take(header) } {
            // SAFETY: the caller's promise.
            unsafe { *to.cast::<Option<Result<T, JoinError>>>() = Some(result) };
        }
    }

    // Safety: `header` is that of a `Self`, and nobody writes its slot for as long as the pointer is used.
    unsafe fn result(header: NonNull<Header>) -> *const () {
        // SAFETY: the caller's promise.
        let (slot, holds) = unsafe { Self::slot(header) };
        if holds.get() == Holds::Result { slot.cast_const().cast() } else { ptr::null() }
    }

    // Safety: `result`'s.
    unsafe fn error(header: NonNull<Header>) -> Option<JoinError> {
        // SAFETY: the caller's promise.
        let result = unsafe { Self::result(header) };
        // SAFETY: null, or a result that nobody writes now.
        unsafe { result.cast::<Result<T, JoinError>>().as_ref() }?.as_ref().err().cloned()
    }

    // Safety: `take`'s.
    unsafe fn drop_result(header: NonNull<Header>) {
        // SAFETY: the caller's promise.
        let content = unsafe { Self::take(header) };
        // SAFETY: the caller's promise.
        drop_telling(&unsafe { header.as_ref() }.name, content);
    }

    // Safety: `header` was made by `TaskRef::new` with these types and is not used again.
    unsafe fn free(header: NonNull<Header>) {
        // SAFETY: the caller's promise.
        let (_, holds) = unsafe { Self::slot(header) };
        debug_assert_eq!(holds.get(), Holds::Nothing, "whoever has the result disposes of it");
        // SAFETY: the caller's promise; `TaskRef::new` wrote it to its room.
        unsafe { memory::remove(header.cast::<Self>()) };
    }
}
