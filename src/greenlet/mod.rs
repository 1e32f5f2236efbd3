//! Greenlets: coroutines that switch straight to each other.
//!
//! A generator goes back to whoever resumed it. A greenlet says where it goes: [`Greenlet::switch`] hands a value to
//! any other greenlet of its tree and returns when somebody switches back. It is the Python package of that name, in
//! Rust's types:
//!
//! | Python | osier |
//! | --- | --- |
//! | `g = greenlet(run)` | `let g = Greenlet::new(run)` |
//! | `g.switch(v)` | `g.switch(v)` |
//! | `greenlet.getcurrent()` | `Greenlet::<T>::current()` |
//! | `g.parent`, `g.parent = p` | `g.parent()`, `g.set_parent(&p)` |
//! | `raise GreenletExit` in a body | [`exit(value)`](exit()) |
//! | `g.throw()` | `g.throw_exit(value)` |
//! | `g.throw(error)` | `g.throw(error)`; `catch` takes it |
//! | `greenlet.settrace(f)`, `gettrace()` | [`set_trace(Some(f))`](set_trace), [`trace()`](trace()) |
//! | `del g` | `drop(g)` |
//! | `g.dead`, `bool(g)` | `g.is_dead()`, `g.is_active()` |
//! | `greenlet.error: cannot switch to a different thread` | does not compile: a handle is not `Send` |
//!
//! The whole table, with the traps: [`porting`](crate::porting).
//!
//! # Trees
//! Greenlets that can switch to each other form a tree. All of it has one type of value, and its root is whatever ran
//! when its first greenlet was made: the thread, a task, or a greenlet of another type. (`Greenlet<i32>` and
//! `Greenlet<u64>` are two types: where a body's argument is an integer, say which.) When a body returns, what it
//! returned comes out of the switch that its *parent* waits in, whoever switched to it last; a panic, too, goes on in
//! the parent. A parent that has not begun begins, with the value as its argument; one that has ended passes it on to
//! its own.
//!
//! A generator is no greenlet: code in it runs as part of whoever resumed it, and may switch. In a task, code in a
//! greenlet may wait as any code of the task does; the task then waits with everything in it.
//!
//! # Rooms
//! - `node`: what a greenlet is made of; how its coroutine begins, is resumed and suspends.
//! - `mail`: what one greenlet hands to another.
//! - `tree`: who runs, and how control moves from one to another.
//! - `handle`: what happens when the last handle goes.
//! - `trace`: a function that is told of every switch.
//! - `error`: why a switch was refused, or a parent.

mod error;
mod handle;
mod mail;
mod node;
mod trace;
mod tree;

pub use error::{ParentError, SwitchError};
pub use trace::{AnyGreenlet, Event, Tracer, set_trace, trace};

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::rc::{self, Rc};

use crate::coroutine::{Frame, current, region};
use crate::exception::{Exception, Raise, raise};
use crate::stack::StackSize;
use mail::Mail;
use node::{Link, Node, State};
use tree::Tree;

/// A handle to a body that runs until it switches to another, and goes on from there when it is switched to.
///
/// See the [module's page](self) for trees and parents. Handles are counted: clones are the same greenlet, and compare
/// equal. A body runs on the thread that made it, on its own stack; a handle is not `Send`.
///
/// Dropping the last handle of a suspended greenlet ends it: the running greenlet becomes its parent, and its body
/// unwinds from the switch it waits in, running destructors. A greenlet that is active when its last handle goes, since
/// it dropped that itself, say, is ended the next time it suspends. If a body catches the unwind and switches away, or
/// is suspended in an unwind of its own, its stack is leaked. So is a greenlet whose own stack holds a handle to it,
/// or two whose stacks hold handles to each other: end them by [`kill`](Self::kill), or hold a [`Weak`].
///
/// When a root ends, greenlets of its tree can only be dropped.
///
/// # Examples
/// ```
/// use osier::Greenlet;
///
/// let root = Greenlet::<String>::current();
/// let greeter = Greenlet::new(move |name| {
///     let next = root.switch(format!("hello {name}"));
///     format!("bye {next}")
/// });
/// assert_eq!(greeter.switch("world".into()), "hello world");
/// assert_eq!(greeter.switch("moon".into()), "bye moon");
/// assert!(greeter.is_dead());
/// ```
///
/// A handle stays on its thread:
/// ```compile_fail
/// let g = osier::Greenlet::new(|n: u32| n);
/// std::thread::spawn(move || drop(g));
/// ```
/// What is switched with does not borrow, for it could be kept on a stack that is forgotten:
/// ```compile_fail
/// fn ask(text: &str) -> &str {
///     osier::Greenlet::new(|text: &str| text).switch(text)
/// }
/// ```
#[must_use = "a greenlet does nothing until it is switched to"]
pub struct Greenlet<T: 'static> {
    /// Dropped by `Drop` alone, which looks whether this is the last count.
    node: ManuallyDrop<Rc<Node<T>>>,
}

impl<T: 'static> Greenlet<T> {
    /// Makes a greenlet of `body`, as a child of the running one.
    ///
    /// The first switch to it runs the body, with the value switched with. It is named after the body's type, in
    /// overflow messages and in `Debug`; see [`builder`](Self::builder) for another name or another stack size. No
    /// stack is taken before the first switch.
    ///
    /// # Examples
    /// ```
    /// let double = osier::Greenlet::new(|n: u32| 2 * n);
    /// assert_eq!(double.switch(21), 42);
    /// ```
    pub fn new(body: impl FnOnce(T) -> T + 'static) -> Self {
        Self::builder(body).build()
    }

    /// Makes a greenlet of `body`, as a child of `parent`.
    ///
    /// # Examples
    /// ```
    /// use osier::Greenlet;
    ///
    /// let parent = Greenlet::new(|n: u32| n + 1);
    /// let child = Greenlet::with_parent(&parent, |n| n * 10);
    /// // The child's value starts its parent, and the parent's value comes to us.
    /// assert_eq!(child.switch(4), 41);
    /// ```
    pub fn with_parent(parent: &Self, body: impl FnOnce(T) -> T + 'static) -> Self {
        Self::builder(body).build_with_parent(parent)
    }

    /// Starts building a greenlet of `body` with a name or a stack size.
    pub fn builder<F>(body: F) -> Builder<F>
    where
        F: FnOnce(T) -> T + 'static,
    {
        let name = Cow::Borrowed(std::any::type_name::<F>());
        Builder { body, name, stack_size: StackSize::DEFAULT }
    }

    /// The running greenlet of `T`'s innermost tree.
    ///
    /// Where no tree of `T` runs, this makes the root of one, which stands for the thread, the task, or the greenlet of
    /// another type that runs.
    ///
    /// # Examples
    /// ```
    /// use osier::Greenlet;
    ///
    /// let root = Greenlet::<u32>::current();
    /// assert!(root.is_active() && root.parent().is_none());
    /// assert!(root == Greenlet::current());
    /// ```
    pub fn current() -> Self {
        // A thread that is past its end keeps no roots: each call makes one, and a tree of its own.
        tree::current_or_root().unwrap_or_else(|| Self::of_node(Node::new_root(ptr::null())))
    }

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
        let gives_way = if Tree::may_resume(me, node) {
            tree.post(self.link(), Mail::Value(value));
            // SAFETY: `me` runs on `top`, the running frame, and the target is suspended.
            unsafe { tree::drive_directly(tree, self.link(), me, top) }
        } else if tree.may_give_way(me, node) {
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
        let value = tree::obey(unsafe { tree::drive(tree, Some(me), top) });
        // SAFETY: it runs again.
        let me = unsafe { me.as_ref() };
        // A root was not suspended: it is on the chain all the while, and its waits look at its deadlines.
        Ok(if me.is_root() { value } else { region::throw_expired_above(&me.head.frame, value) })
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
    /// For a root, which cannot exit; or if this greenlet is suspended in the middle of its own unwind. Otherwise as
    /// `switch` does.
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
            Ok(true) => tree::obey(trace::open(mail.from(trace::origin(Some(self.link()))))),
            Ok(false) => tree::obey(tree::deliver(self.clone(), mail, top)),
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
                tree::obey(tree::deliver(self.clone(), Mail::throwing(exception), top))
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

    /// Ends this greenlet if that is possible from here, as dropping its last handle would, and says whether it is dead.
    ///
    /// A suspended one unwinds from the switch it waits in; the running greenlet is its parent meanwhile, so control
    /// comes back to this call. One that has not begun drops its body. It is not possible to kill a greenlet that is
    /// active, is an ancestor of the running one, is of another tree, or is suspended in an unwind of its own. A body
    /// may also catch the unwind and switch away.
    ///
    /// For greenlets whose stacks hold handles to each other, which nobody else would ever drop.
    ///
    /// # Suspends
    /// As [`switch`](Self::switch) does; values switched here with are dropped.
    ///
    /// # Panics
    /// With the panic of a destructor on the stack of this greenlet.
    ///
    /// # Examples
    /// ```
    /// use std::cell::OnceCell;
    /// use std::rc::Rc;
    /// use osier::Greenlet;
    ///
    /// let root = Greenlet::current();
    /// let own_handle = Rc::new(OnceCell::new());
    /// let g = Greenlet::new({
    ///     let own_handle = own_handle.clone();
    ///     move |n: u32| {
    ///         let _cycle = own_handle;
    ///         root.switch(n)
    ///     }
    /// });
    /// own_handle.set(g.clone()).unwrap();
    /// g.switch(1);
    /// assert!(g.kill());
    /// ```
    pub fn kill(&self) -> bool {
        handle::kill(self)
    }

    /// The greenlet that gets the value when this one ends; `None` for a root.
    pub fn parent(&self) -> Option<Self> {
        self.node().parent()
    }

    /// Makes `parent` the one that gets the value when this greenlet ends.
    ///
    /// # Errors
    /// [`ParentError`] if this is a root, if it would become its own ancestor, or if `parent` is of another tree.
    pub fn set_parent(&self, parent: &Self) -> Result<(), ParentError> {
        if self.node().is_root() {
            return Err(ParentError::Root);
        }
        if !self.is_in_tree_of(parent) {
            return Err(ParentError::OtherTree);
        }
        if self.is_in_line_of(parent) {
            return Err(ParentError::Cycle);
        }
        let former = self.node().parent.replace(Some(parent.clone()));
        // Maybe the last handle: users' code may run here.
        drop(former);
        Ok(())
    }

    /// Whether it has begun and not ended: it runs, is suspended, or waits in a switch. A root is active until its
    /// context ends.
    pub fn is_active(&self) -> bool {
        matches!(self.node().state.get(), State::Active | State::Suspended)
    }

    /// Whether it has ended: its body returned, exited or panicked; or it is a root, and its context has ended.
    pub fn is_dead(&self) -> bool {
        self.node().state.get() == State::Dead
    }

    /// The name given to the builder, else the body's type; `root` for a root.
    pub fn name(&self) -> &str {
        &self.node().name
    }

    /// A handle that does not keep the greenlet alive.
    pub fn downgrade(&self) -> Weak<T> {
        Weak { node: Rc::downgrade(&self.node) }
    }

    fn is_in_tree_of(&self, other: &Self) -> bool {
        ptr::eq(self.node().tree(), other.node().tree())
    }

    /// Whether this is `other` or one of its ancestors.
    fn is_in_line_of(&self, other: &Self) -> bool {
        let mut next = Some(other.link());
        while let Some(link) = next {
            if link == self.link() {
                return true;
            }
            // SAFETY: `other` keeps itself and its ancestors alive.
            next = unsafe { link.as_ref() }.parent.borrow().as_ref().map(Self::link);
        }
        false
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

    #[inline(always)]
    fn node(&self) -> &Node<T> {
        &self.node
    }

    #[inline(always)]
    fn link(&self) -> Link<T> {
        // SAFETY: an `Rc` points to something.
        unsafe { NonNull::new_unchecked(Rc::as_ptr(&self.node).cast_mut()) }
    }

    /// How many counts there are on the node.
    fn handles(&self) -> usize {
        Rc::strong_count(&self.node)
    }

    fn of_node(node: Rc<Node<T>>) -> Self {
        Self { node: ManuallyDrop::new(node) }
    }

    /// Another handle.
    ///
    /// # Safety
    /// - The node is alive.
    unsafe fn of_link(link: Link<T>) -> Self {
        // SAFETY: a link is made by the node's `Rc`, which is alive: the caller's promise.
        unsafe { Rc::increment_strong_count(link.as_ptr()) };
        // SAFETY: that count is ours.
        unsafe { Self::of_count(link) }
    }

    /// The handle that owns a count.
    ///
    /// # Safety
    /// - One count on the node is given up to the handle.
    unsafe fn of_count(link: Link<T>) -> Self {
        // SAFETY: a link is made by the node's `Rc`; the count is the caller's promise.
        Self::of_node(unsafe { Rc::from_raw(link.as_ptr()) })
    }

    /// Gives the count up, without looking whether it is the last.
    fn into_node(self) -> Rc<Node<T>> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, nor dropped.
        unsafe { ManuallyDrop::take(&mut this.node) }
    }
}

impl<T: 'static> Clone for Greenlet<T> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone() }
    }
}

impl<T: 'static> Drop for Greenlet<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this handle is gone when `drop` returns.
        let node = unsafe { ManuallyDrop::take(&mut self.node) };
        if Rc::strong_count(&node) == 1 {
            handle::let_go(node);
        }
    }
}

impl<T: 'static> PartialEq for Greenlet<T> {
    /// Whether both are handles to one greenlet.
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.node, &other.node)
    }
}

impl<T: 'static> Eq for Greenlet<T> {}

impl<T: 'static> Hash for Greenlet<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.link().hash(state);
    }
}

impl<T: 'static> fmt::Debug for Greenlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.node().state.get();
        f.debug_struct("Greenlet").field("name", &self.name()).field("state", &state).finish_non_exhaustive()
    }
}

/// A handle that does not keep its greenlet alive.
///
/// # Examples
/// ```
/// let g = osier::Greenlet::new(|n: u32| n);
/// let weak = g.downgrade();
/// assert!(weak.upgrade().is_some());
/// drop(g);
/// assert!(weak.upgrade().is_none());
/// ```
pub struct Weak<T: 'static> {
    node: rc::Weak<Node<T>>,
}

impl<T: 'static> Weak<T> {
    /// A handle to the greenlet, if it has others, or is active.
    pub fn upgrade(&self) -> Option<Greenlet<T>> {
        self.node.upgrade().map(Greenlet::of_node)
    }
}

impl<T: 'static> Clone for Weak<T> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone() }
    }
}

impl<T: 'static> fmt::Debug for Weak<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(Weak)")
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

/// A greenlet that has not been made: a body with a name and a stack size.
///
/// It is `Send` when its body is, so a greenlet can be described on one thread and made on another.
///
/// # Examples
/// ```
/// use osier::Greenlet;
///
/// let echo = Greenlet::builder(|n: u32| n).name("echo").stack_size(32 * 1024);
/// let name = std::thread::spawn(move || echo.build().name().to_owned()).join().unwrap();
/// assert_eq!(name, "echo");
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder<F> {
    body: F,
    name: Cow<'static, str>,
    stack_size: StackSize,
}

impl<F> Builder<F> {
    /// Names the greenlet, in overflow messages and in `Debug`.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the usable bytes of its stack, rounded up to whole pages and to at least [`crate::stack::MIN_STACK_SIZE`].
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = StackSize::from_bytes(bytes);
        self
    }

    /// Makes the greenlet, as a child of the running one.
    pub fn build<T: 'static>(self) -> Greenlet<T>
    where
        F: FnOnce(T) -> T + 'static,
    {
        self.build_with_parent(&Greenlet::current())
    }

    /// Makes the greenlet, as a child of `parent`.
    pub fn build_with_parent<T: 'static>(self, parent: &Greenlet<T>) -> Greenlet<T>
    where
        F: FnOnce(T) -> T + 'static,
    {
        Greenlet::of_node(Node::new(parent.clone(), Box::new(self.body), self.name, self.stack_size))
    }
}

impl<F> fmt::Debug for Builder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("stack_size", &self.stack_size.bytes())
            .finish_non_exhaustive()
    }
}
