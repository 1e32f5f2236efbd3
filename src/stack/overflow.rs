//! A fault in a guard becomes one message that names the coroutine and its stack, then an abort.
//!
//! The handler does address arithmetic on the region table, takes no lock and allocates nothing. A fault that is not
//! ours goes to the handler that was there before, so std's message for its own threads and a user's handler go on
//! working. Turning an overflow into a panic is not sound: frames would be left without their destructors.
//!
//! A handler runs on the thread's alternate stack. std gives its threads one; `signal_stack` does so for a thread that takes
//! its first coroutine's stack where std does not (a library loaded into a C program).

use std::mem::zeroed;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::region::Region;

/// Who handled `SIGSEGV` and `SIGBUS` before us: written once, before our handler is installed.
static PREVIOUS: [AtomicPtr<libc::sigaction>; 2] = [const { AtomicPtr::new(ptr::null_mut()) }; 2];
const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Installs the handler, once a process.
pub(super) fn install() {
    if cfg!(any(miri, osier_threads)) {
        // Coroutines have threads of their own, which std watches over.
        return;
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS) {
            // SAFETY: `sigaction` is plain data; all zeroes is the default action.
            let mut old: libc::sigaction = unsafe { zeroed() };
            // SAFETY: a null new action only reads the old one into `old`.
            unsafe { libc::sigaction(signal, ptr::null(), &raw mut old) };
            previous.store(Box::into_raw(Box::new(old)), Ordering::Release);
            // SAFETY: as above.
            let mut new: libc::sigaction = unsafe { zeroed() };
            new.sa_sigaction = handler as *const () as usize;
            new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            // SAFETY: `handler` has the signature that SA_SIGINFO demands and calls only async-signal-safe functions.
            unsafe { libc::sigaction(signal, &raw const new, ptr::null_mut()) };
        }
    });
}

unsafe extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t`; for these signals it holds an address.
    let address = unsafe { (*info).si_addr() }.addr();
    if let Some((region, label)) = Region::find(address) {
        // SAFETY: a touch of a guard comes from the coroutine that runs on that stack; its name is alive.
        report(unsafe { label.name() }, region.usable);
        // SAFETY: `abort` has no demands.
        unsafe { libc::abort() };
    }
    // SAFETY: the arguments are the kernel's own.
    unsafe { forward(signal, info, context) };
}

/// Writes the message with `write(2)` alone.
fn report(name: &[u8], usable: usize) {
    let mut line = Line { bytes: [0; 512], used: 0 };
    line.push(b"\ncoroutine '");
    line.push(&name[..name.len().min(300)]);
    line.push(b"' overflowed its ");
    line.push_number(usable / 1024);
    line.push(b" KiB stack\nhint: ask for a larger one with `stack_size`, or put large buffers on the heap\n");
    // SAFETY: the bytes are initialised and ours.
    unsafe { libc::write(2, line.bytes.as_ptr().cast(), line.used) };
}

/// A line that is put together without allocating.
struct Line {
    bytes: [u8; 512],
    used: usize,
}

impl Line {
    fn push(&mut self, text: &[u8]) {
        let fits = text.len().min(self.bytes.len() - self.used);
        self.bytes[self.used..self.used + fits].copy_from_slice(&text[..fits]);
        self.used += fits;
    }

    fn push_number(&mut self, number: usize) {
        if number >= 10 {
            self.push_number(number / 10);
        }
        self.push(&[b"0123456789"[number % 10]]);
    }
}

/// Hands a fault that is not ours to whoever was there before.
///
/// # Safety
/// - The arguments are those that the kernel gave the handler.
unsafe fn forward(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let slot = usize::from(signal != SIGNALS[0]);
    let previous = PREVIOUS[slot].load(Ordering::Acquire);
    // SAFETY: written before the handler was installed, and leaked.
    let previous = unsafe { &*previous };
    let action = previous.sa_sigaction;
    if action == libc::SIG_DFL || action == libc::SIG_IGN {
        // Ignoring a fault would repeat it for ever: both mean that the process dies of this signal, as it would have.
        // SAFETY: restores the default action; the instruction runs again after we return and faults for good.
        unsafe {
            let mut default: libc::sigaction = zeroed();
            default.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &raw const default, ptr::null_mut());
        }
    } else if previous.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: the previous owner installed this function with SA_SIGINFO, so it has this signature.
        let action: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
            unsafe { std::mem::transmute(action) };
        action(signal, info, context);
    } else {
        // SAFETY: the previous owner installed this function without SA_SIGINFO, so it has this signature.
        let action: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(action) };
        action(signal);
    }
}
