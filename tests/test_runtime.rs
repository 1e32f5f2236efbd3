//! The runtime for tests: a seed decides the order, and time is made up.

#![cfg(feature = "runtime")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{Log, OnDrop, ms, watch};
use osier::sync::{Mutex, channel};
use osier::time::{interval, timeout};
use osier::{Runtime, actor, sleep, spawn, task, time, yield_now};

fn test_runtime(seed: u64) -> Runtime {
    Runtime::builder().test(seed).build().unwrap()
}

/// The order in which eight tasks take their three steps.
fn order(seed: u64) -> Vec<String> {
    let log = Log::default();
    test_runtime(seed).run(|| {
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let log = log.clone();
                spawn(move || {
                    for step in 0..3 {
                        log.push(format!("{n}.{step}"));
                        match n % 3 {
                            0 => yield_now(),
                            1 => sleep(ms(1)),
                            _ => task::checkpoint(),
                        }
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|t| t.join().unwrap());
    });
    log.take()
}

#[test]
fn a_seed_replays_and_seeds_differ() {
    let _watch = watch();
    let orders: Vec<_> = (0..50).map(order).collect();
    for (seed, order_before) in orders.iter().enumerate() {
        assert_eq!(order(seed as u64), *order_before, "seed {seed}");
    }
    let different: HashSet<_> = orders.iter().collect();
    assert!(different.len() > 40, "{} different orders of 50", different.len());
}

// A join must not decide it: that would run the one that is joined first.
#[test]
fn who_starts_first_is_drawn_also_of_tasks_that_are_joined_in_their_order() {
    let _watch = watch();
    let started = |seed| {
        let log = Log::default();
        test_runtime(seed).run(|| {
            let tasks: Vec<_> = (0..3)
                .map(|n| {
                    let log = log.clone();
                    spawn(move || log.push(n.to_string()))
                })
                .collect();
            tasks.into_iter().for_each(|t| t.join().unwrap());
        });
        log.take().concat()
    };
    let orders: HashSet<_> = (0..100).map(started).collect();
    assert_eq!(orders.len(), 6, "{orders:?}");
}

#[test]
fn which_of_two_that_are_ready_a_select_takes_depends_on_the_seed_alone() {
    let _watch = watch();
    let taken = |seed| {
        test_runtime(seed).run(|| {
            let ((a, from_a), (b, from_b)) = (channel::bounded(1), channel::bounded(1));
            a.send(0).unwrap();
            b.send(1).unwrap();
            osier::select! {
                recv(from_a) -> n => n.unwrap(),
                recv(from_b) -> n => n.unwrap(),
            }
        })
    };
    let firsts: Vec<u32> = (0..100).map(taken).collect();
    let ones = firsts.iter().sum::<u32>();
    assert!((20..80).contains(&ones), "{ones} of 100");
    assert_eq!(firsts, (0..100).map(taken).collect::<Vec<_>>());
}

#[test]
fn a_year_passes_at_once() {
    let _watch = watch();
    let began = Instant::now();
    test_runtime(1).run(|| {
        let start = time::now();
        let day = Duration::from_secs(24 * 3600);
        let sleepers: Vec<_> = (1..=365).map(|n| spawn(move || sleep(day * n))).collect();
        sleepers.into_iter().for_each(|s| s.join().unwrap());
        assert_eq!(time::now() - start, day * 365);
        // Timeouts and limits of single calls count in the same time.
        assert!(timeout(day, || sleep(2 * day)).is_err());
        let (_sender, receiver) = channel::bounded::<u8>(1);
        assert!(receiver.recv_timeout(day).is_err());
        assert_eq!(interval(day).take(10).count(), 10);
        assert!(spawn(move || sleep(day)).join_timeout(day / 2).unwrap_err().is_timeout());
        assert_eq!(time::now() - start, day * 365 + day + day + day * 9 + day / 2);
    });
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn deadlines_keep_their_order_in_made_up_time() {
    let _watch = watch();
    for seed in 0..100 {
        let log = Log::default();
        test_runtime(seed).run(|| {
            let sleepers: Vec<_> = [5, 3, 1, 4, 2]
                .map(|n| {
                    let log = log.clone();
                    spawn(move || {
                        sleep(Duration::from_secs(n));
                        log.push(n.to_string());
                    })
                })
                .into();
            sleepers.into_iter().for_each(|s| s.join().unwrap());
        });
        assert_eq!(log.take(), ["1", "2", "3", "4", "5"], "seed {seed}");
    }
}

/// A counter that is read, and written after a wait: a lost update, if two do it at once.
fn count_without_a_lock(seed: u64) -> u32 {
    test_runtime(seed).run(|| {
        let counter = Arc::new(AtomicU32::new(0));
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let counter = counter.clone();
                spawn(move || {
                    let seen = counter.load(Ordering::SeqCst);
                    if seen == 1 {
                        yield_now();
                    }
                    counter.store(seen + 1, Ordering::SeqCst);
                })
            })
            .collect();
        tasks.into_iter().for_each(|t| t.join().unwrap());
        counter.load(Ordering::SeqCst)
    })
}

#[test]
fn some_seeds_find_a_race_and_find_it_again() {
    let _watch = watch();
    let results: Vec<_> = (0..100).map(count_without_a_lock).collect();
    assert!(results.contains(&3), "most orders hide it");
    let failing = results.iter().position(|&count| count < 3).expect("some order shows it") as u64;
    (0..5).for_each(|_| assert!(count_without_a_lock(failing) < 3));
}

#[test]
fn channels_and_locks_hold_on_a_thousand_seeds() {
    let _watch = watch();
    for seed in 0..1000 {
        let total = test_runtime(seed).run(|| {
            let (sender, receiver) = channel::bounded(1);
            let sum = Arc::new(Mutex::new(0));
            let consumers: Vec<_> = (0..2)
                .map(|_| {
                    let (receiver, sum) = (receiver.clone(), sum.clone());
                    spawn(move || {
                        for n in &receiver {
                            let mut sum = sum.lock();
                            let before = *sum;
                            yield_now();
                            *sum = before + n;
                        }
                    })
                })
                .collect();
            for n in 0..4 {
                let sender = sender.clone();
                drop(spawn(move || {
                    sleep(ms(n % 2));
                    sender.send(1 << n).unwrap();
                }));
            }
            drop((sender, receiver));
            consumers.into_iter().for_each(|c| c.join().unwrap());
            *sum.lock()
        });
        assert_eq!(total, 15, "seed {seed}");
    }
}

#[test]
fn cancelling_in_every_order_drops_everything_once() {
    let _watch = watch();
    for seed in 0..300 {
        let tally = common::Tally::default();
        test_runtime(seed).run(|| {
            let (sender, receiver) = channel::bounded(1);
            let victim = spawn({
                let (token, receiver) = (tally.token(), receiver.clone());
                move || {
                    let _token = token;
                    let _waits = OnDrop(|| sleep(ms(1)));
                    receiver.recv().ok();
                    sleep(ms(2));
                }
            });
            let value = tally.token();
            let sends = spawn(move || sender.send(value).is_ok());
            let kills = spawn(move || victim.kill());
            kills.join().unwrap();
            sends.join().unwrap();
            drop(receiver);
        });
        tally.assert_all_dropped(2);
    }
}

#[cfg(feature = "blocking")]
#[test]
fn a_blocking_call_is_waited_for_and_takes_no_time() {
    let _watch = watch();
    test_runtime(7).run(|| {
        let start = time::now();
        let sleeper = spawn(|| sleep(Duration::from_secs(3600)));
        assert_eq!(
            task::unblock(|| {
                common::hold_thread(ms(20));
                5
            }),
            5
        );
        assert_eq!(time::now(), start);
        sleeper.join().unwrap();
        assert_eq!(time::now() - start, Duration::from_secs(3600));
    });
}

#[test]
fn it_shuts_down_with_tasks_that_sleep_in_destructors() {
    let _watch = watch();
    let runtime = test_runtime(3);
    let log = Log::default();
    runtime.run(|| {
        let log = log.clone();
        drop(spawn(move || {
            let _waits = OnDrop(|| {
                sleep(Duration::from_secs(3600));
                log.push("destructor ended");
            });
            let (_sender, receiver) = channel::bounded::<u8>(1);
            _ = receiver.recv();
        }));
        yield_now();
        sleep(ms(1));
    });
    runtime.shutdown(Duration::from_secs(30)).unwrap();
    assert_eq!(log.take(), ["destructor ended"]);
}

#[test]
fn an_actor_is_asked_until_the_made_up_time_is_up() {
    let _watch = watch();
    test_runtime(1).run(|| {
        let deaf = actor::Builder::new().spawn(|_: &actor::Mailbox<actor::Reply<()>>| sleep(ms(3_600_000)));
        let began = time::now();
        assert_eq!(deaf.ask_timeout(ms(60_000), |reply| reply).unwrap_err(), actor::AskError::Timeout);
        assert_eq!(time::now() - began, ms(60_000));
        deaf.task().kill();
    });
}
