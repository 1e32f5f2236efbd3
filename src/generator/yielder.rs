//! The body's side of a generator.

use std::any::TypeId;
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;

use super::block::{Books, Command, Naming, Switch};
use crate::coroutine::{Frame, current, region, unwind};
use crate::exception::{self, Exception, Leaving};

/// What a resume asked of the body.
pub(super) enum Asked<In> {
    GoOn(In),
    Raise(Exception),
    Close,
    /// For the stack that it waits on.
    Trace,
}

/// While it lives, a generator's books say what stands in for it.
struct Noted<'a>(&'a Cell<*const &'static Naming<'static>>);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.set(ptr::null());
    }
}

/// The right of a generator's body to yield; the body gets it as its argument.
///
/// It works wherever the generator is on the running chain: in the body, in functions it calls, and in generators that
/// it resumes. Elsewhere `yield_` panics. It is neither `Send` nor `Sync`.
///
/// ```compile_fail,E0277
/// # // H01
/// use osier::{Generator, Yielder};
/// let g = Generator::new(|y: &Yielder<u32>| {
///     std::thread::scope(|s| { s.spawn(|| y.yield_(1)); });
/// });
/// ```
///
/// Nor can it be kept by what may outlive the call, such as another greenlet:
/// ```compile_fail,E0521
/// use osier::{Generator, Greenlet, Yielder};
/// let g = Generator::new(|y: &Yielder<u32>| {
///     Greenlet::new(move |n: u32| { y.yield_(n); n }).switch(1);
/// });
/// ```
#[cfg_attr(
    feature = "runtime",
    doc = "or a task:
```compile_fail,E0521
use osier::{Generator, Yielder};
let g = Generator::new(|y: &Yielder<u32>| {
    osier::spawn_local(move || y.yield_(1));
});
```"
)]
pub struct Yielder<Out, In: 'static = ()> {
    /// Both live as long as the body runs, and the body is what borrows this yielder.
    switch: *const Switch<Out, In>,
    books: *const Books,
}

impl<Out, In: 'static> Yielder<Out, In> {
    /// Makes the yielder for a body that starts now.
    ///
    /// # Safety
    /// - `switch` and `books` belong to the running coroutine and outlive the yielder.
    #[inline]
    pub(super) unsafe fn new(switch: &Switch<Out, In>, books: *const Books) -> Self {
        Self { switch, books }
    }

    fn books(&self) -> &Books {
        // SAFETY: see the field.
        unsafe { &*self.books }
    }

    /// Hands `out` to whoever resumed the generator and waits for the next resume; returns what that sends.
    ///
    /// # Suspends
    /// The generator, and everything that runs on top of it. When the generator is closed or dropped, or an exception is
    /// thrown into it, this call unwinds: see [`catch`](crate::catch) and [`catch_exit`](crate::catch_exit).
    ///
    /// A call that is itself part of an unwind, in a destructor, is never made to unwind: see
    /// [`ResumeError::Unwinding`](super::ResumeError::Unwinding).
    ///
    /// # Panics
    /// If the generator is not on the running chain: the yielder was lent to another coroutine that runs alone. Or
    /// inside a [`no_suspend`](crate::no_suspend) that was opened in the generator, or in what it resumed.
    #[inline]
    pub fn yield_(&self, out: Out) -> In {
        let value = self.suspend(MaybeUninit::new(out));
        if self.books().frame.has_signals()
            && let Some(value) = self.obey()
        {
            return value;
        }
        // SAFETY: nothing else was asked, so whoever resumed passed a value.
        unsafe { value.assume_init() }
    }

    /// Yields as [`yield_`](Self::yield_) does, and gives an exception that is thrown in as an error: `try` around one
    /// `yield`. Nothing unwinds for it, so it also works with `panic = "abort"`, and costs a fraction.
    ///
    /// # Suspends
    /// As `yield_`. A close unwinds from here.
    ///
    /// # Errors
    /// With what was thrown in.
    ///
    /// # Panics
    /// As `yield_`.
    ///
    /// # Examples
    /// ```
    /// use osier::{Generator, Step, Yielder};
    ///
    /// let mut g = Generator::new(|y: &Yielder<String, u32>| {
    ///     let mut answer = "ready".to_owned();
    ///     loop {
    ///         answer = match y.try_yield(answer) {
    ///             Ok(n) => format!("got {n}"),
    ///             Err(exception) => format!("caught: {exception}"),
    ///         };
    ///     }
    /// })
    /// .primed();
    /// assert_eq!(g.throw(std::fmt::Error)?, Step::Yielded(format!("caught: {}", std::fmt::Error)));
    /// assert_eq!(g.send(7)?, Step::Yielded("got 7".to_owned()));
    /// # #[allow(unreachable_code, reason = "fixes the body's return type")]
    /// # Ok::<(), osier::generator::ResumeError<u32>>(())
    /// ```
    #[inline]
    pub fn try_yield(&self, out: Out) -> Result<In, Exception> {
        let mut asked = self.exchange(MaybeUninit::new(out));
        loop {
            match asked {
                Asked::GoOn(value) => return Ok(value),
                Asked::Raise(exception) => return Err(exception),
                Asked::Close => self.leave(),
                Asked::Trace => asked = self.wait_on(Backtrace::force_capture()),
            }
        }
    }

    /// Yields for what stands in for this generator, and says what was asked without doing it. `name` says what that is.
    pub(super) fn exchange_for(&self, out: Out, name: &Naming<'_>) -> Asked<In> {
        let _noted = self.note(&name);
        self.exchange(MaybeUninit::new(out))
    }

    /// Leaves the stack that was asked for to whoever asked, and waits for what is asked next.
    #[cold]
    fn wait_on(&self, stack: Backtrace) -> Asked<In> {
        // SAFETY: it was asked for its stack, and whoever asked waits for it.
        unsafe { self.books().trace() }.set(Some(stack));
        self.exchange(MaybeUninit::uninit())
    }

    /// As [`wait_on`](Self::wait_on), for what stands in for this generator: see [`exchange_for`](Self::exchange_for).
    #[cold]
    pub(super) fn wait_on_for(&self, stack: Backtrace, name: &Naming<'_>) -> Asked<In> {
        let _noted = self.note(&name);
        self.wait_on(stack)
    }

    /// Notes, for the time of a suspension, what stands in for this generator.
    fn note<'a>(&'a self, name: &'a &Naming<'_>) -> Noted<'a> {
        self.books().delegate.set(ptr::from_ref(name).cast());
        Noted(&self.books().delegate)
    }

    /// Suspends, and says what was asked without doing it. There is no item if, and only if, it was asked to show its
    /// stack.
    #[inline]
    fn exchange(&self, out: MaybeUninit<Out>) -> Asked<In> {
        let value = self.suspend(out);
        if self.books().frame.has_signals()
            && let Some(asked) = self.asked()
        {
            return asked;
        }
        // SAFETY: nothing else was asked, so whoever resumed passed a value.
        Asked::GoOn(unsafe { value.assume_init() })
    }

    /// Takes what was asked instead of a send.
    #[cold]
    fn asked(&self) -> Option<Asked<In>> {
        if !self.books().frame.take_signals() {
            return None;
        }
        match self.books().command.replace(Command::Send) {
            // SAFETY: the command was that, and is no more.
            Command::Throw => Some(Asked::Raise(unsafe { self.books().take_thrown() })),
            Command::Close => Some(Asked::Close),
            Command::Trace => Some(Asked::Trace),
            Command::Send => unreachable!("a send is no request"),
        }
    }

    /// The exit that ends this generator.
    pub(super) fn closing(&self) -> Leaving {
        self.books().closing()
    }

    /// Unwinds the body, for it was asked to close. Inlined, as `unwind::throw`.
    #[inline(always)]
    fn leave(&self) -> ! {
        self.closing().throw()
    }

    /// Suspends the generator. Its signals are left for the caller to look at.
    #[inline(always)]
    fn suspend(&self, out: MaybeUninit<Out>) -> MaybeUninit<In> {
        // A pointer, that leads to the books as well: others find them through it.
        // SAFETY: see the field.
        let frame = unsafe { &raw const (*self.books).frame }.cast::<Frame>();
        if std::ptr::eq(current::frame(), frame) {
            // SAFETY: this generator runs, with nothing on top of it.
            unsafe { unwind::suspending_alone(frame, self.switching(out)) }
        } else {
            self.suspend_with_others(out)
        }
    }

    /// How to leave with `out`, told whether something may be thrown at this point, and come back with what was sent.
    ///
    /// The generator must be on the running chain when it is called. It holds two words, which go to the slow path of
    /// `unwind` in registers: more would be kept in memory for it at every yield.
    #[inline(always)]
    fn switching(&self, out: MaybeUninit<Out>) -> impl FnOnce(bool) -> MaybeUninit<In> {
        move |may_throw| {
            let takes_only_send = &self.books().takes_only_send;
            if !may_throw {
                takes_only_send.set(true);
            }
            // SAFETY: `switch` belongs to this generator, which is on the running chain.
            let value = unsafe { (*self.switch).suspend(out) };
            if !may_throw {
                takes_only_send.set(false);
            }
            value
        }
    }

    /// Suspends the generator from within regions that it opened, or coroutines that it resumed.
    #[cold]
    #[inline(never)]
    fn suspend_with_others(&self, out: MaybeUninit<Out>) -> MaybeUninit<In> {
        let books = self.books();
        let on_chain = region::may_suspend(&books.frame, "yield");
        assert!(on_chain, "a yielder was used off its chain: its generator is not among the coroutines that run here");
        // SAFETY: the generator is on the chain, as was checked.
        let value = unsafe { unwind::suspending(current::frame(), &books.frame, self.switching(out)) };
        if books.frame.is_asked() {
            return value;
        }
        // SAFETY: nothing else was asked, so whoever resumed passed a value.
        let value = unsafe { value.assume_init() };
        MaybeUninit::new(region::throw_expired_above(&books.frame, value))
    }

    /// Does what was asked instead of a send, if anything was. Gives what is sent after that.
    #[cold]
    fn obey(&self) -> Option<In> {
        let mut asked = self.asked()?;
        loop {
            match asked {
                Asked::GoOn(value) => return Some(value),
                Asked::Raise(exception) => exception::throw(exception),
                Asked::Close => self.leave(),
                Asked::Trace => asked = self.wait_on(Backtrace::force_capture()),
            }
        }
    }
}

impl<Out> Yielder<Out> {
    /// Yields every item of `items`: Python's `yield from` over any iterable.
    ///
    /// # Suspends
    /// As [`yield_`](Self::yield_), from which exceptions and closes unwind.
    ///
    /// # Panics
    /// As `yield_`.
    ///
    /// # Examples
    /// ```
    /// use osier::{Generator, Yielder};
    ///
    /// let g = Generator::new(|y: &Yielder<u32>| {
    ///     y.yield_all([1, 2]);
    ///     y.yield_all(3..5);
    /// });
    /// assert_eq!(g.collect::<Vec<_>>(), [1, 2, 3, 4]);
    /// ```
    pub fn yield_all(&self, items: impl IntoIterator<Item = Out>) {
        items.into_iter().for_each(|item| self.yield_(item));
    }
}

/// Yields from the innermost running generator that yields an `Out` and takes an `In`: for code deep in calls that was
/// not given the yielder.
///
/// It is the same as [`Yielder::yield_`], but for the search, and the types are compared at run time: a literal may need
/// its type (`yield_(1_u32)`). Generators made by [`scoped`](super::scoped) are not found.
///
/// # Suspends
/// That generator, and everything that runs on top of it, as `Yielder::yield_` does.
///
/// # Panics
/// If no such generator is on the running chain.
///
/// # Examples
/// ```
/// use osier::{Generator, Yielder, generator::yield_};
///
/// fn walk(depth: u32) {
///     if depth > 0 {
///         walk(depth - 1);
///         yield_::<u32, ()>(depth);
///         walk(depth - 1);
///     }
/// }
///
/// let g = Generator::new(|_: &Yielder<u32>| walk(3));
/// assert_eq!(g.collect::<Vec<_>>(), [1, 2, 1, 3, 1, 2, 1]);
/// ```
pub fn yield_<Out: 'static, In: 'static>(out: Out) -> In {
    with_innermost(|y: &Yielder<Out, In>| y.yield_(out))
}

/// Yields as [`yield_`] does, and gives an exception that is thrown in as an error: see [`Yielder::try_yield`].
///
/// # Suspends
/// As [`yield_`]. A close unwinds from here.
///
/// # Errors
/// With what was thrown in.
///
/// # Panics
/// As [`yield_`].
///
/// # Examples
/// ```
/// use osier::{Generator, Step, Yielder, generator::try_yield};
///
/// fn ask() -> String {
///     match try_yield::<_, u32>("a number?") {
///         Ok(n) => format!("got {n}"),
///         Err(exception) => format!("caught: {exception}"),
///     }
/// }
///
/// let mut g = Generator::new(|_: &Yielder<&str, u32>| ask()).primed();
/// assert_eq!(g.throw(std::fmt::Error)?, Step::Returned(format!("caught: {}", std::fmt::Error)));
/// # Ok::<(), osier::generator::ResumeError<u32>>(())
/// ```
pub fn try_yield<Out: 'static, In: 'static>(out: Out) -> Result<In, Exception> {
    with_innermost(|y: &Yielder<Out, In>| y.try_yield(out))
}

/// Yields every item of `items` as [`yield_`] does: Python's `yield from` over any iterable, deep in calls.
///
/// # Suspends
/// As [`yield_`].
///
/// # Panics
/// As [`yield_`].
///
/// # Examples
/// ```
/// use osier::{Generator, Yielder, generator::yield_all};
///
/// fn words() {
///     yield_all("ash oak yew".split(' '));
/// }
/// let g = Generator::new(|_: &Yielder<&str>| words());
/// assert_eq!(g.collect::<Vec<_>>(), ["ash", "oak", "yew"]);
/// ```
pub fn yield_all<Out: 'static>(items: impl IntoIterator<Item = Out>) {
    // Each is a search of its own: what makes the items may switch, and another generator go on with it.
    items.into_iter().for_each(yield_::<Out, ()>);
}

/// Lends `f` the yielder of the innermost running generator that yields an `Out` and takes an `In`. It suspends with that
/// yielder alone: where users' code runs otherwise, the generator may end meanwhile.
///
/// # Panics
/// If no such generator is on the running chain.
pub(super) fn with_innermost<Out: 'static, In: 'static, T>(f: impl FnOnce(&Yielder<Out, In>) -> T) -> T {
    let wanted = TypeId::of::<Yielder<Out, In>>();
    // SAFETY: whoever is on the chain is alive.
    let yields = |frame: &*const Frame| unsafe { &**frame }.yields.is_some_and(|of| of() == wanted);
    let Some(frame) = current::chain_pointers().find(yields) else {
        panic!(
            "no running generator yields `{}` and takes `{}`",
            std::any::type_name::<Out>(),
            std::any::type_name::<In>()
        )
    };
    // SAFETY: a frame that says so is the first field of its generator's books.
    let books = unsafe { &*frame.cast::<Books>() };
    // SAFETY:
    // - Its body runs, since it is on the chain, so its yielder is there; and it is of this type.
    // - While `f` suspends by it, that body is suspended, and it is not resumed or unwound but through here.
    f(unsafe { &*books.yielder.get().cast::<Yielder<Out, In>>() })
}

impl<Out, In: 'static> fmt::Debug for Yielder<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}
