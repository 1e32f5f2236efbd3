//! What a greenlet is made of: one node, counted by its handles.
//!
//! ```text
//!   Node<T>:  ┌ Head ────────┬──────────────────────────────────────────────────────────────────┐
//!             │ frame │ tree │ state, depth, yielder, coroutine, body until it starts, parent, … │
//!             └───────┴──────┴──────────────────────────────────────────────────────────────────┘
//!                 ↑ `current::frame()` while the greenlet runs: the head is found from the frame, and says which
//!                   tree, hence which type, the rest is of
//! ```
//!
//! The parent link is a handle, so a node keeps its ancestors alive, up to the root of its tree; the root owns the
//! tree. A root is a node without a coroutine: it stands for the context that was there first.
//!
//! # Invariants
//! - A node's parents end at the root of its own tree. So whoever has a node has its tree.
//! - `coroutine` is initialised while the state is suspended or active, except in a root.
//! - A node that is suspended or active, and no root, is never freed: `handle::let_go` sees to that.
//! - `body` is there while the state is new, and until the coroutine begins.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::io;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use super::Greenlet;
use super::mail::Mail;
use super::trace;
use super::tree::{self, Tree, TreeHead};
use crate::coroutine::local;
use crate::coroutine::unwind;
use crate::coroutine::{self, Coroutine, Frame, Resumed, Yielder, current};
use crate::exception::{Ending, ExitKind, Leaving, drop_what_is_left};
use crate::stack::StackSize;

/// A pointer to a node, made by its `Rc`. Each use says why the node is alive.
pub(super) type Link<T> = NonNull<Node<T>>;

/// What a greenlet runs: called with what it is first switched to with; what it returns goes to its parent.
pub(super) type Body<T> = Box<dyn FnOnce(T) -> T>;

/// Where a greenlet is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has not begun.
    New,
    /// It waits in a switch, and nobody has resumed it.
    Suspended,
    /// It was resumed and has not come back: it runs, or something runs or is parked on top of it.
    Active,
    /// It has ended; a root, with its context.
    Dead,
}

/// The part of a node that does not depend on its type. Its address is the frame's.
#[repr(C)]
pub(super) struct Head {
    pub(super) frame: Frame,
    /// The tree that the node is in; it changes when a last handle is dropped in another tree.
    pub(super) tree: Cell<*const TreeHead>,
}

impl Head {
    /// The head of the greenlet that runs on `frame`, if it is one's.
    ///
    /// # Safety
    /// - `frame` is on the running chain, as it was found there.
    #[inline(always)]
    pub(super) unsafe fn of<'a>(frame: *const Frame) -> Option<&'a Self> {
        // SAFETY:
        // - A frame on the chain is alive, and so is the node around it.
        // - Only `Node::new` makes frames of this kind, each the first field of a `Head`, and `begin` announced it by a
        //   pointer to the whole node.
        unsafe { (*frame).is_greenlet().then(|| &*frame.cast::<Self>()) }
    }
}

/// See the module's page.
#[repr(C)]
pub(super) struct Node<T: 'static> {
    pub(super) head: Head,
    pub(super) state: Cell<State>,
    /// How many greenlets of the tree stand below this one, as far as the one that resumed it knew. A root has 0.
    pub(super) depth: Cell<u8>,
    /// Whether the last handle was dropped while the greenlet was active: then one count on the node is left to
    /// whoever resumed it, who drops it when the greenlet has suspended or ended.
    pub(super) orphan: Cell<bool>,
    /// Whether it is suspended in the middle of its own unwind: nothing can be thrown into it.
    pub(super) takes_only_values: Cell<bool>,
    /// Whether it waits for one whose last handle it has dropped: what comes back to that is never thrown in an unwind.
    pub(super) waits_in_drop: Cell<bool>,
    /// Lives on the coroutine's stack; set while that runs the body.
    yielder: Cell<*const Yielder<(), ()>>,
    coroutine: UnsafeCell<MaybeUninit<Coroutine<(), ()>>>,
    body: Cell<Option<Body<T>>>,
    /// What exits that are under way, or were caught, carry to the parent, each under its number.
    leaving: Cell<Vec<(u32, T)>>,
    /// The last of these numbers.
    exits: Cell<u32>,
    /// `None` in a root.
    pub(super) parent: RefCell<Option<Greenlet<T>>>,
    /// In a root: the tree, which lives as long as the root does.
    _tree: Option<Rc<Tree<T>>>,
    pub(super) name: Cow<'static, str>,
    pub(super) stack_size: StackSize,
}

impl<T: 'static> Node<T> {
    /// Makes a greenlet that has not begun, in its parent's tree.
    pub(super) fn new(parent: Greenlet<T>, body: Body<T>, name: Cow<'static, str>, stack_size: StackSize) -> Rc<Self> {
        let tree = parent.node().head.tree.get();
        let node = Self::with(State::New, tree, Some(parent), None, name, stack_size);
        node.body.set(Some(body));
        node.head.frame.locals.adopt(local::inherited());
        Rc::new(node)
    }

    /// Makes a tree whose root stands for `context`: a frame on the running chain, or null for the thread.
    pub(super) fn new_root(context: *const Frame) -> Rc<Self> {
        let tree = Tree::new(context);
        let head = Rc::as_ptr(&tree).cast();
        let root =
            Rc::new(Self::with(State::Active, head, None, Some(tree.clone()), "root".into(), StackSize::DEFAULT));
        tree.root.set(Rc::as_ptr(&root));
        root
    }

    fn with(
        state: State,
        tree: *const TreeHead,
        parent: Option<Greenlet<T>>,
        own_tree: Option<Rc<Tree<T>>>,
        name: Cow<'static, str>,
        stack_size: StackSize,
    ) -> Self {
        Self {
            head: Head { frame: Frame::of_greenlet(), tree: Cell::new(tree) },
            state: Cell::new(state),
            depth: Cell::new(0),
            orphan: Cell::new(false),
            takes_only_values: Cell::new(false),
            waits_in_drop: Cell::new(false),
            yielder: Cell::new(ptr::null()),
            coroutine: UnsafeCell::new(MaybeUninit::uninit()),
            body: Cell::new(None),
            leaving: Cell::new(Vec::new()),
            exits: Cell::new(0),
            parent: RefCell::new(parent),
            _tree: own_tree,
            name,
            stack_size,
        }
    }

    /// The tree that this node is in. Not to be kept over a switch or over users' code: see `Head::tree`.
    #[inline(always)]
    pub(super) fn tree(&self) -> &Tree<T> {
        // SAFETY: the node's parents, which it holds, end at the tree's root, which holds the tree.
        unsafe { &*self.head.tree.get().cast() }
    }

    pub(super) fn is_root(&self) -> bool {
        self._tree.is_some()
    }

    /// A handle to the parent.
    pub(super) fn parent(&self) -> Option<Greenlet<T>> {
        self.parent.borrow().clone()
    }

    /// Whether `other`, which is suspended or active, is an ancestor of this one.
    pub(super) fn descends_from(&self, other: &Self) -> bool {
        self.parent.borrow().as_ref().is_some_and(|parent| other.is_in_line_of(parent.node()))
    }

    /// Whether `other` is its parent, or it has none.
    #[inline(always)]
    pub(super) fn is_right_below(&self, other: *const Self) -> bool {
        // SAFETY: nobody has a reference to the parent but for the time of one call in here, which does not come here; and this
        // one ends with the comparison.
        let parent = unsafe { &*self.parent.as_ptr() };
        parent.as_ref().is_none_or(|parent| ptr::eq(Rc::as_ptr(&parent.node), other))
    }

    /// Whether this is `other` or one of its ancestors.
    pub(super) fn is_in_line_of(&self, other: &Self) -> bool {
        if ptr::eq(self, other) {
            return true;
        }
        let mut next = other.parent.borrow().as_ref().map(Greenlet::link);
        while let Some(link) = next {
            if ptr::eq(self, link.as_ptr()) {
                return true;
            }
            // SAFETY: `other` keeps its ancestors alive.
            next = unsafe { link.as_ref() }.parent.borrow().as_ref().map(Greenlet::link);
        }
        false
    }

    /// Whether this suspended greenlet can be given what would unwind it elsewhere.
    pub(super) fn takes_what_is_thrown(&self) -> bool {
        !self.takes_only_values.get() || self.waits_in_drop.get()
    }

    /// Gives a new greenlet its stack, so that it can be resumed.
    ///
    /// # Errors
    /// There is no stack to be had; nothing has changed.
    pub(super) fn prepare(this: Link<T>) -> io::Result<()> {
        // SAFETY: the caller has a handle to it, or found it through one.
        let node = unsafe { this.as_ref() };
        debug_assert_eq!(node.state.get(), State::New);
        let stack = coroutine::take_stack(node.stack_size)?;
        stack.name_tag().set(&node.name);
        let root = move |yielder: &Yielder<(), ()>, ()| {
            // SAFETY: the node is active while its coroutine runs, and so is not freed.
            unsafe { Self::begin(this, yielder) };
        };
        // SAFETY:
        // - `root` borrows the node alone, which is not freed before the coroutine has returned.
        // - `begin` catches whatever the body throws.
        let coroutine = unsafe { Coroutine::new(stack, root) };
        // SAFETY: the state says that nobody looks at the cell yet.
        unsafe { (*node.coroutine.get()).write(coroutine) };
        node.state.set(State::Suspended);
        Ok(())
    }

    /// What runs on the coroutine's stack: the body, and what becomes of it.
    ///
    /// # Safety
    /// - `this` is active, and `yielder` its running coroutine's.
    unsafe fn begin(this: Link<T>, yielder: &Yielder<(), ()>) {
        // SAFETY: an active node is not freed.
        let node = unsafe { this.as_ref() };
        node.yielder.set(yielder);
        current::set_frame(this.as_ptr().cast());
        let first = node.tree().take();
        let body = node.body.take().expect("a body is taken once");
        let last = match first {
            Mail::Value(value) => match unwind::catch(move || body(value)) {
                Ok(value) => Mail::Value(value),
                Err(payload) => node.outcome_of(payload),
            },
            traced @ (Mail::Traced(_) | Mail::Releasing(_)) => {
                match unwind::catch(move || body(tree::obey(trace::open(traced)))) {
                    Ok(value) => Mail::Value(value),
                    Err(payload) => node.outcome_of(payload),
                }
            }
            thrown => {
                drop_what_is_left(&node.name, body);
                thrown.passed_on()
            }
        };
        // What is left of exits that were thrown and then swallowed. Destructors: before the mail is posted.
        drop_what_is_left(&node.name, node.leaving.take());
        let ending = Ending::begin();
        node.head.frame.locals.end(|payload| ending.end(&node.name, payload));
        node.head.frame.end_trees();
        node.yielder.set(ptr::null());
        node.tree().put(last);
    }

    /// What a body that unwound leaves to its parent.
    fn outcome_of(&self, payload: unwind::Payload) -> Mail<T> {
        match Leaving::of(&payload) {
            Some(leaving) if leaving.is_for(ExitKind::Greenlet, &self.head.frame) => {
                let value = leaving.carried().and_then(|number| self.take_carried(number));
                value.map_or(Mail::Nothing, Mail::Value)
            }
            _ => Mail::Panic(payload),
        }
    }

    /// Takes out what the exit of this number carries.
    fn take_carried(&self, number: u32) -> Option<T> {
        let mut leaving = self.leaving.take();
        let place = leaving.iter().position(|&(of, _)| of == number);
        let carried = place.map(|place| leaving.swap_remove(place).1);
        self.leaving.set(leaving);
        carried
    }

    /// Drops the body of a new greenlet, which ends it.
    pub(super) fn end_unstarted(&self) {
        debug_assert_eq!(self.state.get(), State::New);
        self.state.set(State::Dead);
        drop_what_is_left(&self.name, self.body.take());
    }

    /// Resumes a suspended greenlet until it suspends or ends.
    ///
    /// # Safety
    /// - The greenlet is suspended and no root, and its tree's target is this node.
    #[inline(always)]
    pub(super) unsafe fn resume(&self, depth: u8) -> Resumed<()> {
        debug_assert_eq!(self.state.get(), State::Suspended);
        self.state.set(State::Active);
        self.depth.set(depth);
        let coroutine = self.coroutine.get();
        // SAFETY:
        // - It was suspended: the coroutine is there, has not returned, and is resumed by nobody else. Handles are not
        //   `Send`, so it was started on this thread.
        // - The reference ends with the switch; while the body runs nobody makes another, for the state is active.
        unsafe { unwind::resuming(&self.head.frame, || (*coroutine).assume_init_mut().resume(())) }
    }

    /// Leaves the last count to whoever resumed this active greenlet, or will when it has been posted its mail. When it suspends
    /// next it is ended; so it resumes nobody on top of itself any more, who would run before that.
    pub(super) fn become_orphan(&self) {
        self.orphan.set(true);
        if self.depth.get() != 0 {
            self.depth.set(u8::MAX);
        }
    }

    /// Suspends this greenlet, with everything that runs on top of it, until it is resumed as its tree's target.
    ///
    /// # Safety
    /// - The greenlet is no root and on the running chain; `top` is the running frame.
    #[inline(always)]
    pub(super) unsafe fn suspend(&self, top: *const Frame) {
        let yielder = self.yielder.get();
        // SAFETY: it is on the running chain, so the yielder is alive and may be used; `top` is the caller's promise.
        unsafe {
            unwind::suspending(top, &self.head.frame, |may_throw| {
                if !may_throw {
                    self.takes_only_values.set(true);
                }
                self.state.set(State::Suspended);
                (*yielder).suspend(());
                if !may_throw {
                    self.takes_only_values.set(false);
                }
            });
        }
    }

    /// Suspends as [`suspend`](Self::suspend) does, where nobody on this thread unwinds.
    ///
    /// # Safety
    /// - As `suspend`, and the thread is not panicking.
    #[inline(always)]
    pub(super) unsafe fn suspend_calmly(&self, top: *const Frame) {
        let yielder = self.yielder.get();
        // SAFETY: as in `suspend`.
        unsafe {
            unwind::suspending_calmly(top, || {
                self.state.set(State::Suspended);
                (*yielder).suspend(());
            });
        }
    }

    /// Gives the stack of a greenlet back that has returned.
    pub(super) fn retire(&self) {
        debug_assert_eq!(self.state.get(), State::Active);
        self.state.set(State::Dead);
        // SAFETY: the coroutine was there and has returned; the state says that it is gone now.
        let coroutine = unsafe { (*self.coroutine.get()).assume_init_read() };
        coroutine::give_stack(self.stack_size, coroutine.into_stack());
    }

    /// Unwinds the running greenlet, which is this one: `value` is for its parent.
    #[cold]
    pub(super) fn leave(&self, value: Option<T>) -> ! {
        assert!(!self.is_root(), "the root of a tree of greenlets cannot exit: it has no parent");
        let Some(value) = value else { Leaving::new(ExitKind::Greenlet, &self.head.frame).throw() };
        let number = self.exits.get().wrapping_add(1);
        self.exits.set(number);
        // The value waits in the node: it need not be `Send`, as a payload must.
        let mut leaving = self.leaving.take();
        leaving.push((number, value));
        self.leaving.set(leaving);
        Leaving::carrying(ExitKind::Greenlet, &self.head.frame, number, Self::take_carried_of).throw()
    }

    /// As `take_carried`, of an exit that was caught; none if another type is asked for.
    ///
    /// # Safety
    /// - `frame` is that of a node of `T`, as it was found on the chain.
    unsafe fn take_carried_of(frame: *const Frame, number: u32, asked: Option<TypeId>) -> Option<Box<dyn Any>> {
        if asked.is_some_and(|asked| asked != TypeId::of::<T>()) {
            return None;
        }
        // SAFETY: a frame on the chain is alive, and so is the node around it: the caller's promise.
        let node = unsafe { &*frame.cast::<Self>() };
        Some(Box::new(node.take_carried(number)?))
    }
}

impl<T: 'static> current::Root for Node<T> {
    fn end(&self) {
        self.state.set(State::Dead);
        self.tree().end();
    }
}

/// The type of the nodes of a tree, to be compared with `TreeHead::nodes`.
pub(super) fn type_of<T: 'static>() -> TypeId {
    TypeId::of::<Node<T>>()
}
