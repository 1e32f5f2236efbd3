//! Locks and conditions: who gets in, in which order, and what a cut-short wait leaves.

#![cfg(feature = "runtime")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{FOR_EVER, Log, OnDrop, Random, ms, panic_text, until, watch};
use osier::sync::{
    Condition, Condvar, Event, LazyCell, Mutex, Once, OnceCell, RLock, RwLock, RwLockWriteGuard, WaitGroup, channel,
};
use osier::{Generator, Greenlet, JoinHandle, Runtime, Yielder, no_suspend, scope, sleep, spawn, yield_now};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// On one worker: spawns a task, which runs until it waits or ends before this returns.
fn started<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let begun = Event::new();
    let says = begun.clone();
    let handle = spawn(move || {
        says.set();
        f()
    });
    begun.wait();
    handle
}

#[test]
fn smoke() {
    let _watch = watch();
    let mutex = Mutex::new(1);
    *mutex.lock() += 1;
    assert_eq!(*mutex.lock(), 2);
    assert!(mutex.try_lock().is_some());
    let held = mutex.lock();
    assert!(mutex.is_locked() && mutex.try_lock().is_none() && mutex.lock_timeout(ms(1)).is_none());
    assert_eq!(format!("{mutex:?} {held:?}"), "Mutex { value: <locked> } 2");
    drop(held);
    assert_eq!(format!("{mutex:?}"), "Mutex { value: 2 }");
    assert_eq!(mutex.into_inner(), 2);
}

// ---- the mutex

#[test]
fn tasks_and_threads_exclude_each_other() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let total = Arc::new(Mutex::new(0_u64));
        let add = |total: &Mutex<u64>, n: usize| {
            for i in 0..n {
                let mut guard = total.lock();
                let before = *guard;
                if i % 16 == 0 {
                    yield_now();
                }
                *guard = before + 1;
            }
        };
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let total = total.clone();
                runtime.spawn(move || add(&total, 2000))
            })
            .collect();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let total = total.clone();
                thread::spawn(move || add(&total, 2000))
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        tasks.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(*total.lock(), 20_000);
    }
}

// GV-143
#[test]
fn five_contenders_and_an_error_leave_the_lock_free() {
    let _watch = watch();
    runtime(1).run(|| {
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.lock();
        let contenders: Vec<_> = (0..5)
            .map(|n| {
                let mutex = mutex.clone();
                started(move || {
                    let mut guard = mutex.lock();
                    *guard += 1;
                    assert!(n != 2, "an error inside");
                })
            })
            .collect();
        assert!(mutex.try_lock().is_none() && contenders.iter().all(|c| !c.is_finished()));
        drop(held);
        let ends: Vec<_> = contenders.into_iter().map(|c| c.join().is_ok()).collect();
        assert_eq!(ends, [true, true, false, true, true]);
        assert_eq!(*mutex.try_lock().expect("no poison, no leak"), 5);
    });
}

#[test]
fn waiters_get_the_lock_in_the_order_of_their_arrival() {
    let _watch = watch();
    runtime(1).run(|| {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let held = mutex.lock();
        let tasks: Vec<_> = (0..10)
            .map(|n| {
                let mutex = mutex.clone();
                started(move || mutex.lock().push(n))
            })
            .collect();
        drop(held);
        tasks.into_iter().for_each(|t| t.join().unwrap());
        assert!(mutex.lock().iter().copied().eq(0..10));
    });
}

#[test]
fn a_runner_overtakes_and_after_a_while_the_waiter_is_given_the_lock() {
    let _watch = watch();
    runtime(1).run(|| {
        let (mutex, got) = (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)));
        let held = mutex.lock();
        let waiter = started({
            let (mutex, got) = (mutex.clone(), got.clone());
            move || {
                let _guard = mutex.lock();
                got.store(true, Ordering::SeqCst);
            }
        });
        drop(held);
        drop(mutex.try_lock().expect("the waiter is woken, but the lock is free until it comes"));
        // From now on the lock is held whenever the waiter can look.
        let began = Instant::now();
        let mut held = mutex.lock();
        let mut rounds = 0;
        while !got.load(Ordering::SeqCst) {
            yield_now();
            drop(held);
            held = mutex.lock();
            rounds += 1;
        }
        assert!(rounds > 1 && began.elapsed() >= ms(1), "{rounds} rounds, {:?}", began.elapsed());
        drop(held);
        waiter.join().unwrap();
    });
}

// GV-139, H16
#[test]
fn a_cancelled_or_late_waiter_leaves_the_lock_to_the_next() {
    let _watch = watch();
    runtime(1).run(|| {
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.lock();
        let lock = |mutex: &Arc<Mutex<i32>>| {
            let mutex = mutex.clone();
            started(move || *mutex.lock() += 1)
        };
        let (first, second) = (lock(&mutex), lock(&mutex));
        let late = {
            let mutex = mutex.clone();
            started(move || mutex.lock_timeout(ms(1)).is_none())
        };
        let last = lock(&mutex);
        assert!(late.join().unwrap());
        // The first is woken, and cancelled before it has come: it locks, for that has arrived.
        drop(held);
        first.cancel();
        second.cancel();
        assert!(first.join().is_ok() | second.join().is_err());
        last.join().unwrap();
        assert!(!mutex.is_locked() && *mutex.lock() >= 2);
        let held = mutex.lock();
        assert!(mutex.lock_deadline(Instant::now()).is_none() && mutex.lock_timeout(Duration::ZERO).is_none());
        drop(held);
        assert!(mutex.lock_timeout(Duration::ZERO).is_some() && mutex.lock_timeout(Duration::MAX).is_some());
    });
}

#[test]
fn random_locks_timeouts_and_cancels_leave_the_lock_free() {
    let _watch = watch();
    let mut random = Random::new();
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        let mutex = Arc::new(Mutex::new(0_u64));
        let tasks: Vec<_> = (0..30)
            .map(|_| {
                let (mutex, patience) = (mutex.clone(), random.below(200));
                runtime.spawn(move || {
                    for n in 0..50 {
                        let guard = match n % 3 {
                            0 => mutex.lock_timeout(Duration::from_micros(patience)),
                            1 => mutex.try_lock(),
                            _ => Some(mutex.lock()),
                        };
                        if let Some(mut guard) = guard {
                            let before = *guard;
                            yield_now();
                            *guard = before + 1;
                        }
                    }
                })
            })
            .collect();
        for _ in 0..10 {
            tasks[usize::try_from(random.below(30)).unwrap()].cancel();
            drop(mutex.lock());
        }
        let cancelled = tasks.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
        assert!(cancelled <= 10 && !mutex.is_locked());
    }
}

// ---- the condition variable

#[test]
fn a_condvar_wakes_in_order_and_all_at_once() {
    let _watch = watch();
    runtime(1).run(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let log = Log::default();
        let waiters: Vec<_> = (0..4)
            .map(|n| {
                let (shared, log) = (shared.clone(), log.clone());
                started(move || {
                    let guard = shared.1.wait(shared.0.lock());
                    log.push(format!("{n}"));
                    drop(guard);
                })
            })
            .collect();
        shared.1.notify_one();
        until(|| log.len() == 1);
        shared.1.notify_all();
        waiters.into_iter().for_each(|w| w.join().unwrap());
        assert_eq!(log.take(), ["0", "1", "2", "3"]);
        let (guard, result) = shared.1.wait_timeout(shared.0.lock(), ms(2));
        assert!(result.timed_out() && shared.0.try_lock().is_none());
        drop(guard);
        let (_, result) = shared.1.wait_timeout_while(shared.0.lock(), ms(2), |n| *n == 0);
        assert!(result.timed_out());
        let (_, result) = shared.1.wait_timeout_while(shared.0.lock(), FOR_EVER, |n| *n == 1);
        assert!(!result.timed_out());
        assert!(shared.1.wait_deadline(shared.0.lock(), Instant::now()).1.timed_out());
    });
}

// H16
#[test]
fn a_notification_does_not_go_to_a_cancelled_waiter() {
    let _watch = watch();
    runtime(1).run(|| {
        let shared = Arc::new((Mutex::new(()), Condvar::new()));
        let wait = || {
            let shared = shared.clone();
            started(move || drop(shared.1.wait(shared.0.lock())))
        };
        let (first, second, third) = (wait(), wait(), wait());
        first.cancel();
        until(|| first.is_finished());
        let held = shared.0.lock();
        shared.1.notify_one();
        // Notified, and cancelled while it waits for the mutex: it returns all the same.
        second.cancel();
        yield_now();
        assert!(!second.is_finished());
        drop(held);
        assert!(first.join().unwrap_err().is_cancelled());
        second.join().expect("a notified waiter returns");
        assert!(!third.is_finished());
        shared.1.notify_one();
        third.join().unwrap();
    });
}

#[test]
fn a_condvar_works_between_tasks_and_threads() {
    let _watch = watch();
    let shared = Arc::new((Mutex::new(0), Condvar::new()));
    let play = |shared: &(Mutex<u32>, Condvar), parity| {
        for _ in 0..500 {
            let mut turn = shared.1.wait_while(shared.0.lock(), |turn| *turn % 2 != parity);
            *turn += 1;
            drop(turn);
            shared.1.notify_one();
        }
    };
    let task = spawn({
        let shared = shared.clone();
        move || play(&shared, 0)
    });
    play(&shared, 1);
    task.join().unwrap();
    assert_eq!(*shared.0.lock(), 1000);
}

// ---- the reader-writer lock

#[test]
fn readers_share_and_writers_do_not() {
    let _watch = watch();
    let lock = RwLock::new(1);
    let (one, other) = (lock.read(), lock.read());
    assert!(lock.try_read().is_some() && lock.try_write().is_none() && lock.write_timeout(ms(1)).is_none());
    assert!(lock.try_read().is_some(), "the writer that has left keeps nobody out");
    assert_eq!(*one + *other, 2);
    drop((one, other));
    let mut writer = lock.write();
    *writer = 5;
    assert!(lock.try_read().is_none() && lock.try_write().is_none() && lock.read_timeout(ms(1)).is_none());
    let reader = RwLockWriteGuard::downgrade(writer);
    assert!(lock.try_write().is_none());
    assert_eq!((*reader, *lock.read()), (5, 5));
    drop(reader);
    assert!(lock.try_write().is_some());
    assert_eq!(format!("{lock:?}"), "RwLock { value: 5 }");
}

#[test]
fn writers_go_first() {
    let _watch = watch();
    runtime(1).run(|| {
        let (lock, log) = (Arc::new(RwLock::new(())), Log::default());
        let writer = |name: &'static str| {
            let (lock, log) = (lock.clone(), log.clone());
            started(move || {
                let _guard = lock.write();
                log.push(name);
                yield_now();
            })
        };
        let reader = |name: &'static str| {
            let (lock, log) = (lock.clone(), log.clone());
            started(move || {
                let _guard = lock.read();
                log.push(name);
            })
        };
        let held = lock.read();
        let first = writer("w1");
        assert!(lock.try_read().is_none(), "a writer waits");
        let rest = [reader("r1"), reader("r2"), writer("w2")];
        drop(held);
        first.join().unwrap();
        rest.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(log.take(), ["w1", "w2", "r1", "r2"]);
    });
}

// GV-139, H16
#[test]
fn a_writer_that_leaves_lets_the_readers_behind_it_in() {
    let _watch = watch();
    runtime(1).run(|| {
        let lock = Arc::new(RwLock::new(()));
        let held = lock.read();
        let read = |lock: &Arc<RwLock<()>>| {
            let lock = lock.clone();
            started(move || drop(lock.read()))
        };
        let cancelled = {
            let lock = lock.clone();
            started(move || drop(lock.write()))
        };
        let behind = read(&lock);
        cancelled.cancel();
        assert!(cancelled.join().is_err());
        behind.join().expect("a reader beside a reader");
        let late = {
            let lock = lock.clone();
            started(move || lock.write_timeout(ms(1)).is_none())
        };
        let behind = read(&lock);
        assert!(late.join().unwrap());
        behind.join().unwrap();
        drop(held);
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn readers_and_writers_on_tasks_and_threads_keep_the_value_whole() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let lock = Arc::new(RwLock::new((0_u64, 0_u64)));
        let body = |lock: &RwLock<(u64, u64)>, seed| {
            let mut random = Random::seeded(seed);
            for _ in 0..500 {
                match random.below(4) {
                    0 => {
                        let mut pair = lock.write();
                        pair.0 += 1;
                        yield_now();
                        pair.1 += 1;
                        if random.below(2) == 0 {
                            let pair = RwLockWriteGuard::downgrade(pair);
                            assert_eq!(pair.0, pair.1);
                        }
                    }
                    1 => {
                        if let Some(pair) = lock.read_timeout(Duration::from_micros(random.below(50))) {
                            assert_eq!(pair.0, pair.1);
                        }
                    }
                    _ => {
                        let pair = lock.read();
                        assert_eq!(pair.0, pair.1);
                        if random.below(8) == 0 {
                            yield_now();
                        }
                    }
                }
            }
        };
        let tasks: Vec<_> = (1..=8)
            .map(|seed| {
                let lock = lock.clone();
                runtime.spawn(move || body(&lock, seed))
            })
            .collect();
        body(&lock, 99);
        tasks.into_iter().for_each(|t| t.join().unwrap());
        let pair = lock.try_write().expect("everything has been given back");
        assert_eq!(pair.0, pair.1);
    }
}

// ---- the recursive lock and the condition

// GV-142
#[test]
fn an_rlock_belongs_to_the_running_task_or_greenlet() {
    let _watch = watch();
    runtime(1).run(|| {
        let lock = RLock::new();
        let outer = lock.lock();
        let inner = lock.try_lock().expect("the owner may lock again");
        assert!(lock.is_owned() && lock.is_locked());
        let other = {
            let lock = lock.clone();
            spawn(move || (lock.is_owned(), lock.try_lock().is_none(), lock.lock_timeout(ms(1)).is_none()))
        };
        assert_eq!(other.join().unwrap(), (false, true, true));
        // A generator is part of whoever resumed it, a greenlet is not.
        let generator = Generator::new({
            let lock = lock.clone();
            move |y: &Yielder<bool>| y.yield_(lock.is_owned())
        });
        assert!(generator.into_iter().all(|owned| owned));
        let greenlet = Greenlet::new({
            let lock = lock.clone();
            move |_| lock.is_owned()
        });
        assert!(!greenlet.switch(true) && lock.is_owned());
        drop(outer);
        assert!(lock.is_owned());
        yield_now();
        drop(inner);
        assert!(!lock.is_owned() && !lock.is_locked());
        assert_eq!(format!("{lock:?}"), "RLock { locked: false, owned: false }");
        let waiting = {
            let held = lock.lock();
            let lock = lock.clone();
            let waiting = started(move || drop((lock.lock(), lock.lock())));
            assert!(!waiting.is_finished());
            drop(held);
            waiting
        };
        waiting.join().unwrap();
    });
    let lock = RLock::new();
    let _held = lock.lock();
    thread::scope(|s| s.spawn(|| assert!(lock.lock_deadline(Instant::now()).is_none())).join().unwrap());
}

#[test]
fn a_condition_waits_with_every_level_unlocked() {
    let _watch = watch();
    runtime(1).run(|| {
        let (condition, log) = (Condition::new(), Log::default());
        let waiters: Vec<_> = (0..3)
            .map(|n| {
                let (condition, log) = (condition.clone(), log.clone());
                started(move || {
                    let _outer = condition.lock();
                    let inner = condition.lock();
                    inner.wait();
                    assert!(condition.is_owned());
                    log.push(format!("{n}"));
                })
            })
            .collect();
        let guard = condition.try_lock().expect("those who wait do not hold it");
        guard.notify(2);
        yield_now();
        assert_eq!(log.len(), 0, "they lock again before they go on");
        drop(guard);
        until(|| log.len() == 2);
        assert_eq!(log.take(), ["0", "1"]);
        condition.lock().notify_one();
        waiters.into_iter().for_each(|w| w.join().unwrap());
        assert!(!condition.lock().wait_timeout(ms(1)));
        assert!(
            !condition.lock().wait_for_timeout(ms(1), || false) && condition.lock().wait_for_timeout(ms(1), || true)
        );
        assert!(condition.try_lock().is_some());
    });
}

// H16
#[test]
fn a_cancelled_waiter_of_a_condition_locks_again_before_it_unwinds() {
    let _watch = watch();
    runtime(1).run(|| {
        let condition = Condition::new();
        let log = Log::default();
        let waiter = {
            let (condition, log) = (condition.clone(), log.clone());
            started(move || {
                let guard = condition.lock();
                let _says = common::OnDrop(|| log.push(format!("owned: {}", condition.is_owned())));
                guard.wait();
            })
        };
        let held = condition.lock();
        waiter.cancel();
        yield_now();
        assert!(!waiter.is_finished());
        drop(held);
        assert!(waiter.join().unwrap_err().is_cancelled());
        assert_eq!(log.take(), ["owned: true"]);
        assert!(condition.try_lock().is_some());
    });
}

/// Where it must not wait it does not give the lock up either: to get it back might be a wait.
#[test]
fn a_condition_that_must_not_wait_keeps_its_lock() {
    let _watch = watch();
    let (condition, contender) = (Condition::new(), Arc::new(AtomicBool::new(false)));
    let guard = condition.lock();
    let other = thread::spawn({
        let (condition, contender) = (condition.clone(), contender.clone());
        move || {
            let _guard = condition.lock();
            contender.store(true, Ordering::SeqCst);
        }
    });
    let begun = Instant::now();
    // So long that a lock which was given up would be handed to whoever waits for it.
    while begun.elapsed() < ms(20) {
        let text = panic_text(|| no_suspend(|| guard.wait_timeout(ms(10_000))));
        assert!(text.starts_with("cannot wait inside `no_suspend`"), "{text}");
        assert!(condition.is_owned() && !contender.load(Ordering::SeqCst));
    }
    drop(guard);
    other.join().unwrap();
    assert!(contender.load(Ordering::SeqCst));
    // Nor does a condition variable.
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    let guard = mutex.lock();
    let text = panic_text(|| no_suspend(|| drop(condvar.wait(guard))));
    assert!(text.starts_with("cannot wait inside `no_suspend`"), "{text}");
    assert!(mutex.try_lock().is_some());
}

// ---- what is done once, and what is waited for once

#[test]
fn a_lazy_cell_makes_its_value_once_and_again_if_that_failed() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (calls, gate) = (Arc::new(AtomicUsize::new(0)), Event::new());
            let cell = Arc::new(LazyCell::new({
                let (calls, gate) = (calls.clone(), gate.clone());
                move || {
                    let call = calls.fetch_add(1, Ordering::SeqCst);
                    gate.wait();
                    assert!(call > 1, "not yet");
                    call
                }
            }));
            assert!(LazyCell::get(&cell).is_none());
            // Cancelled while it makes the value: the next one tries.
            let first = spawn({
                let cell = cell.clone();
                move || **cell
            });
            until(|| calls.load(Ordering::SeqCst) == 1);
            let others: Vec<_> = (0..10)
                .map(|_| {
                    let cell = cell.clone();
                    spawn(move || *LazyCell::force(&cell))
                })
                .collect();
            first.kill();
            until(|| calls.load(Ordering::SeqCst) == 2);
            gate.set();
            let ended: Vec<_> = others.into_iter().map(JoinHandle::join).collect();
            let (made, failed): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
            assert_eq!((made.len(), failed.len()), (9, 1), "one has failed");
            assert!(made.into_iter().all(|value| value.unwrap() == 2));
            assert_eq!((LazyCell::get(&cell), calls.load(Ordering::SeqCst)), (Some(&2), 3));
        });
    }
    assert_eq!(*LazyCell::<u32>::default(), 0);
    assert_eq!(format!("{:?}", LazyCell::<u32>::default()), "LazyCell(None)");
}

#[test]
fn who_waits_for_others_to_be_done_may_have_enough_of_it() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (group, once, cell) = (WaitGroup::new(), Once::new(), OnceCell::new());
            let member = group.clone();
            assert!(!group.clone().wait_timeout(ms(1)) && !group.wait_deadline(Instant::now()));
            assert!(!once.wait_timeout(ms(1)) && !once.wait_deadline(Instant::now()));
            assert_eq!((cell.wait_timeout(ms(1)), cell.wait_deadline(Instant::now())), (None, None));
            let waiting = member.clone();
            scope(|s| {
                s.spawn(|| drop(member));
                s.spawn(|| once.call_once(yield_now));
                s.spawn(|| cell.set(7).unwrap());
                assert!(waiting.wait_timeout(ms(60_000)));
                assert!(once.wait_deadline(Instant::now() + ms(60_000)));
                assert_eq!(cell.wait_timeout(ms(60_000)), Some(&7));
            });
            assert!(once.wait_timeout(Duration::ZERO) && cell.wait_deadline(Instant::now()).is_some());
        });
    }
}

// ---- everywhere

/// A task that is left behind by its runtime, after it was woken to take the lock, does not keep others from it.
#[test]
fn a_waiter_that_is_left_behind_passes_its_turn_on() {
    let _watch = watch();
    let mutex = Arc::new(Mutex::new(0));
    let guard = mutex.lock();
    let rt = runtime(1);
    let (stop, waits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let started = Arc::new(AtomicUsize::new(0));
    let sleeps = || {
        let started = started.clone();
        move || {
            started.fetch_add(1, Ordering::SeqCst);
            sleep(FOR_EVER);
        }
    };
    // What waits in a destructor is not cancelled there. So many take turns that the worker looks at its end before the
    // one that waits for the lock has its own.
    for _ in 0..200 {
        let (stop, sleeps) = (stop.clone(), sleeps());
        drop(rt.spawn(move || {
            let _busy = OnDrop(|| until(|| stop.load(Ordering::SeqCst)));
            sleeps();
        }));
    }
    drop(rt.spawn({
        let (mutex, waits, sleeps) = (mutex.clone(), waits.clone(), sleeps());
        move || {
            let _locks = OnDrop(|| {
                waits.store(true, Ordering::SeqCst);
                *mutex.lock() += 1;
            });
            sleeps();
        }
    }));
    let ((held, is_held), (go_on, may_go_on)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    drop(rt.spawn({
        let sleeps = sleeps();
        move || {
            let _holds = OnDrop(|| {
                until(|| waits.load(Ordering::SeqCst));
                // On one worker, it waits for the lock by now. This holds the worker.
                held.send(()).unwrap();
                _ = may_go_on.recv();
            });
            sleeps();
        }
    }));
    until(|| started.load(Ordering::SeqCst) == 202);
    let ends = thread::spawn(move || rt.shutdown(ms(3000)).is_err());
    is_held.recv().unwrap();
    let (done, are_done) = std::sync::mpsc::channel();
    for _ in 0..3 {
        let (mutex, done) = (mutex.clone(), done.clone());
        thread::spawn(move || {
            *mutex.lock() += 10;
            done.send(()).unwrap();
        });
    }
    // The deadline has passed: tasks are left behind as soon as the worker looks.
    assert!(ends.join().unwrap());
    drop(guard);
    go_on.send(()).unwrap();
    (0..3).for_each(|_| are_done.recv().unwrap());
    stop.store(true, Ordering::SeqCst);
    assert!(*mutex.lock() >= 30);
}

// H17
#[test]
fn a_neighbour_in_the_middle_of_its_unwind_disturbs_no_lock() {
    let _watch = watch();
    runtime(1).run(|| {
        let (mutex, go) = (Arc::new(Mutex::new(0)), Event::new());
        let unwinding = {
            let go = go.clone();
            started(move || {
                let _waits = common::OnDrop(move || go.wait());
                panic!("unwinds, and waits in a destructor");
            })
        };
        let held = mutex.lock();
        let other = {
            let mutex = mutex.clone();
            started(move || {
                let mut guard = mutex.lock();
                *guard += 1;
                panic!("with the lock");
            })
        };
        drop(held);
        assert!(other.join().is_err());
        assert_eq!(*mutex.lock(), 1);
        go.set();
        assert!(unwinding.join().is_err());
    });
}

// H46
#[test]
fn locks_work_between_runtimes() {
    let _watch = watch();
    let (one, other) = (runtime(2), runtime(1));
    let lock = Arc::new(Mutex::new(0));
    let (sender, receiver) = channel::bounded(1);
    let body = move || {
        for _ in 0..1000 {
            *lock.lock() += 1;
        }
        sender.send(*lock.lock()).unwrap();
    };
    drop(one.spawn(body.clone()));
    drop(other.spawn(body));
    assert_eq!(receiver.iter().take(2).max(), Some(2000));
}

#[test]
fn a_wait_does_not_hold_the_worker() {
    let _watch = watch();
    runtime(1).run(|| {
        let mutex = Arc::new(Mutex::new(()));
        let goes_on = Event::new();
        let holder = {
            let (mutex, goes_on) = (mutex.clone(), goes_on.clone());
            started(move || {
                let _guard = mutex.lock();
                goes_on.wait();
            })
        };
        let waiter = {
            let mutex = mutex.clone();
            started(move || drop(mutex.lock()))
        };
        for _ in 0..3 {
            // Others run meanwhile.
            sleep(ms(1));
            assert!(!waiter.is_finished());
        }
        goes_on.set();
        waiter.join().unwrap();
        holder.join().unwrap();
    });
}
