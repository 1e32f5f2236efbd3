//! Tracing: a function that is told of every switch.
//!
//! Whoever posts mail while a tracer is set wraps it with a handle to itself, and whoever takes wrapped mail tells the
//! tracer before the mail does anything. So a switch that is not traced pays for one look at a flag of the thread, and
//! nothing at its end.
//!
//! # Invariants
//! - `Mail::Traced` is wrapped in nothing but `Mail::Releasing`, and whoever takes mail to look at it opens it or takes it apart
//!   first.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use super::mail::Mail;
use super::node::Link;
use super::{Greenlet, tree};
use crate::coroutine::{current, unwind};

/// A function that is told of every switch of its thread: see [`set_trace`].
pub type Tracer = Rc<dyn Fn(&Event)>;

/// A switch that has just happened, as a [tracer](set_trace) sees it.
#[derive(Clone, Debug)]
pub enum Event {
    /// `target` goes on, or begins, with a value.
    Switch {
        /// Who switched, or ended.
        origin: AnyGreenlet,
        /// Who runs now.
        target: AnyGreenlet,
    },
    /// Something is thrown in `target`: an exception, an exit, or the panic of a child.
    Throw {
        /// Who threw, or ended.
        origin: AnyGreenlet,
        /// Who runs now, and is about to unwind.
        target: AnyGreenlet,
    },
}

impl Event {
    /// Who switched, threw, or ended.
    pub fn origin(&self) -> &AnyGreenlet {
        let (Self::Switch { origin, .. } | Self::Throw { origin, .. }) = self;
        origin
    }

    /// Who runs now: the tracer runs in it.
    pub fn target(&self) -> &AnyGreenlet {
        let (Self::Switch { target, .. } | Self::Throw { target, .. }) = self;
        target
    }

    /// Whether it is a [`Throw`](Self::Throw).
    pub fn is_throw(&self) -> bool {
        matches!(self, Self::Throw { .. })
    }
}

/// A handle to a greenlet of any tree. It compares with a [`Greenlet`], and keeps the greenlet alive as one does.
pub struct AnyGreenlet {
    handle: Box<dyn Handle>,
}

impl AnyGreenlet {
    /// The name given to the builder, else the body's type; `root` for a root.
    pub fn name(&self) -> &str {
        self.handle.name()
    }

    /// The greenlet, if it is one of a tree of `T`.
    pub fn downcast_ref<T: 'static>(&self) -> Option<&Greenlet<T>> {
        (&*self.handle as &dyn Any).downcast_ref()
    }
}

impl Clone for AnyGreenlet {
    fn clone(&self) -> Self {
        self.handle.another()
    }
}

impl PartialEq for AnyGreenlet {
    /// Whether both are handles to one greenlet.
    fn eq(&self, other: &Self) -> bool {
        self.handle.address() == other.handle.address()
    }
}

impl Eq for AnyGreenlet {}

impl<T: 'static> PartialEq<Greenlet<T>> for AnyGreenlet {
    fn eq(&self, other: &Greenlet<T>) -> bool {
        self.downcast_ref() == Some(other)
    }
}

impl<T: 'static> From<Greenlet<T>> for AnyGreenlet {
    fn from(greenlet: Greenlet<T>) -> Self {
        Self { handle: Box::new(greenlet) }
    }
}

impl fmt::Debug for AnyGreenlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

/// A `Greenlet<T>` of some `T`.
trait Handle: Any + fmt::Debug {
    fn name(&self) -> &str;
    fn another(&self) -> AnyGreenlet;
    fn address(&self) -> usize;
}

impl<T: 'static> Handle for Greenlet<T> {
    fn name(&self) -> &str {
        Self::name(self)
    }

    fn another(&self) -> AnyGreenlet {
        self.clone().into()
    }

    fn address(&self) -> usize {
        self.link().addr().get()
    }
}

/// Sets the function that is told of every switch of this thread, or none; returns the one before. Python's `settrace`.
///
/// It is told of each switch, throw and end, also of a switch to oneself. It runs in the greenlet that control has come
/// to, before that one's switch returns or its body begins; what it raises, or panics with, comes out there in place of
/// what was switched with, and removes it. Where something is thrown into a body that has not begun, and ends unrun, it is
/// told before that, by whoever threw.
///
/// It may switch itself, of which it is told again.
///
/// # Examples
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
/// use osier::greenlet::{self, Event, Greenlet};
///
/// let log = Rc::new(RefCell::new(Vec::new()));
/// greenlet::set_trace(Some(Rc::new({
///     let log = log.clone();
///     move |event: &Event| log.borrow_mut().push(format!("{} -> {}", event.origin().name(), event.target().name()))
/// })));
/// let double = Greenlet::builder(|n: u32| 2 * n).name("double").build();
/// assert_eq!(double.switch(21), 42);
/// greenlet::set_trace(None);
/// assert_eq!(*log.borrow(), ["root -> double", "double -> root"]);
/// ```
pub fn set_trace(tracer: Option<Tracer>) -> Option<Tracer> {
    let tracer = tracer.map(|tracer| Rc::new(tracer) as Rc<dyn Any>);
    current::set_tracer(tracer).and_then(unpack)
}

/// The function that is told of every switch of this thread: Python's `gettrace`.
pub fn trace() -> Option<Tracer> {
    current::tracer().and_then(unpack)
}

fn unpack(tracer: Rc<dyn Any>) -> Option<Tracer> {
    tracer.downcast_ref::<Tracer>().cloned()
}

/// Who mail comes from, if that is to be told: `me`, who runs.
#[inline]
pub(super) fn origin<T: 'static>(me: Option<Link<T>>) -> Option<Greenlet<T>> {
    if !current::is_traced() {
        return None;
    }
    // SAFETY: who runs is not freed.
    me.map(|me| unsafe { Greenlet::of_link(me) })
}

/// Tells the tracer of mail that has just been taken, if it is to be told, and ends the one it comes from, if nobody holds
/// that any more; returns what the mail says, or what the tracer raised.
///
/// Runs users' code, which does not unwind out of here.
pub(super) fn open<T: 'static>(mail: Mail<T>) -> Mail<T> {
    if let Mail::Releasing(releasing) = mail {
        let (orphan, mail) = *releasing;
        let mail = open(mail);
        drop(orphan);
        return mail;
    }
    let (origin, mail) = mail.apart();
    let Some(origin) = origin else { return mail };
    let told = match tree::running() {
        Some(me) => tell(origin, me, mail.is_thrown()),
        None => Ok(()),
    };
    match told {
        Ok(()) => mail,
        // Nothing can be thrown here; the panic hook has shown a panic.
        Err(payload) if tree::is_unwinding::<T>() => {
            unwind::drop_quietly(payload);
            mail
        }
        Err(payload) => {
            unwind::drop_quietly(mail);
            Mail::Panic(payload)
        }
    }
}

/// Tells the tracer that control has come from `origin` to `target`, which runs, or ends unrun. Removes a tracer that unwinds,
/// and gives what it raised.
#[cold]
pub(super) fn tell<T: 'static>(
    origin: Greenlet<T>,
    target: Greenlet<T>,
    is_throw: bool,
) -> Result<(), unwind::Payload> {
    let packed = current::tracer();
    let Some(tracer) = packed.clone().and_then(unpack) else { return Ok(()) };
    let (origin, target) = (origin.into(), target.into());
    let event = if is_throw { Event::Throw { origin, target } } else { Event::Switch { origin, target } };
    let told = unwind::intercept(|| tracer(&event));
    let is_still_set = || current::tracer().zip(packed).is_some_and(|(now, told)| Rc::ptr_eq(&now, &told));
    if told.is_err() && is_still_set() {
        unwind::drop_quietly(current::set_tracer(None));
    }
    told
}
