//! Where an actor finds its messages.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::address::Address;
use super::life::Life;
#[cfg(feature = "processes")]
use super::process::Receipts;
use crate::coroutine::unwind;
use crate::exception::{ExitKind, Leaving, Report, report};
use crate::sync::Wait;
use crate::sync::channel::{Receiver, RecvTimeoutError, SelectedOperation};
use crate::sync::select_expansion::{Operation, Receive};

/// An actor's messages, in the order in which they were sent.
///
/// # Examples
/// An actor that does something when it is closed:
/// ```
/// use osier::{actor, catch_exit, sync::channel};
///
/// let (sender, receiver) = channel::unbounded();
/// let greeter = actor::start("greeter", move |inbox| {
///     let name = |name: &str| sender.send(name.to_owned()).unwrap();
///     let exit = catch_exit(|| loop { name(inbox.recv()) }).unwrap_err();
///     name("goodbye");
///     exit.resume();
/// })?;
/// greeter.send("Ann")?;
/// greeter.close();
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), ["Ann", "goodbye"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
/// In a [`select!`](crate::select!) it stands as a receiver does, and unwinds as [`recv`](Self::recv) does at its end. For
/// [`wait`](crate::wait) it is ready when a message is there, or none will come:
/// ```
/// use osier::{actor::{Builder, Mailbox}, select, sync::channel};
///
/// let (orders, incoming) = channel::unbounded::<u32>();
/// let (says, heard) = channel::unbounded();
/// let clerk = Builder::new().spawn(move |inbox: &Mailbox<u32>| loop {
///     select! {
///         recv(inbox) -> number => says.send(number).unwrap(),
///         recv(incoming) -> order => says.send(10 * order.unwrap()).unwrap(),
///     }
/// });
/// clerk.send(1)?;
/// assert_eq!(heard.recv()?, 1);
/// orders.send(1)?;
/// assert_eq!(heard.recv()?, 10);
/// clerk.close();
/// clerk.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mailbox<M> {
    /// Of the actor.
    name: Arc<str>,
    receiver: Receiver<M>,
    /// Who runs the actor. Written when it begins to run, if it was not known before.
    life: OnceLock<Life>,
    /// Whether the actor was told that nothing more comes.
    has_ended: AtomicBool,
    #[cfg(feature = "processes")]
    counter: Counter,
}

/// Who is told of each message that an actor receives.
#[cfg(feature = "processes")]
enum Counter {
    Nobody,
    /// The owner of this host, who reports what is not received, and is told how many are left.
    Owner(Box<dyn Fn(usize) + Send + Sync>),
    /// Whoever sends to an actor of this host from another process.
    Receipts(Arc<Receipts>),
}

impl<M> Mailbox<M> {
    pub(super) fn new(name: Arc<str>, receiver: Receiver<M>) -> Self {
        Self {
            name,
            receiver,
            life: OnceLock::new(),
            has_ended: AtomicBool::new(false),
            #[cfg(feature = "processes")]
            counter: Receipts::of_host().map_or(Counter::Nobody, Counter::Receipts),
        }
    }

    /// Lets `counter` know of each message that is received, for the owner, who reports the others.
    #[cfg(feature = "processes")]
    pub(super) fn count_for_owner(&mut self, counter: impl Fn(usize) + Send + Sync + 'static) {
        self.counter = Counter::Owner(Box::new(counter));
    }

    /// What the actor has received, if that is counted for others than the owner.
    #[cfg(feature = "processes")]
    pub(super) fn receipts(&self) -> Option<&Arc<Receipts>> {
        match &self.counter {
            Counter::Receipts(receipts) => Some(receipts),
            Counter::Nobody | Counter::Owner(_) => None,
        }
    }

    #[inline(always)]
    fn received(&self, message: M) -> M {
        #[cfg(feature = "processes")]
        match &self.counter {
            Counter::Nobody => {}
            Counter::Owner(counter) => counter(self.len()),
            Counter::Receipts(receipts) => receipts.add(|| self.len()),
        }
        message
    }

    /// Whether somebody else reports what is not received.
    fn is_counted(&self) -> bool {
        #[cfg(feature = "processes")]
        return matches!(self.counter, Counter::Owner(_));
        #[cfg(not(feature = "processes"))]
        false
    }

    /// What makes the actor's address, and is not one: it does not keep the actor from ending.
    #[cfg(feature = "processes")]
    pub(super) fn addresses(&self) -> impl Fn() -> Address<M> + Send + Sync + use<M>
    where
        M: Send,
    {
        let (name, receiver, life) = (self.name.clone(), self.receiver.clone(), self.life().clone());
        move || Address::new(name.clone(), receiver.sender(), life.clone())
    }

    /// What closes the mailbox, as [`Address::close`] does.
    #[cfg(feature = "processes")]
    pub(super) fn closes(&self) -> impl Fn() + Send + Sync + use<M>
    where
        M: Send,
    {
        let receiver = self.receiver.clone();
        move || _ = receiver.close()
    }

    /// The actor's name.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Notes who runs the actor; the first one counts.
    pub(super) fn set_life(&self, life: Life) {
        _ = self.life.set(life);
    }

    /// The actor's address, to be sent to others. An actor without a name lives at least as long as that.
    ///
    /// # Examples
    /// ```
    /// use osier::actor::Builder;
    /// use osier::sync::channel;
    ///
    /// let (sender, receiver) = channel::bounded(1);
    /// let actor = Builder::new().spawn(move |inbox| {
    ///     sender.send(inbox.address()).unwrap();
    ///     assert_eq!(inbox.recv(), "by way of the actor itself");
    /// });
    /// receiver.recv()?.send("by way of the actor itself")?;
    /// actor.task().join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn address(&self) -> Address<M> {
        Address::new(self.name.clone(), self.receiver.sender(), self.life().clone())
    }

    fn life(&self) -> &Life {
        self.life.get().unwrap_or_else(|| unreachable!("an actor has its mailbox only while it runs"))
    }

    /// Receives the next message, waiting for one.
    ///
    /// When the actor was closed and has received all, this unwinds it with an exit of kind
    /// [`ActorClosed`](ExitKind::ActorClosed), which [`catch_exit`](crate::catch_exit) takes.
    ///
    /// # Suspends
    /// The actor, until a message comes.
    ///
    /// # Cancel safety
    /// An actor that is killed while it waits has received nothing.
    ///
    /// # Panics
    /// If it is called again after that exit was caught: nothing more can come.
    pub fn recv(&self) -> M {
        self.receiver.recv().map_or_else(|_| self.end(), |message| self.received(message))
    }

    /// Receives a message if one is there.
    pub fn try_recv(&self) -> Option<M> {
        self.receiver.try_recv().ok().map(|message| self.received(message))
    }

    /// Receives the next message, waiting for at most `timeout`; `None` if none has come.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv), and with its exit.
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    ///
    /// # Panics
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Option<M> {
        self.in_time(self.receiver.recv_timeout(timeout))
    }

    /// Receives the next message, waiting until `deadline`; `None` if none has come.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv), and with its exit.
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    ///
    /// # Panics
    /// As [`recv`](Self::recv).
    pub fn recv_deadline(&self, deadline: Instant) -> Option<M> {
        self.in_time(self.receiver.recv_deadline(deadline))
    }

    fn in_time(&self, received: Result<M, RecvTimeoutError>) -> Option<M> {
        match received {
            Ok(message) => Some(self.received(message)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => self.end(),
        }
    }

    /// Iterates over what comes, until the actor was closed and has received all. No exit is thrown then: the loop ends.
    ///
    /// # Suspends
    /// Each `next`, until a message comes.
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv): a message that was not given stays.
    pub fn iter(&self) -> Iter<'_, M> {
        Iter { mailbox: self }
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Whether the actor was closed: what waits is all that comes.
    pub fn is_closed(&self) -> bool {
        self.receiver.is_closed()
    }

    #[cold]
    fn end(&self) -> ! {
        // Relaxed: the actor alone reads and writes it, on one thread.
        if self.has_ended.swap(true, Ordering::Relaxed) {
            panic!("actor '{}' caught the exit that ends it and receives again, but it is closed", self.name);
        }
        Leaving::of_task(ExitKind::ActorClosed).throw()
    }
}

/// The actor has ended, or never ran.
impl<M> Drop for Mailbox<M> {
    fn drop(&mut self) {
        // First nothing more is sent; then what is left is all.
        self.receiver.close();
        let messages = self.receiver.drain();
        if messages.len() > 0 && !self.is_counted() {
            report(&Report::DeadLetters { name: &self.name, count: messages.len() });
        }
        #[cfg(feature = "processes")]
        if let Some(receipts) = self.receipts() {
            receipts.end();
        }
        unwind::drop_quietly(messages);
    }
}

impl<M> Receive for Mailbox<M> {
    type Received = M;

    fn __osier_operation(&self) -> Operation<'_> {
        Operation::of(&self.receiver)
    }

    fn __osier_complete(&self, operation: SelectedOperation<'_>) -> M {
        operation.recv(&self.receiver).map_or_else(|_| self.end(), |message| self.received(message))
    }
}

impl<M> Wait for Mailbox<M> {
    fn __osier_wait(&self) -> Operation<'_> {
        Operation::of(&self.receiver)
    }
}

impl<'a, M> IntoIterator for &'a Mailbox<M> {
    type Item = M;
    type IntoIter = Iter<'a, M>;

    fn into_iter(self) -> Iter<'a, M> {
        self.iter()
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("name", &self.name).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// See [`Mailbox::iter`].
#[derive(Debug)]
pub struct Iter<'a, M> {
    mailbox: &'a Mailbox<M>,
}

impl<M> Iterator for Iter<'_, M> {
    type Item = M;

    fn next(&mut self) -> Option<M> {
        self.mailbox.receiver.recv().ok().map(|message| self.mailbox.received(message))
    }
}

impl<M> FusedIterator for Iter<'_, M> {}
