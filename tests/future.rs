//! Futures: awaited by tasks and threads, by an executor of this page and by another crate's, in every order.

#![cfg(feature = "runtime")]

mod common;

use std::future::{pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use common::{FOR_EVER, Log, Tally, lock, ms, panic_text, rounds, text, until, watch};
#[cfg(feature = "blocking")]
use common::{assert_ended_well, program, run_program_with};
use futures_lite::future::{block_on, or, yield_now as let_others, zip};
use osier::sync::{AsyncResult, Event, channel};
use osier::time::timeout;
use osier::{JoinHandle, Runtime, catch, future, no_suspend, raise, run, sleep, spawn, task, yield_now};

fn one_worker() -> Runtime {
    Runtime::builder().workers(1).build().unwrap()
}

/// A waker that counts how often it was called.
#[derive(Default)]
struct Counts(AtomicUsize);

impl Counts {
    fn new() -> (Arc<Self>, Waker) {
        let counts = Arc::new(Self::default());
        (counts.clone(), Waker::from(counts))
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// An executor: polls on this thread, which parks in between.
fn execute<F: Future>(future: F) -> F::Output {
    struct Unparks(thread::Thread);
    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unparks(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// A future that somebody completes, from wherever.
#[derive(Clone)]
struct Gate<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Gate<T> {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((None, None))))
    }

    fn open(&self, value: T) {
        let waker = {
            let mut state = lock(&self.0);
            state.0 = Some(value);
            state.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn is_awaited(&self) -> bool {
        lock(&self.0).1.is_some()
    }
}

impl<T> Future for Gate<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = lock(&self.0);
        match state.0.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[test]
fn smoke() {
    let _watch = watch();
    assert_eq!(future::wait(ready(1)), 1, "on a thread");
    let sum = async { spawn(|| 20).await.unwrap() + spawn(|| 22).await.unwrap() };
    assert_eq!(run(|| future::wait(sum)), 42);
}

// ---- a future, awaited here

#[test]
fn a_task_waits_for_a_future_while_others_run_and_so_does_a_thread() {
    let _watch = watch();
    let gate = Gate::new();
    one_worker().run(|| {
        let waits = spawn({
            let gate = gate.clone();
            move || future::wait(gate)
        });
        while !gate.is_awaited() {
            yield_now();
        }
        gate.open("opened by a task");
        assert_eq!(waits.join().unwrap(), "opened by a task");
    });
    let opener = thread::spawn({
        let gate = gate.clone();
        move || {
            until(|| gate.is_awaited());
            gate.open("opened by a thread");
        }
    });
    assert_eq!(future::wait(&mut gate.clone()), "opened by a thread");
    opener.join().unwrap();
}

#[test]
fn a_wake_up_at_any_moment_is_not_lost() {
    let _watch = watch();
    run(|| {
        for _ in 0..rounds(2000) {
            let gate = Gate::new();
            let opener = spawn({
                let gate = gate.clone();
                move || gate.open(7)
            });
            assert_eq!(future::wait(gate), 7);
            opener.join().unwrap();
        }
    });
}

#[test]
fn a_future_that_wakes_itself_is_polled_again_after_the_others() {
    let _watch = watch();
    one_worker().run(|| {
        let log = Log::default();
        let other = spawn({
            let log = log.clone();
            move || (0..3).for_each(|_| (log.push("other"), yield_now()).1)
        });
        yield_now();
        future::wait(async {
            for _ in 0..2 {
                log.push("future");
                let_others().await;
            }
        });
        other.join().unwrap();
        assert_eq!(log.take(), ["other", "future", "other", "future", "other"]);
    });
}

#[test]
fn a_future_that_is_always_ready_lets_others_run_from_time_to_time() {
    let _watch = watch();
    one_worker().run(|| {
        let other = spawn(|| ());
        let mut polls = 0;
        while !other.is_finished() {
            future::wait(ready(()));
            polls += 1;
            assert!(polls < 100_000, "the other task starves");
        }
    });
}

// H16
#[test]
fn a_cancelled_task_drops_the_future_and_a_wake_up_that_comes_later_does_nothing() {
    let _watch = watch();
    let tally = Tally::default();
    one_worker().run(|| {
        let gate = Gate::new();
        let waits = spawn({
            let (gate, token) = (gate.clone(), tally.token());
            move || {
                future::wait(async move {
                    let _token = token;
                    gate.await
                })
            }
        });
        while !gate.is_awaited() {
            yield_now();
        }
        waits.cancel();
        assert!(waits.join().map(drop).unwrap_err().is_cancelled());
        gate.open(1);
        yield_now();
    });
    tally.assert_all_dropped(1);
}

// H16
#[test]
fn a_timeout_drops_the_future_and_one_lent_goes_on_later() {
    let _watch = watch();
    for on_thread in [false, true] {
        let body = || {
            let (tally, mut gate) = (Tally::default(), Gate::new());
            let token = tally.token();
            let held = async {
                let _token = token;
                pending::<()>().await;
            };
            assert!(timeout(ms(5), || future::wait(held)).is_err());
            tally.assert_all_dropped(1);
            assert!(timeout(ms(5), || future::wait(&mut gate)).is_err());
            gate.open(3);
            assert_eq!(future::wait(&mut gate), 3);
        };
        if on_thread { body() } else { run(body) }
    }
}

// H16
#[test]
fn a_future_that_is_ready_is_returned_though_the_task_was_cancelled() {
    let _watch = watch();
    one_worker().run(|| {
        let gate = Gate::new();
        let log = Log::default();
        let waits = spawn({
            let (gate, log) = (gate.clone(), log.clone());
            move || {
                log.push(future::wait(gate));
                sleep(FOR_EVER);
            }
        });
        while !gate.is_awaited() {
            yield_now();
        }
        gate.open("returned");
        waits.cancel();
        assert!(waits.join().unwrap_err().is_cancelled());
        assert_eq!(log.take(), ["returned"]);
    });
}

#[test]
fn a_future_that_only_wakes_itself_can_be_cancelled_and_timed_out() {
    let _watch = watch();
    let restless = || async {
        loop {
            let_others().await;
        }
    };
    one_worker().run(|| {
        let t = spawn(move || future::wait(restless()));
        yield_now();
        t.cancel();
        assert!(t.join().unwrap_err().is_cancelled());
        assert!(timeout(ms(5), || future::wait(restless())).is_err());
    });
}

#[test]
fn panics_and_exceptions_of_a_future_pass_through() {
    let _watch = watch();
    run(|| {
        assert_eq!(panic_text(|| future::wait(async { panic!("a bug") })), "a bug");
        let raised = catch(|| -> () { future::wait(async { raise(std::fmt::Error) }) }).unwrap_err();
        assert!(raised.is::<std::fmt::Error>());
    });
}

#[test]
fn inside_no_suspend_what_is_ready_is_returned_and_what_is_not_panics() {
    let _watch = watch();
    let body = || {
        assert_eq!(no_suspend(|| future::wait(ready(5))), 5);
        let panic = catch_unwind(|| no_suspend(|| future::wait(pending::<()>()))).unwrap_err();
        assert!(text(&*panic).starts_with("cannot wait inside `no_suspend`"), "{}", text(&*panic));
    };
    body();
    run(body);
}

#[test]
fn a_poll_may_wait_as_a_task_does_and_await_inside_itself() {
    let _watch = watch();
    run(|| {
        let outer = async {
            sleep(ms(1));
            let inner = future::wait(async { spawn(|| 2).await.unwrap() });
            inner + spawn(|| 3).await.unwrap()
        };
        assert_eq!(future::wait(outer), 5);
    });
}

#[test]
fn a_future_that_is_not_send_and_borrows_may_be_awaited() {
    let _watch = watch();
    run(|| {
        let shared = std::rc::Rc::new(std::cell::Cell::new(1));
        let text = String::from("lent");
        let length = future::wait(async {
            let_others().await;
            shared.set(2);
            text.len()
        });
        assert_eq!((length, shared.get()), (4, 2));
    });
}

// ---- a task, awaited elsewhere

#[test]
fn a_handle_is_a_future_for_any_executor() {
    let _watch = watch();
    assert_eq!(execute(spawn(|| 1)).unwrap(), 1);
    assert_eq!(block_on(spawn(|| 2)).unwrap(), 2);
    assert_eq!(run(|| future::wait(spawn(|| 3))).unwrap(), 3);
    let error = block_on(spawn(|| panic!("a bug"))).unwrap_err();
    assert_eq!(text(&*error.into_panic().unwrap()), "a bug");
    let tasks: Vec<_> = (0..100).map(|n| spawn(move || n)).collect();
    let sum = execute(async {
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        sum
    });
    assert_eq!(sum, 4950);
}

#[test]
fn of_two_handles_the_first_to_end_is_taken_and_the_other_task_runs_on() {
    let _watch = watch();
    let go_on = Event::new();
    let log = Log::default();
    let slow = spawn({
        let (go_on, log) = (go_on.clone(), log.clone());
        move || {
            go_on.wait();
            log.push("slow");
        }
    });
    let slow_task = slow.task();
    let first =
        block_on(or(async { spawn(|| "quick").await.unwrap() }, async { slow.await.map(|()| "slow").unwrap() }));
    assert_eq!(first, "quick");
    go_on.set();
    slow_task.join().unwrap();
    assert_eq!(log.take(), ["slow"]);
}

/// A task that ends when told, and its handle.
fn pausing() -> (Event, JoinHandle<u32>) {
    let go_on = Event::new();
    let handle = spawn({
        let go_on = go_on.clone();
        move || {
            go_on.wait();
            9
        }
    });
    (go_on, handle)
}

#[test]
fn the_waker_of_the_last_poll_is_called_once_and_no_other() {
    let _watch = watch();
    let (go_on, mut handle) = pausing();
    let ((old, old_waker), (new, new_waker)) = (Counts::new(), Counts::new());
    for waker in [&old_waker, &old_waker, &new_waker] {
        assert!(poll_with(&mut handle, waker).is_pending());
    }
    go_on.set();
    until(|| new.get() > 0);
    let Poll::Ready(result) = poll_with(&mut handle, &old_waker) else { panic!("it has been woken") };
    assert_eq!((result.unwrap(), old.get(), new.get()), (9, 0, 1));
    let Poll::Ready(again) = poll_with(&mut handle, &old_waker) else { panic!("it has ended") };
    assert!(again.is_err(), "the result was taken");
}

#[test]
fn a_handle_that_was_polled_may_be_joined_or_dropped_and_forgets_its_waker() {
    let _watch = watch();
    let (counts, waker) = Counts::new();
    let (go_on, mut handle) = pausing();
    assert!(poll_with(&mut handle, &waker).is_pending());
    let joins = thread::spawn(move || handle.join());
    go_on.set();
    assert_eq!(joins.join().unwrap().unwrap(), 9);

    let (go_on, mut handle) = pausing();
    assert!(poll_with(&mut handle, &waker).is_pending());
    let task = handle.task();
    drop(handle);
    assert_eq!(Arc::strong_count(&counts), 2, "one here, one in `waker`");
    let before = counts.get();
    go_on.set();
    task.join().unwrap();
    assert_eq!(counts.get(), before, "nobody waits for it any more");
}

#[test]
fn a_forgotten_handle_leaves_everything_whole() {
    let _watch = watch();
    let (counts, waker) = Counts::new();
    let (go_on, mut handle) = pausing();
    assert!(poll_with(&mut handle, &waker).is_pending());
    let task = handle.task();
    std::mem::forget(handle);
    go_on.set();
    task.join().unwrap();
    until(|| counts.get() == 1);
}

#[test]
fn a_handle_goes_from_executor_to_executor_while_it_waits() {
    let _watch = watch();
    let (go_on, mut handle) = pausing();
    let (_, waker) = Counts::new();
    assert!(poll_with(&mut handle, &waker).is_pending());
    let elsewhere = thread::spawn(move || block_on(handle));
    go_on.set();
    assert_eq!(elsewhere.join().unwrap().unwrap(), 9);
}

#[test]
fn links_have_returned_before_whoever_awaits_goes_on() {
    let _watch = watch();
    let log = Log::default();
    let (started, starts) = channel::bounded(1);
    let (go_on, goes_on) = channel::bounded::<()>(0);
    let task = spawn(move || starts.recv().unwrap());
    task.link({
        let log = log.clone();
        move |_| {
            _ = goes_on.recv();
            log.push("link");
        }
    });
    let (_, waker) = Counts::new();
    let (mut handle, observer) = (task, ());
    started.send(()).unwrap();
    until(|| handle.is_finished());
    assert!(poll_with(&mut handle, &waker).is_pending(), "its link waits");
    drop(go_on);
    block_on(handle).unwrap();
    assert_eq!((log.take(), observer), (vec!["link".to_owned()], ()));
}

#[test]
fn a_waker_that_waits_or_panics_harms_nobody() {
    struct Hostile;
    impl Wake for Hostile {
        fn wake(self: Arc<Self>) {
            sleep(ms(1));
        }
    }
    let _watch = watch();
    let (go_on, mut handle) = pausing();
    assert!(poll_with(&mut handle, &Waker::from(Arc::new(Hostile))).is_pending());
    let task = handle.task();
    go_on.set();
    task.join().unwrap();
    assert_eq!(handle.join().unwrap(), 9);
    let result = AsyncResult::new();
    let mut get = result.clone().into_future();
    assert!(poll_with(&mut get, &Waker::from(Arc::new(Hostile))).is_pending());
    run(|| result.set(1).unwrap());
    assert_eq!(block_on(get).unwrap(), 1);
}

#[test]
fn handles_of_local_and_scoped_tasks_are_futures_too() {
    let _watch = watch();
    let text = String::from("lent");
    let lengths = run(|| {
        let local = osier::spawn_local(|| std::rc::Rc::new(1));
        assert_eq!(*future::wait(local).unwrap(), 1);
        task::scope(|s| future::wait(zip(s.spawn(|| text.len()), s.spawn(|| text.len() + 1))))
    });
    assert_eq!((lengths.0.unwrap(), lengths.1.unwrap()), (4, 5));
}

// ---- results

#[test]
fn a_result_is_awaited_by_any_number_and_none_of_them_loses_it() {
    let _watch = watch();
    let result = AsyncResult::new();
    let awaiting: Vec<_> = (0..4)
        .map(|n| {
            let result = result.clone();
            thread::spawn(move || if n % 2 == 0 { block_on(result.into_future()) } else { future::wait(result) })
        })
        .collect();
    let (counts, waker) = Counts::new();
    let mut dropped = result.clone().into_future();
    assert!(poll_with(&mut dropped, &waker).is_pending());
    drop(dropped);
    result.set(6).unwrap();
    assert!(awaiting.into_iter().all(|thread| thread.join().unwrap().unwrap() == 6));
    assert_eq!((counts.get(), Arc::strong_count(&counts)), (0, 2), "who has gone is not woken");
    let failed = AsyncResult::<u32>::new();
    failed.set_exception(std::fmt::Error).unwrap();
    assert!(block_on(failed.into_future()).unwrap_err().exception().is_some());
}

// ---- many at once

#[test]
fn tasks_and_executors_that_poll_drop_and_end_at_once_lose_no_wake_up() {
    let _watch = watch();
    let tally = Tally::default();
    thread::scope(|s| {
        for thread in 0..3 {
            let tally = &tally;
            s.spawn(move || {
                for round in 0..rounds(300) {
                    let token = tally.token();
                    let mut handle = spawn(move || {
                        if round % 3 == 0 {
                            yield_now();
                        }
                        token
                    });
                    let mut polls = 0;
                    let patience = (round + thread) % 4;
                    let polled = poll_fn(|context| {
                        polls += 1;
                        match Pin::new(&mut handle).poll(context) {
                            Poll::Ready(result) => Poll::Ready(Some(result)),
                            Poll::Pending if polls > patience => Poll::Ready(None),
                            Poll::Pending => Poll::Pending,
                        }
                    });
                    let first = if round % 2 == 0 { execute(polled) } else { future::wait(polled) };
                    match first {
                        Some(result) => drop(result.unwrap()),
                        None if round % 5 == 0 => drop(handle),
                        None => drop(execute(handle).unwrap()),
                    }
                }
            });
        }
    });
    until(|| tally.dropped() == tally.made());
}

// ---- blocking calls

#[cfg(feature = "blocking")]
#[test]
fn the_value_of_an_abandoned_call_may_panic_when_it_is_dropped() {
    struct Bad(Tally);
    impl Drop for Bad {
        fn drop(&mut self) {
            drop(self.0.token());
            panic!("on purpose");
        }
    }
    let _watch = watch();
    let tally = Tally::default();
    let bad = Bad(tally.clone());
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let (started, starts) = channel::bounded(1);
    let t = spawn(move || {
        drop(task::unblock(move || {
            started.send(()).unwrap();
            _ = goes_on.recv();
            bad
        }));
    });
    starts.recv().unwrap();
    t.kill();
    drop(go_on);
    until(|| tally.dropped() == 1);
    assert_eq!(task::unblock(|| 1), 1);
}

#[cfg(feature = "blocking")]
#[test]
fn a_blocking_call_whose_task_is_cancelled_before_it_began_never_runs() {
    let _watch = watch();
    assert_ended_well(&run_program_with("one blocking thread", &[("BLOCKING_MAX_THREADS", "1")]));
}

#[test]
fn in_a_process_of_its_own() {
    #[cfg(feature = "blocking")]
    if program().is_some() {
        cancel_behind_a_call_that_holds_the_only_thread();
    }
}

#[cfg(feature = "blocking")]
fn cancel_behind_a_call_that_holds_the_only_thread() {
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let (started, starts) = channel::bounded(1);
    let holds = spawn(move || {
        task::unblock(move || {
            started.send(()).unwrap();
            _ = goes_on.recv();
        });
    });
    starts.recv().unwrap();
    let tally = Tally::default();
    one_worker().run(|| {
        let (token, log) = (tally.token(), Log::default());
        let (begins, runs) = (log.clone(), log.clone());
        let behind = spawn(move || {
            begins.push("begins");
            task::unblock(move || {
                runs.push("runs");
                drop(token);
            });
        });
        // There is one worker: when it has begun, it waits.
        while log.len() == 0 {
            yield_now();
        }
        behind.cancel();
        assert!(behind.join().unwrap_err().is_cancelled());
        drop(go_on);
        // The thread is free for the next one, and has dropped what never ran.
        task::unblock(|| ());
        assert_eq!(log.take(), ["begins"]);
    });
    holds.join().unwrap();
    tally.assert_all_dropped(1);
}

#[test]
fn what_unwinds_out_of_a_wait_leaves_the_thread_usable() {
    let _watch = watch();
    _ = catch_unwind(AssertUnwindSafe(|| future::wait(async { panic!("on purpose") })));
    assert_eq!(future::wait(ready(1)), 1);
}
