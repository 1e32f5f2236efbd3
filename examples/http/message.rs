//! HTTP/1.1 messages: heads, which httparse splits, and bodies.

use std::io::{self, BufRead, Read, Write};

/// The longest head that is read: a peer that sends lines without end is refused.
const HEAD: u64 = 16 * 1024;
const HEADERS: usize = 32;

/// A question without a body, as far as it matters here.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) path: String,
    pub(crate) keeps_alive: bool,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    code: u16,
    reason: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(code: u16, reason: &str) -> Self {
        Self { code, reason: reason.to_owned(), body: Vec::new() }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new(200, "OK") }
    }

    pub(crate) fn status(&self) -> String {
        format!("{} {}", self.code, self.reason)
    }

    pub(crate) fn write(&self, mut to: impl Write) -> io::Result<()> {
        let mut bytes =
            format!("HTTP/1.1 {}\r\nContent-Length: {}\r\n\r\n", self.status(), self.body.len()).into_bytes();
        bytes.extend_from_slice(&self.body);
        to.write_all(&bytes)
    }
}

fn malformed(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// Reads up to the empty line; nothing if the peer has ended before the first byte.
fn read_head(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut from = from.take(HEAD);
    while from.read_until(b'\n', &mut head)? > 0 {
        if head.ends_with(b"\r\n\r\n") {
            return Ok(head);
        }
    }
    match (head.is_empty(), from.limit()) {
        (true, _) => Ok(head),
        (false, 0) => Err(malformed("the head is too long")),
        (false, _) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn header<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok()
}

/// None if the peer has ended.
pub(crate) fn read_question(from: &mut impl BufRead) -> io::Result<Option<Question>> {
    let head = read_head(from)?;
    if head.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut question = httparse::Request::new(&mut headers);
    question.parse(&head).map_err(malformed)?;
    let closes = header(question.headers, "Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let path = question.path.unwrap_or_default().to_owned();
    Ok(Some(Question { path, keeps_alive: question.version == Some(1) && !closes }))
}

pub(crate) fn read_answer(from: &mut impl BufRead) -> io::Result<Answer> {
    let head = read_head(from)?;
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    parsed.parse(&head).map_err(malformed)?;
    let mut answer = Answer::new(parsed.code.unwrap_or_default(), parsed.reason.unwrap_or_default());
    if header(parsed.headers, "Transfer-Encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        answer.body = read_chunks(from)?;
    } else if let Some(length) = header(parsed.headers, "Content-Length") {
        let length: u64 = length.parse().map_err(malformed)?;
        if from.take(length).read_to_end(&mut answer.body)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    } else {
        from.read_to_end(&mut answer.body)?;
    }
    Ok(answer)
}

fn read_chunks(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        from.take(HEAD).read_until(b'\n', &mut line)?;
        let Ok(httparse::Status::Complete((_, size))) = httparse::parse_chunk_size(&line) else {
            return Err(malformed("not the size of a chunk"));
        };
        if from.take(size).read_to_end(&mut body)? as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // After the last chunk stands an empty line, as after each.
        from.read_exact(&mut [0; 2])?;
        if size == 0 {
            return Ok(body);
        }
    }
}
