//! Actors: tasks with a mailbox, that share nothing and are known by name.
//!
//! [`start`] makes a task of a body that receives messages. Whoever knows its name or holds its [`Address`] sends to it:
//! the message is queued, and the sender goes on. So a send never runs the actor's code, two actors may send to each
//! other for ever, and as many run at once as there are workers.
//!
//! | from the articles | osier |
//! | --- | --- |
//! | `@actor def printer(): while True: msg = yield` | `actor::start("printer", \|inbox\| loop { let msg = inbox.recv(); .. })` |
//! | `send('printer', msg)` | `actor::send("printer", msg)` |
//! | `a.send(msg)`, `self.recv()` | `address.send(msg)`, `inbox.recv()` |
//! | `a.close()`, `ActorExit` | `address.close()`, an exit of kind [`ActorClosed`](crate::ExitKind::ActorClosed) |
//! | `a.join()` | `address.task().join()` |
//! | a thread for each actor | [`Builder::thread`] |
//!
//! # How one ends
//! - [`Address::close`]: it receives what is queued, and then its `recv` unwinds it. Its task ends well.
//! - Its body returns, panics or raises; or its task is killed. Failures that nobody asks its task for are
//!   [reported](crate::Report::Unjoined).
//! - An actor without a name ends as if closed when its last address is dropped.
//!
//! Then its name is free, sends give the message back, and those who asked it get an error. Messages that nobody has
//! received are dropped, and [reported](crate::Report::DeadLetters). Whoever wants to know links to its task:
//! `address.task().link(..)`.
//!
//! # Rooms
//! - `builder`: how an actor is started, and how it ends. `registry`: the names.
//! - `behaviour`: actors as values, with `receive`. `supervisor`: actors that are started again.
//! - `address`, `mailbox`, `reply`: what users hold. `life`: who runs an actor. `watch`: who dies tells whom.
//! - `process`: actors in other processes. `error`: errors.
//! - `topics`: a gateway that publishes to whoever has subscribed.

mod address;
mod behaviour;
mod builder;
mod error;
mod life;
mod mailbox;
#[cfg(feature = "processes")]
mod process;
mod registry;
mod reply;
mod supervisor;
mod topics;
mod watch;

pub use address::Address;
pub use behaviour::{Actor, Context, Stop};
pub use builder::Builder;
pub use error::{AskError, NameTaken, SendError};
pub use mailbox::{Iter, Mailbox};
#[cfg(feature = "processes")]
pub use process::{__serve, ProcessBuilder};
pub use reply::Reply;
pub use supervisor::{Child, ChildError, Restart, Strategy, Supervisor, SupervisorBuilder, TooManyRestarts};
pub use topics::{Overflow, Subscription, SubscriptionIter, Topics};
pub use watch::{ActorLink, Down, LinkedEnd};

/// Starts an actor that is known as `name`, on the runtime of the running task; elsewhere on the default runtime.
///
/// Its mailbox holds any number of messages. For a bound, or a thread of its own, see [`Builder`].
///
/// # Errors
/// An actor of this name runs. Its name is free when it has ended.
///
/// # Panics
/// If the runtime is shutting down.
///
/// # Examples
/// ```
/// use osier::actor;
///
/// let (sender, receiver) = osier::sync::channel::unbounded();
/// let printer = actor::start("printer", move |inbox| loop {
///     let text: String = inbox.recv();
///     sender.send(format!("printer: {text}")).unwrap();
/// })?;
/// actor::send("printer", "Hello!".to_owned())?;
/// assert_eq!(receiver.recv()?, "printer: Hello!");
/// assert!(actor::start("printer", |_: &actor::Mailbox<String>| ()).is_err());
///
/// printer.close();
/// printer.task().join()?;
/// assert!(actor::send("printer", "Who is there?".to_owned()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Messages go from thread to thread:
/// ```compile_fail
/// osier::actor::start("local", |inbox: &osier::actor::Mailbox<std::rc::Rc<u8>>| drop(inbox.recv()));
/// ```
pub fn start<M: Send + 'static>(
    name: &str,
    body: impl FnOnce(&Mailbox<M>) + Send + 'static,
) -> Result<Address<M>, NameTaken> {
    Builder::new().start(name, body)
}

/// Sends `message` to the actor that is known as `name`.
///
/// # Suspends
/// As [`Address::send`]: only if the mailbox is bounded, and full.
///
/// # Cancel safety
/// As [`Address::send`].
///
/// # Errors
/// As [`Address::send`]; or no actor of that name runs, or it receives messages of another type. The message comes back.
///
/// # Examples
/// ```
/// use osier::actor::{self, SendError};
///
/// assert!(matches!(actor::send("nobody", 1), Err(SendError::NoSuchName(1))));
/// ```
pub fn send<M: Send + 'static>(name: &str, message: M) -> Result<(), SendError<M>> {
    match registry::find(name) {
        Ok(address) => address.send(message),
        Err(registry::Missing::Name) => Err(SendError::NoSuchName(message)),
        Err(registry::Missing::Type) => Err(SendError::WrongType(message)),
    }
}

/// The address of the actor that is known as `name`; `None` if no such actor runs, or if it receives messages of another
/// type than `M`.
pub fn find<M: Send + 'static>(name: &str) -> Option<Address<M>> {
    registry::find(name).ok()
}
