//! Descriptors among the things that a task waits for at once.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::ready::Ready;
use crate::runtime::{self, Direction, Registration, Watched};
use crate::sync::select_expansion::Operation;
use crate::sync::{Operand, Token, Wait};
use crate::task::Waiter;

/// That a descriptor becomes ready, as one of the things that [`select!`](crate::select!) and [`wait`](fn@crate::wait) wait
/// for.
///
/// Made by the `when_readable` and `when_writable` of sockets, pipes and [`Ready`]. Nothing is taken by waiting: the call that
/// follows gets what is there, unless another task is faster; then it waits. A peer that has hung up, an error, and a close
/// make a descriptor ready, and are told by that call.
///
/// On a plain thread another thread, of the process and without tasks, watches the descriptor meanwhile.
///
/// It stays on its thread, for it counts as something that a task of its worker waits for:
/// ```compile_fail
/// fn check<T: Send>() {}
/// check::<osier::net::When<'static>>();
/// ```
///
/// # Examples
/// ```
/// use osier::net::UnixStream;
/// use osier::sync::channel;
/// use osier::{run, select};
/// use std::io::{Read, Write};
///
/// run(|| {
///     let (mut near, mut far) = UnixStream::pair()?;
///     let (_stop, stopped) = channel::bounded::<()>(1);
///     far.write_all(b"!")?;
///     let mut byte = [0];
///     select! {
///         wait(near.when_readable()) => near.read_exact(&mut byte)?,
///         recv(stopped) -> _ => unreachable!("nobody stops it"),
///     }
///     assert_eq!(byte, *b"!");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct When<'a> {
    registration: &'a Registration,
    fd: BorrowedFd<'a>,
    direction: Direction,
    /// How many waiters have entered and not left.
    waiters: Cell<usize>,
    /// What has the descriptor watched for them.
    watched: RefCell<Option<Watched>>,
    /// Whether it cannot be watched. Then it is ready: the call that follows says why.
    has_failed: Cell<bool>,
    /// `watched` is dropped by the worker that it was made by.
    _here: PhantomData<*mut ()>,
}

impl<'a> When<'a> {
    pub(super) fn new<T: AsFd>(ready: &'a Ready<T>, direction: Direction) -> Self {
        Self {
            registration: &ready.registration,
            fd: ready.as_fd(),
            direction,
            waiters: Cell::new(0),
            watched: RefCell::new(None),
            has_failed: Cell::new(false),
            _here: PhantomData,
        }
    }

    fn left(&self) {
        self.waiters.set(self.waiters.get() - 1);
        if self.waiters.get() == 0 {
            self.watched.take();
        }
    }
}

impl Operand for When<'_> {
    fn is_ready(&self) -> bool {
        self.has_failed.get()
            || self.registration.is_ready(self.direction, || runtime::is_ready(self.fd.as_raw_fd(), self.direction))
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // What is known may be old. An event that comes between the question and the entry is asked about.
        while !self.is_ready() {
            // SAFETY: the caller's promise.
            match unsafe { self.registration.watch(self.direction, waiter) } {
                Ok(Some(watched)) => {
                    self.waiters.set(self.waiters.get() + 1);
                    // Of several, one will do: the latest, since an earlier one may have seen its event.
                    self.watched.replace(Some(watched));
                    return true;
                }
                Ok(None) => {}
                Err(_) => self.has_failed.set(true),
            }
        }
        false
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.registration.unwatch(self.direction, waiter);
        self.left();
    }

    fn forget(&self) {
        self.left();
    }

    fn confirms(&self) -> bool {
        // The event may be of what was taken before the waiter entered.
        self.is_ready()
    }

    fn collect(&self, _token: &mut Token) -> bool {
        // Another may have been faster.
        self.is_ready()
    }
}

impl Wait for When<'_> {
    fn __osier_wait(&self) -> Operation<'_> {
        Operation::of(self)
    }
}

impl fmt::Debug for When<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("When").field("fd", &self.fd).field("direction", &self.direction).finish_non_exhaustive()
    }
}
