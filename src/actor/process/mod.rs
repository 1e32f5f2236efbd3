//! Actors in other processes, behind the same addresses.
//!
//! # Rooms
//! - Here: what users call, and what is registered. `owner`, `host`: the two sides. `border`: what crosses. `afar`: addresses of
//!   the other side's actors, `exported`: those of this side's. `frames`: what is said of addresses. `receipts`: what was
//!   received of what has crossed.

mod afar;
mod border;
mod exported;
mod frames;
mod host;
mod owner;
mod receipts;

use std::any::type_name;
use std::ffi::OsString;
use std::io;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::address::Address;
use super::behaviour::Actor;
use super::builder::Builder;
use super::error::NameTaken;
use super::mailbox::Mailbox;
use super::supervisor::Child;
use crate::process::host::{self as hosts, Plan, Registrable};
use crate::process::{Hosting, RemoteError};
pub(super) use afar::Afar;
use owner::{Call, pass_on};
pub(super) use receipts::Receipts;

/// How an actor is started in a process of its own: see [`Builder::process`].
///
/// The process runs this same program, which calls [`process::host`](crate::process::host) first in `main`. Its body is a
/// plain `fn` that [`registered!`](crate::registered) names, or a type that [`registered_actor!`](crate::registered_actor)
/// names, whose value is sent there. Messages have serde's traits and cross as bytes; in them, a
/// [`Reply`](super::Reply) and an [`Address`] lead back. Addresses, names, monitors, links and supervisors are as for every
/// actor; names are known in the owner's process alone.
///
/// When the process dies, the actor has failed, with [`RemoteError::Died`] and its status or signal. A message that does not
/// encode or decode, or that is too long, is lost, and [reported](crate::Report::Undelivered); the actor goes on. No process
/// outlives its owner. A killed actor's process is killed, so that nothing in it is told.
///
/// What is reported in the process is told to the hook of the process, which is this program's if it is set before
/// [`process::host`](crate::process::host) is called: failures and dead letters of further actors that are started there, as
/// long as it lives. Messages that were sent to one from outside, and were not received when the process died, are reported
/// outside; up to 16 of those that were received may be among them.
///
/// An address that has come out of another process, of an actor that was started there, has the bound of that actor's
/// mailbox, is closed and killed as it, and ends as it: with [`RemoteError::Lost`] if its process has died.
///
/// # Examples
/// ```no_run
/// use osier::actor::{Builder, Mailbox, Reply};
/// use osier::{process, registered};
///
/// fn double(inbox: &Mailbox<(u32, Reply<u32>)>) {
///     for (n, reply) in inbox {
///         reply.send(2 * n).unwrap();
///     }
/// }
///
/// process::host();
/// // Without `.process()`, or with `.thread()`, it is the same.
/// let doubler = Builder::new().process().start("doubler", registered!(double)).unwrap();
/// assert_eq!(doubler.ask(|reply| (21, reply)), Ok(42));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `start` is called"]
pub struct ProcessBuilder {
    base: Builder,
    plan: Plan,
}

impl ProcessBuilder {
    pub(super) fn new(base: Builder) -> Self {
        Self { base, plan: Plan::default() }
    }

    /// Sets how many bytes a message may have, either way, 64 MiB if it is not called.
    pub fn message_limit(mut self, bytes: usize) -> Self {
        self.plan.limit = bytes;
        self
    }

    /// Starts the process with these arguments, instead of none.
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.plan.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts the process with this variable in its environment, beside those of this process.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.plan.environment.push((key.into(), value.into()));
        self
    }

    /// Starts the registered function `body` as an actor that is known as `name`.
    ///
    /// That it is not registered, or that no process can be started, is a failure of the actor.
    ///
    /// # Errors
    /// An actor of this name runs.
    ///
    /// # Panics
    /// As [`Builder::start`].
    pub fn start<F, M>(self, name: &str, body: F) -> Result<Address<M>, NameTaken>
    where
        F: Fn(&Mailbox<M>) + Copy + 'static,
        M: Serialize + Send + 'static,
    {
        let _ = body;
        let Self { base, plan } = self;
        base.start(name, move |inbox| pass_on(&plan, call_of::<F>(), inbox))
    }

    /// Starts the registered function `body` as an actor without a name.
    ///
    /// # Panics
    /// As [`Builder::start`].
    pub fn spawn<F, M>(self, body: F) -> Address<M>
    where
        F: Fn(&Mailbox<M>) + Copy + 'static,
        M: Serialize + Send + 'static,
    {
        let _ = body;
        let Self { base, plan } = self;
        base.spawn(move |inbox| pass_on(&plan, call_of::<F>(), inbox))
    }

    /// Starts `actor`, which is sent to the process, under the name `name`.
    ///
    /// That its type is not registered, that it does not encode or decode, or that no process can be started, is a failure
    /// of the actor.
    ///
    /// # Errors
    /// An actor of this name runs.
    ///
    /// # Panics
    /// As [`Builder::start`].
    pub fn start_actor<A>(self, name: &str, actor: A) -> Result<Address<A::Message>, NameTaken>
    where
        A: Actor + Serialize + Send + 'static,
        A::Message: Serialize,
    {
        let Self { base, plan } = self;
        base.start(name, move |inbox| pass_on(&plan, call_with(actor), inbox))
    }

    /// Starts `actor`, which is sent to the process, without a name.
    ///
    /// # Panics
    /// As [`Builder::start`].
    pub fn spawn_actor<A>(self, actor: A) -> Address<A::Message>
    where
        A: Actor + Serialize + Send + 'static,
        A::Message: Serialize,
    {
        let Self { base, plan } = self;
        base.spawn(move |inbox| pass_on(&plan, call_with(actor), inbox))
    }

    /// Describes an actor for a [`Supervisor`](super::Supervisor), that is made here by `make`, and sent to a new process, for
    /// each start.
    pub fn child<A>(self, make: impl Fn() -> A + Send + Sync + 'static) -> Child<A::Message>
    where
        A: Actor + Serialize + 'static,
        A::Message: Serialize,
    {
        let Self { base, plan } = self;
        base.child_body(move |inbox| pass_on(&plan, call_with(make()), inbox))
    }

    /// Describes an actor for a [`Supervisor`](super::Supervisor) by its registered body, which is called in a new process at
    /// each start.
    pub fn child_body<F, M>(self, body: F) -> Child<M>
    where
        F: Fn(&Mailbox<M>) + Copy + 'static,
        M: Serialize + Send + 'static,
    {
        let _ = body;
        let Self { base, plan } = self;
        base.child_body(move |inbox| pass_on(&plan, call_of::<F>(), inbox))
    }
}

fn name_of<T: 'static>() -> Result<&'static str, RemoteError> {
    hosts::name_of_function::<T>().ok_or(RemoteError::NotRegistered { function: type_name::<T>() })
}

fn call_of<F: Copy + 'static>() -> Result<Call, RemoteError> {
    const { assert!(size_of::<F>() == 0, "only functions in `registered!` run in processes: this captures, or points") };
    Ok(Call { function: name_of::<F>()?, argument: Vec::new() })
}

fn call_with<A: Serialize + 'static>(actor: A) -> Result<Call, RemoteError> {
    let function = name_of::<A>()?;
    let argument = postcard::to_stdvec(&actor).map_err(|error| RemoteError::Encode(error.to_string()))?;
    Ok(Call { function, argument })
}

// ---- what is registered

/// Says that a function is the body of an actor that receives `M`.
#[derive(Debug)]
#[allow(unnameable_types, reason = "the compiler alone names it, to tell jobs from actors")]
pub struct AsBody<M>(PhantomData<fn(M)>);

impl<F, M> Registrable<AsBody<M>> for F
where
    F: Fn(&Mailbox<M>) + Copy + Send + 'static,
    M: DeserializeOwned + Send + 'static,
{
    const SERVE: fn(&[u8], &Hosting) -> io::Result<()> =
        |_, hosting| host::serve(hosting, |inbox| hosts::function::<F>()(inbox));
}

/// Registers a type that is an [`Actor`], so that it can run in another process: see [`ProcessBuilder`].
///
/// It stands among the items of a module. The type and its messages have serde's `Serialize` and `DeserializeOwned`.
///
/// # Examples
/// ```
/// use osier::actor::{Actor, Context};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Printer {
///     prefix: String,
/// }
///
/// osier::registered_actor!(Printer);
///
/// impl Actor for Printer {
///     type Message = String;
///
///     fn receive(&mut self, text: String, _: &Context<'_, String>) {
///         println!("{}: {text}", self.prefix);
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! registered_actor {
    ($actor:ty) => {
        $crate::process::__inventory::submit! {
            $crate::process::Entry::__of_type::<$actor>(
                $crate::__name_of_registered!($actor),
                $crate::actor::__serve::<$actor>,
            )
        }
    };
}

/// Serves an actor of the type `A` in a host.
#[doc(hidden)]
#[allow(clippy::missing_errors_doc, reason = "only `registered_actor!` names it")]
pub fn __serve<A>(argument: &[u8], hosting: &Hosting) -> io::Result<()>
where
    A: Actor + DeserializeOwned + Send + 'static,
    A::Message: DeserializeOwned,
{
    host::serve_actor::<A>(argument, hosting)
}
