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
use osier::sync::{
    AsyncResult, Barrier, Channel, Condvar, Event, JoinableQueue, Mutex, Once, Queue, RwLock, Semaphore, WaitGroup,
    channel,
};
use osier::time::timeout;
use osier::{Generator, Pool, Runtime, Yielder, actor, catch_exit, future, run, sleep, spawn, task, yield_now};

fn one_worker() -> Runtime {
    Runtime::builder().workers(1).build().unwrap()
}

/// A kind of wait: what waits, what ends it, and what must be possible afterwards if the wait was given up.
struct Kind {
    name: &'static str,
    wait: Box<dyn FnOnce() + Send>,
    complete: Box<dyn FnOnce()>,
    /// Shows that the wait that was given up took nothing with it; called after `complete`, may wait.
    next: Box<dyn FnOnce()>,
    completion: Completion,
}

/// How what a wait is for gets there.
#[derive(Clone, Copy, PartialEq)]
enum Completion {
    /// Within `complete`.
    AtOnce,
    /// Later: from another task, from a thread, from the system.
    Later,
    /// When another task has run once, whoever waits is told to try again, and may give up instead.
    Retry,
}

fn kind(
    name: &'static str,
    completion: Completion,
    wait: impl FnOnce() + Send + 'static,
    complete: impl FnOnce() + 'static,
    next: impl FnOnce() + 'static,
) -> Kind {
    Kind { name, completion, wait: Box::new(wait), complete: Box::new(complete), next: Box::new(next) }
}

/// Lets another task run `hold` and be in its middle, with what it needs, until the event that this gives is set.
fn held(hold: impl FnOnce(&dyn Fn()) + Send + 'static) -> Event {
    let (release, holds) = (Event::new(), Event::new());
    drop(spawn({
        let (release, holds) = (release.clone(), holds.clone());
        move || {
            hold(&|| {
                holds.set();
                release.wait();
            });
        }
    }));
    holds.wait();
    release
}

/// Copies for what holds or completes, what waits, and what comes next.
fn three<T: Clone>(object: T) -> [T; 3] {
    std::array::from_fn(|_| object.clone())
}

/// One of each, to be used once. Called in a task, which holds what the waits wait for.
fn kinds() -> Vec<Kind> {
    let mut kinds = messages();
    kinds.extend(locks());
    kinds.extend(queues());
    kinds.extend(tasks());
    #[cfg(feature = "net")]
    kinds.extend(descriptors());
    kinds
}

fn messages() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (name, capacity) in [("recv", 1), ("recv of a rendezvous", 0)] {
        let (sender, receiver) = channel::bounded(capacity);
        let (waits, next) = (receiver.clone(), receiver);
        let (wait, complete) = (move || assert_eq!(waits.recv(), Ok(7)), move || drop(spawn(move || sender.send(7))));
        kinds.push(kind(name, Completion::Later, wait, complete, move || assert_eq!(next.recv(), Ok(7))));
    }
    {
        let (sender, receiver) = channel::bounded(1);
        sender.send(1).unwrap();
        let (again, rest) = (sender.clone(), receiver.clone());
        let next = move || {
            again.send(3).unwrap();
            assert_eq!(rest.recv(), Ok(3), "what was not sent is not there");
        };
        let complete = move || assert_eq!(receiver.recv(), Ok(1));
        kinds.push(kind("send", Completion::AtOnce, move || sender.send(2).unwrap(), complete, next));
    }
    {
        let ((sender, receiver), (other, never)) = (channel::bounded(1), channel::bounded::<u32>(1));
        let next = receiver.clone();
        let wait = move || {
            let _open = &other;
            osier::select! {
                recv(never) -> _ => panic!("nobody sends there"),
                recv(receiver) -> value => assert_eq!(value, Ok(8)),
            }
        };
        let next = move || assert_eq!(next.recv(), Ok(8));
        kinds.push(kind("select", Completion::AtOnce, wait, move || sender.try_send(8).unwrap(), next));
    }
    {
        let [sets, waits, next] = three(Event::new());
        kinds.push(kind("event", Completion::AtOnce, move || waits.wait(), move || sets.set(), move || next.wait()));
    }
    {
        let [sets, waits, next] = three(Event::new());
        let wait = move || assert_eq!(osier::wait(&[&waits]).next(), Some(0));
        kinds.push(kind("wait", Completion::AtOnce, wait, move || sets.set(), move || next.wait()));
    }
    {
        let [sets, waits, next] = three(AsyncResult::<u32>::new());
        let (wait, next) = (move || assert_eq!(waits.get().unwrap(), 5), move || assert_eq!(next.get().unwrap(), 5));
        kinds.push(kind("get", Completion::AtOnce, wait, move || sets.set(5).unwrap(), next));
    }
    {
        let [sets, waits, next] = three(AsyncResult::<u32>::new());
        let wait = move || assert_eq!(future::wait(waits).unwrap(), 5);
        let next = move || assert_eq!(future::wait(next).unwrap(), 5);
        kinds.push(kind("future::wait", Completion::AtOnce, wait, move || sets.set(5).unwrap(), next));
    }
    {
        let (answers, go_on) = channel::bounded::<()>(0);
        let address = actor::Builder::new().spawn(move |inbox: &actor::Mailbox<actor::Reply<u32>>| {
            loop {
                let reply = inbox.recv();
                _ = go_on.recv();
                _ = reply.send(6);
            }
        });
        let next = address.clone();
        let wait = move || assert_eq!(address.ask(|reply| reply).unwrap(), 6);
        let next = move || assert_eq!(next.ask(|reply| reply).unwrap(), 6);
        kinds.push(kind("ask", Completion::Later, wait, move || drop(answers), next));
    }
    kinds
}

fn locks() -> Vec<Kind> {
    let mut kinds = Vec::new();
    {
        let [holds, waits, next] = three(Arc::new(Mutex::new(0)));
        let release = held(move |middle| {
            let _guard = holds.lock();
            middle();
        });
        let wait = move || *waits.lock() += 1;
        kinds.push(kind("lock", Completion::Retry, wait, move || release.set(), move || *next.lock() += 1));
    }
    {
        let [holds, waits, next] = three(Arc::new(RwLock::new(0)));
        let release = held(move |middle| {
            let _guard = holds.write();
            middle();
        });
        let wait = move || assert_eq!(*waits.read(), 0);
        kinds.push(kind("read", Completion::Retry, wait, move || release.set(), move || *next.write() += 1));
    }
    {
        let [holds, waits, next] = three(Arc::new(RwLock::new(0)));
        let release = held(move |middle| {
            let _guard = holds.read();
            middle();
        });
        let next = move || drop((next.read(), next.try_read().expect("no writer is in front")));
        kinds.push(kind("write", Completion::Retry, move || *waits.write() += 1, move || release.set(), next));
    }
    {
        let [notifies, waits, next] = three(Arc::new((Mutex::new(false), Condvar::new())));
        let wait = move || {
            let mut set = waits.0.lock();
            while !*set {
                set = waits.1.wait(set);
            }
        };
        let complete = move || {
            *notifies.0.lock() = true;
            notifies.1.notify_one();
        };
        kinds.push(kind("condvar", Completion::AtOnce, wait, complete, move || assert!(*next.0.lock())));
    }
    {
        let [releases, waits, next] = three(Arc::new(Semaphore::new(0)));
        let (wait, complete) = (move || waits.acquire(), move || releases.release());
        kinds.push(kind("acquire", Completion::AtOnce, wait, complete, move || next.acquire()));
    }
    {
        let [comes, waits, next] = three(Barrier::new(2));
        let complete = move || drop(spawn(move || _ = comes.wait()));
        let next = move || assert!(next.wait().is_ok(), "whoever left had not come");
        kinds.push(kind("barrier", Completion::Later, move || _ = waits.wait().unwrap(), complete, next));
    }
    {
        let [holds, waits, next] = three(Arc::new(Once::new()));
        let release = held(move |middle| holds.call_once(middle));
        let wait = move || waits.call_once(|| panic!("it is called once"));
        kinds.push(kind("once", Completion::Retry, wait, move || release.set(), move || next.wait()));
    }
    {
        let group = WaitGroup::new();
        let waits = group.clone();
        kinds.push(kind("wait group", Completion::AtOnce, move || waits.wait(), move || drop(group), || ()));
    }
    kinds
}

fn queues() -> Vec<Kind> {
    let mut kinds = Vec::new();
    {
        let [puts, waits, next] = three(Queue::new());
        let (wait, next) = (move || assert_eq!(waits.get(), Ok(1)), move || assert_eq!(next.get(), Ok(1)));
        kinds.push(kind("queue get", Completion::AtOnce, wait, move || puts.put(1).unwrap(), next));
    }
    {
        let [gets, waits, next] = three(Queue::bounded(1));
        gets.put(1).unwrap();
        let next = move || {
            next.put(3).unwrap();
            assert_eq!(next.get(), Ok(3), "what was not put is not there");
        };
        let complete = move || assert_eq!(gets.get(), Ok(1));
        kinds.push(kind("queue put", Completion::AtOnce, move || waits.put(2).unwrap(), complete, next));
    }
    {
        let [done, waits, next] = three(JoinableQueue::new());
        done.put(1).unwrap();
        let (wait, complete) = (move || waits.join(), move || done.task_done());
        kinds.push(kind("queue join", Completion::AtOnce, wait, complete, move || next.join()));
    }
    {
        let [gets, waits, next] = three(Channel::new());
        let complete = move || drop(spawn(move || _ = gets.get()));
        let wait = move || waits.put(1).unwrap();
        kinds.push(kind("channel put", Completion::Later, wait, complete, move || next.put(3).unwrap()));
    }
    kinds
}

fn tasks() -> Vec<Kind> {
    let mut kinds = Vec::new();
    {
        // Its own end is not noticed before the worker looks at the clock.
        let wait = || sleep(ms(3));
        kinds.push(kind("sleep", Completion::Later, wait, || hold_thread(ms(4)), || ()));
    }
    {
        let (sender, receiver) = channel::bounded(1);
        let wait = move || {
            sender.try_send(task::current()).unwrap();
            task::park();
        };
        let complete = move || {
            // One that was cancelled before, and never got here, is not unparked.
            if let Ok(parked) = receiver.try_recv() {
                parked.unpark();
            }
        };
        kinds.push(kind("park", Completion::AtOnce, wait, complete, || ()));
    }
    {
        let (stop, stopped) = channel::bounded::<()>(0);
        let joined = spawn(move || _ = stopped.recv());
        yield_now();
        let observer = joined.task();
        let (wait, next) = (move || joined.join().unwrap(), move || observer.join().unwrap());
        kinds.push(kind("join", Completion::Later, wait, move || drop(stop), next));
    }
    {
        let [sets, waits, _] = three(Event::new());
        let wait = move || task::scope(|s| drop(s.spawn(|| waits.wait())));
        kinds.push(kind("scope", Completion::Later, wait, move || sets.set(), || ()));
    }
    {
        let event = Event::new();
        let pool = Arc::new(Pool::new(1));
        drop(pool.spawn({
            let event = event.clone();
            move || event.wait()
        }));
        let next = pool.clone();
        let wait = move || drop(pool.spawn(|| ()));
        kinds.push(kind(
            "pool spawn",
            Completion::Later,
            wait,
            move || event.set(),
            move || {
                next.spawn(|| ()).join().unwrap();
                assert_eq!(next.free(), 1, "no place is lost");
            },
        ));
    }
    #[cfg(feature = "blocking")]
    {
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let wait = move || task::unblock(move || _ = goes_on.recv());
        kinds.push(kind("unblock", Completion::Later, wait, move || drop(go_on), || task::unblock(|| ())));
    }
    kinds
}

#[cfg(feature = "net")]
fn descriptors() -> Vec<Kind> {
    use osier::net::{TcpListener, TcpStream, pipe};
    use std::io::{Read, Write};

    let mut kinds = Vec::new();
    {
        let (reader, mut writer) = pipe().unwrap();
        let reader = Arc::new(reader);
        let next = reader.clone();
        let read = |pipe: &osier::net::PipeReader| {
            let (mut byte, mut pipe) = ([0], pipe);
            assert_eq!((pipe.read(&mut byte).unwrap(), byte), (1, [7]));
        };
        let complete = move || assert_eq!(writer.write(&[7]).unwrap(), 1);
        kinds.push(kind("read", Completion::Later, move || read(&reader), complete, move || read(&next)));
    }
    {
        let (mut reader, writer) = pipe().unwrap();
        let writer = Arc::new(writer);
        let fill = |pipe: &osier::net::PipeWriter| {
            let mut pipe = pipe;
            while timeout(ms(2), || pipe.write(&[0; 1024])).is_ok() {}
        };
        fill(&writer);
        let next = writer.clone();
        let wait = move || assert_eq!((&*writer).write(&[1]).unwrap(), 1);
        let complete = move || {
            assert!(reader.read(&mut vec![0; 1 << 20]).unwrap() > 0);
            // It stays open.
            std::mem::forget(reader);
        };
        kinds.push(kind("write", Completion::Later, wait, complete, move || {
            assert_eq!((&*next).write(&[2]).unwrap(), 1);
        }));
    }
    {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let next = listener.clone();
        let wait = move || drop(listener.accept().unwrap());
        let complete = move || drop(TcpStream::connect(address).unwrap());
        kinds.push(kind("accept", Completion::Later, wait, complete, move || drop(next.accept().unwrap())));
    }
    kinds
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
