//! Which coroutine it is, among all that there ever are: for what may be kept longer than the coroutine lives.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::current::{self, Frame};

/// A coroutine's name. It keeps nobody alive, and no other coroutine has ever had it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    address: usize,
    number: u32,
}

impl Identity {
    /// The name of `frame`'s coroutine, which gets its number when somebody asks for the first time.
    #[cold]
    pub(crate) fn of(frame: &Frame) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        if frame.number.get() == 0 {
            // Relaxed: a number and nothing else. It comes round after four thousand million, and then says the same only at
            // the same address.
            frame.number.set(LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1));
        }
        Self { address: ptr::from_ref(frame).addr(), number: frame.number.get() }
    }

    /// Whether it is the name of `frame`'s coroutine.
    pub(crate) fn is_of(self, frame: &Frame) -> bool {
        self.address == ptr::from_ref(frame).addr() && self.number == frame.number.get()
    }

    /// The frame, if its coroutine runs, or has resumed one that does; up to the base of the chain.
    #[cold]
    pub(crate) fn on_chain(self) -> Option<*const Frame> {
        // SAFETY: a frame of the chain is alive.
        current::chain_pointers().find(|&frame| self.is_of(unsafe { &*frame }))
    }
}
