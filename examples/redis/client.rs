//! One connection for many tasks. A task writes what all have asked for meanwhile in one go, another one reads the answers,
//! which come in the order of the commands.

use std::io::{self, BufReader, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use osier::net::TcpStream;
use osier::sync::channel::{self, OneshotSender, Receiver, Sender};

use crate::resp::{self, Value};

type Asked = OneshotSender<Value>;

/// A handle: clones share the connection, which ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    commands: Sender<(Vec<u8>, Asked)>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    commands: AtomicUsize,
    writes: AtomicUsize,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let (commands, to_write) = channel::unbounded();
        let (awaited, to_read) = channel::unbounded();
        let counts = Arc::new(Counts::default());
        let writes = osier::spawn({
            let (stream, counts) = (stream.try_clone()?, counts.clone());
            move || {
                // An error is the end for everybody who waits, and the reader sees it as well.
                _ = write_commands(&stream, &to_write, &awaited, &counts);
                _ = stream.shutdown(std::net::Shutdown::Both);
            }
        });
        let reads = osier::spawn(move || {
            _ = read_answers(&stream, &to_read);
            _ = stream.shutdown(std::net::Shutdown::Both);
        });
        // They end by themselves when the connection does.
        drop((writes, reads));
        Ok(Self { commands, counts })
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn call(&self, words: &[&[u8]]) -> io::Result<Value> {
        let (answer, answered) = channel::oneshot();
        let gone = || io::Error::from(io::ErrorKind::ConnectionReset);
        self.commands.send((resp::command(words), answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())
    }

    /// How many commands were sent, and by how many writes.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.counts.commands.load(Ordering::Relaxed), self.counts.writes.load(Ordering::Relaxed))
    }
}

fn write_commands(
    mut stream: &TcpStream,
    commands: &Receiver<(Vec<u8>, Asked)>,
    awaited: &Sender<Asked>,
    counts: &Counts,
) -> io::Result<()> {
    let gone = |_| io::Error::from(io::ErrorKind::ConnectionReset);
    while let Ok((mut bytes, asked)) = commands.recv() {
        awaited.send(asked).map_err(gone)?;
        let mut count = 1;
        // Those who have been answered ask again before this goes on.
        osier::yield_now();
        for (more, asked) in commands.try_iter() {
            bytes.extend(more);
            awaited.send(asked).map_err(gone)?;
            count += 1;
        }
        stream.write_all(&bytes)?;
        counts.commands.fetch_add(count, Ordering::Relaxed);
        counts.writes.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn read_answers(stream: &TcpStream, awaited: &Receiver<Asked>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Ok(asked) = awaited.recv() {
        // Who does not wait any more was cancelled; its answer is read all the same.
        _ = asked.send(resp::read(&mut stream)?);
    }
    Ok(())
}
