//! The other kinds of channels: oneshot, broadcast, watch; and what all kinds share: closing, draining, waiting.

#![cfg(feature = "runtime")]

mod common;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::{FOR_EVER, Random, Tally, ms, panic_text, rounds, watch};
use osier::sync::Event;
use osier::sync::channel::{
    self, BroadcastReceiver, BroadcastRecvError, BroadcastRecvTimeoutError, BroadcastSender, BroadcastTryRecvError,
    OneshotReceiver, OneshotSender, RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError, WatchReceiver,
    WatchSender,
};
use osier::{JoinHandle, Runtime, join_all, kill_all, run, select, sleep, spawn, wait, yield_now};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

fn is_send_and_sync<T: Send + Sync>() {}

#[test]
fn every_end_may_be_shared_and_sent() {
    is_send_and_sync::<(OneshotSender<u8>, OneshotReceiver<u8>)>();
    is_send_and_sync::<(BroadcastSender<u8>, BroadcastReceiver<u8>)>();
    is_send_and_sync::<(WatchSender<u8>, WatchReceiver<u8>)>();
}

// ---- closing and draining

#[test]
fn closing_gives_values_back_and_lets_what_is_there_be_received() {
    let _watch = watch();
    run(|| {
        for from_receiver in [false, true] {
            let (s, r) = channel::bounded(1);
            s.send(1).unwrap();
            let blocked = spawn({
                let s = s.clone();
                move || s.send(2)
            });
            yield_now();
            assert!(!s.is_closed());
            assert!(if from_receiver { r.close() } else { s.close() });
            assert!(!s.close() && !r.close(), "it is closed");
            assert!(s.is_closed() && r.is_closed());
            assert_eq!(blocked.join().unwrap(), Err(SendError(2)));
            assert_eq!(s.try_send(3), Err(TrySendError::Disconnected(3)));
            assert_eq!((r.recv(), r.recv()), (Ok(1), Err(RecvError)));
        }
        let (s, r) = channel::unbounded::<i32>();
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                let r = r.clone();
                spawn(move || r.recv())
            })
            .collect();
        yield_now();
        s.close();
        assert!(join_all(receivers).unwrap().into_iter().all(|got| got == Err(RecvError)));
    });
}

#[test]
fn broadcasts_oneshots_and_watches_are_closed_by_hand() {
    let _watch = watch();
    run(|| {
        for from_receiver in [false, true] {
            let (s, r) = channel::broadcast(4);
            s.send(1).unwrap();
            let other = s.subscribe();
            let waits = spawn(move || other.recv());
            yield_now();
            assert!(!s.is_closed() && !r.is_closed());
            assert!(if from_receiver { r.close() } else { s.close() });
            assert!(!s.close() && !r.close() && s.is_closed() && r.is_closed());
            assert_eq!(s.send(2), Err(SendError(2)));
            assert_eq!((r.recv(), r.recv()), (Ok(1), Err(BroadcastRecvError::Disconnected)));
            assert_eq!(waits.join().unwrap(), Err(BroadcastRecvError::Disconnected));
        }
        let (s, r) = channel::oneshot();
        assert!(!r.is_closed() && r.close() && !r.close());
        assert!(s.is_closed() && r.is_closed());
        assert_eq!((s.send(1), r.recv()), (Err(SendError(1)), Err(RecvError)));
        let (s, r) = channel::oneshot();
        s.send(1).unwrap();
        r.close();
        assert_eq!(r.recv(), Ok(1), "what was sent before");
        let (s, r) = channel::watch(1);
        s.send(2);
        assert!(!s.is_closed() && s.close() && !s.close() && s.is_closed() && r.is_closed());
        s.send(3);
        assert_eq!((r.recv(), r.recv(), r.get(), s.get()), (Ok(2), Err(RecvError), 2, 2));
    });
}

#[test]
fn draining_takes_what_is_there_and_what_is_waiting() {
    let _watch = watch();
    runtime(1).run(|| {
        let (s, r) = channel::bounded(2);
        let senders: Vec<_> = (0..4)
            .map(|n| {
                let s = s.clone();
                spawn(move || s.send(n))
            })
            .collect();
        (0..10).for_each(|_| yield_now());
        assert!(s.is_full() && s.len() == 2);
        let drained = r.drain();
        assert_eq!(drained.len(), 4);
        let mut all: Vec<_> = drained.collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3]);
        assert!(join_all(senders).unwrap().into_iter().all(|sent| sent.is_ok()));
        assert!(r.is_empty() && r.drain().next().is_none());
    });
    let tally = Tally::default();
    let (s, r) = channel::unbounded();
    (0..3).for_each(|_| s.send(tally.token()).unwrap());
    drop(r.drain());
    tally.assert_all_dropped(3);
}

#[test]
fn a_rendezvous_is_a_channel_of_capacity_zero() {
    let _watch = watch();
    let (s, r) = channel::rendezvous();
    assert_eq!((s.capacity(), s.is_full(), r.is_empty()), (Some(0), true, true));
    thread::scope(|scope| {
        scope.spawn(|| s.send(5).unwrap());
        assert_eq!(r.recv(), Ok(5));
    });
}

// ---- oneshot

#[test]
fn a_oneshot_carries_one_value() {
    let _watch = watch();
    run(|| {
        let (s, r) = channel::oneshot();
        assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(r.recv_timeout(ms(1)), Err(RecvTimeoutError::Timeout));
        let waits = spawn(move || (r.recv(), r.recv(), r.try_recv()));
        yield_now();
        s.send("once").unwrap();
        assert_eq!(waits.join().unwrap(), (Ok("once"), Err(RecvError), Err(TryRecvError::Disconnected)));
        let (s, r) = channel::oneshot::<u8>();
        drop(s);
        assert_eq!(r.recv(), Err(RecvError));
        let (s, r) = channel::oneshot();
        assert!(!s.is_closed());
        drop(r);
        assert!(s.is_closed());
        assert_eq!(s.send(1), Err(SendError(1)));
    });
}

#[test]
fn a_oneshot_is_a_branch_and_an_object() {
    let _watch = watch();
    run(|| {
        let ((s1, r1), (_s2, r2)) = (channel::oneshot(), channel::oneshot::<u8>());
        let sender = spawn(move || s1.send(7).unwrap());
        let got = select! {
            recv(r1) -> got => got,
            recv(r2) -> got => got,
        };
        assert_eq!(got, Ok(7));
        sender.join().unwrap();
        let (s, r) = channel::oneshot();
        s.send(()).unwrap();
        assert_eq!(wait(&[&r2, &r]).count(1).collect::<Vec<_>>(), [1]);
        assert_eq!(r.recv(), Ok(()));
    });
}

#[test]
fn a_wait_is_not_ended_by_one_who_begins_to_receive() {
    let _watch = watch();
    runtime(1).run(|| {
        let (s, r) = channel::oneshot();
        let r = Arc::new(r);
        let waits = spawn({
            let r = r.clone();
            move || assert_eq!(wait(&[&*r]).next(), Some(0))
        });
        yield_now();
        let receives = spawn(move || r.recv());
        (0..5).for_each(|_| yield_now());
        assert!(!waits.is_finished(), "there is nothing to receive");
        // Delivered to the one who receives; then the channel is closed.
        s.send(7).unwrap();
        assert_eq!(receives.join().unwrap(), Ok(7));
        waits.join().unwrap();
    });
}

#[test]
fn who_answers_is_told_that_nobody_asks_any_more() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (s, r) = channel::oneshot::<u8>();
            assert!(!s.closed_timeout(Duration::ZERO) && !s.closed_deadline(Instant::now() + ms(1)));
            let closes = spawn(move || drop(r));
            s.closed();
            closes.join().unwrap();
            assert!(s.is_closed() && s.closed_timeout(Duration::ZERO));
            let ((s, r), (_other, never)) = (channel::oneshot::<u8>(), channel::bounded::<u8>(1));
            let closes = spawn(move || r.close());
            select! {
                wait(s) => {}
                recv(never) -> _ => unreachable!(),
            }
            assert!(closes.join().unwrap());
            assert!(wait(&[&s]).eq([0]));
            // One that gives up waiting leaves nothing behind.
            let (s, r) = channel::oneshot();
            let s = Arc::new(s);
            let waits = spawn({
                let s = s.clone();
                move || s.closed()
            });
            yield_now();
            waits.kill();
            Arc::into_inner(s).unwrap().send(1).unwrap();
            assert_eq!(r.recv(), Ok(1));
        });
    }
}

// ---- broadcast

#[test]
fn every_receiver_gets_every_value() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (s, r) = channel::broadcast(1000);
            let receivers: Vec<_> = (0..4)
                .map(|_| {
                    let r = r.clone();
                    spawn(move || r.iter().collect::<Vec<u32>>())
                })
                .collect();
            let other = s.clone();
            let late = s.subscribe();
            (0..500).for_each(|n| s.send(n).unwrap());
            drop(s);
            let later = other.subscribe();
            (500..1000).for_each(|n| other.send(n).unwrap());
            drop(other);
            assert!(join_all(receivers).unwrap().into_iter().all(|got| got.into_iter().eq(0..1000)));
            assert_eq!((late.len(), later.len()), (1000, 500));
            assert!(later.iter().eq(500..1000));
            assert!(later.is_closed() && later.is_empty());
        });
    }
}

#[test]
fn the_slow_are_told_how_many_they_missed() {
    let (s, r) = channel::broadcast(2);
    (0..5).for_each(|n| s.send(n).unwrap());
    assert_eq!((r.capacity(), r.try_iter().collect::<Vec<_>>(), r.try_iter().next()), (2, vec![3, 4], None));
    let (s, r) = channel::broadcast(3);
    assert_eq!((s.capacity(), s.receivers()), (3, 1));
    let behind = r.clone();
    (0..3).for_each(|n| s.send(n).unwrap());
    assert_eq!(r.recv(), Ok(0));
    (3..10).for_each(|n| s.send(n).unwrap());
    assert_eq!(r.try_recv(), Err(BroadcastTryRecvError::Missed(6)));
    assert_eq!(behind.recv_timeout(ms(1)), Err(BroadcastRecvTimeoutError::Missed(7)));
    assert_eq!((r.recv(), r.try_recv(), r.recv_timeout(ms(1))), (Ok(7), Ok(8), Ok(9)));
    assert_eq!(r.try_recv(), Err(BroadcastTryRecvError::Empty));
    assert_eq!(r.recv_deadline(Instant::now()), Err(BroadcastRecvTimeoutError::Timeout));
    assert_eq!(BroadcastRecvError::Missed(6).to_string(), "receiving too slowly: missed 6 values");
    drop(s);
    assert_eq!(r.recv(), Err(BroadcastRecvError::Disconnected));
    assert_eq!(r.try_recv(), Err(BroadcastTryRecvError::Disconnected));
    assert_eq!(r.recv_timeout(FOR_EVER), Err(BroadcastRecvTimeoutError::Disconnected));
    assert!(behind.iter().eq(7..10));
    assert!(panic_text(|| channel::broadcast::<u8>(0)).contains("at least one"));
}

#[test]
fn without_receivers_a_broadcast_comes_back_and_later_ones_get_the_next() {
    let (s, r) = channel::broadcast(2);
    drop(r);
    assert_eq!(s.send(1), Err(SendError(1)));
    let r = s.subscribe();
    s.send(2).unwrap();
    assert_eq!(r.recv(), Ok(2));
}

#[test]
fn values_of_a_broadcast_are_dropped_once() {
    #[derive(Clone)]
    struct Shared(#[allow(dead_code, reason = "it counts its drop")] Arc<common::Token>);
    let tally = Tally::default();
    let (s, r) = channel::broadcast(2);
    for _ in 0..5 {
        assert!(s.send(Shared(Arc::new(tally.token()))).is_ok());
    }
    assert_eq!(tally.dropped(), 3);
    drop((r, s));
    tally.assert_all_dropped(5);
}

#[test]
fn a_wait_on_what_is_ready_leaves_those_alone_who_wait_there() {
    let _watch = watch();
    runtime(1).run(|| {
        let (s, behind) = channel::broadcast(4);
        s.send(1).unwrap();
        let ahead = s.subscribe();
        let waits = spawn(move || ahead.recv());
        (0..3).for_each(|_| yield_now());
        assert_eq!(wait(&[&behind]).collect::<Vec<_>>(), [0]);
        s.send(2).unwrap();
        assert_eq!(waits.join().unwrap(), Ok(2));
    });
}

#[test]
fn a_broadcast_is_a_branch() {
    let _watch = watch();
    run(|| {
        let (s, r) = channel::broadcast(4);
        let (_never, other) = channel::unbounded::<u8>();
        let sender = spawn(move || (0..3).for_each(|n| s.send(n).unwrap()));
        let mut got = Vec::new();
        loop {
            select! {
                recv(r) -> n => match n {
                    Ok(n) => got.push(n),
                    Err(BroadcastRecvError::Disconnected) => break,
                    Err(BroadcastRecvError::Missed(_)) => unreachable!(),
                },
                recv(other) -> _ => unreachable!(),
            }
        }
        assert_eq!(got, [0, 1, 2]);
        sender.join().unwrap();
    });
}

/// What it has seen there it takes, before another that shares the receiver can: also where it lets others run meanwhile.
#[test]
fn a_select_over_a_shared_receiver_never_waits_longer_than_it_may() {
    let _watch = watch();
    runtime(1).run(|| {
        let ((s, r), (sets, settings)) = (channel::broadcast(4), channel::watch(0));
        let (r, settings, done) = (Arc::new(r), Arc::new(settings), Event::new());
        let takes_all = spawn({
            let (r, settings, done) = (r.clone(), settings.clone(), done.clone());
            move || {
                while !done.is_set() {
                    r.try_iter().for_each(drop);
                    _ = settings.try_recv();
                    yield_now();
                }
            }
        });
        yield_now();
        // The senders stay, so whoever would wait for another value would wait for ever.
        for n in 1..=rounds(2000) {
            s.send(n).unwrap();
            select! {
                recv(r) -> value => assert_eq!(value, Ok(n)),
                default => panic!("it was there"),
            }
            sets.send(n);
            select! {
                recv(settings) -> value => assert_eq!(value, Ok(n)),
                default => panic!("it was there"),
            }
        }
        done.set();
        takes_all.join().unwrap();
    });
}

#[test]
fn a_broadcast_tells_when_its_last_receiver_has_gone() {
    let _watch = watch();
    run(|| {
        let (s, r) = channel::broadcast::<u8>(2);
        let other = r.clone();
        assert!(!s.closed_timeout(ms(1)));
        let drops = spawn(move || drop((r, other)));
        assert!(wait(&[&s]).eq([0]));
        s.closed();
        drops.join().unwrap();
        let back = s.subscribe();
        assert!(!s.closed_deadline(Instant::now()));
        assert!(s.close() && s.closed_timeout(Duration::ZERO) && back.recv().is_err());
    });
}

// ---- watch

#[test]
fn a_look_marks_nothing_and_who_waits_for_a_value_gets_it() {
    let _watch = watch();
    run(|| {
        let (s, r) = channel::watch(0);
        s.send(1);
        let seen = r.borrow();
        s.send(2);
        assert_eq!((*seen, *r.borrow(), *s.borrow(), r.has_changed()), (1, 2, 2, true));
        assert_eq!((*r.borrow_and_update(), r.has_changed()), (2, false));
        // The one of now counts, seen or not.
        assert_eq!(r.wait_for(|&n| n == 2), Ok(2));
        assert_eq!(r.wait_for_timeout(|&n| n == 3, ms(1)), Err(RecvTimeoutError::Timeout));
        let sends = spawn(move || (3..=100).for_each(|n| s.send(n)));
        assert_eq!(r.wait_for(|&n| n >= 100), Ok(100));
        sends.join().unwrap();
        assert_eq!(r.wait_for(|&n| n == 7), Err(RecvError));
        assert_eq!(r.wait_for_deadline(|&n| n == 7, Instant::now()), Err(RecvTimeoutError::Disconnected));
    });
}

#[test]
fn values_of_a_watch_are_modified_where_they_are() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (s, r) = channel::watch(Vec::new());
            let adders: Vec<_> = (0..4)
                .map(|_| {
                    let s = s.clone();
                    spawn(move || (0..200).for_each(|n| s.send_modify(|all| all.push(n))))
                })
                .collect();
            join_all(adders).unwrap();
            assert_eq!(r.borrow_and_update().len(), 800, "none is lost");
            assert!(!s.send_if_modified(|all| (all.clear(), false).1));
            assert_eq!((r.has_changed(), r.borrow().len()), (false, 800));
            assert!(s.send_if_modified(|all| (all.truncate(1), true).1) && r.has_changed());
            assert_eq!(s.send_replace(vec![7]).unwrap().len(), 1);
            assert_eq!(r.recv(), Ok(vec![7]));
            assert!(s.close() && !s.send_if_modified(|_| true));
            assert_eq!(s.send_replace(vec![8]), Err(SendError(vec![8])));
        });
    }
}

#[test]
fn a_watch_tells_when_nobody_looks_any_more() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            for _ in 0..rounds(200) {
                let (s, r) = channel::watch(0);
                let drops: Vec<_> = (0..2)
                    .map(|_| {
                        let r = r.clone();
                        spawn(move || drop(r))
                    })
                    .collect();
                drop(r);
                s.closed();
                assert_eq!(s.receivers(), 0);
                join_all(drops).unwrap();
            }
        });
    }
}

#[test]
fn a_watch_shows_the_newest_value() {
    let _watch = watch();
    run(|| {
        let (s, r) = channel::watch(0);
        assert_eq!((r.get(), s.get(), r.has_changed(), s.receivers()), (0, 0, false, 1));
        assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(r.recv_timeout(ms(1)), Err(RecvTimeoutError::Timeout));
        s.send(1);
        s.send(2);
        assert!(r.has_changed());
        let clone = r.clone();
        assert_eq!((r.recv(), r.try_recv()), (Ok(2), Err(TryRecvError::Empty)));
        assert_eq!((clone.get(), clone.has_changed()), (2, false));
        let waits = spawn(move || (clone.recv(), clone.recv()));
        yield_now();
        s.send(3);
        let fresh = s.subscribe();
        assert!(!fresh.has_changed());
        until_waits_again(&s);
        drop(s);
        assert_eq!(waits.join().unwrap(), (Ok(3), Err(RecvError)));
        assert_eq!((r.recv(), r.recv(), r.get()), (Ok(3), Err(RecvError), 3));
        assert!(fresh.is_closed() && fresh.recv_deadline(Instant::now()).is_err());
    });
}

/// Gives the others time to see the newest value.
fn until_waits_again(_: &WatchSender<i32>) {
    (0..10).for_each(|_| yield_now());
}

#[test]
fn watchers_on_every_worker_see_the_last_value() {
    let _watch = watch();
    let rt = runtime(2);
    rt.run(|| {
        let (s, r) = channel::watch(0_u64);
        let watchers: Vec<_> = (0..4)
            .map(|_| {
                let r = r.clone();
                spawn(move || {
                    let mut last = 0;
                    for n in r.iter() {
                        assert!(n > last, "values come in order");
                        last = n;
                    }
                    last
                })
            })
            .collect();
        for n in 1..=2000 {
            s.send(n);
            if n % 64 == 0 {
                yield_now();
            }
        }
        drop(s);
        assert_eq!(join_all(watchers).unwrap(), [2000; 4]);
    });
}

// H16
#[test]
fn cancelled_receivers_of_a_broadcast_leave_the_others_whole() {
    let _watch = watch();
    let mut random = Random::new();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            for _ in 0..50 {
                let (s, r) = channel::broadcast(64);
                let receivers: Vec<JoinHandle<u64>> = (0..4)
                    .map(|_| {
                        let r = r.clone();
                        spawn(move || r.iter().sum())
                    })
                    .collect();
                for n in 1..=32 {
                    s.send(n).unwrap();
                    if random.below(4) == 0 {
                        yield_now();
                    }
                    if n == 16 {
                        receivers[0].cancel();
                    }
                }
                drop(s);
                for (n, receiver) in receivers.into_iter().enumerate() {
                    match receiver.join() {
                        Ok(sum) => assert_eq!(sum, 33 * 16),
                        Err(error) => assert!(n == 0 && error.is_cancelled()),
                    }
                }
            }
        });
    }
}

// ---- ending many

// GV-058
#[test]
fn all_are_killed_and_waited_for() {
    let _watch = watch();
    run(|| {
        let gate = Event::new();
        let tasks: Vec<_> = (0..5).map(|_| spawn(|| sleep(FOR_EVER))).collect();
        yield_now();
        // Local ones, which nobody else starts.
        let fresh = osier::spawn_local(|| unreachable!("it never starts"));
        kill_all([fresh.task()], ms(10_000)).unwrap();
        assert!(fresh.join().unwrap_err().is_cancelled());
        kill_all(&tasks, FOR_EVER).unwrap();
        assert!(tasks.iter().all(JoinHandle::is_finished));
        kill_all(&tasks, Duration::ZERO).unwrap();
        kill_all(Vec::<JoinHandle<()>>::new(), None).unwrap();
        let stubborn = osier::spawn_local({
            let gate = gate.clone();
            move || _ = osier::catch_exit(|| sleep(FOR_EVER)).map_err(|_| gate.wait())
        });
        yield_now();
        assert!(kill_all([stubborn.task()], ms(5)).is_err());
        gate.set();
        stubborn.join().unwrap();
        // The one that asks may be among them: it goes last.
        let others: Vec<_> = (0..3).map(|_| spawn(|| sleep(FOR_EVER))).collect();
        let watched: Vec<_> = others.iter().map(JoinHandle::task).collect();
        let all = spawn(move || {
            let own = osier::task::current();
            let tasks: Vec<_> = watched.into_iter().chain([own]).collect();
            kill_all(&tasks, None).unwrap();
            unreachable!("it is one of them");
        });
        assert!(all.join().unwrap_err().is_cancelled());
        assert!(others.into_iter().all(|task| task.join().unwrap_err().is_cancelled()));
    });
}
