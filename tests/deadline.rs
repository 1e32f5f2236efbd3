//! Every call that waits may be told until when: the forms with a deadline, beside those with a timeout.

#![cfg(feature = "runtime")]

mod common;

use std::time::{Duration, Instant};

use osier::actor::{self, AskError, Mailbox, Reply, SendError};
use osier::sync::{AsyncResult, BoundedSemaphore, Channel, Condition, Event, Queue, Semaphore, SimpleQueue, channel};
use osier::{Group, Pool, run, spawn, task, wait};

use common::watch;

/// A moment that comes soon, and one that does not come while a test runs.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(5)
}

fn late() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Runs `f`, which waits in vain until a moment; says that the moment has come.
fn in_vain(f: impl Fn(Instant)) {
    let deadline = soon();
    f(deadline);
    assert!(Instant::now() >= deadline);
    // One that is over before the call began ends it, too.
    f(deadline);
}

// GV-001, GV-002
#[test]
fn every_wait_ends_at_its_deadline() {
    let _watch = watch();
    let waits = || {
        in_vain(|deadline| assert!(Queue::<u8>::new().peek_deadline(deadline).unwrap_err().is_empty()));
        in_vain(|deadline| assert!(SimpleQueue::<u8>::new().get_deadline(deadline).unwrap_err().is_empty()));
        in_vain(|deadline| assert!(Channel::<u8>::new().get_deadline(deadline).unwrap_err().is_empty()));
        in_vain(|deadline| assert_eq!(Channel::new().put_deadline(7, deadline).unwrap_err().into_inner(), 7));
        let queue = Queue::new();
        queue.put(1).unwrap();
        in_vain(|deadline| assert!(!queue.join_deadline(deadline)));
        in_vain(|deadline| assert!(AsyncResult::<u8>::new().get_deadline(deadline).unwrap_err().is_timeout()));
        in_vain(|deadline| assert!(!AsyncResult::<u8>::new().wait_deadline(deadline)));
        let none = Semaphore::new(0);
        in_vain(|deadline| assert!(!none.acquire_many_deadline(2, deadline)));
        in_vain(|deadline| assert!(none.hold_deadline(deadline).is_none()));
        in_vain(|deadline| assert!(none.hold_many_deadline(2, deadline).is_none()));
        in_vain(|deadline| assert!(!none.wait_deadline(deadline)));
        let taken = BoundedSemaphore::new(1);
        taken.acquire();
        in_vain(|deadline| assert!(!taken.acquire_deadline(deadline)));
        in_vain(|deadline| assert!(taken.hold_deadline(deadline).is_none()));
        in_vain(|deadline| assert!(!taken.wait_deadline(deadline)));
        assert!(taken.try_hold().is_none() && none.try_hold_many(1).is_none());
        assert!(taken.hold_timeout(Duration::from_millis(1)).is_none());
        assert!(none.hold_many_timeout(1, Duration::from_millis(1)).is_none());
        let condition = Condition::new();
        let guard = condition.lock();
        in_vain(|deadline| assert!(!guard.wait_deadline(deadline)));
        in_vain(|deadline| assert!(!guard.wait_for_deadline(deadline, || false)));
        let never = Event::new();
        in_vain(|deadline| assert!(wait(&[&never]).deadline(deadline).next().is_none()));
    };
    // On a plain thread and in a task.
    waits();
    run(waits);
}

#[test]
fn every_wait_returns_what_is_there_before_its_deadline() {
    let _watch = watch();
    run(|| {
        let queue: Queue<_> = [1].into_iter().collect();
        assert_eq!(queue.peek_deadline(late()).unwrap(), 1);
        queue.task_done();
        assert!(queue.join_deadline(late()));
        let (channel, simple) = (Channel::new(), SimpleQueue::new());
        let putter = spawn({
            let channel = channel.clone();
            move || channel.put_deadline(2, late())
        });
        assert_eq!(channel.get_deadline(late()).unwrap(), 2);
        putter.join().unwrap().unwrap();
        simple.put(3);
        assert_eq!(simple.get_deadline(late()).unwrap(), 3);
        let result = AsyncResult::new();
        assert!(result.try_get().unwrap_err().is_timeout());
        result.set(4).unwrap();
        assert!(result.wait_deadline(late()));
        assert_eq!((result.get_deadline(late()).unwrap(), result.try_get().unwrap()), (4, 4));
        let permits = Semaphore::new(3);
        let held = permits.hold_many_deadline(2, late()).unwrap();
        assert_eq!((held.permits(), permits.available()), (2, 1));
        assert!(permits.wait_deadline(late()) && permits.acquire_many_deadline(1, late()));
        drop(held);
        assert_eq!(permits.try_hold_many(2).map(|held| held.permits()), Some(2));
        let bounded = BoundedSemaphore::new(1);
        assert!(bounded.wait_deadline(late()));
        drop(bounded.try_hold().unwrap());
        drop(bounded.hold_deadline(late()).unwrap());
        drop(bounded.hold_timeout(Duration::from_secs(3600)).unwrap());
        assert!(bounded.acquire_deadline(late()));
        bounded.release().unwrap();
        let condition = Condition::new();
        drop(condition.lock_timeout(Duration::from_secs(3600)).unwrap());
        assert!(condition.lock_deadline(late()).unwrap().wait_for_deadline(late(), || true));
    });
}

#[test]
fn a_condition_that_somebody_holds_is_not_locked_in_time() {
    let _watch = watch();
    run(|| {
        let condition = Condition::new();
        let guard = condition.lock();
        let other = spawn({
            let condition = condition.clone();
            move || {
                in_vain(|deadline| assert!(condition.lock_deadline(deadline).is_none()));
                assert!(condition.lock_timeout(Duration::from_millis(1)).is_none());
            }
        });
        other.join().unwrap();
        drop(guard);
    });
}

#[test]
fn a_join_ends_at_its_deadline_and_the_task_runs_on() {
    let _watch = watch();
    run(|| {
        let (go, gate) = channel::bounded::<()>(1);
        let mut handle = spawn(move || gate.recv().is_ok());
        let deadline = soon();
        assert!(handle.join_deadline(deadline).unwrap_err().is_timeout());
        assert!(handle.task().join_deadline(deadline).unwrap_err().is_timeout());
        assert!(Instant::now() >= deadline);
        go.send(()).unwrap();
        assert!(handle.join_deadline(late()).unwrap());
        assert!(handle.task().join_deadline(deadline).is_ok());

        let parked = spawn(|| (task::park_deadline(soon()), task::park_deadline(late())));
        while !parked.is_finished() {
            parked.task().unpark();
            osier::yield_now();
        }
        assert!(parked.join().unwrap().1);
    });
}

#[test]
fn pools_and_groups_wait_until_a_deadline() {
    let _watch = watch();
    run(|| {
        let (go, gate) = channel::bounded::<()>(1);
        let (pool, group) = (Pool::new(1), Group::new());
        let member = pool.spawn(move || gate.recv().is_ok());
        group.add(&member.task());
        let outsider = spawn(task::park);
        in_vain(|deadline| assert!(!pool.wait_free_deadline(deadline)));
        in_vain(|deadline| assert!(pool.join_deadline(deadline).unwrap_err().is_timeout()));
        in_vain(|deadline| assert!(group.join_deadline(deadline).unwrap_err().is_timeout()));
        in_vain(|deadline| assert!(pool.add_deadline(&outsider.task(), deadline).is_err()));
        go.send(()).unwrap();
        group.join_deadline(late()).unwrap();
        assert!(pool.wait_free_deadline(late()));
        pool.add_deadline(&outsider.task(), late()).unwrap();
        outsider.task().unpark();
        pool.join_deadline(late()).unwrap();
    });
}

#[test]
fn actors_send_receive_and_ask_until_a_deadline() {
    let _watch = watch();
    enum Message {
        Text(&'static str),
        Question(Reply<usize>),
    }
    run(|| {
        let (go, gate) = channel::bounded::<()>(1);
        let (begun, begins) = channel::bounded::<()>(1);
        let body = move |inbox: &Mailbox<Message>| {
            assert!(inbox.recv_deadline(soon()).is_none());
            begun.send(()).unwrap();
            gate.recv().unwrap();
            let mut texts = 0;
            while let Some(message) = inbox.recv_deadline(late()) {
                match message {
                    Message::Text(text) => texts += text.len(),
                    Message::Question(reply) => _ = reply.send(texts),
                }
            }
        };
        let address = actor::Builder::new().mailbox(1).spawn(body);
        begins.recv().unwrap();
        address.send_deadline(Message::Text("one"), late()).unwrap();
        let refused = address.send_deadline(Message::Text("two"), soon());
        assert!(matches!(refused, Err(SendError::Full(Message::Text("two")))));
        assert_eq!(address.ask_deadline(soon(), Message::Question).unwrap_err(), AskError::Timeout);
        go.send(()).unwrap();
        assert_eq!(address.ask_deadline(late(), Message::Question).unwrap(), 3);
        address.close();
    });
}
