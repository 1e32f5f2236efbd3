//! Tasks that other threads woke, on their way to their home worker.
//!
//! A stack of tasks linked through themselves: pushing is one exchange, and the worker takes all of it at once and
//! turns it around, so that tasks run in the order in which they were woken. Nothing is popped one by one, so the
//! ABA problem does not arise.

use std::ptr;

use crate::primitives::{AtomicPtr, Ordering};

/// What can lie in an inbox: something with one link, used by whoever is pushing it.
///
/// # Safety
/// - `link` always gives the same field of the same object, and nobody else uses it while the object is in an inbox.
pub(crate) unsafe trait Linked: Sized {
    fn link(&self) -> &AtomicPtr<Self>;
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    last: AtomicPtr<T>,
}

impl<T: Linked> Inbox<T> {
    pub(super) fn new() -> Self {
        Self { last: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Puts `item` behind what is there. True if the inbox was empty: only then its worker may be asleep over it.
    ///
    /// # Safety
    /// - `item` is in no inbox, and stays alive until it has been taken out.
    #[must_use]
    pub(super) unsafe fn push(&self, item: *mut T) -> bool {
        // Most inboxes are empty, and a look would bring the cache line twice: to read, and to write.
        let mut last = ptr::null_mut();
        loop {
            // SAFETY: the caller keeps `item` alive; until it is in the inbox nobody else uses its link.
            unsafe { &*item }.link().store(last, Ordering::Relaxed);
            // Release: pairs with the Acquire in `take`. SeqCst, with the fence in `Idle::wake`: see arch-notes/
            // scheduler.md, "Going to sleep".
            match self.last.compare_exchange_weak(last, item, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return last.is_null(),
                Err(now) => last = now,
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last.load(Ordering::Relaxed).is_null()
    }

    /// Takes everything out, first come first.
    pub(super) fn take(&self) -> Taken<T> {
        if self.is_empty() {
            return Taken { first: ptr::null_mut() };
        }
        // Acquire: pairs with the Release in `push`.
        let mut next = self.last.swap(ptr::null_mut(), Ordering::Acquire);
        let mut first = ptr::null_mut();
        while let Some(item) = ptr::NonNull::new(next) {
            // SAFETY: items stay alive until they are taken out, and that is what we are doing.
            let link = unsafe { item.as_ref() }.link();
            next = link.load(Ordering::Relaxed);
            link.store(first, Ordering::Relaxed);
            first = item.as_ptr();
        }
        Taken { first }
    }
}

/// What was in an inbox, in order.
pub(super) struct Taken<T> {
    first: *mut T,
}

impl<T: Linked> Iterator for Taken<T> {
    type Item = ptr::NonNull<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = ptr::NonNull::new(self.first)?;
        // SAFETY: items stay alive until they are handed out by this iterator.
        self.first = unsafe { item.as_ref() }.link().load(Ordering::Relaxed);
        Some(item)
    }
}

#[cfg(test)]
pub(super) mod support {
    use super::*;

    pub(in super::super) struct Item {
        number: u32,
        link: AtomicPtr<Item>,
    }

    impl Item {
        pub(in super::super) fn leaked(number: u32) -> *mut Self {
            Box::into_raw(Box::new(Self { number, link: AtomicPtr::new(ptr::null_mut()) }))
        }
    }

    // SAFETY: always the same field, used by nobody else.
    unsafe impl Linked for Item {
        fn link(&self) -> &AtomicPtr<Self> {
            &self.link
        }
    }

    /// Takes everything out and frees it.
    pub(in super::super) fn numbers(inbox: &Inbox<Item>) -> Vec<u32> {
        // SAFETY: `leaked` made them, and they are out of the inbox.
        inbox.take().map(|item| unsafe { Box::from_raw(item.as_ptr()) }.number).collect()
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::support::*;
    use super::*;

    #[test]
    fn items_come_out_in_the_order_they_went_in() {
        let inbox = Inbox::new();
        // SAFETY: new items, alive until `numbers` takes them.
        assert!((0..5).all(|n| unsafe { inbox.push(Item::leaked(n)) } == (n == 0)));
        assert_eq!(numbers(&inbox), [0, 1, 2, 3, 4]);
        assert_eq!(numbers(&inbox), []);
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::support::*;
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    fn two_pushers_and_a_taker(push: fn(&Inbox<Item>, *mut Item)) {
        loom::model(move || {
            let inbox = Arc::new(Inbox::new());
            let pushers: Vec<_> = (1..3)
                .map(|number| {
                    let inbox = inbox.clone();
                    thread::spawn(move || push(&inbox, Item::leaked(number)))
                })
                .collect();
            let mut seen = numbers(&inbox);
            pushers.into_iter().for_each(|p| p.join().unwrap());
            seen.extend(numbers(&inbox));
            seen.sort_unstable();
            assert_eq!(seen, [1, 2], "an item was lost");
        });
    }

    #[test]
    fn model_nothing_is_lost_between_two_pushers_and_a_taker() {
        // SAFETY: a new item, alive until `numbers` takes it.
        two_pushers_and_a_taker(|inbox, item| _ = unsafe { inbox.push(item) });
    }

    #[test]
    #[should_panic(expected = "an item was lost")]
    fn model_catches_a_push_that_overwrites_another() {
        two_pushers_and_a_taker(|inbox, item| {
            // The seeded bug: a look and a store, instead of one exchange.
            let last = inbox.last.load(Ordering::Relaxed);
            // SAFETY: a new item.
            unsafe { &*item }.link().store(last, Ordering::Relaxed);
            inbox.last.store(item, Ordering::SeqCst);
        });
    }
}
