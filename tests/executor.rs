//! Executors: the same jobs on tasks and on threads.

#![cfg(feature = "runtime")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use common::{Tally, panic_text, reports, until, watch};
use osier::pool::{Coroutines, Executor, Threads};
use osier::sync::{AsyncResult, Event, channel};
use osier::{catch, raise, run, sleep, spawn, timeout};

/// Runs a test with each backend, of which `$ex` is the name.
macro_rules! both {
    ($Ex:ident, $body:block) => {{
        {
            use osier::pool::Coroutines as $Ex;
            $body
        }
        {
            use osier::pool::Threads as $Ex;
            $body
        }
    }};
}

fn square(n: u64) -> u64 {
    n * n
}

// S22
#[test]
fn smoke() {
    let _watch = watch();
    both!(Ex, {
        let (result, squares) = Ex::with(8, |ex| (ex.submit(square, 7), ex.map(square, 0..10)));
        assert_eq!(result.get().unwrap(), 49);
        assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
        assert_eq!(run(|| Ex::with(1, |ex| ex.map(square, 0..1000))).len(), 1000);
        assert!(Ex::with(3, |ex| ex.map(square, [])).is_empty());
    });
}

#[test]
fn the_backend_is_one_word() {
    let _watch = watch();
    fn work<E: Executor<fn(u64) -> u64, u64>>(ex: &E) -> (u64, Vec<u64>, bool) {
        let one = ex.submit(square, 3).get().unwrap();
        let all = ex.map(square, vec![1, 2]);
        ex.shutdown(false);
        (one, all, ex.submit(square, 1).get().unwrap_err().is_shutdown())
    }
    assert_eq!(work(&Coroutines::new(2)), (9, vec![1, 4], true));
    assert_eq!(work(&Threads::new(2)), (9, vec![1, 4], true));
}

#[test]
fn at_most_n_run_at_once() {
    let _watch = watch();
    both!(Ex, {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let job = |_| {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            sleep(Duration::from_millis(1));
            running.fetch_sub(1, Ordering::SeqCst);
        };
        Ex::with(3, |ex| ex.map(job, 0..30));
        assert_eq!(running.into_inner(), 0);
        assert_eq!(most.into_inner(), 3);
    });
}

#[test]
fn n_run_at_once() {
    let _watch = watch();
    // Each waits for the others: with a place less it would hang.
    let barrier = Barrier::new(3);
    Threads::with(3, |ex| ex.map(|_| _ = barrier.wait(), 0..3));
    let barrier = osier::sync::Barrier::new(100);
    Coroutines::with(100, |ex| ex.map(|_| _ = barrier.wait(), 0..100));
    let barrier = Arc::new(Barrier::new(3));
    Threads::with(3, |ex| {
        let results: Vec<_> =
            (0..3).map(|_| ex.submit(|barrier: Arc<Barrier>| _ = barrier.wait(), barrier.clone())).collect();
        results.iter().for_each(|result| result.get().unwrap());
    });
}

#[test]
fn map_borrows_and_keeps_the_order() {
    let _watch = watch();
    both!(Ex, {
        let words = ["osier".to_owned(), "willow".to_owned(), "wicker".to_owned()];
        let suffix = String::from("!");
        let tally = Tally::default();
        let shout = |word: &String| (tally.token(), format!("{word}{suffix}"));
        let loud = Ex::with(2, |ex| ex.map(shout, &words));
        assert_eq!(loud.iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>(), ["osier!", "willow!", "wicker!"]);
        drop(loud);
        tally.assert_all_dropped(3);
    });
}

#[test]
fn map_runs_all_and_raises_the_earliest_failure() {
    let _watch = watch();
    both!(Ex, {
        let ran = AtomicUsize::new(0);
        let job = |n: u32| {
            ran.fetch_add(1, Ordering::SeqCst);
            match n {
                3 => raise(std::fmt::Error),
                5 => raise(std::io::Error::other("later")),
                _ => n,
            }
        };
        let failure = Ex::with(2, |ex| catch(|| ex.map(job, 0..10)).unwrap_err());
        assert!(failure.is::<std::fmt::Error>());
        assert_eq!(ran.into_inner(), 10);
        let text = Ex::with(2, |ex| panic_text(|| ex.map(|n| assert_ne!(n, 1, "a bug"), 0..3)));
        assert!(text.contains("a bug"), "{text}");
    });
}

#[test]
fn a_job_fails_alone() {
    let _watch = watch();
    both!(Ex, {
        Ex::with(1, |ex| {
            let raised = ex.submit(|()| -> u32 { raise(std::fmt::Error) }, ());
            let panicked = ex.submit(|()| -> u32 { panic!("a bug") }, ());
            let fine = ex.submit(square, 2);
            assert!(raised.get().unwrap_err().exception().unwrap().is::<std::fmt::Error>());
            assert!(panicked.get().unwrap_err().is_panic());
            assert_eq!(fine.get().unwrap(), 4);
        });
    });
}

#[test]
fn a_lazy_map_that_is_interrupted_loses_nothing() {
    let _watch = watch();
    both!(Ex, {
        run(|| {
            let (ex, go) = (Ex::new(1), Event::new());
            let wait = go.clone();
            let job = move |n: u32| {
                wait.wait();
                n
            };
            let mut values = ex.imap(job, 0..3);
            for _ in 0..3 {
                assert!(timeout(Duration::from_millis(1), || values.next()).is_err());
            }
            go.set();
            assert!(values.eq(0..3));
        });
    });
}

// GV-178
#[test]
fn any_thread_may_submit_and_wait() {
    let _watch = watch();
    both!(Ex, {
        let ex = Ex::new(2);
        let sums = std::thread::scope(|scope| {
            let ex = &ex;
            let threads =
                [0, 1, 2, 3].map(|n| scope.spawn(move || ex.submit(square, n).get().unwrap() + ex.apply(square, n)));
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(sums, [0, 2, 8, 18]);
    });
    #[cfg(feature = "blocking")]
    assert_eq!(std::thread::spawn(|| osier::task::unblock(|| 7)).join().unwrap(), 7);
}

// S23
#[test]
fn a_failure_nobody_looks_at_is_reported() {
    let _watch = watch();
    both!(Ex, {
        let fail = |text: &str| -> u32 { raise(std::io::Error::other(text.to_owned())) };
        let lines = reports(|| {
            Ex::with(2, |ex| {
                drop(ex.submit(fail, "dropped at once"));
                let waited = ex.submit(fail, "only waited for");
                waited.wait();
                drop(waited);
                let seen = ex.submit(fail, "seen");
                assert!(seen.get().is_err());
                let taken = ex.submit(fail, "taken");
                taken.wait();
                assert!(taken.take().unwrap().is_err());
                let clone = ex.submit(fail, "seen by another").clone();
                assert!(clone.get_timeout(Duration::from_secs(30)).is_err());
            });
        });
        let told = |text: &str| lines.iter().filter(|line| line.ends_with(&format!("an exception: {text}"))).count();
        assert_eq!((told("dropped at once"), told("only waited for")), (1, 1), "{lines:?}");
        assert_eq!((told("seen"), told("taken"), told("seen by another")), (0, 0, 0), "{lines:?}");
    });
}

#[test]
fn shutdown_lets_what_was_taken_run() {
    let _watch = watch();
    both!(Ex, {
        let ex = Ex::new(1);
        let results: Vec<_> = (0..10).map(|n| ex.submit(square, n)).collect();
        ex.shutdown(false);
        assert!(results.iter().all(AsyncResult::is_ready));
        assert_eq!(results.iter().map(|result| result.get().unwrap()).sum::<u64>(), 285);
        let late = ex.submit(square, 1);
        assert!(late.is_ready());
        let error = late.get().unwrap_err();
        assert!(error.is_shutdown() && !error.is_cancelled());
        assert_eq!(error.to_string(), "cannot submit: the executor has shut down");
        assert!(catch(|| ex.map(square, 0..3)).is_err());
        ex.shutdown(true);
    });
}

// S24
#[test]
fn shutdown_may_cancel_what_has_not_begun() {
    let _watch = watch();
    both!(Ex, {
        let ex = Ex::new(1);
        let tally = Tally::default();
        let (began, begins) = mpsc::channel();
        let go = Event::new();
        let first = ex.submit(
            {
                let go = go.clone();
                move |()| {
                    began.send(()).unwrap();
                    go.wait();
                    "ran"
                }
            },
            (),
        );
        begins.recv().unwrap();
        let pending: Vec<_> = (0..5).map(|_| ex.submit(drop, tally.token())).collect();
        let (closing, closes) = (spawn(move || ex.shutdown(true)), pending.clone());
        for result in &closes {
            assert!(result.get().unwrap_err().is_cancelled());
        }
        tally.assert_all_dropped(5);
        assert!(!closing.is_finished(), "it waits for the first");
        go.set();
        closing.join().unwrap();
        assert_eq!(first.get().unwrap(), "ran");
    });
}

#[test]
fn a_scope_that_unwinds_cancels_what_has_not_begun() {
    let _watch = watch();
    both!(Ex, {
        let ran = Arc::new(AtomicUsize::new(0));
        let mut kept = Vec::new();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            Ex::with(1, |ex| {
                let (began, begins) = mpsc::channel();
                let go = Event::new();
                let wait = go.clone();
                kept.push(ex.submit(
                    move |()| {
                        began.send(()).unwrap();
                        wait.wait();
                    },
                    (),
                ));
                begins.recv().unwrap();
                let count = ran.clone();
                kept.push(ex.submit(move |()| _ = count.fetch_add(1, Ordering::SeqCst), ()));
                // The first job ends only once the second was cancelled.
                let second = kept[1].clone();
                drop(spawn(move || {
                    second.wait();
                    go.set();
                }));
                panic!("out of the scope");
            })
        }));
        let payload = unwound.err().unwrap();
        assert_eq!(common::text(&*payload), "out of the scope");
        assert!(kept[0].is_ready(), "it has been waited for");
        assert!(kept[1].get().unwrap_err().is_cancelled());
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn dropping_an_executor_lets_its_jobs_run() {
    let _watch = watch();
    both!(Ex, {
        let results: Vec<_> = {
            let ex = Ex::new(2);
            (0..100).map(|n| ex.submit(square, n)).collect()
        };
        assert_eq!(results.iter().map(|result| result.get().unwrap()).sum::<u64>(), 328_350);
    });
}

#[test]
fn a_map_that_is_cancelled_waits_for_what_borrows() {
    let _watch = watch();
    both!(Ex, {
        let (began, begins) = mpsc::channel();
        let go = Event::new();
        let ran = Arc::new(AtomicUsize::new(0));
        let caller = spawn({
            let (go, ran) = (go.clone(), ran.clone());
            move || {
                let ex = Ex::new(1);
                let local = AtomicUsize::new(0);
                let job = |_| {
                    if local.fetch_add(1, Ordering::SeqCst) == 0 {
                        began.send(()).unwrap();
                        go.wait();
                    }
                    ran.fetch_add(1, Ordering::SeqCst);
                };
                ex.map(job, 0..100);
                unreachable!("it was cancelled");
            }
        });
        begins.recv().unwrap();
        caller.cancel();
        assert!(!caller.kill_timeout(Duration::from_millis(20)), "a job borrows from it");
        go.set();
        assert!(caller.join().unwrap_err().is_cancelled());
        assert!(ran.load(Ordering::SeqCst) < 100);
    });
}

#[test]
fn a_map_that_is_cancelled_does_not_wait_for_a_place() {
    let _watch = watch();
    both!(Ex, {
        let ex = Arc::new(Ex::new(1));
        let go = Event::new();
        let busy = ex.submit(|go: Event| go.wait(), go.clone());
        let ran = Arc::new(AtomicUsize::new(0));
        let mapping = spawn({
            let (ex, ran) = (ex.clone(), ran.clone());
            move || {
                let borrowed = [1, 2, 3];
                ex.map(|n| ran.fetch_add(*n, Ordering::SeqCst), &borrowed)
            }
        });
        until(|| format!("{ex:?}").contains("pending: 1"));
        mapping.kill();
        assert!(mapping.join().unwrap_err().is_cancelled());
        assert!(!busy.is_ready());
        // Its place in the line is nobody's.
        let next = ex.submit(square, 3);
        go.set();
        assert_eq!(next.get().unwrap(), 9);
        assert_eq!(ran.load(Ordering::SeqCst), 0);
        ex.shutdown(false);
    });
}

#[test]
fn jobs_may_submit_jobs() {
    let _watch = watch();
    both!(Ex, {
        let ex = Arc::new(Ex::new(2));
        let (sender, receiver) = channel::unbounded();
        let inner = ex.clone();
        let outer = ex.submit(
            move |n: u64| {
                for i in 0..n {
                    let sender = sender.clone();
                    drop(inner.submit(move |i| sender.send(i * i).unwrap(), i));
                }
            },
            10,
        );
        outer.get().unwrap();
        assert_eq!(receiver.iter().take(10).sum::<u64>(), 285);
        ex.shutdown(false);
    });
}

#[test]
fn a_runtime_that_ends_cancels_its_jobs() {
    let _watch = watch();
    let runtime = osier::Runtime::builder().workers(1).build().unwrap();
    let ex = Coroutines::new(1);
    let results = runtime.run(|| {
        let forever = ex.submit(|()| Event::new().wait(), ());
        let rest: Vec<_> = (0..10).map(|n| ex.submit(square, n)).collect();
        (forever, rest)
    });
    drop(runtime);
    assert!(results.0.get().unwrap_err().is_cancelled());
    assert!(results.1.iter().all(|result| result.get().unwrap_err().is_cancelled()));
    ex.shutdown(false);
}

#[test]
fn an_executor_has_a_place() {
    let _watch = watch();
    both!(Ex, {
        assert_eq!(panic_text(|| Ex::new(0)), "an executor has one place at least");
    });
}

// GV-176
#[test]
fn a_job_that_applies_runs_in_place() {
    let _watch = watch();
    both!(Ex, {
        let ex = Arc::new(Ex::new(1));
        let inner = ex.clone();
        assert_eq!(ex.apply(move |n: u64| inner.apply(square, n) + 1, 3), 10);
        // Only jobs of the same executor do.
        let (other, here) = (Ex::new(1), std::thread::current().id());
        assert!(ex.apply(move |()| other.apply(|()| std::thread::current().id(), ()), ()) != here);
        let failure = catch(|| ex.apply(|()| -> u32 { raise(std::fmt::Error) }, ())).unwrap_err();
        assert!(failure.is::<std::fmt::Error>());
    });
}

// GV-179
#[test]
fn places_can_be_changed() {
    let _watch = watch();
    both!(Ex, {
        let ex = Ex::new(1);
        let (began, begins) = mpsc::channel();
        let go = Event::new();
        let job = |(): ()| ();
        let wait = {
            let go = go.clone();
            move |n: usize| {
                began.send(n).unwrap();
                go.wait();
                n
            }
        };
        let results: Vec<_> = (0..5).map(|n| ex.submit(wait.clone(), n)).collect();
        assert_eq!(begins.recv().unwrap(), 0);
        assert!(begins.try_recv().is_err());
        ex.set_places(3);
        let mut more = [begins.recv().unwrap(), begins.recv().unwrap()];
        more.sort_unstable();
        assert_eq!(more, [1, 2]);
        ex.set_places(1);
        go.set();
        assert_eq!(results.iter().map(|result| result.get().unwrap()).sum::<usize>(), 10);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        ex.map(
            |_| {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_micros(100));
                running.fetch_sub(1, Ordering::SeqCst);
            },
            0..20,
        );
        assert_eq!(most.into_inner(), 1, "as few as there were at last");
        ex.submit(job, ()).get().unwrap();
        assert_eq!(panic_text(|| ex.set_places(0)), "an executor has one place at least");
    });
}

// GV-179
#[test]
fn threads_that_are_too_many_end() {
    let _watch = watch();
    let ex = Threads::new(3);
    let together = Arc::new(Barrier::new(3));
    let meets: Vec<_> =
        (0..3).map(|_| ex.submit(|together: Arc<Barrier>| _ = together.wait(), together.clone())).collect();
    meets.iter().for_each(|result| result.get().unwrap());
    let threads = || {
        let text = format!("{ex:?}");
        let (_, rest) = text.split_once("threads: ").unwrap();
        rest.split(',').next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(threads(), 3, "each was needed");
    ex.set_places(1);
    until(|| threads() == 1);
    assert_eq!(ex.map(square, 0..10).len(), 10);
    assert_eq!(threads(), 1);
}

// GV-181
#[test]
fn an_idle_executor_is_joined_at_once() {
    let _watch = watch();
    both!(Ex, {
        Ex::new(3).shutdown(false);
        let ex = Ex::new(3);
        ex.submit(square, 1).get().unwrap();
        ex.shutdown(false);
        ex.close(true);
    });
}

// GV-175
#[test]
fn maps_in_chunks_and_lazily() {
    let _watch = watch();
    both!(Ex, {
        for places in [1, 2, 3, 10] {
            let ex = Ex::new(places);
            let squares: Vec<u64> = (0..100).map(square).collect();
            for chunk in [1, 3, 100, usize::MAX] {
                assert_eq!(ex.map_chunked(chunk, square, 0..100), squares);
            }
            assert_eq!(ex.imap(square, 0..100).collect::<Vec<_>>(), squares);
            assert!(ex.imap(square, []).next().is_none());
        }
        assert_eq!(panic_text(|| Ex::new(1).map_chunked(0, square, 0..3)), "a chunk has one item at least");
    });
}

#[test]
fn a_lazy_map_runs_so_far_ahead() {
    let _watch = watch();
    both!(Ex, {
        let ex = Ex::new(2);
        let taken = std::cell::Cell::new(0);
        let source = (0..).inspect(|_| taken.set(taken.get() + 1));
        let mut values = ex.imap(square, source).ahead(3);
        assert_eq!(taken.get(), 0, "nothing is done before the first");
        assert_eq!(values.next(), Some(0));
        assert_eq!(taken.get(), 3);
        assert_eq!(values.next(), Some(1));
        assert_eq!(taken.get(), 4);
        // A failure is raised at its place, and the next value is there.
        let mut values = ex.imap(|n: u32| if n == 1 { raise(std::fmt::Error) } else { n }, 0..3);
        assert_eq!(values.next(), Some(0));
        assert!(catch(|| values.next()).unwrap_err().is::<std::fmt::Error>());
        assert_eq!((values.next(), values.next()), (Some(2), None));
    });
}

// GV-175
#[test]
fn an_unordered_map_gives_each_value_as_soon_as_it_is_there() {
    let _watch = watch();
    both!(Ex, {
        for places in [1, 2, 3, 10] {
            let mut values: Vec<_> = Ex::new(places).imap_unordered(square, 0..50).collect();
            values.sort_unstable();
            assert!(values.into_iter().eq((0..50).map(square)), "{places} places");
        }
        // The first one waits for all others. The items have no end.
        let ex = Ex::new(2);
        let go = Event::new();
        let wait = go.clone();
        let job = move |n: u64| {
            if n == 0 {
                wait.wait();
            }
            n
        };
        let mut values = ex.imap_unordered(job, 0..).ahead(2);
        assert_eq!([1, 2, 3].map(|_| values.next()), [1, 2, 3].map(Some));
        // One that is interrupted while it waits has lost nothing.
        _ = timeout(Duration::ZERO, || values.next());
        go.set();
        assert!(values.any(|n| n == 0));
        drop(values);
        // A failure is its job's alone.
        let fails = |n: u32| if n == 1 { raise(std::fmt::Error) } else { n };
        let mut values = ex.imap_unordered(fails, 0..3).ahead(1);
        assert_eq!(values.next(), Some(0));
        assert!(catch(|| values.next()).unwrap_err().is::<std::fmt::Error>());
        assert_eq!((values.next(), values.next(), values.next()), (Some(2), None, None));
    });
}

#[test]
fn a_pending_job_is_taken_back() {
    let _watch = watch();
    both!(Ex, {
        let ex = Ex::new(1);
        let (go, began) = (Event::new(), Event::new());
        let wait = |(go, began): (Event, Event)| {
            began.set();
            go.wait();
        };
        let runs = ex.submit(wait, (go.clone(), began.clone()));
        began.wait();
        let tally = Tally::default();
        let ran = Arc::new(AtomicUsize::new(0));
        let count = |(ran, _token): (Arc<AtomicUsize>, _)| ran.fetch_add(1, Ordering::SeqCst);
        let [pending, stays] = [(); 2].map(|()| ex.submit(count, (ran.clone(), tally.token())));
        let waits = spawn({
            let pending = pending.clone();
            move || pending.get().unwrap_err().is_cancelled()
        });
        assert!(!runs.cancel(), "it runs");
        assert!(pending.cancel() && !pending.cancel());
        assert!(pending.is_ready() && waits.join().unwrap());
        go.set();
        assert_eq!(stays.get().unwrap(), 0);
        assert!(!stays.cancel() && stays.get().is_ok(), "it has run");
        ex.shutdown(false);
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        tally.assert_all_dropped(2);
        assert!(!ex.submit(square, 1).cancel(), "after a shutdown");
        assert!(!AsyncResult::<u32>::new().cancel(), "no executor's");
    });
}

/// All that the trait has, for a backend that the caller chooses.
fn all_of<E: Executor<fn(u64) -> u64, u64>>(ex: E) -> (Vec<u64>, Vec<u64>, u64, bool) {
    let result = ex.submit(square, 4);
    let (chunked, lazy, unordered) = ex.lend(|ex| {
        let unordered = ex.imap_unordered(square, 0..5).ahead(2).sum();
        (ex.map_chunked(2, square, 0..3), ex.imap(square, 0..).take(3).collect(), unordered)
    });
    (chunked, lazy, unordered, result.is_ready())
}

/// A backend of somebody else's, that knows the three calls that must be there.
struct Inline;

impl<J: osier::pool::Job<A>, A> Executor<J, A> for Inline {
    fn submit(&self, job: J, argument: A) -> AsyncResult<J::Out>
    where
        J: Send + 'static,
        A: Send + 'static,
        J::Out: Send + 'static,
    {
        let result = AsyncResult::new();
        assert!(result.set(job.run(argument)).is_ok());
        result
    }

    fn map<I>(&self, job: J, items: I) -> Vec<J::Out>
    where
        I: IntoIterator<Item = A>,
        J: Sync,
        A: Send,
        J::Out: Send,
    {
        items.into_iter().map(|item| job.run(item)).collect()
    }

    fn shutdown(&self, _: bool) {}
}

#[test]
fn generic_code_has_lazy_maps_chunks_and_scopes() {
    let _watch = watch();
    let expected = (vec![0, 1, 4], vec![0, 1, 4], 30, true);
    assert_eq!(all_of(Coroutines::new(2)), expected);
    assert_eq!(all_of(Threads::new(2)), expected);
    assert_eq!(all_of(Inline), expected);
}

// GV-182
#[test]
fn a_callback_is_linked_to_the_result() {
    let _watch = watch();
    // What a callback raises is reported, and nothing more.
    _ = reports(|| {
        both!(Ex, {
            let ex = Ex::new(1);
            let go = Event::new();
            let result = ex.submit(|go: Event| go.wait(), go.clone());
            let (says, heard) = channel::unbounded();
            let [early, late] = ["early", "late"].map(|when| {
                let says = says.clone();
                move |result: &Result<(), osier::JoinError>| says.send((when, result.is_ok())).unwrap()
            });
            drop(says);
            result.link(early);
            result.link(|_| raise(std::io::Error::other("a callback's own affair")));
            assert!(result.link(|_| unreachable!("it was taken back")).unlink());
            go.set();
            assert_eq!(heard.recv(), Ok(("early", true)));
            result.wait();
            result.link(late);
            assert_eq!(heard.recv(), Ok(("late", true)));
            assert!(heard.recv().is_err(), "each was called once");
            ex.shutdown(false);
        });
    });
}

// GV-182
#[test]
fn a_result_is_waited_for_with_a_limit_and_among_others() {
    let _watch = watch();
    both!(Ex, {
        let ex = Ex::new(2);
        let go = Event::new();
        let slow = ex.submit(Event::wait_owned, go.clone());
        assert!(slow.get_timeout(Duration::from_millis(5)).unwrap_err().is_timeout());
        let quick = ex.submit(square, 3);
        assert_eq!(osier::wait(&[&slow, &quick]).next(), Some(1));
        go.set();
        assert_eq!(osier::wait(&[&slow, &quick]).collect::<Vec<_>>().len(), 2);
    });
}

// GV-182
#[test]
fn a_callback_is_a_task_that_waits_for_the_result() {
    let _watch = watch();
    both!(Ex, {
        let ex = Ex::new(1);
        let go = Event::new();
        let called = Arc::new(AtomicUsize::new(0));
        let result = ex.submit(
            {
                let go = go.clone();
                move |n: u64| {
                    go.wait();
                    n
                }
            },
            5,
        );
        let callback = |raises: bool| {
            let (called, result) = (called.clone(), result.clone());
            move || {
                assert_eq!(result.get().unwrap(), 5);
                called.fetch_add(1, Ordering::SeqCst);
                if raises {
                    raise(std::fmt::Error);
                }
            }
        };
        let early = [false, true].map(|raises| osier::spawn(callback(raises)));
        go.set();
        // What a callback raises is its own affair, and another one runs all the same; one that comes late runs at once.
        let [calm, raised] = early.map(|task| task.join());
        assert!(calm.is_ok() && raised.unwrap_err().exception().unwrap().is::<std::fmt::Error>());
        osier::spawn(callback(false)).join().unwrap();
        assert_eq!((called.load(Ordering::SeqCst), result.get().unwrap()), (3, 5));
    });
}

trait WaitOwned {
    fn wait_owned(self);
}

impl WaitOwned for Event {
    fn wait_owned(self) {
        self.wait();
    }
}

// GV-184
#[test]
fn nothing_of_a_job_is_kept() {
    let _watch = watch();
    both!(Ex, {
        let ex = Ex::new(1);
        let tally = Tally::default();
        let (captured, argument) = (tally.token(), tally.token());
        let value = tally.clone();
        let result = ex.submit(move |_| (&captured, value.token()).1, argument);
        result.wait();
        drop(result.take().unwrap().unwrap());
        until(|| tally.dropped() == 3);
        tally.assert_all_dropped(3);
    });
}
