//! Dumps when the process gets SIGQUIT, which a terminal sends for Ctrl-\.
//!
//! The handler writes one byte to a pipe; a thread that reads from it makes the dump. So nothing is done in the handler that
//! may not be done there, and it does not matter what the thread was at that it ran on.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::dump::Dump;
use crate::runtime::fork;
use crate::runtime::rest::Rest;
use crate::runtime::thread;

/// The pipe's writing end, once the handler is installed; it stays open.
static PIPE: AtomicI32 = AtomicI32::new(-1);
/// The process that has the thread: a child that was forked off has none.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// Whether the handler has been installed.
pub(super) fn is_installed() -> bool {
    PIPE.load(Ordering::SeqCst) >= 0
}

/// Sees to it that every runtime of the process is dumped on SIGQUIT. A second time it does nothing.
///
/// # Errors
/// The system refuses a pipe, a thread, or the handler.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if is_installed() {
        return Ok(());
    }
    let (reader, writer) = io::pipe()?;
    // A handler must not wait for room: one dump for many signals is enough.
    // SAFETY: calls on a descriptor that is open.
    let is_set = unsafe {
        let flags = libc::fcntl(writer.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) >= 0
    };
    if !is_set {
        return Err(io::Error::last_os_error());
    }
    // It stays open as well, whatever becomes of the thread: a write that nobody can read is a signal that ends the process.
    let reader: &'static io::PipeReader = Box::leak(Box::new(reader));
    drop(thread::start("osier-quit".to_owned(), move || dump_when_told(reader))?);
    PROCESS.store(std::process::id().cast_signed(), Ordering::SeqCst);
    PIPE.store(writer.into_raw_fd(), Ordering::SeqCst);
    // SAFETY: a struct of zeros is one with an empty mask; the handler does only what may be done in one.
    let answer = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_quit as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // On the stack for signals, since the thread's own may be a coroutine's.
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGQUIT, &raw const action, std::ptr::null_mut())
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn on_quit(_: libc::c_int) {
    // SAFETY: all of these may be called in a handler; `errno` is the interrupted code's, and is put back.
    unsafe {
        let errno = errno();
        let before = *errno;
        if libc::getpid() == PROCESS.load(Ordering::SeqCst) {
            _ = libc::write(PIPE.load(Ordering::SeqCst), [0_u8].as_ptr().cast(), 1);
        } else {
            // As if it had never been handled: it comes when this returns.
            libc::signal(libc::SIGQUIT, libc::SIG_DFL);
            libc::raise(libc::SIGQUIT);
        }
        *errno = before;
    }
}

/// # Safety
/// - What it points to is this thread's.
unsafe fn errno() -> *mut libc::c_int {
    // SAFETY: a call without arguments.
    #[cfg(any(target_os = "linux", target_os = "emscripten", target_os = "hurd", target_os = "redox"))]
    return unsafe { libc::__errno_location() };
    // SAFETY: as above.
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    return unsafe { libc::__error() };
    // SAFETY: as above.
    #[cfg(any(target_os = "netbsd", target_os = "openbsd", target_os = "android"))]
    return unsafe { libc::__errno() };
    // SAFETY: as above.
    #[cfg(any(target_os = "illumos", target_os = "solaris"))]
    return unsafe { libc::___errno() };
    // SAFETY: as above.
    #[cfg(target_os = "dragonfly")]
    return unsafe { libc::__errno_location() };
}

fn dump_when_told(mut reader: &io::PipeReader) {
    // It wakes no task.
    Rest::of_monitors().begins();
    let mut bytes = [0; 64];
    loop {
        match reader.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            // By a handler of the program's, perhaps, that was set without `SA_RESTART`.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        }
        let dumps: Vec<_> = fork::runtimes().iter().map(|shared| Dump::of(shared)).collect();
        for (n, dump) in dumps.iter().enumerate() {
            eprintln!("osier: runtime {} of {}: {dump}", n + 1, dumps.len());
        }
    }
}
