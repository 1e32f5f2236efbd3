//! Who runs, and who is within reach.
//!
//! Who runs is read off the chain of frames, never kept: [`locate`]. A generator is part of whoever resumed it, and can be
//! suspended with greenlets parked on top of it and resumed by somebody else, in another greenlet or in none of this
//! tree. So a `drive` that runs on a generator's stack asks anew who it is after each resume. If it is nobody, it goes
//! on as a root would, and if the target is out of its reach it panics where it stands.

use std::panic::Location;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use super::super::Greenlet;
use super::super::node::{self, Head, Link, Node};
use super::link_of;
use crate::coroutine::{Frame, current, region, unwind};

/// Who runs on the chain that begins with `from`: the innermost greenlet of `T`'s innermost tree.
///
/// The way leads from each greenlet of another type to the context of its tree's root, passing over what happens to lie
/// between: whether a greenlet was resumed by a sibling or by its root must not change what it sees. `None` if there
/// is no such tree, or if that context is not on the chain.
///
/// A greenlet that is found is on the chain.
pub(in crate::greenlet) fn locate<T: 'static>(from: *const Frame) -> Option<Link<T>> {
    // The context to walk on to, if we are not in one.
    let mut wanted = None;
    let mut next = from;
    loop {
        let found = wanted.is_none_or(|context| ptr::eq(context, next));
        // SAFETY: `from` is a frame of the running chain or null, and so are their resumers up to a base.
        let Some(frame) = (unsafe { next.as_ref() }) else {
            let root = current::find_tree_of_thread::<Node<T>>().filter(|_| found)?;
            return NonNull::new(Rc::as_ptr(&root).cast_mut());
        };
        if found {
            wanted = None;
            if let Some(root) = frame.trees.find::<Node<T>>() {
                return NonNull::new(Rc::as_ptr(&root).cast_mut());
            }
            // SAFETY: the frame is on the chain.
            if let Some(head) = unsafe { Head::of(next) } {
                // SAFETY: a node has its tree, see `node`.
                let tree = unsafe { &*head.tree.get() };
                if tree.nodes == node::type_of::<T>() {
                    return Some(link_of(next));
                }
                wanted = Some(tree.context.get());
            }
        }
        if frame.is_base() {
            return None;
        }
        next = frame.resumer.get();
    }
}

/// The running greenlet of `T`, or the root of its innermost tree; `None` where there is no tree.
pub(in crate::greenlet) fn running<T: 'static>() -> Option<Greenlet<T>> {
    // SAFETY: it runs, or is the root of a context that does, so it is not freed.
    locate::<T>(current::frame()).map(|me| unsafe { Greenlet::of_link(me) })
}

/// The running greenlet of `T`, or a new root for the innermost context.
///
/// `None` when the thread is past its end, and `T` has no tree that runs.
pub(in crate::greenlet) fn current_or_root<T: 'static>() -> Option<Greenlet<T>> {
    let running = running();
    if running.is_some() {
        return running;
    }
    let context = context_of(current::frame());
    let root = Node::<T>::new_root(context);
    // SAFETY: null, or a frame of the running chain.
    match unsafe { context.as_ref() } {
        Some(frame) => frame.trees.add(root.clone()),
        None if current::add_tree_of_thread(root.clone()) => {}
        None => return None,
    }
    Some(Greenlet::of_node(root))
}

/// The context that runs code on `top`: the innermost frame that is no generator's, or null for the thread.
fn context_of(top: *const Frame) -> *const Frame {
    let mut next = top;
    // SAFETY: `top` is the running frame or null, and so are the resumers up to a base.
    while let Some(frame) = unsafe { next.as_ref() } {
        if frame.is_base() || frame.is_greenlet() {
            break;
        }
        next = frame.resumer.get();
    }
    next
}

/// Whether `target`, which is active, is within reach of whoever runs at `top`, the running frame.
pub(super) fn is_mine_to_reach<T: 'static>(top: *const Frame, target: &Node<T>) -> bool {
    // SAFETY: who was located is on the running chain.
    target.tree().locate(top).is_some_and(|me| unsafe { is_within_reach(me, top, target) })
}

/// Whether `target`, which is active, gets control if `me`, who runs, suspends, and then each that has it. Nobody
/// suspends through `no_suspend`.
///
/// # Safety
/// - `me` was located at `top`, which is the running frame or one below it.
#[cold]
pub(in crate::greenlet) unsafe fn is_within_reach<T: 'static>(
    me: Link<T>,
    mut top: *const Frame,
    target: &Node<T>,
) -> bool {
    let mut at = me;
    loop {
        if ptr::eq(at.as_ptr(), target) {
            return true;
        }
        // SAFETY: `at` is on the running chain.
        let node = unsafe { at.as_ref() };
        // SAFETY: it was located at `top`.
        if node.is_root() || unsafe { region::barrier_between(top, &raw const node.head.frame) }.is_some() {
            return false;
        }
        // Suspended, it gives control to the `drive` that resumed it, which then asks who it is.
        top = node.head.frame.resumer.get();
        match node.tree().locate(top) {
            Some(below) => at = below,
            None => return false,
        }
    }
}

/// Where the `no_suspend` was opened that is on the way from `top` down to what `me` stands on.
///
/// # Safety
/// - As `is_within_reach`.
#[cold]
pub(in crate::greenlet) unsafe fn barrier_below<T: 'static>(
    me: Link<T>,
    mut top: *const Frame,
) -> Option<&'static Location<'static>> {
    let mut at = Some(me);
    while let Some(me) = at {
        // SAFETY: `at` is on the running chain.
        let node = unsafe { me.as_ref() };
        if node.is_root() {
            break;
        }
        // SAFETY: it was located at `top`.
        if let Some(opened) = unsafe { region::barrier_between(top, &raw const node.head.frame) } {
            return Some(opened);
        }
        top = node.head.frame.resumer.get();
        at = node.tree().locate(top);
    }
    None
}

/// Whether `target`, which is active and on the running chain, waits in the middle of an unwind.
#[cold]
pub(in crate::greenlet) fn waits_unwinding<T: 'static>(target: &Node<T>) -> bool {
    unwind::is_context_unwinding(context_of_node(target))
}

/// Whether the running greenlet of `T`, or the root of its tree, is in the middle of an unwind: then nothing can be thrown
/// here.
pub(in crate::greenlet) fn is_unwinding<T: 'static>() -> bool {
    current::panicking()
        && locate::<T>(current::frame()).is_none_or(|me| {
            // SAFETY: who was located runs, so it is not freed.
            unwind::is_chain_unwinding(context_of_node(unsafe { me.as_ref() }))
        })
}

/// The frame that code of `node` runs on or above: the greenlet's own; of a root its context's, or null for the thread.
fn context_of_node<T: 'static>(node: &Node<T>) -> *const Frame {
    if node.is_root() { node.tree().head.context.get() } else { &raw const node.head.frame }
}
