//! What becomes of the errors of results when they are raised.

#![cfg(feature = "runtime")]

mod common;

use std::error::Error;
use std::fmt::Debug;

use osier::actor::{self, Mailbox};
use osier::greenlet::ParentError;
use osier::pool::Full;
use osier::sync::channel::{
    self, BroadcastRecvError, BroadcastTryRecvError, RecvError, RecvTimeoutError, SendError, SendTimeoutError,
    TryRecvError, TrySendError,
};
use osier::sync::queue::{GetError, PutError, ShutDown};
use osier::sync::{AsyncResult, Barrier, BoundedSemaphore, Queue};
use osier::{Exception, Greenlet, LocalRuntime, OrRaise, Pool, catch, raise, run, sleep, spawn, time, try_spawn};

use common::{ms, watch};

/// Runs `f`, which must raise an `E`, and gives its text.
#[track_caller]
fn raised<E: Error + 'static>(f: impl FnOnce()) -> String {
    let exception = catch(f).expect_err("it should raise");
    assert!(exception.is::<E>(), "it raised {exception:?}");
    exception.to_string()
}

/// What cannot be copied, shown or sent.
struct Opaque(#[allow(dead_code, reason = "it makes this `!Send`")] std::rc::Rc<()>);

fn opaque() -> Opaque {
    Opaque(std::rc::Rc::default())
}

#[test]
fn a_value_passes() {
    let _watch = watch();
    let (sender, receiver) = channel::bounded(1);
    sender.send(7).or_raise();
    assert_eq!(receiver.recv().or_raise(), 7);
    assert_eq!(run(|| spawn(|| 8).join().or_raise()), 8);
}

#[test]
fn errors_of_channels_are_raised_without_their_values() {
    let _watch = watch();
    let (sender, receiver) = channel::bounded(1);
    raised::<TryRecvError>(|| _ = receiver.try_recv().or_raise());
    raised::<RecvTimeoutError>(|| _ = receiver.recv_timeout(ms(1)).or_raise());
    sender.send(opaque()).or_raise();
    raised::<TrySendError<()>>(|| sender.try_send(opaque()).or_raise());
    raised::<SendTimeoutError<()>>(|| sender.send_timeout(opaque(), ms(1)).or_raise());
    drop(receiver);
    raised::<SendError<()>>(|| sender.send(opaque()).or_raise());
    let (sender, receiver) = channel::bounded::<Opaque>(1);
    drop(sender);
    raised::<RecvError>(|| _ = receiver.recv().or_raise());
    let (sender, receiver) = channel::broadcast::<u8>(1);
    raised::<BroadcastTryRecvError>(|| _ = receiver.try_recv().or_raise());
    drop(sender);
    raised::<BroadcastRecvError>(|| _ = receiver.recv().or_raise());
}

#[test]
fn errors_of_queues_and_locks_are_raised() {
    let _watch = watch();
    let queue = Queue::bounded(1);
    raised::<GetError>(|| _ = queue.try_get().or_raise());
    queue.put(opaque()).or_raise();
    raised::<PutError<()>>(|| queue.try_put(opaque()).or_raise());
    queue.shutdown_now();
    raised::<ShutDown>(|| queue.put(opaque()).or_raise());
    raised::<ShutDown>(|| _ = queue.get().or_raise());
    raised::<osier::sync::BrokenBarrier>(|| _ = Barrier::new(2).wait_timeout(ms(1)).or_raise());
    raised::<osier::sync::ReleasedTooOften>(|| BoundedSemaphore::new(1).release().or_raise());
    raised::<time::Elapsed>(|| time::timeout(ms(1), || sleep(ms(60_000))).or_raise());
}

#[test]
fn errors_of_tasks_are_raised_as_what_left_them() {
    let _watch = watch();
    let first = Exception::from(std::fmt::Error);
    let again = first.clone();
    let task = || spawn(move || -> u32 { raise(again) });
    let same = catch(|| run(task).join().or_raise()).unwrap_err();
    assert!(same.ptr_eq(&first));
    let result = AsyncResult::<u32>::new();
    result.set_exception(first.clone()).unwrap();
    assert!(catch(|| result.get().or_raise()).unwrap_err().ptr_eq(&first));
    let text = raised::<osier::JoinError>(|| _ = AsyncResult::<u32>::new().get_timeout(ms(1)).or_raise());
    assert!(!text.is_empty());
}

#[test]
fn refusals_are_raised_without_what_was_refused() {
    let _watch = watch();
    fn refused<T, E: Debug>(result: &Result<T, E>) {
        assert!(result.is_err());
    }
    run(|| {
        let pool = Pool::new(1);
        let member = pool.spawn(osier::task::park);
        let result = pool.try_spawn(|| 1);
        refused(&result);
        raised::<Full<()>>(|| _ = result.or_raise());
        let outsider = spawn(osier::task::park);
        raised::<Full<()>>(|| pool.try_add(&outsider.task()).or_raise());
        [member, outsider].iter().for_each(|task| task.kill());
    });
    let root = Greenlet::<u8>::current();
    assert_eq!(raised::<ParentError>(|| root.set_parent(&root).or_raise()), ParentError::Root.to_string());
    raised::<actor::SendError<()>>(|| actor::send("nobody has this name", 1).or_raise());
    let taken = actor::start("is taken", |inbox: &Mailbox<u8>| inbox.iter().for_each(drop)).or_raise();
    raised::<actor::NameTaken>(|| _ = actor::start("is taken", |_: &Mailbox<u8>| ()).or_raise());
    taken.close();
    taken.task().join().or_raise();
}

#[test]
fn a_spawn_that_is_refused_is_raised_without_its_closure() {
    let _watch = watch();
    struct SpawnsAtEnd;
    impl Drop for SpawnsAtEnd {
        fn drop(&mut self) {
            let refused = catch(|| drop(try_spawn(|| ()).or_raise())).unwrap_err();
            assert_eq!(refused.to_string(), "cannot spawn: the runtime has shut down");
        }
    }
    let runtime = LocalRuntime::new();
    let holds = SpawnsAtEnd;
    drop(runtime.spawn_local(move || {
        let _holds = holds;
        osier::task::park();
    }));
    runtime.run_until_idle();
    drop(runtime);
}

#[test]
fn an_error_in_a_box_is_the_error_itself() {
    let boxed: Box<dyn Error + Send + Sync> = Box::new(std::fmt::Error);
    let exception = Exception::from_boxed(boxed);
    assert!(exception.is::<std::fmt::Error>());
    assert_eq!(Exception::from_boxed("in words".into()).to_string(), "in words");
    assert!(catch(|| raise(exception.clone())).unwrap_err().ptr_eq(&exception));
}

#[test]
fn a_panic_whose_payload_somebody_else_has_stays_a_panic() {
    let _watch = watch();
    run(|| {
        let result = spawn(|| -> u32 { panic!("a bug") }).shared();
        for _ in 0..2 {
            // Not an exception: `catch` lets it pass.
            let passed = osier::catch_unwind(|| catch(|| result.get().or_raise()).is_err()).unwrap_err();
            assert_eq!(common::text(&*passed), "a bug");
        }
    });
}

#[test]
fn errors_of_time_and_of_joins_are_errors_of_io_as_well() {
    let _watch = watch();
    fn reads(limit: Option<std::time::Duration>) -> std::io::Result<u32> {
        let slow = spawn(|| sleep(ms(20)));
        let read = || -> std::io::Result<u32> {
            slow.join()?;
            Ok(7)
        };
        time::timeout(limit, read)?
    }
    run(|| {
        assert_eq!(reads(None).unwrap(), 7);
        assert_eq!(reads(Some(ms(1))).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        let failed: std::io::Error =
            spawn(|| raise(Exception::msg("in words"))).join().map(|(): ()| ()).unwrap_err().into();
        assert_eq!(failed.kind(), std::io::ErrorKind::Other);
        assert!(failed.to_string().contains("in words"));
        assert_eq!(time::timeout(ms(1), || sleep(common::FOR_EVER)), Err(time::Elapsed));
    });
}
