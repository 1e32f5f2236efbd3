//! A `redis-server` for the time of this program.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use osier::net::{PipeReader, TcpListener};

/// Ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// None where it is not installed.
    pub(crate) fn start() -> io::Result<Option<Self>> {
        // Between our looking for a free port and its taking it, somebody else may: then the next one.
        for _ in 0..10 {
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let port = address.port().to_string();
            let mut command = Command::new("redis-server");
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
            let mut process = match command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
                Ok(process) => process,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let output = PipeReader::try_from(process.stdout.take().expect("it was asked for"))?;
            let server = Self { process, address };
            let mut lines = BufReader::new(output).lines();
            // Its output ends when it does.
            while let Some(line) = lines.next().transpose()? {
                if line.contains("Ready to accept connections") {
                    // Somebody must go on reading what it says.
                    drop(osier::spawn(move || lines.for_each(drop)));
                    return Ok(Some(server));
                }
            }
        }
        Err(io::Error::other("redis-server finds no port"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
