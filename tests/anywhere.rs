//! Every call that waits, wherever it is called: on plain threads, in tasks of all kinds, in coroutines within them, and inside
//! `no_suspend`, where it panics.

#![cfg(feature = "runtime")]

mod common;

use std::cell::RefCell;
use std::sync::{Arc, Condvar as StdCondvar, Mutex as StdMutex, mpsc};
use std::thread;

use common::{OnDrop, lock, ms, panic_text, watch};
use osier::sync::channel::{self, Select};
use osier::sync::{
    AsyncResult, Barrier, BoundedSemaphore, Channel, Condition, Condvar, Event, LazyCell, LifoQueue, Mutex, Once,
    OnceCell, PriorityQueue, Queue, RLock, RwLock, Semaphore, SimpleQueue, WaitGroup,
};
use osier::{Generator, Greenlet, Group, LocalRuntime, Pool, Runtime, Yielder};
use osier::{join_all, no_suspend, run, scope, select, sleep, spawn, spawn_local, task, time, wait};

/// Threads that do what a call waits for: after a moment, or not until the call has been refused.
struct Others {
    may_go_on: Arc<(StdMutex<bool>, StdCondvar)>,
    threads: RefCell<Vec<thread::JoinHandle<()>>>,
}

impl Others {
    fn new(may_go_on: bool) -> Self {
        Self { may_go_on: Arc::new((StdMutex::new(may_go_on), StdCondvar::new())), threads: RefCell::default() }
    }

    fn start(&self, body: impl FnOnce(&dyn Fn()) + Send + 'static) {
        let may_go_on = self.may_go_on.clone();
        let pause = move || {
            sleep(ms(1));
            drop(may_go_on.1.wait_while(lock(&may_go_on.0), |may_go_on| !*may_go_on));
        };
        self.threads.borrow_mut().push(thread::spawn(move || body(&pause)));
    }

    /// Does something later, or not at all, if that is after the call.
    fn then(&self, body: impl FnOnce() + Send + 'static) {
        let is_in_time = *lock(&self.may_go_on.0);
        self.start(move |pause| {
            pause();
            if is_in_time {
                body();
            }
        });
    }

    /// Holds something for a while: `body` takes it, pauses, and gives it back. Returns when it has been taken.
    fn hold(&self, body: impl FnOnce(&dyn Fn()) + Send + 'static) {
        let (taken, is_taken) = mpsc::channel();
        self.start(move |pause| {
            body(&|| {
                taken.send(()).unwrap();
                pause();
            });
        });
        is_taken.recv().unwrap();
    }

    /// An event that is set later.
    fn event(&self) -> Event {
        let event = Event::new();
        let set = event.clone();
        self.start(move |pause| {
            pause();
            set.set();
        });
        event
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        *lock(&self.may_go_on.0) = true;
        self.may_go_on.1.notify_all();
        for other in self.threads.take() {
            other.join().unwrap();
        }
    }
}

type Call = fn(&Others);

const CALLS: &[(&str, Call)] = &[
    ("sleep", |_| sleep(ms(1))),
    ("park_timeout", |_| _ = task::park_timeout(ms(1))),
    ("timeout", |o| time::timeout(ms(60_000), || o.event().wait()).unwrap()),
    ("shield", |o| task::shield(|| o.event().wait())),
    // ---- channels
    ("Receiver::recv", |o| {
        let (sender, receiver) = channel::bounded(1);
        o.then(move || sender.send(7).unwrap());
        assert_eq!(receiver.recv(), Ok(7));
    }),
    ("Receiver::recv at capacity 0", |o| {
        let (sender, receiver) = channel::rendezvous();
        o.then(move || sender.send(7).unwrap());
        assert_eq!(receiver.recv_timeout(ms(60_000)), Ok(7));
    }),
    ("Receiver::iter", |o| {
        let (sender, receiver) = channel::unbounded();
        o.then(move || sender.send(7).unwrap());
        assert!(receiver.iter().eq([7]));
    }),
    ("Receiver::recv of `after`", |o| {
        let alarm = channel::after(ms(60_000));
        let other = alarm.clone();
        o.then(move || assert!(other.close()));
        assert!(alarm.recv().is_err());
    }),
    ("Sender::send", |o| {
        let (sender, receiver) = channel::bounded(1);
        sender.send(1).unwrap();
        o.then(move || assert!(receiver.iter().eq([1, 2])));
        sender.send(2).unwrap();
    }),
    ("Sender::send at capacity 0", |o| {
        let (sender, receiver) = channel::bounded(0);
        o.then(move || assert_eq!(receiver.recv(), Ok(2)));
        sender.send_timeout(2, ms(60_000)).unwrap();
    }),
    ("OneshotReceiver::recv", |o| {
        let (sender, receiver) = channel::oneshot();
        o.then(move || sender.send(7).unwrap());
        assert_eq!(receiver.recv(), Ok(7));
    }),
    ("BroadcastReceiver::recv", |o| {
        let (sender, receiver) = channel::broadcast(1);
        o.then(move || sender.send(7).unwrap());
        assert_eq!(receiver.recv(), Ok(7));
    }),
    ("WatchReceiver::recv", |o| {
        let (sender, receiver) = channel::watch(1);
        o.then(move || sender.send(7));
        assert_eq!(receiver.recv(), Ok(7));
    }),
    ("WatchReceiver::wait_for", |o| {
        let (sender, receiver) = channel::watch(1);
        o.then(move || sender.send(7));
        assert_eq!(receiver.wait_for(|&value| value > 6), Ok(7));
    }),
    ("WatchSender::closed", |o| {
        let (sender, receiver) = channel::watch(1);
        o.then(move || drop(receiver));
        sender.closed();
    }),
    ("BroadcastSender::closed", |o| {
        let (sender, receiver) = channel::broadcast::<u8>(1);
        o.then(move || drop(receiver));
        sender.closed();
    }),
    ("OneshotSender::closed", |o| {
        let (sender, receiver) = channel::oneshot::<u8>();
        o.then(move || drop(receiver));
        sender.closed();
    }),
    ("select!", |o| {
        let (sender, receiver) = channel::bounded(1);
        let (full, other) = channel::bounded(0);
        o.then(move || sender.send(7).unwrap());
        select! {
            recv(receiver) -> value => assert_eq!(value, Ok(7)),
            send(full, 1) -> _ => unreachable!("nobody receives"),
        }
        drop(other);
    }),
    ("select! over time", |o| {
        select! {
            recv(channel::after(ms(60_000))) -> _ => unreachable!("the event comes first"),
            recv(channel::never::<u8>()) -> _ => unreachable!(),
            wait(o.event()) => {}
        }
    }),
    ("Select::select", |o| {
        let (sender, receiver) = channel::bounded(0);
        o.then(move || assert_eq!(receiver.recv(), Ok(7)));
        let mut select = Select::new();
        select.send(&sender);
        select.select().send(&sender, 7).unwrap();
    }),
    ("Select::ready", |o| {
        let event = o.event();
        let mut select = Select::new();
        select.wait(&event);
        assert_eq!(select.ready(), 0);
    }),
    // ---- locks
    ("Mutex::lock", |o| {
        let mutex = Arc::new(Mutex::new(7));
        let other = mutex.clone();
        o.hold(move |pause| {
            let _guard = other.lock();
            pause();
        });
        assert_eq!(*mutex.lock(), 7);
    }),
    ("RwLock::read", |o| {
        let lock = Arc::new(RwLock::new(7));
        let other = lock.clone();
        o.hold(move |pause| {
            let _guard = other.write();
            pause();
        });
        assert_eq!(*lock.read(), 7);
    }),
    ("RwLock::write", |o| {
        let lock = Arc::new(RwLock::new(7));
        let other = lock.clone();
        o.hold(move |pause| {
            let _guard = other.read();
            pause();
        });
        assert_eq!(*lock.write(), 7);
    }),
    ("RLock::lock", |o| {
        let lock = RLock::new();
        let other = lock.clone();
        o.hold(move |pause| {
            let _guard = other.lock();
            pause();
        });
        drop((lock.lock(), lock.lock()));
    }),
    ("Condvar::wait", |o| {
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let other = pair.clone();
        o.then(move || {
            *other.0.lock() = true;
            other.1.notify_all();
        });
        assert!(*pair.1.wait_while(pair.0.lock(), |is_set| !*is_set));
    }),
    ("ConditionGuard::wait", |o| {
        let condition = Condition::new();
        let guard = condition.lock();
        let other = condition.clone();
        // Gets in once this one waits.
        o.then(move || other.lock().notify_all());
        guard.wait();
    }),
    ("Semaphore::acquire", |o| {
        let semaphore = Semaphore::new(0);
        let other = semaphore.clone();
        o.then(move || other.release_many(2));
        semaphore.acquire_many(2);
    }),
    ("Semaphore::hold", |o| {
        let semaphore = Semaphore::new(0);
        let other = semaphore.clone();
        o.then(move || other.release());
        drop(semaphore.hold());
    }),
    ("Semaphore::wait", |o| {
        let semaphore = Semaphore::new(0);
        let other = semaphore.clone();
        o.then(move || other.release());
        semaphore.wait();
    }),
    ("BoundedSemaphore::acquire", |o| {
        let semaphore = BoundedSemaphore::new(1);
        semaphore.acquire();
        let other = semaphore.clone();
        o.then(move || other.release().unwrap());
        semaphore.acquire();
    }),
    ("Barrier::wait", |o| {
        let barrier = Barrier::new(2);
        let other = barrier.clone();
        o.then(move || _ = other.wait().unwrap());
        barrier.wait().unwrap();
    }),
    ("Once::call_once", |o| {
        let once = Arc::new(Once::new());
        let other = once.clone();
        o.hold(move |pause| other.call_once(pause));
        once.call_once(|| unreachable!("it has been called"));
    }),
    ("Once::wait", |o| {
        let once = Arc::new(Once::new());
        let other = once.clone();
        o.then(move || other.call_once(|| ()));
        once.wait();
    }),
    ("LazyCell", |o| {
        let event = o.event();
        let cell = LazyCell::new(move || (event.wait(), 7).1);
        assert_eq!(*cell, 7);
    }),
    ("OnceCell::wait", |o| {
        let cell = Arc::new(OnceCell::new());
        let other = cell.clone();
        o.then(move || other.set(7).unwrap());
        assert_eq!(*cell.wait(), 7);
    }),
    ("WaitGroup::wait", |o| {
        let group = WaitGroup::new();
        let other = group.clone();
        o.then(move || drop(other));
        group.wait();
    }),
    // ---- gevent's
    ("Event::wait", |o| o.event().wait()),
    ("AsyncResult::get", |o| {
        let result = AsyncResult::new();
        let other = result.clone();
        o.then(move || other.set(7).unwrap());
        assert_eq!(result.get().unwrap(), 7);
    }),
    ("AsyncResult::wait", |o| {
        let result = AsyncResult::new();
        let other = result.clone();
        o.then(move || other.set(7).unwrap());
        result.wait();
    }),
    ("Queue::get", |o| {
        let queue = Queue::new();
        let other = queue.clone();
        o.then(move || other.put(7).unwrap());
        assert_eq!(queue.get().unwrap(), 7);
    }),
    ("Queue::peek", |o| {
        let queue = Queue::new();
        let other = queue.clone();
        o.then(move || other.put(7).unwrap());
        assert_eq!(queue.peek().unwrap(), 7);
    }),
    ("Queue::put", |o| {
        let queue = Queue::bounded(1);
        queue.put(1).unwrap();
        let other = queue.clone();
        o.then(move || assert_eq!(other.get().unwrap(), 1));
        queue.put(2).unwrap();
    }),
    ("Queue::join", |o| {
        let queue = Queue::new();
        queue.put(1).unwrap();
        let other = queue.clone();
        o.then(move || other.task_done());
        queue.join();
    }),
    ("LifoQueue::get", |o| {
        let queue = LifoQueue::new();
        let other = queue.clone();
        o.then(move || other.put(7).unwrap());
        assert_eq!(queue.get().unwrap(), 7);
    }),
    ("PriorityQueue::put", |o| {
        let queue = PriorityQueue::bounded(1);
        queue.put(2).unwrap();
        let other = queue.clone();
        o.then(move || assert_eq!(other.get().unwrap(), 2));
        queue.put(1).unwrap();
    }),
    ("SimpleQueue::get", |o| {
        let queue = SimpleQueue::new();
        let other = queue.clone();
        o.then(move || other.put(7));
        assert_eq!(queue.get(), 7);
    }),
    ("Channel::get", |o| {
        let queue = Channel::new();
        let other = queue.clone();
        o.then(move || other.put(7).unwrap());
        assert_eq!(queue.get().unwrap(), 7);
    }),
    ("Channel::put", |o| {
        let queue = Channel::new();
        let other = queue.clone();
        o.then(move || assert_eq!(other.get().unwrap(), 7));
        queue.put(7).unwrap();
    }),
    ("Channel::put to a getter that comes first", |o| {
        let queue = Channel::new();
        let other = queue.clone();
        o.start(move |_| _ = other.get());
        let _end = OnDrop(|| queue.shutdown());
        queue.put(7).unwrap();
    }),
    // ---- tasks
    ("JoinHandle::join", |o| {
        let event = o.event();
        spawn(move || event.wait()).join().unwrap();
    }),
    ("JoinHandle::kill_timeout", |o| {
        let (event, (started, starts)) = (o.event(), channel::oneshot());
        let task = spawn(move || {
            started.send(()).unwrap();
            task::shield(|| event.wait());
        });
        starts.recv().unwrap();
        assert!(task.kill_timeout(ms(60_000)));
    }),
    ("join_all", |o| {
        let event = o.event();
        assert_eq!(join_all([spawn(|| 1), spawn(move || (event.wait(), 2).1)]).unwrap(), [1, 2]);
    }),
    ("wait", |o| assert!(wait(&[&o.event()]).eq([0]))),
    ("Group::join", |o| {
        let (group, event) = (Group::new(), o.event());
        drop(group.spawn(move || event.wait()));
        group.join().unwrap();
    }),
    ("Group::with", |o| {
        let event = o.event();
        Group::with(|group| drop(group.spawn(move || event.wait())));
    }),
    ("Pool::with", |o| {
        let event = o.event();
        Pool::with(1, |pool| drop(pool.spawn(move || event.wait())));
    }),
    ("scope", |o| {
        let event = o.event();
        scope(|s| drop(s.spawn(|| event.wait())));
    }),
    ("Pool::apply", |o| {
        let event = o.event();
        assert_eq!(Pool::new(1).apply(|| (event.wait(), 7).1), 7);
    }),
    ("Group::map", |o| {
        let event = o.event();
        assert_eq!(Group::new().map([1, 2], |n| (event.wait(), n).1), [1, 2]);
    }),
    ("Pool::spawn", |o| {
        let (pool, event) = (Pool::new(1), o.event());
        drop(pool.spawn(move || event.wait()));
        drop(pool.spawn(|| ()));
    }),
    ("Pool::wait_free", |o| {
        let (pool, event) = (Pool::new(1), o.event());
        drop(pool.spawn(move || event.wait()));
        pool.wait_free();
    }),
    ("IMap::next", |o| {
        let event = o.event();
        let results = Pool::new(1).imap_unordered([1, 2], move |n| (event.wait(), n).1);
        assert_eq!(results.sum::<i32>(), 3);
    }),
    ("Remote::next", |o| {
        let event = o.event();
        let body = move |y: &Yielder<u32>| (event.wait(), y.yield_(7)).1;
        assert_eq!(Generator::builder(body).spawn().next(), Some(7));
    }),
];

type Place = fn(Call);

/// Where calls are made; each makes one there, with others who do what it waits for.
const PLACES: &[(&str, Place)] = &[
    ("on a thread", |call| call(&Others::new(true))),
    ("in `run`", |call| run(|| call(&Others::new(true)))),
    ("in `Runtime::run`", |call| {
        Runtime::builder().workers(1).build().unwrap().run(|| call(&Others::new(true)));
    }),
    ("in a task", |call| spawn(move || call(&Others::new(true))).join().unwrap()),
    ("in a local task", |call| run(|| spawn_local(move || call(&Others::new(true))).join().unwrap())),
    ("in a `LocalRuntime`", |call| LocalRuntime::new().run(|| call(&Others::new(true)))),
    ("in a generator on a thread", |call| in_generator(call)),
    ("in a generator in a task", |call| spawn(move || in_generator(call)).join().unwrap()),
    ("in a greenlet in a task", |call| {
        spawn(move || {
            Greenlet::new(move |()| call(&Others::new(true))).switch(());
        })
        .join()
        .unwrap();
    }),
];

fn in_generator(call: Call) {
    let generator = Generator::new(move |y: &Yielder<u32>| {
        y.yield_(1);
        call(&Others::new(true));
        y.yield_(2);
    });
    assert_eq!(generator.sum::<u32>(), 3);
}

#[test]
fn every_wait_works_wherever_it_is_called() {
    let _watch = watch();
    osier::sync::set_held_reports(false);
    for (name, call) in CALLS {
        for (place, make) in PLACES {
            eprintln!("{name} {place}");
            make(*call);
        }
    }
}

#[test]
fn every_wait_inside_no_suspend_panics_and_says_so() {
    let _watch = watch();
    for &(name, call) in CALLS {
        let refused = move || {
            let others = Others::new(false);
            panic_text(|| no_suspend(|| call(&others)))
        };
        let places = [
            ("on a thread", refused()),
            ("in a task", spawn(refused).join().unwrap()),
            ("in a local task", run(|| spawn_local(refused).join().unwrap())),
            ("in a generator", Generator::new(move |y: &Yielder<String>| y.yield_(refused())).next().unwrap()),
        ];
        for (place, text) in places {
            assert!(
                text.starts_with("cannot wait inside `no_suspend`, opened at tests/anywhere.rs:"),
                "{name} {place}: {text}"
            );
        }
    }
}
