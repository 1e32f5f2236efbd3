//! A client for Redis on osier's sockets: a hundred tasks share one connection, and their commands travel together.
//!
//! ```text
//! cargo run --release --example redis
//! ```
//!
//! It starts a `redis-server` of its own. It prints
//!
//! ```text
//! 100 tasks sent 2100 commands, several at a time: true
//! counted to 1000, and kept 100 values
//! an error: ERR wrong number of arguments for 'get' command
//! ```
//!
//! or, where there is no `redis-server`, that it is skipped.
//!
//! # Rooms
//! - `client`: one connection for many tasks. `resp`: the protocol. `server`: the process.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

mod client;
mod resp;
mod server;

use std::io;

use client::Client;
use resp::Value;
use server::Server;

const TASKS: usize = 100;
const ROUNDS: usize = 10;

/// Counts, and keeps something under a name of its own.
fn work(redis: &Client, number: usize) -> io::Result<()> {
    let name = format!("task:{number}");
    // No UTF-8, and ends of lines within: strings are told by their length.
    let kept: Vec<u8> = (0..4).flat_map(|_| 0..=u8::MAX).chain(*b"\r\n$-1\r\n").collect();
    redis.call(&[b"SET", name.as_bytes(), &kept])?;
    for _ in 0..ROUNDS {
        let Value::Number(_) = redis.call(&[b"INCR", b"counter"])? else { panic!("it is a number") };
        assert_eq!(redis.call(&[b"GET", name.as_bytes()])?, Value::Bytes(kept.clone()));
    }
    Ok(())
}

fn main() -> io::Result<()> {
    osier::run(|| {
        let Some(server) = Server::start()? else {
            println!("skipped: there is no redis-server here");
            return Ok(());
        };
        let redis = Client::connect(server.address())?;
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| {
                let redis = redis.clone();
                osier::spawn(move || work(&redis, number))
            })
            .collect();
        osier::join_all(tasks).expect("nobody panics").into_iter().collect::<io::Result<()>>()?;
        let (commands, writes) = redis.counts();
        assert!(writes < commands / 2, "{writes} writes for {commands} commands");
        println!("{TASKS} tasks sent {commands} commands, several at a time: {}", writes < commands / 2);

        let counter = redis.call(&[b"GET", b"counter"])?;
        let Value::List(keys) = redis.call(&[b"KEYS", b"task:*"])? else { panic!("it is a list") };
        assert_eq!(counter, Value::Bytes((TASKS * ROUNDS).to_string().into_bytes()));
        println!("counted to {}, and kept {} values", TASKS * ROUNDS, keys.len());
        let Value::Error(error) = redis.call(&[b"GET"])? else { panic!("it is an error") };
        println!("an error: {error}");

        // What is under way when the server ends fails, and so does what comes later.
        assert!(redis.call(&[b"SHUTDOWN", b"NOSAVE"]).is_err());
        assert!(redis.call(&[b"PING"]).is_err());
        Ok(())
    })
}

#[test]
fn a_hundred_tasks_share_a_connection_to_a_real_server() {
    main().unwrap();
}
