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
//! | `getcurrent().parent.switch(v)` | [`greenlet::parent().switch(v)`](parent()) |
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
//! - `switch`: the calls that hand control over. `builder`, `weak`: what a greenlet is made by, and watched by.
//! - `node`: what a greenlet is made of; how its coroutine begins, is resumed and suspends.
//! - `mail`: what one greenlet hands to another.
//! - `tree`: who runs, and how control moves from one to another.
//! - `handle`: what happens when the last handle goes.
//! - `trace`: a function that is told of every switch.
//! - `error`: why a switch was refused, or a parent.

mod builder;
mod error;
mod handle;
mod mail;
mod node;
mod switch;
mod trace;
mod tree;
mod weak;

pub use builder::Builder;
pub use error::{ParentError, SwitchError};
pub use switch::{exit, parent};
pub use trace::{AnyGreenlet, Event, Tracer, set_trace, trace};
pub use weak::Weak;

use std::backtrace::Backtrace;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use node::{Link, Node, State};

/// A handle to a body that runs until it switches to another, and goes on from there when it is switched to.
///
/// See the [module's page](self) for trees and parents. Handles are counted: clones are the same greenlet, and compare
/// equal. A body runs on the thread that made it, on its own stack; a handle is not `Send`.
///
/// Dropping the last handle of a suspended greenlet ends it: the running greenlet becomes its parent, and its body
/// unwinds from the switch it waits in, running destructors. A greenlet that runs when its last handle goes, since it
/// dropped that itself, is ended the next time it suspends. If a body catches the unwind and switches away, or
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
// GL-048, GL-049, GL-054, GL-055, GL-056, GL-057, GL-060, GL-061, GL-062: what other threads would do with it.
/// ```compile_fail,E0277
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
        Builder::new(body)
    }

    /// The running greenlet of `T`'s innermost tree.
    ///
    /// Where no tree of `T` runs, this makes the root of one, which stands for the thread, the task, or the greenlet of
    /// another type that runs.
    ///
    /// The handle counts. A body that still has it when it switches away holds itself, and no drop from outside ends it;
    /// a temporary lives as long as its statement, so that is what `Greenlet::current().parent().unwrap().switch(v)` does.
    /// [`greenlet::parent().switch(v)`](parent()) does not.
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

    /// Ends this greenlet if that is possible from here, as dropping its last handle would, and says whether it is dead.
    ///
    /// One that waits unwinds from the switch it waits in; the running greenlet is its parent meanwhile, so control
    /// comes back to this call. One that has not begun drops its body. It is not possible to kill a greenlet that
    /// runs, waits in a suspended generator, is an ancestor of the running one, is of another tree, or is suspended in an
    /// unwind of its own. A body may also catch the unwind and switch away.
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
        if self.node().is_in_line_of(parent.node()) {
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

    /// The stack that it is suspended on, innermost first. `None` unless it is suspended.
    ///
    /// The greenlet is resumed for it, notes its stack, and suspends again where it was; none of its code runs. Below its
    /// last frame the stack goes on with whoever asks. The frames get their names when it is printed.
    ///
    /// # Examples
    /// ```
    /// use osier::{Greenlet, greenlet};
    ///
    /// #[inline(never)]
    /// fn wait_for_the_next(n: u32) -> u32 {
    ///     greenlet::parent().switch(n) + 1
    /// }
    ///
    /// let g = Greenlet::new(wait_for_the_next);
    /// assert!(g.backtrace().is_none());
    /// g.switch(1);
    /// assert!(g.backtrace().unwrap().to_string().contains("wait_for_the_next"));
    /// assert_eq!(g.switch(2), 3);
    /// ```
    pub fn backtrace(&self) -> Option<Backtrace> {
        tree::look(self)
    }

    /// A handle that does not keep the greenlet alive.
    pub fn downgrade(&self) -> Weak<T> {
        Weak::of(&self.node)
    }

    fn is_in_tree_of(&self, other: &Self) -> bool {
        ptr::eq(self.node().tree(), other.node().tree())
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
        // Whether one that waits was suspended, or others run on top of it, is nobody's business.
        let state = match self.node().state.get() {
            State::Active if tree::running().as_ref() != Some(self) => State::Suspended,
            state => state,
        };
        f.debug_struct("Greenlet").field("name", &self.name()).field("state", &state).finish_non_exhaustive()
    }
}
