//! Which processors this process may run on, by the kernel's numbers for them: in a container they need not begin with 0.

use std::io;

fn none() -> libc::cpu_set_t {
    // SAFETY: a plain set of bits, for which zeros are a value.
    unsafe { std::mem::zeroed() }
}

/// All that this thread may run on.
///
/// # Errors
/// The kernel does not say.
pub(crate) fn allowed() -> io::Result<Vec<usize>> {
    let mut set = none();
    // SAFETY: the set is valid for writes of its size.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let most = usize::try_from(libc::CPU_SETSIZE).expect("it is a small number");
    // SAFETY: the numbers are within the set.
    Ok((0..most).filter(|&processor| unsafe { libc::CPU_ISSET(processor, &set) }).collect())
}

/// Runs this thread on these from now on, and so what it starts.
///
/// # Errors
/// The kernel does not allow it.
pub(crate) fn run_on(processors: &[usize]) -> io::Result<()> {
    let mut set = none();
    for &processor in processors {
        // SAFETY: the set is ours, and the number is one that the kernel gave.
        unsafe { libc::CPU_SET(processor, &mut set) };
    }
    // SAFETY: the call only reads the set.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
