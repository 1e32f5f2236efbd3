//! Whether this thread is running the destructors of its thread-locals.
//!
//! A suspended coroutine that lies in a thread-local would be unwound by that variable's destructor, and its frames may
//! borrow from a thread-local that is gone by then: variables are destroyed newest first, whatever borrows from what.
//! So whoever drops a suspended coroutine asks here first, and leaks it if the thread is at its end.
//!
//! glibc runs all of them from one function, so that function's frame on the stack tells. Where it is not to be found
//! (another libc, Miri) the question is answered with no, and the hole stays open: `arch-notes/coroutines.md`, "Holes".

pub(crate) use imp::is_here;

#[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
mod imp {
    use std::ffi::{c_int, c_void};
    use std::ptr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// From the unwinder's ABI (Itanium C++ ABI, level 1, and libgcc's extension), which std links as well.
    const CONTINUE: c_int = 0;
    const STOP: c_int = 4;
    type Trace = extern "C" fn(context: *mut c_void, found: *mut c_void) -> c_int;

    unsafe extern "C" {
        fn _Unwind_Backtrace(trace: Trace, argument: *mut c_void) -> c_int;
        fn _Unwind_GetRegionStart(context: *mut c_void) -> usize;
    }

    /// Where glibc's function begins, or 1 where there is none.
    fn runner() -> usize {
        static RUNNER: AtomicUsize = AtomicUsize::new(0);
        match RUNNER.load(Ordering::Relaxed) {
            0 => {
                // SAFETY: `dlsym` only reads the name.
                let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__call_tls_dtors".as_ptr()) }.addr().max(1);
                RUNNER.store(found, Ordering::Relaxed);
                found
            }
            known => known,
        }
    }

    extern "C" fn compare(context: *mut c_void, found: *mut c_void) -> c_int {
        // SAFETY: the unwinder passes its own context.
        if unsafe { _Unwind_GetRegionStart(context) } != runner() {
            return CONTINUE;
        }
        // SAFETY: `is_here` passes a `bool` that outlives the walk.
        unsafe { *found.cast::<bool>() = true };
        STOP
    }

    /// Whether a thread-local's destructor is running on this thread, further down the stack. Walks the whole stack,
    /// through coroutines too: about 0.1 µs a frame.
    #[cold]
    pub(crate) fn is_here() -> bool {
        let mut found = false;
        // SAFETY: `compare` does what a trace function must, and `found` outlives the walk.
        unsafe { _Unwind_Backtrace(compare, ptr::from_mut(&mut found).cast()) };
        found
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", not(miri))))]
mod imp {
    pub(crate) fn is_here() -> bool {
        false
    }
}
