//! HTTP on osier's sockets: gevent's concurrent downloads and its web proxy, with the server they need. httparse splits the
//! heads; the rest reads like blocking code.
//!
//! ```text
//! cargo run --release --example http
//! ```
//!
//! It prints
//!
//! ```text
//! 20 downloads: 2170 KiB by 4 connections at most at a time
//! 404 Not Found
//! through the proxy: a page with a <a href="/http://127.0.0.1/more">link</a>
//! the proxy cannot: 502 Bad Gateway
//! ```
//!
//! # Rooms
//! - `message`: heads and bodies. `client`: asks. `server`: answers. `proxy`: does both.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

mod client;
mod message;
mod proxy;
mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use message::Answer;
use osier::net::{StreamServer, TcpListener};
use osier::{Pool, sleep};

/// What the local server has.
fn pages(path: &str) -> Answer {
    if let Some(size) = path.strip_prefix("/bytes/").and_then(|size| size.parse().ok()) {
        return Answer::ok(vec![b'x'; size]);
    }
    match path {
        "/link" => Answer::ok(*b"a page with a <a href=\"http://127.0.0.1/more\">link</a>"),
        "/slow" => {
            sleep(Duration::from_millis(50));
            Answer::ok(*b"at last")
        }
        _ => Answer::new(404, "Not Found"),
    }
}

fn start(
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> io::Result<(StreamServer<TcpListener>, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = StreamServer::new(listener, move |stream, _| _ = server::serve(&stream, &answer));
    server.start();
    Ok((server, address))
}

fn main() -> io::Result<()> {
    osier::run(|| {
        let (server, address) = start(pages)?;
        let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let urls = (0..20).map(|n| format!("/bytes/{}", n * n * 900));
        let sizes = Pool::new(4).map(urls, |path| {
            most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let size = client::get(address, &path).map(|answer| answer.body.len());
            under_way.fetch_sub(1, Ordering::SeqCst);
            size
        });
        let sizes = sizes.into_iter().collect::<io::Result<Vec<_>>>()?;
        assert_eq!(sizes, Vec::from_iter((0..20).map(|n| n * n * 900)));
        let most = most.into_inner();
        assert!(most <= 4);
        println!(
            "{} downloads: {} KiB by 4 connections at most at a time",
            sizes.len(),
            sizes.iter().sum::<usize>() / 1024
        );
        let nothing = client::get(address, "/nothing")?.status();
        assert_eq!(nothing, "404 Not Found");
        println!("{nothing}");

        let (proxy, proxy_address) = start(proxy::answer)?;
        let page = client::get(proxy_address, &format!("/http://{address}/link"))?;
        let page = String::from_utf8_lossy(&page.body);
        assert_eq!(page, "a page with a <a href=\"/http://127.0.0.1/more\">link</a>");
        println!("through the proxy: {page}");
        // Nobody listens any more once the server has stopped.
        server.stop(Duration::from_secs(10));
        let cannot = client::get(proxy_address, &format!("/http://{address}/link"))?.status();
        assert_eq!(cannot, "502 Bad Gateway");
        println!("the proxy cannot: {cannot}");
        proxy.stop(Duration::from_secs(10));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    use osier::net::TcpStream;

    // GV-235
    #[test]
    fn downloads_run_at_the_same_time_and_the_proxy_passes_pages_on() {
        main().unwrap();
    }

    #[test]
    fn one_connection_serves_many_requests_also_when_they_come_all_at_once() {
        osier::run(|| {
            let (server, address) = start(pages).unwrap();
            let mut stream = TcpStream::connect(address).unwrap();
            let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let asks = ask("/bytes/3") + &ask("/slow") + "GET /link HTTP/1.1\r\nConnection: close\r\n\r\n";
            // In pieces: a head need not come at once.
            for piece in asks.as_bytes().chunks(7) {
                stream.write_all(piece).unwrap();
                osier::yield_now();
            }
            let mut answers = io::BufReader::new(stream);
            assert_eq!(message::read_answer(&mut answers).unwrap().body, b"xxx");
            assert_eq!(message::read_answer(&mut answers).unwrap().body, b"at last");
            assert!(message::read_answer(&mut answers).unwrap().body.starts_with(b"a page"));
            assert_eq!(answers.read(&mut [0]).unwrap(), 0, "closed as it was asked to");
            assert!(server.stop(Duration::from_secs(10)));
        });
    }

    #[test]
    fn what_is_no_http_is_refused_and_a_chunked_body_is_put_together() {
        osier::run(|| {
            let (server, address) = start(pages).unwrap();
            for nonsense in
                ["\u{1}\u{2}\r\n\r\n".to_owned(), "GET / HTTP/1.1\r\n".to_owned() + &"x: y\r\n".repeat(10_000)]
            {
                let mut stream = TcpStream::connect(address).unwrap();
                // The server may have closed before it has read everything.
                _ = stream.write_all(nonsense.as_bytes());
                let mut answer = String::new();
                _ = stream.read_to_string(&mut answer);
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
            }
            server.stop(Duration::from_secs(10));
        });
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwill\r\n2;x=y\r\now\r\n0\r\n\r\n";
        assert_eq!(message::read_answer(&mut chunked.as_bytes()).unwrap().body, b"willow");
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort";
        assert_eq!(message::read_answer(&mut cut.as_bytes()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
