//! The payloads that osier throws, and the question who is unwinding.
//!
//! Closing a generator, ending a greenlet and cancelling a task unwind a suspended stack: its own suspension point
//! throws a private payload that passes no panic hook, destructors run, and the root catches. Throwing is allowed only
//! into a coroutine that is not unwinding already, for a second unwind out of a destructor aborts the process.
//!
//! `std::thread::panicking()` cannot say so: it counts for the thread, and a neighbour may be parked in the middle of
//! its own unwind, in a destructor that waits. The rule, proven in `arch-notes/coroutines.md`:
//!
//! - not `panicking()`: nobody here unwinds;
//! - `panicking()`, and no other context of this thread is known to unwind: it is us;
//! - otherwise: it is us if an unwind began here. Our panic hook and our throws note that in the running frame.
//!
//! A panic hook set by others later, and a bare `std::panic::resume_unwind`, escape the note.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

use super::current::{self, Frame};
use super::region;

/// What a caught unwind carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Wraps the panic hook so that beginnings of unwinds are noted, and that it has room for a backtrace; once; and wipes the notes
/// of this thread and of the running frame if they are old: what is made now may be parked in an unwind when they are looked at.
///
/// Called whenever a coroutine gets its stack.
#[inline(always)]
pub(crate) fn prepare() {
    #[cold]
    #[inline(never)]
    fn install() {
        // A hook cannot be exchanged by a thread that panics; the next coroutine will try again.
        if current::panicking() || INSTALLED.swap(true, Ordering::AcqRel) {
            return;
        }
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            note_beginning();
            current::count_panic_shown();
            super::on_ample_stack(|| region::hold_thread(|| previous(info)));
        }));
    }
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if !INSTALLED.load(Ordering::Relaxed) {
        install();
    }
    if current::panicking() {
        // Begun before the hook was there, it is an unwind of whoever runs now, and not of what is made.
        attribute();
    } else if current::has_notes() {
        wipe_notes();
    }
}

/// Wipes the notes of this thread and of the running frame, where nobody unwinds.
#[cold]
fn wipe_notes() {
    current::set_thread_unwinding(false);
    // SAFETY: `current` is null or the running frame.
    if let Some(frame) = unsafe { current::frame().as_ref() }
        && frame.is_unwinding()
    {
        frame.set_unwinding(false);
    }
}

/// Notes that an unwind begins in the running coroutine, or in none.
fn note_beginning() {
    note(true);
}

/// Notes whether the running coroutine is in the middle of an unwind; outside of all, whether the thread is.
fn note(unwinding: bool) {
    // SAFETY: `current` is null or the running coroutine's frame.
    match unsafe { current::frame().as_ref() } {
        Some(frame) => {
            frame.set_unwinding(unwinding);
            current::note_in_frame();
        }
        None => current::set_thread_unwinding(unwinding),
    }
}

/// Moves the note of who unwinds into a region that is opened on top of `outer`, which may be null.
///
/// What unwinds around the region goes on around it; a note that is out of date is wiped, as it would be by a
/// suspension.
#[inline]
pub(super) fn enter_region(outer: *const Frame) {
    // SAFETY: `outer` is null or the running frame.
    if let Some(frame) = unsafe { outer.as_ref() }
        && frame.is_unwinding()
        && !current::panicking()
    {
        frame.set_unwinding(false);
    }
}

/// Hands the note of who unwinds on from a region that was closed, and whose opener runs.
#[inline]
pub(super) fn leave_region(region: &Frame) {
    if region.is_unwinding() && current::panicking() {
        note_beginning();
    }
}

/// Unwinds the running coroutine with a payload of ours, without the panic hook.
///
/// Inlined, for each frame on the way costs the unwinder two visits, 50 ns each.
#[inline(always)]
pub(crate) fn throw(payload: Payload) -> ! {
    note_beginning();
    panic::resume_unwind(payload)
}

/// Runs the body of a coroutine; nothing unwinds out of it.
pub(crate) fn catch<T>(body: impl FnOnce() -> T) -> Result<T, Payload> {
    panic::catch_unwind(AssertUnwindSafe(body))
}

/// Catches what unwinds out of `f`, in the middle of a coroutine or outside.
///
/// What began in `f` has ended here: afterwards the running coroutine, or the thread, is unwinding if it was before.
///
/// Inlined, for a timeout around something short is mostly this; left to itself the compiler did so or not from one change
/// elsewhere to the next.
#[inline(always)]
pub(crate) fn intercept<T>(f: impl FnOnce() -> T) -> Result<T, Payload> {
    let was_unwinding = current::panicking() && is_running_unwinding();
    let result = catch(f);
    if result.is_err() {
        note(was_unwinding);
    }
    result
}

/// Drops a value whose destructor may panic, where a panic has nowhere to go.
// Out of line: nearly all who call it do so where something has failed.
#[inline(never)]
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(payload) = intercept(move || drop(value)) {
        // The payload's own destructor may panic as well, and so on: whoever does that is left alone with it.
        std::mem::forget(payload);
    }
}

/// Finds out whose unwind began unnoticed. Somebody on this thread unwinds; if nobody is known to, it is the one that
/// runs.
#[cold]
fn attribute() {
    let is_known =
        current::parked_unwinding() > 0 || current::thread_unwinding() || current::chain().any(Frame::is_unwinding);
    if !is_known {
        note_beginning();
    }
}

/// Whether the running coroutine itself, or the thread outside of all, is in the middle of an unwind, on a thread that is
/// panicking.
#[cold]
fn is_running_unwinding() -> bool {
    attribute();
    // SAFETY: `current` is null or the running coroutine's frame.
    match unsafe { current::frame().as_ref() } {
        Some(frame) => frame.is_unwinding(),
        None => current::thread_unwinding(),
    }
}

/// Whether the running coroutine, or one below it down to `lowest`, is in the middle of an unwind, on a thread that is
/// panicking. With null for `lowest` the thread outside of all counts, too.
#[cold]
pub(crate) fn is_chain_unwinding(lowest: *const Frame) -> bool {
    count_unwinding(lowest) > 0 || lowest.is_null() && current::thread_unwinding()
}

/// Finds out who unwinds, if anybody does, so that the frames of the chain tell. False if nobody does.
#[cfg(feature = "runtime")]
pub(super) fn is_anyone_unwinding() -> bool {
    let is_panicking = current::panicking();
    if is_panicking {
        attribute();
    }
    is_panicking
}

/// Whether `context`, which is on the running chain or null for the thread, waits in the middle of an unwind: it, or a
/// generator that counts as part of it.
#[cold]
pub(crate) fn is_context_unwinding(context: *const Frame) -> bool {
    if !current::panicking() {
        return false;
    }
    attribute();
    let mut unwinding = false;
    for frame in current::chain() {
        unwinding |= frame.is_unwinding();
        if std::ptr::eq(frame, context) {
            return unwinding;
        }
        if frame.is_greenlet() {
            // Up to here it was another context.
            unwinding = false;
        }
    }
    unwinding || current::thread_unwinding()
}

/// How many coroutines from the running one down to `lowest`, or to the chain's end, are in the middle of an unwind, on a thread that is
/// panicking.
fn count_unwinding(lowest: *const Frame) -> usize {
    attribute();
    let mut count = 0;
    for frame in current::chain() {
        count += usize::from(frame.is_unwinding());
        if std::ptr::eq(frame, lowest) {
            break;
        }
    }
    count
}

/// Runs `f`, in which others run as tasks on top of whoever calls: what unwinds here is nobody's there.
#[cfg(feature = "runtime")]
pub(crate) fn hosting<T>(f: impl FnOnce() -> T) -> T {
    struct Back(usize);
    impl Drop for Back {
        fn drop(&mut self) {
            current::set_parked_unwinding(current::parked_unwinding() - self.0);
        }
    }
    if !current::panicking() {
        return f();
    }
    let counted = count_unwinding(std::ptr::null());
    current::set_parked_unwinding(current::parked_unwinding() + counted);
    let _back = Back(counted);
    f()
}

/// Suspends through `suspend`, and keeps the books of who runs and who unwinds.
///
/// `top` is the running coroutine's frame, `lowest` the one whose coroutine suspends; what runs on top of it is parked
/// with it. `suspend` is told whether something may be thrown at this point: not while anything from the top down to
/// `lowest` unwinds.
///
/// # Safety
/// - `suspend` switches away from `lowest`'s coroutine, which is on the running chain, and returns when it is resumed
///   on this thread.
/// - `top` is `current::frame()`.
#[inline(always)]
pub(crate) unsafe fn suspending<T>(top: *const Frame, lowest: &Frame, suspend: impl FnOnce(bool) -> T) -> T {
    if current::panicking() {
        return suspending_slow(top, lowest, suspend);
    }
    // SAFETY: the caller's promise. Nobody unwinds.
    unsafe { suspending_calmly(top, || suspend(true)) }
}

/// Suspends as [`suspending`] does, where that has been looked at: the thread is not panicking.
///
/// # Safety
/// - As `suspending`.
#[inline(always)]
pub(crate) unsafe fn suspending_calmly<T>(top: *const Frame, suspend: impl FnOnce() -> T) -> T {
    // SAFETY: the caller runs in a coroutine, so `current` is that coroutine's frame.
    unsafe { &*top }.set_unwinding(false);
    let value = suspend();
    current::set_frame(top);
    value
}

/// Suspends as [`suspending`] does, with nothing on top of `frame`, whose coroutine looks at its signals afterwards: that
/// wipes the note of an unwind that has ended, and saves the store that `suspending` makes (a tenth of the switch).
///
/// # Safety
/// - As `suspending`, with `frame` for both.
#[inline(always)]
pub(crate) unsafe fn suspending_alone<T>(frame: *const Frame, suspend: impl FnOnce(bool) -> T) -> T {
    if current::panicking() {
        // SAFETY: the caller runs in that coroutine.
        return suspending_slow(frame, unsafe { &*frame }, suspend);
    }
    let value = suspend(true);
    current::set_frame(frame);
    value
}

#[cold]
#[inline(never)]
fn suspending_slow<T>(top: *const Frame, lowest: &Frame, suspend: impl FnOnce(bool) -> T) -> T {
    let counted = count_unwinding(lowest);
    lowest.park_unwinding();
    current::set_parked_unwinding(current::parked_unwinding() + counted);
    let value = suspend(counted == 0);
    current::set_parked_unwinding(current::parked_unwinding() - counted);
    current::set_frame(top);
    value
}

/// Resumes another coroutine through `resume`, and keeps the books of who runs.
///
/// # Safety
/// - `resume` switches to `frame`'s coroutine, which nobody has resumed, and returns when that suspends or ends.
#[inline(always)]
pub(crate) unsafe fn resuming<T>(frame: &Frame, resume: impl FnOnce() -> T) -> T {
    frame.is_resumed_from_here();
    let value = resume();
    current::set_frame(frame.resumer.get());
    value
}
