//! The kinds of waits there are, each with what ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use osier::pool::Coroutines;
use osier::sync::{
    AsyncResult, Barrier, Channel, Condition, Condvar, Event, JoinableQueue, Mutex, Once, OnceCell, Queue, RLock,
    RwLock, Semaphore, SimpleQueue, WaitGroup, channel,
};
use osier::{Generator, Pool, Runtime, Yielder, actor, future, join_all, sleep, spawn, task, yield_now};

use crate::common::{FOR_EVER, OnDrop, hold_thread, ms};

/// A kind of wait: what waits, what ends it, and what must be possible afterwards if the wait was given up.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) wait: Box<dyn FnOnce() + Send>,
    pub(crate) complete: Box<dyn FnOnce()>,
    /// Shows that the wait that was given up took nothing with it; called after `complete`, may wait.
    pub(crate) next: Box<dyn FnOnce()>,
    pub(crate) completion: Completion,
}

/// How what a wait is for gets there.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Completion {
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
pub(crate) fn kinds() -> Vec<Kind> {
    let mut kinds = messages();
    kinds.extend(locks());
    kinds.extend(queues());
    kinds.extend(tasks());
    kinds.extend(many());
    kinds.extend(actors());
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
        let (sender, receiver) = channel::oneshot();
        let receiver = Arc::new(receiver);
        let (wait, next) = (receiver.clone(), receiver);
        let (wait, next) = (move || assert_eq!(wait.recv(), Ok(7)), move || assert_eq!(next.recv(), Ok(7)));
        kinds.push(kind("oneshot", Completion::AtOnce, wait, move || sender.send(7).unwrap(), next));
    }
    {
        let (sender, receiver) = channel::broadcast(1);
        let (waits, next) = (receiver.clone(), receiver);
        let (wait, next) = (move || assert_eq!(waits.recv(), Ok(7)), move || assert_eq!(next.recv(), Ok(7)));
        kinds.push(kind("broadcast", Completion::AtOnce, wait, move || sender.send(7).unwrap(), next));
    }
    {
        let (sender, receiver) = channel::watch(6);
        let (waits, next) = (receiver.clone(), receiver);
        let (wait, next) = (move || assert_eq!(waits.recv(), Ok(7)), move || assert_eq!(next.recv(), Ok(7)));
        kinds.push(kind("watch", Completion::AtOnce, wait, move || sender.send(7), next));
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
        let [waits, ends, next] = three(channel::after(FOR_EVER));
        let wait = move || assert!(waits.recv().is_err());
        let next = move || assert!(next.is_closed() && next.recv().is_err());
        kinds.push(kind("recv of what time sends", Completion::AtOnce, wait, move || assert!(ends.close()), next));
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
        let [holds, waits, next] = three(RLock::new());
        let release = held(move |middle| {
            let _twice = (holds.lock(), holds.lock());
            middle();
        });
        let next = move || drop((next.lock(), next.lock()));
        kinds.push(kind("rlock", Completion::Retry, move || drop(waits.lock()), move || release.set(), next));
    }
    {
        let [notifies, waits, next] = three(Condition::new());
        let next = move || drop(next.try_lock().expect("whoever left has unlocked it"));
        let complete = move || notifies.lock().notify_all();
        kinds.push(kind("condition", Completion::AtOnce, move || waits.lock().wait(), complete, next));
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
        let [sets, waits, next] = three(Arc::new(OnceCell::new()));
        let (wait, next) = (move || assert_eq!(*waits.wait(), 7), move || assert_eq!(*next.wait(), 7));
        kinds.push(kind("once cell", Completion::AtOnce, wait, move || sets.set(7).unwrap(), next));
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
        let [puts, waits, next] = three(SimpleQueue::new());
        let (wait, next) = (move || assert_eq!(waits.get(), 1), move || assert_eq!(next.get(), 1));
        kinds.push(kind("simple queue get", Completion::AtOnce, wait, move || puts.put(1), next));
    }
    {
        let [puts, waits, next] = three(Channel::new());
        let (wait, next) = (move || assert_eq!(waits.get(), Ok(1)), move || assert_eq!(next.get(), Ok(1)));
        let complete = move || drop(spawn(move || puts.put(1)));
        kinds.push(kind("channel get", Completion::Later, wait, complete, next));
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
        // A yield waits for nothing, and is where a task is cancelled all the same.
        let sets = Arc::new(AtomicBool::new(false));
        let is_set = sets.clone();
        let wait = move || {
            while !is_set.load(Ordering::SeqCst) {
                yield_now();
            }
        };
        kinds.push(kind("yield", Completion::Later, wait, move || sets.store(true, Ordering::SeqCst), || ()));
    }
    {
        let event = Event::new();
        let resists = spawn({
            let event = event.clone();
            move || task::shield(|| event.wait())
        });
        yield_now();
        let killed = resists.task();
        // Also where nobody uses it: its runtime waits for a task that resists.
        let sets = OnDrop(move || event.set());
        let next = move || resists.join().unwrap();
        kinds.push(kind("kill", Completion::Later, move || killed.kill(), move || drop(sets), next));
    }
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
        let [sets, waits, next] = three(Event::new());
        let runtime = Arc::new(Runtime::builder().workers(1).build().unwrap());
        let again = runtime.clone();
        let wait = move || runtime.run(|| waits.wait());
        let next = move || again.run(|| next.wait());
        kinds.push(kind("run of another runtime", Completion::Later, wait, move || sets.set(), next));
    }
    {
        let [sets, waits, _] = three(Event::new());
        let runtime = Arc::new(Runtime::builder().workers(1).build().unwrap());
        // For what has a time limit is waited.
        drop(runtime.spawn(move || waits.wait_timeout(FOR_EVER)));
        let again = runtime.clone();
        let (wait, next) = (move || assert!(runtime.wait_idle(None)), move || assert!(again.wait_idle(None)));
        kinds.push(kind("wait_idle", Completion::Later, wait, move || sets.set(), next));
    }
    #[cfg(feature = "blocking")]
    {
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let wait = move || task::unblock(move || _ = goes_on.recv());
        kinds.push(kind("unblock", Completion::Later, wait, move || drop(go_on), || task::unblock(|| ())));
    }
    kinds
}

/// Many tasks as one, and jobs.
fn many() -> Vec<Kind> {
    let mut kinds = Vec::new();
    {
        let (event, pool) = full_pool();
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
    {
        let (event, pool) = full_pool();
        let [waits, next, _] = three(pool);
        let next = move || {
            next.wait_free();
            assert_eq!(next.free(), 1, "no place is lost");
        };
        kinds.push(kind("pool wait_free", Completion::Later, move || waits.wait_free(), move || event.set(), next));
    }
    {
        let (event, pool) = full_pool();
        let [waits, next, _] = three(pool);
        let (wait, next) = (move || waits.join().unwrap(), move || next.join().unwrap());
        kinds.push(kind("pool join", Completion::Later, wait, move || event.set(), next));
    }
    {
        let [sets, waits, next] = three(Event::new());
        let handles = [spawn(|| 1), spawn(move || (waits.wait(), 2).1)];
        let wait = move || assert_eq!(join_all(handles).unwrap(), [1, 2]);
        kinds.push(kind("join_all", Completion::Later, wait, move || sets.set(), move || next.wait()));
    }
    {
        let [sets, waits, next] = three(Event::new());
        let mut values = Pool::new(1).imap([1], move |n| (waits.wait(), n).1);
        let wait = move || assert_eq!(values.next(), Some(1));
        kinds.push(kind("imap", Completion::Later, wait, move || sets.set(), move || next.wait()));
    }
    {
        let [sets, waits, next] = three(Event::new());
        let mut remote = Generator::builder(move |y: &Yielder<u32>| (waits.wait(), y.yield_(7)).1).spawn();
        let wait = move || assert_eq!(remote.next(), Some(7));
        kinds.push(kind("remote", Completion::Later, wait, move || sets.set(), move || next.wait()));
    }
    {
        let event = Event::new();
        let [submits, waits, next] = three(Arc::new(Coroutines::new(1)));
        let job = submits.submit(|event: Event| event.wait(), event.clone());
        let wait = move || waits.apply(|()| (), ());
        let next = move || {
            next.shutdown(false);
            job.get().unwrap();
        };
        kinds.push(kind("apply", Completion::Later, wait, move || event.set(), next));
    }
    {
        let event = Event::new();
        let [submits, waits, next] = three(Arc::new(Coroutines::new(1)));
        let job = submits.submit(|event: Event| event.wait(), event.clone());
        let next = move || {
            next.shutdown(false);
            job.get().unwrap();
        };
        kinds.push(kind("shutdown", Completion::Later, move || waits.shutdown(false), move || event.set(), next));
    }
    kinds
}

/// A pool whose one place is taken until the event is set.
fn full_pool() -> (Event, Arc<Pool>) {
    let (event, pool) = (Event::new(), Arc::new(Pool::new(1)));
    drop(pool.spawn({
        let event = event.clone();
        move || event.wait()
    }));
    (event, pool)
}

/// An actor whose messages wait until the sender is dropped, and then get what `answer` makes of them.
fn busy<M: Send + 'static>(
    mailbox: usize,
    answer: impl Fn(M) + Send + 'static,
) -> (actor::Address<M>, channel::Sender<()>) {
    let (stop, stopped) = channel::bounded::<()>(0);
    let address = actor::Builder::new().mailbox(mailbox).spawn(move |inbox: &actor::Mailbox<M>| {
        _ = stopped.recv();
        inbox.iter().for_each(answer);
    });
    (address, stop)
}

fn actors() -> Vec<Kind> {
    let mut kinds = Vec::new();
    {
        let (address, go_on) = busy(2, |reply: actor::Reply<u32>| _ = reply.send(6));
        let [waits, next, _] = three(address);
        let wait = move || assert_eq!(waits.ask(|reply| reply).unwrap(), 6);
        let next = move || assert_eq!(next.ask(|reply| reply).unwrap(), 6);
        kinds.push(kind("ask", Completion::Later, wait, move || drop(go_on), next));
    }
    {
        let (address, go_on) = busy(1, drop::<u32>);
        let [fills, waits, next] = three(address);
        fills.send(1).unwrap();
        let (wait, next) = (move || waits.send(2).unwrap(), move || next.send(3).unwrap());
        kinds.push(kind("actor send", Completion::Later, wait, move || drop(go_on), next));
    }
    {
        let (address, go_on) = busy(1, drop::<u32>);
        let [closes, waits, next] = three(address);
        let complete = move || {
            drop(go_on);
            closes.close();
        };
        let (wait, next) = (move || waits.join().unwrap(), move || next.join().unwrap());
        kinds.push(kind("actor join", Completion::Later, wait, complete, next));
    }
    {
        let topics = actor::Topics::new();
        let [waits, next, _] = three(Arc::new(topics.subscribe("leaf")));
        let (wait, next) = (move || assert_eq!(waits.recv(), Ok(7)), move || assert_eq!(next.recv(), Ok(7)));
        kinds.push(kind("subscription", Completion::AtOnce, wait, move || _ = topics.publish("leaf", 7), next));
    }
    {
        let topics = actor::Topics::new();
        let full = topics.subscribe_with("leaf", 1, actor::Overflow::Wait(FOR_EVER), |_| true);
        assert_eq!(topics.publish("leaf", 1), 1);
        let [makes_room, rest, _] = three(Arc::new(full));
        let again = topics.clone();
        let next = move || {
            assert_eq!(again.publish("leaf", 3), 1);
            assert_eq!(rest.recv(), Ok(3), "what was not published is not there");
        };
        let complete = move || assert_eq!(makes_room.recv(), Ok(1));
        kinds.push(kind("publish", Completion::AtOnce, move || _ = topics.publish("leaf", 2), complete, next));
    }
    kinds
}

#[cfg(feature = "net")]
fn descriptors() -> Vec<Kind> {
    use osier::net::{TcpListener, TcpStream, UdpSocket, pipe};
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
        let (reader, mut writer) = pipe().unwrap();
        let reader = Arc::new(reader);
        let next = reader.clone();
        let wait = move || {
            osier::select! {
                wait(reader.when_readable()) => {}
                recv(channel::never::<u8>()) -> _ => panic!("nobody sends there"),
            }
        };
        let complete = move || assert_eq!(writer.write(&[7]).unwrap(), 1);
        let next = move || {
            let (mut byte, mut pipe) = ([0], &*next);
            assert_eq!((pipe.read(&mut byte).unwrap(), byte), (1, [7]), "waiting takes nothing");
        };
        kinds.push(kind("select with a pipe", Completion::Later, wait, complete, next));
    }
    {
        let (mut reader, writer) = pipe().unwrap();
        let writer = Arc::new(writer);
        let fill = |pipe: &osier::net::PipeWriter| {
            let mut pipe = pipe;
            while osier::time::timeout(ms(2), || pipe.write(&[0; 1024])).is_ok() {}
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
    {
        let receiver = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let (address, sender) = (receiver.local_addr().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let next = receiver.clone();
        let recv = |socket: &UdpSocket| {
            let mut bytes = [0; 2];
            assert_eq!((socket.recv_from(&mut bytes).unwrap().0, bytes), (1, [7, 0]));
        };
        let complete = move || assert_eq!(sender.send_to(&[7], address).unwrap(), 1);
        kinds.push(kind("recv_from", Completion::Later, move || recv(&receiver), complete, move || recv(&next)));
    }
    #[cfg(target_os = "linux")]
    {
        use osier::net::selector::{Interest, Selector};

        let (reader, mut writer) = pipe().unwrap();
        let selector = Arc::new(Selector::new().unwrap());
        let ready = [(selector.register(&reader, Interest::Read).unwrap(), Interest::Read)];
        let next = selector.clone();
        let wait = move || assert_eq!(selector.select(None).unwrap(), ready);
        let complete = move || assert_eq!(writer.write(&[7]).unwrap(), 1);
        let next = move || {
            assert_eq!(next.select(None).unwrap(), ready, "it stays ready until somebody reads");
            drop(reader);
        };
        kinds.push(kind("selector", Completion::Later, wait, complete, next));
    }
    #[cfg(not(miri))]
    {
        use osier::process::Command;
        use std::process::Stdio;

        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let ends = child.stdin.take();
        let child = Arc::new(Mutex::new(child));
        let next = child.clone();
        let wait = move || assert!(child.lock().wait().unwrap().success());
        let next = move || assert!(next.lock().wait().unwrap().success());
        kinds.push(kind("child", Completion::Later, wait, move || drop(ends), next));
    }
    kinds
}
