//! Waiting for the first of several operations: [`select!`](crate::select!), and [`Select`] for a number of them that is
//! known only at run time.
//!
//! Names and behaviour are crossbeam-channel's. Besides receiving and sending, an operation may be the end of a task, or
//! whatever else a task can [`wait`](crate::wait) for. No task is spawned. One operation is begun and all others are
//! left as they were: nothing is received and forgotten, and a select that times out or whose task is cancelled has
//! received and sent nothing.
//!
//! # Rooms
//! - `operand`: what is asked of the objects; an arm. `macros`: `select!`. Here: the wait itself, and the builder.

mod macros;
mod operand;

pub(crate) use operand::{Arm, Begun, Entry, Operand, Token};

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use super::channel::{Receiver, RecvError, SendError, Sender};
use super::wait::Wait;
use super::waiting::{after, earlier};
use crate::coroutine::current;
use crate::exception::raised_itself;
use crate::task::{Choice, JoinHandle, spend};

/// How long a select waits.
#[derive(Clone, Copy)]
enum Patience {
    /// Not at all.
    None,
    Until(Option<Instant>),
}

/// Begins one of the operations, and says which; `None` when the time is up. They are asked in the order `turns`.
///
/// Without `begins` it only says that one could begin.
fn select_among(arms: &mut [Arm<'_>], turns: Turns, patience: Patience, begins: bool) -> Option<usize> {
    if matches!(patience, Patience::Until(_)) {
        spend();
    }
    loop {
        let count = arms.len();
        let mut at = turns.first;
        for _ in 0..count {
            let index = at;
            at = turns.next(at, count);
            let arm = &mut arms[index];
            if if begins { arm.begin() } else { arm.object().is_ready() } {
                return Some(index);
            }
        }
        let Patience::Until(deadline) = patience else { return None };
        let choice = Choice::new();
        arms.iter_mut().enumerate().for_each(|(index, arm)| arm.join(&raw const choice, index));
        let arms_in = &*arms;
        let leave = || arms_in.iter().for_each(|arm| arm.leave(begins));
        let entering = Entering { arms: arms_in, choice: &choice, begins };
        // SAFETY: `leave` is called before this turn of the loop ends, also by an unwind out of an entry or the wait.
        let all_in = arms_in.iter().all(|arm| unsafe { arm.enter(&choice, begins) });
        std::mem::forget(entering);
        if !all_in && choice.withdraw() {
            // One is ready: ask all again.
            leave();
            continue;
        }
        // What time sends notifies nobody: the first of it ends the wait.
        let due = arms_in.iter().filter_map(Arm::due).min();
        let until = earlier(due, deadline);
        // Nobody asks a choice that is made to give up: then this returns at once, or when the one who made it is done.
        match choice.wait(until, |index| arms_in[index].is_notified(), leave) {
            // Woken because of this one, which may be gone again.
            Some(index) if !begins => {
                if arms[index].object().is_ready() {
                    return Some(index);
                }
            }
            Some(index) => {
                if arms[index].collect() {
                    return Some(index);
                }
            }
            // It is there now, unless another was faster: ask all again.
            None if due.is_some_and(|due| deadline.is_none_or(|deadline| due <= deadline)) => {}
            None => return None,
        }
    }
}

/// Takes arms out again, when an object panics as the next is entered: a socket does on a thread, where no runtime can be had.
struct Entering<'e, 'a> {
    arms: &'e [Arm<'a>],
    choice: &'e Choice,
    begins: bool,
}

impl Drop for Entering<'_, '_> {
    fn drop(&mut self) {
        let Self { arms, choice, begins } = *self;
        let leave = || arms.iter().for_each(|arm| arm.leave(begins));
        if choice.withdraw() {
            return leave();
        }
        // It is made: this returns when the one who made it is done.
        let made = choice.wait(None, |index| arms[index].is_notified(), leave);
        if let Some(index) = made.filter(|_| begins) {
            arms[index].abandon();
        }
    }
}

/// In which order operations are asked whether they may begin.
#[derive(Clone, Copy)]
struct Turns {
    first: usize,
    /// From one to the next, around the end.
    step: usize,
}

impl Turns {
    /// The order of the text.
    const BIASED: Self = Self { first: 0, step: 1 };

    /// Another order each time: from anywhere on, by any of some steps, forwards or backwards. So of two that are ready
    /// each comes first as often, wherever they stand; a step of 1 alone would favour the first of two neighbours.
    fn fair(count: usize) -> Self {
        if count < 2 {
            return Self::BIASED;
        }
        let random = current::random();
        let odd = 2 * (random as usize & 3) + 1;
        // A step that has a factor in common with the count would not come by everywhere. Divisions are slow.
        let step = match count {
            _ if count.is_power_of_two() => odd & (count - 1),
            _ if count.is_multiple_of(odd) => 1,
            _ => odd % count,
        };
        let step = if random & 4 == 0 { step } else { count - step };
        // The upper bits, as a fraction of the count.
        Self { first: ((u64::from(random) * count as u64) >> 32) as usize, step }
    }

    /// What comes after `at`. Neither is larger than the count.
    fn next(self, at: usize, count: usize) -> usize {
        let next = at + self.step;
        if next >= count { next - count } else { next }
    }
}

/// Waits for the first of several operations, added one by one.
///
/// As in crossbeam-channel: add operations, wait, find out which one was begun, and complete it. Prefer
/// [`select!`](crate::select!) where the operations are known when the program is written.
///
/// # Examples
/// ```
/// use osier::sync::channel::{Select, unbounded};
///
/// let channels: Vec<_> = (0..100).map(|_| unbounded()).collect();
/// channels[42].0.send("hello").unwrap();
///
/// let mut select = Select::new();
/// for (_, receiver) in &channels {
///     select.recv(receiver);
/// }
/// let operation = select.select();
/// let index = operation.index();
/// assert_eq!((index, operation.recv(&channels[index].1)), (42, Ok("hello")));
/// ```
#[derive(Debug)]
pub struct Select<'a> {
    arms: Vec<Arm<'a>>,
    /// What users know the arms by; numbers are never given twice.
    indices: Vec<usize>,
    next_index: usize,
    is_biased: bool,
}

impl Default for Select<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Select<'a> {
    /// A list of operations without any. Of several that are ready, any may be begun.
    pub fn new() -> Self {
        Self { arms: Vec::new(), indices: Vec::new(), next_index: 0, is_biased: false }
    }

    /// A list of operations without any. Of several that are ready, the one that was added first is begun.
    pub fn new_biased() -> Self {
        Self { is_biased: true, ..Self::new() }
    }

    fn add(&mut self, object: &'a dyn Operand) -> usize {
        self.arms.push(Arm::new(object));
        self.indices.push(self.next_index);
        self.next_index += 1;
        self.next_index - 1
    }

    /// Adds receiving from `receiver`. Returns the operation's index.
    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.add(receiver)
    }

    /// Adds sending to `sender`; the value is given when the operation is completed. Returns the operation's index.
    ///
    /// A select has no value in hand while it waits, so on a channel of capacity 0 `try_recv` does not see it; every
    /// receive that waits does.
    pub fn send<T>(&mut self, sender: &'a Sender<T>) -> usize {
        self.add(sender)
    }

    /// Adds the end of a task. Returns the operation's index. For what to do when it is selected, see [`SelectedOperation`].
    pub fn join<T, P>(&mut self, handle: &'a JoinHandle<T, P>) -> usize {
        self.add(handle)
    }

    /// Adds whatever a task can wait for. Returns the operation's index.
    pub fn wait(&mut self, object: &'a dyn Wait) -> usize {
        self.add(object.__osier_wait().operand())
    }

    /// Takes an operation out of the list.
    ///
    /// # Panics
    /// If there is none with this index.
    pub fn remove(&mut self, index: usize) {
        let place = self.indices.iter().position(|&i| i == index);
        let place = place.unwrap_or_else(|| panic!("no operation with index {index} to remove"));
        self.indices.remove(place);
        self.arms.remove(place);
    }

    fn run(&mut self, patience: Patience, begins: bool) -> Option<usize> {
        let turns = if self.is_biased { Turns::BIASED } else { Turns::fair(self.arms.len()) };
        select_among(&mut self.arms, turns, patience, begins)
    }

    #[inline(always)]
    fn begin(&mut self, patience: Patience) -> Option<SelectedOperation<'a>> {
        self.run(patience, true).map(|place| SelectedOperation::of(&mut self.arms[place], self.indices[place]))
    }

    /// Begins one operation if one is ready.
    ///
    /// # Errors
    /// None is.
    pub fn try_select(&mut self) -> Result<SelectedOperation<'a>, TrySelectError> {
        self.begin(Patience::None).ok_or(TrySelectError)
    }

    /// Waits until one operation is ready, and begins it.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits has begun nothing.
    ///
    /// # Panics
    /// If no operation was added.
    pub fn select(&mut self) -> SelectedOperation<'a> {
        assert!(!self.arms.is_empty(), "no operations have been added to `Select`");
        self.begin(Patience::Until(None)).expect("without a deadline it waits for one")
    }

    /// Waits for at most `timeout` until one operation is ready, and begins it.
    ///
    /// # Suspends
    /// As [`Select::select`].
    ///
    /// # Cancel safety
    /// As [`Select::select`].
    ///
    /// # Errors
    /// The time is up.
    pub fn select_timeout(&mut self, timeout: Duration) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.begin(Patience::Until(after(timeout))).ok_or(SelectTimeoutError)
    }

    /// Waits until `deadline` at most until one operation is ready, and begins it.
    ///
    /// # Suspends
    /// As [`Select::select`].
    ///
    /// # Cancel safety
    /// As [`Select::select`].
    ///
    /// # Errors
    /// The time is up.
    pub fn select_deadline(&mut self, deadline: Instant) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.begin(Patience::Until(Some(deadline))).ok_or(SelectTimeoutError)
    }

    /// The index of an operation that is ready, if one is. Nothing is begun: another may be faster. What `try_recv` does
    /// not see is not ready: a select that would send, on a channel of capacity 0.
    ///
    /// # Errors
    /// None is ready.
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        self.run(Patience::None, false).map(|place| self.indices[place]).ok_or(TryReadyError)
    }

    /// Waits until an operation is ready and returns its index. Nothing is begun: another may be faster.
    ///
    /// On a channel of capacity 0 it does not meet a select that would send, as in [`send`](Self::send): neither of the
    /// two is a call that waits to give or to take. crossbeam-channel's does. Use [`select`](Self::select) on one side.
    ///
    /// # Suspends
    /// As [`Select::select`].
    ///
    /// # Cancel safety
    /// As [`Select::select`].
    ///
    /// # Panics
    /// If no operation was added.
    pub fn ready(&mut self) -> usize {
        assert!(!self.arms.is_empty(), "no operations have been added to `Select`");
        let place = self.run(Patience::Until(None), false).expect("without a deadline it waits for one");
        self.indices[place]
    }

    /// As [`Select::ready`], for at most `timeout`.
    ///
    /// # Suspends
    /// As [`Select::select`].
    ///
    /// # Cancel safety
    /// As [`Select::select`].
    ///
    /// # Errors
    /// The time is up.
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, ReadyTimeoutError> {
        let place = self.run(Patience::Until(after(timeout)), false).ok_or(ReadyTimeoutError)?;
        Ok(self.indices[place])
    }

    /// As [`Select::ready`], until `deadline` at most.
    ///
    /// # Suspends
    /// As [`Select::select`].
    ///
    /// # Cancel safety
    /// As [`Select::select`].
    ///
    /// # Errors
    /// The time is up.
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        let place = self.run(Patience::Until(Some(deadline)), false).ok_or(ReadyTimeoutError)?;
        Ok(self.indices[place])
    }
}

impl Clone for Select<'_> {
    fn clone(&self) -> Self {
        let arms = self.arms.iter().map(|arm| Arm::new(arm.object())).collect();
        Self { arms, indices: self.indices.clone(), ..*self }
    }
}

/// An operation that was begun, to be completed with the channel or handle it was added with.
///
/// Dropped instead, it is taken back: a value that was received comes before all others again. Of one that is the end of a
/// task, or another object, nothing is to be completed: drop it, and the select, which borrow the handle. Then the task is
/// joined, without a wait.
///
/// # Examples
/// ```
/// use osier::sync::channel::{self, Select};
///
/// osier::run(|| {
///     let (_numbers, inbox) = channel::bounded::<u32>(1);
///     let task = osier::spawn(|| 42);
///     let mut select = Select::new();
///     select.recv(&inbox);
///     let ended = select.join(&task);
///     let operation = select.select();
///     if operation.index() == ended {
///         drop((operation, select));
///         assert_eq!(task.join().unwrap(), 42);
///     } else {
///         println!("{}", operation.recv(&inbox).unwrap());
///     }
/// });
/// ```
#[must_use = "dropping it takes the operation back"]
pub struct SelectedOperation<'a> {
    token: Token,
    object: &'a dyn Operand,
    index: usize,
}

impl<'a> SelectedOperation<'a> {
    fn of(arm: &mut Arm<'a>, index: usize) -> Self {
        Self { token: std::mem::replace(arm.token(), Token::new()), object: arm.object(), index }
    }

    /// The index that the operation was added with.
    pub fn index(&self) -> usize {
        self.index
    }

    #[track_caller]
    fn check<O: ?Sized>(&self, object: &O) {
        let (begun, given) = (std::ptr::from_ref(self.object).cast::<()>(), std::ptr::from_ref(object).cast::<()>());
        assert!(begun == given, "passed an object that does not match the selected operation");
    }

    /// Completes an operation of this very `object`, by what `finish` makes of the token.
    #[track_caller]
    pub(crate) fn complete<O: Operand, R>(mut self, object: &O, finish: impl FnOnce(&mut Token) -> R) -> R {
        self.check(object);
        finish(&mut self.token)
    }

    /// Completes a receive.
    ///
    /// # Errors
    /// The channel is empty and closed.
    ///
    /// # Panics
    /// If the operation is not a receive from this very `receiver`.
    #[track_caller]
    pub fn recv<T>(mut self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        self.check(receiver);
        receiver.finish_recv(&mut self.token)
    }

    /// Completes a receive that was begun by an object that receives through `receiver`.
    pub(crate) fn recv_through<T>(mut self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        receiver.finish_recv(&mut self.token)
    }

    /// Completes a send.
    ///
    /// # Errors
    /// The channel is closed; the value comes back.
    ///
    /// # Panics
    /// If the operation is not a send to this very `sender`.
    #[track_caller]
    pub fn send<T>(mut self, sender: &Sender<T>, value: T) -> Result<(), SendError<T>> {
        self.check(sender);
        sender.finish_send(&mut self.token, value)
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        self.object.abandon(&mut self.token);
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelectedOperation").field("index", &self.index).finish_non_exhaustive()
    }
}

macro_rules! error {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name;

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($text)
            }
        }

        impl Error for $name {}

        raised_itself!($name);
    };
}

error!(
    /// No operation was ready.
    TrySelectError,
    "all operations in select would block"
);
error!(
    /// No operation was ready in time.
    SelectTimeoutError,
    "timed out waiting on select"
);
error!(
    /// No operation was ready.
    TryReadyError,
    "all operations in select would block"
);
error!(
    /// No operation was ready in time.
    ReadyTimeoutError,
    "timed out waiting on select"
);

/// What `select!` expands to, and what seals [`Wait`]; not for users.
#[doc(hidden)]
#[allow(missing_docs, reason = "not for users")]
pub mod expansion {
    use std::time::Duration;

    use super::{Arm, Operand, Patience, SelectedOperation, Turns, after, select_among};
    use crate::sync::channel::{Receiver, RecvError, SendError, Sender};
    use crate::sync::wait::Wait;
    use crate::task::{JoinError, JoinHandle};

    /// An object that takes part. Nobody else can make one.
    #[derive(Clone, Copy)]
    pub struct Operation<'a>(&'a dyn Operand);

    impl<'a> Operation<'a> {
        pub(crate) fn of(object: &'a dyn Operand) -> Self {
            Self(object)
        }

        pub(crate) fn operand(self) -> &'a dyn Operand {
            self.0
        }
    }

    impl std::fmt::Debug for Operation<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Operation")
        }
    }

    /// What may stand in `recv(..)`.
    pub trait Receive {
        type Received;
        fn __osier_recv(&self) -> &Self {
            self
        }
        fn __osier_operation(&self) -> Operation<'_>;
        fn __osier_complete(&self, operation: SelectedOperation<'_>) -> Self::Received;
    }

    impl<T> Receive for Receiver<T> {
        type Received = Result<T, RecvError>;
        fn __osier_operation(&self) -> Operation<'_> {
            Operation(self)
        }
        fn __osier_complete(&self, operation: SelectedOperation<'_>) -> Self::Received {
            operation.recv(self)
        }
    }

    /// What may stand in `send(.., ..)`.
    pub trait Send {
        type Value;
        fn __osier_send(&self) -> &Self {
            self
        }
        fn __osier_operation(&self) -> Operation<'_>;
        fn __osier_complete(
            &self,
            operation: SelectedOperation<'_>,
            value: Self::Value,
        ) -> Result<(), SendError<Self::Value>>;
    }

    impl<T> Send for Sender<T> {
        type Value = T;
        fn __osier_operation(&self) -> Operation<'_> {
            Operation(self)
        }
        fn __osier_complete(&self, operation: SelectedOperation<'_>, value: T) -> Result<(), SendError<T>> {
            operation.send(self, value)
        }
    }

    /// What may stand in `join(..)`.
    pub trait Join: Sized {
        type Joined;
        fn __osier_join(&self) -> &Self {
            self
        }
        fn __osier_operation(&self) -> Operation<'_>;
        fn __osier_complete(self) -> Self::Joined;
    }

    impl<T, P> Join for JoinHandle<T, P> {
        type Joined = Result<T, JoinError>;
        fn __osier_operation(&self) -> Operation<'_> {
            Operation(self)
        }
        fn __osier_complete(self) -> Self::Joined {
            self.join()
        }
    }

    pub fn receiving<R: Receive>(object: &R) -> Operation<'_> {
        object.__osier_operation()
    }

    pub fn sending<S: Send>(object: &S) -> Operation<'_> {
        object.__osier_operation()
    }

    pub fn joining<J: Join>(object: &J) -> Operation<'_> {
        object.__osier_operation()
    }

    pub fn waiting(object: &dyn Wait) -> Operation<'_> {
        object.__osier_wait()
    }

    /// Counts the arms while the branches look for theirs.
    pub fn next(index: &mut usize) -> usize {
        *index += 1;
        *index - 1
    }

    fn run<'a, const N: usize>(
        operations: [Operation<'a>; N],
        is_biased: bool,
        patience: Patience,
    ) -> Option<SelectedOperation<'a>> {
        let mut arms = operations.map(|Operation(object)| Arm::new(object));
        let turns = if is_biased { Turns::BIASED } else { Turns::fair(N) };
        let index = select_among(&mut arms, turns, patience, true)?;
        Some(SelectedOperation::of(&mut arms[index], index))
    }

    pub fn select<const N: usize>(operations: [Operation<'_>; N], is_biased: bool) -> SelectedOperation<'_> {
        run(operations, is_biased, Patience::Until(None)).expect("without a deadline it waits for one")
    }

    pub fn try_select<const N: usize>(
        operations: [Operation<'_>; N],
        is_biased: bool,
    ) -> Option<SelectedOperation<'_>> {
        run(operations, is_biased, Patience::None)
    }

    pub fn select_timeout<const N: usize>(
        operations: [Operation<'_>; N],
        is_biased: bool,
        timeout: Duration,
    ) -> Option<SelectedOperation<'_>> {
        run(operations, is_biased, Patience::Until(after(timeout)))
    }
}
