//! RESP, what Redis speaks: commands are lists of strings, and answers are told by their first byte.

use std::io::{self, BufRead, Write};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Nothing,
    Number(i64),
    /// A word such as `OK`.
    Word(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Error(String),
}

/// Writes a command.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        write!(out, "${}\r\n", word.len()).expect("there is room");
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not an answer of Redis")
}

/// A length; −1 says that there is nothing.
fn length(text: &str) -> io::Result<Option<usize>> {
    if text == "-1" { Ok(None) } else { text.parse().map(Some).map_err(|_| malformed()) }
}

/// Reads an answer.
pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Value> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.strip_suffix("\r\n").ok_or_else(malformed)?;
    let (kind, text) = line.split_at_checked(1).ok_or_else(malformed)?;
    Ok(match kind {
        "+" => Value::Word(text.to_owned()),
        "-" => Value::Error(text.to_owned()),
        ":" => Value::Number(text.parse().map_err(|_| malformed())?),
        "$" => match length(text)? {
            None => Value::Nothing,
            Some(length) => {
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Value::Bytes(bytes)
            }
        },
        "*" => match length(text)? {
            None => Value::Nothing,
            Some(length) => Value::List((0..length).map(|_| read(from)).collect::<io::Result<_>>()?),
        },
        _ => return Err(malformed()),
    })
}
