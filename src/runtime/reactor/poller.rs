//! What the system says about descriptors: epoll in edge mode on Linux, the `polling` crate's choice elsewhere.
//!
//! Linux is served directly for two reasons. The end of a stream must be told apart from its data (`EPOLLRDHUP`), or a
//! short read could not be trusted; and a wait is one system call here, where `polling` makes five.

pub(super) use imp::Poller;

/// What became ready.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) key: u64,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// A read that gets less than it asked for says nothing about the next: the peer will send no more, or has sent urgent
    /// data. Where this is not known, it is always said.
    pub(super) read_in_doubt: bool,
    pub(super) hung_up: bool,
}

/// What a poller is asked to tell of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(osier_polling)))]
mod imp {
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::time::Duration;
    use std::{ptr, slice};

    use super::{Event, Interest};

    /// How many events are taken at once.
    const BATCH: usize = 128;
    /// The key of a poller's own descriptor.
    const RING: u64 = u64::MAX;
    const READ: i32 = libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLRDHUP;
    const WRITE: i32 = libc::EPOLLOUT;

    /// A time as the newer calls have it on every machine: `libc::timespec` is smaller where words are of 32 bits.
    #[repr(C)]
    struct KernelTime {
        _seconds: i64,
        _nanoseconds: i64,
    }

    /// What has come of one wait.
    pub(crate) struct Events {
        buffer: [MaybeUninit<libc::epoll_event>; BATCH],
        /// How many the system has written.
        count: usize,
    }

    impl Events {
        pub(crate) fn is_empty(&self) -> bool {
            self.count == 0
        }

        #[inline]
        pub(crate) fn iter(&self) -> impl Iterator<Item = Event> {
            // SAFETY: the system has written so many.
            let events = unsafe { slice::from_raw_parts(self.buffer.as_ptr().cast::<libc::epoll_event>(), self.count) };
            events.iter().filter(|event| event.u64 != RING).map(|event| {
                let (flags, key) = (event.events.cast_signed(), event.u64);
                let has = |flag: i32| flags & flag != 0;
                let hung_up = has(libc::EPOLLHUP | libc::EPOLLERR);
                Event {
                    key,
                    readable: hung_up || has(READ),
                    writable: hung_up || has(WRITE),
                    read_in_doubt: hung_up || has(libc::EPOLLRDHUP | libc::EPOLLPRI),
                    hung_up,
                }
            })
        }
    }

    /// An epoll instance, and an eventfd in it that ends a wait.
    #[derive(Debug)]
    pub(crate) struct Poller {
        epoll: OwnedFd,
        ring: OwnedFd,
    }

    fn owned(fd: RawFd) -> io::Result<OwnedFd> {
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the system has just made it for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn events_of(interest: Interest) -> i32 {
        let of = |asked, events| if asked { events } else { 0 };
        of(interest.read, READ) | of(interest.write, WRITE) | libc::EPOLLET
    }

    impl Poller {
        pub(crate) fn new() -> io::Result<Self> {
            // SAFETY: it takes no pointers.
            let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
            // SAFETY: as above.
            let ring = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
            let this = Self { epoll, ring };
            // In edge mode each ring is an event, and nobody needs to read the counter.
            this.control(libc::EPOLL_CTL_ADD, this.ring.as_raw_fd(), libc::EPOLLIN | libc::EPOLLET, RING)?;
            Ok(this)
        }

        fn control(&self, operation: i32, fd: RawFd, events: i32, key: u64) -> io::Result<()> {
            let mut interest = libc::epoll_event { events: events.cast_unsigned(), u64: key };
            // SAFETY: the call only reads the struct; a descriptor that is none is an error.
            match unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &raw mut interest) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        }

        /// Watches a descriptor: an event comes whenever something changes, and now if it is ready.
        pub(crate) fn add(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
            self.control(libc::EPOLL_CTL_ADD, fd, events_of(interest), key)
        }

        /// Watches a descriptor for something else from now on; again, an event comes now if it is ready.
        pub(crate) fn modify(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
            self.control(libc::EPOLL_CTL_MOD, fd, events_of(interest), key)
        }

        pub(crate) fn remove(&self, fd: RawFd) {
            // It fails when the descriptor was closed behind our back; then it is not watched any more.
            _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
        }

        /// Ends the wait, or the next one.
        pub(crate) fn ring(&self) {
            let one = 1_u64.to_ne_bytes();
            let write = || {
                // SAFETY: it reads these eight bytes.
                unsafe { libc::write(self.ring.as_raw_fd(), one.as_ptr().cast(), one.len()) }
            };
            if write() < 0 {
                // Full, after 2⁶⁴ rings.
                let mut count = [0_u8; 8];
                // SAFETY: it writes these eight bytes.
                unsafe { libc::read(self.ring.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
                write();
            }
        }

        /// Readable when there are events.
        pub(crate) fn raw_fd(&self) -> RawFd {
            self.epoll.as_raw_fd()
        }

        /// Room for what comes of waits.
        #[inline(always)]
        #[allow(clippy::unused_self, reason = "elsewhere the poller has the room")]
        pub(crate) fn room(&self) -> Events {
            Events { buffer: [const { MaybeUninit::uninit() }; BATCH], count: 0 }
        }

        /// Waits for at most `timeout`, and puts what became ready in the place of what was in `events`.
        pub(crate) fn wait(&self, timeout: Option<Duration>, events: &mut Events) {
            events.count = usize::try_from(self.wait_for(timeout, &mut events.buffer)).unwrap_or(0);
        }

        fn wait_for(&self, timeout: Option<Duration>, events: &mut [MaybeUninit<libc::epoll_event>; BATCH]) -> i32 {
            let epoll = self.epoll.as_raw_fd();
            let first: *mut libc::epoll_event = events.as_mut_ptr().cast();
            let max = i32::try_from(BATCH).expect("small");
            let milliseconds = match timeout {
                None => -1,
                Some(Duration::ZERO) => 0,
                Some(timeout) => {
                    let spec = KernelTime {
                        _seconds: timeout.as_secs().try_into().unwrap_or(i64::MAX),
                        _nanoseconds: timeout.subsec_nanos().into(),
                    };
                    // SAFETY: room for `max` events, and a struct that is only read.
                    let count = unsafe {
                        libc::syscall(libc::SYS_epoll_pwait2, epoll, first, max, &raw const spec, ptr::null::<()>(), 0)
                    };
                    if count >= 0 || io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                        return i32::try_from(count).unwrap_or(0);
                    }
                    // Before Linux 5.11, or where a filter knows no newer calls and forbids them in its own way. Rounded up:
                    // who wakes too early only looks and sleeps again.
                    i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
                }
            };
            // SAFETY: room for `max` events.
            unsafe { libc::epoll_wait(epoll, first, max, milliseconds) }
        }
    }
}

#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(osier_polling))))]
mod imp {
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use polling::{Event as Polled, PollMode};

    use super::{Event, Interest};

    /// The poller of `polling`, and the events of the one thread that waits.
    #[derive(Debug)]
    pub(crate) struct Poller {
        poller: polling::Poller,
        events: Mutex<polling::Events>,
    }

    fn event_of(key: u64, interest: Interest) -> io::Result<Polled> {
        let key = usize::try_from(key).map_err(io::Error::other)?;
        Ok(Polled::new(key, interest.read, interest.write))
    }

    impl Poller {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self { poller: polling::Poller::new()?, events: Mutex::new(polling::Events::new()) })
        }

        pub(crate) fn add(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
            let event = event_of(key, interest)?;
            // SAFETY: it leaves the poller before it is closed: `Source` sees to that.
            unsafe { self.poller.add_with_mode(fd, event, PollMode::Edge) }
        }

        pub(crate) fn modify(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
            let event = event_of(key, interest)?;
            // SAFETY: its owner has not closed it yet.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            self.poller.modify_with_mode(fd, event, PollMode::Edge)
        }

        pub(crate) fn remove(&self, fd: RawFd) {
            // SAFETY: its owner has not closed it yet.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            // It fails when the descriptor was closed behind our back; then it is not watched any more.
            _ = self.poller.delete(fd);
        }

        pub(crate) fn ring(&self) {
            _ = self.poller.notify();
        }

        #[allow(dead_code, reason = "for the bell, which only Linux has")]
        pub(crate) fn raw_fd(&self) -> RawFd {
            self.poller.as_raw_fd()
        }

        pub(crate) fn room(&self) -> Events<'_> {
            Events(self.events.lock().unwrap_or_else(PoisonError::into_inner))
        }

        pub(crate) fn wait(&self, timeout: Option<Duration>, events: &mut Events<'_>) {
            events.0.clear();
            // What has failed has brought nothing.
            _ = self.poller.wait(&mut events.0, timeout);
        }
    }

    /// What has come of one wait.
    pub(crate) struct Events<'a>(MutexGuard<'a, polling::Events>);

    impl Events<'_> {
        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        pub(crate) fn iter(&self) -> impl Iterator<Item = Event> {
            self.0.iter().map(|event| {
                let hung_up = event.is_interrupt() || event.is_err().unwrap_or(false);
                Event {
                    key: event.key as u64,
                    readable: event.readable || hung_up,
                    writable: event.writable || hung_up,
                    // Whether the end came along with the data cannot be told.
                    read_in_doubt: true,
                    hung_up,
                }
            })
        }
    }
}
