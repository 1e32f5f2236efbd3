//! gevent's web proxy: `/http://host/path` is that page, with its links leading through the proxy as well.

use std::io;

use crate::client::get;
use crate::message::Answer;

pub(crate) fn answer(path: &str) -> Answer {
    let Some(url) = path.strip_prefix("/http://") else {
        return Answer::ok(*b"ask for /http://host/path");
    };
    match fetch(url) {
        Ok(mut page) => {
            let text = String::from_utf8_lossy(&page.body);
            page.body = text.replace("href=\"http://", "href=\"/http://").into_bytes();
            page
        }
        Err(_) => Answer::new(502, "Bad Gateway"),
    }
}

/// Fetches what a URL without its scheme names.
fn fetch(url: &str) -> io::Result<Answer> {
    let (host, path) = url.split_once('/').unwrap_or((url, ""));
    let path = format!("/{path}");
    if host.contains(':') { get(host, &path) } else { get((host, 80), &path) }
}
