//! Answers the questions of one connection, one after the other.

use std::io::{self, BufReader, Write};

use osier::net::TcpStream;

use crate::message::{Answer, read_question};

pub(crate) fn serve(stream: &TcpStream, answer: &impl Fn(&str) -> Answer) -> io::Result<()> {
    let mut questions = BufReader::new(stream);
    loop {
        match read_question(&mut questions) {
            Ok(Some(question)) => {
                answer(&question.path).write(stream)?;
                if !question.keeps_alive {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let mut stream = stream;
                Answer::new(400, "Bad Request").write(stream)?;
                return stream.flush();
            }
            Err(error) => return Err(error),
        }
    }
}
