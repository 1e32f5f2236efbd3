//! What tasks say to each other, and their timers, in a thousand orders each: a failing seed replays.

#![cfg(feature = "runtime")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{ms, watch};
use osier::sync::{AsyncResult, Barrier, Condvar, Event, Mutex, OnceCell, Queue, RwLock, Semaphore, channel};
use osier::time::{interval, timeout};
use osier::{JoinHandle, Runtime, select, sleep, spawn, time, yield_now};

/// Runs `scenario` in a thousand orders; one that fails says its seed.
fn on_a_thousand_seeds(scenario: fn()) {
    for seed in 0..1000 {
        let runtime = Runtime::builder().test(seed).build().unwrap();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.run(scenario)));
        assert!(ended.is_ok(), "seed {seed}");
    }
}

/// As many tasks, of which each knows its number.
fn tasks<T: Send + 'static>(count: u64, body: impl Fn(u64) -> T + Clone + Send + 'static) -> Vec<JoinHandle<T>> {
    let spawn_one = |number| {
        let body = body.clone();
        spawn(move || body(number))
    };
    (0..count).map(spawn_one).collect()
}

fn join<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    tasks.into_iter().map(|task| task.join().unwrap()).collect()
}

#[test]
fn an_event_wakes_everybody_who_waits_long_enough() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let event = Event::new();
        let waiters = tasks(6, {
            let event = event.clone();
            move |n| if n % 2 == 0 { event.wait_timeout(ms(10)) } else { event.wait_timeout(ms(30)) }
        });
        let setter = spawn(move || {
            sleep(ms(20));
            event.set();
        });
        assert_eq!(join(waiters), [false, true, false, true, false, true]);
        setter.join().unwrap();
    });
}

#[test]
fn permits_are_neither_lost_nor_doubled_when_waiters_are_cancelled() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (permits, inside) = (Semaphore::new(2), Arc::new(AtomicUsize::new(0)));
        let workers = tasks(6, {
            let permits = permits.clone();
            move |_| {
                let _permit = permits.hold();
                assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                let _leaves = common::OnDrop({
                    let inside = inside.clone();
                    move || _ = inside.fetch_sub(1, Ordering::SeqCst)
                });
                yield_now();
                sleep(ms(1));
            }
        });
        yield_now();
        workers[1].cancel();
        workers[4].cancel();
        for (n, worker) in workers.into_iter().enumerate() {
            let ended = worker.join();
            assert!(ended.is_ok() || [1, 4].contains(&n));
        }
        assert_eq!(permits.available(), 2);
    });
}

#[test]
fn a_queue_is_joined_when_every_item_is_done() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (queue, sum) = (Queue::bounded(2), Arc::new(AtomicUsize::new(0)));
        let workers = tasks(3, {
            let (queue, sum) = (queue.clone(), sum.clone());
            move |_| {
                for item in &queue {
                    yield_now();
                    sum.fetch_add(item, Ordering::SeqCst);
                    queue.task_done();
                }
            }
        });
        (1..=10).for_each(|item| queue.put(item).unwrap());
        queue.join();
        assert_eq!(sum.load(Ordering::SeqCst), 55);
        queue.shutdown();
        join(workers);
    });
}

#[test]
fn a_barrier_keeps_its_parties_in_step() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (barrier, steps) = (Arc::new(Barrier::new(3)), Arc::new(AtomicUsize::new(0)));
        let parties = tasks(3, move |n| {
            for step in 0..4 {
                assert_eq!(steps.load(Ordering::SeqCst) / 3, step);
                if n == 1 {
                    sleep(ms(1));
                }
                barrier.wait().unwrap();
                steps.fetch_add(1, Ordering::SeqCst);
                barrier.wait().unwrap();
            }
        });
        join(parties);
    });
}

#[test]
fn a_writer_is_alone_and_readers_are_not() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let lock = Arc::new(RwLock::new((0, 0)));
        let users = tasks(6, {
            let lock = lock.clone();
            move |n| {
                for _ in 0..2 {
                    if n < 2 {
                        let mut pair = lock.write();
                        pair.0 += 1;
                        yield_now();
                        pair.1 += 1;
                    } else {
                        let pair = lock.read();
                        let before = *pair;
                        yield_now();
                        assert_eq!((pair.0, *pair), (pair.1, before));
                    }
                }
            }
        });
        join(users);
        assert_eq!(*lock.read(), (4, 4));
    });
}

#[test]
fn conditions_lose_no_notification() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let takers = tasks(3, {
            let shared = shared.clone();
            move |_| {
                let (items, changed) = &*shared;
                let mut items = changed.wait_while(items.lock(), |items: &mut Vec<u64>| items.is_empty());
                items.pop().unwrap()
            }
        });
        let givers = tasks(3, move |n| {
            let (items, changed) = &*shared;
            items.lock().push(n);
            changed.notify_one();
        });
        join(givers);
        let mut taken = join(takers);
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2]);
    });
}

#[test]
fn a_result_is_set_once_and_got_by_all() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let result = AsyncResult::new();
        let getters = tasks(3, {
            let result = result.clone();
            move |_| result.get().unwrap()
        });
        let setters = tasks(2, {
            let result = result.clone();
            move |n| result.set(n).is_ok()
        });
        assert_eq!(join(setters).into_iter().filter(|&set| set).count(), 1);
        let got = join(getters);
        assert!(got.iter().all(|value| *value == result.get().unwrap()));
    });
}

#[test]
fn a_value_that_meets_a_timeout_is_received_or_still_there() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (sender, receiver) = channel::bounded(1);
        let receiving = spawn({
            let receiver = receiver.clone();
            move || timeout(ms(5), || receiver.recv().unwrap()).ok()
        });
        let sending = spawn(move || {
            sleep(ms(5));
            sender.send(7).unwrap();
        });
        sending.join().unwrap();
        let received = receiving.join().unwrap();
        assert_eq!(received.or_else(|| receiver.try_recv().ok()), Some(7));
    });
}

#[test]
fn a_select_takes_every_message_once() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let ((a, from_a), (b, from_b)) = (channel::bounded(1), channel::unbounded());
        let senders = tasks(4, move |n| if n % 2 == 0 { a.send(1 << n).unwrap() } else { b.send(1 << n).unwrap() });
        let selecting = tasks(2, move |_| {
            let mut sum = 0;
            loop {
                select! {
                    recv(from_a) -> message => match message { Ok(n) => sum += n, Err(_) => break },
                    recv(from_b) -> message => match message { Ok(n) => sum += n, Err(_) => break },
                }
            }
            // One channel is closed, the other may hold something yet.
            sum + from_a.try_iter().sum::<u64>() + from_b.try_iter().sum::<u64>()
        });
        join(senders);
        assert_eq!(join(selecting).into_iter().sum::<u64>(), 15);
    });
}

#[test]
fn a_cell_is_made_by_one_and_seen_by_all() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (cell, made) = (Arc::new(OnceCell::new()), Arc::new(AtomicUsize::new(0)));
        let users = tasks(4, {
            let made = made.clone();
            move |n| {
                *cell.get_or_init(|| {
                    yield_now();
                    made.fetch_add(1, Ordering::SeqCst);
                    n
                })
            }
        });
        let seen = join(users);
        assert!(seen.iter().all(|n| *n == seen[0]));
        assert_eq!(made.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn timers_are_due_in_their_order_and_intervals_keep_their_beat() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let start = time::now();
        let sleepers = tasks(5, move |n| {
            sleep(ms(10 * (5 - n)));
            time::now() - start
        });
        let beats = spawn(|| interval(ms(7)).take(4).count());
        let inner = spawn(move || timeout(ms(30), || timeout(ms(20), || sleep(ms(50))).is_err()).unwrap_or(false));
        assert_eq!(join(sleepers), [50, 40, 30, 20, 10].map(ms));
        assert_eq!(beats.join().unwrap(), 4);
        assert!(inner.join().unwrap());
        assert_eq!(time::now() - start, ms(50));
    });
}
