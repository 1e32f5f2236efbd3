//! Cancelling at every kind of wait, at every moment; destructors that a cancel runs; many cancels at once. C.2, H12 to H16,
//! H48.

#![cfg(feature = "runtime")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{FOR_EVER, Log, OnDrop, Tally, hold_thread, ms, watch};
use osier::sync::{AsyncResult, Channel, Condvar, Event, Mutex, Queue, RwLock, Semaphore, WaitGroup, channel};
use osier::time::timeout;
use osier::{Generator, Runtime, Yielder, catch_exit, run, sleep, spawn, task, yield_now};

fn one_worker() -> Runtime {
    Runtime::builder().workers(1).build().unwrap()
}

type Act = Box<dyn FnOnce() + Send>;

/// A kind of wait: what waits, what ends it, and what must be possible afterwards if the wait was cancelled.
struct Kind {
    name: &'static str,
    wait: Act,
    complete: Act,
    /// Shows that the cancelled wait took nothing with it; called after `complete`, may wait.
    next: Act,
}

fn kind(
    name: &'static str,
    wait: impl FnOnce() + Send + 'static,
    complete: impl FnOnce() + Send + 'static,
    next: impl FnOnce() + Send + 'static,
) -> Kind {
    Kind { name, wait: Box::new(wait), complete: Box::new(complete), next: Box::new(next) }
}

/// One of each, to be used once. Called in a task, which holds what the waits wait for.
fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (name, capacity) in [("recv", 1), ("recv of a rendezvous", 0)] {
        let (sender, receiver) = channel::bounded(capacity);
        let (waits, next) = (receiver.clone(), receiver);
        let complete = move || drop(spawn(move || sender.send(7)));
        kinds.push(kind(
            name,
            move || assert_eq!(waits.recv(), Ok(7)),
            complete,
            move || {
                assert_eq!(next.recv(), Ok(7));
            },
        ));
    }
    {
        let (sender, receiver) = channel::bounded(1);
        sender.send(1).unwrap();
        let (again, rest) = (sender.clone(), receiver.clone());
        kinds.push(kind(
            "send",
            move || sender.send(2).unwrap(),
            move || assert_eq!(receiver.recv(), Ok(1)),
            move || {
                again.send(3).unwrap();
                assert_eq!(rest.recv(), Ok(3), "what was not sent is not there");
            },
        ));
    }
    {
        let permits = Arc::new(Semaphore::new(0));
        let [waits, releases, next] = [permits.clone(), permits.clone(), permits];
        kinds.push(kind("acquire", move || waits.acquire(), move || releases.release(), move || next.acquire()));
    }
    {
        let event = Arc::new(Event::new());
        let [waits, sets, next] = [event.clone(), event.clone(), event];
        kinds.push(kind("event", move || waits.wait(), move || sets.set(), move || next.wait()));
    }
    {
        let result = AsyncResult::<u32>::new();
        let [waits, sets, next] = [result.clone(), result.clone(), result];
        kinds.push(kind(
            "get",
            move || assert_eq!(waits.get().unwrap(), 5),
            move || sets.set(5).unwrap(),
            move || assert_eq!(next.get().unwrap(), 5),
        ));
    }
    {
        let group = WaitGroup::new();
        let waits = group.clone();
        kinds.push(kind("wait group", move || waits.wait(), move || drop(group), || ()));
    }
    {
        let (stop, stopped) = channel::bounded::<()>(0);
        let joined = spawn(move || _ = stopped.recv());
        yield_now();
        let observer = joined.task();
        kinds.push(kind("join", move || joined.join().unwrap(), move || drop(stop), move || observer.join().unwrap()));
    }
    kinds
}

/// Runs `body` with every kind, in a task that waits on the only worker.
fn for_each_kind(body: impl Fn(Kind) + Send + Sync) {
    let count = one_worker().run(|| kinds().len());
    for n in 0..count {
        one_worker().run(|| body(kinds().swap_remove(n)));
    }
}

// H16
#[test]
fn cancelled_before_the_wait_it_does_not_wait() {
    let _watch = watch();
    for_each_kind(|Kind { name, wait, complete, next }| {
        let waiter = spawn(move || {
            task::current().cancel();
            wait();
        });
        assert!(waiter.join().unwrap_err().is_cancelled(), "{name}");
        complete();
        next();
    });
}

// H16
#[test]
fn cancelled_while_it_is_queued_it_leaves_the_queue_and_takes_nothing() {
    let _watch = watch();
    for_each_kind(|Kind { name, wait, complete, next }| {
        let waiter = spawn(wait);
        yield_now();
        yield_now();
        waiter.cancel();
        assert!(waiter.join().unwrap_err().is_cancelled(), "{name}");
        complete();
        next();
    });
}

// H16, GV-055
#[test]
fn cancelled_while_it_is_waking_it_takes_what_has_come() {
    let _watch = watch();
    for_each_kind(|Kind { name, wait, complete, .. }| {
        let log = Log::default();
        let waiter = spawn({
            let log = log.clone();
            move || {
                wait();
                log.push("returned");
                sleep(FOR_EVER);
            }
        });
        yield_now();
        yield_now();
        complete();
        if name.starts_with("recv") || name == "join" {
            // What it waits for comes from another task.
            while log.len() == 0 {
                yield_now();
            }
        }
        waiter.cancel();
        assert!(waiter.join().unwrap_err().is_cancelled(), "{name}");
        assert_eq!(log.take(), ["returned"], "{name}: what has come is returned, the next wait ends");
    });
}

// H16
#[test]
fn cancelled_after_the_wait_it_keeps_what_it_got() {
    let _watch = watch();
    for_each_kind(|Kind { name, wait, complete, .. }| {
        let waiter = spawn(move || {
            wait();
            task::current().cancel();
            "kept"
        });
        yield_now();
        complete();
        assert_eq!(waiter.join().unwrap(), "kept", "{name}");
    });
}

// H16
#[test]
fn a_cancelled_wait_for_a_lock_lets_the_next_one_have_it() {
    let _watch = watch();
    one_worker().run(|| {
        let lock = Arc::new(Mutex::new(0));
        let rw = Arc::new(RwLock::new(0));
        let (held, read) = (lock.lock(), rw.read());
        let spawn_waiters = || {
            [
                spawn({
                    let lock = lock.clone();
                    move || *lock.lock() += 1
                }),
                spawn({
                    let rw = rw.clone();
                    move || *rw.write() += 1
                }),
            ]
        };
        let (first, second) = (spawn_waiters(), spawn_waiters());
        (0..3).for_each(|_| yield_now());
        first.iter().for_each(osier::JoinHandle::cancel);
        first.into_iter().for_each(|t| assert!(t.join().unwrap_err().is_cancelled()));
        drop((held, read));
        second.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!((*lock.lock(), *rw.read()), (1, 1));
    });
}

// H12
#[test]
fn a_destructor_that_waits_twice_ends_and_the_task_counts_as_cancelled() {
    let _watch = watch();
    run(|| {
        let log = Log::default();
        let (started, starts) = channel::bounded(1);
        let t = spawn({
            let log = log.clone();
            move || {
                let _waits = OnDrop(|| {
                    sleep(ms(2));
                    log.push("first");
                    yield_now();
                    log.push("second");
                });
                started.send(()).unwrap();
                sleep(FOR_EVER);
            }
        });
        starts.recv().unwrap();
        t.cancel();
        assert!(t.join().unwrap_err().is_cancelled());
        assert_eq!(log.take(), ["first", "second"]);
    });
}

// H13
#[test]
fn a_task_that_swallows_every_cancel_is_left_behind_at_the_deadline() {
    let _watch = watch();
    let runtime = one_worker();
    let (started, starts) = channel::bounded(1);
    let swallowed = Arc::new(AtomicUsize::new(0));
    drop(runtime.spawn({
        let swallowed = swallowed.clone();
        move || {
            started.send(()).unwrap();
            loop {
                _ = catch_unwind(|| sleep(FOR_EVER));
                swallowed.fetch_add(1, Ordering::SeqCst);
            }
        }
    }));
    starts.recv().unwrap();
    let began = Instant::now();
    assert_eq!(runtime.shutdown(ms(200)).unwrap_err().leaked(), 1);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(swallowed.load(Ordering::SeqCst) > 1, "thrown again and again");
}

/// What tasks that are left behind wait for.
struct Places {
    mutex: Mutex<u32>,
    changed: Condvar,
    condition: Mutex<u32>,
    rw_lock: RwLock<u32>,
    semaphore: Semaphore,
    full: (channel::Sender<u32>, channel::Receiver<u32>),
    empty: (channel::Sender<u32>, channel::Receiver<u32>),
    queue: Queue<u32>,
    putting: Channel<u32>,
}

// H13
#[test]
fn a_task_that_is_left_behind_is_out_of_every_queue() {
    let _watch = watch();
    let runtime = one_worker();
    let places = Arc::new(Places {
        mutex: Mutex::new(0),
        changed: Condvar::new(),
        condition: Mutex::new(0),
        rw_lock: RwLock::new(0),
        semaphore: Semaphore::new(0),
        full: channel::bounded(1),
        empty: channel::bounded(1),
        queue: Queue::new(),
        putting: Channel::new(),
    });
    places.full.0.send(1).unwrap();
    let (mutex, rw_lock) = (places.mutex.lock(), places.rw_lock.read());
    let waits: [fn(&Places); 8] = [
        |p| drop(p.mutex.lock()),
        |p| drop(p.changed.wait(p.condition.lock())),
        |p| drop(p.rw_lock.write()),
        |p| p.semaphore.acquire(),
        |p| p.full.0.send(2).unwrap(),
        |p| _ = p.empty.1.recv(),
        |p| _ = p.queue.get(),
        |p| _ = p.putting.put(1),
    ];
    for wait in waits {
        let places = places.clone();
        drop(runtime.spawn(move || task::shield(|| wait(&places))));
    }
    // All of them wait. The second one is notified, and waits for its lock: through every cancel.
    assert!(runtime.wait_idle(Duration::from_secs(60)));
    let condition = places.condition.lock();
    places.changed.notify_one();
    assert!(runtime.wait_idle(Duration::from_secs(60)));
    assert_eq!(runtime.shutdown(ms(100)).unwrap_err().leaked(), waits.len() as u64);

    drop((mutex, rw_lock, condition));
    for mutex in [&places.mutex, &places.condition] {
        let count = || {
            for _ in 0..10 {
                let mut count = mutex.lock();
                *count += 1;
                // So long that the others come to wait.
                hold_thread(ms(1));
            }
        };
        thread::scope(|s| (0..3).for_each(|_| _ = s.spawn(count)));
        assert_eq!(*mutex.try_lock().unwrap(), 30);
    }
    assert!(places.rw_lock.try_write().is_some());
    places.semaphore.release();
    assert!(places.semaphore.try_acquire());
    assert_eq!((places.full.1.recv(), places.full.1.try_recv().is_err()), (Ok(1), true));
    places.empty.0.send(3).unwrap();
    assert_eq!(places.empty.1.try_recv(), Ok(3));
    places.queue.put(4).unwrap();
    assert_eq!(places.queue.try_get(), Ok(4));
    assert!(places.putting.try_get().is_err());
}

#[test]
fn of_many_cancels_at_once_one_is_delivered() {
    let _watch = watch();
    for _ in 0..50 {
        let caught = Arc::new(AtomicUsize::new(0));
        let (started, starts) = channel::bounded(1);
        let (go_on, goes_on) = channel::bounded::<()>(0);
        let t = spawn({
            let caught = caught.clone();
            move || {
                started.send(()).unwrap();
                task::shield(|| _ = goes_on.recv());
                while timeout(ms(3), || catch_exit(|| sleep(FOR_EVER)).is_err()) == Ok(true) {
                    caught.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        starts.recv().unwrap();
        thread::scope(|s| (0..4).for_each(|_| _ = s.spawn(|| t.cancel())));
        drop(go_on);
        t.join().unwrap();
        assert_eq!(caught.load(Ordering::SeqCst), 1, "requests made while one is pending merge");
    }
}

// H48
#[test]
fn a_destructor_run_by_a_cancel_may_do_all_that_a_task_may() {
    let _watch = watch();
    let tally = Tally::default();
    one_worker().run(|| {
        let (sender, receiver) = channel::bounded(1);
        sender.send(0).unwrap();
        let neighbour = || {
            let token = tally.token();
            spawn(move || {
                let _token = token;
                sleep(FOR_EVER);
            })
        };
        let (killed, bystander) = (neighbour(), neighbour());
        let mut generator = Generator::new({
            let token = tally.token();
            move |y: &Yielder<u32>| {
                let _token = token;
                y.yield_(1);
            }
        });
        let token = tally.token();
        let (started, starts) = channel::bounded(1);
        let t = spawn(move || {
            let mut state = Some((killed, sender));
            let mut inside = Generator::new(|y: &Yielder<u32>| y.yield_(1));
            inside.next();
            let mut inside = Some(inside);
            let _all = OnDrop(move || {
                let (killed, sender) = state.take().unwrap();
                killed.kill();
                assert!(killed.join().unwrap_err().is_cancelled());
                drop(inside.take());
                sender.send(1).unwrap();
                sleep(ms(2));
            });
            let _token = token;
            started.send(()).unwrap();
            sleep(FOR_EVER);
        });
        starts.recv().unwrap();
        generator.next();
        t.cancel();
        // While its destructor waits, a neighbour stays cancellable.
        yield_now();
        bystander.kill();
        assert_eq!(receiver.recv(), Ok(0));
        assert!(t.join().unwrap_err().is_cancelled());
        assert_eq!(receiver.recv(), Ok(1));
        drop(generator);
    });
    tally.assert_all_dropped(4);
}

// H14
#[test]
fn a_panic_contained_in_a_destructor_leaves_the_cancel() {
    let _watch = watch();
    run(|| {
        let t = spawn(|| {
            let _contains = OnDrop(|| _ = catch_unwind(AssertUnwindSafe(|| panic!("on purpose"))));
            task::current().cancel();
            sleep(FOR_EVER);
        });
        assert!(t.join().unwrap_err().is_cancelled());
    });
}
