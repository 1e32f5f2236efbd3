//! An echo server as bare as the kernel allows: one thread, `epoll`, a buffer, and no tasks. What the others are measured
//! against in `echo`.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;

use line::args::Params;
use line::echo::{BUFFER, announce};
use line::measure::Report;
use line::{Failure, Measure};

#[path = "../../../examples/workloads/line/mod.rs"]
#[allow(dead_code, reason = "not every system needs every part")]
mod line;

fn watch(poller: RawFd, fd: RawFd) -> io::Result<()> {
    let key = u64::try_from(fd).expect("descriptors are not negative");
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: key };
    // SAFETY: `event` is valid for reads; the kernel copies it.
    match unsafe { libc::epoll_ctl(poller, libc::EPOLL_CTL_ADD, fd, &raw mut event) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Answers for ever. A connection whose answer does not fit into the kernel's buffer is closed: the load asks for little
/// and reads each answer before it asks again.
fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // SAFETY: the call takes a number and touches no memory.
    let poller = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    watch(poller, listener.as_raw_fd())?;
    announce(listener.local_addr()?);
    let mut connections: HashMap<RawFd, TcpStream> = HashMap::new();
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
    let mut buffer = [0; BUFFER];
    loop {
        // SAFETY: `events` is valid for writes of as many elements as are given.
        let ready = unsafe { libc::epoll_wait(poller, events.as_mut_ptr(), 256, -1) };
        let ready = usize::try_from(ready).map_err(|_| io::Error::last_os_error())?;
        for event in &events[..ready] {
            let fd = RawFd::try_from(event.u64).expect("the key is a descriptor");
            if fd == listener.as_raw_fd() {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                watch(poller, stream.as_raw_fd())?;
                connections.insert(stream.as_raw_fd(), stream);
                continue;
            }
            let stream = connections.get_mut(&fd).expect("it was inserted when it was watched");
            let answered = match stream.read(&mut buffer) {
                Ok(0) => false,
                Ok(read) => stream.write_all(&buffer[..read]).is_ok(),
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            };
            if !answered {
                // Closing takes it out of the poller.
                connections.remove(&fd);
            }
        }
    }
}

fn echo(params: &Params) -> Result<Report, Failure> {
    if params.number("threads") != 1 {
        return Err(Failure::Unsupported("this server has one thread".to_owned()));
    }
    Err(Failure::Wrong(format!("the server ended: {:?}", serve())))
}

fn find(workload: &str) -> Option<Measure> {
    (workload == "echo").then_some(echo)
}

fn main() -> ExitCode {
    line::main(|arguments| line::execute("epoll", find, arguments))
}
