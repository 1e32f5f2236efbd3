//! Task locals: variables of which every running greenlet, task and thread has a value of its own.
//!
//! The values of one context lie in a table in its frame, a thread's in a thread-local. They are dropped when the context
//! ends: a task's by the task itself, before anybody learns that it has ended, so their destructors may wait. A cancel does
//! not end those waits, neither the one that the context has unwound for nor a later one.
//!
//! # Invariants
//! - A value is counted, and whoever uses one holds a count: a generator may carry a borrow past the end of its task.
//! - No code of users runs while a table is borrowed.

use std::any::Any;
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::current::{self, Frame};
use super::region;
use super::unwind::{self, Payload};

/// How often the destructors of a context's values may make new values, before those are leaked.
const ROUNDS: usize = 8;

/// Whether any value was made that tasks inherit, so that spawning need not look otherwise.
static ANY_INHERITED: AtomicBool = AtomicBool::new(false);

/// Declares variables of which every running greenlet has a value, else every task, else every thread: gevent's `local`.
/// A generator shares the value of whoever resumes it.
///
/// Written like `thread_local!`; each name becomes a static [`LocalKey`]. A value is made by the expression when it is first
/// used, and dropped when its greenlet, task or thread ends. With `inherit` in front of `static`, tasks that are spawned and
/// greenlets that are made begin with a clone of the value that their maker has, if it has one; it must be
/// `Clone + Send` then.
///
/// # Examples
/// ```
/// use std::cell::Cell;
///
/// osier::task_local! {
///     static DEPTH: Cell<u32> = Cell::new(0);
///     inherit static REQUEST: String = "none".to_owned();
/// }
///
/// # #[cfg(feature = "runtime")]
/// osier::run(|| {
///     DEPTH.with(|depth| depth.set(1));
///     REQUEST.set("request 7".to_owned());
///     let child = osier::spawn(|| (DEPTH.with(Cell::get), REQUEST.get()));
///     assert_eq!(child.join().unwrap(), (0, "request 7".to_owned()));
///     assert_eq!(DEPTH.with(Cell::get), 1);
/// });
/// ```
///
/// What tasks inherit goes to another thread:
/// ```compile_fail
/// osier::task_local! { inherit static SHARED: std::rc::Rc<u32> = std::rc::Rc::new(1); }
/// ```
#[macro_export]
macro_rules! task_local {
    () => {};
    ($(#[$meta:meta])* $vis:vis inherit static $name:ident : $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$meta])* $vis static $name: $crate::LocalKey<$type> = $crate::LocalKey::__inherited(|| $init);
        $($crate::task_local! { $($rest)* })?
    };
    ($(#[$meta:meta])* $vis:vis static $name:ident : $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$meta])* $vis static $name: $crate::LocalKey<$type> = $crate::LocalKey::__own(|| $init);
        $($crate::task_local! { $($rest)* })?
    };
}

/// A variable declared by [`task_local!`](crate::task_local).
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
    inherit: Option<Inherit>,
}

/// How a value gets into another context, perhaps on another thread.
#[derive(Clone, Copy)]
struct Inherit {
    copy: fn(&dyn Any) -> Box<dyn Any + Send>,
    adopt: fn(Box<dyn Any + Send>) -> Rc<dyn Any>,
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn __own(init: fn() -> T) -> Self {
        Self { init, inherit: None }
    }

    #[doc(hidden)]
    pub const fn __inherited(init: fn() -> T) -> Self
    where
        T: Clone + Send,
    {
        fn value<T: 'static>(any: &dyn Any) -> &T {
            any.downcast_ref().expect("a key has values of one type")
        }
        let copy = |any: &dyn Any| -> Box<dyn Any + Send> { Box::new(value::<T>(any).clone()) };
        let adopt = |copy: Box<dyn Any + Send>| -> Rc<dyn Any> {
            Rc::new(*copy.downcast::<T>().expect("a key has values of one type"))
        };
        Self { init, inherit: Some(Inherit { copy, adopt }) }
    }

    /// Lends the running greenlet's value, else the task's, else the thread's, to `f`. It is made now if there is none.
    ///
    /// `f` may wait and yield: the value lives at least as long as the call.
    ///
    /// # Panics
    /// On a thread that is past its end, outside every coroutine.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        f(&self.value())
    }

    /// A clone of the value.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    pub fn get(&'static self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// Replaces the value. Whoever borrows the old one keeps it until then.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    pub fn set(&'static self, value: T) {
        let value: Rc<dyn Any> = Rc::new(value);
        let former = with_table(|table| table.put(self.key(), value, self.inherit));
        drop(former);
    }

    fn key(&'static self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn value(&'static self) -> Rc<T> {
        let found = with_table(|table| table.find(self.key()));
        let value = found.unwrap_or_else(|| {
            let made: Rc<dyn Any> = Rc::new((self.init)());
            // The expression may have used the variable, or let others do so.
            with_table(|table| {
                table.find(self.key()).unwrap_or_else(|| {
                    _ = table.put(self.key(), made.clone(), self.inherit);
                    made.clone()
                })
            })
        });
        value.downcast().expect("a key has values of one type")
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

struct Slot {
    key: usize,
    value: Rc<dyn Any>,
    inherit: Option<Inherit>,
}

/// The values of one context.
#[derive(Default)]
pub(crate) struct Locals {
    /// Made with the first value, so that having none is one null word.
    slots: OnceCell<Box<RefCell<Vec<Slot>>>>,
}

impl Locals {
    pub(super) const fn new() -> Self {
        Self { slots: OnceCell::new() }
    }

    fn find(&self, key: usize) -> Option<Rc<dyn Any>> {
        let slots = self.slots.get()?.borrow();
        slots.iter().find(|slot| slot.key == key).map(|slot| slot.value.clone())
    }

    /// Returns the value that was there.
    fn put(&self, key: usize, value: Rc<dyn Any>, inherit: Option<Inherit>) -> Option<Rc<dyn Any>> {
        if inherit.is_some() {
            // Relaxed: who makes a task after this, on this thread, sees it; others have no such value.
            ANY_INHERITED.store(true, Ordering::Relaxed);
        }
        let mut slots = self.slots.get_or_init(Box::default).borrow_mut();
        match slots.iter_mut().find(|slot| slot.key == key) {
            Some(slot) => Some(std::mem::replace(&mut slot.value, value)),
            None => {
                slots.push(Slot { key, value, inherit });
                None
            }
        }
    }

    /// Drops the values, newest first, and gives `lost` what their destructors unwind with. Destructors run, and may make new
    /// ones. One load where there are none.
    #[inline(always)]
    pub(crate) fn end(&self, lost: impl Fn(Payload)) {
        if let Some(slots) = self.slots.get() {
            Self::end_all(slots, &lost);
        }
    }

    #[cold]
    fn end_all(slots: &RefCell<Vec<Slot>>, lost: &dyn Fn(Payload)) {
        let end = |slot: Slot| _ = unwind::catch(move || drop(slot.value)).map_err(lost);
        for _ in 0..ROUNDS {
            let values = slots.take();
            if values.is_empty() {
                return;
            }
            region::in_peace(|| values.into_iter().rev().for_each(end));
        }
        // They would go on for ever. The next task of this coroutine must not find them.
        std::mem::forget(slots.take());
    }

    /// What a context made by this one begins with.
    fn copies(&self) -> Vec<Copied> {
        let Some(slots) = self.slots.get() else { return Vec::new() };
        let inherited = |slot: &Slot| Some((slot.key, slot.value.clone(), slot.inherit?));
        let values: Vec<_> = slots.borrow().iter().filter_map(inherited).collect();
        values
            .into_iter()
            .map(|(key, value, inherit)| Copied { key, value: (inherit.copy)(&*value), inherit })
            .collect()
    }
}

impl Drop for Locals {
    fn drop(&mut self) {
        self.end(unwind::drop_quietly);
    }
}

impl fmt::Debug for Locals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.slots.get().map_or(0, |slots| slots.borrow().len());
        f.debug_struct("Locals").field("count", &count).finish_non_exhaustive()
    }
}

/// Lends the table of the running greenlet, else of the task, else of the thread. `f` runs no code of users.
fn with_table<R>(f: impl FnOnce(&Locals) -> R) -> R {
    match context() {
        Some(frame) => f(&frame.locals),
        None => current::with_locals_of_thread(f)
            .unwrap_or_else(|| panic!("a task local was used on a thread that is past its end")),
    }
}

/// The frame of the innermost running greenlet or task.
fn context() -> Option<&'static Frame> {
    current::chain().find(|frame| frame.is_base() || frame.is_greenlet())
}

/// What a new task or greenlet inherits. Boxed, for mostly it is nothing.
pub(crate) type Inherited = Option<Box<Vec<Copied>>>;

pub(crate) struct Copied {
    key: usize,
    value: Box<dyn Any + Send>,
    inherit: Inherit,
}

/// What a task or a greenlet that is made by whoever runs inherits. Users' `clone` runs.
#[inline]
pub(crate) fn inherited() -> Inherited {
    if is_any_inherited() { copy_inherited() } else { None }
}

/// Whether anything was ever there to be inherited, as far as the caller or whoever handed it something knows.
#[inline(always)]
pub(crate) fn is_any_inherited() -> bool {
    ANY_INHERITED.load(Ordering::Relaxed)
}

#[cold]
fn copy_inherited() -> Inherited {
    let copies = match context() {
        Some(frame) => frame.locals.copies(),
        None => current::with_locals_of_thread(Locals::copies).unwrap_or_default(),
    };
    (!copies.is_empty()).then(|| Box::new(copies))
}

impl Locals {
    /// Begins with what was inherited.
    #[inline]
    pub(crate) fn adopt(&self, inherited: Inherited) {
        for Copied { key, value, inherit } in inherited.into_iter().flat_map(|copies| *copies) {
            _ = self.put(key, (inherit.adopt)(value), Some(inherit));
        }
    }
}
