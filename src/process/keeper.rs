//! Who notices that a child has ended: one thread for all of them, which is there while there are any.
//!
//! It sleeps in `poll`, on a descriptor of each child where the system has such (Linux's pidfd), else on a pipe that SIGCHLD
//! writes to; then it reaps those that have ended and sets their events, for which tasks and threads wait. So a child is
//! reaped at once, also when its handle is gone, and no runtime has to run for that. Why not each worker's reactor:
//! arch-notes/processes.md.
//!
//! # Invariants
//! - A child is in the list until it has ended.
//! - The thread ends, under the lock, when the list is empty; whoever adds to it then starts another.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use signal_hook::low_level::pipe;

use super::child::Process;

static STATE: Mutex<State> = Mutex::new(State { new: Vec::new(), bell: None });

struct State {
    /// Those that the thread does not know yet.
    new: Vec<Arc<Process>>,
    /// Rings for the thread; empty while there is none.
    bell: Option<io::PipeWriter>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A descriptor that is readable when the child has ended.
pub(super) fn descriptor_of(child: &std::process::Child) -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::FromRawFd;
        // SAFETY: it takes no pointers. The child has not been reaped, so the number is its.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(child.id()), 0_u32) };
        // Fails before Linux 5.3, and where a sandbox forbids it.
        let descriptor = RawFd::try_from(descriptor).ok().filter(|&descriptor| descriptor >= 0)?;
        // SAFETY: it was opened just now, for us.
        Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }
    #[cfg(not(target_os = "linux"))]
    {
        _ = child;
        None
    }
}

/// Sees to it that the process is reaped when it ends.
///
/// # Errors
/// The system gives no thread, or no pipe.
pub(super) fn keep(process: &Arc<Process>) -> io::Result<()> {
    if process.descriptor.is_none() {
        sigchld()?;
    }
    let mut state = state();
    match &mut state.bell {
        Some(bell) => bell.write_all(&[0])?,
        None => {
            let (reader, writer) = io::pipe()?;
            thread::Builder::new().name("osier-children".to_owned()).spawn(|| watch(reader))?;
            state.bell = Some(writer);
        }
    }
    state.new.push(process.clone());
    Ok(())
}

/// What SIGCHLD writes to, from the first time on for which this is called.
fn sigchld() -> io::Result<&'static UnixStream> {
    static STREAM: OnceLock<UnixStream> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if STREAM.get().is_none() {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        pipe::register(libc::SIGCHLD, writer)?;
        _ = STREAM.set(reader);
    }
    Ok(STREAM.get().expect("it was set just now"))
}

/// The thread: reaps children until there are none.
fn watch(mut bell: io::PipeReader) {
    let mut children: Vec<Arc<Process>> = Vec::new();
    loop {
        {
            let mut state = state();
            children.append(&mut state.new);
            if children.is_empty() {
                state.bell = None;
                return;
            }
        }
        // Before they are looked at: a signal that comes later ends the sleep.
        let sigchld = children.iter().any(|child| child.descriptor.is_none()).then(|| sigchld().ok()).flatten();
        if let Some(mut stream) = sigchld {
            while stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        }
        children.retain(|child| child.descriptor.is_some() || matches!(child.try_wait(), Ok(None)));
        let others = [Some(bell.as_raw_fd()), sigchld.map(AsRawFd::as_raw_fd)];
        let watched = children.iter().filter_map(|child| child.descriptor.as_ref().map(AsRawFd::as_raw_fd));
        let ready = sleep(others.into_iter().map(|fd| fd.unwrap_or(-1)).chain(watched));
        if ready[0] {
            // One for each that was added since; what is still there rings once more.
            _ = bell.read(&mut [0; 64]);
        }
        let mut ready = ready.into_iter().skip(others.len());
        children.retain(|child| {
            child.descriptor.is_none() || ready.next() != Some(true) || matches!(child.try_wait(), Ok(None))
        });
    }
}

/// Sleeps until something can be read, and says of each descriptor whether it can.
fn sleep(descriptors: impl Iterator<Item = RawFd>) -> Vec<bool> {
    let mut polled: Vec<_> = descriptors.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    let count = libc::nfds_t::try_from(polled.len()).expect("fewer children than that");
    // SAFETY: an array of that many.
    if unsafe { libc::poll(polled.as_mut_ptr(), count, -1) } < 0 {
        // Interrupted: nothing is ready, and everything is looked at again.
        return vec![false; polled.len()];
    }
    polled.iter().map(|polled| polled.revents != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Wait;

    #[test]
    fn children_without_a_descriptor_are_noticed_by_their_signal() {
        let children: Vec<_> = (0..5)
            .map(|code| {
                let child = std::process::Command::new("sh").args(["-c", &format!("exit {code}")]).spawn().unwrap();
                let process = Process::new(child, None);
                keep(&process).unwrap();
                process
            })
            .collect();
        for (code, process) in (0..).zip(&children) {
            let event: [&dyn Wait; 1] = [process.ended()];
            assert_eq!(crate::wait(&event).next(), Some(0));
            assert_eq!(process.try_wait().unwrap().unwrap().code(), Some(code));
        }
    }
}
