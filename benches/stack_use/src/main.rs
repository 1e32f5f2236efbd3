//! How many bytes of a coroutine's stack common work writes to.
//!
//! ```text
//! cargo run [--release]             every case in a process of its own, as a table
//! cargo run [--release] -- CASE     one case: its bytes
//! cargo run [--release] -- CASE KIB that case on a stack of so many KiB: it ends well, or overflows
//! ```
//!
//! A generator on a large stack yields the address of a local. While it is suspended, everything from a little below that address
//! down to near the guard is filled with a pattern. Then it goes on with the case, and afterwards the lowest word that has
//! changed is looked for. A process each, so that all first uses (lazy statics, symbol tables, the allocator) are in the
//! number.

use std::hint::black_box;
use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;
use std::sync::Arc;

use osier::{Generator, Yielder};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};
use serde::{Deserialize, Serialize};

/// Of the stack that a case is measured on.
const SIZE: usize = 2 << 20;
/// What lies between a local of the body and the stack pointer while it is suspended, at most.
const LIVE: usize = 2 * 1024;
/// What a stack's end keeps for itself: osier's head and label. The first stack of a size begins right below them.
const TOP: usize = 64 + 256;
const PATTERN: u64 = 0xA5A5_5A5A_0F0F_F0F0;

type Case = (&'static str, &'static str, fn());

/// Name, what the table calls it, what it does.
const CASES: &[Case] = &[
    ("println", "`println!` of integers, floats and a vector", prints),
    ("getaddrinfo", "`getaddrinfo` of `localhost`", looks_up),
    ("panic", "panic, `RUST_BACKTRACE=0`, caught by who resumed", panics),
    ("panic-1", "panic, `RUST_BACKTRACE=1`", panics),
    ("panic-full", "panic, `RUST_BACKTRACE=full`", panics),
    ("rcgen", "certificate by `rcgen`", || drop(black_box(certificate()))),
    ("tls13", "`rustls` (ring) client and server, TLS 1.3, configurations and handshake", || {
        shakes_hands(&rustls::version::TLS13);
    }),
    ("tls12", "the same, TLS 1.2", || shakes_hands(&rustls::version::TLS12)),
    ("regex", "`regex`: compile, match, captures; Unicode classes, counted repetition", matches),
    ("arrays", "`serde_json::Value`, 127 nested arrays, parsed, printed, dropped", || {
        reads_value(&format!("{}1{}", "[".repeat(127), "]".repeat(127)));
    }),
    ("derived", "derived struct of four fields, 127 deep, parsed, printed, dropped", reads_derived),
    ("objects", "`serde_json::Value`, 127 nested objects, parsed, printed, dropped", || {
        reads_value(&format!("{}1{}", "{\"a\":".repeat(127), "}".repeat(127)));
    }),
];

fn prints() {
    println!("{} {:?} {:.3} {:>8} {:?}", 7, "text", 1.0 / 3.0, 1e300, vec![1, 2, 3]);
}

fn looks_up() {
    let mut found = std::ptr::null_mut();
    // SAFETY: the name ends with a zero, no hint is given, and what is found is given back.
    unsafe {
        assert_eq!(libc::getaddrinfo(c"localhost".as_ptr(), std::ptr::null(), std::ptr::null(), &raw mut found), 0);
        libc::freeaddrinfo(found);
    }
}

fn panics() {
    panic!("as it is meant to");
}

fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate")
}

fn shakes_hands(version: &'static SupportedProtocolVersion) {
    let own = certificate();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()).into();
    let server = ServerConfig::builder_with_protocol_versions(&[version]).with_no_client_auth();
    let server = server.with_single_cert(vec![own.cert.der().clone()], key).expect("the key belongs to it");
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("a certificate");
    let client = ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots);
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::new(client.with_no_client_auth()), name).expect("a client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("a vector takes all");
        server.read_tls(&mut Cursor::new(&wire)).expect("a slice gives all");
        server.process_new_packets().expect("the client speaks TLS");
        wire.clear();
        server.write_tls(&mut wire).expect("a vector takes all");
        client.read_tls(&mut Cursor::new(&wire)).expect("a slice gives all");
        client.process_new_packets().expect("the server speaks TLS");
    }
}

fn matches() {
    let pattern =
        regex::Regex::new(r"(?i)(\p{L}+)\s+(\d{1,3}(?:\.\d{1,3}){3})\s+([\w.]{2,20})@(\p{Greek}{1,8})?").unwrap();
    let found = pattern.captures("host 192.168.0.1 someone@λόγος").expect("it matches");
    assert_eq!(&found[2], "192.168.0.1");
}

fn reads_value(text: &str) {
    let value: serde_json::Value = serde_json::from_str(text).expect("it is no deeper than is allowed");
    assert_eq!(value.to_string(), text);
}

#[derive(Serialize, Deserialize)]
struct Node {
    id: u64,
    name: String,
    weight: f64,
    next: Option<Box<Node>>,
}

fn reads_derived() {
    let node = |next| Some(Box::new(Node { id: 7, name: "node".to_owned(), weight: 0.5, next }));
    let text = serde_json::to_string(&(0..127).fold(None, |next, _| node(next))).expect("it can be written");
    let read: Option<Box<Node>> = serde_json::from_str(&text).expect("it is no deeper than is allowed");
    assert_eq!(serde_json::to_string(&read).expect("it can be written"), text);
}

/// Runs a case in a generator that first yields the address of a local.
fn generator(case: fn(), size: usize) -> Generator<usize> {
    let body = move |y: &Yielder<usize>| {
        let local = 0_u8;
        y.yield_((&raw const local).addr());
        case();
        y.yield_(black_box(local).into());
    };
    Generator::builder(body).stack_size(size).build()
}

/// The bytes from the stack's base to the lowest one that the case, or what it was called by, has written.
fn measure(case: fn()) -> usize {
    let mut g = generator(case, SIZE);
    let local = g.next().expect("the address");
    let base = local.next_multiple_of(4096) - TOP;
    let words = |from: usize, to: usize| (from / 8 * 8..to / 8 * 8).step_by(8);
    // The first page above the guard is left alone.
    let (lowest, highest) = (base - SIZE + 2 * 4096, local - LIVE);
    for at in words(lowest, highest) {
        // SAFETY: nobody uses these words of a suspended body's stack, and the resumer may write where it will run.
        unsafe { std::ptr::with_exposed_provenance_mut::<u64>(at).write_volatile(PATTERN) };
    }
    // A panic comes out here.
    _ = panic::catch_unwind(AssertUnwindSafe(|| g.next()));
    // SAFETY: written above, or by the body, which is suspended or has ended; the stack is kept for the next one.
    let is_changed = |at: &usize| unsafe { std::ptr::with_exposed_provenance::<u64>(*at).read_volatile() } != PATTERN;
    base - words(lowest, highest).find(is_changed).unwrap_or(local - LIVE)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let find = |name: &str| CASES.iter().find(|(known, ..)| *known == name).expect("a case that is in the table").2;
    match &arguments[..] {
        [] => {
            println!("| body | bytes |\n|---|---:|");
            for (name, title, _) in CASES {
                let backtrace = name.strip_prefix("panic-").unwrap_or("0");
                let mut one = Command::new(std::env::current_exe().expect("this program"));
                let output = one.arg(name).env("RUST_BACKTRACE", backtrace).output().expect("it runs again");
                assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
                // The last line: some cases print.
                println!("| {title} | {} |", String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or(""));
            }
        }
        [name] => {
            let bytes = measure(find(name));
            println!("{bytes}");
        }
        [name, kib] => {
            let size = kib.parse::<usize>().expect("a number of KiB") * 1024;
            let mut g = generator(find(name), size);
            g.next();
            _ = panic::catch_unwind(AssertUnwindSafe(|| g.next()));
            println!("ended");
        }
        _ => panic!("a case, and KiB of stack"),
    }
}
