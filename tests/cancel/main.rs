//! Cancelling at every kind of wait, at every moment; destructors that a cancel runs; many cancels at once. C.2, H12 to H16,
//! H48.

#![cfg(feature = "runtime")]

#[path = "../common/mod.rs"]
mod common;
mod kinds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{FOR_EVER, Log, OnDrop, Tally, hold_thread, ms, reports, rounds, until, watch};
use kinds::{Completion, Kind, kinds};
use osier::sync::{Channel, Condvar, Mutex, Queue, RwLock, Semaphore, channel};
use osier::time::timeout;
use osier::{Generator, Runtime, Yielder, actor, catch_exit, run, sleep, spawn, task, yield_now};

fn one_worker() -> Runtime {
    Runtime::builder().workers(1).build().unwrap()
}

/// How a wait is given up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Cancel,
    Timeout,
}

/// What became of a task that waited.
#[derive(Debug, PartialEq)]
enum Became {
    Ended,
    GivenUp,
}

/// Spawns a task that does `f`, is given up by a cancel or after `limit`, and owns a token.
fn given_up_by(
    end: End,
    limit: Duration,
    tally: &Tally,
    f: impl FnOnce() + Send + 'static,
) -> osier::JoinHandle<Became> {
    let token = tally.token();
    spawn(move || {
        let _token = token;
        match end {
            End::Cancel => {
                f();
                Became::Ended
            }
            End::Timeout => timeout(limit, f).map_or(Became::GivenUp, |()| Became::Ended),
        }
    })
}

/// What became of such a task, which is cancelled if it is to be given up by that.
fn end(end: End, waiter: osier::JoinHandle<Became>) -> Became {
    if end == End::Cancel {
        waiter.cancel();
    }
    waiter.join().unwrap_or_else(|error| {
        assert!(error.is_cancelled() && end == End::Cancel, "{error:?}");
        Became::GivenUp
    })
}

/// Runs `body` with every kind and every way to give up, in a task that waits on the only worker; again, with a longer time
/// limit, as long as that was too short for it.
fn for_each_kind(body: impl Fn(Kind, End, Duration, &Tally) -> bool + Send + Sync) {
    let _watch = watch();
    let count = one_worker().run(|| kinds().len());
    for (n, how) in (0..count).flat_map(|n| [(n, End::Cancel), (n, End::Timeout)]) {
        let mut limit = ms(4);
        loop {
            let tally = Tally::default();
            let fits = one_worker().run(|| body(kinds().swap_remove(n), how, limit, &tally));
            tally.assert_all_dropped(tally.made());
            if fits {
                break;
            }
            limit *= 2;
        }
    }
}

// H16
#[test]
fn given_up_before_the_wait_it_does_not_wait() {
    for_each_kind(|Kind { name, wait, complete, next, .. }, how, _, tally| {
        let waiter = given_up_by(how, Duration::ZERO, tally, move || {
            if how == End::Cancel {
                task::current().cancel();
            }
            wait();
        });
        while !waiter.is_finished() {
            yield_now();
        }
        assert_eq!(end(how, waiter), Became::GivenUp, "{name}, {how:?}");
        complete();
        next();
        true
    });
}

// H16
#[test]
fn given_up_while_it_is_queued_it_leaves_the_queue_and_takes_nothing() {
    for_each_kind(|Kind { name, wait, complete, next, .. }, how, limit, tally| {
        // What ends by itself must not do so before it is given up.
        if name == "sleep" && (how == End::Timeout || limit > ms(4)) {
            return true;
        }
        let began = Instant::now();
        let waiter = given_up_by(how, limit, tally, wait);
        yield_now();
        yield_now();
        let became = end(how, waiter);
        if name == "sleep" && began.elapsed() >= ms(3) {
            return true;
        }
        assert_eq!(became, Became::GivenUp, "{name}, {how:?}");
        complete();
        next();
        true
    });
}

// H16, GV-055
#[test]
fn given_up_while_it_is_waking_it_takes_what_has_come() {
    for_each_kind(|Kind { name, wait, complete, next, completion }, how, limit, tally| {
        let log = Log::default();
        let limit = if completion == Completion::Later { FOR_EVER } else { limit };
        let waiter = given_up_by(how, limit, tally, {
            let log = log.clone();
            move || {
                wait();
                log.push("returned");
                sleep(FOR_EVER);
            }
        });
        yield_now();
        yield_now();
        if waiter.is_finished() {
            // The time was up before anything came: it shall be up afterwards.
            return false;
        }
        complete();
        match completion {
            Completion::AtOnce => {}
            Completion::Retry => yield_now(),
            Completion::Later => {
                while log.len() == 0 {
                    yield_now();
                }
            }
        }
        if how == End::Timeout && completion == Completion::Later {
            // Its time is not up for long.
            waiter.cancel();
            assert!(waiter.join().unwrap_err().is_cancelled());
        } else {
            if how == End::Timeout {
                hold_thread(limit);
            }
            assert_eq!(end(how, waiter), Became::GivenUp, "{name}, {how:?}");
        }
        if completion == Completion::Retry {
            next();
        } else {
            assert_eq!(log.take(), ["returned"], "{name}, {how:?}: what has come is returned, the next wait ends");
        }
        true
    });
}

// H16
#[test]
fn given_up_after_the_wait_it_keeps_what_it_got() {
    for_each_kind(|Kind { name, wait, complete, .. }, how, _, tally| {
        let waiter = given_up_by(how, FOR_EVER, tally, move || {
            wait();
            if how == End::Cancel {
                task::current().cancel();
            }
        });
        yield_now();
        complete();
        assert_eq!(waiter.join().unwrap(), Became::Ended, "{name}, {how:?}");
        true
    });
}

// H16
#[test]
fn an_actor_that_is_cancelled_while_it_waits_for_a_message_ends_and_the_message_comes_back() {
    let _watch = watch();
    one_worker().run(|| {
        let tally = Tally::default();
        let token = tally.token();
        let address = actor::Builder::new().spawn(move |inbox: &actor::Mailbox<u32>| {
            let _token = token;
            loop {
                inbox.recv();
            }
        });
        yield_now();
        yield_now();
        address.task().kill();
        assert!(address.send(1).is_err());
        tally.assert_all_dropped(1);
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

#[test]
fn a_cancel_that_is_swallowed_is_told_each_time() {
    let _watch = watch();
    let told = reports(|| {
        run(|| {
            let (started, starts) = channel::bounded(1);
            let t = task::Builder::new().name("swallows thrice").spawn(move || {
                started.send(()).unwrap();
                for _ in 0..3 {
                    _ = catch_unwind(|| sleep(FOR_EVER));
                }
                sleep(FOR_EVER);
            });
            starts.recv().unwrap();
            t.cancel();
            assert!(t.join().unwrap_err().is_cancelled());
        });
    });
    let told: Vec<_> = told.iter().filter(|report| report.contains("'swallows thrice'")).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|report| report.contains("swallowed its cancellation")), "{told:?}");
}

#[test]
fn an_expiry_that_is_swallowed_is_told_each_time() {
    let _watch = watch();
    let told = reports(|| {
        let t = task::Builder::new().name("swallows its time").spawn(|| {
            timeout(ms(1), || {
                for _ in 0..2 {
                    _ = catch_unwind(|| sleep(FOR_EVER));
                }
                sleep(FOR_EVER);
            })
        });
        assert!(t.join().unwrap().is_err());
    });
    assert_eq!(told.iter().filter(|report| report.contains("'swallows its time'")).count(), 2, "{told:?}");
}

/// A destructor that waits twice, and counts if it gets to its end.
fn waits_when_dropped(ends: &Arc<AtomicUsize>) -> OnDrop<impl FnMut() + Send + use<>> {
    let ends = ends.clone();
    OnDrop(move || {
        sleep(ms(1));
        yield_now();
        ends.fetch_add(1, Ordering::SeqCst);
    })
}

// What such a task owns is dropped by itself, on its worker, with the request that ended it still there.
#[test]
fn what_a_task_owns_that_never_runs_is_dropped_in_peace() {
    let _watch = watch();
    let ends = Arc::new(AtomicUsize::new(0));
    let told = reports(|| {
        one_worker().run(|| {
            let name = || task::Builder::new().name("never runs");
            let owns = (waits_when_dropped(&ends), waits_when_dropped(&ends));
            let fresh = name().spawn(move || drop(owns));
            fresh.cancel();
            assert!(fresh.join().unwrap_err().is_cancelled());
            assert_eq!(ends.load(Ordering::SeqCst), 2, "before it has ended");
            // Between two steps, when its turn comes next.
            let (steps, stepped) = channel::bounded(1);
            let state = (waits_when_dropped(&ends), waits_when_dropped(&ends));
            let between = name().spawn_stepped(state, move |_| {
                _ = steps.try_send(());
                task::Step::<()>::Again
            });
            stepped.recv().unwrap();
            between.cancel();
            assert!(between.join().unwrap_err().is_cancelled());
            assert_eq!(ends.load(Ordering::SeqCst), 4);
            // A result that nobody takes, of a task that was cancelled too late.
            let result = (waits_when_dropped(&ends), waits_when_dropped(&ends));
            let (started, starts) = channel::bounded(1);
            let late = name().spawn(move || {
                _ = started.send(task::current());
                task::current().cancel();
                result
            });
            drop(late);
            _ = starts.recv().unwrap().join();
            assert_eq!(ends.load(Ordering::SeqCst), 6);
        });
    });
    assert!(!told.iter().any(|report| report.contains("'never runs'")), "{told:?}");
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

// What a drop swallows comes again, and whoever drops in a loop would never give way.
#[test]
fn a_task_whose_cancel_ends_in_drops_lets_others_run() {
    let _watch = watch();
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stops, counts) = (stop.clone(), rounds.clone());
        let dropping = spawn(move || {
            while !stops.load(Ordering::SeqCst) {
                let mut waits_when_closed = Generator::new(|y: &Yielder<u8>| {
                    _ = catch_exit(|| y.yield_(1));
                    yield_now();
                });
                assert_eq!(waits_when_closed.next(), Some(1));
                drop(waits_when_closed);
                counts.fetch_add(1, Ordering::SeqCst);
            }
        });
        until(|| rounds.load(Ordering::SeqCst) > 2);
        dropping.cancel();
        let before = rounds.load(Ordering::SeqCst);
        until(|| rounds.load(Ordering::SeqCst) > before + 10);
        stop.store(true, Ordering::SeqCst);
        dropping.join().unwrap();
    });
}

// ---- what comes after a cancel, before the cancelled task has run, is not lost with it

/// Waits in `take` with two tasks, of which the first is cancelled and then `deliver` called once: what it brings is the
/// second's. Also from a shield, inside which a cancel ends nothing.
fn goes_to_the_next(take: impl Fn() + Clone + 'static, deliver: impl Fn(), is_left: impl Fn() -> bool) {
    // On this worker: when we have yielded they wait.
    let waits = |is_shielded: bool| {
        let take = take.clone();
        let task = osier::spawn_local(move || {
            if is_shielded {
                return task::shield(take);
            }
            take();
            // Where what was taken would be lost.
            sleep(ms(0));
        });
        yield_now();
        assert!(!task.is_finished());
        task
    };
    let [first, second] = [waits(false), waits(false)];
    first.cancel();
    deliver();
    assert!(first.join().unwrap_err().is_cancelled());
    second.join().unwrap();
    // Alone, it leaves what was delivered to whoever comes.
    let alone = waits(false);
    alone.cancel();
    deliver();
    assert!(alone.join().unwrap_err().is_cancelled());
    assert!(is_left());
    let shielded = waits(true);
    shielded.cancel();
    deliver();
    shielded.join().unwrap();
}

// GV-055, GV-109, GV-139, H16
#[test]
fn what_comes_after_a_cancel_goes_to_the_next() {
    let _watch = watch();
    for workers in [1, 2] {
        Runtime::builder().workers(workers).build().unwrap().run(|| {
            let queue = Queue::new();
            let q = queue.clone();
            goes_to_the_next(move || _ = q.get().unwrap(), || queue.put(1).unwrap(), || queue.try_get().is_ok());

            let full = Queue::bounded(1);
            full.put(0).unwrap();
            let q = full.clone();
            let room = || _ = full.get().unwrap();
            goes_to_the_next(move || q.put(1).unwrap(), room, || full.is_empty() && full.put(0).is_ok());

            let channel = Channel::new();
            let c = channel.clone();
            let hand_over = || {
                let channel = channel.clone();
                spawn(move || channel.put(1).unwrap());
            };
            goes_to_the_next(move || _ = c.get().unwrap(), hand_over, || channel.get().is_ok());

            let (sender, receiver) = channel::unbounded();
            let r = receiver.clone();
            goes_to_the_next(move || _ = r.recv().unwrap(), || sender.send(1).unwrap(), || receiver.try_recv().is_ok());

            let (sender, receiver) = channel::bounded(1);
            let r = receiver.clone();
            let select = move || {
                osier::select! {
                    recv(r) -> value => _ = value.unwrap(),
                    recv(channel::never::<u32>()) -> _ => unreachable!("nothing is sent"),
                }
            };
            goes_to_the_next(select, || sender.send(1).unwrap(), || receiver.try_recv().is_ok());

            let permits = Semaphore::new(0);
            let p = permits.clone();
            goes_to_the_next(move || p.acquire(), || permits.release(), || permits.try_acquire());
        });
    }
}

// H16
#[test]
fn who_was_cancelled_before_is_not_notified() {
    let _watch = watch();
    for workers in [1, 2] {
        Runtime::builder().workers(workers).build().unwrap().run(|| {
            let pair = Arc::new((Mutex::new(0), Condvar::new()));
            let waits = || {
                let pair = pair.clone();
                let task = osier::spawn_local(move || {
                    let mut woken = pair.1.wait(pair.0.lock());
                    *woken += 1;
                    drop(woken);
                    sleep(ms(0));
                });
                yield_now();
                task
            };
            let [first, second] = [waits(), waits()];
            first.cancel();
            pair.1.notify_one();
            assert!(first.join().unwrap_err().is_cancelled());
            second.join().unwrap();
            assert_eq!(*pair.0.lock(), 1);
        });
    }
}

// H16: a cancel by one thread, a delivery by another: each item is with somebody, or still there.
#[test]
fn no_item_is_lost_in_many_cancels() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(2).build().unwrap();
    runtime.run(|| {
        let queue = Queue::new();
        let permits = Semaphore::new(0);
        for round in 0..rounds(2000) {
            let getter = || {
                let (queue, permits) = (queue.clone(), permits.clone());
                spawn(move || {
                    if round % 2 == 0 {
                        queue.get().unwrap();
                    } else {
                        permits.acquire();
                    }
                })
            };
            let getters = [getter(), getter()];
            (0..round % 3).for_each(|_| yield_now());
            let canceller = thread::spawn({
                let first = getters[0].task();
                move || first.cancel()
            });
            if round % 2 == 0 {
                queue.put(1).unwrap();
            } else {
                permits.release();
            }
            canceller.join().unwrap();
            getters[1].cancel();
            let got = getters.into_iter().filter_map(|getter| getter.join().ok()).count();
            let left = if round % 2 == 0 { queue.try_get().is_ok() } else { permits.try_acquire() };
            assert_eq!(got + usize::from(left), 1, "round {round}");
        }
    });
}

// H12: what a destructor joins in an unwind is a task of its own, and can be cancelled.
#[test]
fn a_child_that_is_joined_in_an_unwind_is_not_the_one_that_unwinds() {
    let _watch = watch();
    for workers in [1, 2] {
        Runtime::builder().workers(workers).build().unwrap().run(|| {
            let mut joiner = osier::spawn_local(|| {
                let _joins = OnDrop(|| {
                    let child = spawn(|| {
                        let barrier = osier::sync::Barrier::new(2);
                        _ = barrier.wait();
                    });
                    let ends = child.task();
                    // On this worker, so it runs when the join below waits.
                    drop(osier::spawn_local(move || {
                        sleep(ms(5));
                        ends.cancel();
                    }));
                    assert!(child.join().unwrap_err().is_cancelled());
                });
                std::panic::resume_unwind(Box::new("on purpose"));
            });
            assert!(joiner.join_timeout(ms(5000)).unwrap_err().is_panic());
        });
    }
}

// H12: a note of an unwind that is over keeps nobody from being cancelled, nor from what a neighbour that unwinds waits for.
#[test]
fn an_old_note_of_an_unwind_does_not_put_a_cancel_off() {
    let _watch = watch();
    one_worker().run(|| {
        let (requests, asked) = channel::unbounded::<u32>();
        let (answers, answered) = channel::unbounded::<u32>();
        let answerer = osier::spawn_local(move || {
            let mut g = Generator::new(move |y: &Yielder<()>| {
                y.yield_(());
                answers.send(asked.recv().unwrap()).unwrap();
            });
            g.next();
            // Ended by std, which tells nobody.
            assert!(catch_unwind(|| panic!("on purpose")).is_err());
            g.next();
        });
        yield_now();
        let cancels = answerer.task();
        let mut unwinds = osier::spawn_local(move || {
            let _asks = OnDrop(|| {
                cancels.cancel();
                _ = requests.send(7);
                assert!(answered.recv().is_err(), "who would answer was cancelled before");
            });
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(unwinds.join_timeout(ms(5000)).unwrap_err().is_panic());
        assert!(answerer.join().unwrap_err().is_cancelled());
    });
}
