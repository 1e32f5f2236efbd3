//! Asks for a page.

use std::io::{self, BufReader, Write};

use osier::net::{TcpStream, ToSocketAddrs};

use crate::message::{Answer, read_answer};

pub(crate) fn get(server: impl ToSocketAddrs, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    read_answer(&mut BufReader::new(stream))
}
