//! Waiting for several objects, joining many, on tasks and on plain threads.

#![cfg(feature = "runtime")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{FOR_EVER, Random, ms, until, watch};
use osier::sync::channel;
use osier::sync::{AsyncResult, Event, Semaphore};
use osier::task::Link;
use osier::{
    JoinHandle, Runtime, Wait, join_all, join_all_deadline, join_all_timeout, run, select, sleep, spawn, wait,
    yield_now,
};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// A task that ends with `value` once `gate` is set.
fn gated<T: Send + 'static>(gate: &Event, value: T) -> JoinHandle<T> {
    let gate = gate.clone();
    spawn(move || {
        gate.wait();
        value
    })
}

/// Counts the end of a task by a link.
fn count_end(task: &JoinHandle<i32>, calls: &Arc<AtomicUsize>) -> Link {
    let calls = calls.clone();
    task.link(move |_| _ = calls.fetch_add(1, Ordering::SeqCst))
}

fn objects<T: Wait>(all: &[T]) -> Vec<&dyn Wait> {
    all.iter().map(|one| one as &dyn Wait).collect()
}

// GV-067
#[test]
fn objects_are_given_in_the_order_in_which_they_get_ready() {
    let _watch = watch();
    run(|| {
        let gates: Vec<_> = (0..5).map(|_| Event::new()).collect();
        let tasks: Vec<_> = gates.iter().map(|gate| gated(gate, ())).collect();
        let all = objects(&tasks);
        let mut waiting = wait(&all);
        for n in [2, 0, 4, 1, 3] {
            gates[n].set();
            assert_eq!(waiting.next(), Some(n));
        }
        assert_eq!((waiting.next(), waiting.next()), (None, None));
    });
}

// GV-067
#[test]
fn several_that_end_before_anybody_looks_keep_their_order() {
    let _watch = watch();
    runtime(1).run(|| {
        let gates: Vec<_> = (0..4).map(|_| Event::new()).collect();
        let all = objects(&gates);
        let mut waiting = wait(&all).count(4);
        // In the queues from the first `next` on.
        gates[3].set();
        assert_eq!(waiting.next(), Some(3));
        [1, 0, 2].into_iter().for_each(|n| gates[n].set());
        assert_eq!(waiting.collect::<Vec<_>>(), [1, 0, 2]);
    });
}

// GV-067, GV-001
#[test]
fn a_count_and_a_timeout_end_it() {
    let _watch = watch();
    // One worker: two that are late may overtake each other.
    runtime(1).run(|| {
        let tasks: Vec<_> = [30, 10, 20].map(|n| spawn(move || sleep(ms(n)))).into();
        let all = objects(&tasks);
        let first_two: Vec<_> = wait(&all).count(2).collect();
        assert_eq!(first_two, [1, 2]);
        assert_eq!(wait(&all).count(0).next(), None);

        let never = Event::new();
        let (set, began) = (Event::new(), Instant::now());
        set.set();
        assert_eq!(wait(&[&never, &set]).timeout(ms(200)).collect::<Vec<_>>(), [1]);
        let took = began.elapsed();
        assert!(took >= ms(100) && took < Duration::from_secs(5), "{took:?}");
        assert_eq!(wait(&[&never]).timeout(Duration::ZERO).next(), None);
        assert_eq!(wait(&[&never, &set]).timeout(Duration::ZERO).collect::<Vec<_>>(), [1]);
        assert_eq!(wait(&[]).next(), None);
    });
}

// GV-065
#[test]
fn the_same_object_twice_is_given_twice() {
    let _watch = watch();
    run(|| {
        let task = spawn(yield_now);
        let mut both: Vec<_> = wait(&[&task, &task]).collect();
        both.sort_unstable();
        assert_eq!(both, [0, 1]);
    });
}

// GV-070
#[test]
fn events_and_results_that_are_set_one_by_one() {
    let _watch = watch();
    run(|| {
        for (count, expected) in [(usize::MAX, 10), (1, 1), (2, 2)] {
            let pairs: Arc<[(Event, AsyncResult<u32>)]> = (0..5).map(|_| (Event::new(), AsyncResult::new())).collect();
            let setter = spawn({
                let pairs = pairs.clone();
                move || {
                    for (event, result) in pairs.iter() {
                        yield_now();
                        event.set();
                        yield_now();
                        result.set(7).unwrap();
                    }
                }
            });
            let all: Vec<_> = pairs.iter().flat_map(|(event, result)| [event as &dyn Wait, result]).collect();
            assert_eq!(wait(&all).count(count).collect::<Vec<_>>(), Vec::from_iter(0..expected));
            setter.join().unwrap();
        }
    });
}

// GV-071
#[test]
fn what_is_ready_is_ready_again() {
    let event = Event::new();
    event.set();
    assert_eq!(wait(&[&event]).collect::<Vec<_>>(), [0]);
    assert_eq!(wait(&[&event]).collect::<Vec<_>>(), [0]);
}

// GV-073
#[test]
fn objects_of_different_kinds() {
    let _watch = watch();
    run(|| {
        let (event, gate) = (Event::new(), Event::new());
        let (result, semaphore) = (AsyncResult::new(), Semaphore::new(0));
        let handle = gated(&gate, 3);
        let task = handle.task();
        let all: [&dyn Wait; 6] = [&event, &handle, &gate, &result, &semaphore, &task];
        let mut waiting = wait(&all);
        event.set();
        assert_eq!(waiting.next(), Some(0));
        semaphore.release();
        assert_eq!(waiting.next(), Some(4));
        assert!(semaphore.try_acquire(), "waiting has taken no permit");
        result.set(5).unwrap();
        assert_eq!(waiting.next(), Some(3));
        gate.set();
        assert_eq!(waiting.next(), Some(2));
        let mut both = [waiting.next(), waiting.next()];
        both.sort_unstable();
        assert_eq!(both, [Some(1), Some(5)]);
        assert_eq!(waiting.next(), None);
        drop(waiting);
        assert_eq!(handle.join().unwrap(), 3);
        // And as branches of a select.
        select! {
            wait(semaphore) => panic!("its permit is taken"),
            wait(result) => {}
        }
    });
}

// GV-068
#[test]
fn leaving_early_leaves_nothing_behind() {
    let _watch = watch();
    run(|| {
        let gates: Vec<_> = (0..3).map(|_| Event::new()).collect();
        gates[1].set();
        {
            let all = objects(&gates);
            assert_eq!(wait(&all).next(), Some(1));
        }
        // A waiter left in the queue of an event would be touched here, after its end.
        gates.iter().for_each(Event::set);
        let all = objects(&gates);
        assert_eq!(wait(&all).count(3).collect::<Vec<_>>(), [0, 1, 2]);
    });
}

#[test]
fn one_that_is_forgotten_harms_nobody() {
    let _watch = watch();
    let event = Event::new();
    {
        let set = Event::new();
        set.set();
        let all: [&dyn Wait; 2] = [&event, &set];
        let mut waiting = wait(&all);
        assert_eq!(waiting.next(), Some(1));
        std::mem::forget(waiting);
    }
    event.set();
    assert!(event.is_set());
}

// GV-004
#[test]
fn a_cancelled_wait_leaves_all_objects() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            for round in 0..100 {
                let gates: Arc<[Event]> = (0..4).map(|_| Event::new()).collect();
                let waits = spawn({
                    let gates = gates.clone();
                    move || wait(&objects(&gates)).count(4).for_each(drop)
                });
                (0..round % 7).for_each(|_| yield_now());
                gates[0].set();
                waits.cancel();
                assert!(waits.join().unwrap_err().is_cancelled());
                gates.iter().for_each(Event::set);
            }
        });
    }
}

#[test]
fn plain_threads_wait_too() {
    let _watch = watch();
    let rt = runtime(2);
    let tasks: Vec<_> = (0..4).map(|n| rt.spawn(move || n)).collect();
    let mut ready: Vec<_> = wait(&objects(&tasks)).collect();
    ready.sort_unstable();
    assert_eq!(ready, [0, 1, 2, 3]);
    assert_eq!(join_all(tasks).unwrap(), [0, 1, 2, 3]);
    let event = Event::new();
    thread::scope(|scope| {
        scope.spawn(|| event.set());
        assert_eq!(wait(&[&event]).next(), Some(0));
    });
}

// GV-061
#[test]
fn joining_all_gives_the_values_in_the_order_of_the_handles() {
    let _watch = watch();
    run(|| {
        let tasks = [3, 1, 2].map(|n| {
            spawn(move || {
                (0..n).for_each(|_| yield_now());
                n
            })
        });
        assert_eq!(join_all(tasks).unwrap(), [3, 1, 2]);
        assert_eq!(join_all(Vec::<JoinHandle<()>>::new()).unwrap(), []);
        let many = (0..1000).map(|n| spawn(move || n));
        assert!(join_all(many).unwrap().into_iter().eq(0..1000));
        // Links that are made before come first, those that are taken back do not come.
        let (gate, calls) = (Event::new(), Arc::new(AtomicUsize::new(0)));
        let tasks = [1, 2, 3].map(|n| gated(&gate, n));
        let links: Vec<_> = tasks.iter().map(|task| count_end(task, &calls)).collect();
        assert!(links[0].unlink());
        let again = count_end(&tasks[0], &calls);
        assert!(again.unlink() && links[2].unlink());
        gate.set();
        assert_eq!(join_all(tasks).unwrap(), [1, 2, 3]);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn joining_all_may_take_so_long_and_no_longer() {
    let _watch = watch();
    run(|| {
        let gate = Event::new();
        let quick = || spawn(|| 1);
        assert_eq!(join_all_timeout([quick(), quick()], ms(60_000)).unwrap(), [1, 1]);
        let slow = gated(&gate, 2);
        let task = slow.task();
        assert!(join_all_timeout([quick(), slow], ms(1)).unwrap_err().is_timeout());
        assert!(!task.is_finished(), "it goes on");
        assert!(join_all_deadline([gated(&gate, 2)], Instant::now()).unwrap_err().is_timeout());
        gate.set();
        task.join().unwrap();
        assert_eq!(join_all_deadline([gated(&gate, 2)], Instant::now() + ms(60_000)).unwrap(), [2]);
        assert!(join_all_timeout(Vec::<JoinHandle<()>>::new(), Duration::ZERO).unwrap().is_empty());
    });
}

// GV-062
#[test]
fn the_first_failure_is_given_at_once_and_the_others_go_on() {
    let _watch = watch();
    run(|| {
        let (gate, (s, r)) = (Event::new(), channel::bounded(1));
        let slow = spawn({
            let gate = gate.clone();
            move || {
                gate.wait();
                s.send("went on").unwrap();
            }
        });
        let failing = spawn(|| {
            yield_now();
            panic!("the first")
        });
        let error = join_all([slow, failing]).unwrap_err();
        assert!(error.is_panic() && error.to_string().contains("the first"));
        gate.set();
        assert_eq!(r.recv(), Ok("went on"));
    });
}

// GV-064
#[test]
fn a_count_of_one_ends_with_the_failing_one_and_leaves_the_endless() {
    let _watch = watch();
    run(|| {
        let endless = spawn(|| sleep(FOR_EVER));
        let failing = spawn(|| -> () { panic!("ends") });
        assert_eq!(wait(&[&endless, &failing]).count(1).collect::<Vec<_>>(), [1]);
        assert!(!endless.is_finished());
        endless.cancel();
        assert!(failing.join().unwrap_err().is_panic());
    });
}

#[test]
fn a_joiner_of_all_that_is_cancelled_detaches_them() {
    let _watch = watch();
    run(|| {
        let (gate, (s, r)) = (Event::new(), channel::unbounded());
        let tasks: Vec<_> = (0..3)
            .map(|n| {
                let (gate, s) = (gate.clone(), s.clone());
                spawn(move || {
                    gate.wait();
                    s.send(n).unwrap();
                })
            })
            .collect();
        let joins = spawn(move || join_all(tasks).map(drop));
        (0..5).for_each(|_| yield_now());
        joins.cancel();
        assert!(joins.join().unwrap_err().is_cancelled());
        gate.set();
        let mut all: Vec<_> = (0..3).map(|_| r.recv().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    });
}

#[test]
fn many_waits_over_the_same_tasks_see_every_end() {
    let _watch = watch();
    let mut random = Random::new();
    for workers in [1, 2, 4] {
        runtime(workers).run(|| {
            for _ in 0..20 {
                let tasks: Arc<[JoinHandle<()>]> = (0..20)
                    .map(|_| {
                        let yields = random.below(10);
                        spawn(move || (0..yields).for_each(|_| yield_now()))
                    })
                    .collect();
                let waits = (0..4).map(|_| {
                    let tasks = tasks.clone();
                    spawn(move || {
                        let mut seen: Vec<_> = wait(&objects(&tasks)).collect();
                        seen.sort_unstable();
                        assert!(seen.into_iter().eq(0..20));
                    })
                });
                join_all(waits.collect::<Vec<_>>()).unwrap();
                until(|| tasks.iter().all(JoinHandle::is_finished));
            }
        });
    }
}

#[test]
fn handles_of_what_is_waited_for_are_waited_for() {
    let _watch = watch();
    run(|| {
        let (event, shared) = (Event::new(), Arc::new(Event::new()));
        let boxed: Box<dyn osier::Wait> = Box::new(event.clone());
        let counted = std::rc::Rc::new(Semaphore::new(1));
        assert_eq!(wait(&[&boxed, &shared, &&counted]).next(), Some(2));
        shared.set();
        event.set();
        assert_eq!(wait(&[&boxed, &shared]).count(2).map(|n| n + 1).sum::<usize>(), 3);
    });
}

// Links run in the order in which they were made, before those go on who wait.
#[test]
fn links_of_a_result_run_in_order_before_those_who_wait() {
    let _watch = watch();
    osier::Runtime::builder().workers(1).build().unwrap().run(|| {
        for linked_first in [true, false] {
            let (result, (says, heard)) = (AsyncResult::new(), channel::unbounded());
            let link = || {
                for n in 0..4 {
                    let says = says.clone();
                    drop(result.link(move |_| says.send(n).unwrap()));
                }
            };
            if linked_first {
                link();
            }
            let getter = spawn({
                let (result, says) = (result.clone(), says.clone());
                move || {
                    let value: i32 = result.get().unwrap();
                    says.send(value).unwrap();
                }
            });
            osier::yield_now();
            result.set(9).unwrap();
            if !linked_first {
                link();
            }
            getter.join().unwrap();
            let heard: Vec<_> = (0..5).map(|_| heard.recv().unwrap()).collect();
            let order: Vec<_> = heard.iter().copied().filter(|&n| n != 9).collect();
            assert_eq!(order, [0, 1, 2, 3]);
            assert!(!linked_first || heard[4] == 9, "{heard:?}");
        }
    });
}
