//! Supervisors: who is started again, who is not, and when it is enough.

#![cfg(feature = "runtime")]

mod common;

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{Log, reports, watch};
use osier::actor::{
    self, Actor, Address, AskError, Builder, ChildError, Context, Mailbox, Reply, Restart, SendError, Stop, Strategy,
    Supervisor, TooManyRestarts,
};
use osier::sync::channel;
use osier::{catch_exit, raise, run, spawn};

/// Counts, fails and ends when it is told to. Writes down its starts and ends.
struct Counter {
    name: &'static str,
    log: Log,
    count: u32,
}

enum Message {
    Add(u32),
    Count(Reply<u32>),
    Fail,
    Stop,
}

impl Actor for Counter {
    type Message = Message;

    fn started(&mut self, _: &Context<'_, Message>) {
        self.log.push(format!("{} starts", self.name));
    }

    fn receive(&mut self, message: Message, context: &Context<'_, Message>) {
        match message {
            Message::Add(n) => self.count += n,
            Message::Count(reply) => _ = reply.send(self.count),
            Message::Fail => raise(Error),
            Message::Stop => context.stop(),
        }
    }

    fn stopped(&mut self, why: Stop, _: &Context<'_, Message>) {
        self.log.push(format!("{} ends: {why:?}", self.name));
    }
}

fn start(supervisor: &Supervisor, name: &'static str, restart: Restart, log: &Log, thread: bool) -> Address<Message> {
    let log = log.clone();
    let builder = if thread { Builder::new().thread() } else { Builder::new() };
    let child = builder.child(move || Counter { name, log: log.clone(), count: 0 });
    supervisor.start(name, restart, child).unwrap()
}

#[test]
fn smoke() {
    let _watch = watch();
    for thread in [false, true] {
        let log = Log::default();
        let lines = reports(|| {
            let supervisor = Supervisor::builder(Strategy::OneForOne).start();
            let counter = start(&supervisor, "smoke child", Restart::Permanent, &log, thread);
            counter.send(Message::Add(1)).unwrap();
            assert_eq!(counter.ask(Message::Count), Ok(1));
            counter.send(Message::Fail).unwrap();
            // What was queued behind the one that it failed with is received by the next one.
            counter.send(Message::Add(5)).unwrap();
            assert_eq!(counter.ask(Message::Count), Ok(5));
            assert_eq!(supervisor.restarts(), Ok(1));
            actor::send("smoke child", Message::Add(1)).unwrap();
            assert_eq!(counter.ask(Message::Count), Ok(6));
            supervisor.stop();
            assert!(matches!(counter.send(Message::Fail), Err(SendError::Closed(Message::Fail))));
            assert!(actor::find::<Message>("smoke child").is_none());
            assert!(counter.join().unwrap_err().is_cancelled());
            assert_eq!(supervisor.restarts(), Err(ChildError::Ended));
        });
        assert_eq!(lines, [format!("actor 'smoke child' is started again: task raised an exception: {Error}")]);
        let name = "smoke child";
        let expected = ["starts", "ends: Failed", "starts", "ends: Killed"].map(|what| format!("{name} {what}"));
        assert_eq!(log.take(), expected);
    }
}

#[test]
fn each_kind_of_child_is_started_again_when_it_should() {
    let _watch = watch();
    let log = Log::default();
    _ = reports(|| {
        let supervisor = Supervisor::builder(Strategy::OneForOne).unlimited().start();
        let child = |name, restart| start(&supervisor, name, restart, &log, false);
        let always = child("permanent", Restart::Permanent);
        let failing = child("transient", Restart::Transient);
        let never = child("temporary", Restart::Temporary);
        for address in [&always, &failing] {
            address.send(Message::Fail).unwrap();
            assert_eq!(address.ask(Message::Count), Ok(0));
            address.task().kill();
            assert_eq!(address.ask(Message::Count), Ok(0));
        }
        never.send(Message::Fail).unwrap();
        assert!(never.join().unwrap_err().exception().is_some());
        always.send(Message::Stop).unwrap();
        assert_eq!(always.ask(Message::Count), Ok(0));
        failing.send(Message::Stop).unwrap();
        failing.join().unwrap();
        assert_eq!(supervisor.restarts(), Ok(5));
        // A close is for good.
        always.close();
        always.join().unwrap();
        assert_eq!(supervisor.restarts(), Ok(5));
        for name in ["permanent", "transient", "temporary"] {
            assert!(actor::find::<Message>(name).is_none(), "{name}");
        }
        supervisor.stop();
    });
}

#[test]
fn strategies_say_whom_a_failure_takes_along() {
    let _watch = watch();
    let expected: [(Strategy, &[&str]); 3] = [
        (Strategy::OneForOne, &["b ends: Failed", "b starts"]),
        (
            Strategy::OneForAll,
            &["b ends: Failed", "c ends: Killed", "a ends: Killed", "a starts", "b starts", "c starts"],
        ),
        (Strategy::RestForOne, &["b ends: Failed", "c ends: Killed", "b starts", "c starts"]),
    ];
    for (strategy, expected) in expected {
        let log = Log::default();
        _ = reports(|| {
            let supervisor = Supervisor::builder(strategy).start();
            let children = ["a", "b", "c"].map(|name| start(&supervisor, name, Restart::Permanent, &log, false));
            for child in &children {
                child.ask(Message::Count).unwrap();
            }
            log.take();
            children[1].send(Message::Fail).unwrap();
            children[1].ask(Message::Count).unwrap();
            // It counts what is done, not what is begun.
            assert_eq!(supervisor.restarts(), Ok(1));
            for child in &children {
                child.ask(Message::Count).unwrap();
            }
            let mut lines = log.take();
            if strategy != Strategy::OneForOne {
                // They start side by side.
                let begun = lines.iter().position(|line| line.ends_with("starts")).unwrap();
                lines[begun..].sort();
            }
            assert_eq!(lines, expected, "{strategy:?}");
            supervisor.stop();
            let ends = log.take();
            assert_eq!(ends, ["c ends: Killed", "b ends: Killed", "a ends: Killed"], "the newest first");
        });
    }
}

#[test]
fn a_group_restart_leaves_out_those_that_are_over() {
    let _watch = watch();
    let log = Log::default();
    _ = reports(|| {
        let supervisor = Supervisor::builder(Strategy::OneForAll).start();
        let temporary = start(&supervisor, "over 1", Restart::Temporary, &log, false);
        let failing = start(&supervisor, "over 2", Restart::Permanent, &log, false);
        temporary.ask(Message::Count).unwrap();
        failing.send(Message::Fail).unwrap();
        assert!(temporary.join().unwrap_err().is_cancelled());
        assert_eq!(failing.ask(Message::Count), Ok(0));
        assert!(actor::find::<Message>("over 1").is_none());
        supervisor.stop();
    });
}

#[test]
fn it_gives_up_when_children_fail_too_often() {
    let _watch = watch();
    let log = Log::default();
    _ = reports(|| {
        let supervisor = Supervisor::builder(Strategy::OneForOne).intensity(2, Duration::from_secs(3600)).start();
        let sibling = start(&supervisor, "sibling", Restart::Permanent, &log, false);
        sibling.ask(Message::Count).unwrap();
        let failing = start(&supervisor, "fails often", Restart::Permanent, &log, false);
        for _ in 0..3 {
            failing.send(Message::Fail).unwrap();
        }
        let error = supervisor.task().join().unwrap_err();
        let gave_up = error.exception().unwrap().downcast_ref::<TooManyRestarts>().unwrap();
        assert_eq!(gave_up.child(), "fails often");
        assert!(gave_up.reason().unwrap().exception().unwrap().is::<Error>());
        let text = gave_up.to_string();
        assert!(text.starts_with("more than 2 restarts within 3600s: actor 'fails often' has failed: "), "{text}");
        assert!(sibling.join().unwrap_err().is_cancelled(), "it took along its children");
        assert!(failing.join().is_err());
        let late = supervisor.start("late", Restart::Permanent, Builder::new().child_body(|_: &Mailbox<()>| ()));
        assert_eq!(late.unwrap_err(), ChildError::Ended);
        assert!(actor::find::<()>("late").is_none());
    });
}

#[test]
fn restarts_that_are_long_past_do_not_count() {
    let _watch = watch();
    let runtime = osier::Runtime::builder().test(7).build().unwrap();
    _ = reports(|| {
        runtime.run(|| {
            let log = Log::default();
            let supervisor = Supervisor::builder(Strategy::OneForOne).intensity(2, Duration::from_secs(10)).start();
            let child = start(&supervisor, "now and then", Restart::Permanent, &log, false);
            for _ in 0..10 {
                child.send(Message::Fail).unwrap();
                assert_eq!(child.ask(Message::Count), Ok(0));
                osier::sleep(Duration::from_secs(6));
            }
            assert_eq!(supervisor.restarts(), Ok(10));
            supervisor.stop();
        });
    });
}

#[test]
fn supervisors_of_supervisors() {
    let _watch = watch();
    let log = Log::default();
    _ = reports(|| {
        let (sender, receiver) = channel::unbounded();
        let upper = Supervisor::builder(Strategy::OneForOne).start();
        let written = log.clone();
        let lower = move |inbox: &Mailbox<()>| {
            let lower = Supervisor::builder(Strategy::OneForOne).intensity(0, Duration::from_secs(1)).start();
            let child = start(&lower, "below", Restart::Permanent, &written, false);
            sender.send(child).unwrap();
            // What the lower one fails with is the failure of its upper's child.
            let ended = catch_exit(|| lower.task().join());
            assert!(inbox.is_empty());
            match ended {
                Ok(end) => end.unwrap_or_else(|error| raise(error.exception().unwrap().clone())),
                Err(exit) => {
                    lower.stop();
                    exit.resume()
                }
            }
        };
        upper.start("lower", Restart::Permanent, Builder::new().child_body(lower)).unwrap();
        let child = receiver.recv().unwrap();
        child.ask(Message::Count).unwrap();
        child.send(Message::Fail).unwrap();
        let child = receiver.recv().unwrap();
        assert_eq!(child.ask(Message::Count), Ok(0), "a new one, below a new supervisor");
        assert_eq!(upper.restarts(), Ok(1));
        upper.stop();
        assert!(child.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let _watch = watch();
    let first = actor::start("taken child", |inbox: &Mailbox<()>| inbox.recv()).unwrap();
    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    let child = || Builder::new().child_body(|inbox: &Mailbox<()>| inbox.recv());
    let error = supervisor.start("taken child", Restart::Permanent, child()).unwrap_err();
    assert_eq!(error.to_string(), "an actor named 'taken child' runs already");
    first.send(()).unwrap();
    first.join().unwrap();
    let second = supervisor.start("taken child", Restart::Transient, child()).unwrap();
    second.send(()).unwrap();
    second.join().unwrap();
    supervisor.stop();
}

#[test]
fn a_killed_supervisor_leaves_no_child_behind() {
    let _watch = watch();
    let log = Log::default();
    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    let child = start(&supervisor, "orphan", Restart::Permanent, &log, false);
    child.ask(Message::Count).unwrap();
    supervisor.task().kill();
    assert!(child.join().unwrap_err().is_cancelled());
    assert_eq!(log.take(), ["orphan starts", "orphan ends: Killed"]);
}

#[test]
fn a_child_that_asks_itself_gets_an_error_after_a_restart_too() {
    let _watch = watch();
    _ = reports(|| {
        let supervisor = Supervisor::builder(Strategy::OneForOne).start();
        let life = Arc::new(AtomicU32::new(0));
        let (sender, receiver) = channel::unbounded();
        let body = move |inbox: &Mailbox<Reply<u32>>| {
            let me = inbox.address();
            assert_eq!(me.ask(|reply| reply), Err(AskError::Myself));
            assert_eq!(
                actor::find::<Reply<u32>>("asks itself again").unwrap().ask(|reply| reply),
                Err(AskError::Myself)
            );
            sender.send(()).unwrap();
            if life.fetch_add(1, Ordering::Relaxed) == 0 {
                raise(Error);
            }
            for reply in inbox {
                reply.send(7).unwrap();
            }
        };
        let child = Builder::new().child_body(body);
        let address = supervisor.start("asks itself again", Restart::Permanent, child).unwrap();
        assert_eq!(address.ask(|reply| reply), Ok(7));
        assert_eq!((receiver.recv(), receiver.recv()), (Ok(()), Ok(())));
        supervisor.stop();
    });
}

#[test]
fn many_send_while_it_is_started_again_and_nothing_is_lost() {
    let _watch = watch();
    const SENDERS: u32 = 4;
    const EACH: u32 = 500;
    _ = reports(|| {
        let supervisor = Supervisor::builder(Strategy::OneForOne).unlimited().start();
        let got = Arc::new(AtomicU32::new(0));
        let counted = got.clone();
        let body = move |inbox: &Mailbox<u32>| {
            for n in inbox {
                counted.fetch_add(1, Ordering::Relaxed);
                if n % 50 == 0 {
                    raise(Error);
                }
            }
        };
        let address =
            supervisor.start("fragile", Restart::Permanent, Builder::new().mailbox(16).child_body(body)).unwrap();
        run(|| {
            let senders: Vec<_> = (0..SENDERS)
                .map(|_| {
                    let address = address.clone();
                    spawn(move || (0..EACH).for_each(|n| address.send(n).unwrap()))
                })
                .collect();
            senders.into_iter().for_each(|sender| sender.join().unwrap());
        });
        address.close();
        // The last failure may be of one that nobody starts again.
        _ = address.join();
        assert_eq!(got.load(Ordering::Relaxed) + u32::try_from(address.len()).unwrap(), SENDERS * EACH);
        supervisor.stop();
    });
}
