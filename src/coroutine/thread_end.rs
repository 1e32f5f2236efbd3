//! Whether this thread is running the destructors of its thread-locals: at its end, or in an `exit` of the process.
//!
//! A suspended coroutine that lies in a thread-local would be unwound by that variable's destructor, and its frames may
//! borrow from a thread-local that is gone by then: variables are destroyed newest first, whatever borrows from what.
//! So whoever ends a suspended coroutine asks here first, and leaves it as it is in such a destructor.
//!
//! glibc runs all of them from one function, so that function's frame on the stack tells; after that, in the destructors of
//! pthread keys say, the thread's own free stacks are gone. Where the function is not to be found (another libc, Miri) only the
//! second is noticed, and the hole stays open: `arch-notes/coroutines.md`, "Holes".
//!
//! The walk ends early at the frame of somebody who has asked and calls the rest through [`vouching`]: so ending many
//! coroutines that are nested in each other does not walk over all of them for each.

pub(crate) use imp::is_here;

/// Calls `f` so that [`is_here`], asked in there, looks no further down the stack than to this call. For who knows that the
/// answer is no.
pub(crate) fn vouching<T>(f: impl FnOnce() -> T) -> T {
    let (mut f, mut value) = (Some(f), None);
    // Opaque, or the optimizer makes a copy of it for this `f`, which nobody would know.
    let vouch = std::hint::black_box(vouch as fn(&mut dyn FnMut()));
    vouch(&mut || value = f.take().map(|f| f()));
    value.expect("what is vouched for is called")
}

/// As [`vouching`], for the loop of the worker that this thread is, at its bottom.
#[cfg(feature = "runtime")]
pub(crate) fn vouching_for_worker<T>(f: impl FnOnce() -> T) -> T {
    super::current::vouch_for_worker();
    vouching(f)
}

/// Its frame is the sign: one function for all, and never part of another one.
#[inline(never)]
fn vouch(f: &mut dyn FnMut()) {
    f();
    // Used after the call, which is no tail call then: the frame stays.
    std::hint::black_box(f);
}

#[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
mod imp {
    use std::ffi::{c_int, c_void};
    use std::ptr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::coroutine::{current, own_stack};

    /// From the unwinder's ABI (Itanium C++ ABI, level 1, and libgcc's extension), which std links as well.
    const CONTINUE: c_int = 0;
    const STOP: c_int = 4;
    type Trace = extern "C" fn(context: *mut c_void, found: *mut c_void) -> c_int;

    unsafe extern "C" {
        fn _Unwind_Backtrace(trace: Trace, argument: *mut c_void) -> c_int;
        fn _Unwind_GetRegionStart(context: *mut c_void) -> usize;
    }

    /// More than glibc's function takes (101 bytes in 2.36).
    const LENGTH: usize = 512;
    /// There is no such function.
    const NONE: usize = 1;

    /// Where glibc's function begins.
    fn runner() -> usize {
        static RUNNER: AtomicUsize = AtomicUsize::new(0);
        match RUNNER.load(Ordering::Relaxed) {
            0 => {
                // SAFETY: `dlsym` only reads the name.
                let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__call_tls_dtors".as_ptr()) }.addr().max(NONE);
                RUNNER.store(found, Ordering::Relaxed);
                found
            }
            known => known,
        }
    }

    extern "C" fn compare(context: *mut c_void, found: *mut c_void) -> c_int {
        // SAFETY: the unwinder passes its own context.
        let function = unsafe { _Unwind_GetRegionStart(context) };
        if function == (super::vouch as fn(&mut dyn FnMut()) as *const ()).addr() {
            return STOP;
        }
        if function != runner() {
            return CONTINUE;
        }
        // SAFETY: `is_here` passes a `bool` that outlives the walk.
        unsafe { *found.cast::<bool>() = true };
        STOP
    }

    /// Whether a thread-local's destructor is running on this thread, further down the stack. A look at the words on it; if
    /// that does not tell, in a generator say, a walk to the first `vouch`: about 0.1 µs a frame.
    #[cold]
    pub(crate) fn is_here() -> bool {
        if current::is_past_end() {
            return true;
        }
        let runner = runner();
        if runner == NONE || !own_stack::may_return_into(runner, LENGTH) {
            return false;
        }
        let mut found = false;
        // SAFETY: `compare` does what a trace function must, and `found` outlives the walk.
        unsafe { _Unwind_Backtrace(compare, ptr::from_mut(&mut found).cast()) };
        found
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", not(miri))))]
mod imp {
    use crate::coroutine::current;

    pub(crate) fn is_here() -> bool {
        current::is_past_end()
    }
}
