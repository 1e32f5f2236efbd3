//! What `ThreadSanitizer` is told of coroutines: each is a fiber to it, with a call stack and a clock of its own.
//!
//! Otherwise it would take the frames of all coroutines of a thread for one stack, and report nonsense. A switch orders
//! what comes before it and what comes after it, since both happen on one thread. Built with `--cfg osier_tsan`, which
//! links only with the sanitizer (`arch-notes/checking.md`); without, a fiber is nothing.
//!
//! # Invariants
//! - Between telling and switching no function is entered or left: the sanitizer would note it for the wrong fiber. So all
//!   of it is inlined, which takes an optimized build.

pub(super) use imp::{Fiber, leave};

#[cfg(osier_tsan)]
mod imp {
    use std::ffi::c_void;

    // compiler-rt, `include/sanitizer/tsan_interface.h`.
    unsafe extern "C" {
        fn __tsan_get_current_fiber() -> *mut c_void;
        fn __tsan_create_fiber(flags: u32) -> *mut c_void;
        fn __tsan_destroy_fiber(fiber: *mut c_void);
        fn __tsan_switch_to_fiber(fiber: *mut c_void, flags: u32);
    }

    pub(crate) struct Fiber(*mut c_void);

    impl Fiber {
        pub(crate) fn new() -> Self {
            // SAFETY: any thread may make one.
            Self(unsafe { __tsan_create_fiber(0) })
        }

        /// Calls `switch`, which goes into this fiber and comes back from it.
        #[inline(always)]
        pub(crate) fn enter<T>(&self, switch: impl FnOnce() -> T) -> T {
            // SAFETY: asks for the fiber, or the thread, that runs here.
            let from = unsafe { __tsan_get_current_fiber() };
            // SAFETY: ours, and no other thread is in it, for a coroutine is resumed by one thread.
            unsafe { __tsan_switch_to_fiber(self.0, 0) };
            let result = switch();
            // SAFETY: what ran here before, which has been waiting below this frame.
            unsafe { __tsan_switch_to_fiber(from, 0) };
            result
        }
    }

    /// Calls `switch`, which goes out of the fiber that runs here, and comes back with what runs on top of it.
    #[inline(always)]
    pub(crate) fn leave<T>(switch: impl FnOnce() -> T) -> T {
        // SAFETY: asks for the fiber that runs here.
        let here = unsafe { __tsan_get_current_fiber() };
        let result = switch();
        // SAFETY: what ran here before. Whoever came back named the lowest fiber of the coroutine that was left, and this
        // is the uppermost.
        unsafe { __tsan_switch_to_fiber(here, 0) };
        result
    }

    impl Drop for Fiber {
        fn drop(&mut self) {
            // SAFETY: nobody is in it: `enter` borrows the fiber, and comes back when its coroutine has switched away.
            unsafe { __tsan_destroy_fiber(self.0) };
        }
    }
}

#[cfg(not(osier_tsan))]
mod imp {
    pub(crate) struct Fiber;

    impl Fiber {
        #[inline(always)]
        pub(crate) fn new() -> Self {
            Self
        }

        /// Calls `switch`.
        #[inline(always)]
        pub(crate) fn enter<T>(&self, switch: impl FnOnce() -> T) -> T {
            switch()
        }
    }

    /// Calls `switch`.
    #[inline(always)]
    pub(crate) fn leave<T>(switch: impl FnOnce() -> T) -> T {
        switch()
    }
}
