//! How an actor is started, and how it ends.
//!
//! ```text
//!   start: take the name ──→ spawn ──→ publish the address (or the actor does, if it is first)
//!   end:   the body has returned or unwound ──→ mailbox closed, the rest of it counted and dropped ──→ name free
//! ```

use std::io;
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;

use super::address::Address;
use super::behaviour::{Actor, live};
use super::error::NameTaken;
use super::life::Life;
use super::mailbox::Mailbox;
#[cfg(feature = "processes")]
use super::process::{ProcessBuilder, Receipts};
use super::registry::{self, Name};
use super::supervisor::Child;
use crate::exception::{ExitKind, catch_exit};
use crate::runtime::{LocalRuntime, Shared};
use crate::sync::Event;
use crate::sync::channel::{self, Sender};
use crate::task::{self, Task};

/// How an actor is to be started: how much its mailbox holds, its stack, and whether it gets a thread.
///
/// # Examples
/// ```
/// use osier::actor::{Builder, SendError};
///
/// let (go, wait) = osier::sync::channel::bounded::<()>(0);
/// let slow = Builder::new().mailbox(1).start("slow", move |inbox| {
///     _ = wait.recv();
///     assert_eq!(inbox.recv() + inbox.recv(), 3);
/// })?;
/// slow.try_send(1)?;
/// assert!(matches!(slow.try_send(2), Err(SendError::Full(2))));
/// drop(go);
/// slow.send(2)?;
/// slow.task().join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `start` is called"]
pub struct Builder {
    mailbox: Option<usize>,
    stack_size: Option<usize>,
    has_thread: bool,
}

impl Builder {
    /// Starts with a mailbox without bounds, on the workers, with the runtime's stack size.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the mailbox hold `messages` at most: whoever sends to a full one waits. With 0, a send waits until its
    /// message is received.
    pub fn mailbox(mut self, messages: usize) -> Self {
        self.mailbox = Some(messages);
        self
    }

    /// Sets the usable bytes of the actor's stack.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Gives the actor an OS thread of its own, so that it may compute, or call what blocks, without holding up others.
    ///
    /// It is the one task of a [`LocalRuntime`] on that thread. Everything else is as on a worker: the same body, the same
    /// address. The thread ends with the actor; a process does not wait for it.
    ///
    /// Actors that it starts live on the runtime of whoever has started it (on the default one if that has ended), go on while
    /// it computes, and outlive it. Tasks that it spawns run on its thread, whenever it waits, and are cancelled when it
    /// ends.
    pub fn thread(mut self) -> Self {
        self.has_thread = true;
        self
    }

    /// Starts an actor that is known as `name`. See [`start`](super::start).
    ///
    /// # Errors
    /// An actor of this name runs.
    ///
    /// # Panics
    /// If the runtime is shutting down; if the system refuses a thread.
    pub fn start<M: Send + 'static>(
        self,
        name: &str,
        body: impl FnOnce(&Mailbox<M>) + Send + 'static,
    ) -> Result<Address<M>, NameTaken> {
        let name: Arc<str> = name.into();
        let taken = Name::take(&name)?;
        let id = taken.id();
        let (sender, residence) = self.residence(name, Some(taken));
        let address = self.launch(sender, residence, body);
        registry::publish(id, address.clone());
        Ok(address)
    }

    /// Starts an actor without a name. It ends as if closed when the last clone of its address is dropped.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    ///
    /// # Examples
    /// ```
    /// let (sender, receiver) = osier::sync::channel::unbounded();
    /// let squares = osier::actor::Builder::new().spawn(move |inbox| {
    ///     inbox.iter().for_each(|n: u32| sender.send(n * n).unwrap());
    /// });
    /// (1..=3).for_each(|n| squares.send(n).unwrap());
    /// drop(squares);
    /// assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 4, 9]);
    /// ```
    pub fn spawn<M: Send + 'static>(self, body: impl FnOnce(&Mailbox<M>) + Send + 'static) -> Address<M> {
        let (sender, residence) = self.residence(no_name(), None);
        self.launch(sender, residence, body)
    }

    /// Starts `actor` under the name `name`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_actor<A>(self, name: &str, actor: A) -> Result<Address<A::Message>, NameTaken>
    where
        A: Actor + Send + 'static,
    {
        self.start(name, |inbox| live(actor, inbox))
    }

    /// Starts `actor` without a name. It ends as if closed when the last clone of its address is dropped.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn spawn_actor<A: Actor + Send + 'static>(self, actor: A) -> Address<A::Message> {
        self.spawn(|inbox| live(actor, inbox))
    }

    /// Gives the actor a process of its own: see [`ProcessBuilder`].
    #[cfg(feature = "processes")]
    pub fn process(self) -> ProcessBuilder {
        ProcessBuilder::new(self)
    }

    /// Describes an actor for a [`Supervisor`](super::Supervisor), that is made anew by `make` for each start.
    pub fn child<A: Actor + 'static>(self, make: impl Fn() -> A + Send + Sync + 'static) -> Child<A::Message> {
        self.child_body(move |inbox| live(make(), inbox))
    }

    /// Describes an actor for a [`Supervisor`](super::Supervisor) by its body, which is called at each start.
    pub fn child_body<M: Send + 'static>(self, body: impl Fn(&Mailbox<M>) + Send + Sync + 'static) -> Child<M> {
        Child::new(self, body)
    }

    /// Starts the actor that lives in `residence`.
    pub(super) fn launch<M: Send + 'static>(
        self,
        sender: Sender<M>,
        residence: Residence<M>,
        body: impl FnOnce(&Mailbox<M>) + Send + 'static,
    ) -> Address<M> {
        let label = residence.label();
        let task = self.run(&label, move || residence.live(body)).unwrap_or_else(|error| panic!("{error}"));
        Address::new(label.name, sender, Life::Once(task))
    }

    /// Starts an actor whose received messages are counted.
    #[cfg(feature = "processes")]
    pub(super) fn spawn_counted<M: Send + 'static>(
        self,
        counter: impl Fn(usize) + Send + Sync + 'static,
        body: impl FnOnce(&Mailbox<M>) + Send + 'static,
    ) -> Address<M> {
        let (sender, mut residence) = self.residence(no_name(), None);
        residence.mailbox.count_for_owner(counter);
        self.launch(sender, residence, body)
    }

    /// What an actor needs to live.
    pub(super) fn residence<M>(&self, name: Arc<str>, taken: Option<Name>) -> (Sender<M>, Residence<M>) {
        let (sender, receiver) = self.mailbox.map_or_else(channel::unbounded, channel::bounded);
        (sender, Residence { mailbox: Mailbox::new(name, receiver), name: taken })
    }

    /// Runs an actor, as a task or on a thread. An error if the runtime is shutting down, or the system refuses a thread.
    pub(super) fn run(&self, label: &Label, run: impl FnOnce() + Send + 'static) -> io::Result<Task> {
        let (mut builder, name) = (label.mark(task::Builder::new()), &label.name);
        if let Some(bytes) = self.stack_size {
            builder = builder.stack_size(bytes);
        }
        if self.has_thread {
            return on_a_thread(name, builder, run)
                .map_err(|error| io::Error::new(error.kind(), format!("no thread for actor '{name}': {error}")));
        }
        let spawned = builder.try_spawn_lasting(run).map_err(|refused| io::Error::other(refused.to_string()))?;
        Ok(spawned.task())
    }
}

/// What actors are called that have no name.
const NO_NAME: &str = "actor";

/// One text for all of them.
fn no_name() -> Arc<str> {
    static NAME: LazyLock<Arc<str>> = LazyLock::new(|| NO_NAME.into());
    NAME.clone()
}

/// What the tasks of an actor are known by.
pub(super) struct Label {
    name: Arc<str>,
    #[cfg(feature = "processes")]
    receipts: Option<Arc<Receipts>>,
}

impl Label {
    /// Names a task, and lets whoever sends an address of the actor to another process find its receipts.
    fn mark(&self, builder: task::Builder) -> task::Builder {
        #[cfg(feature = "processes")]
        let builder = match &self.receipts {
            Some(receipts) => builder.data(receipts.clone()),
            None => builder,
        };
        if *self.name == *NO_NAME { builder.name(NO_NAME) } else { builder.name(self.name.to_string()) }
    }
}

/// What an actor has as long as it lives. Fields are dropped in this order.
pub(super) struct Residence<M> {
    mailbox: Mailbox<M>,
    name: Option<Name>,
}

impl<M: Send + 'static> Residence<M> {
    pub(super) fn mailbox(&self) -> &Mailbox<M> {
        &self.mailbox
    }

    pub(super) fn label(&self) -> Label {
        Label {
            name: self.mailbox.name().clone(),
            #[cfg(feature = "processes")]
            receipts: self.mailbox.receipts().cloned(),
        }
    }

    /// Runs the body in the task that is the actor, or one of those that a supervisor lets be it.
    pub(super) fn live(&self, body: impl FnOnce(&Mailbox<M>)) {
        self.mailbox.set_life(Life::Once(task::current()));
        // Others may find it now, in case it sends to itself before whoever starts it has done so.
        if let Some(name) = &self.name {
            registry::publish(name.id(), self.mailbox.address());
        }
        if let Err(exit) = catch_exit(|| body(&self.mailbox))
            && exit.kind() != ExitKind::ActorClosed
        {
            exit.resume();
        }
    }
}

/// Runs the actor as a task of a runtime on a thread of its own.
fn on_a_thread(name: &str, builder: task::Builder, run: impl FnOnce() + Send + 'static) -> io::Result<Task> {
    struct SetOnDrop(Event);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.set();
        }
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let ended = Event::new();
    let sets = SetOnDrop(ended.clone());
    let starter = Shared::lasting();
    let thread = thread::Builder::new().name(name.replace('\0', "?"));
    thread.spawn(move || {
        LocalRuntime::within(starter).run(|| {
            let task = builder.spawn(move || {
                let _sets = sets;
                run();
            });
            // Nobody joins it here, so that its failure is reported unless somebody else asks.
            _ = sender.send(task.task());
            drop(task);
            ended.wait();
        });
    })?;
    // The thread sends at once: nothing of a user's runs before.
    receiver.recv().map_err(|_| io::Error::other("the thread has ended"))
}
