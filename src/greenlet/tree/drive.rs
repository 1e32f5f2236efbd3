//! How control moves until the mail is with its target.
//!
//! Nobody knows the whole way: each that has control looks at the target, and resumes it or gives way.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::ptr::NonNull;

use super::super::mail::{Failure, Mail};
use super::super::node::{Link, Node, State};
use super::super::{Greenlet, handle, trace};
use super::place::{barrier_below, is_mine_to_reach, is_unwinding, locate};
use super::{MOST_ABOVE_ROOT, Tree};
use crate::coroutine::{Frame, Resumed, current, region, unwind};
use crate::exception::{self, Leaving};

/// Hands `mail` to `to`, or to whoever takes it in its place, and waits until control is back; returns what it brings.
///
/// Users' code may run before the mail is posted.
#[cold]
pub(in crate::greenlet) fn deliver<T: 'static>(to: Greenlet<T>, mail: Mail<T>, top: *const Frame) -> Mail<T> {
    let origin = trace::origin(to.node().tree().locate(top));
    match hand_over(to, mail, origin, None, top) {
        Ok(tree) => go_on(tree, top),
        Err(mail) => mail,
    }
}

/// Moves control until it is back here, on the running frame `top`, after `hand_over` has posted mail in `tree`.
fn go_on<T: 'static>(tree: *const Tree<T>, top: *const Frame) -> Mail<T> {
    // SAFETY: it has mail, so it has a target, which is not freed and has its tree.
    let posted = unsafe { &*tree };
    // We ask only now who runs: this may have changed while users' code ran.
    let me = posted.locate(top);
    // SAFETY: who was located runs, so it is not freed.
    if me.is_some_and(|me| posted.is_for(unsafe { me.as_ref() })) {
        return posted.take();
    }
    // SAFETY: `me` is what the tree says of `top`, the running frame; its target is suspended or within reach.
    unsafe { drive(tree, me, top) }
}

/// Resumes the target `to`, and moves control until the mail of `me`, who runs directly on the running frame `top`, lies
/// in the tree; or until there is mail for another one and `me` is to give way to those below it: then it says true.
///
/// The mail may also be one that this place must throw since nobody else can be given it.
///
/// # Safety
/// - `tree` has mail for `to`, which is suspended, and is the tree of `me`, who runs on `top`.
#[inline(always)]
pub(in crate::greenlet) unsafe fn drive_directly<T: 'static>(
    tree: &Tree<T>,
    mut to: Link<T>,
    me: &Node<T>,
    top: *const Frame,
) -> bool {
    let depth = me.depth.get();
    loop {
        // SAFETY: the target is suspended or active, so it is not freed; nor is it before somebody else has run.
        let target = unsafe { to.as_ref() };
        // SAFETY: it is suspended, so no root, and the target.
        let resumed = unsafe { target.resume(depth + 1) };
        if !came_back_plainly(target, &resumed) {
            // SAFETY: it has just come back to us.
            unsafe { pass_on_and_drive(to, resumed, me, top) };
            return false;
        }
        // It suspended for another target of the same tree, which it was in all the while. We did not move: no
        // generator lies between us and the root of our own stack.
        if tree.is_for(me) {
            return false;
        }
        if depth != 0 {
            return true;
        }
        // SAFETY: there is mail for another.
        to = unsafe { tree.target() };
        // SAFETY: the target is suspended or active, so it is not freed.
        if unsafe { to.as_ref() }.state.get() != State::Suspended {
            tree.put(tree.give_up());
            return false;
        }
    }
}

/// Lets those below `me` find the target, until `me` itself is one: then its mail lies in its tree, which may be another
/// one than before.
///
/// Must be inlined where users' code switches, down to corosensei: a processor predicts where a `ret` goes to by the
/// calls before it, and a suspension that is a call of its own makes it go wrong twice a switch, at 10 ns each. The
/// compiler decides that by how likely it thinks the call is, and does not with two of them side by side.
///
/// # Safety
/// - `me` is no root and on the running chain, `top` is the running frame, and the tree has mail for another.
#[inline(always)]
pub(in crate::greenlet) unsafe fn give_way<T: 'static>(me: &Node<T>, top: *const Frame) {
    if current::panicking() {
        // SAFETY: the caller's promise.
        return unsafe { give_way_in_unwind(me, top) };
    }
    // SAFETY: the caller's promise. Nobody unwinds.
    unsafe { me.suspend_calmly(top) };
}

/// As `give_way`, if somebody on this thread unwinds: then `me` may have to resume the target itself.
///
/// # Safety
/// - As `give_way`.
#[cold]
#[inline(never)]
unsafe fn give_way_in_unwind<T: 'static>(me: &Node<T>, top: *const Frame) {
    // SAFETY: `me` runs on `top`, the running frame; its tree's target is suspended, or within reach.
    let mail = unsafe { drive(me.tree(), Some(NonNull::from(me)), top) };
    me.tree().put(mail);
}

/// Moves control until it is back in `me`, as `drive_directly` does, but from any place: from something nested in `me`,
/// or where nobody of the tree runs.
///
/// # Safety
/// - `tree` has mail for a target that is suspended, or active and within reach of `me`, but not `me`.
/// - `me` is what `tree` says of `top`, which is the running frame.
///
/// Inside a `no_suspend` that was opened on top of `me`, `me` does as a root would: it resumes, and never suspends.
#[cold]
pub(in crate::greenlet) unsafe fn drive<T: 'static>(
    mut tree: *const Tree<T>,
    mut me: Option<Link<T>>,
    top: *const Frame,
) -> Mail<T> {
    // How many may stand above the root if we resume the target.
    let mut most = MOST_ABOVE_ROOT;
    loop {
        // SAFETY: a tree with mail is not freed: its target is not.
        let here = unsafe { &*tree };
        // SAFETY: there is mail.
        let link = unsafe { here.target() };
        // SAFETY: the target is suspended or active, so it is not freed; nor is it before somebody else has run.
        let to = unsafe { link.as_ref() };
        // SAFETY: who was located runs, so it is not freed.
        let depth = me.map_or(0, |me| unsafe { depth_inside(me, top) });
        // SAFETY: as above.
        let gives_way = depth > 0 && !unsafe { is_to_resume(me, top, link, depth < most) };
        if to.state.get() != State::Suspended || gives_way {
            let Some(me) = me.filter(|_| depth != 0) else { return here.give_up() };
            // SAFETY: it was located at `top`, the running frame, so it is not freed.
            let me = unsafe { me.as_ref() };
            // SAFETY: it runs on `top`, and is no root.
            unsafe { me.suspend(top) };
            return match me.tree().take() {
                Mail::Trace(place) => show(place, me, top),
                mail => mail,
            };
        }
        // Saturating: greenlets in regions stand on each other without a limit.
        // SAFETY: it is suspended, so no root, and the target.
        let resumed = unsafe { to.resume(depth.saturating_add(1)) };
        most = 0;
        if !came_back_plainly(to, &resumed) {
            // SAFETY: it has just come back to us.
            tree = match unsafe { pass_on(link, resumed, top) } {
                Ok(tree) => tree,
                Err(mail) => return mail,
            };
            most = MOST_ABOVE_ROOT;
        }
        // SAFETY: a tree with mail is not freed.
        let here = unsafe { &*tree };
        me = here.locate(top);
        // SAFETY: who was located runs, so it is not freed.
        if me.is_some_and(|me| here.is_for(unsafe { me.as_ref() })) {
            return here.take();
        }
    }
}

/// The stack that a suspended greenlet waits on. It is resumed for it, and suspends again where it was.
#[cold]
pub(in crate::greenlet) fn look<T: 'static>(at: &Greenlet<T>) -> Option<Backtrace> {
    let node = at.node();
    if node.state.get() != State::Suspended {
        return None;
    }
    let taken = Cell::new(None);
    node.tree().post(at.link(), Mail::Trace(&raw const taken));
    // SAFETY: it is suspended, so no root, and the target.
    let resumed = unsafe { node.resume(node.depth.get()) };
    debug_assert!(matches!(resumed, Resumed::Suspended(())), "it suspends again, and runs no code of users");
    taken.into_inner()
}

/// Leaves the stack that was asked for to whoever asked, and waits on; returns the mail that is for `me`, who has just been
/// resumed on `top`, the running frame.
#[cold]
fn show<T: 'static>(mut place: *const Cell<Option<Backtrace>>, me: &Node<T>, top: *const Frame) -> Mail<T> {
    loop {
        // SAFETY: whoever asked waits for it.
        unsafe { &*place }.set(Some(Backtrace::force_capture()));
        // SAFETY: it is no root, for it was resumed, and runs on `top`. Whoever asked looks at no mail.
        unsafe { me.suspend(top) };
        match me.tree().take() {
            Mail::Trace(next) => place = next,
            mail => return mail,
        }
    }
}

/// Whether `me`, who may give way, is to resume `to` itself: if it `is_near` the root, and does not descend from `to`; but from
/// inside a region of its own, whoever descends from it, and nobody else. For a region holds for what runs on top of it, and its expiry, thrown there,
/// must arrive where it was opened: what leaves a greenlet goes on in its parent.
///
/// In the middle of its own unwind, too, it resumes whoever descends from it: suspended it could be given nothing that
/// unwinds, and what they end with is for it.
///
/// # Safety
/// - `me`, if any, was located at `top`, which is the running frame; `to` is alive.
unsafe fn is_to_resume<T: 'static>(me: Option<Link<T>>, top: *const Frame, to: Link<T>, is_near: bool) -> bool {
    let Some(link) = me else { return is_near };
    // SAFETY: who was located runs, so it is not freed.
    let node = unsafe { link.as_ref() };
    // SAFETY: it is alive.
    let to = unsafe { to.as_ref() };
    let descends = || to.descends_from(node);
    // SAFETY: a greenlet that was located is on the way from `top` down.
    if unsafe { region::is_open_between(top, &raw const node.head.frame) } {
        return descends();
    }
    is_near && !node.descends_from(to)
        || current::panicking() && unwind::is_chain_unwinding(&raw const node.head.frame) && descends()
}

/// How many stand below `me`, as far as it may give way to them: none inside a `no_suspend` that was opened on top of it.
///
/// # Safety
/// - `me` was located at `top`, which is the running frame.
unsafe fn depth_inside<T: 'static>(me: Link<T>, top: *const Frame) -> u8 {
    // SAFETY: who was located runs, so it is not freed.
    let node = unsafe { me.as_ref() };
    // SAFETY: a greenlet that was located is on the way from `top` down; a root is looked for no further than it takes.
    let is_barred =
        node.depth.get() != 0 && unsafe { region::barrier_between(top, &raw const node.head.frame) }.is_some();
    if is_barred { 0 } else { node.depth.get() }
}

/// Whether `to` suspended, having handles: then the hand-over goes on as it is.
#[inline(always)]
fn came_back_plainly<T>(to: &Node<T>, resumed: &Resumed<()>) -> bool {
    matches!(resumed, Resumed::Suspended(())) && !to.orphan.get()
}

/// The rest of `drive_directly` after somebody has ended.
///
/// # Safety
/// - As `pass_on`; `me` runs on `top`, the running frame.
#[cold]
#[inline(never)]
unsafe fn pass_on_and_drive<T: 'static>(from: Link<T>, resumed: Resumed<()>, me: &Node<T>, top: *const Frame) {
    // SAFETY: the caller's promise.
    let mail = match unsafe { pass_on(from, resumed, top) } {
        Ok(tree) => go_on(tree, top),
        Err(mail) => mail,
    };
    me.tree().put(mail);
}

/// Goes on with the hand-over after `from` came back ended, or suspended and without handles. Returns the tree that has
/// the mail now, or what the caller must throw. Users' code may run.
///
/// # Safety
/// - `from` has just come back to the caller, who resumed it, and its tree has the mail that it left.
#[cold]
#[inline(never)]
unsafe fn pass_on<T: 'static>(
    from: Link<T>,
    resumed: Resumed<()>,
    top: *const Frame,
) -> Result<*const Tree<T>, Mail<T>> {
    // SAFETY: it was active until it came back, so it is not freed.
    let node = unsafe { from.as_ref() };
    let (mut origin, mail) = node.tree().take().apart();
    let taker = match resumed {
        Resumed::Suspended(()) => {
            let target = node.tree().target.get().cast_mut();
            // SAFETY: the target is not freed.
            unsafe { Greenlet::of_link(NonNull::new_unchecked(target)) }
        }
        Resumed::Returned => {
            node.retire();
            origin = trace::origin(Some(from));
            node.parent().expect("only a root has no parent, and no root is resumed")
        }
    };
    // SAFETY: an orphan's count was left to us.
    let orphan = node.orphan.replace(false).then(|| unsafe { Greenlet::of_count(from) });
    match mail {
        // The close of a generator in which we have resumed the one that has ended: it is on its way to that one, here.
        Mail::Panic(payload) if Leaving::of(&payload).is_some_and(Leaving::closes_on_chain) => {
            Err(Mail::Panic(payload))
        }
        mail => hand_over(taker, mail, origin, orphan, top),
    }
}

/// Posts `mail` for `to`, or for whoever takes it in its place: its nearest living ancestor, which is started if it is
/// new. Returns the tree that has the mail now, or what the caller must throw. Users' code may run before it is posted.
/// `origin` is who it comes from, if that is to be told; `orphan` that one again, if it is to be ended where it arrives.
#[cold]
fn hand_over<T: 'static>(
    mut to: Greenlet<T>,
    mut mail: Mail<T>,
    mut origin: Option<Greenlet<T>>,
    orphan: Option<Greenlet<T>>,
    top: *const Frame,
) -> Result<*const Tree<T>, Mail<T>> {
    loop {
        let node = to.node();
        match node.state.get() {
            State::Suspended if !mail.is_thrown() || node.takes_what_is_thrown() => break,
            State::Active if is_mine_to_reach(top, node) => break,
            State::Active => return Err(mail.undeliverable(out_of_reach(top, node))),
            State::New if matches!(mail, Mail::Value(_)) => match Node::prepare(to.link()) {
                Ok(()) => break,
                Err(error) => {
                    unwind::drop_quietly(std::mem::replace(&mut mail, Mail::Failed(Failure::NoStack(error))));
                    continue;
                }
            },
            State::New => {
                if let Some(from) = origin.clone() {
                    if let Err(payload) = trace::tell(from, to.clone(), true) {
                        unwind::drop_quietly(std::mem::replace(&mut mail, Mail::Panic(payload)));
                    }
                    if node.state.get() != State::New {
                        // The tracer has started it.
                        continue;
                    }
                    origin = Some(to.clone());
                }
                node.end_unstarted();
            }
            State::Suspended | State::Dead => {}
        }
        mail = mail.passed_on();
        let Some(parent) = to.node().parent() else {
            return Err(mail.undeliverable(Failure::RootEnded));
        };
        to = parent;
    }
    let tree: *const Tree<T> = to.node().tree();
    to.node().tree().post(to.link(), mail.from(origin).releasing(orphan));
    handle::keep_until_suspended(to);
    Ok(tree)
}

/// Why an active greenlet cannot be given its child's end here.
#[cold]
fn out_of_reach<T: 'static>(top: *const Frame, node: &Node<T>) -> Failure {
    let me = node.tree().locate(top);
    // SAFETY: it was located at `top`, the running frame.
    match me.and_then(|me| unsafe { barrier_below(me, top) }) {
        Some(opened) => Failure::ParentBarred(opened),
        None => Failure::ParentParked,
    }
}

/// Does what came back to a switch: returns the value, or unwinds.
#[inline]
pub(in crate::greenlet) fn obey<T: 'static>(mail: Mail<T>) -> T {
    match mail {
        Mail::Value(value) => value,
        mail => obey_other(mail),
    }
}

#[cold]
fn obey_other<T: 'static>(mail: Mail<T>) -> T {
    match mail {
        // A destructor that an unwind runs has switched, and the one it switched to asks for what is happening already.
        Mail::Exit(Some(value)) if is_unwinding::<T>() => value,
        Mail::Exit(value) => leave(value),
        Mail::Panic(payload) => exception::go_on(payload),
        Mail::Failed(failure) => panic!("{failure}"),
        traced @ (Mail::Traced(_) | Mail::Releasing(_)) => obey(trace::open(traced)),
        Mail::Trace(place) => {
            let top = current::frame();
            let me = locate::<T>(top).expect("it was resumed with mail");
            // SAFETY: who was located runs, so it is not freed.
            obey(show(place, unsafe { me.as_ref() }, top))
        }
        Mail::Nothing | Mail::Value(_) => panic!("{}", Failure::NoValue),
    }
}

/// Unwinds the running greenlet of `T`, with a value for its parent.
#[cold]
pub(in crate::greenlet) fn leave<T: 'static>(value: Option<T>) -> ! {
    match locate::<T>(current::frame()) {
        // SAFETY: who was located runs, so it is not freed.
        Some(me) => unsafe { me.as_ref() }.leave(value),
        None => panic!("`exit` is for code that runs in a greenlet, and no greenlet of that type runs"),
    }
}
