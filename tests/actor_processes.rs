//! Actors in other processes: the same as everywhere, and what only they can fail with.

#![cfg(feature = "processes")]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{hold_thread, reports, until, watch};
use osier::actor::{
    self, Actor, Address, AskError, Builder, Context, Down, Mailbox, ProcessBuilder, Reply, Restart, SendError,
    Strategy, Supervisor, Topics,
};
use osier::process::{self, RemoteError};
use osier::sync::channel;
use osier::{JoinError, raise, registered, run};
use serde::{Deserialize, Serialize};

/// What runs in the hosts of this file: the harness is told to run this alone.
#[test]
fn host() {
    process::host();
}

fn in_process() -> ProcessBuilder {
    Builder::new().process().args(["--exact", "host", "--nocapture"])
}

fn end<M>(address: &Address<M>) {
    address.close();
    address.join().unwrap();
}

#[track_caller]
fn remote(error: &JoinError) -> &RemoteError {
    let exception = error.exception().unwrap_or_else(|| panic!("no exception: {error}"));
    exception.downcast_ref().unwrap_or_else(|| panic!("no remote error: {exception}"))
}

fn exists(id: u32) -> bool {
    std::path::Path::new(&format!("/proc/{id}")).exists()
}

// ---- one actor, three backends

#[derive(Serialize, Deserialize)]
struct Account {
    balance: i64,
    log: Vec<String>,
}

osier::registered_actor!(Account);

#[derive(Serialize, Deserialize)]
enum Order {
    Add(i64),
    Balance(Reply<i64>),
    Log(Reply<Vec<String>>),
    Process(Reply<u32>),
    Ignore(Reply<u32>),
    Keep(Reply<u32>),
    Panic,
    Raise,
    Exit(i32),
    Stop,
    /// Sends each number below to the other one.
    Count(u64, Address<u64>),
    /// Asks the other one to double, and gives what it says.
    Ask(Address<(u64, Reply<u64>)>, Reply<u64>),
    /// Asks itself, by its own address and by this one.
    AskYourself(Address<Order>, Reply<bool>),
    Crooked(Crooked),
    Unwritable(Unwritable),
    Bytes(Vec<u8>),
    CrookedAnswer(Reply<Crooked>),
    LargeAnswer(usize, Reply<Vec<u8>>),
    Scribble,
    Hold,
    /// Starts an actor in its own process, whose mailbox holds so many.
    Child(usize, Reply<Address<Child>>),
    /// The same, with a mailbox without a bound.
    Unbounded(Reply<Address<Child>>),
    /// Sends this to the actor that is known as "unbounded".
    Pass(i64),
    /// Starts an actor and sends its address, then asks what comes back whether it is that one's own.
    Returns(Address<(Address<u64>, Reply<Address<u64>>)>, Reply<bool>),
    /// Starts an actor and sends its address, then computes until the process ends.
    ChildThenHold(Reply<Address<Child>>),
    /// Ends the other one, and gives how that has ended.
    End(Address<u64>, Ending, Reply<String>),
}

/// What the actor in the process of another one receives.
#[derive(Serialize, Deserialize)]
enum Child {
    Add(i64),
    Total(Reply<i64>),
    Fail(String),
    /// Is no more interested in messages.
    Sleep,
    /// Waits for the answer of the other one, before it goes on.
    WaitFor(Address<(u64, Reply<u64>)>),
    /// Tells the other one its total.
    Tell(Address<i64>),
    /// Asks itself, by this address.
    AskYourself(Address<Child>, Reply<bool>),
    Crooked(Crooked),
}

#[derive(Serialize, Deserialize)]
enum Ending {
    Close,
    Kill,
    Message,
}

fn child(inbox: &Mailbox<Child>) {
    let mut total = 0;
    for order in inbox {
        match order {
            Child::Add(n) => total += n,
            Child::Total(reply) => _ = reply.send(total),
            Child::Fail(text) => panic!("{text}"),
            Child::Sleep => osier::sleep(common::FOR_EVER),
            Child::Tell(whom) => whom.send(total).unwrap(),
            Child::AskYourself(address, reply) => {
                _ = reply.send(address.ask(Child::Total) == Err(AskError::Myself));
            }
            Child::WaitFor(other) => _ = other.ask(|reply| (0, reply)),
            Child::Crooked(_) => unreachable!("it does not arrive"),
        }
    }
}

impl Actor for Account {
    type Message = Order;

    fn started(&mut self, _: &Context<'_, Order>) {
        self.log.push("started".to_owned());
    }

    fn receive(&mut self, order: Order, context: &Context<'_, Order>) {
        match order {
            Order::Add(n) => self.balance += n,
            Order::Balance(reply) => _ = reply.send(self.balance),
            Order::Log(reply) => _ = reply.send(self.log.clone()),
            Order::Process(reply) => _ = reply.send(std::process::id()),
            Order::Ignore(reply) => drop(reply),
            Order::Keep(reply) => std::mem::forget(reply),
            Order::Panic => panic!("a bug"),
            Order::Raise => raise(std::io::Error::other("an error")),
            Order::Exit(code) => std::process::exit(code),
            Order::Stop => context.stop(),
            Order::Count(n, to) => (0..n).for_each(|n| to.send(n).unwrap()),
            Order::Ask(whom, reply) => _ = reply.send(whom.ask(|reply| (21, reply)).unwrap()),
            Order::AskYourself(address, reply) => {
                let mine = context.address().ask(Order::Balance);
                let sent = address.ask(Order::Balance);
                _ = reply.send(mine == Err(AskError::Myself) && sent == Err(AskError::Myself));
            }
            Order::Crooked(_) | Order::Unwritable(_) => unreachable!("they do not arrive"),
            Order::Bytes(bytes) => self.balance += i64::try_from(bytes.len()).unwrap(),
            Order::CrookedAnswer(reply) => _ = reply.send(Crooked),
            Order::LargeAnswer(n, reply) => _ = reply.send(vec![0; n]),
            Order::Scribble => scribble(),
            Order::Hold => hold_thread(Duration::from_secs(3600)),
            Order::Child(bound, reply) => {
                // The one before may still have its name.
                let names = (0..).map(|n| if n == 0 { "further".to_owned() } else { format!("further {n}") });
                let child = names.map(|name| Builder::new().mailbox(bound).start(&name, child)).find_map(Result::ok);
                _ = reply.send(child.unwrap());
            }
            Order::Unbounded(reply) => {
                _ = reply.send(Builder::new().start("unbounded", child).unwrap());
            }
            Order::Pass(n) => actor::send("unbounded", Child::Add(n)).unwrap(),
            Order::ChildThenHold(reply) => {
                _ = reply.send(Builder::new().spawn(child));
                hold_thread(Duration::from_secs(3600));
            }
            Order::Returns(other, reply) => {
                let (says, heard) = channel::unbounded();
                let mine = Builder::new().spawn(move |inbox: &Mailbox<u64>| says.send(inbox.recv()).unwrap());
                let returned = other.ask(|reply| (mine.clone(), reply)).unwrap();
                // They are one actor's, run by one task.
                let is_mine = returned.task() == mine.task();
                returned.send(7).unwrap();
                _ = reply.send(is_mine && heard.recv() == Ok(7));
            }
            Order::End(whom, how, reply) => {
                match how {
                    Ending::Close => whom.close(),
                    Ending::Kill => whom.kill(),
                    Ending::Message => whom.send(1).unwrap(),
                }
                let ended = whom.join_timeout(Duration::from_secs(60));
                _ = reply.send(ended.map_or_else(|error| error.to_string(), |()| "well".to_owned()));
            }
        }
    }
}

/// Writes itself as one thing and reads another.
#[derive(Clone, Copy, Debug)]
struct Crooked;

impl Serialize for Crooked {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(2)
    }
}

impl<'de> Deserialize<'de> for Crooked {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bool::deserialize(deserializer).map(|_| Self)
    }
}

/// Refuses to be written.
#[derive(Debug)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not this one"))
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

/// Writes to the socket behind the library's back.
fn scribble() {
    use std::io::Write;
    use std::os::fd::{FromRawFd, OwnedFd};
    for descriptor in 3..30 {
        let is_socket = std::fs::read_link(format!("/proc/self/fd/{descriptor}"))
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        if is_socket {
            // SAFETY: it is open, and forgotten again.
            let mut file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
            file.write_all(b"\xff\xff\xff\xffVgarbage").unwrap();
            std::mem::forget(file);
        }
    }
}

fn account() -> Account {
    Account { balance: 100, log: vec!["made".to_owned()] }
}

/// Starts an account under a name.
type Start = fn(&str) -> Address<Order>;

// The backend is one word.
#[test]
fn the_same_actor_on_three_backends() {
    let _watch = watch();
    let mine = std::process::id();
    let backends: [(&str, Start); 3] = [
        ("task", |name| Builder::new().start_actor(name, account()).unwrap()),
        ("thread", |name| Builder::new().thread().start_actor(name, account()).unwrap()),
        ("process", |name| in_process().start_actor(name, account()).unwrap()),
    ];
    for (backend, start) in backends {
        let name = format!("account on a {backend}");
        let start = || start(&name);
        let account = start();
        account.send(Order::Add(5)).unwrap();
        actor::send(&name, Order::Add(-55)).unwrap();
        assert_eq!(account.ask(Order::Balance), Ok(50), "{backend}");
        assert_eq!(account.ask(Order::Log).unwrap(), ["made", "started"]);
        assert_eq!(account.ask(Order::Process).unwrap() == mine, backend != "process");
        assert_eq!(account.ask(Order::Ignore), Err(AskError::NoReply));
        assert_eq!(account.ask_timeout(Duration::from_millis(5), Order::Keep), Err(AskError::Timeout));
        assert_eq!(account.ask(|reply| Order::AskYourself(account.clone(), reply)), Ok(true), "{backend}");

        // It sends, and asks, whom it is told.
        let (sender, receiver) = channel::unbounded();
        let listener = Builder::new().mailbox(1).spawn(move |inbox| inbox.iter().for_each(|n| sender.send(n).unwrap()));
        account.send(Order::Count(200, listener.clone())).unwrap();
        assert!(receiver.iter().take(200).eq(0..200), "{backend}");
        let doubler = Builder::new().spawn(|inbox: &Mailbox<(u64, Reply<u64>)>| {
            inbox.iter().for_each(|(n, reply)| reply.send(2 * n).unwrap());
        });
        assert_eq!(account.ask(|reply| Order::Ask(doubler.clone(), reply)), Ok(42), "{backend}");

        // A close lets it receive what is queued.
        (0..500).for_each(|_| account.send(Order::Add(1)).unwrap());
        let asks = osier::spawn({
            let account = account.clone();
            move || account.ask(Order::Balance)
        });
        assert_eq!(asks.join().unwrap(), Ok(550));
        end(&account);
        assert!(matches!(account.send(Order::Stop), Err(SendError::Closed(Order::Stop))));
        assert!(matches!(actor::send(&name, Order::Stop), Err(SendError::NoSuchName(Order::Stop))));

        // Failures are the actor's.
        let failing = start();
        failing.send(Order::Panic).unwrap();
        let error = failing.join().unwrap_err();
        assert!(error.is_panic() && error.to_string().contains("a bug"), "{backend}: {error}");
        let failing = start();
        failing.send(Order::Raise).unwrap();
        assert!(failing.join().unwrap_err().exception().unwrap().to_string().contains("an error"), "{backend}");
        let stopping = start();
        stopping.send(Order::Stop).unwrap();
        stopping.join().unwrap();
        let killed = start();
        killed.ask(Order::Balance).unwrap();
        killed.kill();
        assert!(killed.join().unwrap_err().is_cancelled(), "{backend}");
    }
}

fn sums(inbox: &Mailbox<(u64, Reply<u64>)>) {
    let mut sum = 0;
    for (n, reply) in inbox {
        sum += n;
        reply.send(sum).unwrap();
    }
}

#[test]
fn the_same_body_on_three_backends() {
    let _watch = watch();
    let actors = [
        Builder::new().spawn(registered!(sums)),
        Builder::new().thread().spawn(registered!(sums)),
        in_process().spawn(registered!(sums)),
    ];
    for actor in actors {
        let sums: Vec<u64> = run(|| (1..=4).map(|n| actor.ask(|reply| (n, reply)).unwrap()).collect());
        assert_eq!(sums, [1, 3, 6, 10]);
        let task = actor.task();
        drop(actor);
        task.join().unwrap();
    }
}

// ---- what only processes fail with

#[test]
fn a_killed_process_tells_links_and_monitors_its_signal() {
    let _watch = watch();
    let (sender, receiver) = channel::unbounded();
    let watcher = Builder::new().spawn(move |inbox: &Mailbox<Down>| sender.send(inbox.recv()).unwrap());
    let linked = Builder::new().spawn(|inbox: &Mailbox<()>| inbox.recv());
    let account = in_process().start_actor("killed outside", account()).unwrap();
    let id = account.ask(Order::Process).unwrap();
    account.monitor(&watcher, |down| down);
    account.link(&linked);
    assert!(Command::new("kill").args(["-KILL", &id.to_string()]).status().unwrap().success());
    let down = receiver.recv().unwrap();
    assert_eq!(down.name(), "killed outside");
    let Err(error) = down.end() else { panic!("it was killed") };
    assert!(matches!(remote(error), RemoteError::Died(status) if status.signal() == Some(libc::SIGKILL)));
    assert!(linked.join().unwrap_err().exception().unwrap().is::<actor::LinkedEnd>());
    assert!(!exists(id), "it was waited for");
    assert_eq!(account.ask(Order::Balance), Err(AskError::Closed));
}

#[test]
fn an_exit_in_the_middle_is_told_and_what_was_not_received_is_counted() {
    let _watch = watch();
    let mut sent = 0;
    let lines = reports(|| {
        let account = in_process().start_actor("exits", account()).unwrap();
        account.send(Order::Exit(7)).unwrap();
        // Those that come too late are refused.
        sent = (0..200).filter(|_| account.send(Order::Add(1)).is_ok()).count();
        let error = account.join().unwrap_err();
        assert!(matches!(remote(&error), RemoteError::Died(status) if status.code() == Some(7)), "{error}");
    });
    let count = |line: &String| line.strip_prefix("actor 'exits' ended with unread messages: ")?.parse::<usize>().ok();
    let unread: usize = lines.iter().filter_map(count).sum();
    // The one that it exits with is received; its process may have had no time to say so.
    assert!((sent..=sent + 1).contains(&unread), "{sent}: {lines:?}");
}

#[test]
fn whoever_waits_for_an_answer_of_a_process_that_dies_is_told() {
    let _watch = watch();
    let account = in_process().spawn_actor(account());
    let asks = osier::spawn({
        let account = account.clone();
        move || account.ask(Order::Keep)
    });
    account.ask(Order::Balance).unwrap();
    account.send(Order::Exit(1)).unwrap();
    assert!(matches!(asks.join().unwrap(), Err(AskError::NoReply | AskError::Closed)));
    assert!(account.join().is_err());
}

#[test]
fn a_message_that_does_not_cross_is_lost_alone() {
    let _watch = watch();
    let lines = reports(|| {
        let account = in_process().message_limit(1000).start_actor("picky", account()).unwrap();
        account.send(Order::Crooked(Crooked)).unwrap();
        account.send(Order::Unwritable(Unwritable)).unwrap();
        account.send(Order::Bytes(vec![0; 2000])).unwrap();
        account.send(Order::Bytes(vec![0; 900])).unwrap();
        assert_eq!(account.ask(Order::Balance), Ok(1000));
        // So are answers.
        assert!(matches!(account.ask(Order::CrookedAnswer), Err(AskError::BadAnswer)));
        assert!(matches!(account.ask(|reply| Order::LargeAnswer(2000, reply)), Err(AskError::BadAnswer)));
        assert_eq!(account.ask(|reply| Order::LargeAnswer(900, reply)).unwrap().len(), 900);
        // More of them than may be on the way: they give back their places.
        for _ in 0..200 {
            account.send(Order::Crooked(Crooked)).unwrap();
        }
        assert_eq!(account.ask(Order::Balance), Ok(1000));
        end(&account);
    });
    let lost = |why: &str| {
        let prefix = format!("a message to actor 'picky' is lost: it {why}");
        lines.iter().filter(|line| line.starts_with(&prefix)).count()
    };
    assert_eq!(lost("cannot be decoded"), 201, "{lines:?}");
    assert_eq!(lost("cannot be encoded"), 1, "{lines:?}");
    assert_eq!(lost("a message of 2003 bytes") + lost("a message of 2004 bytes"), 1, "{lines:?}");
}

#[derive(Serialize, Deserialize)]
enum Picky {
    Crooked(Crooked, Reply<u32>),
    Reversed(Reply<u32>, Crooked),
}

fn picky(inbox: &Mailbox<Picky>) {
    inbox.iter().for_each(drop);
}

#[test]
fn a_question_that_does_not_cross_has_no_answer() {
    let _watch = watch();
    _ = reports(|| {
        let picky = in_process().spawn(registered!(picky));
        assert_eq!(picky.ask(|reply| Picky::Crooked(Crooked, reply)), Err(AskError::NoReply));
        assert_eq!(picky.ask(|reply| Picky::Reversed(reply, Crooked)), Err(AskError::NoReply));
        end(&picky);
    });
}

#[test]
fn garbage_ends_the_actor_and_its_process() {
    let _watch = watch();
    let account = in_process().spawn_actor(account());
    let id = account.ask(Order::Process).unwrap();
    account.send(Order::Scribble).unwrap();
    assert!(matches!(remote(&account.join().unwrap_err()), RemoteError::Garbage));
    assert!(!exists(id));
}

fn not_registered(inbox: &Mailbox<u32>) {
    inbox.recv();
}

#[derive(Serialize, Deserialize)]
struct NoActorHere(Crooked);

osier::registered_actor!(NoActorHere);

impl Actor for NoActorHere {
    type Message = ();
    fn receive(&mut self, (): (), _: &Context<'_, ()>) {}
}

#[derive(Serialize, Deserialize)]
struct Unregistered;

impl Actor for Unregistered {
    type Message = ();
    fn receive(&mut self, (): (), _: &Context<'_, ()>) {}
}

#[test]
fn what_cannot_be_started_there_fails_with_the_reason() {
    let _watch = watch();
    let error = |task: osier::Task| task.join().unwrap_err();
    let unknown = error(in_process().spawn(not_registered).task());
    assert!(
        matches!(remote(&unknown), RemoteError::NotRegistered { function, .. } if function.contains("not_registered"))
    );
    let unknown = error(in_process().spawn_actor(Unregistered).task());
    assert!(
        matches!(remote(&unknown), RemoteError::NotRegistered { function, .. } if function.contains("Unregistered"))
    );
    let bad = error(in_process().spawn_actor(NoActorHere(Crooked)).task());
    assert!(matches!(remote(&bad), RemoteError::Decode(_)), "{bad}");
    let large = in_process().message_limit(3).spawn_actor(account());
    assert!(matches!(remote(&error(large.task())), RemoteError::TooLarge { limit: 3, .. }));
    // No host: the harness is told to run nothing.
    let stranger = Builder::new().process().args(["--exact", "no such test"]).spawn_actor(account());
    assert!(matches!(remote(&error(stranger.task())), RemoteError::NoHost(_)));
}

#[test]
fn a_killed_actor_leaves_no_process() {
    let _watch = watch();
    let account = in_process().spawn_actor(account());
    let id = account.ask(Order::Process).unwrap();
    account.send(Order::Hold).unwrap();
    account.kill();
    assert!(!exists(id), "its process was killed and waited for, though it computes");
    // Also one that is killed while it starts.
    let account = in_process().spawn_actor(self::account());
    account.kill();
    assert!(account.join().unwrap_err().is_cancelled());
}

#[test]
fn a_mailbox_that_its_process_does_not_empty_fills() {
    let _watch = watch();
    _ = reports(|| {
        let account =
            Builder::new().mailbox(10).process().args(["--exact", "host", "--nocapture"]).spawn_actor(account());
        account.send(Order::Hold).unwrap();
        let mut sent = 0;
        // Those on the way are more than the mailbox holds, and bounded.
        until(|| {
            let result = account.try_send(Order::Add(1));
            sent += u32::from(result.is_ok());
            matches!(result, Err(SendError::Full(Order::Add(1)))) && sent >= 64
        });
        assert!(sent <= 10 + 64, "{sent}");
        account.kill();
    });
}

#[test]
fn a_supervisor_starts_a_new_process() {
    let _watch = watch();
    let lines = reports(|| {
        let supervisor = Supervisor::builder(Strategy::OneForOne).intensity(3, Duration::from_secs(3600)).start();
        let account = supervisor.start("kept account", Restart::Permanent, in_process().child(account)).unwrap();
        let first = account.ask(Order::Process).unwrap();
        account.send(Order::Exit(3)).unwrap();
        // It may be on the way to the first one, and is lost with it then.
        until(|| account.ask(Order::Process).is_ok_and(|id| id != first));
        assert!(!exists(first));
        assert_eq!(account.ask(Order::Balance), Ok(100));
        supervisor.stop();
        assert!(account.join().unwrap_err().is_cancelled());
    });
    let expected = "actor 'kept account' is started again: task raised an exception: the process died: exit status: 3";
    assert!(lines.iter().any(|line| line == expected), "{lines:?}");
}

#[test]
fn what_a_process_sends_to_a_closed_actor_is_a_dead_letter_where_that_lives() {
    let _watch = watch();
    let lines = reports(|| {
        let account = in_process().spawn_actor(account());
        // It lives, and receives nothing any more.
        let (go_on, goes_on) = channel::bounded::<()>(0);
        let gone = Builder::new().start("gone", move |_: &Mailbox<u64>| _ = goes_on.recv()).unwrap();
        gone.close();
        // What is sent there is a dead letter here.
        account.send(Order::Count(1, gone.clone())).unwrap();
        assert_eq!(account.ask(Order::Balance), Ok(100));
        end(&account);
        drop(go_on);
        gone.join().unwrap();
    });
    assert!(lines.contains(&"actor 'gone' ended with unread messages: 1".to_owned()), "{lines:?}");
}

// ---- addresses of further actors in processes

/// An actor in a process, and one that it has started beside itself.
fn with_child(bound: usize) -> (Address<Order>, Address<Child>) {
    let account = in_process().spawn_actor(account());
    let child = account.ask(|reply| Order::Child(bound, reply)).unwrap();
    (account, child)
}

#[test]
fn a_received_address_is_closed_killed_and_joined_as_the_actor_itself() {
    let _watch = watch();
    let (account, child) = with_child(1);
    (0..500).for_each(|n| child.send(Child::Add(n)).unwrap());
    assert_eq!(child.ask(Child::Total), Ok(124_750));
    // A close comes behind what is queued.
    child.send(Child::Add(250)).unwrap();
    let asks = osier::spawn({
        let child = child.clone();
        move || child.ask(Child::Total)
    });
    assert_eq!(asks.join().unwrap(), Ok(125_000));
    child.close();
    child.join().unwrap();
    assert!(child.is_closed() && matches!(child.send(Child::Sleep), Err(SendError::Closed(Child::Sleep))));

    let child = account.ask(|reply| Order::Child(0, reply)).unwrap();
    assert!(child.join_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    child.send(Child::Sleep).unwrap();
    child.kill();
    assert!(child.join().unwrap_err().is_cancelled());

    let child = account.ask(|reply| Order::Child(0, reply)).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    child.send(Child::Fail("a bug".to_owned())).unwrap();
    let error = child.join_deadline(deadline).unwrap_err();
    assert!(error.is_panic() && error.to_string().contains("a bug"), "{error}");

    // The other way round.
    fn fails(inbox: &Mailbox<u64>) {
        inbox.recv();
        raise(std::fmt::Error)
    }
    let listener = || Builder::new().spawn(fails);
    let ended = |how: fn() -> Ending| account.ask(|reply| Order::End(listener(), how(), reply)).unwrap();
    assert_eq!(ended(|| Ending::Close), "well");
    assert_eq!(ended(|| Ending::Kill), JoinError::to_string(&endless_killed()));
    assert!(ended(|| Ending::Message).contains(&std::fmt::Error.to_string()));
    end(&account);
}

/// The error of a task that was killed.
fn endless_killed() -> JoinError {
    let task = osier::spawn(|| osier::sleep(common::FOR_EVER));
    task.kill();
    task.join().unwrap_err()
}

#[test]
fn links_and_monitors_reach_further_actors_in_processes() {
    let _watch = watch();
    let (account, child) = with_child(0);
    let (sender, receiver) = channel::unbounded();
    let watcher = Builder::new().spawn(move |inbox: &Mailbox<Down>| sender.send(inbox.recv()).unwrap());
    let linked = Builder::new().spawn(|inbox: &Mailbox<()>| inbox.recv());
    child.monitor(&watcher, |down| down);
    child.link(&linked);
    // Nobody but the monitor and the link has its address any more.
    let last = child.clone();
    drop(child);
    last.send(Child::Fail("a bug".to_owned())).unwrap();
    drop(last);
    assert!(receiver.recv().unwrap().end().as_ref().unwrap_err().is_panic());
    assert!(linked.join().unwrap_err().exception().unwrap().is::<actor::LinkedEnd>());

    let child = account.ask(|reply| Order::Child(0, reply)).unwrap();
    let fails = Builder::new().spawn(|inbox: &Mailbox<()>| {
        inbox.recv();
        raise(std::fmt::Error)
    });
    child.link(&fails);
    fails.send(()).unwrap();
    assert!(child.join().unwrap_err().is_cancelled(), "it is killed");
    assert!(fails.join().is_err());
    end(&account);
}

#[test]
fn a_process_that_ends_well_leaves_no_dead_letters() {
    let _watch = watch();
    let lines = reports(|| {
        for n in 0..10 {
            let (account, child) = with_child(8);
            (0..n).for_each(|n| child.send(Child::Add(n)).unwrap());
            let total = osier::spawn(move || child.ask(Child::Total));
            assert_eq!(total.join().unwrap(), Ok((0..n).sum()));
            end(&account);
        }
    });
    assert!(!lines.iter().any(|line| line.starts_with("actor 'further' ended")), "{lines:?}");
}

#[test]
fn messages_to_a_further_actor_in_a_process_are_bounded_and_counted_when_it_dies() {
    let _watch = watch();
    let mut sent = 0;
    let lines = reports(|| {
        let (account, child) = with_child(4);
        // One that does not arrive is lost alone, and gives back its place on the way.
        for _ in 0..100 {
            child.send(Child::Crooked(Crooked)).unwrap();
        }
        assert_eq!(child.ask(Child::Total), Ok(0));
        child.send(Child::Sleep).unwrap();
        // Its mailbox, those on the way, and the mailbox that stands for it here.
        until(|| {
            let refused = child.try_send(Child::Add(1));
            sent += usize::from(refused.is_ok());
            matches!(refused, Err(SendError::Full(_))) && sent >= 64
        });
        assert!(sent <= 4 + 64 + 4 + 1, "{sent}");
        account.send(Order::Exit(3)).unwrap();
        assert!(account.join().is_err());
        let error = child.join().unwrap_err();
        assert!(matches!(remote(&error), RemoteError::Lost), "{error}");
        assert!(matches!(child.try_send(Child::Add(1)), Err(SendError::Closed(_))));
    });
    let count =
        |line: &String| line.strip_prefix("actor 'further' ended with unread messages: ")?.parse::<usize>().ok();
    let unread: usize = lines.iter().filter_map(count).sum();
    let undelivered = |line: &&String| line.starts_with("a message to actor 'further' is lost: it cannot be decoded");
    assert_eq!(lines.iter().filter(undelivered).count(), 100, "{lines:?}");
    // Also what its own mailbox has taken; that it has received the last one before it sleeps may not have been told.
    assert!((sent..=sent + 1).contains(&unread), "{sent}: {lines:?}");
}

#[test]
fn what_a_further_actor_in_a_process_has_not_received_is_counted_when_that_dies() {
    let _watch = watch();
    let lines = reports(|| {
        let account = in_process().spawn_actor(account());
        let child = account.ask(Order::Unbounded).unwrap();
        // Some are received, which are not to be counted; some never will be, and lie in its mailbox.
        (0..1000).for_each(|n| child.send(Child::Add(n)).unwrap());
        assert_eq!(child.ask(Child::Total), Ok(499_500));
        child.send(Child::Sleep).unwrap();
        (0..1000).for_each(|n| child.send(Child::Add(n)).unwrap());
        until(|| child.is_empty());
        account.send(Order::Exit(3)).unwrap();
        assert!(account.join().is_err());
        assert!(child.join().is_err());
    });
    let count =
        |line: &String| line.strip_prefix("actor 'unbounded' ended with unread messages: ")?.parse::<usize>().ok();
    let unread: usize = lines.iter().filter_map(count).sum();
    assert!((1000..=1000 + 16).contains(&unread), "{unread}: {lines:?}");
}

#[test]
fn messages_of_its_own_process_do_not_hide_those_from_elsewhere() {
    let _watch = watch();
    let lines = reports(|| {
        let account = in_process().spawn_actor(account());
        let child = account.ask(Order::Unbounded).unwrap();
        child.send(Child::Sleep).unwrap();
        (0..300).for_each(|n| {
            child.send(Child::Add(n)).unwrap();
            // By way of the one in its process, which knows it by its name.
            account.send(Order::Pass(n)).unwrap();
        });
        until(|| child.is_empty());
        account.send(Order::Exit(3)).unwrap();
        assert!(account.join().is_err() && child.join().is_err());
    });
    let count =
        |line: &String| line.strip_prefix("actor 'unbounded' ended with unread messages: ")?.parse::<usize>().ok();
    let unread: usize = lines.iter().filter_map(count).sum();
    assert!((300..=300 + 16).contains(&unread), "{unread}: {lines:?}");
}

#[test]
fn a_close_of_a_received_address_loses_nothing_that_was_sent_before() {
    let _watch = watch();
    for bound in [0, 1, 3] {
        let (account, child) = with_child(bound);
        // What holds it up is told to go on only when it was closed.
        let (go, goes) = channel::bounded::<()>(0);
        let (began, begins) = channel::bounded(1);
        let gate = Builder::new().spawn(move |inbox: &Mailbox<(u64, Reply<u64>)>| {
            let (n, reply) = inbox.recv();
            began.send(()).unwrap();
            _ = goes.recv();
            reply.send(n).unwrap();
        });
        child.send(Child::WaitFor(gate)).unwrap();
        begins.recv().unwrap();
        // As many may be on the way, so none of them waits here.
        (1..=40).for_each(|n| child.send(Child::Add(n)).unwrap());
        let (says, heard) = channel::bounded(1);
        let listener = Builder::new().spawn(move |inbox: &Mailbox<i64>| says.send(inbox.recv()).unwrap());
        child.send(Child::Tell(listener)).unwrap();
        child.close();
        // Time for the close to arrive: as long as a few questions and answers take.
        assert!((0..20).all(|_| account.ask(Order::Balance) == Ok(100)));
        drop(go);
        assert_eq!(heard.recv(), Ok(820), "bound {bound}");
        child.join().unwrap();
        end(&account);
    }
}

#[test]
fn an_address_that_comes_back_is_the_actors_own() {
    let _watch = watch();
    let account = in_process().spawn_actor(account());
    let returns = Builder::new().spawn(|inbox: &Mailbox<(Address<u64>, Reply<Address<u64>>)>| {
        inbox.iter().for_each(|(address, reply)| _ = reply.send(address));
    });
    assert_eq!(account.ask(|reply| Order::Returns(returns.clone(), reply)), Ok(true));
    end(&returns);
    end(&account);
}

#[test]
fn a_further_actor_that_gets_its_own_address_back_cannot_ask_itself() {
    let _watch = watch();
    let (account, child) = with_child(4);
    let yourself = child.clone();
    assert_eq!(child.ask(|reply| Child::AskYourself(yourself, reply)), Ok(true));
    assert_eq!(child.ask(Child::Total), Ok(0));
    child.close();
    child.join().unwrap();
    end(&account);
}

#[test]
fn what_the_actor_of_a_process_starts_goes_on_while_that_computes() {
    let _watch = watch();
    _ = reports(|| {
        let account = in_process().spawn_actor(account());
        let child = account.ask(Order::ChildThenHold).unwrap();
        child.send(Child::Add(4)).unwrap();
        assert_eq!(child.ask(Child::Total), Ok(4));
        account.kill();
        assert!(child.join().is_err());
    });
}

// ---- topics

#[derive(Serialize, Deserialize)]
enum News {
    Publisher(Address<(String, u32)>),
    Heard(u32),
}

/// Publishes twice of what it hears.
fn gossip(inbox: &Mailbox<News>) {
    let mut publisher = None;
    for news in inbox {
        match (news, &publisher) {
            (News::Publisher(address), _) => publisher = Some(address),
            (News::Heard(n), Some(publisher)) => publisher.send(("gossip".to_owned(), 2 * n)).unwrap(),
            (News::Heard(_), None) => panic!("it was told whom to tell"),
        }
    }
}

// S14
#[test]
fn topics_reach_processes_and_are_published_by_them() {
    let _watch = watch();
    let topics = Topics::new();
    let heard = topics.subscribe("gossip");
    let actors = [
        Builder::new().spawn(registered!(gossip)),
        Builder::new().thread().spawn(registered!(gossip)),
        in_process().spawn(registered!(gossip)),
    ];
    for actor in &actors {
        actor.send(News::Publisher(topics.publisher())).unwrap();
        topics.subscribe("news.>").forward(actor, News::Heard);
    }
    for n in 0..100 {
        assert_eq!(topics.publish("news.today", n), 3);
    }
    let mut got: Vec<_> = heard.iter().take(300).collect();
    got.sort_unstable();
    assert!(got.into_iter().eq((0..100).flat_map(|n| [2 * n; 3])));
    actors.iter().for_each(end);
}

// ---- nothing is left behind

/// In a process of its own: an owner whose actor computes, and that is killed.
#[test]
fn owner() {
    if std::env::var_os("OWNER").is_none() {
        return;
    }
    let account = in_process().spawn_actor(account());
    let id = account.ask(Order::Process).unwrap();
    account.send(Order::Hold).unwrap();
    eprintln!("host {id}");
    hold_thread(Duration::from_secs(3600));
}

#[test]
fn a_process_ends_with_its_owner() {
    use std::io::{BufRead, BufReader};
    let _watch = watch();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner", "--nocapture"])
        .env("OWNER", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stderr.take().unwrap()).lines();
    let id = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("host ")?.parse::<u32>().ok()).unwrap();
    assert!(exists(id));
    owner.kill().unwrap();
    owner.wait().unwrap();
    let is_over = |id| std::fs::read_to_string(format!("/proc/{id}/stat")).map_or(true, |stat| stat.contains(") Z "));
    until(|| is_over(id));
}
