//! A file descriptor that tells a foreign event loop when a runtime on its thread has something to do.

pub(super) use imp::Bell;

#[cfg(target_os = "linux")]
mod imp {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
    use std::ptr;
    use std::time::Duration;

    /// An epoll instance, which is readable while one of two is: an eventfd, rung by whoever wakes the runtime, and a
    /// timerfd, set to its next timer.
    #[derive(Debug)]
    pub(crate) struct Bell {
        both: OwnedFd,
        event: OwnedFd,
        timer: OwnedFd,
    }

    fn owned(fd: i32) -> io::Result<OwnedFd> {
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the system has just made it for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    impl Bell {
        pub(crate) fn new() -> io::Result<Self> {
            // SAFETY: these calls take no pointers.
            let (both, event, timer) = unsafe {
                (
                    libc::epoll_create1(libc::EPOLL_CLOEXEC),
                    libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK),
                    libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK),
                )
            };
            let (both, event, timer) = (owned(both), owned(event), owned(timer));
            let this = Self { both: both?, event: event?, timer: timer? };
            for fd in [&this.event, &this.timer] {
                let mut interest = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: 0 };
                // SAFETY: both descriptors are ours, and the call only reads the struct.
                let answer = unsafe {
                    libc::epoll_ctl(this.both.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut interest)
                };
                if answer != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(this)
        }

        /// Makes it ring while another epoll instance has events.
        #[cfg(feature = "net")]
        pub(crate) fn watch(&self, poller: i32) {
            let mut interest = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: 0 };
            // SAFETY: the call only reads the struct. It fails if the poller is watched already.
            unsafe { libc::epoll_ctl(self.both.as_raw_fd(), libc::EPOLL_CTL_ADD, poller, &raw mut interest) };
        }

        pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
            self.both.as_fd()
        }

        pub(crate) fn ring(&self) {
            let one = 1_u64.to_ne_bytes();
            // SAFETY: it reads these eight bytes. A counter that is full is readable, too.
            unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }

        /// Makes it silent.
        pub(crate) fn reset(&self) {
            let mut count = [0_u8; 8];
            // SAFETY: it writes these eight bytes, or fails because it was not rung.
            unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
            self.set_timer(None);
        }

        /// Makes it ring after `delay`.
        pub(crate) fn set_timer(&self, delay: Option<Duration>) {
            // Zero would mean never.
            let delay = delay.map_or(Duration::ZERO, |delay| delay.max(Duration::from_nanos(1)));
            // SAFETY: a plain struct of numbers, for which zero is a value.
            let mut spec = unsafe { std::mem::zeroed::<libc::itimerspec>() };
            spec.it_value.tv_sec = delay.as_secs().try_into().unwrap_or(libc::time_t::MAX);
            spec.it_value.tv_nsec = delay.subsec_nanos().into();
            // SAFETY: the call only reads the struct.
            unsafe { libc::timerfd_settime(self.timer.as_raw_fd(), 0, &raw const spec, ptr::null_mut()) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::time::Duration;

    /// There is none here.
    #[derive(Debug)]
    pub(crate) enum Bell {}

    impl Bell {
        pub(crate) fn ring(&self) {
            match *self {}
        }

        pub(crate) fn reset(&self) {
            match *self {}
        }

        #[cfg(feature = "net")]
        pub(crate) fn watch(&self, _poller: i32) {
            match *self {}
        }

        pub(crate) fn set_timer(&self, _delay: Option<Duration>) {
            match *self {}
        }
    }
}
