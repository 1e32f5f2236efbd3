//! Nobody starves: tasks whose calls never need to wait, that yield all the time, or that compute.

#![cfg(feature = "runtime")]

mod common;

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{ms, watch};
use osier::runtime::LocalRuntime;
use osier::sync::channel::{self, Receiver, Sender};
use osier::sync::{
    AsyncResult, Condvar, Event, JoinableQueue, Mutex, OnceCell, Queue, RLock, RwLock, Semaphore, SimpleQueue,
};
use osier::{JoinHandle, Pool, Runtime, actor, scope, select, sleep, spawn, spawn_local, task, time, yield_now};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

// ---- the budget

/// A call that may suspend, and never needs to.
type Ready = (&'static str, fn() -> Box<dyn FnMut() + Send>);

/// Every kind of call that may suspend, each set up so that it never has to.
const READY: &[Ready] = &[
    ("recv", || {
        let (sender, receiver) = channel::unbounded();
        Box::new(move || {
            sender.send(1).unwrap();
            assert_eq!(receiver.recv(), Ok(1));
        })
    }),
    ("recv_timeout", || {
        let (sender, receiver) = channel::unbounded();
        Box::new(move || {
            sender.send(1).unwrap();
            assert_eq!(receiver.recv_timeout(ms(1000)), Ok(1));
        })
    }),
    ("recv of a closed channel", || {
        let (_, receiver) = channel::bounded::<()>(1);
        Box::new(move || assert!(receiver.recv().is_err()))
    }),
    ("send", || {
        let (sender, receiver) = channel::bounded(1);
        Box::new(move || {
            sender.send(1).unwrap();
            assert_eq!(receiver.try_recv(), Ok(1));
        })
    }),
    ("broadcast recv", || {
        // One interrupted call leaves a value behind.
        let (sender, receiver) = channel::broadcast(8);
        Box::new(move || {
            sender.send(1).unwrap();
            assert_eq!(receiver.recv(), Ok(1));
        })
    }),
    ("watch recv", || {
        let (sender, receiver) = channel::watch(0);
        Box::new(move || {
            sender.send(1);
            assert_eq!(receiver.recv(), Ok(1));
        })
    }),
    ("select", || {
        let (sender, receiver) = channel::unbounded();
        Box::new(move || {
            sender.send(1).unwrap();
            select! { recv(receiver) -> got => assert_eq!(got, Ok(1)) }
        })
    }),
    ("Mutex", || {
        let lock = Mutex::new(0);
        Box::new(move || *lock.lock() += 1)
    }),
    ("Mutex, with a limit", || {
        let lock = Mutex::new(0);
        Box::new(move || *lock.lock_timeout(ms(1000)).unwrap() += 1)
    }),
    ("RwLock, reading", || {
        let lock = RwLock::new(0);
        Box::new(move || assert_eq!(*lock.read(), 0))
    }),
    ("RwLock, writing", || {
        let lock = RwLock::new(0);
        Box::new(move || *lock.write() += 1)
    }),
    ("RLock", || {
        let lock = RLock::new();
        Box::new(move || drop(lock.lock()))
    }),
    ("Semaphore", || {
        let semaphore = Semaphore::new(1);
        Box::new(move || {
            semaphore.acquire();
            semaphore.release();
        })
    }),
    ("Semaphore, with a limit", || {
        let semaphore = Semaphore::new(1);
        Box::new(move || {
            assert!(semaphore.acquire_timeout(ms(1000)));
            semaphore.release();
        })
    }),
    ("Semaphore::wait", || {
        let semaphore = Semaphore::new(1);
        Box::new(move || semaphore.wait())
    }),
    ("Event", || {
        let event = Event::new();
        event.set();
        Box::new(move || event.wait())
    }),
    ("AsyncResult", || {
        let result = AsyncResult::new();
        result.set(1).unwrap();
        Box::new(move || assert_eq!(result.get().unwrap(), 1))
    }),
    ("Queue::get", || {
        let queue = Queue::new();
        Box::new(move || {
            queue.try_put(1).unwrap();
            assert_eq!(queue.get().unwrap(), 1);
        })
    }),
    ("Queue::put", || {
        let queue = Queue::bounded(1);
        Box::new(move || {
            queue.put(1).unwrap();
            assert_eq!(queue.try_get().unwrap(), 1);
        })
    }),
    ("Queue::peek", || {
        let queue = Queue::new();
        queue.try_put(1).unwrap();
        Box::new(move || assert_eq!(queue.peek().unwrap(), 1))
    }),
    ("JoinableQueue::join", || {
        let queue = JoinableQueue::<u32>::new();
        Box::new(move || queue.join())
    }),
    ("park", || {
        Box::new(move || {
            task::current().unpark();
            task::park();
        })
    }),
    ("Task::join", || {
        let ended = spawn(|| ());
        let task = ended.task();
        ended.join().unwrap();
        Box::new(move || task.join().unwrap())
    }),
    ("JoinHandle::join", || {
        // Of another runtime's tasks, which have ended by then.
        let other = runtime(1);
        Box::new(move || {
            let ended = other.spawn(|| ());
            while !ended.is_finished() {
                std::thread::yield_now();
            }
            ended.join().unwrap();
        })
    }),
    ("JoinHandle::join_timeout", || {
        // After the first time its value is gone.
        let mut ended = spawn(|| ());
        Box::new(move || _ = ended.join_timeout(ms(1000)))
    }),
    ("scope", || Box::new(|| scope(|_| ()))),
    ("Interval", || {
        let mut ticks = time::interval_at(Instant::now(), Duration::from_nanos(1));
        Box::new(move || _ = ticks.tick())
    }),
];

#[test]
fn a_task_whose_calls_never_need_to_wait_lets_others_run() {
    let _watch = watch();
    let runtime = runtime(1);
    for &(name, make) in READY {
        eprintln!("{name}");
        let (started, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        runtime.run(|| {
            let mut call = make();
            let hog = spawn({
                let (started, stop) = (started.clone(), stop.clone());
                move || {
                    started.store(true, Ordering::Relaxed);
                    while !stop.load(Ordering::Relaxed) {
                        call();
                    }
                }
            });
            let other = spawn(move || {
                common::until(|| started.load(Ordering::Relaxed));
                yield_now();
                stop.store(true, Ordering::Relaxed);
            });
            other.join().unwrap();
            hog.join().unwrap();
        });
    }
}

#[test]
fn a_task_whose_calls_never_need_to_wait_can_be_cancelled_and_timed_out() {
    let _watch = watch();
    let runtime = runtime(1);
    for &(name, make) in READY {
        eprintln!("{name}");
        runtime.run(|| {
            let mut call = make();
            let hog = spawn(move || {
                let late = time::timeout(ms(1), || {
                    loop {
                        call();
                    }
                });
                assert!(late.is_err(), "it never returns");
                loop {
                    call();
                }
            });
            yield_now();
            sleep(ms(3));
            hog.cancel();
            assert!(hog.join().unwrap_err().is_cancelled(), "{name}");
        });
    }
}

#[test]
fn shutting_down_ends_a_task_whose_calls_never_need_to_wait() {
    let _watch = watch();
    let runtime = runtime(2);
    let hogs: Vec<_> = READY
        .iter()
        .map(|&(_, make)| {
            runtime.spawn(move || {
                let mut call = make();
                loop {
                    call();
                }
            })
        })
        .collect();
    runtime.run(|| sleep(ms(5)));
    runtime.shutdown(Duration::from_secs(20)).unwrap();
    assert!(hogs.into_iter().all(|hog| hog.join().is_err_and(|error: osier::JoinError| error.is_cancelled())));
}

/// A call of which it is not said that it suspends.
type Never = (&'static str, fn() -> Box<dyn FnMut()>);

const NEVER: &[Never] = &[
    ("try_send, try_recv", || {
        let (sender, receiver) = channel::bounded(1);
        Box::new(move || {
            sender.try_send(1).unwrap();
            assert!(sender.try_send(2).is_err());
            assert_eq!(receiver.try_recv(), Ok(1));
            assert!(receiver.try_recv().is_err());
        })
    }),
    ("send without a bound", || {
        let (sender, receiver) = channel::unbounded();
        Box::new(move || {
            sender.send(1).unwrap();
            drop(receiver.drain());
        })
    }),
    ("oneshot, broadcast, watch", || {
        let (all, listener) = channel::broadcast(2);
        let newest = channel::watch(0).0;
        Box::new(move || {
            assert!(!listener.is_closed());
            let (one, receiver) = channel::oneshot();
            one.send(1).unwrap();
            assert_eq!(receiver.try_recv(), Ok(1));
            all.send(1).unwrap();
            newest.send(1);
        })
    }),
    ("a select that does not wait", || {
        let (sender, receiver) = channel::bounded(1);
        Box::new(move || {
            select! {
                send(sender, 1) -> sent => sent.unwrap(),
                default => unreachable!("there is room"),
            }
            select! {
                recv(receiver) -> got => assert_eq!(got, Ok(1)),
                default => unreachable!("there is one"),
            }
        })
    }),
    ("try_lock, unlock, notify", || {
        let (lock, changed, shared, again) = (Mutex::new(0), Condvar::new(), RwLock::new(0), RLock::new());
        Box::new(move || {
            *lock.try_lock().unwrap() += 1;
            changed.notify_one();
            changed.notify_all();
            assert_eq!(*shared.try_read().unwrap(), 0);
            drop(shared.try_write().unwrap());
            drop(again.try_lock().unwrap());
        })
    }),
    ("permits, events, results", || {
        let (semaphore, event) = (Semaphore::new(1), Event::new());
        Box::new(move || {
            assert!(semaphore.try_acquire());
            assert!(!semaphore.try_acquire());
            semaphore.release();
            event.set();
            event.clear();
            let result = AsyncResult::new();
            result.set(1).unwrap();
            assert!(result.is_ready());
        })
    }),
    ("a cell that was made", || {
        let cell = OnceCell::new();
        assert_eq!(*cell.get_or_init(|| 1), 1);
        Box::new(move || assert_eq!(cell.get(), Some(&1)))
    }),
    ("queues without a bound", || {
        let (queue, simple, joinable) = (Queue::new(), SimpleQueue::new(), JoinableQueue::new());
        Box::new(move || {
            queue.put(1).unwrap();
            assert_eq!(queue.try_get().unwrap(), 1);
            simple.put(1);
            assert_eq!(simple.try_get().unwrap(), 1);
            joinable.put(1).unwrap();
            assert_eq!(joinable.try_get().unwrap(), 1);
            joinable.task_done();
        })
    }),
    ("tokens, cancels, names", || {
        let parked = spawn(task::park);
        Box::new(move || {
            let task = parked.task();
            task.cancel();
            assert!(!task.is_finished() && task.id() != task::current().id());
            task::current().unpark();
            _ = (task::worker(), task::is_cancelled(), task.name().len());
        })
    }),
    ("exceptions thrown into a task, and links", || {
        let parked = spawn(task::park);
        Box::new(move || {
            parked.task().throw(std::fmt::Error);
            let link = parked.link(|_| ());
            assert!(link.unlink());
        })
    }),
    ("exceptions given to a result", || Box::new(|| _ = AsyncResult::<u32>::new().set_exception(std::fmt::Error))),
    ("handles that go, and pools without room", || {
        let pool = Pool::new(1);
        assert!(pool.try_spawn(task::park).is_ok());
        let mut ended = Vec::from_iter((0..100_000).map(|n| spawn(move || n)));
        common::until(|| ended.iter().all(JoinHandle::is_finished));
        Box::new(move || {
            assert!(pool.try_spawn(|| ()).is_err());
            drop(ended.pop());
        })
    }),
];

// Each of them 100 000 times, while a borrow is held that any other task would run into.
#[test]
fn calls_that_never_suspend_may_be_made_during_a_borrow() {
    let _watch = watch();
    for &(name, make) in NEVER {
        eprintln!("{name}");
        LocalRuntime::new().run(|| {
            let (shared, turns, ended) =
                (Rc::new(RefCell::new(0)), Rc::new(Cell::new(0_u32)), Rc::new(Cell::new(false)));
            let other = spawn_local({
                let (shared, turns, ended) = (shared.clone(), turns.clone(), ended.clone());
                move || {
                    while !ended.get() {
                        *shared.borrow_mut() += 1;
                        turns.set(turns.get() + 1);
                        yield_now();
                    }
                }
            });
            let mut call = make();
            yield_now();
            let before = turns.get();
            assert!(before > 0);
            let borrow = shared.borrow_mut();
            for _ in 0..100_000 {
                call();
            }
            assert_eq!(turns.get(), before, "{name}: another task ran");
            drop(borrow);
            ended.set(true);
            other.join().unwrap();
        });
    }
}

#[test]
fn spawning_never_suspends() {
    let _watch = watch();
    LocalRuntime::new().run(|| {
        let shared = Rc::new(RefCell::new(0_u32));
        let borrow = shared.borrow_mut();
        let local: Vec<_> = (0..100_000)
            .map(|_| {
                let shared = shared.clone();
                spawn_local(move || *shared.borrow_mut() += 1)
            })
            .collect();
        let sent: Vec<_> = (0..10_000).map(|n| spawn(move || n)).collect();
        drop(borrow);
        local.into_iter().for_each(|task| task.join().unwrap());
        assert!(sent.into_iter().enumerate().all(|(n, task)| task.join().unwrap() == n));
        assert_eq!(*shared.borrow(), 100_000);
    });
    runtime(1).run(|| {
        let ran = Arc::new(AtomicU64::new(0));
        for _ in 0..100_000 {
            let ran = ran.clone();
            drop(spawn(move || ran.fetch_add(1, Ordering::Relaxed)));
        }
        assert_eq!(ran.load(Ordering::Relaxed), 0, "another task ran");
        common::until(|| ran.load(Ordering::Relaxed) == 100_000);
    });
}

// What never suspends does so inside `no_suspend`, and what may suspend works there as long as it need not.
#[test]
fn a_budget_that_runs_out_inside_no_suspend_is_no_wait() {
    let _watch = watch();
    runtime(1).run(|| {
        let other = spawn(|| 5);
        // Two of these wait once for their task's end, one for its runtime's, and the last is a wait even if nobody is in it.
        let waits = ["Task::join", "JoinHandle::join_timeout", "JoinHandle::join", "scope"];
        for &(_, make) in READY.iter().filter(|(name, _)| !waits.contains(name)) {
            let mut call = make();
            osier::no_suspend(|| (0..1000).for_each(|_| call()));
        }
        assert!(!other.is_finished(), "nothing inside let it run");
        assert_eq!(other.join().unwrap(), 5);
    });
}

#[test]
fn a_destructor_is_not_interrupted_by_the_budget() {
    struct Locks(Arc<Mutex<u32>>);
    impl Drop for Locks {
        fn drop(&mut self) {
            (0..1000).for_each(|_| *self.0.lock() += 1);
        }
    }
    let _watch = watch();
    runtime(1).run(|| {
        let count = Arc::new(Mutex::new(0));
        let locks = Locks(count.clone());
        let task = spawn(move || {
            let _locks = locks;
            sleep(common::FOR_EVER);
        });
        yield_now();
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
        assert_eq!(*count.lock(), 1000);
    });
}

#[test]
fn an_actor_that_is_always_sent_to_lets_others_run() {
    let _watch = watch();
    runtime(1).run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let sees = stop.clone();
        let address = actor::start("always busy", move |inbox: &actor::Mailbox<u32>| {
            let own = actor::find::<u32>("always busy").expect("it runs");
            own.send(0).unwrap();
            while !sees.load(Ordering::Relaxed) {
                let n = inbox.recv();
                own.send(n + 1).unwrap();
            }
        })
        .unwrap();
        sleep(ms(2));
        stop.store(true, Ordering::Relaxed);
        address.task().join().unwrap();
    });
}

// ---- those who yield, and those who compute

/// What keeps every worker busy: one turn of it.
type Turn = fn();

/// When something is due, and how much processor time each worker had used when one of its tasks first saw that it is.
/// Processor time, for the machine may have something else to do.
struct Due {
    base: Instant,
    /// In nanoseconds after `base`; 0 for nothing.
    at: AtomicU64,
    seen: Vec<AtomicU64>,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a test takes no centuries")
}

impl Due {
    fn new(workers: usize) -> Self {
        Self { base: Instant::now(), at: AtomicU64::new(0), seen: (0..workers).map(|_| AtomicU64::new(0)).collect() }
    }

    fn set(&self, at: Instant) {
        self.seen.iter().for_each(|seen| seen.store(0, Ordering::SeqCst));
        self.at.store(nanos(at - self.base), Ordering::SeqCst);
    }

    fn seen_here(&self) -> &AtomicU64 {
        &self.seen[task::worker().expect("tasks run on workers")]
    }

    /// For those who take turns.
    fn look(&self) {
        let at = self.at.load(Ordering::SeqCst);
        if at > 0 && nanos(self.base.elapsed()) >= at && self.seen_here().load(Ordering::SeqCst) == 0 {
            self.seen_here().store(nanos(common::thread_cpu_time()), Ordering::SeqCst);
        }
    }

    /// How much processor time this worker has spent on others since it could have known.
    fn late(&self) -> Duration {
        self.at.store(0, Ordering::SeqCst);
        match self.seen_here().load(Ordering::SeqCst) {
            0 => Duration::ZERO,
            seen => common::thread_cpu_time() - Duration::from_nanos(seen),
        }
    }
}

/// Asserts that timers and wake-ups come within 10 ms while `count` tasks a worker do nothing but take turns.
fn assert_prompt(workers: usize, count: usize, turn: Turn) {
    let runtime = runtime(workers);
    let stop = Arc::new(AtomicBool::new(false));
    let (timer, wakeup) = (Arc::new(Due::new(workers)), Arc::new(Due::new(workers)));
    let (ask, asked) = channel::bounded(1);
    let (answer, answered) = std::sync::mpsc::channel();
    let (timers, wakeups) = runtime.run(|| {
        let storm: Vec<_> = (0..workers * count)
            .map(|_| {
                let (stop, timer, wakeup) = (stop.clone(), timer.clone(), wakeup.clone());
                task::Builder::new().place(task::Place::Spread).spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        turn();
                        timer.look();
                        wakeup.look();
                    }
                })
            })
            .collect();
        let sleeper = spawn(move || {
            let nap = || {
                let due = Instant::now() + ms(1);
                timer.set(due);
                time::sleep_until(due);
                timer.late()
            };
            (0..50).map(|_| nap()).max()
        });
        // Woken by a thread that is none of the runtime's.
        let waker = std::thread::spawn({
            let wakeup = wakeup.clone();
            move || {
                for _ in 0..50 {
                    common::hold_thread(ms(1));
                    wakeup.set(Instant::now());
                    ask.send(()).unwrap();
                    answered.recv().unwrap();
                }
            }
        });
        let woken = spawn(move || {
            let take = |()| {
                let late = wakeup.late();
                answer.send(()).unwrap();
                late
            };
            asked.iter().map(take).max()
        });
        let times = (sleeper.join().unwrap(), woken.join().unwrap());
        stop.store(true, Ordering::Relaxed);
        storm.into_iter().for_each(|task| task.join().unwrap());
        waker.join().unwrap();
        times
    });
    let limit = Some(ms(10));
    assert!(timers < limit && wakeups < limit, "{workers} workers, {count} tasks each: {timers:?}, {wakeups:?}");
}

/// Computes for about as long as is asked.
fn compute(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        black_box(0);
    }
}

// H33
#[test]
fn a_storm_of_yields_lets_timers_and_wake_ups_through_within_ten_milliseconds() {
    let _watch = watch();
    for workers in [1, 2] {
        assert_prompt(workers, 1, yield_now);
        assert_prompt(workers, 8, yield_now);
    }
}

// H33
#[test]
fn a_storm_of_calls_that_are_ready_lets_timers_and_wake_ups_through() {
    let _watch = watch();
    for workers in [1, 2] {
        assert_prompt(workers, 1, || {
            thread_local! {
                static ENDS: (Sender<u32>, Receiver<u32>) = channel::unbounded();
            }
            let (sender, receiver) = ENDS.with(Clone::clone);
            sender.send(1).unwrap();
            receiver.recv().unwrap();
        });
    }
}

// With a look at every 61st task alone, tasks that compute for half a millisecond would delay a timer by thirty.
#[test]
fn tasks_that_compute_between_two_yields_let_timers_and_wake_ups_through() {
    let _watch = watch();
    assert_prompt(1, 2, || {
        compute(Duration::from_micros(500));
        yield_now();
    });
}

#[test]
fn checkpoints_let_timers_and_wake_ups_through() {
    let _watch = watch();
    assert_prompt(1, 2, || {
        compute(Duration::from_micros(1));
        task::checkpoint();
    });
}

/// A task that spawns the next one, newest first, until it is told to stop.
fn chain(stop: Arc<AtomicBool>) {
    if !stop.load(Ordering::Relaxed) {
        drop(spawn(move || chain(stop)));
    }
}

#[test]
fn the_oldest_fresh_task_gets_its_turn_beside_steps_and_newer_ones() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let (ran, oldest_ran) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let oldest = spawn({
                let ran = ran.clone();
                move || ran.store(true, Ordering::Relaxed)
            });
            let steps = task::spawn_stepped(stop.clone(), |stop| match stop.load(Ordering::Relaxed) {
                true => task::Step::Done(()),
                false => task::Step::Again,
            });
            let watcher = spawn({
                let (ran, oldest_ran, stop) = (ran.clone(), oldest_ran.clone(), stop.clone());
                move || {
                    let began = Instant::now();
                    while !ran.load(Ordering::Relaxed) && began.elapsed() < ms(5000) {
                        yield_now();
                    }
                    oldest_ran.store(ran.load(Ordering::Relaxed), Ordering::Relaxed);
                    stop.store(true, Ordering::Relaxed);
                }
            });
            drop(spawn({
                let stop = stop.clone();
                move || chain(stop)
            }));
            // Not by a join, which would start it in place.
            while !watcher.is_finished() {
                yield_now();
            }
            steps.join().unwrap();
            oldest.join().unwrap();
            assert!(oldest_ran.load(Ordering::Relaxed), "the oldest task never started");
        });
    }
}
