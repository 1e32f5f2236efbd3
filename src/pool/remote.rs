//! Generators on another core: the same body and the same calls, with a task in between.
//!
//! The body's generator lives and dies in a task of its own; here is only the other end of two channels. In lock step a
//! call sends a command and waits for the answer. With look-ahead the task resumes by itself and offers what it got,
//! until there is a command; whoever sent that passes over all that was offered before its answer.
//!
//! # Invariants
//! - A command is sent only when no answer is owed, so it never waits for room.
//! - A call that was interrupted leaves its answer owed: nothing of it is lost. What was produced ahead of an answer that is
//!   owed is dropped, whoever waits for it.
//! - How the body has ended is told once: to the call that finds it, or else, if it has failed, in a report.

use std::fmt;
use std::iter::FusedIterator;
use std::mem;
use std::panic::AssertUnwindSafe;

use crate::coroutine::unwind::{self, Payload};
use crate::exception::{Exception, Report, catch_unwind, raise, report};
use crate::generator::{Body, Builder, Generator, Resume, ResumeError, State, Step, Yielder};
use crate::select_biased;
use crate::sync::channel::{self, Receiver, Sender};
use crate::task::{self, JoinHandle, Place};

/// A generator whose body runs as a task, if possible on another worker: made by
/// [`Builder::spawn`](crate::generator::Builder::spawn) and
/// [`Builder::spawn_ahead`](crate::generator::Builder::spawn_ahead).
///
/// The calls are a generator's, and wait where that would run the body. Unlike a [`Generator`] it is `Send`. Dropping it
/// closes the body, or cancels it where it waits, and does not wait for that. An exception that left the body, and that no
/// call has given, is [reported](crate::exception::Report::RaisedInDrop).
///
/// # Cancel safety
/// A call that is interrupted while the body runs loses nothing: `start` and `next` go on to wait for its answer, `send`
/// gives the value back as [`Executing`](ResumeError::Executing), `throw` and `close` wait for it first. What a `next` after
/// an interrupted `throw` or `close` gives is that one's answer: the item that the body yielded then, or the end.
pub struct Remote<Out, In = (), Ret = ()> {
    name: String,
    commands: Sender<Command<In>>,
    replies: Receiver<Reply<Out, In, Ret>>,
    /// The body's task, until it was asked why it has gone.
    task: Option<JoinHandle<()>>,
    state: State,
    /// Whether the answer to a command is still to come.
    is_owed: bool,
    /// Whether the task resumes by itself.
    is_ahead: bool,
    returned: Option<Ret>,
}

enum Command<In> {
    Start,
    Send(In),
    Throw(Exception),
    Close,
}

struct Reply<Out, In, Ret> {
    /// Whether it answers a command; else it was produced ahead.
    is_answer: bool,
    /// Whether the body has ended.
    is_last: bool,
    outcome: Outcome<Out, In, Ret>,
}

enum Outcome<Out, In, Ret> {
    Stepped(Result<Step<Out, Ret>, ResumeError<In>>),
    Closed(Result<Option<Ret>, ResumeError<In>>),
    /// An exception left the body.
    Raised(Untold),
    Panicked(Payload),
}

/// An exception on its way to a call. If none takes it, also where the reply is not delivered, it is reported.
struct Untold {
    /// The generator's.
    name: String,
    /// There until it is told.
    exception: Option<Exception>,
}

impl Untold {
    fn tell<In>(mut self) -> ResumeError<In> {
        ResumeError::Raised(self.exception.take().expect("it is told once"))
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        if let Some(exception) = &self.exception {
            report(&Report::RaisedInDrop { name: &self.name, exception });
        }
    }
}

impl<Out, In: 'static, Ret> Reply<Out, In, Ret> {
    /// Makes a call for the other end.
    fn to(command: Command<In>, generator: &mut Generator<Out, In, Ret>) -> Self {
        let call = AssertUnwindSafe(|| match command {
            Command::Start => Outcome::Stepped(generator.start()),
            Command::Send(value) => Outcome::Stepped(generator.send(value)),
            Command::Throw(exception) => Outcome::Stepped(generator.throw(exception)),
            Command::Close => Outcome::Closed(generator.close()),
        });
        let call = || (call.0)();
        // A cancel of this task unwinds on.
        let outcome = match catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(Outcome::Panicked) {
            Outcome::Stepped(Err(ResumeError::Raised(exception)))
            | Outcome::Closed(Err(ResumeError::Raised(exception))) => {
                Outcome::Raised(Untold { name: generator.name().to_owned(), exception: Some(exception) })
            }
            outcome => outcome,
        };
        Self { is_answer: true, is_last: generator.state() == State::Finished, outcome }
    }
}

impl<F, O, I: 'static, R> Builder<Body<F, O, I, R>> {
    /// Spawns a task that runs the body, in lock step with the calls of the [`Remote`]: it runs while a call waits for it.
    ///
    /// For bodies that must be on another thread, or with values sent in. Each call costs two wake-ups; where nothing is
    /// sent in, [`spawn_ahead`](Self::spawn_ahead) lets both sides run at once.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    ///
    /// # Examples
    /// ```
    /// use osier::{Generator, Step, Yielder};
    ///
    /// let mut sums = Generator::builder(|y: &Yielder<u32, u32>| {
    ///     let mut sum = 0;
    ///     loop {
    ///         sum += y.yield_(sum);
    ///     }
    /// })
    /// .spawn();
    /// assert_eq!(sums.start().unwrap(), Step::Yielded(0));
    /// assert_eq!(sums.send(5).unwrap(), Step::Yielded(5));
    /// assert_eq!(sums.send(6).unwrap(), Step::Yielded(11));
    /// ```
    pub fn spawn<Out, In, Ret>(self) -> Remote<Out, In, Ret>
    where
        F: FnOnce(&Yielder<Out, In>) -> Ret + Send + 'static,
        Out: Send + 'static,
        In: Send + 'static,
        Ret: Send + 'static,
    {
        Remote::new(self.untyped(), 1, false, |builder, commands, replies| {
            let mut generator = builder.build();
            while let Ok(command) = commands.recv() {
                let reply = Reply::to(command, &mut generator);
                let is_last = reply.is_last;
                if replies.send(reply).is_err() || is_last {
                    break;
                }
            }
        })
    }

    /// Spawns a task that runs the body ahead of whoever takes its items, by at most `n` of them.
    ///
    /// The body begins at once. An item that `throw` and `close` find produced ahead is dropped. If the body has come to its
    /// end ahead, `close` tells how.
    ///
    /// # Panics
    /// If `n` is 0, or if the runtime is shutting down.
    ///
    /// # Examples
    /// ```
    /// use osier::{Generator, Yielder};
    ///
    /// let squares = Generator::builder(|y: &Yielder<u64>| (0..10).for_each(|n| y.yield_(n * n))).spawn_ahead(4);
    /// assert_eq!(squares.sum::<u64>(), 285);
    /// ```
    pub fn spawn_ahead<Out, Ret>(self, n: usize) -> Remote<Out, (), Ret>
    where
        F: FnOnce(&Yielder<Out>) -> Ret + Send + 'static,
        Out: Send + 'static,
        Ret: Send + 'static,
    {
        assert!(n > 0, "a generator that looks ahead looks at least one item ahead");
        // One more item is in the hands of the task.
        Remote::new(self.untyped(), n - 1, true, |builder, commands, replies| {
            let mut generator = builder.build();
            let mut command = Command::Start;
            let mut is_answer = false;
            loop {
                let mut reply = Reply::to(command, &mut generator);
                reply.is_answer = is_answer;
                (command, is_answer) = (Command::Send(()), false);
                if reply.is_answer || reply.is_last {
                    let is_last = reply.is_last;
                    if replies.send(reply).is_err() || is_last {
                        break;
                    }
                    continue;
                }
                select_biased! {
                    recv(commands) -> asked => match asked {
                        // What was produced is dropped.
                        Ok(asked) => (command, is_answer) = (asked, true),
                        Err(_) => break,
                    },
                    send(replies, reply) -> sent => if sent.is_err() {
                        break;
                    },
                }
            }
        })
    }
}

impl<Out, In, Ret> Remote<Out, In, Ret>
where
    Out: Send + 'static,
    In: Send + 'static,
    Ret: Send + 'static,
{
    fn new<B: Send + 'static>(
        builder: Builder<B>,
        capacity: usize,
        is_ahead: bool,
        serve: impl FnOnce(Builder<B>, &Receiver<Command<In>>, &Sender<Reply<Out, In, Ret>>) + Send + 'static,
    ) -> Self {
        let name = builder.label();
        let ((commands, asked), (answers, replies)) = (channel::bounded(1), channel::bounded(capacity));
        let plan = task::Builder::new().name(name.clone()).place(Place::Spread);
        let task = plan.spawn(move || serve(builder, &asked, &answers));
        Self {
            name: name.into_owned(),
            commands,
            replies,
            task: Some(task),
            state: State::New,
            is_owed: false,
            is_ahead,
            returned: None,
        }
    }
}

impl<Out, In: 'static, Ret> Remote<Out, In, Ret> {
    /// Where it is in its life: `Executing` after a call that was interrupted.
    pub fn state(&self) -> State {
        match self.state {
            State::New | State::Suspended if self.is_owed => State::Executing,
            state => state,
        }
    }

    /// The name given to the builder, else the body's type.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the value that the body returned while it was used as an iterator.
    pub fn take_return(&mut self) -> Option<Ret> {
        self.returned.take()
    }

    /// Waits for the answer to the command that was sent, or else for what was produced ahead.
    fn reply(&mut self) -> Reply<Out, In, Ret> {
        loop {
            match self.replies.recv() {
                // Produced before the command came.
                Ok(reply) if self.is_owed && !reply.is_answer && !reply.is_last => {}
                Ok(reply) => {
                    self.is_owed = false;
                    self.state = if reply.is_last { State::Finished } else { State::Suspended };
                    return reply;
                }
                Err(_) => {
                    // It was cancelled, by its runtime's shutdown for instance, or never got a stack.
                    self.is_owed = false;
                    self.state = State::Finished;
                    let error = self.task.take().and_then(|task| task.join().err());
                    let error = error.map_or_else(ResumeError::finished, |error| ResumeError::Raised(error.into()));
                    return Reply { is_answer: true, is_last: true, outcome: Outcome::Stepped(Err(error)) };
                }
            }
        }
    }

    /// Sends a command and waits for its answer; or for how the body had ended meanwhile, which is no answer.
    fn ask(&mut self, command: Command<In>) -> Reply<Out, In, Ret> {
        self.is_owed = true;
        // There is room: no other command is on its way. Whether the task has gone is seen by the answer.
        _ = self.commands.try_send(command);
        self.reply()
    }

    /// What a step gives that was answered so: also one that waited for the answer of a call before it.
    fn step(outcome: Outcome<Out, In, Ret>) -> Result<Step<Out, Ret>, ResumeError<In>> {
        match outcome {
            Outcome::Stepped(step) => step,
            Outcome::Closed(Ok(Some(value))) => Ok(Step::Returned(value)),
            Outcome::Closed(Ok(None)) => Err(ResumeError::finished()),
            Outcome::Closed(Err(error)) => Err(error),
            Outcome::Raised(untold) => Err(untold.tell()),
            Outcome::Panicked(payload) => unwind::throw(payload),
        }
    }

    /// What a close gives of a body that has been closed, or had ended before.
    fn end(outcome: Outcome<Out, In, Ret>) -> Result<Option<Ret>, ResumeError<In>> {
        match outcome {
            Outcome::Stepped(step) => step.map(Step::returned),
            Outcome::Closed(closed) => closed,
            Outcome::Raised(untold) => Err(untold.tell()),
            Outcome::Panicked(payload) => unwind::throw(payload),
        }
    }

    /// Keeps or reports how the body has ended, beside another answer. A panic goes on.
    fn set_aside(&mut self, outcome: Outcome<Out, In, Ret>) {
        match outcome {
            Outcome::Stepped(Ok(Step::Returned(value))) | Outcome::Closed(Ok(Some(value))) => {
                self.returned = Some(value);
            }
            Outcome::Panicked(payload) => unwind::throw(payload),
            // What was raised is reported as it is dropped.
            Outcome::Stepped(_) | Outcome::Closed(_) | Outcome::Raised(_) => {}
        }
    }

    /// Runs the body up to its first `yield_`, as [`Generator::start`].
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, until the body yields.
    ///
    /// # Cancel safety
    /// A call that is interrupted leaves its answer owed: the next `start` or `next` waits for it.
    ///
    /// # Errors
    /// As `Generator::start`; and [`Raised`](ResumeError::Raised) with a [`JoinError`](crate::JoinError) if the body's
    /// task was cancelled or got no stack.
    ///
    /// # Panics
    /// With the body's panic.
    pub fn start(&mut self) -> Result<Step<Out, Ret>, ResumeError<In>> {
        match self.state() {
            State::New if !self.is_ahead => Self::step(self.ask(Command::Start).outcome),
            State::New | State::Executing => Self::step(self.reply().outcome),
            State::Suspended => Err(ResumeError::AlreadyStarted),
            State::Finished => Err(ResumeError::finished()),
        }
    }

    /// Goes on with the body, as [`Generator::send`].
    ///
    /// # Suspends
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    ///
    /// # Errors
    /// As `Generator::send`, and as [`start`](Self::start).
    ///
    /// # Panics
    /// With the body's panic.
    pub fn send(&mut self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        match self.state() {
            State::New => Err(ResumeError::NotStarted(value)),
            State::Executing => Err(ResumeError::Executing(value)),
            State::Finished => Err(ResumeError::Finished(value)),
            State::Suspended if self.is_ahead => Self::step(self.reply().outcome),
            State::Suspended => Self::step(self.ask(Command::Send(value)).outcome),
        }
    }

    /// Starts the body, or goes on with it, as [`Generator::resume`].
    ///
    /// # Suspends
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    ///
    /// # Errors
    /// As `Generator::resume`, and as [`start`](Self::start).
    ///
    /// # Panics
    /// With the body's panic.
    pub fn resume(&mut self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        if self.state() == State::New {
            drop(value);
            return self.start();
        }
        self.send(value)
    }

    /// Throws an exception into the body, as [`Generator::throw`]. What was produced ahead is dropped, and so is a value that
    /// is owed.
    ///
    /// If the body had ended before the exception came, what it returned is for [`take_return`](Self::take_return), and an
    /// exception that it had raised is [reported](crate::exception::Report::RaisedInDrop).
    ///
    /// # Suspends
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    ///
    /// # Errors
    /// As `Generator::throw`, and as [`start`](Self::start).
    ///
    /// # Panics
    /// With the body's panic, also an earlier one that no call has given.
    pub fn throw(&mut self, e: impl Into<Exception>) -> Result<Step<Out, Ret>, ResumeError<In>> {
        let exception = e.into();
        if self.is_owed {
            let outcome = self.reply().outcome;
            self.set_aside(outcome);
        }
        if self.state == State::Finished {
            return Err(ResumeError::Raised(exception));
        }
        let reply = self.ask(Command::Throw(exception.clone()));
        if reply.is_answer {
            return Self::step(reply.outcome);
        }
        self.set_aside(reply.outcome);
        Err(ResumeError::Raised(exception))
    }

    /// Asks the body to end, as [`Generator::close`]. What was produced ahead is dropped, and so is a value that is owed.
    ///
    /// If the body had ended before, and no call has told how, this one does: with the value, the exception or the panic.
    ///
    /// # Suspends
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    ///
    /// # Errors
    /// As `Generator::close`, and as [`start`](Self::start).
    ///
    /// # Panics
    /// With the panic of a destructor on the body's stack, or a panic of the body's that no call has given.
    ///
    /// # Examples
    /// ```
    /// use osier::generator::ResumeError;
    /// use osier::{Exception, Generator, Yielder, raise};
    ///
    /// let body = |y: &Yielder<u32>| {
    ///     y.yield_(1);
    ///     raise(Exception::msg("the file ends here"));
    /// };
    /// // Produces both, the item and the exception, before it is asked for more than one.
    /// let mut items = Generator::builder(body).spawn_ahead::<u32, ()>(5);
    /// assert_eq!(items.next(), Some(1));
    /// assert!(matches!(items.close(), Ok(None) | Err(ResumeError::Raised(_))));
    /// ```
    pub fn close(&mut self) -> Result<Option<Ret>, ResumeError<In>> {
        if self.is_owed {
            match self.reply().outcome {
                // A value; the body goes on.
                Outcome::Stepped(_) if self.state != State::Finished => {}
                // Also that of a close that was interrupted.
                outcome => return Self::end(outcome),
            }
        }
        if self.state == State::Finished {
            return Ok(None);
        }
        Self::end(self.ask(Command::Close).outcome)
    }
}

impl<Out, Ret> Iterator for Remote<Out, (), Ret> {
    type Item = Out;

    /// The next item; `None` once the body has returned, and ever after.
    ///
    /// # Suspends
    /// As [`Remote::start`].
    ///
    /// # Cancel safety
    /// As [`Remote::start`].
    ///
    /// # Panics
    /// With the body's panic. An exception that leaves the body is [raised](crate::raise).
    fn next(&mut self) -> Option<Out> {
        let step = match self.state() {
            State::Finished => return None,
            State::New | State::Executing => self.start(),
            State::Suspended => self.send(()),
        };
        match step {
            Ok(Step::Yielded(item)) => Some(item),
            Ok(Step::Returned(value)) => {
                self.returned = Some(value);
                None
            }
            // A `close` that was interrupted has ended it.
            Err(ResumeError::Finished(()) | ResumeError::AlreadyFinished) => None,
            Err(ResumeError::Raised(exception)) => raise(exception),
            Err(error) => raise(error),
        }
    }
}

impl<Out, Ret> FusedIterator for Remote<Out, (), Ret> {}

impl<Out, In: 'static, Ret> Resume<In> for Remote<Out, In, Ret> {
    type Out = Out;
    type Ret = Ret;

    fn start(&mut self) -> Result<Step<Out, Ret>, ResumeError<In>> {
        self.start()
    }

    fn send(&mut self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        self.send(value)
    }

    fn throw(&mut self, exception: Exception) -> Result<Step<Out, Ret>, ResumeError<In>> {
        self.throw(exception)
    }

    fn close(&mut self) -> Result<Option<Ret>, ResumeError<In>> {
        self.close()
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl<Out, In, Ret> Drop for Remote<Out, In, Ret> {
    fn drop(&mut self) {
        // First what a body at rest sees: its task returns, and closes it. Then the cancel, for one that runs.
        self.commands.close();
        self.replies.close();
        drop(self.replies.drain());
        if let Some(task) = mem::take(&mut self.task) {
            task.cancel();
        }
    }
}

impl<Out, In: 'static, Ret> fmt::Debug for Remote<Out, In, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("name", &self.name).field("state", &self.state()).finish_non_exhaustive()
    }
}
