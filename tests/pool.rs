//! Groups and pools: places, members, maps in order and as they get ready, failures, killing.

#![cfg(feature = "runtime")]

mod common;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{FOR_EVER, Log, OnDrop, Tally, ms, panic_text, rounds, until, watch};
use osier::pool::{Full, IMap};
use osier::sync::{AsyncResult, Event, channel};
use osier::{
    Generator, Group, JoinHandle, Pool, Runtime, Yielder, catch, raise, run, sleep, spawn, task, timeout, yield_now,
};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

#[derive(Debug, PartialEq)]
struct Oops(u32);

impl fmt::Display for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oops {}", self.0)
    }
}

impl std::error::Error for Oops {}

/// Tasks that wait for each other's stages: a body says that it runs, and waits to be let go.
#[derive(Clone, Default)]
struct Gate {
    running: Arc<AtomicUsize>,
    open: Event,
}

impl Gate {
    fn pass(&self) {
        self.running.fetch_add(1, Ordering::SeqCst);
        self.open.wait();
    }

    fn wait_for(&self, n: usize) {
        until(|| self.running.load(Ordering::SeqCst) == n);
    }
}

#[test]
fn smoke() {
    let _watch = watch();
    let pool = Pool::new(2);
    assert_eq!((pool.len(), pool.free(), pool.is_empty(), pool.is_full()), (0, 2, true, false));
    assert_eq!(pool.spawn(|| 6 * 7).join().unwrap(), 42);
    pool.join().unwrap();
    assert_eq!(format!("{pool:?} {:?}", Group::new()), "Pool { len: 0, free: 2 } Group { len: 0 }");
    assert_eq!(Group::default().map(0..3, |n| n + 1), [1, 2, 3]);
}

// ---- places

// GV-148, GV-001
#[test]
fn a_spawn_into_a_full_pool_waits_for_a_place() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let (pool, gate) = (Pool::new(1), Gate::default());
            let first = pool.spawn({
                let gate = gate.clone();
                move || gate.pass()
            });
            gate.wait_for(1);
            let spawned = Arc::new(AtomicBool::new(false));
            let spawner = spawn({
                let (pool, spawned) = (pool.clone(), spawned.clone());
                move || {
                    let second = pool.spawn(|| 2);
                    spawned.store(true, Ordering::SeqCst);
                    second.join().unwrap()
                }
            });
            assert!(pool.join_timeout(ms(10)).unwrap_err().is_timeout());
            assert!(!spawned.load(Ordering::SeqCst) && pool.is_full() && pool.len() == 1);
            assert!(!pool.wait_free_timeout(ms(1)));
            gate.open.set();
            first.join().unwrap();
            assert_eq!(spawner.join().unwrap(), 2);
            pool.join().unwrap();
            assert_eq!(pool.free(), 1);
            pool.wait_free();
        });
    }
}

// GV-156, without the half about a negative number
#[test]
fn a_pool_without_places_is_full() {
    let _watch = watch();
    runtime(1).run(|| {
        let pool = Pool::new(0);
        assert_eq!((pool.free(), pool.is_full(), pool.is_empty()), (0, true, true));
        assert!(!pool.wait_free_timeout(ms(10)));
        assert!(pool.try_spawn(|| ()).is_err());
        assert_eq!(pool.map(0..0, |n| n), []);
        let spawner = spawn({
            let pool = pool.clone();
            move || drop(pool.spawn(|| unreachable!("there is no place")))
        });
        yield_now();
        assert!(!spawner.is_finished());
        spawner.kill();
        let waits = pool.apply_async(|| unreachable!("there is no place"));
        assert!(pool.join_timeout(ms(1)).unwrap_err().is_timeout());
        pool.kill();
        assert!(spawner.join().unwrap_err().is_cancelled() && waits.join().unwrap_err().is_cancelled());
        pool.join().unwrap();
    });
}

#[test]
fn never_more_members_than_places() {
    let _watch = watch();
    for (workers, places) in [(1, 3), (4, 2), (8, 8)] {
        runtime(workers).run(|| {
            let pool = Pool::new(places);
            let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let work = |_| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
            };
            pool.map(0..200, work);
            assert!((1..=places).contains(&most.into_inner()));
            assert_eq!(pool.free(), places);
        });
    }
}

#[test]
fn a_spawn_that_gets_no_place_in_time_gives_the_closure_back() {
    let _watch = watch();
    runtime(1).run(|| {
        let (pool, gate) = (Pool::new(1), Gate::default());
        let pass = {
            let gate = gate.clone();
            move || gate.pass()
        };
        let first = pool.spawn_timeout(ms(60_000), pass).unwrap();
        assert_eq!(pool.spawn_timeout(ms(1), || 7).unwrap_err().into_inner()(), 7);
        assert!(pool.spawn_deadline(std::time::Instant::now(), || 7).is_err());
        gate.wait_for(1);
        let opens = gate.open.clone();
        let opener = spawn(move || opens.set());
        assert_eq!(pool.spawn_timeout(ms(60_000), || 8).unwrap().join().unwrap(), 8);
        first.join().unwrap();
        opener.join().unwrap();
        let local = Pool::local(1);
        let shared = Rc::new(9);
        let waits = local.spawn(yield_now);
        assert!(local.spawn_timeout(ms(0), || ()).is_err());
        assert_eq!(
            *local.spawn_deadline(std::time::Instant::now() + ms(60_000), move || shared).unwrap().join().unwrap(),
            9
        );
        waits.join().unwrap();
    });
}

#[test]
fn try_spawn_gives_the_closure_back() {
    let _watch = watch();
    run(|| {
        let (pool, gate) = (Pool::new(1), Gate::default());
        let body = gate.clone();
        let first = pool.try_spawn(move || body.pass()).unwrap();
        let refused = pool.try_spawn(|| 5).unwrap_err();
        assert_eq!(format!("{refused:?}: {refused}"), "Full(..): the pool is full");
        assert_eq!(refused.into_inner()(), 5);
        gate.open.set();
        first.join().unwrap();
        assert_eq!(pool.try_spawn(|| 6).unwrap().join().unwrap(), 6);
    });
}

// GV-154
#[test]
fn a_discarded_member_runs_on_and_its_place_is_free_once() {
    let _watch = watch();
    run(|| {
        let (pool, gate) = (Pool::new(2), Gate::default());
        let member = pool.spawn({
            let gate = gate.clone();
            move || gate.pass()
        });
        gate.wait_for(1);
        assert!(pool.contains(&member.task()) && pool.tasks() == [member.task()]);
        pool.discard(&member.task());
        pool.discard(&member.task());
        assert_eq!((pool.len(), pool.free()), (0, 2));
        pool.join().unwrap();
        assert!(!member.is_finished());
        member.kill();
        assert_eq!((pool.len(), pool.free()), (0, 2));
    });
}

// GV-154
#[test]
fn one_that_is_discarded_before_it_starts_stays_out() {
    let _watch = watch();
    runtime(1).run(|| {
        let (pool, gate) = (Pool::new(2), Gate::default());
        let member = pool.spawn({
            let gate = gate.clone();
            move || gate.pass()
        });
        assert!(pool.contains(&member.task()));
        pool.discard(&member.task());
        assert_eq!((pool.len(), pool.free()), (0, 2));
        // Now it starts.
        gate.wait_for(1);
        assert!(!pool.contains(&member.task()));
        assert_eq!((pool.len(), pool.free()), (0, 2));
        pool.join_timeout(ms(10)).expect("nobody is to be waited for");
        gate.open.set();
        member.join().unwrap();
        assert_eq!((pool.len(), pool.free()), (0, 2));
    });
}

// GV-154
#[test]
fn one_that_is_discarded_while_it_waits_for_its_place_leaves_it_free() {
    let _watch = watch();
    runtime(1).run(|| {
        for has_started in [false, true] {
            let (pool, gate) = (Pool::new(1), Gate::default());
            let pass = || {
                let gate = gate.clone();
                move || gate.pass()
            };
            let first = pool.spawn(pass());
            gate.wait_for(1);
            let second = pool.apply_async(pass());
            if has_started {
                (0..3).for_each(|_| yield_now());
            }
            assert!(pool.contains(&second.task()));
            pool.discard(&second.task());
            (0..3).for_each(|_| yield_now());
            assert!(!pool.contains(&second.task()));
            first.kill();
            gate.wait_for(2);
            assert_eq!((pool.len(), pool.free()), (0, 1));
            pool.join_timeout(ms(10)).expect("nobody is to be waited for");
            gate.open.set();
            second.join().unwrap();
            assert_eq!(pool.free(), 1);
        }
    });
}

#[test]
fn members_that_are_discarded_at_any_moment_stay_out() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let pool = Pool::new(3);
            for n in 0..rounds(2000) {
                let member = match n % 2 {
                    0 => pool.spawn(yield_now),
                    _ => pool.apply_async(yield_now),
                };
                pool.discard(&member.task());
                if member.is_finished() || n % 3 == 0 {
                    member.join().unwrap();
                }
                assert_eq!(pool.len(), 0);
            }
            pool.join().unwrap();
            assert!(pool.tasks().is_empty());
            until(|| pool.free() == 3);
        });
    }
}

// GV-155
#[test]
fn adding_to_a_full_pool_waits_or_is_refused() {
    let _watch = watch();
    runtime(1).run(|| {
        let (pool, gate) = (Pool::new(1), Gate::default());
        let task = |gate: &Gate| {
            let gate = gate.clone();
            spawn(move || gate.pass())
        };
        let (first, second) = (task(&gate), task(&gate));
        pool.add(&first.task());
        pool.add(&first.task());
        assert_eq!((pool.len(), pool.free()), (1, 0), "once");
        assert_eq!(pool.try_add(&second.task()), Err(Full(())));
        assert_eq!(pool.add_timeout(&second.task(), ms(2)), Err(Full(())));
        assert!(!pool.contains(&second.task()));
        let adder = spawn({
            let (pool, second) = (pool.clone(), second.task());
            move || pool.add(&second)
        });
        yield_now();
        assert!(!adder.is_finished());
        first.kill();
        adder.join().unwrap();
        assert_eq!(pool.tasks(), [second.task()]);
        gate.open.set();
        pool.join().unwrap();
        assert!(second.is_finished() && pool.free() == 1);
    });
}

// GV-173
#[test]
fn who_has_ended_is_no_member() {
    let _watch = watch();
    run(|| {
        let ended = spawn(|| ());
        let task = ended.task();
        ended.join().unwrap();
        let (group, pool) = (Group::new(), Pool::new(1));
        group.add(&task);
        pool.add(&task);
        assert_eq!((group.len(), pool.len(), pool.free(), pool.try_add(&task)), (0, 0, 1, Ok(())));
        group.join().unwrap();
    });
}

// ---- groups

// GV-169
#[test]
fn members_vanish_when_they_are_done() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let group = Group::new();
            let gates = [Gate::default(), Gate::default()];
            let members = gates.clone().map(|gate| group.spawn(move || gate.pass()));
            assert_eq!(group.len(), 2);
            let mut members = members.into_iter();
            for (gate, left) in gates.iter().zip([1, 0]) {
                gate.open.set();
                members.next().unwrap().join().unwrap();
                assert_eq!(group.len(), left, "a member has left before its joiner goes on");
            }
            group.join().unwrap();
            group.join_timeout(Duration::ZERO).unwrap();
        });
    }
}

// GV-170
#[test]
fn killing_waits_and_cancelling_does_not() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            for wait in [true, false] {
                let (group, gate) = (Group::new(), Gate::default());
                let members = [gate.clone(), gate.clone()].map(|gate| group.spawn(move || gate.pass()));
                gate.wait_for(2);
                if wait {
                    group.kill();
                    assert_eq!(group.len(), 0);
                } else {
                    group.cancel();
                    until(|| group.is_empty());
                }
                assert!(members.into_iter().all(|m| m.join().unwrap_err().is_cancelled()));
                group.join().expect("who was cancelled has not failed");
                group.kill();
            }
        });
    }
}

// GV-172
#[test]
fn joining_gives_the_earliest_failure_once() {
    let _watch = watch();
    runtime(1).run(|| {
        let group = Group::new();
        let members: Vec<_> = (0..3)
            .map(|n| {
                group.spawn(move || {
                    (0..3 - n).for_each(|_| yield_now());
                    raise(Oops(n))
                })
            })
            .collect::<Vec<JoinHandle<()>>>();
        let error = group.join().unwrap_err();
        assert_eq!(error.exception().unwrap().downcast_ref(), Some(&Oops(2)), "the first in time");
        group.join().expect("it was told");
        assert!(members.into_iter().all(|m| m.join().is_err()));
        let fine = group.spawn(|| 1);
        group.join().unwrap();
        fine.join().unwrap();
    });
}

#[test]
fn joining_does_not_give_again_what_somebody_was_told() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let pool = Pool::new(2);
            assert!(catch(|| pool.apply(|| -> () { raise(Oops(1)) })).is_err());
            pool.join().expect("`apply` has raised it");
            assert!(catch(|| pool.map([2, 3], |n| -> () { raise(Oops(n)) })).is_err());
            pool.join().expect("`map` has raised one and looked at the other");
            assert!(pool.spawn(|| -> () { raise(Oops(4)) }).join().is_err());
            pool.join().expect("the handle's join gave it");
            let told = pool.spawn(|| -> () { raise(Oops(5)) });
            let fails = pool.spawn(|| -> () { raise(Oops(6)) });
            until(|| fails.is_finished());
            assert!(told.join().is_err());
            let error = pool.join().unwrap_err();
            assert_eq!(error.exception().unwrap().downcast_ref(), Some(&Oops(6)), "the first that nobody was told");
            drop(fails);
            pool.join().expect("it was told");
        });
    }
}

/// A group that nobody joins does not keep what its members failed with.
#[test]
fn failures_that_nobody_will_ask_for_are_dropped() {
    let _watch = watch();
    struct Holds(#[allow(dead_code, reason = "it counts its drop")] common::Token);
    impl fmt::Debug for Holds {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Holds")
        }
    }
    impl fmt::Display for Holds {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("failed")
        }
    }
    impl std::error::Error for Holds {}

    let (tally, count) = (Tally::default(), 500);
    _ = common::reports(|| {
        runtime(1).run(|| {
            let group = Group::new();
            for _ in 0..count {
                let token = tally.token();
                drop(group.spawn(move || -> () { raise(Holds(token)) }));
                until(|| group.is_empty());
            }
            assert!(tally.dropped() > count - 100, "{} of {count}", tally.dropped());
            assert!(group.join().unwrap_err().exception().unwrap().is::<Holds>());
            group.join().unwrap();
        });
    });
    tally.assert_all_dropped(count);
}

#[test]
fn a_member_may_spawn_members_and_join_waits_for_them() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let (group, done) = (Group::new(), Arc::new(AtomicUsize::new(0)));
            fn grow(group: &Group, done: &Arc<AtomicUsize>, depth: u32) {
                for _ in 0..2 {
                    let (inner, count) = (group.clone(), done.clone());
                    drop(group.spawn(move || {
                        if depth > 0 {
                            grow(&inner, &count, depth - 1);
                        }
                        count.fetch_add(1, Ordering::SeqCst);
                    }));
                }
            }
            grow(&group, &done, 4);
            group.join().unwrap();
            assert_eq!(done.load(Ordering::SeqCst), 62);
        });
    }
}

#[test]
fn each_member_is_asked_once() {
    let _watch = watch();
    runtime(1).run(|| {
        let (group, exits, go) = (Group::new(), Arc::new(AtomicUsize::new(0)), Event::new());
        let stubborn = group.spawn({
            let (exits, go) = (exits.clone(), go.clone());
            move || {
                for _ in 0..2 {
                    if osier::catch_exit(|| go.wait()).is_err() {
                        exits.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        });
        yield_now();
        group.cancel();
        yield_now();
        group.cancel();
        assert!(!group.kill_timeout(ms(2)));
        assert_eq!(exits.load(Ordering::SeqCst), 1);
        go.set();
        stubborn.join().unwrap();
        assert!(group.kill_timeout(FOR_EVER));
    });
}

// ---- apply

// GV-149
#[test]
fn apply_gives_the_value_or_the_same_error() {
    let _watch = watch();
    let check = || {
        let pool = Pool::new(1);
        let text = String::from("borrowed");
        assert_eq!(pool.apply(|| text.len()), 8);
        let error = catch(|| pool.apply(|| -> u32 { raise(Oops(1)) })).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Oops(1)));
        assert_eq!(panic_text(|| pool.apply(|| panic!("a bug"))), "a bug");
        assert_eq!((pool.len(), pool.free()), (0, 1));
    };
    check();
    run(check);
}

// GV-151
#[test]
fn apply_in_a_member_runs_in_place() {
    let _watch = watch();
    run(|| {
        let pool = Pool::new(1);
        let inner = pool.clone();
        let value = pool.apply(|| {
            let outer = task::current();
            2 * inner.apply(|| {
                assert_eq!(task::current(), outer);
                3
            })
        });
        assert_eq!(value, 6);
    });
}

// GV-166
#[test]
fn apply_async_never_waits_and_its_link_is_called_once() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let (pool, gate, log) = (Pool::new(1), Gate::default(), Log::default());
            let mut handles: Vec<_> = (0..4)
                .map(|n| {
                    let gate = gate.clone();
                    pool.apply_async(move || {
                        gate.pass();
                        n
                    })
                })
                .collect();
            let called = log.clone();
            handles[2].link(move |result| called.push(format!("{}", result.as_ref().unwrap())));
            gate.wait_for(1);
            assert!(pool.join_timeout(ms(2)).is_err() && pool.len() == 1);
            assert!(handles[0].join_timeout(ms(35)).unwrap_err().is_timeout(), "it runs on");
            gate.open.set();
            assert!(handles.into_iter().map(|h| h.join().unwrap()).eq(0..4));
            assert_eq!(log.take(), ["2"]);
            pool.join().unwrap();
            assert_eq!((pool.len(), pool.free()), (0, 1));

            // Those that wait for a place are joined and killed like the others.
            let stuck = Gate::default();
            let handles = [0, 1, 2].map(|_| {
                let stuck = stuck.clone();
                pool.apply_async(move || stuck.pass())
            });
            stuck.wait_for(1);
            pool.kill();
            assert!(handles.into_iter().all(|h| h.join().unwrap_err().is_cancelled()));
            assert_eq!((pool.len(), pool.free()), (0, 1));
        });
    }
}

// ---- maps

// GV-157
#[test]
fn map_keeps_the_order_of_its_items() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            for places in [1, 2, 3, 10, 1000] {
                let pool = Pool::new(places);
                for n in [0, 1, 10, 100] {
                    let squares = pool.map(0..n, |x| {
                        (0..x % 3).for_each(|_| yield_now());
                        x * x
                    });
                    assert!(squares.into_iter().eq((0..n).map(|x| x * x)));
                }
            }
        });
    }
    assert_eq!(Pool::new(2).map(["on", "a", "thread"], str::len), [2, 1, 6]);
}

// GV-164
#[test]
fn map_runs_every_item_and_raises_the_failure_of_the_earliest() {
    let _watch = watch();
    runtime(1).run(|| {
        let (pool, ran) = (Pool::new(3), AtomicUsize::new(0));
        let error = catch(|| {
            pool.map(0..6, |n| {
                ran.fetch_add(1, Ordering::SeqCst);
                if n == 1 {
                    (0..5).for_each(|_| yield_now());
                }
                if n % 2 == 1 { raise(Oops(n)) } else { n }
            })
        });
        assert_eq!(error.unwrap_err().downcast_ref(), Some(&Oops(1)), "though 3 failed before");
        assert_eq!((ran.load(Ordering::SeqCst), pool.free()), (6, 3));
    });
}

// GV-163
#[test]
fn a_source_that_fails_reaches_whoever_asks() {
    let _watch = watch();
    let source = || (0..5).map(|n| if n == 2 { raise(Oops(2)) } else { n });
    run(move || {
        for pool in [Pool::new(1), Pool::new(4)] {
            assert!(catch(|| pool.map(source(), |n| n)).unwrap_err().is::<Oops>());
            for in_order in [true, false] {
                let mut values =
                    if in_order { pool.imap(source(), |n| n) } else { pool.imap_unordered(source(), |n| n) };
                let mut got = [values.next().unwrap(), values.next().unwrap()];
                got.sort_unstable();
                assert_eq!(got, [0, 1]);
                assert!(catch(|| values.next()).unwrap_err().is::<Oops>());
                assert_eq!((values.next(), values.next()), (None, None));
            }
            pool.join().unwrap();
        }
    });
}

#[test]
fn a_cancelled_map_waits_for_its_members_before_it_unwinds() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let (gate, tally) = (Gate::default(), Tally::default());
            let mapper = spawn({
                let (gate, tally) = (gate.clone(), tally.clone());
                move || {
                    let borrowed = String::from("lives as long as the members");
                    let pool = Pool::new(2);
                    let after = OnDrop(|| assert_eq!(pool.len(), 0));
                    pool.map(0..5, |_| {
                        let _token = tally.token();
                        gate.pass();
                        borrowed.len()
                    });
                    drop(after);
                }
            });
            gate.wait_for(2);
            mapper.cancel();
            assert!(mapper.join().unwrap_err().is_cancelled());
            tally.assert_all_dropped(2);
        });
    }
}

#[test]
fn an_iteration_that_is_interrupted_loses_nothing() {
    let _watch = watch();
    run(|| {
        let go = Event::new();
        let wait = go.clone();
        let job = move |n: u32| (wait.wait(), n).1;
        let mut ordered = Pool::new(2).imap(0..4, job.clone());
        let mut unordered = Pool::new(2).imap_unordered(0..4, job);
        for _ in 0..3 {
            assert!(timeout(ms(1), || ordered.next()).is_err());
            assert!(timeout(ms(1), || unordered.next()).is_err());
        }
        go.set();
        assert!(ordered.eq(0..4));
        assert_eq!(unordered.sum::<u32>(), 6);
    });
}

// GV-158
#[test]
fn imap_gives_values_in_order_and_ends() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            for places in [1, 3, 10] {
                let pool = Pool::new(places);
                for n in [0_u64, 10, 1000] {
                    let squares = pool.imap(0..n, |x| {
                        if x % 7 == 0 {
                            yield_now();
                        }
                        x * x
                    });
                    assert!(squares.eq((0..n).map(|x| x * x)));
                    let mut squares: Vec<_> = pool.imap_unordered(0..n, |x| x * x).collect();
                    squares.sort_unstable();
                    assert!(squares.into_iter().eq((0..n).map(|x| x * x)));
                }
                let mut by_hand = pool.imap([5, 6], |x| x);
                assert_eq!(
                    [by_hand.next(), by_hand.next(), by_hand.next(), by_hand.next()],
                    [Some(5), Some(6), None, None]
                );
            }
        });
    }
    assert!(Group::new().imap(0..3, |n| n).eq(0..3), "on a thread");
}

// GV-160
#[test]
fn imap_unordered_gives_values_as_they_get_ready() {
    let _watch = watch();
    run(|| {
        // Each waits until all that come before it in this order have been given.
        let order = [1, 2, 0];
        let gates: Vec<Event> = order.iter().map(|_| Event::new()).collect();
        gates[1].set();
        let inner = gates.clone();
        let mut values = Pool::new(3).imap_unordered(0..3_usize, move |n| {
            inner[n].wait();
            n
        });
        for (place, expected) in order.into_iter().enumerate() {
            assert_eq!(values.next(), Some(expected));
            if let Some(&next) = order.get(place + 1) {
                gates[next].set();
            }
        }
        assert_eq!(values.next(), None);
        let one_by_one: Vec<_> = Pool::new(1).imap_unordered([3, 1, 2], |n| n).collect();
        assert_eq!(one_by_one, [3, 1, 2]);
    });
}

/// A generator stays on its thread: it is passed as what makes it.
struct Waits;

impl IntoIterator for Waits {
    type Item = u32;
    type IntoIter = Generator<u32>;

    fn into_iter(self) -> Generator<u32> {
        Generator::new(|y: &Yielder<u32>| {
            y.yield_all([1, 2]);
            sleep(ms(5));
        })
    }
}

// GV-161
#[test]
fn a_source_that_waits_before_its_end_ends_the_iteration_properly() {
    let _watch = watch();
    run(|| {
        for in_order in [true, false] {
            let source = Waits;
            let pool = Pool::new(2);
            let values = if in_order { pool.imap(source, |n| n) } else { pool.imap_unordered(source, |n| n) };
            assert_eq!(values.sum::<u32>(), 3);
        }
    });
}

// GV-164
#[test]
fn an_iteration_goes_on_after_a_failure() {
    let _watch = watch();
    run(|| {
        let mut values: IMap<f64> =
            Pool::new(2).imap([1_u8, 0, 2], |n| if n == 0 { raise(Oops(0)) } else { 1.0 / f64::from(n) });
        assert_eq!(values.next(), Some(1.0));
        assert!(catch(|| values.next()).unwrap_err().is::<Oops>());
        assert_eq!((values.next(), values.next()), (Some(0.5), None));
        let mut values = Pool::new(1).imap(0..2, |n| assert!(n > 0, "the first fails"));
        assert_eq!(panic_text(|| values.next()), "the first fails");
        assert_eq!((values.next(), values.next()), (Some(()), None));
    });
}

#[test]
fn nothing_runs_before_the_first_next_and_maxsize_bounds_what_is_ahead() {
    let _watch = watch();
    runtime(1).run(|| {
        let taken = Arc::new(AtomicUsize::new(0));
        let counts = taken.clone();
        let source = (0..100).inspect(move |_| _ = counts.fetch_add(1, Ordering::SeqCst));
        let mut values = Pool::new(50).imap(source, |n| n).maxsize(3);
        (0..10).for_each(|_| yield_now());
        assert_eq!(taken.load(Ordering::SeqCst), 0);
        for given in 0..20 {
            assert_eq!(values.next(), Some(given));
            (0..10).for_each(|_| yield_now());
            // The source is asked for one more, which then waits.
            assert!(taken.load(Ordering::SeqCst) <= given + 1 + 3 + 1);
        }
        assert!(panic_text(|| values.maxsize(1)).contains("before the first"));
    });
}

#[test]
fn dropping_an_iteration_stops_its_source() {
    let _watch = watch();
    runtime(1).run(|| {
        let tally = Tally::default();
        let pool = Pool::new(2);
        let tokens = tally.clone();
        let mut values = pool.imap((0..).map(move |_| tokens.token()), drop).maxsize(2);
        assert_eq!(values.next(), Some(()));
        drop(values);
        pool.join().unwrap();
        until(|| tally.dropped() == tally.made());
        assert!(tally.made() < 10);
        drop(pool.imap(0..3, |n| n));
    });
}

/// How the first values of a lazy map are looked at before it is dropped, and what is done with the pool then.
fn nothing_begins_after(workers: usize, in_order: bool, end: impl Fn(&Pool) + Sync) {
    for _ in 0..rounds(30) {
        runtime(workers).run(|| {
            let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let counts = (begun.clone(), ended.clone());
            let job = move |n: u32| {
                counts.0.fetch_add(1, Ordering::SeqCst);
                let _ended = OnDrop(|| _ = counts.1.fetch_add(1, Ordering::SeqCst));
                sleep(Duration::from_micros(200));
                n
            };
            let pool = Pool::new(2);
            let values = if in_order { pool.imap(0..6, job) } else { pool.imap_unordered(0..6, job) };
            for value in values {
                if value == 1 {
                    break;
                }
            }
            end(&pool);
            let (begun_then, ended_then) = (begun.load(Ordering::SeqCst), ended.load(Ordering::SeqCst));
            assert_eq!(begun_then, ended_then);
            sleep(ms(2));
            assert_eq!(begun.load(Ordering::SeqCst), begun_then, "jobs began after the end of the pool");
        });
    }
}

#[test]
fn no_job_of_a_dropped_iteration_begins_after_a_join() {
    let _watch = watch();
    for (workers, in_order) in [(1, true), (1, false), (2, true), (2, false)] {
        nothing_begins_after(workers, in_order, |pool| pool.join().unwrap());
    }
}

#[test]
fn no_job_of_a_dropped_iteration_begins_after_a_kill() {
    let _watch = watch();
    for (workers, in_order) in [(1, true), (1, false), (2, true), (2, false)] {
        nothing_begins_after(workers, in_order, Pool::kill);
        nothing_begins_after(workers, in_order, |pool| {
            pool.cancel();
            pool.join().unwrap();
        });
    }
}

#[test]
fn no_job_of_a_dropped_iteration_outlives_a_pool_that_is_lent() {
    let _watch = watch();
    run(|| {
        for _ in 0..rounds(30) {
            let begun = Arc::new(AtomicUsize::new(0));
            let count = begun.clone();
            Pool::with(2, |pool| {
                let mut values = pool.imap(0..6, move |n| {
                    count.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_micros(200));
                    n
                });
                assert_eq!((values.next(), values.next()), (Some(0), Some(1)));
            });
            let then = begun.load(Ordering::SeqCst);
            sleep(ms(2));
            assert_eq!(begun.load(Ordering::SeqCst), then, "jobs began after the end of the pool");
        }
    });
}

#[test]
fn the_value_of_a_killed_member_is_a_cancellation() {
    let _watch = watch();
    runtime(1).run(|| {
        let (pool, gate) = (Pool::new(2), Gate::default());
        let inner = gate.clone();
        let mut values = pool.imap(0..3, move |n| {
            inner.pass();
            n
        });
        let first = spawn(move || (catch(|| values.next()).is_err(), values));
        gate.wait_for(2);
        pool.kill();
        gate.open.set();
        let (failed, values) = first.join().unwrap();
        assert!(failed);
        drop(values);
    });
}

// ---- killing

// GV-167
#[test]
fn who_waited_for_a_place_gets_it_after_a_kill() {
    let _watch = watch();
    runtime(1).run(|| {
        let (pool, gate) = (Pool::new(1), Gate::default());
        let member = pool.spawn({
            let gate = gate.clone();
            move || gate.pass()
        });
        gate.wait_for(1);
        let spawner = spawn({
            let pool = pool.clone();
            move || pool.spawn(|| "afterwards").join().unwrap()
        });
        yield_now();
        pool.kill();
        assert_eq!(pool.len(), 0);
        assert!(member.join().unwrap_err().is_cancelled());
        assert_eq!(spawner.join().unwrap(), "afterwards");
        pool.join().unwrap();
    });
}

#[test]
fn a_cancelled_spawner_takes_no_place() {
    let _watch = watch();
    runtime(1).run(|| {
        let (pool, gate) = (Pool::new(1), Gate::default());
        let member = pool.spawn({
            let gate = gate.clone();
            move || gate.pass()
        });
        let spawner = spawn({
            let pool = pool.clone();
            move || drop(pool.spawn(|| ()))
        });
        gate.wait_for(1);
        yield_now();
        spawner.cancel();
        assert!(spawner.join().is_err());
        gate.open.set();
        member.join().unwrap();
        assert_eq!((pool.len(), pool.free()), (0, 1));
    });
}

#[test]
fn with_joins_and_kills_on_an_unwind() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let done = Arc::new(AtomicUsize::new(0));
            let value = Pool::with(2, |pool| {
                for _ in 0..5 {
                    let done = done.clone();
                    drop(pool.spawn(move || {
                        yield_now();
                        done.fetch_add(1, Ordering::SeqCst);
                    }));
                }
                "value"
            });
            assert_eq!((value, done.load(Ordering::SeqCst)), ("value", 5));

            let gate = Gate::default();
            let inner = gate.clone();
            let log = Log::default();
            let says = log.clone();
            let text = panic_text(|| {
                Group::with(|group| {
                    drop(group.spawn(move || {
                        let _at_end = says.at_drop("unwound");
                        inner.pass();
                    }));
                    gate.wait_for(1);
                    panic!("out of here")
                })
            });
            assert_eq!((text.as_str(), log.take()), ("out of here", vec!["unwound".to_owned()]));

            let gate = Gate::default();
            let (inner, says) = (gate.clone(), log.clone());
            let joining = spawn(move || {
                Pool::with(1, |pool| {
                    drop(pool.spawn(move || {
                        let _at_end = says.at_drop("unwound");
                        inner.pass();
                    }));
                });
            });
            gate.wait_for(1);
            joining.cancel();
            assert!(joining.join().unwrap_err().is_cancelled());
            assert_eq!(log.take(), ["unwound"]);
        });
    }
}

#[test]
fn with_raises_the_earliest_failure_that_nobody_was_told() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let text = panic_text(|| Pool::with(2, |pool| drop(pool.spawn(|| panic!("a member failed")))));
            assert_eq!(text, "a member failed");
            let raised = catch(|| Group::with(|group| drop(group.spawn(|| raise(std::fmt::Error)))));
            assert!(raised.unwrap_err().is::<std::fmt::Error>());
            // The earliest of several; the body goes on to its end, and so do the others.
            let count = Arc::new(AtomicUsize::new(0));
            let raised = catch(|| {
                Pool::with(1, |pool| {
                    for n in 0..3 {
                        let count = count.clone();
                        drop(pool.spawn(move || {
                            count.fetch_add(1, Ordering::SeqCst);
                            if n > 0 {
                                raise(std::io::Error::other(n.to_string()))
                            }
                        }));
                    }
                });
            });
            let raised = raised.unwrap_err();
            assert_eq!((raised.to_string().as_str(), count.load(Ordering::SeqCst)), ("1", 3));

            // Who was told of a failure has dealt with it.
            let told = Pool::with(1, |pool| pool.spawn(|| raise(std::fmt::Error)).join().is_err());
            assert!(told);
            let told = Pool::with(1, |pool| {
                drop(pool.spawn(|| raise(std::fmt::Error)));
                pool.join().is_err()
            });
            assert!(told);
            // So will whoever still holds the handle; and one that was killed has not failed.
            let handle = Pool::with(2, |pool| {
                pool.spawn(|| sleep(FOR_EVER)).cancel();
                pool.spawn(|| raise(std::fmt::Error))
            });
            assert!(handle.join().unwrap_err().exception().is_some());
        });
    }
}

#[test]
fn dropping_a_pool_detaches_its_members() {
    let _watch = watch();
    run(|| {
        let (gate, result) = (Gate::default(), AsyncResult::new());
        let pool = Pool::new(1);
        let member = pool.spawn({
            let gate = gate.clone();
            move || {
                gate.pass();
                7
            }
        });
        member.link_to(&result);
        drop(pool);
        gate.open.set();
        assert_eq!(result.get().unwrap(), 7);
    });
}

// ---- local ones

#[test]
fn local_pools_ask_for_nothing_to_be_send() {
    let _watch = watch();
    runtime(4).run(|| {
        let (pool, log) = (Pool::local(2), Rc::new(RefCell::new(Vec::new())));
        for n in 0..5 {
            let log = log.clone();
            drop(pool.spawn(move || {
                log.borrow_mut().push(n);
                yield_now();
            }));
        }
        pool.join().unwrap();
        assert_eq!(*log.borrow(), [0, 1, 2, 3, 4]);
        let factor = Cell::new(3);
        let made = pool.map([Rc::new(1), Rc::new(2)], |n| Rc::new(*n * factor.get()));
        assert_eq!(made, [Rc::new(3), Rc::new(6)]);
        assert_eq!(pool.apply(|| factor.replace(0)), 3);
        let shared = log.clone();
        let values: Vec<Rc<i32>> = pool.imap(0..3, move |n| Rc::new(n + shared.borrow()[1])).collect();
        assert_eq!(values, [Rc::new(1), Rc::new(2), Rc::new(3)]);
        assert_eq!(pool.imap_unordered(0..3, Rc::new).map(|n| *n).sum::<i32>(), 3);
        assert!(pool.try_spawn(|| ()).is_ok());
        assert_eq!(pool.apply_async(|| Rc::new(4)).join().unwrap(), Rc::new(4));
        let group = Group::local();
        drop(group.spawn(move || log.borrow_mut().clear()));
        group.join().unwrap();
    });
}

// ---- from everywhere

#[test]
fn a_local_task_of_another_worker_is_a_member_until_it_ends() {
    let _watch = watch();
    let (sender, receiver) = channel::bounded(1);
    let gate = Gate::default();
    let runtime = runtime(2);
    let inner = gate.clone();
    let host = runtime.spawn(move || {
        let local = osier::spawn_local(move || inner.pass());
        sender.send(local.task()).unwrap();
        local.join().unwrap();
    });
    let group = Group::new();
    let local = receiver.recv().unwrap();
    group.add(&local);
    assert_eq!(group.len(), 1);
    gate.open.set();
    group.join().unwrap();
    host.join().unwrap();
    group.add(&local);
    assert_eq!(group.len(), 0);
}

#[test]
fn pools_are_shared_by_threads_and_tasks() {
    let _watch = watch();
    let (pool, count) = (Pool::new(3), Arc::new(AtomicUsize::new(0)));
    let spawn_many = {
        let (pool, count) = (pool.clone(), count.clone());
        move || {
            for _ in 0..100 {
                let count = count.clone();
                drop(pool.spawn(move || {
                    yield_now();
                    count.fetch_add(1, Ordering::SeqCst);
                }));
            }
        }
    };
    let threads = [0, 1].map(|_| std::thread::spawn(spawn_many.clone()));
    let tasks = [0, 1].map(|_| spawn(spawn_many.clone()));
    threads.into_iter().for_each(|t| t.join().unwrap());
    tasks.into_iter().for_each(|t| t.join().unwrap());
    pool.join().unwrap();
    assert_eq!((count.load(Ordering::SeqCst), pool.len(), pool.free()), (400, 0, 3));
}

// Those who wait for a place get it in the order in which they asked.
#[test]
fn calls_that_do_not_wait_begin_in_order() {
    let _watch = watch();
    osier::Runtime::builder().workers(1).build().unwrap().run(|| {
        let (pool, (says, heard)) = (Pool::new(1), channel::unbounded());
        let calls: Vec<_> = (0..6)
            .map(|n| {
                let says = says.clone();
                pool.apply_async(move || says.send(n).unwrap())
            })
            .collect();
        calls.into_iter().for_each(|call| call.join().unwrap());
        drop(says);
        assert_eq!(heard.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_builder_of_a_generator_is_a_source() {
    let _watch = watch();
    run(|| {
        let source = Generator::builder(|y: &Yielder<u32>| y.yield_all(1..=4)).name("jobs");
        assert_eq!(Pool::new(2).imap(source, |n| n * n).collect::<Vec<_>>(), [1, 4, 9, 16]);
        let twice = Generator::builder(|y: &Yielder<u32>| y.yield_all(1..=2));
        assert_eq!(twice.clone().into_iter().chain(twice).sum::<u32>(), 6);
    });
}
