//! Select: one of several operations is begun, the others are left as they were, and nothing is lost.
//!
//! [`same_as_crossbeam`] compiles one text against both crates: the macros, the builder and their errors.

#![cfg(feature = "runtime")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use common::{FOR_EVER, Random, Tally, ms, panic_text, until, watch};
use osier::sync::Event;
use osier::sync::channel::{
    self, ReadyTimeoutError, Receiver, RecvError, RecvTimeoutError, Select, SelectTimeoutError, SendError, Sender,
    TryReadyError, TryRecvError, TrySelectError,
};
use osier::{JoinHandle, OrRaise, Runtime, catch, run, select, sleep, spawn, time, yield_now};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

// ---- the same text against both crates

macro_rules! same_as_crossbeam {
    ($name:ident, $($channel:ident)::+) => {
        mod $name {
            use super::common::{ms, watch};
            use $($channel)::+::{
                ReadyTimeoutError, Receiver, RecvError, Select, SelectTimeoutError, SendError, Sender, TryReadyError,
                TrySelectError, after, at, bounded, never, select, select_biased, tick, unbounded,
            };
            use std::thread;
            use std::time::{Duration, Instant};

            #[test]
            fn the_macro_runs_the_branch_that_is_ready() {
                let _watch = watch();
                let (s1, r1) = unbounded::<i32>();
                let (s2, r2) = bounded::<&str>(1);
                s2.send("full").unwrap();
                s1.send(7).unwrap();
                let got = select! {
                    recv(r1) -> n => n.unwrap(),
                    send(s2, "more") -> _ => unreachable!(),
                };
                assert_eq!(got, 7);
                select! {
                    recv(r1) -> _ => unreachable!(),
                    recv(r2) -> word => assert_eq!(word, Ok("full")),
                }
                select! {
                    recv(r1) -> _ => unreachable!(),
                    send(s2, "again") -> result => { assert_eq!(result, Ok(())) }
                }
                assert_eq!(r2.try_recv(), Ok("again"));
            }

            #[test]
            fn default_branches_run_when_nothing_is_ready() {
                let _watch = watch();
                let (_s, r) = unbounded::<i32>();
                let (s0, _r0) = bounded::<i32>(0);
                let got = select! {
                    recv(r) -> _ => 1,
                    send(s0, 1) -> _ => 2,
                    default => 3,
                };
                assert_eq!(got, 3);
                let began = Instant::now();
                let got = select! {
                    recv(&r) -> _ => 1,
                    send(&s0, 1) -> _ => 2,
                    default(ms(5)) => 3,
                };
                assert_eq!(got, 3);
                assert!(began.elapsed() >= ms(5));
            }

            #[test]
            fn a_closed_channel_is_ready() {
                let _watch = watch();
                let (s, r) = unbounded::<i32>();
                drop(s);
                select! {
                    recv(r) -> n => assert_eq!(n, Err(RecvError)),
                    default => unreachable!(),
                }
                let (s, r) = bounded::<i32>(0);
                drop(r);
                select! {
                    send(s, 5) -> result => assert_eq!(result, Err(SendError(5))),
                    default(Duration::from_secs(60)) => unreachable!(),
                }
            }

            #[test]
            fn branches_may_leave_the_loop_and_the_function() {
                let _watch = watch();
                fn first(r: &Receiver<i32>) -> Result<i32, RecvError> {
                    loop {
                        select! {
                            recv(r) -> n => {
                                let n = n?;
                                if n < 0 { continue }
                                if n > 100 { break Ok(n) }
                                return Ok(n + 1);
                            }
                        }
                    }
                }
                let (s, r) = unbounded();
                s.send(-1).unwrap();
                s.send(1).unwrap();
                s.send(101).unwrap();
                assert_eq!((first(&r), first(&r)), (Ok(2), Ok(101)));
                drop(s);
                assert_eq!(first(&r), Err(RecvError));
            }

            #[test]
            fn a_value_is_moved_only_by_the_branch_that_sends_it() {
                let _watch = watch();
                let (s, r) = bounded::<String>(1);
                let (stop, stopped) = bounded::<()>(1);
                let value = String::from("moved");
                stop.send(()).unwrap();
                s.send(String::new()).unwrap();
                let kept = select! {
                    send(s, value) -> _ => None,
                    recv(stopped) -> _ => Some(value),
                };
                assert_eq!(kept.as_deref(), Some("moved"));
                drop(r);
            }

            #[test]
            fn biased_takes_the_first_that_is_ready() {
                let (s1, r1) = unbounded();
                let (s2, r2) = unbounded();
                for n in 0..100 {
                    s1.send(n).unwrap();
                    s2.send(n).unwrap();
                }
                let mut order = Vec::new();
                for _ in 0..200 {
                    order.push(select_biased! {
                        recv(r1) -> n => (1, n.unwrap()),
                        recv(r2) -> n => (2, n.unwrap()),
                    });
                }
                assert!(order[..100].iter().all(|&(from, _)| from == 1));
                assert!(order[100..].iter().all(|&(from, _)| from == 2));
            }

            #[test]
            fn fair_takes_every_one() {
                let (s1, r1) = unbounded();
                let (s2, r2) = unbounded();
                (0..1000).for_each(|_| (s1.send(()).unwrap(), s2.send(()).unwrap()).0);
                let mut counts = [0; 2];
                for _ in 0..1000 {
                    select! {
                        recv(r1) -> _ => counts[0] += 1,
                        recv(r2) -> _ => counts[1] += 1,
                    }
                }
                assert!(counts.iter().all(|&count| count > 250), "{counts:?}");
            }

            /// Wherever they stand in the text.
            #[test]
            fn of_two_that_are_ready_each_comes_as_often() {
                let _watch = watch();
                let all = [(); 8].map(|()| unbounded::<()>());
                let [a, b, c, d, e, f, g, h] = all.each_ref().map(|(_, receiver)| receiver);
                for [one, other] in [[0, 1], [3, 4], [7, 0], [2, 6]] {
                    let mut counts = [0_usize; 8];
                    for _ in 0..1000 {
                        all[one].0.send(()).unwrap();
                        all[other].0.send(()).unwrap();
                        let at = select! {
                            recv(a) -> _ => 0, recv(b) -> _ => 1, recv(c) -> _ => 2, recv(d) -> _ => 3,
                            recv(e) -> _ => 4, recv(f) -> _ => 5, recv(g) -> _ => 6, recv(h) -> _ => 7,
                        };
                        counts[at] += 1;
                        all.iter().for_each(|(_, receiver)| receiver.try_iter().for_each(drop));
                    }
                    // Six standard deviations of 1000 tosses of a coin.
                    assert!([one, other].iter().all(|&at| counts[at] > 400), "{one}, {other}: {counts:?}");
                    let mut select = Select::new();
                    all.iter().for_each(|(_, receiver)| _ = select.recv(receiver));
                    let mut counts = [0_usize; 8];
                    for _ in 0..1000 {
                        all[one].0.send(()).unwrap();
                        all[other].0.send(()).unwrap();
                        let operation = select.select();
                        let at = operation.index();
                        operation.recv(&all[at].1).unwrap();
                        counts[at] += 1;
                        all.iter().for_each(|(_, receiver)| receiver.try_iter().for_each(drop));
                    }
                    assert!([one, other].iter().all(|&at| counts[at] > 400), "{one}, {other}: {counts:?}");
                }
            }

            #[test]
            fn commas_may_trail() {
                let (s, r) = bounded(1);
                let (full, _other) = bounded(0);
                select! {
                    send(s, 1,) -> sent => sent.unwrap(),
                    recv(r,) -> _ => unreachable!(),
                }
                let got = select! {
                    recv(r,) -> got => { got.unwrap() },
                    send(full, 2,) -> _ => { unreachable!() },
                };
                assert_eq!(got, 1);
                let got = select! {
                    recv(r,) -> got => { got.unwrap() }
                    default(ms(1),) => { 5 },
                };
                assert_eq!(got, 5);
                assert_eq!(select! { recv(r) -> _ => 1, default() => 6, }, 6);
            }

            #[test]
            fn the_builder_finds_the_operation_that_is_ready() {
                let _watch = watch();
                let channels: Vec<(Sender<usize>, Receiver<usize>)> = (0..100).map(|_| bounded(1)).collect();
                let mut select = Select::new();
                let indices: Vec<_> = channels.iter().map(|(_, r)| select.recv(r)).collect();
                assert_eq!(indices, Vec::from_iter(0..100));
                assert_eq!(select.try_select().map(|o| o.index()), Err(TrySelectError));
                assert_eq!(select.try_ready(), Err(TryReadyError));
                for n in [99, 0, 50] {
                    channels[n].0.send(n).unwrap();
                    assert_eq!(select.ready(), n);
                    let operation = select.select();
                    assert_eq!(operation.index(), n);
                    assert_eq!(operation.recv(&channels[n].1), Ok(n));
                }
                assert!(matches!(select.select_timeout(ms(3)), Err(SelectTimeoutError)));
                assert!(matches!(select.select_deadline(Instant::now()), Err(SelectTimeoutError)));
                assert_eq!(select.ready_timeout(ms(3)), Err(ReadyTimeoutError));
                assert_eq!(select.ready_deadline(Instant::now()), Err(ReadyTimeoutError));
            }

            #[test]
            fn the_builder_sends_and_forgets_removed_operations() {
                let _watch = watch();
                let (s1, r1) = bounded(1);
                let (s2, r2) = bounded(1);
                let mut select = Select::new();
                let (first, second) = (select.send(&s1), select.send(&s2));
                select.remove(first);
                let operation = select.select();
                assert_eq!(operation.index(), second);
                assert_eq!(operation.send(&s2, 5), Ok(()));
                assert_eq!((r1.try_recv().ok(), r2.try_recv()), (None, Ok(5)));
                let third = select.send(&s1);
                assert!(third > second);
                drop(r2);
                let operation = select.select_timeout(ms(10_000)).unwrap();
                match operation.index() {
                    i if i == third => assert_eq!(operation.send(&s1, 1), Ok(())),
                    _ => assert_eq!(operation.send(&s2, 1), Err(SendError(1))),
                }
            }

            #[test]
            fn time_is_a_branch() {
                let _watch = watch();
                let (s, r) = unbounded::<u8>();
                let began = Instant::now();
                let fired = select! {
                    recv(r) -> _ => unreachable!(),
                    recv(after(ms(10))) -> fired => fired.unwrap(),
                    recv(never::<u8>()) -> _ => unreachable!(),
                };
                assert!(fired >= began + ms(10) && Instant::now() >= fired);
                select! {
                    recv(at(began + ms(60_000))) -> _ => unreachable!(),
                    recv(after(ms(2))) -> fired => assert!(fired.is_ok()),
                }
                select! {
                    recv(after(ms(60_000))) -> _ => unreachable!(),
                    default(ms(2)) => {}
                }
                select! {
                    recv(after(ms(60_000))) -> _ => unreachable!(),
                    default => {}
                }
                select! {
                    recv(at(began)) -> fired => assert_eq!(fired, Ok(began)),
                    default => unreachable!(),
                }
                let (ticks, mut count) = (tick(ms(1)), 0);
                while count < 5 {
                    select! {
                        recv(r) -> _ => unreachable!(),
                        recv(ticks) -> fired => count += usize::from(fired.is_ok()),
                    }
                }
                s.send(7).unwrap();
                select! {
                    recv(r) -> value => assert_eq!(value, Ok(7)),
                    recv(after(ms(60_000))) -> _ => unreachable!(),
                }
                // Branches that are not wanted now.
                let (other, limit) = (None::<Receiver<u8>>, None::<Duration>);
                s.send(8).unwrap();
                select! {
                    recv(other.as_ref().unwrap_or(&never())) -> _ => unreachable!(),
                    recv(limit.map_or_else(never, after)) -> _ => unreachable!(),
                    recv(r) -> value => assert_eq!(value, Ok(8)),
                }
            }

            #[test]
            fn the_builder_waits_for_time() {
                let _watch = watch();
                let (late, soon) = (after(ms(60_000)), after(ms(2)));
                let mut select = Select::new();
                select.recv(&late);
                let index = select.recv(&soon);
                assert_eq!(select.ready(), index);
                assert_eq!(select.try_ready(), Ok(index));
                let operation = select.select();
                assert_eq!(operation.index(), index);
                assert!(operation.recv(&soon).is_ok());
                assert_eq!(select.ready_timeout(ms(2)), Err(ReadyTimeoutError));
                assert!(matches!(select.select_timeout(ms(2)), Err(SelectTimeoutError)));
                assert!(matches!(select.try_select(), Err(TrySelectError)));
            }

            #[test]
            fn two_selects_on_a_channel_of_capacity_zero_meet() {
                let _watch = watch();
                let (s, r) = bounded::<u32>(0);
                let (s2, r2) = bounded::<u32>(0);
                thread::scope(|scope| {
                    scope.spawn(|| {
                        for n in 0..1000 {
                            select! {
                                send(s, n) -> result => result.unwrap(),
                                send(s2, n) -> result => result.unwrap(),
                            }
                        }
                    });
                    for n in 0..1000 {
                        let got = select! {
                            recv(r) -> got => got,
                            recv(r2) -> got => got,
                        };
                        assert_eq!(got, Ok(n));
                    }
                });
            }

            #[test]
            fn a_select_does_not_meet_itself() {
                let _watch = watch();
                let (s, r) = bounded::<u32>(0);
                for _ in 0..3 {
                    select! {
                        send(s, 1) -> _ => unreachable!(),
                        recv(r) -> _ => unreachable!(),
                        default(ms(2)) => {}
                    }
                }
                thread::scope(|scope| {
                    scope.spawn(|| s.send(7).unwrap());
                    select! {
                        send(s, 1) -> _ => unreachable!(),
                        recv(r) -> got => assert_eq!(got, Ok(7)),
                    }
                });
            }
        }
    };
}

same_as_crossbeam!(as_crossbeam, crossbeam_channel);
same_as_crossbeam!(as_osier, osier::sync::channel);

// ---- tasks

#[test]
fn smoke() {
    let _watch = watch();
    let (s, r) = channel::bounded(1);
    run(|| {
        let producer = spawn(move || (0..10).for_each(|n| s.send(n).unwrap()));
        let mut sum = 0;
        loop {
            select! {
                recv(r) -> n => match n {
                    Ok(n) => sum += n,
                    Err(RecvError) => break,
                },
                default(FOR_EVER) => unreachable!(),
            }
        }
        assert_eq!(sum, 45);
        producer.join().unwrap();
    });
}

#[test]
fn a_task_that_ends_is_a_branch_and_its_handle_is_taken() {
    let _watch = watch();
    run(|| {
        let (s, r) = channel::unbounded::<i32>();
        let task = spawn(|| {
            yield_now();
            "done"
        });
        let text = select! {
            recv(r) -> _ => unreachable!(),
            join(task) -> result => result.unwrap(),
        };
        assert_eq!(text, "done");
        let failing = spawn(|| -> i32 { panic!("it failed") });
        select! {
            join(failing) -> result => assert!(result.unwrap_err().is_panic()),
            recv(r) -> _ => unreachable!(),
        }
        let endless = spawn(|| osier::sleep(FOR_EVER));
        s.send(1).unwrap();
        select! {
            join(endless) -> _ => unreachable!(),
            recv(r) -> n => {
                assert_eq!(n, Ok(1));
                endless.cancel();
            }
        }
    });
}

#[test]
fn a_handle_to_join_can_be_used_when_the_default_came_first() {
    let _watch = watch();
    run(|| {
        let (_sender, r) = channel::unbounded::<i32>();
        let endless = spawn(|| osier::sleep(FOR_EVER));
        select! {
            join(endless) -> _ => unreachable!(),
            recv(r) -> _ => unreachable!(),
            default(ms(1)) => {
                endless.cancel();
                assert!(endless.join().unwrap_err().is_cancelled());
            }
        }
        let quick = spawn(|| 7);
        osier::wait(&[&quick]).for_each(drop);
        let value = select! {
            join(quick) -> result => result.unwrap(),
            default => unreachable!(),
        };
        assert_eq!(value, 7);
    });
}

#[test]
fn the_builder_joins_and_waits_for_events() {
    let _watch = watch();
    run(|| {
        let event = Event::new();
        let task = spawn(|| 5);
        let mut select = Select::new_biased();
        let (joined, was_set) = (select.join(&task), select.wait(&event));
        assert_eq!(select.select().index(), joined);
        event.set();
        assert_eq!(select.ready(), joined);
        select.remove(joined);
        assert_eq!(select.select().index(), was_set);
        assert_eq!(task.join().unwrap(), 5);
        event.clear();
        let setter = spawn({
            let event = event.clone();
            move || event.set()
        });
        let mut select = Select::new();
        select.wait(&event);
        assert_eq!(select.select().index(), 0);
        setter.join().unwrap();
        select! {
            wait(event) => {}
            default => panic!("it is set"),
        }
    });
}

#[test]
fn the_result_of_a_task_that_was_selected_is_taken_by_its_handle() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (_sender, receiver) = channel::bounded::<u8>(1);
            let mut tasks: Vec<_> = (0..10).map(|n| spawn(move || (yield_now(), n).1)).collect();
            let mut values = Vec::new();
            while !tasks.is_empty() {
                let mut select = Select::new();
                tasks.iter().for_each(|task| _ = select.join(task));
                select.recv(&receiver);
                let operation = select.select();
                let ended = operation.index();
                drop((operation, select));
                values.push(tasks.swap_remove(ended).join().unwrap());
            }
            values.sort_unstable();
            assert!(values.into_iter().eq(0..10));
            // One that is begun and dropped is ready again.
            let task = spawn(|| 5);
            let mut select = Select::new();
            select.join(&task);
            drop(select.select());
            assert_eq!(select.try_select().unwrap().index(), 0);
            select! {
                join(task,) -> result => assert_eq!(result.unwrap(), 5),
                wait(Event::new(),) => unreachable!("nobody sets it"),
            }
        });
    }
}

#[test]
fn an_event_that_is_cleared_at_once_has_woken_the_select() {
    let _watch = watch();
    runtime(1).run(|| {
        let (event, (_s, r)) = (Event::new(), channel::unbounded::<()>());
        let waits = spawn({
            let event = event.clone();
            move || {
                select! {
                    wait(event) => true,
                    recv(r) -> _ => false,
                }
            }
        });
        yield_now();
        yield_now();
        event.set();
        event.clear();
        assert!(waits.join().unwrap());
    });
}

#[test]
fn references_and_what_derefs_are_taken() {
    let (s, r) = channel::bounded(4);
    let (s, r): (Arc<Sender<i32>>, Box<Receiver<i32>>) = (Arc::new(s), Box::new(r));
    let struct_ = (&s, &r);
    select! { send(struct_.0, 1) -> result => result.unwrap() }
    select! { send(s.clone(), 2,) -> result => result.unwrap(), }
    let got = [0, 1].map(|_| select! { recv(struct_.1) -> n => n.unwrap() });
    assert_eq!(got, [1, 2]);
}

#[test]
fn an_operation_that_is_dropped_is_taken_back() {
    let _watch = watch();
    let tally = Tally::default();
    let (s, r) = channel::bounded(2);
    s.send((1, tally.token())).unwrap();
    s.send((2, tally.token())).unwrap();
    let mut select = Select::new();
    select.recv(&r);
    drop(select.select());
    assert_eq!(r.recv().unwrap().0, 1);
    let mut sends = Select::new();
    sends.send(&s);
    let room = sends.select();
    assert!(s.is_full(), "room is kept for the one that was begun");
    assert!(s.try_send((3, tally.token())).unwrap_err().is_full());
    assert!(sends.try_select().is_err());
    drop(room);
    assert!(!s.is_full());
    s.send((4, tally.token())).unwrap();
    assert!(r.try_iter().map(|(n, _)| n).eq([2, 4]));
    drop((select, sends));
    drop((s, r));
    tally.assert_all_dropped(4);
}

#[test]
fn room_that_is_kept_holds_back_senders_until_it_is_given_up() {
    let _watch = watch();
    runtime(1).run(|| {
        let (s, r) = channel::bounded(1);
        let mut sends = Select::new();
        sends.send(&s);
        let room = sends.select();
        let waits = spawn({
            let s = s.clone();
            move || s.send(2)
        });
        (0..3).for_each(|_| yield_now());
        assert!(!waits.is_finished());
        drop(room);
        waits.join().unwrap().unwrap();
        assert_eq!(r.recv(), Ok(2));
        // And where a receiver takes what was promised, the room is free for the next.
        let room = sends.select();
        let receiver = spawn({
            let r = r.clone();
            move || r.recv()
        });
        (0..3).for_each(|_| yield_now());
        room.send(&s, 3).unwrap();
        assert_eq!(receiver.join().unwrap(), Ok(3));
        s.try_send(4).unwrap();
    });
}

#[test]
fn a_receiver_that_was_chosen_and_given_nothing_waits_on() {
    let _watch = watch();
    runtime(1).run(|| {
        let (s, r) = channel::rendezvous();
        let receiver = spawn({
            let r = r.clone();
            move || r.recv()
        });
        (0..3).for_each(|_| yield_now());
        let mut sends = Select::new();
        sends.send(&s);
        drop(sends.select());
        (0..3).for_each(|_| yield_now());
        assert!(!receiver.is_finished());
        // Cancelled while somebody has chosen it, it takes what it is given.
        let chosen = sends.select();
        receiver.cancel();
        (0..3).for_each(|_| yield_now());
        assert!(!receiver.is_finished());
        chosen.send(&s, 8).unwrap();
        assert_eq!(receiver.join().unwrap(), Ok(8));
    });
}

#[test]
fn misuse_is_told() {
    let ((_s, r), (_s2, r2)) = (channel::unbounded::<i32>(), channel::unbounded::<i32>());
    _s.send(1).unwrap();
    let mut select = Select::new();
    select.recv(&r);
    let operation = select.select();
    assert!(panic_text(|| operation.recv(&r2)).contains("does not match"));
    assert_eq!(r.try_recv(), Ok(1), "and nothing is lost");
    assert!(panic_text(|| Select::new().select()).contains("no operations"));
    assert!(panic_text(|| Select::new().ready()).contains("no operations"));
    assert!(panic_text(|| Select::new().remove(3)).contains("no operation with index 3"));
    assert_eq!(Select::new().try_select().map(|o| o.index()), Err(TrySelectError));
    assert!(matches!(Select::new().select_timeout(ms(1)), Err(SelectTimeoutError)));
    assert_eq!(Select::new().try_ready(), Err(TryReadyError));
}

#[test]
fn large_and_aligned_values_survive() {
    #[derive(Debug, PartialEq, Clone)]
    #[repr(align(64))]
    struct Big([u64; 100]);
    let _watch = watch();
    run(|| {
        let (s, r) = channel::rendezvous::<Big>();
        let (_s2, r2) = channel::rendezvous::<Big>();
        let value = Big(std::array::from_fn(|n| n as u64));
        let sender = spawn({
            let value = value.clone();
            move || (0..10).for_each(|_| s.send(value.clone()).unwrap())
        });
        for _ in 0..10 {
            select! {
                recv(r) -> got => assert_eq!(got, Ok(value.clone())),
                recv(r2) -> _ => unreachable!(),
            }
        }
        sender.join().unwrap();
    });
}

/// The branches of a select, as many as a macro is likely to see.
#[test]
fn a_hundred_branches_in_the_text() {
    let _watch = watch();
    let channels: Vec<_> = (0..100).map(|_| channel::bounded::<usize>(1)).collect();
    macro_rules! hundred {
        ($r:ident: $($n:literal)*) => {
            select! { $(recv($r[$n].1) -> got => { (Some($n), got.ok()) },)* default(ms(1)) => { (None, None) } }
        };
    }
    let turn = || {
        hundred!(channels:
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
            40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76
            77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95 96 97 98 99)
    };
    assert_eq!(turn(), (None, None));
    for n in [99, 0, 42] {
        channels[n].0.send(n + 1).unwrap();
        assert_eq!(turn(), (Some(n), Some(n + 1)));
    }
}

// H16
#[test]
fn a_select_that_is_cancelled_or_late_loses_no_message() {
    let _watch = watch();
    let mut random = Random::new();
    for workers in [1, 2] {
        let (sums, rounds) = (Arc::new([AtomicU64::new(0), AtomicU64::new(0)]), 300);
        runtime(workers).run(|| {
            for _ in 0..rounds {
                let channels: [_; 3] = [0, 1, 2].map(channel::bounded::<u64>);
                let receivers = channels.clone().map(|(_, r)| r);
                let selecting = spawn({
                    let sums = sums.clone();
                    let wait = ms(random.below(2));
                    move || {
                        let [a, b, c] = &receivers;
                        loop {
                            let got = select! {
                                recv(a) -> n => n,
                                recv(b) -> n => n,
                                recv(c) -> n => n,
                                default(wait) => continue,
                            };
                            sums[1].fetch_add(got.unwrap(), Ordering::Relaxed);
                        }
                    }
                });
                let senders: Vec<_> = (1..6)
                    .map(|n| {
                        let (s, _) = channels[usize::try_from(random.below(3)).unwrap()].clone();
                        let sums = sums.clone();
                        let patience = ms(random.below(2));
                        spawn(move || {
                            if s.send_timeout(n, patience).is_ok() {
                                sums[0].fetch_add(n, Ordering::Relaxed);
                            }
                        })
                    })
                    .collect();
                (0..random.below(8)).for_each(|_| yield_now());
                selecting.cancel();
                senders.into_iter().for_each(|s| s.join().unwrap());
                assert!(selecting.join().unwrap_err().is_cancelled());
                for (_, r) in &channels {
                    sums[1].fetch_add(r.try_iter().sum::<u64>(), Ordering::Relaxed);
                }
            }
        });
        assert_eq!(sums[0].load(Ordering::Relaxed), sums[1].load(Ordering::Relaxed), "sent and received");
    }
}

/// may's issue 102 is a select that loses a message now and then: as many selects as cores feed on the same channels.
#[test]
fn many_selects_on_the_same_channels_lose_no_message() {
    let _watch = watch();
    for workers in [1, 2, 4] {
        let channels: Arc<[(Sender<u64>, Receiver<u64>); 4]> = Arc::new([0, 1, 3, usize::MAX].map(channel::bounded));
        let (producers, per_producer) = (4_u64, 2_000_u64);
        let done = Arc::new(Barrier::new(3));
        let total: u64 = runtime(workers).run(|| {
            let sending: Vec<_> = (0..producers)
                .map(|p| {
                    let channels = channels.clone();
                    spawn(move || {
                        for n in 0..per_producer {
                            let value = p * per_producer + n + 1;
                            // Half of them by a select of their own.
                            if n % 2 == 0 {
                                channels[usize::try_from(n % 3).unwrap()].0.send(value).unwrap();
                            } else {
                                let [(a, _), (b, _), (c, _), _] = &*channels;
                                select! {
                                    send(a, value) -> result => result.unwrap(),
                                    send(b, value) -> result => result.unwrap(),
                                    send(c, value) -> result => result.unwrap(),
                                }
                            }
                        }
                    })
                })
                .collect();
            // Two on threads of their own, two as tasks.
            let on_threads: Vec<_> = (0..2)
                .map(|_| {
                    let (channels, done) = (channels.clone(), done.clone());
                    thread::spawn(move || {
                        let sum = feed(&channels);
                        done.wait();
                        sum
                    })
                })
                .collect();
            let in_tasks: Vec<JoinHandle<u64>> = (0..2)
                .map(|_| {
                    let channels = channels.clone();
                    spawn(move || feed(&channels))
                })
                .collect();
            sending.into_iter().for_each(|s| s.join().unwrap());
            channels.iter().for_each(|(s, _)| _ = s.close());
            let sum: u64 = in_tasks.into_iter().map(|t| t.join().unwrap()).sum();
            done.wait();
            sum + on_threads.into_iter().map(|t| t.join().unwrap()).sum::<u64>()
        });
        let count = producers * per_producer;
        assert_eq!(total, count * (count + 1) / 2, "{workers} workers");
    }
}

/// Receives from four channels until all are closed and empty.
fn feed(channels: &[(Sender<u64>, Receiver<u64>); 4]) -> u64 {
    let mut open = vec![0, 1, 2, 3];
    let mut sum = 0;
    while !open.is_empty() {
        let mut select = Select::new();
        for &n in &open {
            select.recv(&channels[n].1);
        }
        let operation = select.select();
        let place = operation.index();
        match operation.recv(&channels[open[place]].1) {
            Ok(value) => sum += value,
            Err(RecvError) => _ = open.remove(place),
        }
    }
    sum
}

#[test]
fn closing_wakes_every_select() {
    let _watch = watch();
    run(|| {
        let (s, r) = channel::rendezvous::<i32>();
        let waiting: Vec<_> = (0..4)
            .map(|n| {
                let (s, r) = (s.clone(), r.clone());
                spawn(move || {
                    if n % 2 == 0 {
                        select! { recv(r) -> got => got.is_err() }
                    } else {
                        let (_s, other) = channel::unbounded::<()>();
                        select! {
                            send(s, n) -> result => result == Err(SendError(n)),
                            recv(other) -> _ => false,
                        }
                    }
                })
            })
            .collect();
        // Those that meet are no matter; the others wait.
        (0..10).for_each(|_| yield_now());
        s.close();
        let closed = waiting.into_iter().filter_map(|w| w.join().unwrap().then_some(())).count();
        assert!(closed == 4 || closed == 2 || closed == 0, "{closed}");
    });
}

#[test]
fn timeouts_of_a_select_are_kept() {
    let _watch = watch();
    run(|| {
        let (_s, r) = channel::unbounded::<i32>();
        let began = Instant::now();
        select! {
            recv(r) -> _ => unreachable!(),
            default(ms(20)) => {}
        }
        let took = began.elapsed();
        assert!(took >= ms(20) && took < Duration::from_secs(10), "{took:?}");
    });
}

#[test]
fn a_select_sees_what_is_sent_while_it_enters() {
    let _watch = watch();
    let rounds = 20_000;
    let ((s1, r1), (s2, r2)) = (channel::rendezvous::<u32>(), channel::bounded::<u32>(1));
    let rt = runtime(2);
    rt.run(|| {
        let sender = spawn(move || {
            for n in 0..rounds {
                if n % 2 == 0 { s1.send(n).unwrap() } else { s2.send(n).unwrap() }
            }
        });
        let mut seen = 0_u64;
        for _ in 0..rounds {
            seen += u64::from(select! {
                recv(r1) -> n => n.unwrap(),
                recv(r2) -> n => n.unwrap(),
            });
        }
        assert_eq!(seen, u64::from(rounds) * u64::from(rounds - 1) / 2);
        sender.join().unwrap();
        until(|| r1.is_closed());
    });
}

// ---- time as a sender

#[test]
fn ticks_and_an_alarm_in_made_up_time() {
    let _watch = watch();
    Runtime::builder().test(7).build().unwrap().run(|| {
        let began = time::now();
        let (alarm, ticks) = (channel::after(ms(35)), channel::tick(ms(10)));
        let mut times = Vec::new();
        let last = loop {
            select! {
                recv(alarm) -> fired => break fired.unwrap(),
                recv(ticks) -> fired => times.push(fired.unwrap() - began),
            }
        };
        assert_eq!((times, last), (vec![ms(10), ms(20), ms(30)], began + ms(35)));
        // A receiver that is late gets one, and the next a period after that.
        sleep(ms(100));
        assert_eq!((ticks.recv(), ticks.try_recv()), (Ok(began + ms(40)), Err(TryRecvError::Empty)));
        assert_eq!((ticks.recv(), time::now()), (Ok(began + ms(145)), began + ms(145)));
        // One that is late by less gets the next one in time.
        sleep(ms(13));
        assert_eq!((ticks.recv(), time::now()), (Ok(began + ms(155)), began + ms(158)));
        assert_eq!((ticks.recv(), time::now()), (Ok(began + ms(165)), began + ms(165)));
        assert_eq!(ticks.recv_timeout(ms(4)), Err(RecvTimeoutError::Timeout));
        assert_eq!(ticks.recv_timeout(ms(6)), Ok(began + ms(175)));
        // Both are over when it looks: what has come is received.
        let alarm = channel::after(ms(5));
        assert_eq!(alarm.recv_timeout(ms(5)), Ok(began + ms(180)));
        sleep(ms(20));
        assert_eq!((ticks.len(), ticks.drain().collect::<Vec<_>>()), (1, vec![began + ms(185)]));
        // Whoever closes it ends that.
        assert!(ticks.close());
        sleep(ms(20));
        assert_eq!(ticks.recv(), Err(RecvError));
    });
}

// H16
#[test]
fn who_gives_up_takes_nothing_of_what_time_sends() {
    let _watch = watch();
    Runtime::builder().test(11).build().unwrap().run(|| {
        let alarm = channel::after(ms(20));
        let receive = |patience| {
            let alarm = alarm.clone();
            spawn(move || alarm.recv_timeout(patience).is_ok())
        };
        let selects = spawn({
            let alarm = alarm.clone();
            move || {
                select! {
                    recv(alarm) -> fired => fired.is_ok(),
                    recv(channel::never::<u8>()) -> _ => unreachable!(),
                }
            }
        });
        let (cancelled, late) = (receive(FOR_EVER), receive(ms(5)));
        sleep(ms(10));
        assert!(!late.join().unwrap());
        for task in [cancelled, selects] {
            task.cancel();
            assert!(task.join().unwrap_err().is_cancelled());
        }
        // Two wait, and one of them gets it.
        let both = [receive(ms(100)), receive(ms(100))].map(|task| usize::from(task.join().unwrap()));
        assert_eq!(both.iter().sum::<usize>(), 1);
        // An operation that is taken back.
        let alarm = channel::at(time::now());
        let mut select = Select::new();
        select.recv(&alarm);
        drop(select.select());
        assert_eq!((alarm.len(), alarm.recv()), (1, Ok(time::now())));
        assert!(alarm.try_recv().is_err());
    });
}

#[test]
fn errors_of_the_builder_are_raised_like_all_others() {
    let raised = catch(|| Select::new().try_select().map(drop).or_raise()).unwrap_err();
    assert!(raised.is::<TrySelectError>());
    let raised = catch(|| Select::new().ready_timeout(ms(1)).or_raise()).unwrap_err();
    assert!(raised.is::<ReadyTimeoutError>());
}
