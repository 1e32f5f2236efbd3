//! Who dies tells whom: monitors, that send a message, and links, that take the other along.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address::Address;
use super::error::SendError;
use super::life::Life;
use crate::task::{self, JoinError, Link, Task};

/// How an actor has ended: what a [monitor](Address::monitor) tells.
#[derive(Clone, Debug)]
pub struct Down {
    name: Arc<str>,
    end: Result<(), JoinError>,
}

impl Down {
    /// The name of the actor that has ended.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it has ended: well, or why not. For one in another process that is the process's status or signal, as
    /// `process::RemoteError::Died` in the exception.
    pub fn end(&self) -> &Result<(), JoinError> {
        &self.end
    }
}

/// What is raised in an actor when one has failed that it is [linked](Address::link) to.
#[derive(Clone, Debug)]
pub struct LinkedEnd {
    name: Arc<str>,
    reason: JoinError,
}

impl LinkedEnd {
    /// The name of the actor that has failed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why.
    pub fn reason(&self) -> &JoinError {
        &self.reason
    }
}

impl fmt::Display for LinkedEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "actor '{}', which it is linked to, has failed: {}", self.name, self.reason)
    }
}

impl Error for LinkedEnd {}

/// Two actors that are linked. Dropping it changes nothing; [`unlink`](Self::unlink) parts them.
#[derive(Clone)]
pub struct ActorLink {
    halves: Halves,
}

/// The links of both tasks, while both live.
type Halves = Arc<Mutex<Both>>;

#[derive(Default)]
struct Both {
    links: [Option<Link>; 2],
    /// Whether one has ended, or they were parted.
    is_over: bool,
}

fn lock(halves: &Halves) -> MutexGuard<'_, Both> {
    halves.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ActorLink {
    /// Parts the two, so that each ends alone. False if one has ended, or they were parted before.
    pub fn unlink(&self) -> bool {
        part(&self.halves)
    }
}

fn part(halves: &Halves) -> bool {
    let mut both = lock(halves);
    let was_over = std::mem::replace(&mut both.is_over, true);
    let links = std::mem::take(&mut both.links);
    drop(both);
    // The one that calls this may be among them: it runs, so it stays.
    links.iter().flatten().for_each(|link| _ = link.unlink());
    !was_over
}

impl fmt::Debug for ActorLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorLink").field("is_over", &lock(&self.halves).is_over).finish()
    }
}

impl<M: Send + 'static> Address<M> {
    /// Sends `watcher` the message that `message` makes when this actor has ended; at once if it has. Such a message is
    /// queued behind others, and may wait for room, which holds up nobody. It counts as having been told of a failure.
    ///
    /// One that a supervisor keeps ends with each failure. The watcher's address is held until then, or until the link is
    /// taken back.
    ///
    /// # Examples
    /// ```
    /// use osier::actor::{Builder, Down, Mailbox};
    /// use osier::sync::channel;
    ///
    /// let (sender, receiver) = channel::unbounded();
    /// let watcher = Builder::new().spawn(move |inbox: &Mailbox<Down>| {
    ///     let down = inbox.recv();
    ///     sender.send((down.name().to_owned(), down.end().is_err())).unwrap();
    /// });
    /// let fragile = Builder::new().start("fragile one", |inbox| assert_ne!(inbox.recv(), 0))?;
    /// fragile.monitor(&watcher, |down| down);
    /// fragile.send(0)?;
    /// assert_eq!(receiver.recv()?, ("fragile one".to_owned(), true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn monitor<W: Send + 'static>(
        &self,
        watcher: &Address<W>,
        message: impl FnOnce(Down) -> W + Send + 'static,
    ) -> Link {
        let (watcher, name): (_, Arc<str>) = (watcher.clone(), self.name().into());
        let kept = self.kept_abroad();
        self.task().link(move |end| {
            drop(kept);
            // A watcher that has ended wants to know of nothing.
            if let Err(SendError::Full(down)) = watcher.try_send(message(Down { name, end: end.clone() })) {
                // Those who wait for this actor's end would wait for room as well, and the watcher may be one of them.
                let wait = move || _ = watcher.send(down);
                // The thread of an actor that has one ends right after this.
                drop(task::Builder::new().name("osier::actor::monitor").try_spawn_lasting(wait));
            }
        })
    }

    /// Links two actors: when one fails or is killed, the other is told by an exception, [`LinkedEnd`], that is raised in it
    /// at its next wait, and that ends it, unless it is [caught](crate::catch). An actor that ends well takes nobody along.
    ///
    /// One that a supervisor keeps is linked until it ends, and not when it was started again; one in another process is
    /// killed without being told. Linking an actor to itself does nothing.
    ///
    /// # Examples
    /// ```
    /// use osier::actor::{Builder, LinkedEnd, Mailbox};
    ///
    /// let [one, other] = [1, 2].map(|_| Builder::new().spawn(|inbox: &Mailbox<u32>| assert_ne!(inbox.recv(), 0)));
    /// one.link(&other);
    /// one.send(0)?;
    /// let error = other.join().unwrap_err();
    /// assert!(error.exception().unwrap().is::<LinkedEnd>());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn link<N: Send + 'static>(&self, other: &Address<N>) -> ActorLink {
        let halves = Halves::default();
        let tasks = [self.task(), other.task()];
        if tasks[0] == tasks[1] {
            lock(&halves).is_over = true;
            return ActorLink { halves };
        }
        let (names, lives): ([Arc<str>; 2], _) =
            ([self.name().into(), other.name().into()], [self.life().clone(), other.life().clone()]);
        let kept = Arc::new((self.kept_abroad(), other.kept_abroad()));
        for half in 0..2 {
            let (name, life, kept) = (names[half].clone(), lives[1 - half].clone(), kept.clone());
            let link = tell(&tasks[half], name, life, halves.clone(), kept);
            lock(&halves).links[half] = Some(link);
        }
        // One may have ended before its half lay there.
        if lock(&halves).is_over {
            part(&halves);
        }
        ActorLink { halves }
    }
}

impl<M> Address<M> {
    /// A clone, if the task that is linked would end without it although the actor lives on.
    fn kept_abroad(&self) -> Option<Self> {
        self.life().ends_with_its_address().then(|| self.clone())
    }
}

/// Lets `other` know when `task` has failed.
fn tell(task: &Task, name: Arc<str>, other: Life, halves: Halves, kept: impl Send + 'static) -> Link {
    task.link(move |end| {
        let was_linked = part(&halves);
        if let Err(reason) = end
            && was_linked
        {
            other.throw(LinkedEnd { name, reason: reason.clone() });
        }
        drop(kept);
    })
}
