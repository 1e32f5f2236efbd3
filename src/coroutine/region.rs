//! Regions: parts of a coroutine's run in which a wait ends early, or later, or must not begin.
//!
//! ```text
//!   thread ── task ── generator                        a region is a frame without a coroutine: a record on the stack
//!     null ←─ base ←─ frame ←─ region ←─ region ← current   of whoever opened it, on top of that one's frame
//! ```
//!
//! Since it is a link of the chain, a region acts exactly while its coroutine is on the running chain: in what that
//! coroutine calls and resumes, and not while it is suspended. And it costs nothing to who is in none: a yield compares
//! the running frame with its own, and a wait with its task's, as they do anyway; where they differ the chain is walked.
//!
//! | region | what a wait in it does |
//! | --- | --- |
//! | `no_suspend` | panics, and so does a yield or a switch out of it |
//! | a panic hook | holds the thread; a yield or a switch out of it panics |
//! | a shield | does not look at requests to unwind, nor at deadlines further out |
//! | a deadline | ends when it has passed, by an unwind that the region's opener takes |
//!
//! There is no timer in a deadline: a wait sets one for the nearest of those that are in force, together with its own. So
//! opening a region is a look at the clock and a few stores, and a region of a suspended coroutine, whose task nobody
//! knows, needs nobody to tell it.
//!
//! # Invariants
//! - Regions of one coroutine nest: the innermost is closed first, by its opener's return or unwind.
//! - No coroutine suspends through `no_suspend` or a panic hook, so whoever is inside runs, or something that it resumed.

#[cfg(feature = "runtime")]
use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::ptr;
#[cfg(feature = "runtime")]
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "runtime")]
use std::time::Instant;

use super::current::{self, Frame};
use super::unwind;
#[cfg(feature = "runtime")]
use super::unwind::Payload;

/// Runs `f`, in which nothing may suspend: a wait, a yield, or a switch out of it panics, and says where the region was
/// opened. Resuming generators inside is allowed, and they may yield to whoever resumed them inside.
///
/// For code that must not be left half way while another coroutine of the thread runs: callbacks of foreign libraries;
/// initialisers of lazy thread-locals; callbacks of libraries that keep a pointer in a thread-local for the time of the
/// callback (`scoped-tls` and its kin). See "What is sound" on the [crate's page](crate).
///
/// It holds on threads without coroutines as well, where a wait would hold the thread. Calls that find what they want
/// do not wait, and return it.
///
/// # Panics
/// If `f` waits, yields or switches. A join of a task that has not ended panics always, even if the task could be run
/// in place.
///
/// # Examples
/// ```
/// use osier::{Generator, Yielder, no_suspend};
///
/// let mut g = Generator::new(|y: &Yielder<u32>| {
///     // A generator inside is fine.
///     let sum = no_suspend(|| Generator::new(|y: &Yielder<u32>| y.yield_all([1, 2])).sum::<u32>());
///     y.yield_(sum);
///     no_suspend(|| y.yield_(4));
/// });
/// assert_eq!(g.next(), Some(3));
/// let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| g.next())).unwrap_err();
/// assert!(panic.downcast_ref::<String>().unwrap().starts_with("cannot yield inside `no_suspend`"));
/// ```
#[track_caller]
pub fn no_suspend<T>(f: impl FnOnce() -> T) -> T {
    no_suspend_at(Location::caller(), f)
}

/// [`no_suspend`], opened for somebody else, at `opened`.
pub(crate) fn no_suspend_at<T>(opened: &'static Location<'static>, f: impl FnOnce() -> T) -> T {
    Region::new(Rule::NoSuspend(opened)).run(f)
}

/// Runs `f` so that what waits in it holds the thread, as outside of all tasks, and nothing in it gives way: for panic
/// hooks. To suspend in one would let others panic in its middle, which aborts; to refuse by a panic, too.
#[cold]
#[track_caller]
pub(super) fn hold_thread<T>(f: impl FnOnce() -> T) -> T {
    Region::new(Rule::HoldThread(Location::caller())).run(|| current::outside_of_tasks(f))
}

/// See the module's page. Lies on its opener's stack while it is open.
#[repr(C)]
pub(crate) struct Region {
    frame: Frame,
    rule: Rule,
}

enum Rule {
    /// Opened there.
    NoSuspend(&'static Location<'static>),
    /// What waits holds the thread, as outside of all tasks; opened there.
    HoldThread(&'static Location<'static>),
    #[cfg(feature = "runtime")]
    Shield,
    #[cfg(feature = "runtime")]
    Deadline(Deadline),
}

#[cfg(feature = "runtime")]
struct Deadline {
    at: Instant,
    /// What it unwinds with, once; without it, with an [`Expiry`], at every wait until that arrives at the opener.
    payload: Cell<Option<Payload>>,
    raises: bool,
    /// The number of the expiry that was thrown last, or 0.
    thrown: Cell<u64>,
}

/// The unwind of a deadline that has passed, for the region that it names.
pub(crate) struct Expiry {
    #[cfg_attr(not(feature = "runtime"), allow(dead_code, reason = "only `time` throws it"))]
    number: u64,
}

impl Expiry {
    /// Ends this expiry in a drop, which nothing may leave. True if it comes again: its region is open around the running
    /// code.
    #[cfg(feature = "runtime")]
    pub(crate) fn lose(&self) -> bool {
        // SAFETY: they are on the chain.
        let mut regions = current::chain_pointers().filter_map(|frame| unsafe { Region::of(frame) });
        regions.any(|region| match &region.rule {
            Rule::Deadline(deadline) if deadline.thrown.get() == self.number => {
                deadline.thrown.set(0);
                true
            }
            _ => false,
        })
    }

    /// As above: without a runtime there are no deadlines.
    #[cfg(not(feature = "runtime"))]
    pub(crate) fn lose(&self) -> bool {
        false
    }
}

impl Region {
    fn new(rule: Rule) -> Self {
        Self { frame: Frame::of_region(), rule }
    }

    /// Opens the region for the time of `f`.
    #[inline]
    pub(crate) fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        /// Closes the region, also when `f` unwinds.
        struct Open<'a>(&'a Region);

        impl Drop for Open<'_> {
            fn drop(&mut self) {
                let frame = &self.0.frame;
                debug_assert!(ptr::eq(current::frame(), frame), "regions nest");
                current::set_frame(frame.resumer.get());
                unwind::leave_region(frame);
            }
        }

        let outer = current::frame();
        unwind::enter_region(outer);
        self.frame.resumer.set(outer);
        // A pointer to all of the region, for `of`.
        current::set_frame(ptr::from_ref(self).cast());
        let _open = Open(self);
        f()
    }

    /// The region of a frame, if it is one's.
    ///
    /// # Safety
    /// - `frame` is on the running chain, and came from there as a pointer.
    unsafe fn of(frame: *const Frame) -> Option<&'static Self> {
        // SAFETY: the caller's promise.
        let is_region = unsafe { &*frame }.is_region();
        // SAFETY: only `new` makes frames of this kind, each the first field of a region, and `run` announced it by a
        // pointer to the whole region.
        is_region.then(|| unsafe { &*frame.cast::<Self>() })
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").finish_non_exhaustive()
    }
}

// ---- leaving a coroutine

/// Whether a coroutine is on the running chain, so that it may suspend.
///
/// # Panics
/// If it is, but the way down to it leads through `no_suspend`: then it must not `verb`.
#[cold]
pub(crate) fn may_suspend(lowest: &Frame, verb: &str) -> bool {
    let mut barrier = None;
    for frame in current::chain_pointers() {
        if ptr::eq(frame, lowest) {
            if let Some(opened) = barrier {
                refuse(opened, verb);
            }
            return true;
        }
        // SAFETY: it is on the chain.
        barrier = barrier.or_else(|| unsafe { barrier_of(frame) });
    }
    false
}

/// Where the `no_suspend` was opened that is crossed on the way from the frame `top` down to `lowest`.
///
/// # Safety
/// - `top` is on the running chain, at or above `lowest`.
pub(crate) unsafe fn barrier_between(top: *const Frame, lowest: *const Frame) -> Option<&'static Location<'static>> {
    let mut next = top;
    while !ptr::eq(next, lowest) {
        // SAFETY: it is on the running chain, on the way to `lowest`, or null.
        let frame = unsafe { next.as_ref() }?;
        // SAFETY: as above.
        if let Some(opened) = unsafe { barrier_of(next) } {
            return Some(opened);
        }
        next = frame.resumer.get();
    }
    None
}

/// Whether a region is open on the way from the frame `top` down to `lowest`.
///
/// # Safety
/// - As [`barrier_between`].
pub(crate) unsafe fn is_open_between(top: *const Frame, lowest: *const Frame) -> bool {
    let mut next = top;
    while !ptr::eq(next, lowest) {
        // SAFETY: it is on the running chain, on the way to `lowest`, or null.
        let Some(frame) = (unsafe { next.as_ref() }) else { return false };
        if frame.is_region() {
            return true;
        }
        next = frame.resumer.get();
    }
    false
}

/// Where the `no_suspend` was opened that a frame is of.
///
/// # Safety
/// - As [`Region::of`].
unsafe fn barrier_of(frame: *const Frame) -> Option<&'static Location<'static>> {
    // SAFETY: the caller's promise.
    match unsafe { Region::of(frame) }?.rule {
        Rule::NoSuspend(opened) | Rule::HoldThread(opened) => Some(opened),
        #[cfg(feature = "runtime")]
        Rule::Shield | Rule::Deadline(_) => None,
    }
}

/// Where the innermost `no_suspend` was opened that the running code is in, and that forbids it to wait.
#[cfg(feature = "runtime")]
fn barrier() -> Option<&'static Location<'static>> {
    // SAFETY: they are on the chain.
    let mut regions = current::chain_pointers().filter_map(|frame| unsafe { Region::of(frame) });
    let decides = |region: &'static Region| match region.rule {
        Rule::NoSuspend(opened) => Some(Some(opened)),
        Rule::HoldThread(_) => Some(None),
        Rule::Shield | Rule::Deadline(_) => None,
    };
    regions.find_map(decides).flatten()
}

/// Panics because of a `no_suspend`.
#[cold]
pub(crate) fn refuse(opened: &Location<'_>, verb: &str) -> ! {
    panic!("cannot {verb} inside `no_suspend`, opened at {opened}")
}

/// Unwinds the running coroutine if a deadline has passed in one of its regions, or in one of those on top of
/// `lowest`, after `lowest` was suspended and goes on.
///
/// `arrived` is what its suspension came back with: it is dropped then.
#[cfg(feature = "runtime")]
pub(crate) fn throw_expired_above<T>(lowest: &Frame, arrived: T) -> T {
    match Scan::until(|frame| ptr::eq(frame, lowest)).expired() {
        Some(region) => {
            unwind::drop_quietly(arrived);
            region.throw_deadline()
        }
        None => arrived,
    }
}

/// As above: without a runtime there are no deadlines.
#[cfg(not(feature = "runtime"))]
pub(crate) fn throw_expired_above<T>(_lowest: &Frame, arrived: T) -> T {
    arrived
}

// ---- waiting

#[cfg(feature = "runtime")]
impl Region {
    /// A region whose waits do not look at requests to unwind, or at deadlines further out.
    pub(crate) fn shield() -> Self {
        Self::new(Rule::Shield)
    }

    /// A region whose waits end when `at` has passed: with an unwind by `payload`, once, or else by an [`Expiry`] that
    /// `takes` knows.
    pub(crate) fn deadline(at: Instant, payload: Option<Payload>) -> Self {
        let raises = payload.is_some();
        Self::new(Rule::Deadline(Deadline { at, payload: Cell::new(payload), raises, thrown: Cell::new(0) }))
    }

    /// Whether `payload` is the expiry of this region's deadline.
    pub(crate) fn takes(&self, payload: &Payload) -> bool {
        let Rule::Deadline(deadline) = &self.rule else { return false };
        payload.downcast_ref::<Expiry>().is_some_and(|expiry| expiry.number == deadline.thrown.get())
    }

    /// When its waits end, while there is still something to throw.
    fn ends_at(&self) -> Option<Instant> {
        let Rule::Deadline(deadline) = &self.rule else { return None };
        let has_raised = deadline.raises && deadline.thrown.get() != 0;
        (!has_raised).then_some(deadline.at)
    }

    /// Whether its expiry was thrown before.
    pub(crate) fn was_thrown(&self) -> bool {
        matches!(&self.rule, Rule::Deadline(deadline) if deadline.thrown.get() != 0)
    }

    /// Unwinds the running coroutine to the opener of this region, whose deadline has passed.
    #[cold]
    pub(crate) fn throw_deadline(&self) -> ! {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let Rule::Deadline(deadline) = &self.rule else { unreachable!("only a deadline passes") };
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        deadline.thrown.set(number);
        unwind::throw(deadline.payload.take().unwrap_or_else(|| Box::new(Expiry { number })))
    }
}

/// The regions that a wait is in, as far as they concern it. They stay the same until it has ended.
#[cfg(feature = "runtime")]
#[derive(Clone, Copy, Default)]
pub(crate) struct Scan {
    /// The region whose deadline is the next to pass.
    next: Option<(Instant, &'static Region)>,
    /// Where the `no_suspend` was opened that forbids the wait.
    pub(crate) forbidden: Option<&'static Location<'static>>,
}

#[cfg(feature = "runtime")]
impl Scan {
    /// For a wait of the running task, or of the thread outside of all. `base` is the frame of that task, or null.
    #[inline]
    pub(crate) fn from(base: *const Frame) -> Self {
        if ptr::eq(current::frame(), base) { Self::default() } else { Self::until(|_| false) }
    }

    /// The regions between the running frame and the first one for which `is_end` holds, or the chain's end.
    #[cold]
    fn until(is_end: impl Fn(&Frame) -> bool) -> Self {
        let is_anyone_unwinding = unwind::is_anyone_unwinding();
        let mut scan = Self::default();
        let mut unwinds = false;
        for pointer in current::chain_pointers() {
            // SAFETY: it is on the chain.
            let frame = unsafe { &*pointer };
            if is_end(frame) {
                break;
            }
            // Nothing is thrown into what unwinds. Where it is the region's own coroutine, it may do so outside of the
            // region, in a destructor that opened it: then the note stands in a frame further down.
            unwinds |= is_anyone_unwinding && frame.is_unwinding();
            // SAFETY: as above.
            let Some(region) = (unsafe { Region::of(pointer) }) else { continue };
            match &region.rule {
                Rule::NoSuspend(opened) => {
                    scan.forbidden = Some(opened);
                    break;
                }
                // It is as if the chain began here.
                Rule::HoldThread(_) => break,
                Rule::Shield => {
                    // The deadlines further out are put off, but a `no_suspend` is not.
                    scan.forbidden = barrier();
                    break;
                }
                Rule::Deadline(_) if unwinds || cfg!(panic = "abort") => {}
                Rule::Deadline(_) => {
                    // Of equal ones the outer one: the others would not see the end of it.
                    if let Some(at) = region.ends_at()
                        && scan.next.is_none_or(|(next, _)| at <= next)
                    {
                        scan.next = Some((at, region));
                    }
                }
            }
        }
        scan
    }

    /// When a wait must end that has a deadline of its `own`, perhaps.
    #[inline]
    pub(crate) fn deadline_with(&self, own: Option<Instant>) -> Option<Instant> {
        match (self.next, own) {
            (Some((next, _)), Some(own)) => Some(next.min(own)),
            (Some((next, _)), None) => Some(next),
            (None, own) => own,
        }
    }

    /// The region whose deadline has passed, if one has.
    pub(crate) fn expired(&self) -> Option<&'static Region> {
        self.next.filter(|(at, _)| *at <= current::now()).map(|(_, region)| region)
    }

    /// The region to be thrown to when the earlier of its deadline and the wait's own has passed; `None` if that is the
    /// wait's own.
    pub(crate) fn comes_before(&self, own: Option<Instant>) -> Option<&'static Region> {
        self.next.filter(|(at, _)| own.is_none_or(|own| *at <= own)).map(|(_, region)| region)
    }
}

/// Panics if the running task, or the thread outside of all, is in a `no_suspend`, where it must not `verb`.
#[cfg(feature = "runtime")]
#[inline]
pub(crate) fn forbid(verb: &str) {
    // SAFETY: it is the running frame, or null.
    if unsafe { current::frame().as_ref() }.is_some_and(|frame| !frame.is_base())
        && let Some(opened) = barrier()
    {
        refuse(opened, verb);
    }
}

/// Whether there is a `no_suspend` around the running task's code, or the thread's.
#[cfg(feature = "runtime")]
pub(crate) fn is_forbidden() -> bool {
    barrier().is_some()
}

/// Runs destructors of what has ended for whatever reason: a request that has done what it should must not end their
/// waits as well.
#[cfg(feature = "runtime")]
pub(crate) fn in_peace<T>(f: impl FnOnce() -> T) -> T {
    Region::shield().run(f)
}

/// As above: without a runtime there are no requests.
#[cfg(not(feature = "runtime"))]
pub(crate) fn in_peace<T>(f: impl FnOnce() -> T) -> T {
    f()
}

/// Whether requests to unwind wait for the end of a shield, or of a `no_suspend`.
#[cfg(feature = "runtime")]
pub(crate) fn is_shielded() -> bool {
    // SAFETY: they are on the chain.
    let mut regions = current::chain_pointers().filter_map(|frame| unsafe { Region::of(frame) });
    regions.any(|region| !matches!(region.rule, Rule::Deadline(_)))
}
