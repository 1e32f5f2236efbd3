//! Actors: mailboxes, names, ends.

#![cfg(feature = "runtime")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::{Tally, panic_text, reports, until, watch};
use osier::actor::{self, Address, AskError, Builder, Mailbox, Reply, SendError};
use osier::sync::channel;
use osier::{ExitKind, Runtime, catch_exit, raise, run, spawn};

/// Both kinds of actors: tasks on workers, and those with a thread.
fn both(test: impl Fn(Builder)) {
    test(Builder::new());
    test(Builder::new().thread());
}

fn end<M>(address: &Address<M>) {
    address.close();
    address.task().join().unwrap();
}

#[test]
fn smoke() {
    let _watch = watch();
    both(|builder| {
        let (sender, receiver) = channel::unbounded();
        let echo = builder
            .start("smoke", move |inbox| {
                loop {
                    sender.send(inbox.recv()).unwrap();
                }
            })
            .unwrap();
        for n in 0..100 {
            echo.send(n).unwrap();
        }
        end(&echo);
        assert_eq!(receiver.iter().collect::<Vec<u32>>(), (0..100).collect::<Vec<_>>());
    });
}

// S03
#[test]
fn sends_by_name() {
    let _watch = watch();
    let (sender, receiver) = channel::unbounded();
    let printer = actor::start("by name", move |inbox: &Mailbox<u32>| {
        loop {
            sender.send(inbox.recv()).unwrap();
        }
    })
    .unwrap();
    assert_eq!(actor::send("by name", 1_u32), Ok(()));
    assert_eq!(actor::send("by name", "text"), Err(SendError::WrongType("text")));
    assert_eq!(actor::send("by nobody", 2_u32), Err(SendError::NoSuchName(2)));
    assert!(actor::find::<&str>("by name").is_none());
    actor::find::<u32>("by name").unwrap().send(3).unwrap();
    end(&printer);
    assert_eq!(actor::send("by name", 4_u32), Err(SendError::NoSuchName(4)));
    assert_eq!(printer.send(5), Err(SendError::Closed(5)));
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn a_name_is_taken_until_its_actor_has_ended() {
    let _watch = watch();
    both(|builder| {
        let wait = |inbox: &Mailbox<()>| inbox.recv();
        let first = builder.clone().start("taken", wait).unwrap();
        let refused = builder.clone().start("taken", wait).unwrap_err();
        assert_eq!(refused.name(), "taken");
        assert_eq!(refused.to_string(), "an actor named 'taken' runs already");
        first.send(()).unwrap();
        first.task().join().unwrap();
        let second = builder.clone().start("taken", wait).unwrap();
        assert_ne!(first.task(), second.task());
        assert_eq!(first.send(()), Err(SendError::Closed(())));
        end(&second);
    });
}

#[test]
fn finds_itself_before_its_starter_goes_on() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(2).build().unwrap();
    for n in 0..200 {
        runtime.run(|| {
            let name = format!("myself {n}");
            let me = name.clone();
            let actor = actor::start(&name, move |inbox: &Mailbox<u32>| {
                actor::send(&me, 1_u32).unwrap();
                assert_eq!(inbox.recv(), 1);
            });
            actor.unwrap().task().join().unwrap();
        });
    }
}

// S05, S07
#[test]
fn two_that_send_to_each_other_never_reenter() {
    let _watch = watch();
    const LAST: u32 = 10_000;
    both(|builder| {
        let start = |me: &'static str, other: &'static str| {
            let body = move |inbox: &Mailbox<u32>| {
                let mut depth = 0;
                loop {
                    let n = inbox.recv();
                    depth += 1;
                    assert_eq!(depth, 1, "{me} is entered once at a time");
                    if n < LAST {
                        actor::send(other, n + 1).unwrap();
                    } else {
                        return;
                    }
                    depth -= 1;
                }
            };
            builder.clone().start(me, body).unwrap()
        };
        let (ping, pong) = (start("ping", "pong"), start("pong", "ping"));
        ping.send(0).unwrap();
        ping.task().join().unwrap();
        end(&pong);
    });
}

#[test]
fn a_send_does_not_run_the_actor() {
    let _watch = watch();
    // One line of tasks on one thread: the actor could only run within the send.
    let runtime = osier::runtime::LocalRuntime::new();
    runtime.run(|| {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let actor = actor::start("not within", move |inbox: &Mailbox<()>| {
            inbox.iter().for_each(|()| _ = counter.fetch_add(1, Ordering::Relaxed));
        });
        let actor = actor.unwrap();
        for _ in 0..10 {
            actor.send(()).unwrap();
        }
        assert_eq!((count.load(Ordering::Relaxed), actor.len()), (0, 10));
        end(&actor);
        assert_eq!(count.load(Ordering::Relaxed), 10);
    });
}

// S12
#[test]
fn close_ends_it_after_what_is_queued() {
    let _watch = watch();
    both(|builder| {
        let (sender, receiver) = channel::unbounded();
        let (go, wait) = channel::bounded::<()>(0);
        let body = move |inbox: &Mailbox<u32>| {
            _ = wait.recv();
            let exit = catch_exit(|| {
                loop {
                    sender.send(inbox.recv()).unwrap();
                }
            });
            let Err(exit) = exit;
            assert_eq!(exit.kind(), ExitKind::ActorClosed);
            sender.send(u32::MAX).unwrap();
            exit.resume();
        };
        let actor = builder.start("closed", body).unwrap();
        actor.send(1).unwrap();
        actor.send(2).unwrap();
        actor.close();
        actor.close();
        assert!(actor.is_closed());
        assert_eq!(actor.send(3), Err(SendError::Closed(3)));
        assert_eq!(actor.try_send(4), Err(SendError::Closed(4)));
        drop(go);
        actor.task().join().unwrap();
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2, u32::MAX]);
    });
}

#[test]
fn the_destructors_of_a_closed_actor_run() {
    let _watch = watch();
    let tokens = Tally::default();
    let token = tokens.token();
    let actor = Builder::new().spawn(move |inbox: &Mailbox<()>| {
        let _token = token;
        inbox.recv();
    });
    assert_eq!(tokens.dropped(), 0);
    end(&actor);
    tokens.assert_all_dropped(tokens.made());
}

// S13
#[test]
fn an_actor_that_swallows_its_close_fails() {
    let _watch = watch();
    let stubborn = Builder::new().spawn(|inbox: &Mailbox<()>| {
        loop {
            _ = catch_exit(|| inbox.recv());
        }
    });
    stubborn.close();
    let error = stubborn.task().join().unwrap_err();
    assert!(error.is_panic());
    assert!(error.to_string().contains("receives again"), "{error}");
}

#[test]
fn a_loop_over_the_mailbox_ends_at_its_close() {
    let _watch = watch();
    both(|builder| {
        let (sender, receiver) = channel::bounded(1);
        let actor = builder.spawn(move |inbox| sender.send(inbox.iter().sum::<u32>()).unwrap());
        (1..=10).for_each(|n| actor.send(n).unwrap());
        actor.close();
        assert_eq!(receiver.recv(), Ok(55));
    });
}

#[test]
fn try_recv_and_recv_timeout_do_not_end_it() {
    let _watch = watch();
    let (sender, receiver) = channel::unbounded();
    let actor = Builder::new().spawn(move |inbox: &Mailbox<u32>| {
        sender.send(inbox.try_recv()).unwrap();
        sender.send(inbox.recv_timeout(Duration::from_millis(1))).unwrap();
        sender.send(Some(inbox.recv())).unwrap();
        assert!(catch_exit(|| inbox.recv_timeout(Duration::from_secs(60))).is_err());
        sender.send(inbox.try_recv()).unwrap();
    });
    assert_eq!((receiver.recv(), receiver.recv()), (Ok(None), Ok(None)));
    actor.send(7).unwrap();
    end(&actor);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [Some(7), None]);
}

#[test]
fn an_actor_without_a_name_ends_with_its_last_address() {
    let _watch = watch();
    both(|builder| {
        let actor = builder.spawn(|inbox: &Mailbox<u32>| {
            inbox.recv();
            inbox.recv();
        });
        let task = actor.task();
        let other = actor.clone();
        drop(actor);
        other.send(1).unwrap();
        drop(other);
        task.join().unwrap();
    });
}

#[test]
fn a_bounded_mailbox_makes_senders_wait() {
    let _watch = watch();
    both(|builder| {
        let (go, wait) = channel::bounded::<()>(0);
        let (sender, receiver) = channel::unbounded();
        let actor = builder.mailbox(2).spawn(move |inbox| {
            _ = wait.recv();
            inbox.iter().for_each(|n: u32| sender.send(n).unwrap());
        });
        actor.send(1).unwrap();
        actor.send(2).unwrap();
        assert_eq!(actor.try_send(3), Err(SendError::Full(3)));
        assert_eq!(actor.send_timeout(3, Duration::from_millis(1)), Err(SendError::Full(3)));
        let third = spawn({
            let actor = actor.clone();
            move || actor.send(3)
        });
        drop(go);
        third.join().unwrap().unwrap();
        end(&actor);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2, 3]);
    });
}

#[test]
fn a_sender_that_waits_for_room_gets_its_message_back_when_the_actor_ends() {
    let _watch = watch();
    let (go, wait) = channel::bounded::<()>(0);
    let lines = reports(|| {
        let actor = Builder::new().mailbox(1).spawn(move |_: &Mailbox<u32>| _ = wait.recv());
        actor.send(1).unwrap();
        let (sends, waits) = mpsc::channel();
        let second = spawn({
            let actor = actor.clone();
            move || {
                sends.send(()).unwrap();
                actor.send(2)
            }
        });
        waits.recv().unwrap();
        drop(go);
        assert_eq!(second.join().unwrap(), Err(SendError::Closed(2)));
        actor.task().join().unwrap();
    });
    assert!(lines.contains(&"actor 'actor' ended with unread messages: 1".to_owned()), "{lines:?}");
}

#[test]
fn an_actor_that_fills_its_own_mailbox_gets_an_error() {
    let _watch = watch();
    let actor = Builder::new().mailbox(1).start("own", |inbox: &Mailbox<u32>| {
        assert_eq!(inbox.recv(), 0);
        actor::send("own", 1_u32).unwrap();
        assert_eq!(actor::send("own", 2_u32), Err(SendError::Full(2)));
        assert_eq!(inbox.recv(), 1);
    });
    let actor = actor.unwrap();
    actor.send(0).unwrap();
    actor.task().join().unwrap();
}

enum Question {
    Double(u32, Reply<u32>),
    Ignore(Reply<u32>),
    Keep(Reply<u32>),
    Die(Reply<u32>),
}

fn oracle(inbox: &Mailbox<Question>) {
    let mut kept = Vec::new();
    for question in inbox {
        match question {
            Question::Double(n, reply) => _ = reply.send(2 * n),
            Question::Ignore(reply) => drop(reply),
            Question::Keep(reply) => kept.push(reply),
            Question::Die(_reply) => raise(std::fmt::Error),
        }
    }
}

// S11
#[test]
fn asks_and_is_answered() {
    let _watch = watch();
    both(|builder| {
        let oracle = builder.spawn(oracle);
        for n in 0..100 {
            assert_eq!(oracle.ask(|reply| Question::Double(n, reply)), Ok(2 * n));
        }
        assert_eq!(oracle.ask(Question::Ignore), Err(AskError::NoReply));
        let timeout = Duration::from_millis(1);
        assert_eq!(oracle.ask_timeout(timeout, Question::Keep), Err(AskError::Timeout));
        let (asks, waits) = mpsc::channel();
        let last = spawn({
            let oracle = oracle.clone();
            move || {
                oracle.ask(move |reply| {
                    asks.send(()).unwrap();
                    Question::Keep(reply)
                })
            }
        });
        waits.recv().unwrap();
        assert_eq!(oracle.ask(Question::Die), Err(AskError::NoReply));
        assert!(matches!(last.join().unwrap(), Err(AskError::NoReply | AskError::Closed)));
        assert!(oracle.task().join().unwrap_err().exception().unwrap().is::<std::fmt::Error>());
        assert_eq!(oracle.ask(Question::Ignore), Err(AskError::Closed));
    });
}

#[test]
fn asking_oneself_is_an_error() {
    let _watch = watch();
    let actor = actor::start("asks itself", |inbox: &Mailbox<Question>| {
        let me = actor::find::<Question>("asks itself").unwrap();
        assert_eq!(me.ask(Question::Keep), Err(AskError::Myself));
        assert!(inbox.try_recv().is_none(), "nothing was sent");
    });
    actor.unwrap().task().join().unwrap();
}

#[test]
fn links_tell_how_it_ended() {
    let _watch = watch();
    both(|builder| {
        let (sender, receiver) = channel::unbounded();
        let tell = |actor: &Address<u32>| {
            let sender = sender.clone();
            actor.task().link(move |end| sender.send(end.clone().map_err(|error| error.to_string())).unwrap());
        };
        let fragile = builder.clone().spawn(|inbox: &Mailbox<u32>| assert_eq!(inbox.recv(), 0, "a bug"));
        tell(&fragile);
        fragile.send(1).unwrap();
        let told = receiver.recv().unwrap().unwrap_err();
        assert!(told.starts_with("task panicked: assertion") && told.contains("a bug"), "{told}");
        tell(&fragile);
        assert!(receiver.recv().unwrap().is_err(), "also of what has ended");

        let closed = builder.clone().spawn(|inbox: &Mailbox<u32>| _ = inbox.recv());
        tell(&closed);
        closed.close();
        assert_eq!(receiver.recv().unwrap(), Ok(()));

        let killed = builder.clone().spawn(|inbox: &Mailbox<u32>| _ = inbox.recv());
        tell(&killed);
        killed.task().kill();
        assert_eq!(receiver.recv().unwrap(), Err("task was cancelled".to_owned()));
        assert_eq!(killed.send(1), Err(SendError::Closed(1)));
    });
}

#[test]
fn a_link_that_was_taken_back_does_not_run() {
    let _watch = watch();
    let actor = Builder::new().spawn(|inbox: &Mailbox<()>| inbox.recv());
    let link = actor.task().link(|_| unreachable!("it was taken back"));
    assert!(link.unlink() && !link.unlink());
    end(&actor);
}

#[test]
fn what_nobody_receives_is_reported() {
    let _watch = watch();
    let tokens = Tally::default();
    let lines = reports(|| {
        let (go, wait) = channel::bounded::<()>(0);
        let actor = actor::start("dead", move |inbox: &Mailbox<common::Token>| {
            _ = wait.recv();
            drop(inbox.recv());
            raise(std::fmt::Error)
        });
        let actor = actor.unwrap();
        for _ in 0..4 {
            actor.send(tokens.token()).unwrap();
        }
        drop(go);
        until(|| actor.task().is_finished() && actor::find::<common::Token>("dead").is_none());
        tokens.assert_all_dropped(tokens.made());
    });
    assert!(lines.contains(&"actor 'dead' ended with unread messages: 3".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("nobody joined task 'dead'")), "{lines:?}");
}

#[test]
fn starting_on_a_runtime_that_ends_frees_the_name() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let address = runtime.run(|| actor::start("ends with it", |inbox: &Mailbox<u32>| _ = inbox.recv()).unwrap());
    drop(runtime);
    assert_eq!(address.send(1), Err(SendError::Closed(1)));
    assert_eq!(actor::send("ends with it", 1_u32), Err(SendError::NoSuchName(1)));
    let again = actor::start("ends with it", |inbox: &Mailbox<u32>| _ = inbox.recv()).unwrap();
    end(&again);
}

#[test]
fn a_refused_start_drops_its_body_alone() {
    let _watch = watch();
    let first = actor::start("refuses", |inbox: &Mailbox<u32>| _ = inbox.recv()).unwrap();
    let tokens = Tally::default();
    let token = tokens.token();
    assert!(actor::start("refuses", move |_: &Mailbox<u32>| drop(token)).is_err());
    tokens.assert_all_dropped(tokens.made());
    assert_eq!(actor::find::<u32>("refuses").unwrap().task(), first.task());
    end(&first);
    let text =
        panic_text(|| actor::start("refuses", |_: &Mailbox<u32>| panic!("mine")).unwrap().task().join().unwrap());
    assert!(text.contains("mine"), "{text}");
}

#[test]
fn many_actors_pass_a_message_round() {
    let _watch = watch();
    const ACTORS: usize = 2_000;
    let (sender, receiver) = channel::bounded(1);
    run(|| {
        let mut next: Option<Address<u64>> = None;
        for _ in 0..ACTORS {
            let (after, sender) = (next.take(), sender.clone());
            let body = move |inbox: &Mailbox<u64>| {
                for n in inbox {
                    match &after {
                        Some(after) => after.send(n + 1).unwrap(),
                        None => sender.send(n + 1).unwrap(),
                    }
                }
            };
            next = Some(Builder::new().spawn(body));
        }
        let first = next.unwrap();
        for n in 0..3 {
            first.send(n).unwrap();
            assert_eq!(receiver.recv(), Ok(n + ACTORS as u64));
        }
    });
}

// ---- actors as values

/// Writes down what happens to it.
struct Clerk(common::Log);

enum Task {
    Note(&'static str),
    /// Receives one more before it goes on.
    Two,
    Address(Reply<Address<Task>>),
    Stop,
    Raise,
}

impl actor::Actor for Clerk {
    type Message = Task;

    fn started(&mut self, _: &actor::Context<'_, Task>) {
        self.0.push("starts");
    }

    fn receive(&mut self, message: Task, context: &actor::Context<'_, Task>) {
        match message {
            Task::Note(text) => self.0.push(text),
            Task::Two => {
                let Task::Note(text) = context.mailbox().recv() else { panic!("a note is expected") };
                self.0.push(format!("two: {text}"));
            }
            Task::Address(reply) => _ = reply.send(context.address()),
            Task::Stop => context.stop(),
            Task::Raise => raise(std::fmt::Error),
        }
    }

    fn stopped(&mut self, why: actor::Stop, _: &actor::Context<'_, Task>) {
        // It may wait, also when it is killed.
        osier::sleep(Duration::from_micros(1));
        self.0.push(format!("stops: {why:?}"));
    }
}

#[test]
fn an_actor_is_told_of_its_start_its_messages_and_its_end() {
    let _watch = watch();
    both(|builder| {
        let log = common::Log::default();
        let clerk = builder.clone().start_actor("clerk", Clerk(log.clone())).unwrap();
        let refused = builder.clone().start_actor("clerk", Clerk(log.clone())).unwrap_err();
        assert_eq!(refused.name(), "clerk");
        clerk.send(Task::Note("one")).unwrap();
        clerk.send(Task::Two).unwrap();
        actor::send("clerk", Task::Note("three")).unwrap();
        clerk.ask(Task::Address).unwrap().send(Task::Note("four")).unwrap();
        clerk.close();
        clerk.join().unwrap();
        assert_eq!(log.take(), ["starts", "one", "two: three", "four", "stops: Closed"]);

        for (message, lines) in [(Task::Stop, ["starts", "stops: Asked"]), (Task::Raise, ["starts", "stops: Failed"])] {
            let is_failure = matches!(message, Task::Raise);
            let clerk = builder.clone().spawn_actor(Clerk(log.clone()));
            clerk.send(message).unwrap();
            assert_eq!(clerk.join().is_err(), is_failure);
            assert_eq!(log.take(), lines);
        }
        let clerk = builder.spawn_actor(Clerk(log.clone()));
        clerk.ask(Task::Address).unwrap();
        clerk.kill();
        assert!(clerk.join().unwrap_err().is_cancelled());
        assert_eq!(log.take(), ["starts", "stops: Killed"]);
    });
}

#[test]
fn an_actor_that_stops_leaves_dead_letters() {
    let _watch = watch();
    let lines = reports(|| {
        let log = common::Log::default();
        // One thread: nothing is received before all is sent.
        osier::runtime::LocalRuntime::new().run(|| {
            let clerk = Builder::new().start_actor("stops early", Clerk(log.clone())).unwrap();
            clerk.send(Task::Stop).unwrap();
            clerk.send(Task::Note("never")).unwrap();
            clerk.join().unwrap();
        });
        assert_eq!(log.take(), ["starts", "stops: Asked"]);
    });
    assert!(lines.contains(&"actor 'stops early' ended with unread messages: 1".to_owned()), "{lines:?}");
}

#[test]
fn a_failure_at_the_end_does_not_hide_the_first() {
    let _watch = watch();
    struct Fails(bool);
    impl actor::Actor for Fails {
        type Message = ();
        fn receive(&mut self, (): (), _: &actor::Context<'_, ()>) {
            if self.0 {
                panic!("the first");
            }
        }
        fn stopped(&mut self, _: actor::Stop, _: &actor::Context<'_, ()>) {
            panic!("the last");
        }
    }
    for (fails, text) in [(true, "the first"), (false, "the last")] {
        let actor = Builder::new().spawn_actor(Fails(fails));
        actor.send(()).unwrap();
        actor.close();
        let error = actor.join().unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn joining_with_a_timeout_says_so() {
    let _watch = watch();
    both(|builder| {
        let actor = builder.spawn(|inbox: &Mailbox<()>| inbox.recv());
        assert!(actor.join_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
        actor.send(()).unwrap();
        actor.join_timeout(Duration::from_secs(60)).unwrap();
    });
}

// ---- who dies tells whom

fn receives_one(inbox: &Mailbox<u32>) {
    assert_ne!(inbox.recv(), 0, "a bug");
}

#[test]
fn a_monitor_tells_how_an_actor_has_ended() {
    let _watch = watch();
    both(|builder| {
        let (sender, receiver) = channel::unbounded();
        let watcher = builder.clone().spawn(move |inbox: &Mailbox<(u32, actor::Down)>| {
            for (n, down) in inbox {
                sender.send((n, down.name().to_owned(), down.end().clone())).unwrap();
            }
        });
        let watched = builder.clone().start("watched", receives_one).unwrap();
        watched.monitor(&watcher, |down| (1, down));
        assert!(watched.monitor(&watcher, |_| unreachable!("it was taken back")).unlink());
        watched.send(0).unwrap();
        let (n, name, outcome) = receiver.recv().unwrap();
        assert_eq!((n, name.as_str()), (1, "watched"));
        assert!(outcome.unwrap_err().is_panic());
        watched.monitor(&watcher, |down| (2, down));
        assert_eq!(receiver.recv().unwrap().0, 2, "also of what has ended");

        let killed = builder.clone().spawn(receives_one);
        killed.monitor(&watcher, |down| (3, down));
        killed.kill();
        assert!(receiver.recv().unwrap().2.unwrap_err().is_cancelled());
        end(&watcher);
    });
}

#[test]
fn a_watcher_that_is_full_may_wait_for_the_end_that_it_is_told_of() {
    let _watch = watch();
    both(|kind| {
        both(|watchers_kind| {
            let (sender, receiver) = channel::bounded(1);
            let (go, goes) = channel::bounded::<()>(0);
            let watched = kind.clone().spawn(|inbox: &Mailbox<u32>| _ = inbox.recv());
            let ends = watched.clone();
            let watcher = watchers_kind.mailbox(1).spawn(move |inbox: &Mailbox<Option<actor::Down>>| {
                _ = goes.recv();
                ends.kill();
                assert!(ends.join().is_err() && inbox.recv().is_none());
                sender.send(inbox.recv().unwrap().end().is_err()).unwrap();
            });
            watcher.send(None).unwrap();
            watched.monitor(&watcher, Some);
            drop(go);
            assert_eq!(receiver.recv(), Ok(true));
            watcher.join().unwrap();
        });
    });
}

#[test]
fn what_an_actor_on_a_thread_starts_goes_on_while_it_computes_and_after_its_end() {
    let _watch = watch();
    both(|builder| {
        let (says, heard) = channel::bounded(1);
        let (go, goes) = mpsc::channel::<()>();
        let parent = Builder::new().thread().spawn(move |_: &Mailbox<()>| {
            let child = builder.spawn(|inbox: &Mailbox<(u32, Reply<u32>)>| {
                inbox.iter().for_each(|(n, reply)| reply.send(2 * n).unwrap());
            });
            says.send(child).unwrap();
            // There is no wait in it: it holds its thread.
            _ = goes.recv();
        });
        let child = heard.recv().unwrap();
        assert_eq!(child.ask(|reply| (1, reply)), Ok(2), "while the other one computes");
        drop(go);
        parent.join().unwrap();
        assert_eq!(child.ask(|reply| (2, reply)), Ok(4), "after the end of the other one");
        end(&child);
    });
}

#[test]
fn what_an_actor_on_a_thread_starts_lives_on_the_runtime_that_it_was_started_from() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).thread_name("the starter's").build().unwrap();
    let names = runtime.run(|| {
        let (says, heard) = channel::unbounded();
        let parent = Builder::new().thread().spawn(move |_: &Mailbox<()>| {
            let name = |inbox: &Mailbox<channel::Sender<String>>| {
                inbox.recv().send(std::thread::current().name().unwrap_or_default().to_owned()).unwrap();
            };
            Builder::new().spawn(name).send(says.clone()).unwrap();
            // Those of a further one with a thread, too.
            let further = Builder::new().thread().spawn(move |inbox: &Mailbox<channel::Sender<String>>| {
                Builder::new().spawn(name).send(inbox.recv()).unwrap();
            });
            further.send(says).unwrap();
        });
        parent.join().unwrap();
        heard.iter().collect::<Vec<_>>()
    });
    assert!(names.len() == 2 && names.iter().all(|name| name.starts_with("the starter's")), "{names:?}");
}

#[test]
fn a_mailbox_is_selected_from_and_waited_for() {
    let _watch = watch();
    both(|builder| {
        let (says, heard) = channel::unbounded();
        let (other, others) = channel::unbounded::<u32>();
        let actor = builder.spawn(move |inbox: &Mailbox<u32>| {
            let ready = |objects: &[&dyn osier::Wait]| osier::wait(objects).next();
            assert_eq!(ready(&[inbox]), Some(0));
            let exit = catch_exit(|| {
                loop {
                    osier::select! {
                        recv(inbox) -> n => says.send(n).unwrap(),
                        recv(others) -> n => says.send(100 + n.unwrap()).unwrap(),
                    }
                }
            });
            let Err(exit) = exit;
            assert_eq!(exit.kind(), ExitKind::ActorClosed);
            assert_eq!(ready(&[inbox]), Some(0), "nothing more comes");
            exit.resume();
        });
        actor.send(1).unwrap();
        assert_eq!(heard.recv(), Ok(1));
        other.send(1).unwrap();
        assert_eq!(heard.recv(), Ok(101));
        actor.send(2).unwrap();
        assert_eq!(heard.recv(), Ok(2));
        end(&actor);
        assert!(heard.recv().is_err());
    });
}

#[test]
fn a_link_takes_the_other_along() {
    let _watch = watch();
    both(|builder| {
        let pair = || [(); 2].map(|()| builder.clone().spawn(receives_one));
        // Either way round, by a failure or a kill.
        for (fails, killed) in [(0, false), (1, false), (0, true)] {
            let actors = pair();
            let link = actors[0].link(&actors[1]);
            if killed {
                actors[fails].kill();
            } else {
                actors[fails].send(0).unwrap();
            }
            let error = actors[1 - fails].join().unwrap_err();
            let told = error.exception().unwrap().downcast_ref::<actor::LinkedEnd>().unwrap();
            assert_eq!((told.name(), told.reason().is_cancelled()), ("actor", killed));
            assert!(!link.unlink());
        }
        // Not when it ends well, nor when they were parted.
        let [one, other] = pair();
        one.link(&other);
        one.send(1).unwrap();
        one.join().unwrap();
        other.send(1).unwrap();
        other.join().unwrap();
        let [one, other] = pair();
        let link = one.link(&other);
        assert!(link.unlink() && !link.unlink());
        one.kill();
        other.send(1).unwrap();
        other.join().unwrap();
        // To one that has failed.
        let [one, other] = pair();
        one.kill();
        other.link(&one);
        assert!(other.join().is_err());
    });
}

#[test]
fn a_linked_actor_may_catch_what_it_is_told() {
    let _watch = watch();
    both(|builder| {
        let (sender, receiver) = channel::bounded(1);
        let fragile = builder.clone().spawn(receives_one);
        let stays = builder.clone().spawn(move |inbox: &Mailbox<u32>| {
            sender.send(true).unwrap();
            let error = osier::catch(|| inbox.recv()).unwrap_err();
            sender.send(error.is::<actor::LinkedEnd>()).unwrap();
            assert_eq!(inbox.recv(), 1);
        });
        // One that has not begun has nothing to catch it with.
        assert!(receiver.recv().unwrap());
        stays.link(&fragile);
        stays.link(&stays);
        fragile.send(0).unwrap();
        assert!(receiver.recv().unwrap());
        stays.send(1).unwrap();
        stays.join().unwrap();
    });
}
