//! A selector, as Python's `selectors`: for programs that are written as one loop over whatever is ready.
//!
//! A task for each connection reads better; this is for ports that shall stay what they are.
//!
//! An epoll instance of its own, in level mode, whose descriptor the calling task waits for.

use std::collections::HashMap;
use std::io;
use std::ops::BitOr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::time::Duration;

use super::ready::Ready;
use super::when::When;
use crate::runtime::Direction;
use crate::sync::waiting::lock;
use crate::task;

/// How many descriptors one `select` tells of; the others come with the next.
const BATCH: usize = 256;

/// What to wait for, and what has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// A read would not block.
    Read,
    /// A write would not block.
    Write,
    /// Both; or, of what is waited for, either.
    Both,
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        if self == other { self } else { Self::Both }
    }
}

impl Interest {
    fn events(self) -> i32 {
        match self {
            Self::Read => libc::EPOLLIN | libc::EPOLLRDHUP,
            Self::Write => libc::EPOLLOUT,
            Self::Both => Self::Read.events() | Self::Write.events(),
        }
    }

    /// What of it has come, if anything. Errors and ends make everything ready.
    fn among(self, events: i32) -> Option<Self> {
        let is_over = events & (libc::EPOLLHUP | libc::EPOLLERR) != 0;
        let has = |interest: Self| is_over || events & interest.events() != 0;
        match self {
            Self::Both if has(Self::Read) && has(Self::Write) => Some(Self::Both),
            Self::Both => [Self::Read, Self::Write].into_iter().find(|&one| has(one)),
            one => has(one).then_some(one),
        }
    }
}

/// Names a descriptor in its [`Selector`]; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

/// Tells which of many descriptors are ready. Linux only.
///
/// A descriptor is to be unregistered before it is closed. Many tasks may use one selector; each event that nobody has acted
/// upon is told to all who ask.
///
/// # Examples
/// ```
/// use osier::net::UnixStream;
/// use osier::net::selector::{Interest, Selector};
/// use std::io::Write;
/// use std::time::Duration;
///
/// osier::run(|| {
///     let selector = Selector::new()?;
///     let (here, mut there) = UnixStream::pair()?;
///     let token = selector.register(&here, Interest::Read)?;
///     assert!(selector.select(Duration::from_millis(1))?.is_empty());
///     there.write_all(b"!")?;
///     assert_eq!(selector.select(None)?, [(token, Interest::Read)]);
///     selector.modify(token, Interest::Write)?;
///     assert_eq!(selector.select(None)?, [(token, Interest::Write)]);
///     selector.unregister(token)?;
///     assert!(selector.unregister(token).is_err());
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Selector {
    epoll: Ready<OwnedFd>,
    registered: Mutex<Registered>,
}

#[derive(Debug, Default)]
struct Registered {
    entries: HashMap<Token, (RawFd, Interest)>,
    /// Which of them names a descriptor: one at a time.
    tokens: HashMap<RawFd, Token>,
    made: u64,
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the selector has no such token")
}

impl Selector {
    /// An empty one.
    ///
    /// # Errors
    /// The system is out of descriptors.
    pub fn new() -> io::Result<Self> {
        // SAFETY: it takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the system has just made it for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // It is asked without waiting only, so its mode does not matter.
        Ok(Self { epoll: Ready::of_nonblocking(fd), registered: Mutex::new(Registered::default()) })
    }

    fn control(&self, operation: i32, fd: RawFd, interest: Interest, token: Token) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.events().cast_unsigned(), u64: token.0 };
        // SAFETY: it only reads the struct; a descriptor that is none is an error.
        match unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Watches a descriptor.
    ///
    /// # Errors
    /// It is registered already (`EEXIST`), is none (`EBADF`), or of a kind that is always ready, as files are (`EPERM`).
    pub fn register(&self, fd: &impl AsFd, interest: Interest) -> io::Result<Token> {
        let mut registered = lock(&self.registered);
        let token = Token(registered.made);
        let fd = fd.as_fd().as_raw_fd();
        self.control(libc::EPOLL_CTL_ADD, fd, interest, token)?;
        registered.made += 1;
        registered.entries.insert(token, (fd, interest));
        // Had another of that number been watched, this would have been refused: it was closed before it was unregistered.
        if let Some(stale) = registered.tokens.insert(fd, token) {
            registered.entries.remove(&stale);
        }
        Ok(token)
    }

    /// Watches a descriptor for something else.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) if it is not registered, or another was since that has its number; the descriptor
    /// was closed.
    pub fn modify(&self, token: Token, interest: Interest) -> io::Result<()> {
        let mut registered = lock(&self.registered);
        let entry = registered.entries.get_mut(&token).ok_or_else(unknown)?;
        self.control(libc::EPOLL_CTL_MOD, entry.0, interest, token)?;
        entry.1 = interest;
        Ok(())
    }

    /// Watches a descriptor no more.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) if it is not registered.
    pub fn unregister(&self, token: Token) -> io::Result<()> {
        let mut registered = lock(&self.registered);
        let (fd, interest) = registered.entries.remove(&token).ok_or_else(unknown)?;
        registered.tokens.remove(&fd);
        // It fails if the descriptor was closed before; then it is not watched any more.
        _ = self.control(libc::EPOLL_CTL_DEL, fd, interest, token);
        Ok(())
    }

    /// Which descriptor a token names, by its number, and what it is watched for; none if it is not registered.
    pub fn get(&self, token: Token) -> Option<(RawFd, Interest)> {
        lock(&self.registered).entries.get(&token).copied()
    }

    /// Everything that is registered, by [`get`](Self::get), in the order in which it was.
    pub fn registered(&self) -> Vec<(Token, RawFd, Interest)> {
        let registered = lock(&self.registered);
        let mut all: Vec<_> =
            registered.entries.iter().map(|(&token, &(fd, interest))| (token, fd, interest)).collect();
        drop(registered);
        all.sort_unstable_by_key(|&(token, ..)| token);
        all
    }

    /// That there is something to tell, as one of several things to wait for: a branch `wait(..)` of
    /// [`select!`](crate::select!). What is there, [`select`](Self::select) tells.
    pub fn when_readable(&self) -> When<'_> {
        self.epoll.when_readable()
    }

    /// How many descriptors are registered.
    pub fn len(&self) -> usize {
        lock(&self.registered).entries.len()
    }

    /// Whether none is registered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until a descriptor is ready for what it is watched for, for at most `timeout`, or without a limit; and tells
    /// which are. None are told when the time is over. Zero only looks, and lets others run when there is nothing: a loop
    /// over it may wait for what they do.
    ///
    /// # Suspends
    /// Until one is ready; on a plain thread it holds the thread.
    ///
    /// # Cancel safety
    /// Nothing is lost: what is ready stays so until somebody acts upon it.
    ///
    /// # Errors
    /// Those of the system.
    pub fn select(&self, timeout: impl Into<Option<Duration>>) -> io::Result<Vec<(Token, Interest)>> {
        let timeout = timeout.into();
        if timeout == Some(Duration::ZERO) {
            task::spend();
            let ready = self.look()?;
            if ready.is_empty() {
                task::give_way_in_vain();
            }
            return Ok(ready);
        }
        let look = || {
            let ready = self.look()?;
            if ready.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(ready) }
        };
        match self.epoll.registration.io(Direction::Read, timeout, look, |_| false) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(Vec::new()),
            other => other,
        }
    }

    /// What is ready now.
    fn look(&self) -> io::Result<Vec<(Token, Interest)>> {
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; BATCH];
        let room = i32::try_from(BATCH).expect("small");
        // Held until it is known what the events are of: were something else waited for meanwhile, they would say nothing of it.
        // It does not wait.
        let registered = lock(&self.registered);
        // SAFETY: room for as many events.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), room, 0) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let ready = events[..count].iter().filter_map(|event| {
            let token = Token(event.u64);
            let (_, interest) = registered.entries.get(&token)?;
            Some((token, interest.among(event.events.cast_signed())?))
        });
        Ok(ready.collect())
    }
}

/// Readable while there is something to tell: so selectors nest.
impl AsFd for Selector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl AsRawFd for Selector {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}
