//! Where a started task is, and how others make it look again.
//!
//! ```text
//!                            park                  notify
//!    fresh ──→ RUNNING ────────────→ PARKED ───────────────→ QUEUED
//!               ↑   │ notify                                    │
//!      park     │   ↓                                           │ resume
//!   (takes it)  └─ NOTIFIED                   RUNNING ←─────────┘
//! ```
//!
//! A task that has not started, or that yields, counts as running: it is in its queue anyway, and a notification is
//! kept for its next park.
//!
//! All this is done by the task's home worker, with plain loads and stores: most tasks are woken by neighbours. Other
//! threads leave a *call* instead, and the first of them puts the task into its home's inbox, whatever it is doing; the
//! home takes it out and notifies it. An exchange costs as much as half a switch, so a wake-up within a worker has none.
//!
//! | `calls` | set by | means |
//! | --- | --- | --- |
//! | 0 | | nobody listens: no more than a note for the first park |
//! | `LISTENS` | the task, when it parks for the first time | who calls puts it into the inbox |
//! | `CALLED` | any other thread | it is in the inbox, or on the way there, if it listens |
//!
//! # Invariants
//! - A task that listens and was called is pushed by the one who called first, and by nobody else, until its home has
//!   taken the call.
//! - A task stops listening before it ends or leaves its home, and cannot while a call is on its way: so whoever called
//!   first may use it, and its runtime, until it has pushed it, without a count of references.

use std::ptr;

use crate::primitives::{AtomicPtr, AtomicU8, Ordering};

const RUNNING: u8 = 0;
const NOTIFIED: u8 = 1;
const PARKED: u8 = 2;
const QUEUED: u8 = 3;

const LISTENS: u8 = 1;
const CALLED: u8 = 2;

/// Which worker a thread is: what `current::worker` gives there.
pub(crate) type Here = *const ();

/// See the module's page.
#[derive(Debug)]
pub(crate) struct RunState {
    /// The worker that started it, from then on; [`NOWHERE`] before. Written by that worker.
    home: AtomicPtr<()>,
    /// Written by its home alone.
    place: AtomicU8,
    /// Whether `calls` says `LISTENS`: to know it without a look there. Written by its home alone.
    listens: AtomicU8,
    calls: AtomicU8,
}

/// No worker's address, and not null, which stands for a thread that is no worker.
const NOWHERE: *mut () = ptr::dangling_mut();

/// What whoever notified a task must do, and nobody else.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Nothing: it will look.
    Seen,
    /// Put it into this worker's queue.
    Ready,
    /// Put it into its home's inbox.
    Call,
}

impl RunState {
    pub(crate) fn fresh() -> Self {
        Self {
            home: AtomicPtr::new(NOWHERE),
            place: AtomicU8::new(RUNNING),
            listens: AtomicU8::new(0),
            calls: AtomicU8::new(0),
        }
    }

    /// Whether it is parked, and its home has not taken a notification, as of now.
    pub(super) fn is_parked(&self) -> bool {
        self.place.load(Ordering::Relaxed) == PARKED
    }

    // ---- by its home

    /// Says that the task starts here.
    #[inline(always)]
    pub(crate) fn start(&self, here: Here) {
        self.home.store(here.cast_mut(), Ordering::Relaxed);
    }

    /// Says that the task, which has stopped listening, is a fresh one again.
    pub(crate) fn leave_home(&self) {
        self.home.store(NOWHERE, Ordering::Relaxed);
        self.place.store(RUNNING, Ordering::Relaxed);
    }

    /// Says that the task runs, when its home took it from its queue: it was parked, or it yielded.
    #[inline(always)]
    pub(crate) fn resume(&self) {
        // A task that yields is running all along, and what it was notified of meanwhile waits for its next park.
        if self.place.load(Ordering::Relaxed) == QUEUED {
            self.place.store(RUNNING, Ordering::Relaxed);
        }
    }

    /// Says that the running task parks. False if it was notified meanwhile: it goes on running, and the notification
    /// is used up.
    #[must_use]
    #[inline(always)]
    pub(crate) fn park(&self) -> bool {
        let may_park = self.listens.load(Ordering::Relaxed) != 0 || self.start_listening();
        if may_park && self.place.load(Ordering::Relaxed) == RUNNING {
            self.place.store(PARKED, Ordering::Relaxed);
            return true;
        }
        self.place.store(RUNNING, Ordering::Relaxed);
        false
    }

    /// Lets calls come through. False if there was one before: it is used up.
    #[cold]
    fn start_listening(&self) -> bool {
        self.listens.store(1, Ordering::Relaxed);
        // Acquire: pairs with `call`; the task sees what was written before a call that nobody took. Release: whoever
        // calls from now on sees which home to push to.
        self.calls.swap(LISTENS, Ordering::AcqRel) & CALLED == 0
    }

    /// Stops calls from coming through, before the task ends or leaves its home. False if one is on its way: the task
    /// must park until it has come.
    #[must_use]
    #[inline(always)]
    pub(crate) fn stop_listening(&self) -> bool {
        self.listens.load(Ordering::Relaxed) == 0 || self.try_stop_listening()
    }

    #[cold]
    fn try_stop_listening(&self) -> bool {
        // Nothing is published: who calls after this finds nobody.
        let stopped = self.calls.compare_exchange(LISTENS, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if stopped {
            self.listens.store(0, Ordering::Relaxed);
        }
        stopped
    }

    /// Says that the task will never run again, though it has not returned: calls come to nothing.
    pub(crate) fn abandon(&self) {
        self.leave_home();
        self.listens.store(0, Ordering::Relaxed);
        self.calls.swap(0, Ordering::Relaxed);
    }

    /// Notifies the task, by its home. True if it was parked: it must be put into the queue.
    #[must_use]
    #[inline(always)]
    pub(crate) fn notify_here(&self) -> bool {
        let place = self.place.load(Ordering::Relaxed);
        match place {
            PARKED => self.place.store(QUEUED, Ordering::Relaxed),
            RUNNING => self.place.store(NOTIFIED, Ordering::Relaxed),
            // Queued or notified: it will run, and look at what the notification is about.
            _ => {}
        }
        place == PARKED
    }

    /// Takes the call of a task that was in the inbox. True if it was parked: it must be put into the queue.
    #[must_use]
    pub(crate) fn take_call(&self) -> bool {
        // Acquire, and an exchange instead of a store: pairs with the Release of all who have called, also of those who
        // came after the first; the task will not park over what they wrote before.
        self.calls.swap(LISTENS, Ordering::Acquire);
        self.notify_here()
    }

    // ---- by anybody

    /// Notifies the task, by the thread that is the worker `here`, or none.
    #[inline(always)]
    pub(crate) fn notify(&self, here: Here) -> Notice {
        if ptr::eq(self.home.load(Ordering::Relaxed), here) {
            return if self.notify_here() { Notice::Ready } else { Notice::Seen };
        }
        self.call()
    }

    #[inline(never)]
    fn call(&self) -> Notice {
        // Release: pairs with `take_call` and `start_listening`; an update that changes nothing still orders what was
        // written before it. Acquire: pairs with `start_listening`; whoever pushes knows the home.
        match self.calls.fetch_or(CALLED, Ordering::AcqRel) {
            LISTENS => Notice::Call,
            _ => Notice::Seen,
        }
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_notification_before_the_park_is_kept_and_used_once() {
        let state = RunState::fresh();
        let here: Here = (&raw const state).cast();
        state.start(here);
        assert_eq!([state.notify(here), state.notify(here)], [Notice::Seen; 2], "a task that runs needs no queue");
        assert!(!state.park(), "the notification is taken instead of parking");
        assert!(state.park());
        assert_eq!(state.notify(here), Notice::Ready, "the first notifier of a parked task queues it");
        assert_eq!(state.notify(here), Notice::Seen, "the second does not");
        state.resume();
        assert!(state.stop_listening());
    }

    #[test]
    fn a_call_is_pushed_once_and_keeps_the_task_from_its_end() {
        let state = RunState::fresh();
        let (here, elsewhere): (Here, Here) = ((&raw const state).cast(), ptr::null());
        assert_eq!(state.notify(elsewhere), Notice::Seen, "a fresh task: a note for later");
        state.start(here);
        assert!(!state.park(), "the note is taken instead of parking");
        assert_eq!(state.notify(elsewhere), Notice::Call, "it listens now, and runs");
        assert_eq!(state.notify(elsewhere), Notice::Seen);
        assert!(!state.stop_listening(), "the call is on its way");
        assert!(state.park());
        assert!(state.take_call());
        state.resume();
        assert!(state.stop_listening());
        assert_eq!(state.notify(elsewhere), Notice::Seen, "nobody listens");
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::*;
    use crate::primitives::AtomicU32;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    /// A task on its home, which is the model's main thread, and what others do to it. `inbox` counts how often the task
    /// lies in its home's inbox.
    struct World {
        state: RunState,
        flag: AtomicBool,
        inbox: AtomicU32,
        mail: UnsafeCell<u32>,
    }

    const HOME: Here = ptr::without_provenance(64);

    fn world() -> Arc<World> {
        let world = World {
            state: RunState::fresh(),
            flag: AtomicBool::new(false),
            inbox: AtomicU32::new(0),
            mail: UnsafeCell::new(0),
        };
        Arc::new(world)
    }

    /// From another thread.
    fn notify(world: &World) {
        match world.state.notify(ptr::null()) {
            Notice::Call => assert_eq!(world.inbox.fetch_add(1, Ordering::Release), 0, "pushed twice"),
            Notice::Seen => {}
            Notice::Ready => panic!("another thread does not queue it"),
        }
    }

    impl World {
        /// What the home does when nothing is ready: takes the task out of the inbox, if it is there. True if it goes on.
        fn goes_on(&self, take_call: fn(&RunState) -> bool) -> bool {
            if self.inbox.load(Ordering::Acquire) == 0 {
                return false;
            }
            self.inbox.fetch_sub(1, Ordering::Relaxed);
            let is_ready = take_call(&self.state);
            if is_ready {
                self.state.resume();
            }
            is_ready
        }
    }

    /// Notifications by two threads while the task starts and waits for the flag that the first of them raises. Panics if
    /// it waits for ever.
    fn two_notifiers_against(park: fn(&RunState) -> bool, take_call: fn(&RunState) -> bool) {
        loom::model(move || {
            let world = world();
            let notifiers: Vec<_> = [true, false]
                .map(|raises| {
                    let world = world.clone();
                    thread::spawn(move || {
                        if raises {
                            world.flag.store(true, Ordering::Relaxed);
                        }
                        notify(&world);
                    })
                })
                .into();
            let mut notifiers = Some(notifiers);
            world.state.start(HOME);
            while !world.flag.load(Ordering::Relaxed) {
                if !park(&world.state) {
                    continue;
                }
                while !world.goes_on(take_call) {
                    match notifiers.take() {
                        Some(all) => all.into_iter().for_each(|notifier| notifier.join().unwrap()),
                        // Nobody is left who could wake it.
                        None => assert_ne!(world.inbox.load(Ordering::Relaxed), 0, "lost wake-up"),
                    }
                }
            }
        });
    }

    #[test]
    fn model_a_park_and_a_notification_do_not_miss_each_other() {
        two_notifiers_against(RunState::park, RunState::take_call);
    }

    #[test]
    #[should_panic(expected = "lost wake-up")]
    fn model_catches_a_call_taken_without_an_exchange() {
        // The seeded bug: a plain store, after which what the second notifier wrote may still be unseen.
        two_notifiers_against(RunState::park, |state| {
            state.calls.store(LISTENS, Ordering::Release);
            state.notify_here()
        });
    }

    #[test]
    #[should_panic(expected = "lost wake-up")]
    fn model_catches_a_first_park_over_a_note() {
        // The seeded bug: a plain store, over a call that came in between.
        two_notifiers_against(
            |state| {
                if state.listens.load(Ordering::Relaxed) == 0 {
                    state.listens.store(1, Ordering::Relaxed);
                    state.calls.store(LISTENS, Ordering::Release);
                }
                state.park()
            },
            RunState::take_call,
        );
    }

    #[test]
    fn model_a_notification_carries_what_was_written_before_it() {
        loom::model(|| {
            let world = world();
            world.state.start(HOME);
            let notifier = {
                let world = world.clone();
                thread::spawn(move || {
                    // SAFETY: nobody reads it before the notification, as loom checks.
                    world.mail.with_mut(|mail| unsafe { *mail = 7 });
                    notify(&world);
                })
            };
            if world.state.park() {
                while !world.goes_on(RunState::take_call) {
                    thread::yield_now();
                }
            }
            // SAFETY: the notification has come, so nobody writes the mail any more, as loom checks.
            assert_eq!(world.mail.with(|mail| unsafe { *mail }), 7);
            notifier.join().unwrap();
        });
    }

    /// A task that ends, or tries to by `stop`, while somebody calls it. `mail` stands for its memory: whoever pushes it
    /// reads it, and it is written when the task is gone.
    fn an_end_against_a_call(stop: fn(&RunState) -> bool) {
        loom::model(move || {
            let world = world();
            world.state.start(HOME);
            assert!(world.state.park() && world.state.notify_here(), "it listens");
            world.state.resume();
            let notifier = {
                let world = world.clone();
                thread::spawn(move || {
                    if world.state.notify(ptr::null()) == Notice::Call {
                        // SAFETY: who called first may use the task until it has pushed it, as loom checks.
                        world.mail.with(|mail| unsafe { *mail });
                        world.inbox.fetch_add(1, Ordering::Release);
                    }
                })
            };
            while !stop(&world.state) {
                if world.state.park() {
                    while !world.goes_on(RunState::take_call) {
                        thread::yield_now();
                    }
                }
            }
            // SAFETY: the task has ended, and nobody uses it, as loom checks.
            world.mail.with_mut(|mail| unsafe { *mail = 1 });
            notifier.join().unwrap();
            assert_eq!(world.inbox.load(Ordering::Relaxed), 0, "what has ended is in no inbox");
        });
    }

    #[test]
    fn model_a_task_does_not_end_under_a_call() {
        an_end_against_a_call(RunState::stop_listening);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn model_catches_an_end_that_overlooks_a_call() {
        // The seeded bug: it stops whether there was a call or not.
        an_end_against_a_call(|state| {
            state.calls.store(0, Ordering::Relaxed);
            true
        });
    }

    /// A task that is left behind while somebody calls it: it is pushed at most once, and no more afterwards.
    fn leaving_behind_against_a_call(abandon: fn(&RunState)) {
        loom::model(move || {
            let world = world();
            world.state.start(HOME);
            assert!(world.state.park(), "it listens");
            let notifier = {
                let world = world.clone();
                thread::spawn(move || notify(&world))
            };
            abandon(&world.state);
            notifier.join().unwrap();
            let before = world.inbox.load(Ordering::Relaxed);
            // A call that came first lies in the inbox, which nobody empties any more.
            assert_eq!(world.state.notify(ptr::null()), Notice::Seen, "nobody listens");
            assert!(before <= 1, "pushed twice");
        });
    }

    #[test]
    fn model_nobody_calls_what_is_left_behind() {
        leaving_behind_against_a_call(RunState::abandon);
    }

    #[test]
    #[should_panic(expected = "nobody listens")]
    fn model_catches_one_that_is_left_behind_and_listens() {
        // The seeded bug: it takes a call back, and may be called again.
        leaving_behind_against_a_call(|state| {
            state.leave_home();
            state.calls.swap(LISTENS, Ordering::Relaxed);
        });
    }

    /// The token of `task::park`: left, and then notified of, while its task looks for it and parks.
    fn a_token_against_a_park(leave: fn(&World)) {
        loom::model(move || {
            let world = world();
            world.state.start(HOME);
            let unparker = {
                let world = world.clone();
                thread::spawn(move || leave(&world))
            };
            let mut unparker = Some(unparker);
            while !(world.flag.load(Ordering::Relaxed) && world.flag.swap(false, Ordering::Acquire)) {
                if !world.state.park() {
                    continue;
                }
                while !world.goes_on(RunState::take_call) {
                    match unparker.take() {
                        Some(unparker) => unparker.join().unwrap(),
                        None => assert_ne!(world.inbox.load(Ordering::Relaxed), 0, "the token was missed"),
                    }
                }
            }
        });
    }

    #[test]
    fn model_a_token_wakes_its_task() {
        a_token_against_a_park(|world| {
            world.flag.store(true, Ordering::Release);
            notify(world);
        });
    }

    #[test]
    #[should_panic(expected = "the token was missed")]
    fn model_catches_a_token_that_is_left_after_the_notification() {
        a_token_against_a_park(|world| {
            notify(world);
            world.flag.store(true, Ordering::Release);
        });
    }
}
