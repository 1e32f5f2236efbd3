//! A tree of greenlets, and how control moves in it.
//!
//! A switch posts its mail and its target in the tree and calls [`drive`]. Every greenlet that waits in a switch waits
//! in `drive`: either suspended, or below one that it resumed. Whoever gets control looks at the target and does one of
//! three things:
//!
//! ```text
//!   root ──resumed──▶ A ──resumed──▶ B         B switches to …
//!
//!     A (below B):     B suspends; A, in its own `drive`, is the target and takes the mail
//!     C (suspended):   two greenlets stand above the root already, so B suspends, A suspends, the root resumes C
//!   A switches to C:   A resumes C right there
//! ```
//!
//! So two greenlets that talk to each other cost one round trip per pair of switches, and no switch costs more than two
//! suspends and a resume. When a greenlet ends, whoever resumed it passes its mail on to its parent in the same way.
//!
//! # Who runs
//! That is read off the chain of frames, never kept: [`locate`]. A generator is part of whoever resumed it, and can be
//! suspended with greenlets parked on top of it and resumed by somebody else, in another greenlet or in none of this
//! tree. So a `drive` that runs on a generator's stack asks anew who it is after each resume. If it is nobody, it goes
//! on as a root would, and if the target is out of its reach it panics where it stands.
//!
//! # Invariants
//! - No code of users runs between posting mail and taking it. What must run some (the drop of a handle) takes the mail
//!   out first, holds a handle to its taker, and posts it anew.
//! - The target is suspended, or active and within reach: it gets control if each that has it suspends in turn.
//! - A greenlet suspends only when its tree's target is another one, and is resumed only as the target.

use std::any::TypeId;
use std::backtrace::Backtrace;
use std::cell::{Cell, UnsafeCell};
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use super::mail::{Failure, Mail};
use super::node::{self, Head, Link, Node, State};
use super::{Greenlet, handle, trace};
use crate::coroutine::{Frame, Resumed, current, region, unwind};
use crate::exception;

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

    /// Whether `me`, who runs, is to resume `to` itself: the switch is `drive_directly`.
    #[inline(always)]
    pub(super) fn may_resume(me: &Node<T>, to: &Node<T>) -> bool {
        to.state.get() == State::Suspended && me.depth.get() < MOST_ABOVE_ROOT
    }

    /// Whether those below `me`, who runs, surely know what to do about `to` if `me` gives way to them.
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

/// Who runs on the chain that begins with `from`: the innermost greenlet of `T`'s innermost tree.
///
/// The way leads from each greenlet of another type to the context of its tree's root, passing over what happens to lie
/// between: whether a greenlet was resumed by a sibling or by its root must not change what it sees. `None` if there
/// is no such tree, or if that context is not on the chain.
///
/// A greenlet that is found is on the chain.
pub(super) fn locate<T: 'static>(from: *const Frame) -> Option<Link<T>> {
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
pub(super) fn running<T: 'static>() -> Option<Greenlet<T>> {
    // SAFETY: it runs, or is the root of a context that does, so it is not freed.
    locate::<T>(current::frame()).map(|me| unsafe { Greenlet::of_link(me) })
}

/// The running greenlet of `T`, or a new root for the innermost context.
///
/// `None` when the thread is past its end, and `T` has no tree that runs.
pub(super) fn current_or_root<T: 'static>() -> Option<Greenlet<T>> {
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
fn is_mine_to_reach<T: 'static>(top: *const Frame, target: &Node<T>) -> bool {
    // SAFETY: who was located is on the running chain.
    target.tree().locate(top).is_some_and(|me| unsafe { is_within_reach(me, top, target) })
}

/// Whether `target`, which is active, gets control if `me`, who runs, suspends, and then each that has it. Nobody
/// suspends through `no_suspend`.
///
/// # Safety
/// - `me` was located at `top`, which is the running frame or one below it.
#[cold]
pub(super) unsafe fn is_within_reach<T: 'static>(me: Link<T>, mut top: *const Frame, target: &Node<T>) -> bool {
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
pub(super) unsafe fn barrier_below<T: 'static>(
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
pub(super) fn waits_unwinding<T: 'static>(target: &Node<T>) -> bool {
    let context = if target.is_root() { target.tree().head.context.get() } else { &raw const target.head.frame };
    unwind::is_context_unwinding(context)
}

/// Hands `mail` to `to`, or to whoever takes it in its place, and waits until control is back; returns what it brings.
///
/// Users' code may run before the mail is posted.
#[cold]
pub(super) fn deliver<T: 'static>(to: Greenlet<T>, mail: Mail<T>, top: *const Frame) -> Mail<T> {
    let origin = trace::origin(to.node().tree().locate(top));
    match hand_over(to, mail, origin, top) {
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
pub(super) unsafe fn drive_directly<T: 'static>(
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
pub(super) unsafe fn give_way<T: 'static>(me: &Node<T>, top: *const Frame) {
    // SAFETY: the caller's promise.
    unsafe { me.suspend(top) };
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
pub(super) unsafe fn drive<T: 'static>(
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
            unsafe { give_way(me, top) };
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
pub(super) fn look<T: 'static>(at: &Greenlet<T>) -> Option<Backtrace> {
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
        unsafe { give_way(me, top) };
        match me.tree().take() {
            Mail::Trace(next) => place = next,
            mail => return mail,
        }
    }
}

/// Whether `me`, who may give way, is to resume `to` itself: if it `is_near` the root; but from inside a region of its own,
/// whoever descends from it, and nobody else. For a region holds for what runs on top of it, and its expiry, thrown there,
/// must arrive where it was opened: what leaves a greenlet goes on in its parent.
///
/// # Safety
/// - `me`, if any, was located at `top`, which is the running frame; `to` is alive.
unsafe fn is_to_resume<T: 'static>(me: Option<Link<T>>, top: *const Frame, to: Link<T>, is_near: bool) -> bool {
    // SAFETY: who was located runs, so it is not freed; a greenlet is on the way from `top` down.
    match me.filter(|me| unsafe { region::is_open_between(top, &raw const me.as_ref().head.frame) }) {
        // SAFETY: both are alive.
        Some(me) => unsafe { Greenlet::of_link(me).is_in_line_of(&Greenlet::of_link(to)) },
        None => is_near,
    }
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
    if node.orphan.replace(false) {
        // SAFETY: an orphan's count was left to us.
        drop(unsafe { Greenlet::of_count(from) });
    }
    hand_over(taker, mail, origin, top)
}

/// Posts `mail` for `to`, or for whoever takes it in its place: its nearest living ancestor, which is started if it is
/// new. Returns the tree that has the mail now, or what the caller must throw. Users' code may run before it is posted.
/// `origin` is who it comes from, if that is to be told.
#[cold]
fn hand_over<T: 'static>(
    mut to: Greenlet<T>,
    mut mail: Mail<T>,
    origin: Option<Greenlet<T>>,
    top: *const Frame,
) -> Result<*const Tree<T>, Mail<T>> {
    loop {
        let node = to.node();
        match node.state.get() {
            State::Suspended if !(mail.is_thrown() && node.takes_only_values.get()) => break,
            State::Active if is_mine_to_reach(top, node) => break,
            State::Active => return Err(mail.undeliverable(Failure::ParentParked)),
            State::New if matches!(mail, Mail::Value(_)) => match Node::prepare(to.link()) {
                Ok(()) => break,
                Err(error) => {
                    unwind::drop_quietly(std::mem::replace(&mut mail, Mail::Failed(Failure::NoStack(error))));
                    continue;
                }
            },
            State::New => node.end_unstarted(),
            State::Suspended | State::Dead => {}
        }
        mail = mail.passed_on();
        let Some(parent) = to.node().parent() else {
            return Err(mail.undeliverable(Failure::RootEnded));
        };
        to = parent;
    }
    let tree: *const Tree<T> = to.node().tree();
    to.node().tree().post(to.link(), mail.from(origin));
    handle::keep_until_suspended(to);
    Ok(tree)
}

/// Does what came back to a switch: returns the value, or unwinds.
#[inline]
pub(super) fn obey<T: 'static>(mail: Mail<T>) -> T {
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
        traced @ Mail::Traced(_) => obey(trace::open(traced)),
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
pub(super) fn leave<T: 'static>(value: Option<T>) -> ! {
    match locate::<T>(current::frame()) {
        // SAFETY: who was located runs, so it is not freed.
        Some(me) => unsafe { me.as_ref() }.leave(value),
        None => panic!("`exit` is for code that runs in a greenlet, and no greenlet of that type runs"),
    }
}

/// Whether the running greenlet of `T` is in the middle of an unwind: then nothing can be thrown here.
pub(super) fn is_unwinding<T: 'static>() -> bool {
    current::panicking()
        && locate::<T>(current::frame()).is_none_or(|me| {
            // SAFETY: who was located runs, so it is not freed.
            let node = unsafe { me.as_ref() };
            // A root may be a plain thread, of which the books say nothing.
            node.is_root() || unwind::is_chain_unwinding(&node.head.frame)
        })
}
