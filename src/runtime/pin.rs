//! Ties a worker's thread to a core.

pub(super) use imp::to_core;

#[cfg(target_os = "linux")]
mod imp {
    use std::mem::MaybeUninit;

    /// Ties the calling thread to the `index`-th of the cores that it may use, counted round and round.
    pub(crate) fn to_core(index: usize) {
        let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        // SAFETY: it writes a set of this size.
        if unsafe { libc::sched_getaffinity(0, size, set.as_mut_ptr()) } != 0 {
            // More cores than the set has room for: leave it to the system.
            return;
        }
        // SAFETY: a set of bits, for which zero is a value too.
        let mut set = unsafe { set.assume_init() };
        let most = 8 * size;
        // SAFETY: below the size of the set.
        let cores: Vec<_> = (0..most).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect();
        let Some(&core) = cores.get(index % cores.len().max(1)) else { return };
        // SAFETY: a set of ours, and a core that was in it.
        unsafe {
            libc::CPU_ZERO(&mut set);
            libc::CPU_SET(core, &mut set);
            libc::sched_setaffinity(0, size, &raw const set);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    pub(crate) fn to_core(_index: usize) {}
}
