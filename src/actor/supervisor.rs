//! Supervisors: they start actors, and start them again when they fail.
//!
//! ```text
//!   start ─→ child: mailbox, name, address │ task ─→ ends ─→ link ─→ Order::Ended ─→ supervisor: again? whom else?
//!            (as long as it is kept)       │ (one life)
//! ```
//!
//! # Invariants
//! - A child has at most one task. Before it is started again, that has ended.
//! - An end is told with the number of its life: what is told of an earlier one, which the supervisor has ended, is nothing
//!   new.
//! - A supervisor ends only when all of its children have.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::address::Address;
use super::builder::{Builder, Residence};
use super::error::NameTaken;
use super::life::{Kept, Life};
use super::mailbox::Mailbox;
use super::registry::{self, Name};
use super::reply::Reply;
use crate::coroutine::{current as clock, unwind};
use crate::exception::{Report, raise, report};
use crate::task::{self, JoinError, Task};

/// Whom a supervisor starts again when a child has failed: Erlang's strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// That child.
    OneForOne,
    /// All children: the others are ended first, the newest first.
    OneForAll,
    /// That child, and those that were started after it.
    RestForOne,
}

/// When a child is started again. Never when its address was [closed](Address::close) and it has received all: that ends it
/// for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Restart {
    /// Whenever it has ended.
    Permanent,
    /// When it has failed, or was killed.
    Transient,
    /// Never.
    Temporary,
}

/// How an actor is made, as often as needed: see [`Builder::child`].
#[must_use = "a child is started by a supervisor"]
pub struct Child<M> {
    builder: Builder,
    body: Body<M>,
}

type Body<M> = Arc<dyn Fn(&Mailbox<M>) + Send + Sync>;

impl<M> Child<M> {
    pub(super) fn new(builder: Builder, body: impl Fn(&Mailbox<M>) + Send + Sync + 'static) -> Self {
        Self { builder, body: Arc::new(body) }
    }
}

impl<M> fmt::Debug for Child<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("builder", &self.builder).finish_non_exhaustive()
    }
}

/// Why a supervisor has not started a child.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildError {
    /// An actor of this name runs.
    NameTaken(NameTaken),
    /// The supervisor has ended, or was stopped.
    Ended,
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTaken(taken) => taken.fmt(f),
            Self::Ended => f.write_str("the supervisor has ended"),
        }
    }
}

impl Error for ChildError {}

/// What is raised in a supervisor that gives up, when its children fail too often.
#[derive(Clone, Debug)]
pub struct TooManyRestarts {
    child: Arc<str>,
    limit: usize,
    period: Duration,
    reason: Option<JoinError>,
}

impl TooManyRestarts {
    /// The child that has ended once too often.
    pub fn child(&self) -> &str {
        &self.child
    }

    /// How it has ended, if it has failed.
    pub fn reason(&self) -> Option<&JoinError> {
        self.reason.as_ref()
    }
}

impl fmt::Display for TooManyRestarts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} restarts within {:?}: actor '{}' ", self.limit, self.period, self.child)?;
        match &self.reason {
            Some(reason) => write!(f, "has failed: {reason}"),
            None => f.write_str("has ended"),
        }
    }
}

impl Error for TooManyRestarts {}

/// Starts actors, and starts them again when they have failed: Erlang's supervisor.
///
/// A child's address stays valid: its mailbox and its name are kept while it is started again, and messages that it had not
/// received wait for it. The one that it failed with is gone; of a child in a process, so are those that were on the way there,
/// up to 64, which are counted as dead letters. Each failure that is mended so is [reported](crate::Report::Restarted); one
/// that ends a child for good is [reported](crate::Report::Unjoined) whether or not somebody joins it.
///
/// When children end more often than [`intensity`](SupervisorBuilder::intensity) allows, the supervisor ends the others, the
/// newest first, and fails with [`TooManyRestarts`]; a link or a supervisor above it then decides.
///
/// A handle: clones are the same supervisor. Dropping the last one changes nothing; [`stop`](Self::stop) ends it.
///
/// # Examples
/// ```
/// use osier::actor::{Actor, Builder, Context, Reply, Restart, Strategy, Supervisor};
///
/// struct Divider;
///
/// impl Actor for Divider {
///     type Message = (u32, u32, Reply<u32>);
///
///     fn receive(&mut self, (a, b, reply): Self::Message, _: &Context<'_, Self::Message>) {
///         reply.send(a / b).unwrap();
///     }
/// }
///
/// # osier::set_report_hook(|_| ());
/// let supervisor = Supervisor::builder(Strategy::OneForOne).start();
/// let divider = supervisor.start("divider", Restart::Permanent, Builder::new().child(|| Divider))?;
/// assert!(divider.ask(|reply| (1, 0, reply)).is_err(), "it panics");
/// assert_eq!(divider.ask(|reply| (6, 3, reply)), Ok(2));
/// supervisor.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Supervisor {
    address: Address<Order>,
}

/// How a supervisor is made: see [`Supervisor::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `start` is called"]
pub struct SupervisorBuilder {
    strategy: Strategy,
    intensity: Option<(usize, Duration)>,
}

impl SupervisorBuilder {
    /// Lets the supervisor give up when children must be started again more than `restarts` times within `period`. If it is
    /// not called, once in five seconds, as in Erlang. A restart of several children counts once.
    pub fn intensity(mut self, restarts: usize, period: Duration) -> Self {
        self.intensity = Some((restarts, period));
        self
    }

    /// Lets the supervisor never give up.
    pub fn unlimited(mut self) -> Self {
        self.intensity = None;
        self
    }

    /// Starts the supervisor, as an actor of its own.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    pub fn start(self) -> Supervisor {
        Supervisor { address: Builder::new().spawn(move |inbox| supervise(self, inbox)) }
    }
}

impl Supervisor {
    /// Begins to make a supervisor.
    pub fn builder(strategy: Strategy) -> SupervisorBuilder {
        SupervisorBuilder { strategy, intensity: Some((1, Duration::from_secs(5))) }
    }

    /// Starts `child` as an actor that is known as `name`, and keeps it.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, until the supervisor has time for it.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; what it asked for may be done all the same.
    ///
    /// # Errors
    /// An actor of this name runs; or the supervisor has ended.
    pub fn start<M: Send + 'static>(
        &self,
        name: &str,
        restart: Restart,
        child: Child<M>,
    ) -> Result<Address<M>, ChildError> {
        let name: Arc<str> = name.into();
        let taken = Name::take(&name).map_err(ChildError::NameTaken)?;
        let id = taken.id();
        let kept = Kept::new();
        let (sender, residence) = child.builder.residence(name.clone(), Some(taken));
        residence.mailbox().set_life(Life::Kept(kept.clone()));
        let address = Address::new(name.clone(), sender, Life::Kept(kept.clone()));
        let record = Record { name, child, residence: Arc::new(residence), kept: OverOnDrop(kept) };
        let held = Held { restart, life: 0, task: None, keep: Box::new(record) };
        self.address.ask(|reply| Order::Start(held, reply)).map_err(|_| ChildError::Ended)?;
        registry::publish(id, address.clone());
        Ok(address)
    }

    /// How many times it has started children again.
    ///
    /// # Suspends
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Errors
    /// It has ended.
    pub fn restarts(&self) -> Result<u64, ChildError> {
        self.address.ask(Order::Count).map_err(|_| ChildError::Ended)
    }

    /// Ends the children, the newest first, and then the supervisor; waits for that. They are killed: what their mailboxes
    /// hold are dead letters. For less haste, close and join them first.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the supervisor ends all the same.
    pub fn stop(&self) {
        self.address.close();
        // How it ends is asked by `task().join()`.
        while !self.task().is_finished() {
            _ = self.task().join();
        }
    }

    /// The task that runs it: to join, to link to, and to kill. With it end its children.
    pub fn task(&self) -> Task {
        self.address.task()
    }
}

/// What a supervisor is told.
enum Order {
    Start(Held, Reply<()>),
    /// This life of this child has ended.
    Ended {
        name: Arc<str>,
        life: u64,
        end: Result<(), JoinError>,
    },
    Count(Reply<u64>),
}

/// A child, and what is known of it.
struct Held {
    restart: Restart,
    /// The number of its last task, among those of the supervisor.
    life: u64,
    /// `None` before the first start.
    task: Option<Task>,
    keep: Box<dyn Keep + Send>,
}

impl Held {
    /// Ends its task, and waits for that.
    fn end(&self) {
        if let Some(task) = &self.task {
            task.kill();
            // It counts as told: whoever has ended it knows.
            _ = task.error();
        }
    }
}

/// A child, whatever it receives.
trait Keep {
    fn name(&self) -> &Arc<str>;
    /// Whether it was closed, and has received all.
    fn is_over(&self) -> bool;
    fn start(&self) -> io::Result<Task>;
}

/// Fields are dropped in this order: whoever joins the child finds its mailbox closed and its name free.
struct Record<M> {
    name: Arc<str>,
    child: Child<M>,
    residence: Arc<Residence<M>>,
    kept: OverOnDrop,
}

/// Tells those who join a child that it is not started again.
struct OverOnDrop(Arc<Kept>);

impl Drop for OverOnDrop {
    fn drop(&mut self) {
        self.0.set_over();
    }
}

impl<M: Send + 'static> Keep for Record<M> {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn is_over(&self) -> bool {
        let mailbox = self.residence.mailbox();
        mailbox.is_closed() && mailbox.is_empty()
    }

    fn start(&self) -> io::Result<Task> {
        let (residence, body, kept) = (self.residence.clone(), self.child.body.clone(), self.kept.0.clone());
        let task = self.child.builder.run(&self.residence.label(), move || {
            kept.set_task(task::current());
            residence.live(|inbox| body(inbox));
        })?;
        self.kept.0.set_task(task.clone());
        Ok(task)
    }
}

/// What a supervisor does until it is stopped, or gives up.
fn supervise(settings: SupervisorBuilder, inbox: &Mailbox<Order>) {
    let mut crew =
        Crew { settings, me: inbox.address(), children: Vec::new(), recent: VecDeque::new(), restarts: 0, lives: 0 };
    let served = unwind::intercept(|| crew.serve(inbox));
    task::shield(|| crew.end_all());
    // What comes too late is told of ends that it knows, or asks, and is answered by being dropped: no dead letters.
    crew.me.close();
    while inbox.try_recv().is_some() {}
    match served {
        Ok(Ok(())) => {}
        Ok(Err(too_many)) => raise(too_many),
        Err(payload) => unwind::throw(payload),
    }
}

struct Crew {
    settings: SupervisorBuilder,
    me: Address<Order>,
    /// In the order of their first start.
    children: Vec<Held>,
    /// When children were started again, the latest last: at most one more than the intensity allows.
    recent: VecDeque<Instant>,
    restarts: u64,
    /// How many tasks were started.
    lives: u64,
}

impl Crew {
    fn serve(&mut self, inbox: &Mailbox<Order>) -> Result<(), TooManyRestarts> {
        for order in inbox {
            match order {
                Order::Start(held, reply) => {
                    self.children.push(held);
                    self.start(self.children.len() - 1);
                    // Whoever asked may have gone; the child has come.
                    _ = reply.send(());
                }
                Order::Ended { name, life, end } => self.ended(&name, life, end)?,
                Order::Count(reply) => _ = reply.send(self.restarts),
            }
        }
        Ok(())
    }

    /// Gives a child a new life.
    fn start(&mut self, index: usize) {
        self.lives += 1;
        let held = &mut self.children[index];
        let task = held.keep.start().unwrap_or_else(|error| {
            // The runtime shuts down, and so shall this.
            task::throw_if_due();
            raise(error)
        });
        let (me, name, life) = (self.me.clone(), held.keep.name().clone(), self.lives);
        task.link(move |end| {
            // A supervisor that has ended wants to know of nothing.
            _ = me.send(Order::Ended { name, life, end: end.clone() });
        });
        (held.task, held.life) = (Some(task), life);
    }

    fn ended(&mut self, name: &Arc<str>, life: u64, end: Result<(), JoinError>) -> Result<(), TooManyRestarts> {
        let is_it = |held: &Held| held.life == life && held.keep.name() == name;
        let Some(index) = self.children.iter().position(is_it) else { return Ok(()) };
        let held = &self.children[index];
        let is_wanted = match held.restart {
            Restart::Permanent => true,
            Restart::Transient => end.is_err(),
            Restart::Temporary => false,
        };
        if !is_wanted || held.keep.is_over() {
            if let Err(error) = &end
                && !error.is_cancelled()
            {
                report(&Report::Unjoined { name, error });
            }
            drop(self.children.remove(index));
            return Ok(());
        }
        self.count(name, &end)?;
        if let Err(error) = &end {
            report(&Report::Restarted { name, error });
        }
        match self.settings.strategy {
            Strategy::OneForOne => self.start(index),
            Strategy::OneForAll => self.start_again(0),
            Strategy::RestForOne => self.start_again(index),
        }
        Ok(())
    }

    /// Counts a restart, or says that it is one too many.
    fn count(&mut self, name: &Arc<str>, end: &Result<(), JoinError>) -> Result<(), TooManyRestarts> {
        if let Some((limit, period)) = self.settings.intensity {
            let now = clock::now();
            self.recent.push_back(now);
            while self.recent.front().is_some_and(|&first| now.duration_since(first) > period) {
                self.recent.pop_front();
            }
            if self.recent.len() > limit {
                return Err(TooManyRestarts { child: name.clone(), limit, period, reason: end.clone().err() });
            }
        }
        self.restarts += 1;
        Ok(())
    }

    /// Ends the children from `first` on, and starts again those that are to be.
    fn start_again(&mut self, first: usize) {
        for held in self.children[first..].iter().rev() {
            held.end();
        }
        let is_over = |held: &Held| held.restart == Restart::Temporary || held.keep.is_over();
        let mut index = first;
        while index < self.children.len() {
            if is_over(&self.children[index]) {
                drop(self.children.remove(index));
            } else {
                self.start(index);
                index += 1;
            }
        }
    }

    /// Ends all children for good, the newest first.
    fn end_all(&mut self) {
        while let Some(held) = self.children.pop() {
            held.end();
        }
    }
}
