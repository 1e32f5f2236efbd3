//! What happens when the last handle goes: no stack with live frames is freed.
//!
//! A greenlet that waits when its last handle is dropped, suspended or below the running one, is unwound first: the running
//! greenlet becomes its parent, and an exit is thrown into it. One that runs, or is active out of reach, cannot be unwound
//! yet, so its count is left to whoever resumed it (`Node::orphan`). When the greenlet next suspends, it goes along with the
//! mail to the one that is switched to, and is dropped there: that one becomes its parent. One that
//! cannot be unwound, or does not end when it is, stays for ever.
//!
//! The handle may be dropped where another tree runs, or none: in another task, or after the root has ended. Then the
//! greenlet moves to the tree that runs, with the running greenlet or a new root as its parent. It can, because nobody
//! is its child: a child holds a handle.
//!
//! # Invariants
//! - Every count on a node is a `Greenlet`, an orphan's, or a root's in its context's `Trees`. So a node's last count
//!   goes through `let_go`.
//! - A node moves to another tree only while it is suspended and has one handle.

use std::mem;
use std::ptr;
use std::rc::Rc;

use super::Greenlet;
use super::mail::Mail;
use super::node::{Node, State};
use super::{trace, tree};
use crate::coroutine::{self, current, unwind};
use crate::exception::{Ending, Report, report};

/// Drops a last handle, and then its parent's if that was the last as well, and so on without recursion.
#[cold]
#[inline(never)]
pub(super) fn let_go<T: 'static>(last: Rc<Node<T>>) {
    let mut next = Some(Greenlet::of_node(last));
    while let Some(greenlet) = next.take() {
        let node = greenlet.into_node();
        if Rc::strong_count(&node) > 1 || node.is_root() {
            continue;
        }
        match node.state.get() {
            State::New | State::Dead => next = node.parent.take(),
            State::Active if !waits_below(&node) => {
                node.become_orphan();
                mem::forget(node);
            }
            State::Active | State::Suspended => {
                let greenlet = Greenlet::of_node(node);
                let Some(Unwound { former, mail, ending }) = unwind_waiting(&greenlet) else {
                    leak(greenlet);
                    continue;
                };
                let is_dead = greenlet.is_dead();
                let name = greenlet.node().name.clone();
                if is_dead && greenlet.handles() == 1 {
                    next = former;
                } else {
                    restore_parent(&greenlet, former);
                    if !is_dead {
                        leak(greenlet);
                    }
                }
                settle(mail, &name, ending);
            }
        }
    }
}

/// Gives a suspended greenlet up, unless it has found another handle: its stack and its node stay for ever.
fn leak<T: 'static>(greenlet: Greenlet<T>) {
    let node = greenlet.into_node();
    if Rc::strong_count(&node) == 1 {
        report(&Report::Leaked { name: &node.name });
        mem::forget(node);
    }
}

/// Drops a handle to a greenlet that was just posted mail. If it is the last one, it is kept until the greenlet has got
/// its mail and suspends again. Runs no code of users.
pub(super) fn keep_until_suspended<T: 'static>(greenlet: Greenlet<T>) {
    let node = greenlet.into_node();
    if Rc::strong_count(&node) == 1 && !node.is_root() {
        node.become_orphan();
        mem::forget(node);
    }
}

/// Whether an active greenlet waits below the running one and can be thrown into: it gets control if those above it suspend.
fn waits_below<T: 'static>(node: &Node<T>) -> bool {
    let top = current::frame();
    let me = node.tree().locate(top);
    // SAFETY: `me` was located at the running frame.
    me.is_some_and(|me| !ptr::eq(me.as_ptr(), node) && unsafe { tree::is_within_reach(me, top, node) })
        && !tree::waits_unwinding(node)
}

/// Throws an exit without a value into a greenlet that waits, suspended or below the running one. The running greenlet is its parent meanwhile.
///
/// `None` if it cannot be unwound: it is in the middle of its own unwind, or the thread is at its end, or panics abort.
///
/// The greenlet is in the tree that runs here, or else has one handle.
fn unwind_waiting<T: 'static>(greenlet: &Greenlet<T>) -> Option<Unwound<T>> {
    let node = greenlet.node();
    if cfg!(panic = "abort") || node.takes_only_values.get() || !coroutine::may_unwind() {
        return None;
    }
    let me = tree::current_or_root::<T>()?;
    debug_assert!(me.is_in_tree_of(greenlet) || greenlet.handles() == 1);
    node.head.tree.set(me.node().head.tree.get());
    let former = node.parent.replace(Some(me.clone()));
    let (ending, waits) = (Ending::begin(), Waits::begin(&me));
    let exits = || tree::deliver(greenlet.clone(), Mail::Exit(None), current::frame());
    let mail = coroutine::vouching(exits);
    drop(waits);
    Some(Unwound { former, mail: trace::open(mail), ending })
}

/// What came of unwinding a suspended greenlet.
struct Unwound<T: 'static> {
    /// The parent that it had.
    former: Option<Greenlet<T>>,
    /// What came back to whoever unwound it.
    mail: Mail<T>,
    ending: Ending,
}

/// Says that a greenlet waits for one whose last handle it has dropped. It may be unwinding, and be suspended for the one to
/// end; then the error that this ends with, say, must wake it all the same, for [`settle`] does not throw it there.
struct Waits<T: 'static> {
    me: Greenlet<T>,
    /// It runs destructors on top of such a wait.
    before: bool,
}

impl<T: 'static> Waits<T> {
    fn begin(me: &Greenlet<T>) -> Self {
        Self { me: me.clone(), before: me.node().waits_in_drop.replace(true) }
    }
}

impl<T: 'static> Drop for Waits<T> {
    fn drop(&mut self) {
        self.me.node().waits_in_drop.set(self.before);
    }
}

/// Sets the parent of a greenlet back that was unwound, if that is still possible.
fn restore_parent<T: 'static>(greenlet: &Greenlet<T>, former: Option<Greenlet<T>>) {
    if let Some(former) = former {
        // In another tree, or below it by now: then it keeps the parent it has.
        _ = greenlet.set_parent(&former);
    }
}

/// Ends the mail that came back to the destructor of a handle to the greenlet `name`, of that one or from elsewhere: a drop lets
/// nothing out.
fn settle<T: 'static>(mail: Mail<T>, name: &str, ending: Ending) {
    match mail {
        Mail::Panic(payload) => ending.end(name, payload),
        Mail::Exit(value) => {
            // One that unwinds ends as it is.
            if !tree::is_unwinding::<T>() {
                report(&Report::LostInDrop { name, what: "the exit of the greenlet that dropped it" });
            }
            unwind::drop_quietly(value);
        }
        mail => unwind::drop_quietly(mail),
    }
}

/// Ends a greenlet if that can be done from here: see `Greenlet::kill`.
pub(super) fn kill<T: 'static>(greenlet: &Greenlet<T>) -> bool {
    match greenlet.node().state.get() {
        State::Dead => return true,
        State::Active if !waits_below(greenlet.node()) => return false,
        State::New => {
            greenlet.node().end_unstarted();
            return true;
        }
        State::Active | State::Suspended => {}
    }
    let Some(me) = greenlet.node().tree().locate(current::frame()) else { return false };
    // SAFETY: who was located runs, so it is not freed.
    if greenlet.node().is_in_line_of(unsafe { me.as_ref() }) {
        return false;
    }
    let Some(Unwound { former, mail, ending }) = unwind_waiting(greenlet) else { return false };
    restore_parent(greenlet, former);
    match mail {
        Mail::Nothing => {}
        // Sent by another greenlet to the one that called `kill`, which cannot take it.
        Mail::Value(value) => unwind::drop_quietly(value),
        thrown if tree::is_unwinding::<T>() => settle(thrown, greenlet.name(), ending),
        thrown => _ = tree::obey(thrown),
    }
    greenlet.is_dead()
}
