//! What a select and a `wait` ask of the objects they are given, and what an arm of a select is in memory.
//!
//! ```text
//!   Arm:  ┌ waiter ─┬ place ──────────────┬ object ───┬ token ───────────────┐
//!         │ in the  │ where a sender puts │ &dyn      │ what was begun       │
//!         │ object's│ the value: into the │ Operand   │ storage: 6 words, or │
//!         │ queue   │ token's storage     │           │ a box for more       │
//!         └─────────┴─────────────────────┴───────────┴──────────────────────┘
//! ```
//!
//! The first two fields are what every receiver that waits in a channel has ([`Entry`]): whoever sends cannot tell them
//! apart.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::time::Instant;

use crate::task::{Choice, Taken, Waiter};

/// Something that gets ready, and can be waited for.
pub(crate) trait Operand {
    /// Whether an operation would not wait now.
    fn is_ready(&self) -> bool;

    /// When it gets ready by itself, if it does: nobody is notified then.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Enters a waiter that is notified when it gets ready. False if it is ready: then the waiter was not entered. Nor was
    /// it, or it has left, when this unwinds.
    ///
    /// # Safety
    /// - As [`WaitQueue::push`](crate::task::WaitQueue::push).
    unsafe fn watch(&self, waiter: *const Waiter) -> bool;

    /// Takes a waiter out that was entered by `watch`, if it is still there.
    fn unwatch(&self, waiter: &Waiter);

    /// Notes that a waiter goes that was entered by `watch` and notified: where not even `unwatch` is called for such.
    fn forget(&self) {}

    /// Whether it still is what a waiter was notified of, where a notification may be late.
    fn confirms(&self) -> bool {
        true
    }

    /// Begins the operation if that needs no waiting, and notes in the token what completing it takes.
    fn begin(&self, _token: &mut Token) -> bool {
        self.is_ready()
    }

    /// Enters an arm of `choice`. False if the operation may begin: then the arm was not entered.
    ///
    /// # Safety
    /// - The arm stays where it is until `leave`, which is called before the choice goes.
    unsafe fn enter(&self, arm: &Arm<'_>, _choice: &Choice) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.watch(&raw const arm.waiter) }
    }

    /// Takes an arm out that was entered by `enter`, if it is still there.
    fn leave(&self, arm: &Arm<'_>) {
        self.unwatch(&arm.waiter);
    }

    /// Whether the operation of an arm that was notified, and has left, has begun. False if it must look again.
    fn collect(&self, _token: &mut Token) -> bool {
        true
    }

    /// Takes back an operation that has begun and will not be completed.
    fn abandon(&self, _token: &mut Token) {}
}

/// The head of everything that waits to receive a `T`.
#[repr(C)]
pub(crate) struct Entry<T> {
    pub(crate) waiter: Waiter,
    /// Where the value goes. Belongs to whoever notifies the waiter, until then.
    pub(crate) place: Cell<NonNull<Option<T>>>,
}

/// One operation among those of a select.
#[repr(C)]
pub(crate) struct Arm<'a> {
    waiter: Waiter,
    place: Cell<NonNull<()>>,
    object: &'a dyn Operand,
    is_entered: Cell<bool>,
    /// Whether it may get ready by itself: set as it is entered.
    is_timed: Cell<bool>,
    /// Read and written by its owner, and by whoever delivers in `place`.
    token: UnsafeCell<Token>,
}

impl<'a> Arm<'a> {
    pub(super) fn new(object: &'a dyn Operand) -> Self {
        Self {
            waiter: Waiter::one_of(ptr::null(), 0),
            place: Cell::new(NonNull::dangling()),
            object,
            is_entered: Cell::new(false),
            is_timed: Cell::new(false),
            token: UnsafeCell::new(Token::new()),
        }
    }

    pub(super) fn object(&self) -> &'a dyn Operand {
        self.object
    }

    pub(super) fn token(&mut self) -> &mut Token {
        self.token.get_mut()
    }

    pub(super) fn begin(&mut self) -> bool {
        self.object.begin(self.token.get_mut())
    }

    pub(super) fn collect(&mut self) -> bool {
        self.object.collect(self.token.get_mut())
    }

    /// Takes back what was begun of an arm that was notified and has left.
    #[cold]
    pub(super) fn abandon(&self) {
        // SAFETY: the arm has left its queue, so the token is its owner's alone.
        let token = unsafe { &mut *self.token.get() };
        if self.object.collect(token) {
            self.object.abandon(token);
        }
    }

    /// Makes the arm one of `choice`, as number `index`.
    pub(super) fn join(&mut self, choice: *const Choice, index: usize) {
        self.waiter = Waiter::one_of(choice, index);
    }

    pub(super) fn is_notified(&self) -> bool {
        self.waiter.is_notified()
    }

    /// As [`Operand::enter`].
    ///
    /// # Safety
    /// - As there. Without `begins`, the arm only looks whether the operation would begin.
    pub(super) unsafe fn enter(&self, choice: &Choice, begins: bool) -> bool {
        // SAFETY: the caller's promise.
        let entered =
            unsafe { if begins { self.object.enter(self, choice) } else { self.object.watch(&raw const self.waiter) } };
        self.is_entered.set(entered);
        if !begins {
            // `watch` does not say, so it will be asked.
            self.is_timed.set(true);
        }
        entered
    }

    /// Notes that it may get ready by itself.
    pub(crate) fn note_timed(&self) {
        self.is_timed.set(true);
    }

    /// When it gets ready by itself.
    #[inline]
    pub(super) fn due(&self) -> Option<Instant> {
        // Hardly ever: the question goes through a table.
        if self.is_timed.get() { self.object.due() } else { None }
    }

    pub(super) fn leave(&self, begins: bool) {
        if !self.is_entered.replace(false) {
        } else if begins {
            self.object.leave(self);
        } else {
            self.object.unwatch(&self.waiter);
        }
    }

    /// The waiter, as a pointer to all of `self`.
    pub(crate) fn as_waiter(&self) -> *const Waiter {
        ptr::from_ref(self).cast()
    }

    pub(crate) fn waiter(&self) -> &Waiter {
        &self.waiter
    }

    /// Makes an empty place for a `T`, and the arm's head that of a receiver of a `T`.
    pub(crate) fn make_place<T>(&self) {
        // SAFETY: the arm is in no queue yet, so the token is its owner's alone.
        let place = unsafe { &mut *self.token.get() }.put::<T>(None);
        self.place.set(place.cast());
    }

    /// Ends what `make_place` began, for an arm that has left: a value that was delivered has been received.
    ///
    /// # Safety
    /// - `make_place` was called with the same type.
    pub(crate) unsafe fn settle_place<T>(&self) {
        // SAFETY: the arm has left its queue, so the token is its owner's alone.
        let token = unsafe { &mut *self.token.get() };
        // SAFETY: the caller vouches for the type.
        if unsafe { token.place::<T>().as_ref() }.is_some() {
            token.begun = Begun::Received;
        } else {
            // SAFETY: as above.
            drop(unsafe { token.take::<T>() });
        }
    }
}

impl fmt::Debug for Arm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arm").finish_non_exhaustive()
    }
}

/// What was begun of an operation, and not completed.
pub(crate) enum Begun {
    /// Nothing; or nothing that has to be kept.
    Nothing,
    /// A value was received, and lies in the storage.
    Received,
    /// Room was kept for a value.
    Room,
    /// A receiver was taken out of its queue and waits for a value.
    Receiver(Taken),
    /// The other side is gone.
    Disconnected,
}

/// What completing an operation takes.
pub(crate) struct Token {
    pub(crate) begun: Begun,
    storage: Storage,
}

/// An `Option<T>`, or a box of one.
type Storage = [MaybeUninit<u64>; 6];

impl Token {
    pub(super) const fn new() -> Self {
        Self { begun: Begun::Nothing, storage: [MaybeUninit::uninit(); 6] }
    }

    /// Whether a `T` lies in the storage itself.
    const fn is_inline<T>() -> bool {
        size_of::<Option<T>>() <= size_of::<Storage>() && align_of::<Option<T>>() <= align_of::<Storage>()
    }

    /// Fills the storage, and says where the value is while the token stays where it is.
    pub(crate) fn put<T>(&mut self, value: Option<T>) -> NonNull<Option<T>> {
        let storage = NonNull::from(&mut self.storage);
        if Self::is_inline::<T>() {
            let place = storage.cast::<Option<T>>();
            // SAFETY: it is large and aligned enough, and nothing is in it.
            unsafe { place.write(value) };
            place
        } else {
            let place = NonNull::from(Box::leak(Box::new(value)));
            // SAFETY: a pointer fits.
            unsafe { storage.cast::<NonNull<Option<T>>>().write(place) };
            place
        }
    }

    /// Where the value is.
    ///
    /// # Safety
    /// - `put` was called with this type, and `take` not since.
    unsafe fn place<T>(&mut self) -> NonNull<Option<T>> {
        let storage = NonNull::from(&mut self.storage);
        if Self::is_inline::<T>() {
            storage.cast()
        } else {
            // SAFETY: a box's pointer was written by `put`.
            unsafe { storage.cast::<NonNull<Option<T>>>().read() }
        }
    }

    /// Empties the storage.
    ///
    /// # Safety
    /// - As `place`.
    pub(crate) unsafe fn take<T>(&mut self) -> Option<T> {
        // SAFETY: the caller's promise.
        let place = unsafe { self.place::<T>() };
        if Self::is_inline::<T>() {
            // SAFETY: `put` wrote it, and it is not read again.
            unsafe { place.read() }
        } else {
            // SAFETY: `put` made the box, and it is not used again.
            *unsafe { Box::from_raw(place.as_ptr()) }
        }
    }

    pub(crate) fn has_received(&self) -> bool {
        matches!(self.begun, Begun::Received)
    }

    /// Takes what was begun out, so that nothing is abandoned any more.
    pub(crate) fn settle(&mut self) -> Begun {
        std::mem::replace(&mut self.begun, Begun::Nothing)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}
