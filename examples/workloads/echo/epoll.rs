//! A loop around epoll and nothing else: what a server could cost at best.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::Failure;
use crate::args::Params;
use crate::line::echo::{BUFFER, announce};
use crate::measure::Report;

/// Says which of some descriptors are readable, again and again until they are read.
pub(super) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: it takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the system has just made it for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 1024] })
    }

    pub(super) fn add(&self, fd: impl AsFd, key: u64) -> io::Result<()> {
        let mut interest = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: key };
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: it only reads the struct.
        match unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut interest) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits until some are readable, and gives their keys.
    pub(super) fn wait(&mut self) -> impl Iterator<Item = u64> + use<'_> {
        let room = i32::try_from(self.events.len()).expect("it is small");
        // SAFETY: room for as many events.
        let count = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), room, -1) };
        self.events[..usize::try_from(count).unwrap_or(0)].iter().map(|event| event.u64)
    }
}

/// Answers once. False if the client is gone.
fn answer(mut stream: &TcpStream, buffer: &mut [u8]) -> bool {
    match stream.read(buffer) {
        Ok(0) => false,
        // A client that has sent this much has room for it.
        Ok(size) => stream.write_all(&buffer[..size]).is_ok(),
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// Some lines of a page for each connection, as far from the next as osier's stacks are.
struct Pages {
    lines: usize,
    memory: Vec<u64>,
}

impl Pages {
    const APART: usize = 148 * 1024;
    const LINE: usize = 64;
    /// As many descriptors as have one.
    const COUNT: usize = 4096;

    fn new(lines: usize) -> Self {
        // Not touched before it is used, so it costs address space alone.
        let memory = if lines == 0 { Vec::new() } else { vec![0; Self::APART / size_of::<u64>() * Self::COUNT] };
        Self { lines, memory }
    }

    /// Changes the lines of the page that belongs to a descriptor.
    fn touch(&mut self, key: u64) {
        let index = usize::try_from(key).expect("a descriptor") % Self::COUNT;
        // Stacks begin at different lines, or they would share few sets of the first cache.
        let start = index * Self::APART + index % 32 * Self::LINE;
        for line in 0..self.lines {
            let word = &mut self.memory[(start + line * Self::LINE) / size_of::<u64>()];
            *word = std::hint::black_box(*word + 1);
        }
    }
}

fn run(lines: usize) -> io::Result<Infallible> {
    const LISTENER: u64 = u64::MAX;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    announce(listener.local_addr()?);
    let mut epoll = Epoll::new()?;
    epoll.add(&listener, LISTENER)?;
    let mut streams = HashMap::new();
    let mut buffer = vec![0; BUFFER];
    let mut pages = Pages::new(lines);
    loop {
        let ready: Vec<u64> = epoll.wait().collect();
        for key in ready {
            if key != LISTENER {
                pages.touch(key);
                if !streams.get(&key).is_some_and(|stream| answer(stream, &mut buffer)) {
                    streams.remove(&key);
                }
                continue;
            }
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let key = stream.as_raw_fd().cast_unsigned().into();
                epoll.add(&stream, key)?;
                streams.insert(key, stream);
            }
        }
    }
}

/// One thread serves all connections.
pub(crate) fn serve(params: &Params) -> Result<Report, Failure> {
    if params.number("threads") != 1 {
        return Err(Failure::Unsupported("the raw loop has one thread".to_owned()));
    }
    match run(params.size("lines")).map_err(super::failed)? {}
}
