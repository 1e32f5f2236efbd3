//! The calls that hand control over: switch and throw, and their refusals.
//!
//! A switch from a greenlet's own code to a suspended one, or to the one right below, is the fast path, inlined where
//! users switch; all others go through `tree`, which asks where they stand.

use super::mail::Mail;
use super::node::{Link, Node, State};
use super::tree;
use super::{Greenlet, SwitchError, trace};
use crate::coroutine::{self, Frame, current, region};
use crate::exception::{Exception, Raise, raise};

impl<T: 'static> Greenlet<T> {
    /// Switches to this greenlet with a value; returns what is switched back with.
    ///
    /// The value comes out of the switch that this greenlet waits in, or starts its body. If this greenlet has ended,
    /// the value goes to its nearest living ancestor. A switch to oneself returns the value.
    ///
    /// # Suspends
    /// The running greenlet, and what is nested in it, until another one switches to it, or one of its children ends.
    /// When it is to [exit](Self::throw_exit) or is dropped meanwhile, this call unwinds.
    ///
    /// Raises an exception that is [thrown](Self::throw) in, or that a child has ended with; and [`SwitchError`] without
    /// its value if the switch is refused: see [`try_switch`](Self::try_switch).
    ///
    /// # Panics
    /// With the panic of a child that ended.
    #[inline(always)]
    pub fn switch(&self, value: T) -> T {
        match self.try_switch(value) {
            Ok(value) => value,
            Err(error) => Self::refuse(error),
        }
    }

    #[cold]
    #[track_caller]
    fn refuse(error: SwitchError<T>) -> ! {
        error.raise()
    }

    /// Switches to this greenlet, unless that is impossible.
    ///
    /// # Suspends
    /// As [`switch`](Self::switch) does.
    ///
    /// # Errors
    /// [`SwitchError`], with the value in it; then nothing has changed.
    ///
    /// # Panics
    /// With the panic of a child that ended.
    #[inline(always)]
    pub fn try_switch(&self, value: T) -> Result<T, SwitchError<T>> {
        let top = current::frame();
        let (node, tree) = (self.node(), self.node().tree());
        let Some(me) = tree.runs_at(top).filter(|_| !current::is_traced()) else {
            return self.try_switch_slow(top, value);
        };
        // SAFETY: it runs, so it is not freed.
        let me = unsafe { me.as_ref() };
        let gives_way = if tree.may_resume(me, node) {
            tree.post(self.link(), Mail::Value(value));
            // SAFETY: `me` runs on `top`, the running frame, and the target is suspended.
            unsafe { tree::drive_directly(tree, self.link(), me, top) }
        } else if tree.may_give_way(me, node) && !me.head.frame.has_signals() {
            // One that unwinds resumes its own descendants, wherever it stands: see `drive::is_to_resume`.
            tree.post(self.link(), Mail::Value(value));
            true
        } else {
            return self.try_switch_slow(top, value);
        };
        if gives_way {
            // One call for both ways, so that the compiler takes it for a likely one: see `give_way`.
            // SAFETY: `me` runs on `top`, the running frame, and is no root; its tree has mail for another.
            unsafe { tree::give_way(me, top) };
        }
        // `me` may be in another tree now.
        let mail = me.tree().take();
        Ok(tree::obey(mail))
    }

    /// A switch out of something nested in the running greenlet, or to one that is new, dead, active, or out of reach.
    #[cold]
    #[inline(never)]
    fn try_switch_slow(&self, top: *const Frame, value: T) -> Result<T, SwitchError<T>> {
        let tree = self.node().tree();
        let Some(me) = tree.locate(top) else {
            return Err(if tree.has_ended() { SwitchError::RootEnded(value) } else { SwitchError::OtherTree(value) });
        };
        let Some(to) = self.living() else { return Err(SwitchError::RootEnded(value)) };
        // SAFETY: this handle keeps itself and its ancestors alive.
        let node = unsafe { to.as_ref() };
        match node.state.get() {
            State::New => match Node::prepare(to) {
                Ok(()) => {}
                Err(error) => return Err(SwitchError::NoStack(value, error)),
            },
            State::Active if to == me => {
                return Ok(tree::obey(trace::open(Mail::Value(value).from(trace::origin(Some(me))))));
            }
            // SAFETY: `me` was located at `top`, the running frame.
            State::Active if !unsafe { tree::is_within_reach(me, top, node) } => {
                // SAFETY: as above.
                unsafe { Self::refuse_in_region(me, top) };
                return Err(SwitchError::Parked(value));
            }
            State::Active | State::Suspended | State::Dead => {}
        }
        tree.post(to, Mail::Value(value).from(trace::origin(Some(me))));
        // SAFETY: `me` was located at `top`, which is the running frame; the target is suspended or within reach.
        Ok(Self::arrive(top, tree::obey(unsafe { tree::drive(tree, Some(me), top) })))
    }

    /// Gives what came back to the running frame `top`, unless a deadline has passed meanwhile in a region on top of the
    /// greenlet: it was suspended, and its waits could not look.
    ///
    /// Which greenlet that is must be asked anew: a generator in which it switched may have gone on in another one.
    #[inline(always)]
    fn arrive(top: *const Frame, value: T) -> T {
        // SAFETY: null, or the running frame.
        if unsafe { top.as_ref() }.is_none_or(|top| top.is_greenlet() || top.is_base()) {
            // Nothing is on top of it.
            return value;
        }
        Self::arrive_above(top, value)
    }

    #[cold]
    fn arrive_above(top: *const Frame, value: T) -> T {
        // SAFETY: who was located runs, so it is not freed.
        match tree::locate::<T>(top).map(|me| unsafe { me.as_ref() }) {
            // A root was not suspended: it is on the chain all the while, and its waits look at its deadlines.
            Some(me) if !me.is_root() => region::throw_expired_above(&me.head.frame, value),
            _ => value,
        }
    }

    /// Throws an exit into this greenlet: its body unwinds from the switch it waits in, running destructors. `value`
    /// then comes out of its parent's switch. Returns what is switched back with.
    ///
    /// One that has not begun ends unrun, and `value` goes to its parent as well; so does the value for one that has
    /// ended. Thrown into the running greenlet, this is [`exit`](exit()). A body that catches the unwind goes on as it
    /// likes. One that is unwinding already, and waits for the running one in a destructor, gets `value` as from a switch.
    ///
    /// # Suspends
    /// As [`switch`](Self::switch) does.
    ///
    /// # Panics
    /// For a root, which cannot exit; or if this greenlet is suspended in the middle of its own unwind. In the destructor of
    /// a thread-local, where what a suspended one borrows may be gone. Otherwise as `switch` does.
    ///
    /// # Examples
    /// ```
    /// use osier::Greenlet;
    ///
    /// let root = Greenlet::current();
    /// let g = Greenlet::new(move |n: u32| loop { root.switch(n); });
    /// g.switch(1);
    /// assert_eq!(g.throw_exit(7), 7);
    /// assert!(g.is_dead());
    /// ```
    pub fn throw_exit(&self, value: T) -> T {
        assert!(!self.node().is_root(), "the root of a tree of greenlets cannot exit: it has no parent");
        let top = current::frame();
        let mail = Mail::Exit(Some(value));
        match self.may_throw(top) {
            Ok(true) => match trace::open(mail.from(trace::origin(Some(self.link())))) {
                Mail::Exit(value) => tree::leave(value),
                raised => tree::obey(raised),
            },
            Ok(false) => {
                assert!(
                    self.node().state.get() != State::Suspended || !coroutine::is_thread_ending(),
                    "cannot end greenlet '{}' in the destructor of a thread-local: what it borrows may be gone",
                    self.name()
                );
                Self::arrive(top, tree::obey(tree::deliver(self.clone(), mail, top)))
            }
            Err(error) => error.raise(),
        }
    }

    /// Throws an exception into this greenlet: it is raised out of the switch that this greenlet waits in, where
    /// [`catch`](crate::catch) takes it. Returns what is switched back with.
    ///
    /// One that has not begun ends unrun, and the exception goes on in its parent; of one that has ended, it goes on in
    /// the nearest living ancestor. So does one that nobody catches in the body. Thrown into the running greenlet, this
    /// is [`raise`].
    ///
    /// # Suspends
    /// As [`switch`](Self::switch) does.
    ///
    /// # Panics
    /// If this greenlet is in the middle of an unwind, in whose destructors it waits. Otherwise as `switch` does.
    ///
    /// # Examples
    /// ```
    /// use osier::{Greenlet, catch};
    ///
    /// let root = Greenlet::<String>::current();
    /// let g = Greenlet::new(move |first| {
    ///     let error = catch(|| root.switch(first)).unwrap_err();
    ///     root.switch(format!("caught: {error}"))
    /// });
    /// assert_eq!(g.switch("ready".into()), "ready");
    /// assert_eq!(g.throw(std::fmt::Error), format!("caught: {}", std::fmt::Error));
    ///
    /// // Nobody catches this one, so it arrives in the parent: here.
    /// assert!(catch(|| g.throw(std::fmt::Error)).unwrap_err().is::<std::fmt::Error>());
    /// assert!(g.is_dead());
    /// ```
    #[track_caller]
    pub fn throw(&self, e: impl Into<Exception>) -> T {
        let exception = e.into();
        let top = current::frame();
        match self.may_throw(top) {
            Ok(true) => match trace::origin(Some(self.link())) {
                None => raise(exception),
                origin => tree::obey(trace::open(Mail::throwing(exception).from(origin))),
            },
            Ok(false) => {
                let is_unwinding = self.node().state.get() == State::Active && tree::waits_unwinding(self.node());
                assert!(!is_unwinding, "{}", self.only_values());
                Self::arrive(top, tree::obey(tree::deliver(self.clone(), Mail::throwing(exception), top)))
            }
            Err(error) => error.raise(),
        }
    }

    /// Whether this greenlet is the one that runs at `top`, the running frame, so that throwing into it is unwinding.
    ///
    /// # Errors
    /// It cannot be switched to from here.
    ///
    /// # Panics
    /// If it is suspended in its own unwind.
    fn may_throw(&self, top: *const Frame) -> Result<bool, SwitchError<()>> {
        let node = self.node();
        let tree = node.tree();
        let Some(me) = tree.locate(top) else {
            return Err(if tree.has_ended() { SwitchError::RootEnded(()) } else { SwitchError::OtherTree(()) });
        };
        match node.state.get() {
            State::Active if self.link() == me => return Ok(true),
            // SAFETY: `me` was located at the running frame.
            State::Active if !unsafe { tree::is_within_reach(me, top, node) } => {
                // SAFETY: as above.
                unsafe { Self::refuse_in_region(me, top) };
                return Err(SwitchError::Parked(()));
            }
            State::Suspended => assert!(!node.takes_only_values.get(), "{}", self.only_values()),
            State::New | State::Active | State::Dead => {}
        }
        Ok(false)
    }

    /// Panics if a `no_suspend` is on the way out.
    ///
    /// # Safety
    /// - `me` was located at `top`, the running frame.
    unsafe fn refuse_in_region(me: Link<T>, top: *const Frame) {
        // SAFETY: the caller's promise.
        if let Some(opened) = unsafe { tree::barrier_below(me, top) } {
            region::refuse(opened, "switch");
        }
    }

    #[cold]
    fn only_values(&self) -> String {
        format!("cannot throw into greenlet '{}': it is suspended in its own unwind", self.name())
    }

    /// This greenlet if it has not ended, else its nearest ancestor that has not.
    fn living(&self) -> Option<Link<T>> {
        let mut link = self.link();
        loop {
            // SAFETY: this handle keeps itself and its ancestors alive.
            let node = unsafe { link.as_ref() };
            if node.state.get() != State::Dead {
                return Some(link);
            }
            link = node.parent.borrow().as_ref().map(Self::link)?;
        }
    }
}

/// Ends the running greenlet of `T`: its body unwinds from here, running destructors, and `value` comes out of its
/// parent's switch. It is no error, and passes no panic hook.
///
/// # Panics
/// If no greenlet of `T` runs, or only the root of its tree does.
///
/// # Examples
/// ```
/// use osier::{Greenlet, greenlet};
///
/// fn deep_inside() {
///     greenlet::exit(7u32);
/// }
/// let g = Greenlet::new(|_: u32| {
///     deep_inside();
///     unreachable!()
/// });
/// assert_eq!(g.switch(1), 7);
/// ```
pub fn exit<T: 'static>(value: T) -> ! {
    tree::leave(Some(value))
}

/// The parent of the running greenlet of `T`: Python's `getcurrent().parent`, which is what most bodies switch to.
///
/// # Panics
/// If no greenlet of `T` runs, or only the root of its tree does.
///
/// # Examples
/// ```
/// use osier::{Greenlet, greenlet};
///
/// // Hands on what it is given, one by one.
/// let g = Greenlet::new(|mut n: u32| loop { n = greenlet::parent().switch(n + 1); });
/// assert_eq!(g.switch(1), 2);
/// assert_eq!(g.switch(5), 6);
/// ```
pub fn parent<T: 'static>() -> Greenlet<T> {
    let parent = tree::running().and_then(|me: Greenlet<T>| me.parent());
    parent.unwrap_or_else(|| panic!("only a greenlet has a parent, and no greenlet of that type runs"))
}
