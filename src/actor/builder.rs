//! How an actor is started, and how it ends.
//!
//! ```text
//!   start: take the name ──→ spawn ──→ publish the address (or the actor does, if it is first)
//!   end:   the body has returned or unwound ──→ mailbox closed, the rest of it counted and dropped ──→ name free
//! ```

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use super::address::Address;
use super::error::NameTaken;
use super::mailbox::Mailbox;
use super::registry::{self, Name};
use crate::exception::{ExitKind, catch_exit};
use crate::runtime::LocalRuntime;
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
        let address = self.launch(name, Some(taken), body);
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
        self.launch("actor".into(), None, body)
    }

    fn launch<M: Send + 'static>(
        self,
        name: Arc<str>,
        taken: Option<Name>,
        body: impl FnOnce(&Mailbox<M>) + Send + 'static,
    ) -> Address<M> {
        let (sender, receiver) = self.mailbox.map_or_else(channel::unbounded, channel::bounded);
        let mailbox = Mailbox::new(name.clone(), receiver);
        let publication = taken.as_ref().map(|taken| (taken.id(), name.clone(), sender.clone()));
        let residence = Residence { mailbox, _name: taken };
        let run = move || {
            let residence = residence;
            publish_myself(publication);
            let ended = catch_exit(|| body(&residence.mailbox));
            if let Err(exit) = ended
                && exit.kind() != ExitKind::ActorClosed
            {
                exit.resume();
            }
        };
        let mut builder = task::Builder::new().name(name.to_string());
        if let Some(bytes) = self.stack_size {
            builder = builder.stack_size(bytes);
        }
        let task = if self.has_thread {
            on_a_thread(&name, builder, run).unwrap_or_else(|error| panic!("no thread for actor '{name}': {error}"))
        } else {
            builder.spawn(run).task()
        };
        Address::new(name, sender, task)
    }
}

/// What an actor has as long as it lives. Fields are dropped in this order.
struct Residence<M> {
    mailbox: Mailbox<M>,
    _name: Option<Name>,
}

/// Lets others find the running actor, in case it sends to itself before whoever starts it has done so.
fn publish_myself<M: Send + 'static>(publication: Option<(u64, Arc<str>, Sender<M>)>) {
    if let Some((id, name, sender)) = publication {
        registry::publish(id, Address::new(name, sender, task::current()));
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
    let thread = thread::Builder::new().name(name.replace('\0', "?"));
    thread.spawn(move || {
        LocalRuntime::new().run(|| {
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
