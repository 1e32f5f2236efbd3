//! gevent's queues: order, limits, joiners, shutting down, and nothing lost when a wait is cut short.

#![cfg(feature = "runtime")]

mod common;

use std::cell::{Cell, RefCell};
use std::cmp::Ordering as Order;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Log, Random, Tally, ms, panic_text, until, watch};
use osier::sync::queue::{GetError, PutError, ShutDown};
use osier::sync::{Channel, Event, JoinableQueue, LifoQueue, PriorityQueue, Queue, SimpleQueue};
use osier::{JoinHandle, Runtime, no_suspend, run, spawn, yield_now};

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
    let queue = Queue::bounded(2);
    assert!(queue.is_empty() && !queue.is_full() && queue.maxsize() == Some(2));
    queue.put("a").unwrap();
    queue.put("b").unwrap();
    assert!(queue.is_full() && queue.len() == 2 && queue.unfinished() == 2);
    assert_eq!(queue.try_put("c"), Err(PutError::Full("c")));
    assert_eq!((queue.try_peek(), queue.peek(), queue.get(), queue.try_get()), (Ok("a"), Ok("a"), Ok("a"), Ok("b")));
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    assert_eq!(format!("{queue:?}"), "Queue { len: 0, maxsize: Some(2), shut_down: false }");
    assert_eq!(Queue::<u8>::new().maxsize(), None);
    assert!(Queue::<u8>::bounded(0).is_full());
}

// ---- orders

/// What both ends see of a queue with room for three, filled and emptied twice; the last put and the first get wait for
/// another task.
macro_rules! fills_and_empties {
    ($name:ident, $queue:ty, $order:expr) => {
        // GV-115
        #[test]
        fn $name() {
            let _watch = watch();
            runtime(1).run(|| {
                let queue = <$queue>::bounded(3);
                for _ in 0..2 {
                    assert!(queue.is_empty() && !queue.is_full());
                    let getter = started({
                        let queue = queue.clone();
                        move || queue.get().unwrap()
                    });
                    queue.put(1).unwrap();
                    assert_eq!(getter.join().unwrap(), 1, "who waits gets it");
                    for item in [111, 333, 222] {
                        queue.put(item).unwrap();
                    }
                    assert!(!queue.is_empty() && queue.is_full());
                    assert_eq!(queue.try_put(999), Err(PutError::Full(999)));
                    assert_eq!(queue.put_timeout(999, ms(2)), Err(PutError::Full(999)));
                    let putter = started({
                        let queue = queue.clone();
                        move || queue.put(444).unwrap()
                    });
                    assert!(!putter.is_finished());
                    let first = queue.get().unwrap();
                    putter.join().unwrap();
                    let rest: Vec<i32> = (0..3).map(|_| queue.get().unwrap()).collect();
                    assert_eq!([&[first], &rest[..]].concat(), $order);
                    assert_eq!(queue.try_get(), Err(GetError::Empty));
                    assert_eq!(queue.get_timeout(ms(2)), Err(GetError::Empty));
                }
            });
        }
    };
}

fills_and_empties!(a_queue_is_first_in_first_out, Queue<i32>, [111, 333, 222, 444]);
fills_and_empties!(a_lifo_queue_is_last_in_first_out, LifoQueue<i32>, [222, 444, 333, 111]);
fills_and_empties!(a_priority_queue_gives_the_smallest, PriorityQueue<i32>, [111, 222, 333, 444]);

#[test]
fn equals_of_a_priority_queue_come_in_the_order_they_were_put() {
    #[derive(Debug)]
    struct Job(u32, usize);
    impl PartialEq for Job {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    impl Eq for Job {}
    impl PartialOrd for Job {
        fn partial_cmp(&self, other: &Self) -> Option<Order> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Job {
        fn cmp(&self, other: &Self) -> Order {
            self.0.cmp(&other.0)
        }
    }
    let queue: PriorityQueue<_> = (0..100).map(|n| Job(u32::from(n % 3 == 0), n)).collect();
    queue.shutdown();
    let got: Vec<_> = (&queue).into_iter().map(|job| (job.0, job.1)).collect();
    assert!(got.is_sorted() && got.len() == 100);
}

// ---- limits and waiting

// GV-106
#[test]
fn the_third_put_waits_for_a_get() {
    let _watch = watch();
    runtime(1).run(|| {
        let (queue, log) = (Queue::bounded(2), Log::default());
        let putter = started({
            let (queue, log) = (queue.clone(), log.clone());
            move || {
                for item in ["a", "b", "c"] {
                    queue.put(item).unwrap();
                    log.push(item);
                }
            }
        });
        assert_eq!(log.take(), ["a", "b"]);
        assert_eq!((0..3).map(|_| queue.get().unwrap()).collect::<Vec<_>>(), ["a", "b", "c"]);
        putter.join().unwrap();
        assert_eq!(log.take(), ["c"]);
    });
}

// GV-107
#[test]
fn each_item_satisfies_one_getter() {
    let _watch = watch();
    runtime(1).run(|| {
        let queue = Queue::new();
        let getters: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                started(move || queue.get().unwrap())
            })
            .collect();
        for n in 1..=4 {
            queue.put(n).unwrap();
            until(|| getters.iter().filter(|g| g.is_finished()).count() == n);
            assert!(queue.is_empty());
        }
        assert!(getters.into_iter().map(|g| g.join().unwrap()).eq(1..=4), "in the order of their arrival");
    });
}

// GV-109, GV-002, H16
#[test]
fn an_item_does_not_go_to_a_getter_that_has_left() {
    let _watch = watch();
    runtime(1).run(|| {
        let queue = Queue::new();
        let get = |queue: &Queue<u32>| {
            let queue = queue.clone();
            started(move || queue.get().unwrap())
        };
        let late: Vec<_> = (0..2)
            .map(|_| {
                let queue = queue.clone();
                started(move || queue.get_timeout(ms(1)))
            })
            .collect();
        assert!(late.into_iter().all(|l| l.join().unwrap() == Err(GetError::Empty)));
        queue.put(1).unwrap();
        assert_eq!(queue.get(), Ok(1));

        let (dead, alive) = (get(&queue), get(&queue));
        dead.cancel();
        until(|| dead.is_finished());
        queue.put(2).unwrap();
        assert_eq!(alive.join().unwrap(), 2);
        assert!(dead.join().is_err() && queue.is_empty());

        // Given, then cancelled: the get returns it.
        let given = get(&queue);
        queue.put(3).unwrap();
        given.cancel();
        assert_eq!(given.join().unwrap(), 3);

        let began = Instant::now();
        assert_eq!(queue.get_timeout(Duration::ZERO), Err(GetError::Empty));
        assert_eq!(queue.get_deadline(Instant::now() + ms(10)), Err(GetError::Empty));
        assert!(began.elapsed() >= ms(10));
    });
}

// GV-110
#[test]
fn what_a_task_puts_last_is_delivered() {
    let _watch = watch();
    run(|| {
        let queue = Queue::new();
        let putter = {
            let queue = queue.clone();
            spawn(move || queue.put("last").unwrap())
        };
        putter.join().unwrap();
        assert_eq!(queue.get(), Ok("last"));
    });
}

// GV-112, GV-113
#[test]
fn what_never_waits_serves_those_who_do() {
    let _watch = watch();
    runtime(1).run(|| {
        let queue = Queue::bounded(1);
        assert_eq!((queue.try_put(4), queue.try_put(5)), (Ok(()), Err(PutError::Full(5))));
        let putter = started({
            let queue = queue.clone();
            move || queue.put(6).unwrap()
        });
        assert_eq!((queue.try_get(), queue.try_get(), queue.try_get()), (Ok(4), Ok(6), Err(GetError::Empty)));
        putter.join().unwrap();
        let getter = started({
            let queue = queue.clone();
            move || queue.get().unwrap()
        });
        assert_eq!(queue.try_put(7), Ok(()));
        assert_eq!(getter.join().unwrap(), 7);
        assert!(queue.is_empty());
    });
}

// GV-130: at once, not at the next get as in gevent.
#[test]
fn more_room_wakes_putters_at_once() {
    let _watch = watch();
    runtime(1).run(|| {
        let queue = Queue::bounded(1);
        let putters: Vec<_> = (0..4)
            .map(|n| {
                let queue = queue.clone();
                started(move || queue.put(n).unwrap())
            })
            .collect();
        queue.set_maxsize(3);
        until(|| putters.iter().filter(|p| p.is_finished()).count() == 3);
        assert_eq!(queue.len(), 3);
        queue.set_maxsize(None);
        putters.into_iter().for_each(|p| p.join().unwrap());
        assert!((0..4).map(|_| queue.get().unwrap()).eq(0..4));
        queue.set_maxsize(0);
        assert!(queue.try_put(9).is_err());

        let prio = PriorityQueue::bounded(1);
        let putters = [3, 1, 2].map(|n| {
            let prio = prio.clone();
            started(move || prio.put(n).unwrap())
        });
        prio.set_maxsize(9);
        putters.into_iter().for_each(|p| p.join().unwrap());
        assert_eq!([prio.get(), prio.get(), prio.get()], [Ok(1), Ok(2), Ok(3)]);
    });
}

/// A place was kept for it, so it has its turn.
#[test]
fn an_item_that_was_let_in_goes_in_although_the_limit_came_down() {
    let _watch = watch();
    runtime(1).run(|| {
        let queue = PriorityQueue::bounded(1);
        queue.put(1).unwrap();
        let putter = started({
            let queue = queue.clone();
            move || queue.put(2)
        });
        // Makes room, which is kept for the putter; it has not run yet.
        assert_eq!(queue.try_get(), Ok(1));
        queue.set_maxsize(0);
        assert_eq!(putter.join().unwrap(), Ok(()));
        assert_eq!((queue.len(), queue.unfinished()), (1, 2));
        assert_eq!(queue.try_put(3), Err(PutError::Full(3)));
        assert_eq!(queue.try_get(), Ok(2));
    });
}

#[test]
fn without_any_room_items_go_from_hand_to_hand() {
    let _watch = watch();
    runtime(1).run(|| {
        let queue = PriorityQueue::bounded(0);
        let putters = [2, 1].map(|n| {
            let queue = queue.clone();
            started(move || queue.put(n).unwrap())
        });
        assert!(queue.is_empty() && queue.is_full());
        assert_eq!((queue.get(), queue.try_get()), (Ok(2), Ok(1)));
        putters.into_iter().for_each(|p| p.join().unwrap());
    });
}

#[test]
fn peeking_waits_and_takes_nothing() {
    let _watch = watch();
    runtime(1).run(|| {
        let queue = Queue::new();
        assert_eq!(queue.peek_timeout(ms(1)), Err(GetError::Empty));
        assert_eq!(queue.try_peek(), Err(GetError::Empty));
        let peekers = [0, 1].map(|_| {
            let queue = queue.clone();
            started(move || queue.peek())
        });
        queue.put(5).unwrap();
        assert!(peekers.into_iter().all(|p| p.join().unwrap() == Ok(5)));
        assert_eq!((queue.peek(), queue.get()), (Ok(5), Ok(5)));
        let peeker = {
            let queue = queue.clone();
            started(move || queue.peek())
        };
        queue.shutdown();
        assert_eq!(peeker.join().unwrap(), Err(ShutDown(())));
    });
}

// ---- joining

// GV-116
#[test]
fn joining_waits_for_every_task_done_and_may_be_repeated() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let (queue, sum) = (JoinableQueue::new(), Arc::new(AtomicUsize::new(0)));
            let handles: Vec<_> = (0..2)
                .map(|_| {
                    let (queue, sum) = (queue.clone(), sum.clone());
                    spawn(move || {
                        for n in &queue {
                            yield_now();
                            sum.fetch_add(n, Ordering::SeqCst);
                            queue.task_done();
                        }
                    })
                })
                .collect();
            for round in 1..=2 {
                (0..100).for_each(|n| queue.put(n).unwrap());
                queue.join();
                assert_eq!((sum.load(Ordering::SeqCst), queue.unfinished()), (4950 * round, 0));
                queue.join();
            }
            queue.shutdown();
            handles.into_iter().for_each(|h| h.join().unwrap());
        });
    }
}

// GV-122
#[test]
fn joining_a_queue_that_was_never_used_returns_at_once() {
    Queue::<u8>::new().join();
    assert!(Queue::<u8>::new().join_timeout(Duration::ZERO));
}

#[test]
fn too_many_task_dones_and_too_little_time() {
    let _watch = watch();
    let queue = Queue::new();
    assert!(panic_text(|| queue.task_done()).contains("too often"));
    queue.put(1).unwrap();
    assert!(!queue.join_timeout(ms(2)) && !queue.join_timeout(Duration::ZERO));
    queue.task_done();
    assert!(queue.join_timeout(Duration::MAX));
    assert!(panic_text(|| queue.task_done()).contains("too often"));
}

// ---- shutting down

// GV-119
#[test]
fn after_a_shutdown_nothing_is_put_and_the_rest_can_be_got() {
    let _watch = watch();
    let queue = Queue::bounded(2);
    queue.put("one").unwrap();
    queue.put("two").unwrap();
    queue.shutdown();
    assert!(queue.is_shut_down());
    assert_eq!(queue.put("x"), Err(ShutDown("x")));
    assert_eq!(queue.try_put("x"), Err(PutError::ShutDown("x")));
    assert_eq!(queue.put_timeout("x", ms(1)), Err(PutError::ShutDown("x")));
    assert_eq!((queue.get(), queue.try_get()), (Ok("one"), Ok("two")));
    assert_eq!((queue.get(), queue.try_get()), (Err(ShutDown(())), Err(GetError::ShutDown)));
    assert_eq!(queue.get_timeout(ms(1)), Err(GetError::ShutDown));
    queue.task_done();
    queue.task_done();
    queue.join();
    queue.shutdown();
    let texts = [ShutDown(1).to_string(), PutError::Full(1).to_string(), GetError::Empty.to_string()];
    assert_eq!(texts, ["the queue is shut down", "the queue is full", "the queue is empty"]);
}

// GV-121
#[test]
fn a_shutdown_ends_every_wait() {
    let _watch = watch();
    runtime(1).run(|| {
        let (empty, full) = (Queue::<u32>::new(), PriorityQueue::bounded(1));
        full.put(0).unwrap();
        let getter = {
            let queue = empty.clone();
            started(move || queue.get())
        };
        let putter = {
            let queue = full.clone();
            started(move || queue.put(5))
        };
        let reader = {
            let queue = empty.clone();
            started(move || (&queue).into_iter().count())
        };
        empty.shutdown();
        full.shutdown();
        assert_eq!(getter.join().unwrap(), Err(ShutDown(())));
        assert_eq!(putter.join().unwrap(), Err(ShutDown(5)), "the item comes back");
        assert_eq!(reader.join().unwrap(), 0);
        assert_eq!(full.get(), Ok(0));
    });
}

#[test]
fn shutdown_now_drops_what_is_left_and_frees_the_joiners() {
    let _watch = watch();
    runtime(1).run(|| {
        let (queue, tally) = (Queue::new(), Tally::default());
        (0..5).for_each(|_| queue.put(tally.token()).unwrap());
        drop(queue.get());
        queue.task_done();
        let joiner = {
            let queue = queue.clone();
            started(move || queue.join())
        };
        queue.shutdown_now();
        joiner.join().unwrap();
        tally.assert_all_dropped(5);
        assert!(queue.is_empty() && queue.get().is_err() && queue.unfinished() == 0);
    });
}

// ---- items of all kinds

/// Panics when it is compared while `ARMED` says so.
#[derive(Debug, PartialEq, Eq)]
struct Moody(u32);

thread_local!(static ARMED: Cell<bool> = const { Cell::new(false) });

impl Ord for Moody {
    fn cmp(&self, other: &Self) -> Order {
        assert!(!ARMED.get(), "not now");
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Moody {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

// GV-118
#[test]
fn an_order_that_panics_does_so_in_the_right_call_and_leaves_the_queue_whole() {
    let _watch = watch();
    runtime(1).run(|| {
        let queue = PriorityQueue::bounded(4);
        for n in [3, 1, 2] {
            queue.put(Moody(n)).unwrap();
        }
        ARMED.set(true);
        assert_eq!(panic_text(|| queue.put(Moody(0))), "not now");
        assert_eq!(panic_text(|| queue.try_get()), "not now");
        ARMED.set(false);
        assert_eq!((queue.len(), queue.unfinished(), queue.is_full()), (3, 3, false));
        queue.put(Moody(4)).unwrap();

        // A putter that waits puts its item in itself: its panic is its own, and the place goes to the next.
        let put = |n| {
            let queue = queue.clone();
            started(move || queue.put(Moody(n)).is_ok())
        };
        let (bad, good) = (put(9), put(8));
        assert_eq!(queue.get().unwrap(), Moody(1));
        ARMED.set(true);
        until(|| bad.is_finished());
        ARMED.set(false);
        assert!(bad.join().unwrap_err().is_panic());
        assert!(good.join().unwrap());
        let rest: Vec<_> = (0..4).map(|_| queue.get().unwrap().0).collect();
        assert_eq!(rest, [2, 3, 4, 8]);
    });
}

#[test]
fn an_order_or_a_clone_that_waits_is_a_panic_and_no_deadlock() {
    #[derive(PartialEq, Eq)]
    struct Waits;
    impl Ord for Waits {
        fn cmp(&self, _: &Self) -> Order {
            yield_now();
            Order::Equal
        }
    }
    impl PartialOrd for Waits {
        fn partial_cmp(&self, other: &Self) -> Option<Order> {
            Some(self.cmp(other))
        }
    }
    impl Clone for Waits {
        fn clone(&self) -> Self {
            yield_now();
            Self
        }
    }
    let _watch = watch();
    runtime(1).run(|| {
        let queue = PriorityQueue::new();
        queue.put(Waits).unwrap_or_else(|_| panic!("there is room"));
        assert!(catch_unwind(AssertUnwindSafe(|| queue.put(Waits).is_ok())).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| queue.peek().is_ok())).is_err());
        assert_eq!(queue.len(), 1);
        assert!(queue.get().is_ok());
    });
}

#[test]
fn a_queue_of_what_is_not_send_serves_local_tasks() {
    let _watch = watch();
    runtime(2).run(|| {
        let (queue, seen) = (Queue::<Rc<Cell<u32>>>::bounded(1), Rc::new(RefCell::new(Vec::new())));
        let reader = osier::spawn_local({
            let (queue, seen) = (queue.clone(), seen.clone());
            move || (&queue).into_iter().for_each(|item| seen.borrow_mut().push(item.replace(0)))
        });
        for n in 0..10 {
            queue.put(Rc::new(Cell::new(n))).unwrap_or_else(|_| panic!("not shut down"));
        }
        queue.shutdown();
        reader.join().unwrap();
        assert!(seen.borrow().iter().copied().eq(0..10));
        assert!(format!("{:?}", queue.try_put(Rc::new(Cell::new(1)))).contains("ShutDown"));
    });
}

#[test]
fn errors_are_debug_for_any_item() {
    struct Plain;
    let queue = Queue::bounded(1);
    queue.put(Plain).unwrap();
    assert_eq!(format!("{:?}", queue.try_put(Plain).unwrap_err()), "Full(..)");
    queue.shutdown();
    assert_eq!(format!("{:?} {:?}", queue.try_put(Plain), queue.put(Plain)), "Err(ShutDown(..)) Err(ShutDown(..))");
    assert!(queue.put(Plain).map_err(ShutDown::into_inner).is_err());
    assert!(queue.try_put(Plain).map_err(|e| (e.is_full(), e.is_shut_down())) == Err((false, true)));
}

// ---- many at once

#[test]
fn random_calls_lose_nothing_and_double_nothing() {
    let _watch = watch();
    let mut random = Random::new();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let (queue, tally) = (Queue::bounded(3), Tally::default());
        let (put, got) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..24)
            .map(|n| {
                let (queue, tally, seed) = (queue.clone(), tally.clone(), random.below(1 << 30));
                let (put, got) = (put.clone(), got.clone());
                runtime.spawn(move || {
                    let mut random = Random::seeded(seed);
                    for _ in 0..100 {
                        let patience = Duration::from_micros(random.below(100));
                        if n % 2 == 0 {
                            // Counted before it may be cancelled: the next wait is where that happens.
                            let item = tally.token();
                            put.fetch_add(usize::from(queue.put_timeout(item, patience).is_ok()), Ordering::SeqCst);
                        } else {
                            let item = queue.get_timeout(patience);
                            got.fetch_add(usize::from(item.is_ok()), Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        for _ in 0..12 {
            tasks[usize::try_from(random.below(24)).unwrap()].cancel();
            yield_now();
        }
        tasks.into_iter().for_each(|t| drop(t.join()));
        let left = std::iter::from_fn(|| queue.try_get().ok()).count();
        assert_eq!(put.load(Ordering::SeqCst), got.load(Ordering::SeqCst) + left);
        drop(queue);
        tally.assert_all_dropped(tally.made());
    }
}

#[test]
fn tasks_and_threads_share_a_queue() {
    let _watch = watch();
    let queue = PriorityQueue::bounded(8);
    let sum = Arc::new(AtomicUsize::new(0));
    let read = |queue: PriorityQueue<usize>, sum: Arc<AtomicUsize>| {
        move || (&queue).into_iter().for_each(|n| _ = sum.fetch_add(n, Ordering::SeqCst))
    };
    let task = spawn(read(queue.clone(), sum.clone()));
    let outside = thread::spawn(read(queue.clone(), sum.clone()));
    let putters: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            spawn(move || (0..1000).for_each(|n| queue.put(n).unwrap()))
        })
        .collect();
    (0..1000).for_each(|n| queue.put(n).unwrap());
    putters.into_iter().for_each(|p| p.join().unwrap());
    queue.shutdown();
    task.join().unwrap();
    outside.join().unwrap();
    assert_eq!(sum.load(Ordering::SeqCst), 4 * 499_500);
}

#[test]
fn a_simple_queue_is_never_full() {
    let _watch = watch();
    let queue = SimpleQueue::new();
    let getter = {
        let queue = queue.clone();
        spawn(move || (0..100).map(|_| queue.get()).sum::<u32>())
    };
    (0..100).for_each(|n| queue.put(n));
    assert_eq!(getter.join().unwrap(), 4950);
    assert!(queue.is_empty());
    assert_eq!(queue.len(), 0, "as many as there are");
    assert_eq!(queue.get_timeout(ms(1)), Err(GetError::Empty));
    assert_eq!(format!("{queue:?}"), "SimpleQueue { len: 0 }");
}

// ---- the channel

// GV-125
#[test]
fn a_putter_of_a_channel_waits_for_its_receiver() {
    let _watch = watch();
    runtime(1).run(|| {
        let channel = Channel::new();
        let putter = {
            let channel = channel.clone();
            started(move || channel.put(1).unwrap())
        };
        assert!(!putter.is_finished());
        assert_eq!(channel.get(), Ok(1));
        putter.join().unwrap();
        assert_eq!(channel.try_put(2), Err(PutError::Full(2)));
        assert_eq!(channel.put_timeout(2, ms(1)), Err(PutError::Full(2)));
        assert_eq!((channel.try_get(), channel.get_timeout(ms(1))), (Err(GetError::Empty), Err(GetError::Empty)));
    });
}

// GV-127
#[test]
fn a_put_returns_once_its_receiver_runs_on_with_the_item() {
    let _watch = watch();
    runtime(1).run(|| {
        let (channel, log) = (Channel::new(), Log::default());
        let putter = spawn({
            let (channel, log) = (channel.clone(), log.clone());
            move || {
                log.push("sending hello");
                channel.put("hello").unwrap();
                log.push("sending world");
                channel.put("world").unwrap();
                log.push("sent world");
            }
        });
        log.push("waiting");
        log.push(channel.get().unwrap());
        log.push(channel.get().unwrap());
        assert_eq!(log.take(), ["waiting", "sending hello", "hello", "sending world", "world"]);
        putter.join().unwrap();
        assert_eq!(log.take(), ["sent world"]);
    });
}

#[test]
fn a_put_that_must_not_wait_hands_nothing_over() {
    let _watch = watch();
    runtime(1).run(|| {
        let channel = Channel::new();
        let getter = {
            let channel = channel.clone();
            started(move || channel.get())
        };
        let refused = panic_text(|| no_suspend(|| channel.put(1)));
        assert!(refused.starts_with("cannot wait inside `no_suspend`"), "{refused}");
        (0..3).for_each(|_| yield_now());
        assert!(!getter.is_finished());
        no_suspend(|| channel.try_put(2)).expect("this never waits");
        assert_eq!(getter.join().unwrap(), Ok(2));
        channel.shutdown();
        assert!(no_suspend(|| channel.put(3)).is_err(), "there is nothing to wait for");
    });
}

// GV-128
#[test]
fn a_channel_that_is_shut_down_ends_iterations_and_waits() {
    let _watch = watch();
    runtime(1).run(|| {
        let channel = Channel::<u32>::new();
        let reader = {
            let channel = channel.clone();
            started(move || (&channel).into_iter().count())
        };
        channel.shutdown();
        assert_eq!(reader.join().unwrap(), 0);
        assert!(channel.is_shut_down() && channel.get() == Err(ShutDown(())));
        assert_eq!((channel.put(1), channel.try_put(2)), (Err(ShutDown(1)), Err(PutError::ShutDown(2))));
        let channel = Channel::new();
        let putter = {
            let channel = channel.clone();
            started(move || channel.put(7))
        };
        channel.shutdown();
        assert_eq!(putter.join().unwrap(), Err(ShutDown(7)));
    });
}

// H16
#[test]
fn a_cancelled_putter_has_put_or_not() {
    let _watch = watch();
    runtime(1).run(|| {
        let channel = Channel::new();
        let put = |item: u32| {
            let channel = channel.clone();
            started(move || channel.put(item).is_ok())
        };
        let lonely = put(1);
        lonely.cancel();
        assert!(lonely.join().is_err() && channel.try_get() == Err(GetError::Empty));

        // Handed over, then cancelled: it has put.
        let getter = {
            let channel = channel.clone();
            started(move || channel.get())
        };
        let putter = put(2);
        putter.cancel();
        assert_eq!(getter.join().unwrap(), Ok(2));
        assert!(putter.join().unwrap());

        // A getter that is cancelled once it was given an item returns it, and its putter goes on.
        let getter = {
            let channel = channel.clone();
            started(move || channel.get())
        };
        let putter = put(3);
        getter.cancel();
        assert_eq!(getter.join().unwrap(), Ok(3));
        assert!(putter.join().unwrap());
    });
}

#[test]
fn channels_between_tasks_and_threads_lose_nothing() {
    let _watch = watch();
    for workers in [1, 4] {
        let runtime = runtime(workers);
        let (channel, sum) = (Channel::new(), Arc::new(AtomicU32::new(0)));
        let readers: Vec<_> = (0..3)
            .map(|n| {
                let (channel, sum) = (channel.clone(), sum.clone());
                let body = move || (&channel).into_iter().for_each(|n: u32| _ = sum.fetch_add(n, Ordering::SeqCst));
                if n == 0 { Err(thread::spawn(body)) } else { Ok(runtime.spawn(body)) }
            })
            .collect();
        let putters: Vec<_> = (0..4)
            .map(|_| {
                let channel = channel.clone();
                runtime.spawn(move || (0..250).for_each(|n| channel.put(n).unwrap()))
            })
            .collect();
        putters.into_iter().for_each(|p| p.join().unwrap());
        channel.shutdown();
        for reader in readers {
            match reader {
                Ok(task) => task.join().unwrap(),
                Err(thread) => thread.join().unwrap(),
            }
        }
        assert_eq!(sum.load(Ordering::SeqCst), 4 * 31_125);
    }
}

#[test]
fn a_queue_is_iterated_by_value_where_its_handle_goes_along() {
    let _watch = watch();
    run(|| {
        let queue = Queue::new();
        let takes = queue.clone();
        let sum = spawn(move || {
            let mut sum = 0;
            for n in takes {
                sum += n;
            }
            sum
        });
        (1..=4).for_each(|n| queue.put(n).unwrap());
        queue.shutdown();
        assert_eq!(sum.join().unwrap(), 10);
        let refused: Result<u32, osier::sync::ShutDown> = queue.get();
        assert_eq!(refused, Err(osier::sync::ShutDown(())));
    });
}
