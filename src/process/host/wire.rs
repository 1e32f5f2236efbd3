//! Frames: what goes over the socket between an owner and a host.
//!
//! ```text
//!   ┌──────────────────┬────────┬──────────────┐
//!   │ length of body   │ kind   │ body         │
//!   │ u32, big-endian  │ u8     │              │
//!   └──────────────────┴────────┴──────────────┘
//! ```
//! A frame that is longer than both sides agreed on, or of no known kind, is garbage: nothing can be read after it.

use std::io::{self, Read, Write};

/// How many bytes a frame may have beside a message's: a function's name, a number, or a text instead.
pub(crate) const HEAD: usize = 1 << 16;

/// What a frame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The host: it is ready.
    Hello = b'H',
    /// The owner: run a function. The length of its name as a u16, its name, its argument.
    Call = b'C',
    /// The host: no function has this name.
    Unknown = b'U',
    /// The host: the job's value.
    Value = b'V',
    /// The host: it panicked, with this text.
    Panicked = b'P',
    /// The host: it raised an exception, with this text.
    Raised = b'R',
    /// The host: its argument does not decode, and why.
    BadArgument = b'B',
    /// The host: its value does not encode, and why.
    BadValue = b'E',
    /// The host: its value is too long; how long, as a u64.
    TooLarge = b'L',
    /// Either, to an actor: a message. Whom it is for and its own number, as u64s, and its bytes.
    Post = b'S',
    /// Whoever got a message: it does not decode. Its two numbers, and why.
    Refused = b'D',
    /// Either: the answer to a question of this number, and its bytes.
    Answer = b'A',
    /// Either: no answer will come to the question of this number.
    NoAnswer = b'N',
    /// Either: the answer to the question of this number cannot be sent.
    BadAnswer = b'W',
    /// Either: the address of this number is not used any more.
    Release = b'F',
    /// Either, of an address that it was sent: tell when its actor has ended.
    Watch = b'O',
    /// Either, of an address that it was sent: close its actor.
    CloseThat = b'Q',
    /// Either, of an address that it was sent: kill its actor, and say that the question of the second number has no answer.
    Kill = b'K',
    /// Either, of an address that it has sent: how many messages have arrived there, whatever became of them, and how many of
    /// them the actor has received; as u64s.
    Settled = b'M',
    /// Either, of an address that it has sent: its actor was closed.
    Closed = b'Z',
    /// Either, of an address that it has sent: its actor has ended. How, as a byte, and a text.
    Gone = b'G',
    /// The owner: no more is sent to the actor.
    Close = b'X',
    /// The host: how many messages the actor has received, as a u64.
    Taken = b'T',
}

impl Kind {
    const ALL: [Self; 23] = [
        Self::Hello,
        Self::Call,
        Self::Unknown,
        Self::Value,
        Self::Panicked,
        Self::Raised,
        Self::BadArgument,
        Self::BadValue,
        Self::TooLarge,
        Self::Post,
        Self::Refused,
        Self::Answer,
        Self::NoAnswer,
        Self::BadAnswer,
        Self::Release,
        Self::Watch,
        Self::CloseThat,
        Self::Kill,
        Self::Settled,
        Self::Closed,
        Self::Gone,
        Self::Close,
        Self::Taken,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) body: Vec<u8>,
}

fn garbage(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Frame {
    /// The parts of a call: the function's name, and its argument.
    pub(crate) fn call(&self) -> io::Result<(&str, &[u8])> {
        let (length, rest) = self.body.split_first_chunk().ok_or_else(|| garbage("a call without a name"))?;
        let (name, argument) = rest
            .split_at_checked(usize::from(u16::from_be_bytes(*length)))
            .ok_or_else(|| garbage("a call with half a name"))?;
        Ok((str::from_utf8(name).map_err(|_| garbage("a name that is no text"))?, argument))
    }

    /// The number that the body begins with, and what follows it.
    pub(crate) fn numbered(&self) -> io::Result<(u64, &[u8])> {
        let (number, rest) = self.body.split_first_chunk().ok_or_else(|| garbage("a frame without its number"))?;
        Ok((u64::from_be_bytes(*number), rest))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Appends a frame to `buffer`.
pub(crate) fn put(buffer: &mut Vec<u8>, kind: Kind, parts: &[&[u8]]) -> io::Result<()> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(length).map_err(|_| garbage("a frame of more than 4 GiB"))?;
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.push(kind as u8);
    parts.iter().for_each(|part| buffer.extend_from_slice(part));
    Ok(())
}

/// Appends a call to `buffer`.
pub(crate) fn put_call(buffer: &mut Vec<u8>, function: &str, argument: &[u8]) -> io::Result<()> {
    let length = u16::try_from(function.len()).map_err(|_| garbage("a name of more than 64 KiB"))?;
    put(buffer, Kind::Call, &[&length.to_be_bytes(), function.as_bytes(), argument])
}

/// Writes a frame, in one call where the system takes it.
pub(crate) fn write(to: &mut impl Write, kind: Kind, parts: &[&[u8]]) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(5 + parts.iter().map(|part| part.len()).sum::<usize>());
    put(&mut buffer, kind, parts)?;
    to.write_all(&buffer)
}

/// Reads a frame with a message of at most `limit` bytes. `None` at the end, between two frames.
pub(crate) fn read(from: &mut impl Read, limit: usize) -> io::Result<Option<Frame>> {
    let mut head = [0; 5];
    let first = loop {
        match from.read(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    if first == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[first..])?;
    let [a, b, c, d, kind] = head;
    let kind = Kind::of(kind).ok_or_else(|| garbage("a frame of no known kind"))?;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > limit.saturating_add(HEAD + 2) {
        return Err(garbage("a frame that is too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(Frame { kind, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back() {
        let mut bytes = Vec::new();
        put_call(&mut bytes, "f", &[1, 2]).unwrap();
        write(&mut bytes, Kind::Hello, &[]).unwrap();
        let mut from = bytes.as_slice();
        let frame = read(&mut from, 100).unwrap().unwrap();
        assert_eq!(frame.call().unwrap(), ("f", [1, 2].as_slice()));
        assert_eq!(read(&mut from, 100).unwrap().unwrap().kind, Kind::Hello);
        assert!(read(&mut from, 100).unwrap().is_none());
    }

    #[test]
    fn garbage_is_an_error() {
        let long = [0, 1, 0, 13, b'V'];
        assert_eq!(read(&mut long.as_slice(), 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
        for garbage in [b"hello world".as_slice(), &[0, 0, 0, 1, b'V'], &[0, 0], &[0, 0, 0, 0, 0]] {
            assert!(read(&mut &*garbage, 1 << 20).is_err(), "{garbage:?}");
        }
        let half = Frame { kind: Kind::Call, body: vec![0, 9, b'f'] };
        assert!(half.call().is_err() && half.numbered().is_err());
    }

    #[test]
    fn every_kind_has_a_byte_of_its_own() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind as u8), Some(kind));
        }
    }
}
