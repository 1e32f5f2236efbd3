//! Channels: crossbeam-channel's behaviour, from tasks and from plain threads; nothing lost when a wait is cut short.
//!
//! [`same_as_crossbeam`] compiles one text against both crates: names, types and what they answer.

#![cfg(feature = "runtime")]

mod common;

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use common::{FOR_EVER, OnDrop, Random, Tally, ms, until, watch};
use osier::sync::channel::{
    self, Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError, TrySendError,
};
use osier::{JoinHandle, Runtime, run, sleep, spawn, yield_now};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

// ---- the same text against both crates

/// Tests of behaviour that both crates share, on plain threads.
macro_rules! same_as_crossbeam {
    ($name:ident, $($channel:ident)::+) => {
        mod $name {
            use super::common::{Tally, hold_thread, ms, watch};
            use $($channel)::+::{
                Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError, TrySendError,
                after, at, bounded, never, tick, unbounded,
            };
            use std::thread;
            use std::time::{Duration, Instant};

            #[test]
            fn bounded_channels_fill_and_empty_in_order() {
                let _watch = watch();
                let (s, r): (Sender<u32>, Receiver<u32>) = bounded(3);
                assert_eq!((s.len(), r.len(), s.capacity(), r.capacity()), (0, 0, Some(3), Some(3)));
                assert!(s.is_empty() && r.is_empty() && !s.is_full() && !r.is_full());
                (0..3).for_each(|n| s.send(n).unwrap());
                assert!(!s.is_empty() && s.is_full() && r.is_full());
                assert_eq!((s.len(), r.len()), (3, 3));
                assert_eq!(s.try_send(3), Err(TrySendError::Full(3)));
                assert_eq!(s.send_timeout(4, ms(2)), Err(SendTimeoutError::Timeout(4)));
                assert_eq!(s.send_deadline(5, Instant::now()), Err(SendTimeoutError::Timeout(5)));
                assert_eq!((r.recv(), r.try_recv(), r.recv_timeout(ms(1))), (Ok(0), Ok(1), Ok(2)));
                assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
                assert_eq!(r.recv_timeout(ms(2)), Err(RecvTimeoutError::Timeout));
                assert_eq!(r.recv_deadline(Instant::now()), Err(RecvTimeoutError::Timeout));
            }

            #[test]
            fn unbounded_channels_never_fill() {
                let (s, r) = unbounded();
                assert_eq!((s.capacity(), r.capacity()), (None, None));
                (0..10_000).for_each(|n| s.send(n).unwrap());
                assert!(!s.is_full() && s.len() == 10_000);
                assert!(r.try_iter().eq(0..10_000));
            }

            #[test]
            fn capacity_zero_hands_over_directly() {
                let _watch = watch();
                let (s, r) = bounded::<u32>(0);
                assert_eq!((s.capacity(), s.len()), (Some(0), 0));
                assert!(s.is_full() && s.is_empty() && r.is_full() && r.is_empty());
                assert_eq!(s.try_send(1), Err(TrySendError::Full(1)));
                assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
                assert_eq!(s.send_timeout(1, ms(2)), Err(SendTimeoutError::Timeout(1)));
                assert_eq!(r.recv_timeout(ms(2)), Err(RecvTimeoutError::Timeout));
                thread::scope(|scope| {
                    scope.spawn(|| (0..1000).for_each(|n| s.send(n).unwrap()));
                    (0..1000).for_each(|n| assert_eq!(r.recv(), Ok(n)));
                    scope.spawn(|| (0..1000).for_each(|n| assert_eq!(r.recv(), Ok(n))));
                    (0..1000).for_each(|n| s.send_timeout(n, Duration::MAX).unwrap());
                });
            }

            #[test]
            fn the_last_sender_closes_and_receivers_drain() {
                let (s, r) = bounded(2);
                let clone = s.clone();
                s.send(1).unwrap();
                drop(s);
                clone.send(2).unwrap();
                drop(clone);
                assert_eq!((r.recv(), r.recv()), (Ok(1), Ok(2)));
                assert_eq!(r.recv(), Err(RecvError));
                assert_eq!(r.try_recv(), Err(TryRecvError::Disconnected));
                assert_eq!(r.recv_timeout(ms(1)), Err(RecvTimeoutError::Disconnected));
                assert_eq!(r.recv_deadline(Instant::now()), Err(RecvTimeoutError::Disconnected));
                assert_eq!((r.iter().next(), r.try_iter().next()), (None, None));
            }

            #[test]
            fn the_last_receiver_closes_and_values_come_back() {
                let (s, r) = bounded(2);
                let clone = r.clone();
                drop(r);
                s.send(1).unwrap();
                drop(clone);
                assert_eq!(s.send(2), Err(SendError(2)));
                assert_eq!(s.try_send(3), Err(TrySendError::Disconnected(3)));
                assert_eq!(s.send_timeout(4, ms(1)), Err(SendTimeoutError::Disconnected(4)));
                assert_eq!(s.send_deadline(5, Instant::now()), Err(SendTimeoutError::Disconnected(5)));
            }

            #[test]
            fn what_nobody_can_receive_is_dropped_once() {
                for capacity in [1, 10] {
                    let tally = Tally::default();
                    let (s, r) = bounded(capacity);
                    (0..capacity).for_each(|_| s.send(tally.token()).unwrap());
                    assert_eq!(tally.dropped(), 0);
                    drop(r);
                    drop(s.send(tally.token()));
                    drop(s);
                    tally.assert_all_dropped(capacity + 1);
                }
                let tally = Tally::default();
                let (s, r) = unbounded();
                (0..5).for_each(|_| s.send(tally.token()).unwrap());
                drop(s);
                drop(r.recv());
                drop(r);
                tally.assert_all_dropped(5);
            }

            #[test]
            fn closing_wakes_those_who_wait() {
                let _watch = watch();
                for capacity in [0, 1] {
                    let (s, r) = bounded::<u32>(capacity);
                    (0..capacity).for_each(|_| s.send(0).unwrap());
                    let senders: Vec<_> = (0..4)
                        .map(|n| {
                            let s = s.clone();
                            thread::spawn(move || s.send(n))
                        })
                        .collect();
                    drop(r);
                    for (n, sender) in (0..).zip(senders) {
                        assert_eq!(sender.join().unwrap(), Err(SendError(n)));
                    }
                    let (s, r) = bounded::<u32>(capacity);
                    let receivers: Vec<_> = (0..4)
                        .map(|_| {
                            let r = r.clone();
                            thread::spawn(move || r.recv())
                        })
                        .collect();
                    drop(s);
                    receivers.into_iter().for_each(|receiver| assert_eq!(receiver.join().unwrap(), Err(RecvError)));
                }
            }

            #[test]
            fn iterators_take_what_comes_until_the_end() {
                let _watch = watch();
                let (s, r) = bounded(4);
                let thread = thread::spawn(move || (0..100).for_each(|n| s.send(n).unwrap()));
                assert!(r.iter().take(50).eq(0..50));
                let mut rest = Vec::new();
                for n in &r {
                    rest.push(n);
                    if n == 74 {
                        break;
                    }
                }
                rest.extend(r);
                assert!(rest.into_iter().eq(50..100));
                thread.join().unwrap();
            }

            #[test]
            fn errors_say_what_they_are() {
                let (s, r) = bounded::<u32>(1);
                assert_eq!(TrySendError::Full(1).to_string(), "sending on a full channel");
                assert_eq!(TrySendError::Disconnected(1).to_string(), "sending on a disconnected channel");
                assert_eq!(SendError(1).to_string(), "sending on a disconnected channel");
                assert_eq!(SendTimeoutError::Disconnected(1).to_string(), "sending on a disconnected channel");
                assert_eq!(RecvError.to_string(), "receiving on an empty and disconnected channel");
                assert_eq!(TryRecvError::Empty.to_string(), "receiving on an empty channel");
                assert!(TrySendError::Full(1).is_full() && TrySendError::Disconnected(1).is_disconnected());
                assert!(SendTimeoutError::Timeout(1).is_timeout());
                assert_eq!(SendError(7).into_inner() + TrySendError::Full(1).into_inner(), 8);
                assert_eq!(SendTimeoutError::Timeout(2).into_inner(), 2);
                assert!(TryRecvError::Empty.is_empty() && !TryRecvError::Empty.is_disconnected());
                assert!(TryRecvError::Disconnected.is_disconnected() && RecvTimeoutError::Timeout.is_timeout());
                assert!(RecvTimeoutError::Disconnected.is_disconnected());
                // `?` turns the ones into the others.
                fn send(s: &Sender<u32>) -> Result<(), TrySendError<u32>> {
                    Ok(s.send(7)?)
                }
                fn receive(r: &Receiver<u32>) -> Result<u32, TryRecvError> {
                    Ok(r.recv()?)
                }
                assert_eq!((send(&s), receive(&r)), (Ok(()), Ok(7)));
                assert_eq!(SendTimeoutError::from(SendError(1)), SendTimeoutError::Disconnected(1));
                assert_eq!(RecvTimeoutError::from(RecvError), RecvTimeoutError::Disconnected);
                // Whatever the value: it need not be `Debug`.
                struct Opaque;
                assert!(format!("{:?}", SendError(Opaque)).contains("SendError(..)"));
                assert!(format!("{:?}", TrySendError::Full(Opaque)).contains("Full(..)"));
                assert!(format!("{:?}", SendTimeoutError::Disconnected(Opaque)).contains("(..)"));
                assert!(format!("{s:?}").contains("Sender") && format!("{r:?}").contains("Receiver"));
            }

            #[test]
            fn ends_know_their_channel() {
                let (s, r) = bounded::<u32>(1);
                let (other_s, other_r) = bounded::<u32>(1);
                assert!(s.same_channel(&s.clone()) && r.same_channel(&r.clone()));
                assert!(!s.same_channel(&other_s) && !r.same_channel(&other_r));
            }

            #[test]
            fn every_value_arrives_once_among_many_threads() {
                const EACH: u64 = 2000;
                let _watch = watch();
                for capacity in [0, 1, 7] {
                    let (s, r) = bounded::<u64>(capacity);
                    let sum: u64 = thread::scope(|scope| {
                        for thread in 0..3 {
                            let s = s.clone();
                            scope.spawn(move || (0..EACH).for_each(|n| s.send(thread * EACH + n).unwrap()));
                        }
                        drop(s);
                        let receivers: Vec<_> = (0..3)
                            .map(|_| {
                                let r = r.clone();
                                scope.spawn(move || r.iter().sum::<u64>())
                            })
                            .collect();
                        receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum()
                    });
                    assert_eq!(sum, (0..3 * EACH).sum());
                }
            }

            #[test]
            fn waits_last_as_long_as_was_asked() {
                let (s, r) = bounded::<u32>(0);
                let began = Instant::now();
                assert!(s.send_timeout(1, ms(10)).is_err() && began.elapsed() >= ms(10));
                assert!(r.recv_timeout(ms(10)).is_err() && began.elapsed() >= ms(20));
                assert!(r.recv_deadline(began + ms(30)).is_err() && Instant::now() >= began + ms(30));
            }

            #[test]
            fn time_sends_once_or_again_and_again_or_never() {
                let _watch = watch();
                let (began, late) = (Instant::now(), after(ms(60_000)));
                assert_eq!((late.capacity(), late.len(), late.is_empty(), late.is_full()), (Some(1), 0, true, false));
                assert_eq!(late.try_recv(), Err(TryRecvError::Empty));
                assert_eq!(late.recv_timeout(ms(2)), Err(RecvTimeoutError::Timeout));
                assert_eq!(late.recv_deadline(began), Err(RecvTimeoutError::Timeout));
                assert!(late.same_channel(&late.clone()) && !late.same_channel(&after(ms(1))));

                let soon = after(ms(10));
                let fired = soon.clone().recv().unwrap();
                assert!(fired >= began + ms(10) && Instant::now() >= fired);
                assert_eq!(soon.try_recv(), Err(TryRecvError::Empty));
                assert_eq!(soon.recv_timeout(ms(2)), Err(RecvTimeoutError::Timeout));

                let now = at(began);
                assert_eq!((now.len(), now.is_empty(), now.is_full()), (1, false, true));
                assert_eq!((now.recv(), now.len()), (Ok(began), 0));
                let now = at(began);
                assert_eq!(now.recv_deadline(began), Ok(began));
                assert_eq!(at(began).try_iter().collect::<Vec<_>>(), [began]);

                let ticks = tick(ms(5));
                assert_eq!(ticks.capacity(), Some(1));
                let times: Vec<_> = ticks.iter().take(3).collect();
                assert!(times[0] >= began + ms(5) && times.windows(2).all(|pair| pair[1] >= pair[0] + ms(5)));
                hold_thread(ms(20));
                assert!(ticks.try_recv().is_ok());

                let none = never::<u8>();
                assert_eq!((none.capacity(), none.len(), none.is_empty(), none.is_full()), (Some(0), 0, true, true));
                assert_eq!(none.try_recv(), Err(TryRecvError::Empty));
                assert_eq!(none.recv_timeout(ms(2)), Err(RecvTimeoutError::Timeout));
                assert_eq!(after(Duration::MAX).recv_timeout(ms(1)), Err(RecvTimeoutError::Timeout));
            }

            #[test]
            fn receivers_share_what_time_sends() {
                let _watch = watch();
                let alarm = after(ms(5));
                let count = thread::scope(|scope| {
                    let receivers = [0; 4].map(|_| scope.spawn(|| alarm.recv_timeout(ms(50)).is_ok()));
                    receivers.into_iter().map(|r| usize::from(r.join().unwrap())).sum::<usize>()
                });
                assert_eq!(count, 1);
            }

            #[test]
            fn both_ends_may_be_shared_and_sent() {
                fn check<T: Send + Sync + Clone + std::fmt::Debug + std::panic::UnwindSafe + Unpin>(_: &T) {}
                let (s, r) = bounded::<u32>(1);
                check(&s);
                check(&r);
            }
        }
    };
}

same_as_crossbeam!(as_crossbeam, crossbeam_channel);
same_as_crossbeam!(as_osier, osier::sync::channel);

// ---- from tasks

#[test]
fn smoke() {
    let _watch = watch();
    let (sender, receiver) = channel::bounded(2);
    let producer = spawn(move || (0..10).for_each(|n| sender.send(n).unwrap()));
    assert_eq!(run(|| receiver.iter().sum::<u32>()), 45);
    producer.join().unwrap();
}

#[test]
fn values_arrive_in_the_order_in_which_they_were_sent() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        for capacity in [0, 1, 3, usize::MAX] {
            let (sender, receiver) = channel::bounded(capacity);
            let producer = runtime.spawn(move || {
                for n in 0..2000 {
                    sender.send(n).unwrap();
                }
            });
            let consumer = runtime.spawn(move || receiver.into_iter().eq(0..2000));
            producer.join().unwrap();
            assert!(consumer.join().unwrap());
        }
    }
}

/// Those who wait are served first come first served, on both sides.
#[test]
fn waiting_tasks_are_served_in_the_order_in_which_they_came() {
    let _watch = watch();
    runtime(1).run(|| {
        let come = |n: usize, entered: &Arc<AtomicUsize>| {
            // Enters when all before it wait.
            until(|| entered.load(Ordering::Relaxed) == n);
            entered.fetch_add(1, Ordering::Relaxed);
        };
        for capacity in [0, 2] {
            let (sender, receiver) = channel::bounded(capacity);
            let entered = Arc::new(AtomicUsize::new(0));
            let receivers: Vec<JoinHandle<_>> = (0..10)
                .map(|n| {
                    let (receiver, entered) = (receiver.clone(), entered.clone());
                    spawn(move || {
                        come(n, &entered);
                        receiver.recv().unwrap()
                    })
                })
                .collect();
            until(|| entered.load(Ordering::Relaxed) == 10);
            (0..10).for_each(|n| sender.send(n).unwrap());
            let received: Vec<usize> = receivers.into_iter().map(|task| task.join().unwrap()).collect();
            assert_eq!(received, Vec::from_iter(0..10));

            let entered = Arc::new(AtomicUsize::new(0));
            (0..capacity).for_each(|_| sender.send(100).unwrap());
            let senders: Vec<JoinHandle<_>> = (0..10)
                .map(|n| {
                    let (sender, entered) = (sender.clone(), entered.clone());
                    spawn(move || {
                        come(n, &entered);
                        sender.send(n).unwrap();
                    })
                })
                .collect();
            until(|| entered.load(Ordering::Relaxed) == 10);
            assert!(receiver.iter().take(capacity).all(|n| n == 100));
            assert!(receiver.iter().take(10).eq(0..10));
            senders.into_iter().for_each(|task| task.join().unwrap());
        }
    });
}

#[test]
fn a_send_at_capacity_zero_returns_once_its_value_was_taken() {
    let _watch = watch();
    runtime(1).run(|| {
        let (sender, receiver) = channel::bounded(0);
        let sent = Arc::new(AtomicUsize::new(0));
        let counts = sent.clone();
        let task = spawn(move || {
            for n in 0..3 {
                sender.send(n).unwrap();
                counts.fetch_add(1, Ordering::Relaxed);
            }
        });
        (0..10).for_each(|_| yield_now());
        for n in 0..3 {
            assert_eq!(sent.load(Ordering::Relaxed), n);
            assert_eq!(receiver.recv(), Ok(n));
            (0..10).for_each(|_| yield_now());
        }
        task.join().unwrap();
    });
}

#[test]
fn try_calls_never_wait_and_meet_those_who_do() {
    let _watch = watch();
    runtime(1).run(|| {
        let (sender, receiver) = channel::bounded(0);
        let waits = receiver.clone();
        let task = spawn(move || waits.recv());
        until(|| sender.try_send(5).is_ok());
        assert_eq!(task.join().unwrap(), Ok(5));
        assert_eq!(sender.try_send(6), Err(TrySendError::Full(6)));
        let task = spawn(move || sender.send(7));
        let mut got = Err(TryRecvError::Empty);
        until(|| {
            got = receiver.try_recv();
            got.is_ok()
        });
        assert_eq!((got, task.join().unwrap()), (Ok(7), Ok(())));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    });
}

#[test]
fn timeouts_in_tasks_give_values_back_and_take_none() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (sender, receiver) = channel::bounded(1);
            let began = Instant::now();
            assert_eq!(receiver.recv_timeout(ms(5)), Err(RecvTimeoutError::Timeout));
            assert!(began.elapsed() >= ms(5));
            sender.send(1).unwrap();
            assert_eq!(sender.send_timeout(2, ms(5)), Err(SendTimeoutError::Timeout(2)));
            assert!(began.elapsed() >= ms(10));
            assert_eq!(sender.send_deadline(3, began), Err(SendTimeoutError::Timeout(3)));
            assert_eq!(receiver.recv_deadline(began), Ok(1), "a value that is there is taken, however late");
            assert_eq!(receiver.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
            let task = spawn(move || {
                sleep(ms(2));
                sender.send_timeout(4, Duration::MAX).unwrap();
            });
            assert_eq!(receiver.recv_timeout(Duration::MAX), Ok(4));
            task.join().unwrap();
            assert_eq!(receiver.recv_timeout(FOR_EVER), Err(RecvTimeoutError::Disconnected));
        });
    }
}

#[test]
fn closing_wakes_waiting_tasks_and_threads() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (sender, receiver) = channel::bounded::<u32>(0);
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let receiver = receiver.clone();
                runtime.spawn(move || receiver.recv())
            })
            .collect();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let receiver = receiver.clone();
                thread::spawn(move || receiver.recv())
            })
            .collect();
        drop(sender);
        tasks.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), Err(RecvError)));
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), Err(RecvError)));

        let tally = Tally::default();
        let (sender, receiver) = channel::bounded(1);
        sender.send(tally.token()).unwrap();
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (sender, token) = (sender.clone(), tally.token());
                runtime.spawn(move || sender.send(token))
            })
            .collect();
        drop(receiver);
        tasks.into_iter().for_each(|task| assert!(matches!(task.join().unwrap(), Err(SendError(_)))));
        tally.assert_all_dropped(11);
    }
}

/// At once, not when the last sender goes: crossbeam-channel keeps what lies in a channel of capacity 1 until then.
#[test]
fn the_last_receiver_drops_what_lies_in_the_channel() {
    for capacity in [1, 2, 10, usize::MAX] {
        let tally = Tally::default();
        let (sender, receiver) = channel::bounded(capacity);
        let (copy, count) = (receiver.clone(), capacity.min(100));
        (0..count).for_each(|_| sender.send(tally.token()).unwrap());
        drop(receiver);
        assert_eq!((sender.len(), tally.dropped()), (count, 0));
        drop(copy);
        assert_eq!(sender.len(), 0);
        tally.assert_all_dropped(count);
    }
}

/// Values whose destructors use the channel that drops them.
#[test]
fn a_value_may_use_its_channel_when_it_is_dropped() {
    type Talkative = OnDrop<Box<dyn FnMut() + Send>>;
    let _watch = watch();
    let (sender, receiver) = channel::bounded::<Talkative>(8);
    let answers = Arc::new(AtomicUsize::new(0));
    for _ in 0..5 {
        let (copy, answers) = (sender.clone(), answers.clone());
        let talks: Box<dyn FnMut() + Send> = Box::new(move || {
            let refused = copy.try_send(OnDrop(Box::new(|| ())));
            answers.fetch_add(usize::from(matches!(refused, Err(TrySendError::Disconnected(_)))), Ordering::Relaxed);
            assert!(copy.len() <= 8);
        });
        sender.send(OnDrop(talks)).map_err(drop).unwrap();
    }
    drop(receiver);
    assert_eq!(answers.load(Ordering::Relaxed), 5);
}

#[test]
fn a_panicking_destructor_among_what_a_closing_drops_harms_nobody() {
    let _watch = watch();
    let (sender, receiver) = channel::bounded(4);
    let tally = Tally::default();
    for n in 0..3 {
        let token = tally.token();
        let value = OnDrop(Box::new(move || {
            assert!(n != 1 || token_is_whole(&token), "in a destructor");
        }) as Box<dyn FnMut() + Send>);
        sender.send(value).map_err(drop).unwrap();
    }
    let waits = sender.clone();
    drop(panic::catch_unwind(AssertUnwindSafe(|| drop(receiver))));
    assert!(waits.send(OnDrop(Box::new(|| ()))).is_err());
    tally.assert_all_dropped(3);

    fn token_is_whole(_: &common::Token) -> bool {
        false
    }
}

// ---- everybody at once

/// Tasks of several runtimes and plain threads on both ends of one channel. Each value arrives once.
fn everybody(capacity: usize, workers: usize) {
    const EACH: u64 = 500;
    let (one, two) = (runtime(workers), runtime(1));
    let (sender, receiver) = channel::bounded::<u64>(capacity);
    let (count, sum, check) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (count, sum, check) = (&count, &sum, &check);
    let produce = |id: u64, sender: &Sender<u64>| {
        for n in 0..EACH {
            let value = id * EACH + n;
            match n % 4 {
                0 => until(|| sender.try_send(value).is_ok()),
                1 => until(|| sender.send_timeout(value, Duration::from_micros(50)).is_ok()),
                _ => sender.send(value).unwrap(),
            }
        }
    };
    let consume = |receiver: &Receiver<u64>| {
        for turn in 0_u64.. {
            let value = match turn % 4 {
                0 => receiver.try_recv().map_err(|error| error == TryRecvError::Disconnected),
                1 => {
                    let timeout = Duration::from_micros(50);
                    receiver.recv_timeout(timeout).map_err(|error| error == RecvTimeoutError::Disconnected)
                }
                _ => receiver.recv().map_err(|_| true),
            };
            match value {
                Ok(value) => {
                    count.fetch_add(1, Ordering::Relaxed);
                    sum.fetch_add(value, Ordering::Relaxed);
                    check.fetch_xor(value.wrapping_mul(0x9e37_79b9_7f4a_7c15), Ordering::Relaxed);
                }
                Err(true) => return,
                Err(false) => yield_now(),
            }
        }
    };
    thread::scope(|scope| {
        for id in 0..9 {
            let (sender, receiver, one, two) = (sender.clone(), receiver.clone(), &one, &two);
            let (produce, consume) = (&produce, &consume);
            scope.spawn(move || match id % 3 {
                0 => produce(id, &sender),
                1 => one.run(|| produce(id, &sender)),
                _ => two.run(|| produce(id, &sender)),
            });
            scope.spawn(move || match id % 3 {
                0 => consume(&receiver),
                1 => one.run(|| consume(&receiver)),
                _ => two.run(|| consume(&receiver)),
            });
        }
        drop((sender, receiver));
    });
    let all = 0..9 * EACH;
    assert_eq!(count.load(Ordering::Relaxed), 9 * EACH);
    assert_eq!(sum.load(Ordering::Relaxed), all.clone().sum::<u64>());
    let expected = all.fold(0, |check, value| check ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    assert_eq!(check.load(Ordering::Relaxed), expected);
}

#[test]
fn every_value_arrives_once_among_tasks_and_threads() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        for capacity in [0, 1, 16] {
            everybody(capacity, workers);
        }
    }
}

#[test]
fn many_tasks_on_one_channel_share_the_work() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        for capacity in [0, 1, 100] {
            let (sender, receiver) = channel::bounded::<u64>(capacity);
            let sum: u64 = runtime.run(|| {
                let producers: Vec<_> = (0..50)
                    .map(|id| {
                        let sender = sender.clone();
                        spawn(move || (0..40).for_each(|n| sender.send(id * 40 + n).unwrap()))
                    })
                    .collect();
                let consumers: Vec<_> = (0..50)
                    .map(|_| {
                        let receiver = receiver.clone();
                        spawn(move || receiver.iter().sum::<u64>())
                    })
                    .collect();
                drop(sender);
                producers.into_iter().for_each(|producer| producer.join().unwrap());
                consumers.into_iter().map(|consumer| consumer.join().unwrap()).sum()
            });
            assert_eq!(sum, (0..2000).sum());
        }
    }
}

#[test]
fn ping_pong_between_two_workers_loses_no_wake_up() {
    let _watch = watch();
    for capacity in [0, 1] {
        let runtime = runtime(2);
        let both = Arc::new(Barrier::new(2));
        let ((ping, pinged), (pong, ponged)) = (channel::bounded(capacity), channel::bounded(capacity));
        let (held, other) = (both.clone(), both);
        // Each holds its worker until the other has one too, so they are apart.
        let answers = runtime.spawn(move || {
            held.wait();
            pinged.iter().for_each(|n: u32| pong.send(n).unwrap());
        });
        let asks = runtime.spawn(move || {
            other.wait();
            for n in 0..5000 {
                ping.send(n).unwrap();
                assert_eq!(ponged.recv(), Ok(n));
            }
        });
        asks.join().unwrap();
        answers.join().unwrap();
    }
}

/// A thread that never sleeps hands values to a task that parks for each: the two race at every step.
#[test]
fn a_task_about_to_park_overlooks_no_value() {
    let _watch = watch();
    let count = if cfg!(debug_assertions) { 100_000 } else { 300_000 };
    let (sender, receiver) = channel::bounded::<u32>(0);
    let runtime = runtime(1);
    let task = runtime.spawn(move || (0..count).for_each(|n| assert_eq!(receiver.recv(), Ok(n))));
    for n in 0..count {
        while sender.try_send(n).is_err() {
            // On one core, or a busy one, the task needs its turn.
            thread::yield_now();
        }
    }
    task.join().unwrap();
}

#[test]
fn a_ring_of_tasks_passes_a_token_round() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (first, mut previous) = channel::bounded::<u32>(1);
            let links: Vec<_> = (0..100)
                .map(|_| {
                    let (next, receives) = channel::bounded(1);
                    let receiver = std::mem::replace(&mut previous, receives);
                    spawn(move || receiver.iter().for_each(|n| _ = next.send(n - 1)))
                })
                .collect();
            first.send(2000).unwrap();
            loop {
                match previous.recv().unwrap() {
                    0 => break,
                    n => first.send(n).unwrap(),
                }
            }
            drop(first);
            links.into_iter().for_each(|link| link.join().unwrap());
        });
    }
}

// ---- cancelled ends

/// A receiver that is cancelled has either its value or nothing: none is lost, none comes twice.
// H16
#[test]
fn a_cancelled_receiver_loses_no_value() {
    let _watch = watch();
    let mut random = Random::new();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let tally = Tally::default();
        for capacity in [0, 1, 4] {
            let (sender, receiver) = channel::bounded::<(u64, common::Token)>(capacity);
            let received = Arc::new(AtomicU64::new(0));
            let receivers: Vec<_> = (0..100)
                .map(|_| {
                    let (receiver, received) = (receiver.clone(), received.clone());
                    runtime.spawn(move || {
                        loop {
                            let Ok((value, _token)) = receiver.recv() else { return };
                            received.fetch_add(value, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let cancels: Vec<_> = (0..100).map(|_| random.below(2) == 0).collect();
            let canceller = thread::spawn(move || {
                for (receiver, cancel) in receivers.iter().zip(cancels) {
                    if cancel {
                        receiver.cancel();
                    }
                }
                receivers
            });
            for n in 1..=1000 {
                sender.send((n, tally.token())).map_err(drop).unwrap();
            }
            let receivers = canceller.join().unwrap();
            drop(sender);
            // Cancelled ones left what they had not taken to the others, or to us.
            let rest: u64 = receiver.iter().map(|(value, _)| value).sum();
            for receiver in receivers {
                if let Err(error) = receiver.join() {
                    assert!(error.is_cancelled(), "{error}");
                }
            }
            assert_eq!(received.load(Ordering::Relaxed) + rest, 500_500);
            tally.assert_all_dropped(tally.made());
        }
    }
}

/// A sender that is cancelled has either sent its value or dropped it.
// H16
#[test]
fn a_cancelled_senders_value_is_sent_or_dropped_once() {
    let _watch = watch();
    let mut random = Random::new();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        for capacity in [0, 1, 4] {
            let tally = Tally::default();
            let (sender, receiver) = channel::bounded(capacity);
            let sent = Arc::new(AtomicU64::new(0));
            let senders: Vec<_> = (0..200)
                .map(|_| {
                    let (sender, sent, token) = (sender.clone(), sent.clone(), tally.token());
                    runtime.spawn(move || {
                        sender.send(token).map_err(drop).unwrap();
                        sent.fetch_add(1, Ordering::Relaxed);
                    })
                })
                .collect();
            drop(sender);
            let cancels: Vec<_> = (0..200).map(|_| random.below(2) == 0).collect();
            let canceller = thread::spawn(move || {
                senders.iter().zip(cancels).filter(|(_, cancel)| *cancel).for_each(|(sender, _)| sender.cancel());
                senders
            });
            let received = receiver.iter().count();
            let mut cancelled = 0;
            for sender in canceller.join().unwrap() {
                if let Err(error) = sender.join() {
                    assert!(error.is_cancelled(), "{error}");
                    cancelled += 1;
                }
            }
            assert_eq!(received, 200 - cancelled);
            assert_eq!(sent.load(Ordering::Relaxed), received as u64);
            tally.assert_all_dropped(200);
        }
    }
}

/// One that is cancelled in the middle of the line leaves the others in it, in order.
#[test]
fn a_cancelled_waiter_leaves_the_line_and_the_others_in_order() {
    let _watch = watch();
    runtime(1).run(|| {
        for cancelled in 0..5 {
            let (sender, receiver) = channel::bounded::<usize>(0);
            let entered = Arc::new(AtomicUsize::new(0));
            let receivers: Vec<_> = (0..5)
                .map(|n| {
                    let (receiver, entered) = (receiver.clone(), entered.clone());
                    spawn(move || {
                        until(|| entered.load(Ordering::Relaxed) == n);
                        entered.fetch_add(1, Ordering::Relaxed);
                        receiver.recv()
                    })
                })
                .collect();
            until(|| entered.load(Ordering::Relaxed) == 5);
            receivers[cancelled].cancel();
            until(|| receivers[cancelled].is_finished());
            (0..4).for_each(|n| sender.send(n).unwrap());
            let mut next = 0;
            for (place, receiver) in receivers.into_iter().enumerate() {
                match receiver.join() {
                    Ok(value) => {
                        assert_eq!(value, Ok(next));
                        next += 1;
                    }
                    Err(error) => assert!(error.is_cancelled() && place == cancelled),
                }
            }
            assert_eq!(next, 4);
        }
    });
}

/// A wait that times out just as its value comes has it or leaves it.
#[test]
fn a_timeout_that_races_with_a_value_loses_nothing() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let mut random = Random::new();
        let (sender, receiver) = channel::bounded::<u64>(0);
        let pauses: Vec<_> = (0..1000).map(|_| Duration::from_micros(random.below(200))).collect();
        let receives = runtime.spawn(move || {
            let mut sum = 0;
            loop {
                match receiver.recv_timeout(Duration::from_micros(100)) {
                    Ok(value) => sum += value,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return sum,
                }
            }
        });
        let sends = runtime.spawn(move || {
            let mut sum = 0;
            for (n, pause) in (1..).zip(pauses) {
                match sender.send_timeout(n, pause) {
                    Ok(()) => sum += n,
                    Err(error) => assert_eq!(error.into_inner(), n),
                }
            }
            sum
        });
        assert_eq!(receives.join().unwrap(), sends.join().unwrap());
    }
}

#[test]
fn a_channel_in_a_channel_answers() {
    // S11: request and reply
    let _watch = watch();
    type Question = (u32, Sender<u32>);
    let (ask, asked) = channel::bounded::<Question>(1);
    let answers = spawn(move || asked.iter().for_each(|(n, reply)| reply.send(n * n).unwrap()));
    let askers: Vec<_> = (0..20)
        .map(|n| {
            let ask = ask.clone();
            spawn(move || {
                let (reply, replied) = channel::bounded(1);
                ask.send((n, reply)).unwrap();
                replied.recv().unwrap()
            })
        })
        .collect();
    drop(ask);
    assert!(askers.into_iter().zip(0..).all(|(asker, n)| asker.join().unwrap() == n * n));
    answers.join().unwrap();
}
