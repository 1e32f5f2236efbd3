//! What tasks say to each other, and their timers, in a thousand orders each: a failing seed replays.

#![cfg(feature = "runtime")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{ms, watch};
use osier::sync::{
    AsyncResult, Barrier, Channel, Condition, Condvar, Event, LifoQueue, Mutex, OnceCell, PriorityQueue, Queue, RLock,
    RwLock, Semaphore, WaitGroup, channel,
};
use osier::task::{scope, shield};
use osier::time::{interval, timeout};
use osier::{JoinHandle, Pool, Runtime, select, sleep, spawn, time, yield_now};

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

#[test]
fn a_lock_that_its_holder_locks_again_keeps_the_others_out() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (lock, inside) = (RLock::new(), Arc::new(AtomicUsize::new(0)));
        let users = tasks(4, move |n| {
            let _once = lock.lock();
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            let _leaves = common::OnDrop(|| _ = inside.fetch_sub(1, Ordering::SeqCst));
            yield_now();
            {
                let _twice = lock.lock();
                sleep(ms(n % 2));
            }
            assert!(lock.is_owned(), "locked once more than unlocked");
            yield_now();
        });
        yield_now();
        users[1].cancel();
        for (n, user) in users.into_iter().enumerate() {
            assert!(user.join().is_ok() || n == 1);
        }
    });
}

#[test]
fn conditions_wake_as_many_as_they_are_told_to() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (condition, tickets) = (Condition::new(), Arc::new(AtomicUsize::new(0)));
        let takers = tasks(4, {
            let (condition, tickets) = (condition.clone(), tickets.clone());
            move |_| {
                let condition = condition.lock();
                condition.wait_for(|| tickets.load(Ordering::SeqCst) > 0);
                tickets.fetch_sub(1, Ordering::SeqCst);
            }
        });
        let givers = tasks(2, {
            let tickets = tickets.clone();
            move |_| {
                let condition = condition.lock();
                tickets.fetch_add(2, Ordering::SeqCst);
                condition.notify(2);
            }
        });
        join(givers);
        join(takers);
        assert_eq!(tickets.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_putter_goes_on_when_its_getter_has() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (channel, got) = (Channel::new(), Arc::new(AtomicUsize::new(0)));
        let getters = tasks(3, {
            let (channel, got) = (channel.clone(), got.clone());
            move |n| {
                if n == 0 {
                    sleep(ms(1));
                }
                let bit: usize = channel.get().unwrap();
                got.fetch_or(bit, Ordering::SeqCst);
            }
        });
        let putters = tasks(3, {
            let got = got.clone();
            move |n| {
                channel.put(1 << n).unwrap();
                assert!(got.load(Ordering::SeqCst) & 1 << n != 0, "it has run on with the item");
            }
        });
        join(putters);
        join(getters);
        assert_eq!(got.load(Ordering::SeqCst), 7);
    });
}

#[test]
fn queues_of_other_orders_keep_them() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (smallest, latest) = (PriorityQueue::new(), LifoQueue::new());
        let putters = tasks(3, {
            let (smallest, latest) = (smallest.clone(), latest.clone());
            move |n| {
                for item in [n, 5 - n] {
                    smallest.put(item).unwrap();
                    latest.put(item).unwrap();
                    yield_now();
                }
            }
        });
        join(putters);
        smallest.shutdown();
        assert!((&smallest).into_iter().eq(0..6));
        // One gets what was put last, whoever puts and gets meanwhile.
        latest.put(100).unwrap();
        assert_eq!(latest.get(), Ok(100));
        latest.shutdown();
        let getters = tasks(2, move |_| {
            let mut sum = 0;
            for item in &latest {
                sum += item;
                yield_now();
            }
            sum
        });
        assert_eq!(join(getters).into_iter().sum::<u64>(), 15);
    });
}

#[test]
fn every_receiver_of_a_broadcast_gets_all_in_the_order_of_their_sending() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (sender, receiver) = channel::broadcast(8);
        let listeners = [0, 1, 2].map(|n| {
            let receiver = receiver.clone();
            spawn(move || {
                let received = receiver.iter().inspect(|_| {
                    if n == 1 {
                        yield_now();
                    }
                });
                received.collect::<Vec<u64>>()
            })
        });
        drop(receiver);
        let senders = tasks(2, move |n| {
            for step in 0..3 {
                sender.send(10 * n + step).unwrap();
                yield_now();
            }
        });
        join(senders);
        let received = join(listeners.into());
        assert!(received.iter().all(|all| all.len() == 6 && *all == received[0]), "{received:?}");
        let of = |sender| received[0].iter().copied().filter(move |n| n / 10 == sender).collect::<Vec<_>>();
        assert_eq!((of(0), of(1)), (vec![0, 1, 2], vec![10, 11, 12]));
    });
}

#[test]
fn every_receiver_of_a_watch_sees_the_last_value() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (sender, receiver) = channel::watch(0);
        let watchers = tasks(3, move |_| {
            let seen: Vec<u64> = receiver.clone().iter().collect();
            assert!(seen.is_sorted() && seen.len() <= 4);
            receiver.get()
        });
        let sending = spawn(move || {
            for n in 1..=4 {
                sender.send(n);
                yield_now();
            }
        });
        sending.join().unwrap();
        assert_eq!(join(watchers), [4; 3]);
    });
}

#[test]
fn a_value_sent_once_is_received_or_comes_back() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (sender, receiver) = channel::oneshot();
        let receiving = spawn(move || {
            let received = receiver.recv_timeout(ms(1)).ok();
            drop(receiver);
            received
        });
        let sending = spawn(move || {
            sleep(ms(1));
            sender.send(7).err().map(channel::SendError::into_inner)
        });
        let (received, came_back) = (receiving.join().unwrap(), sending.join().unwrap());
        assert!(received.or(came_back) == Some(7) && received.and(came_back).is_none());
    });
}

#[test]
fn a_group_waits_for_all_its_members() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (group, done) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
        let members = tasks(4, {
            let (group, done) = (group.clone(), done.clone());
            move |n| {
                let _member = &group;
                sleep(ms(n % 2));
                done.fetch_add(1, Ordering::SeqCst);
            }
        });
        group.wait();
        assert_eq!(done.load(Ordering::SeqCst), 4);
        join(members);
    });
}

#[test]
fn a_pool_has_at_most_as_many_members_as_places_and_loses_none() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let (pool, inside) = (Pool::new(2), Arc::new(AtomicUsize::new(0)));
        let spawners = tasks(3, {
            let (pool, inside) = (pool.clone(), inside.clone());
            move |n| {
                let inside = inside.clone();
                let member = pool.spawn(move || {
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                    let _leaves = common::OnDrop(|| _ = inside.fetch_sub(1, Ordering::SeqCst));
                    yield_now();
                    sleep(ms(n));
                    n
                });
                if n == 1 {
                    member.cancel();
                }
                member.join().ok()
            }
        });
        let ended = join(spawners);
        assert!(ended[0] == Some(0) && ended[2] == Some(2), "{ended:?}");
        assert_eq!((pool.free(), pool.map(0..4, |n| n * n)), (2, vec![0, 1, 4, 9]));
    });
}

#[test]
fn a_scope_ends_after_its_tasks_also_when_it_is_given_up() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let running = AtomicUsize::new(0);
        let ended = timeout(ms(2), || {
            scope(|s| {
                for n in 0..4 {
                    let running = &running;
                    s.spawn(move || {
                        running.fetch_add(1, Ordering::SeqCst);
                        let _ends = common::OnDrop(|| _ = running.fetch_sub(1, Ordering::SeqCst));
                        let _waits = common::OnDrop(yield_now);
                        sleep(ms(n));
                    });
                }
            });
        });
        assert!(ended.is_err());
        assert_eq!(running.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_shielded_step_is_done_as_a_whole_or_not_at_all() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let steps = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let transfer = spawn({
            let steps = steps.clone();
            move || {
                for _ in 0..3 {
                    shield(|| {
                        steps.0.fetch_add(1, Ordering::SeqCst);
                        yield_now();
                        sleep(ms(1));
                        steps.1.fetch_add(1, Ordering::SeqCst);
                    });
                    yield_now();
                }
            }
        });
        let cancels = spawn({
            let transfer = transfer.task();
            move || {
                yield_now();
                transfer.cancel();
            }
        });
        cancels.join().unwrap();
        let ended = transfer.join();
        let (begun, done) = (steps.0.load(Ordering::SeqCst), steps.1.load(Ordering::SeqCst));
        assert_eq!(begun, done);
        assert!(ended.is_err() || done == 3);
    });
}

#[test]
fn of_nested_timeouts_the_one_that_is_over_first_ends() {
    let _watch = watch();
    on_a_thousand_seeds(|| {
        let limits = [(10, 20, 30), (20, 10, 30), (30, 20, 10), (10, 10, 20), (20, 20, 10)];
        let nested = limits.map(|(outer, inner, work)| {
            spawn(move || {
                let start = time::now();
                let ended = timeout(ms(outer), || timeout(ms(inner), || sleep(ms(work))).is_ok());
                (ended.ok(), (time::now() - start).as_millis())
            })
        });
        let ended = join(nested.into());
        assert_eq!(ended, [(None, 10), (Some(false), 10), (Some(true), 10), (None, 10), (Some(true), 10)]);
    });
}
