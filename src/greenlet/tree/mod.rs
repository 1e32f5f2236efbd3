//! A tree of greenlets, and how control moves in it.
//!
//! A switch posts its mail and its target in the tree and calls `drive`. Every greenlet that waits in a switch waits
//! in `drive`: either suspended, or below one that it resumed. Whoever gets control looks at the target and does one of
//! three things:
//!
//! ```text
//!   root ──resumed──▶ A ──resumed──▶ B         B switches to …
//!
//!     A (below B):     B suspends; A, in its own `drive`, is the target and takes the mail
//!     C (suspended):   two greenlets stand above the root already, so B suspends, A suspends, the root resumes C
//!   A switches to C:   A resumes C right there, unless C is an ancestor of A: then A suspends, and the root resumes C
//! ```
//!
//! So two greenlets that talk to each other cost one round trip per pair of switches, and no switch costs more than two
//! suspends and a resume. When a greenlet ends, whoever resumed it passes its mail on to its parent in the same way.
//!
//! # Rooms
//! - `place`: who runs, and who is within reach.
//! - `drive`: how control moves until the mail is with its target, and what a switch does with what it gets.
//!
//! # Invariants
//! - No code of users runs between posting mail and taking it. What must run some (the drop of a handle) takes the mail
//!   out first, holds a handle to its taker, and posts it anew.
//! - The target is suspended, or active and within reach: it gets control if each that has it suspends in turn.
//! - A greenlet suspends only when its tree's target is another one, and is resumed only as the target.
//! - No greenlet is resumed by one that descends from it, but inside a `no_suspend`, where that one cannot give way.

mod drive;
mod place;

pub(super) use drive::{deliver, drive, drive_directly, give_way, leave, look, obey};
pub(super) use place::{
    barrier_below, current_or_root, is_unwinding, is_within_reach, locate, running, waits_unwinding,
};

use std::any::TypeId;
use std::cell::{Cell, UnsafeCell};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use super::mail::{Failure, Mail};
use super::node::{self, Head, Link, Node, State};
use crate::coroutine::Frame;

/// How many greenlets may stand above the root before a switch to another suspended one goes through the root.
///
/// With two, a pair that talks needs one round trip per pair of switches; more only makes longer ways back.
const MOST_ABOVE_ROOT: u8 = 2;

/// The context of a tree whose root has ended; no frame lies at this address.
const ENDED: *const Frame = ptr::without_provenance(1);

/// The part of a tree that does not depend on its type.
#[repr(C)]
pub(super) struct TreeHead {
    /// The type of its nodes.
    nodes: TypeId,
    /// What its root stands for: a frame, null for the thread, or `ENDED`.
    context: Cell<*const Frame>,
}

/// Greenlets that can switch to each other. Owned by its root, which every node of it keeps alive.
#[repr(C)]
pub(super) struct Tree<T: 'static> {
    head: TreeHead,
    pub(super) root: Cell<*const Node<T>>,
    /// Whom the mail is for: a link, through which all of its count is reached; null before the first.
    target: Cell<*const Node<T>>,
    /// Borrowed by nobody; each access is one read or one write.
    mail: UnsafeCell<Mail<T>>,
}

impl<T: 'static> Tree<T> {
    pub(super) fn new(context: *const Frame) -> Rc<Self> {
        let head = TreeHead { nodes: node::type_of::<T>(), context: Cell::new(context) };
        Rc::new(Self {
            head,
            root: Cell::new(ptr::null()),
            target: Cell::new(ptr::null()),
            mail: UnsafeCell::new(Mail::Nothing),
        })
    }

    /// Notes that the root's context has ended.
    pub(super) fn end(&self) {
        self.head.context.set(ENDED);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.head.context.get() == ENDED
    }

    /// Who runs, if `top`, the running frame or one below it, is that of one of this tree: no generator, no other type.
    #[inline(always)]
    pub(super) fn runs_at(&self, top: *const Frame) -> Option<Link<T>> {
        if ptr::eq(top, self.head.context.get()) {
            // SAFETY: it was set when the tree was made.
            return Some(unsafe { NonNull::new_unchecked(self.root.get().cast_mut()) });
        }
        if top.is_null() {
            return None;
        }
        // SAFETY: `top` is on the running chain.
        let head = unsafe { Head::of(top) }?;
        // A tree lives as long as each of its nodes, so no other lies at its address, and its nodes are `Node<T>`.
        ptr::eq(head.tree.get(), &raw const self.head).then(|| link_of(top))
    }

    /// Whether `me`, who runs, surely is to resume `to` itself: the switch is `drive_directly`.
    ///
    /// Of those that are near the root it is whoever does not descend from `to`. To walk up its ancestors is for `drive`.
    #[inline(always)]
    pub(super) fn may_resume(&self, me: &Node<T>, to: &Node<T>) -> bool {
        to.state.get() == State::Suspended
            && me.depth.get() < MOST_ABOVE_ROOT
            && (me.is_right_below(self.root.get()) || to.is_right_below(me))
    }

    /// Whether those below `me`, who runs and does not unwind, surely know what to do about `to` if `me` gives way to them.
    #[inline(always)]
    pub(super) fn may_give_way(&self, me: &Node<T>, to: &Node<T>) -> bool {
        let state = to.state.get();
        me.depth.get() != 0 && (state == State::Suspended || state == State::Active && self.stands_right_below(me, to))
    }

    /// Whether `me`, who runs and is no root, was resumed by the active greenlet `to` itself, outside every generator.
    #[inline(always)]
    fn stands_right_below(&self, me: &Node<T>, to: &Node<T>) -> bool {
        let resumer = me.head.frame.resumer.get();
        ptr::eq(resumer, &raw const to.head.frame)
            || ptr::eq(to, self.root.get()) && ptr::eq(resumer, self.head.context.get())
    }

    /// Who runs, where `top` may also be the frame of something nested in it. `None` if nobody of this tree does.
    pub(super) fn locate(&self, top: *const Frame) -> Option<Link<T>> {
        // SAFETY: who was located runs, so it is not freed.
        let is_ours = |me: &Link<T>| ptr::eq(unsafe { me.as_ref() }.tree(), self);
        self.runs_at(top).or_else(|| locate::<T>(top).filter(is_ours))
    }

    /// Whether the mail is for `me`.
    #[inline(always)]
    fn is_for(&self, me: &Node<T>) -> bool {
        ptr::eq(self.target.get(), me)
    }

    /// Whom the mail is for.
    ///
    /// # Safety
    /// - There is mail.
    #[inline(always)]
    unsafe fn target(&self) -> Link<T> {
        // SAFETY: `post` sets a link before there is mail.
        unsafe { NonNull::new_unchecked(self.target.get().cast_mut()) }
    }

    /// Takes the mail back of an active target that cannot be reached from here.
    #[cold]
    fn give_up(&self) -> Mail<T> {
        self.take().undeliverable(Failure::ParentParked)
    }

    /// Posts `mail` for `to`, which is suspended or within reach. No code of users may run before it is taken.
    #[inline(always)]
    pub(super) fn post(&self, to: Link<T>, mail: Mail<T>) {
        self.target.set(to.as_ptr());
        self.put(mail);
    }

    /// Puts mail where there is none.
    #[inline(always)]
    pub(super) fn put(&self, mail: Mail<T>) {
        // SAFETY: nobody borrows it but we, and only for the match.
        debug_assert!(matches!(unsafe { &*self.mail.get() }, Mail::Nothing));
        // SAFETY: nobody borrows it. There is no mail: nothing needs to be dropped.
        unsafe { self.mail.get().write(mail) };
    }

    /// Takes the mail.
    #[inline(always)]
    pub(super) fn take(&self) -> Mail<T> {
        let mail = self.mail.get();
        // SAFETY: nobody borrows it but we, and only for the match.
        let Mail::Value(value) = (unsafe { &*mail }) else { return self.take_other() };
        // Only the value is copied: a copy of all the mail reads in other units than were written, which costs more
        // than the switch.
        // SAFETY: it is overwritten by the next statement, and not dropped.
        let value = unsafe { ptr::read(value) };
        // SAFETY: nobody borrows it; the value was moved out, and nothing else needs to be dropped.
        unsafe { mail.write(Mail::Nothing) };
        Mail::Value(value)
    }

    #[cold]
    #[inline(never)]
    fn take_other(&self) -> Mail<T> {
        // SAFETY: nobody borrows it.
        unsafe { self.mail.get().replace(Mail::Nothing) }
    }
}

fn link_of<T: 'static>(frame: *const Frame) -> Link<T> {
    NonNull::new(frame.cast_mut().cast()).expect("a greenlet's frame is not null")
}
