//! TLS on osier's sockets: rustls, written for blocking sockets, as it is. Everybody's handshake and records wait in tasks.
//!
//! ```text
//! cargo run --release --example tls_echo
//! ```
//!
//! It prints
//!
//! ```text
//! TLSv1_3: 20 clients got 1020 KiB back
//! a client that does not know the certificate: UnknownIssuer
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]
#![allow(clippy::large_stack_frames, reason = "rustls's connections are large, and a task's stack has room for them")]

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use osier::net::{StreamServer, TcpListener, TcpStream};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

/// What each client sends: more than fits into one record, or into the sockets' buffers.
const SIZE: usize = 51 * 1024;

/// A certificate for `localhost`, and a server that owns it.
fn server_config() -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = own.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()).into();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.clone()], key);
    (Arc::new(config.expect("the key belongs to the certificate")), certificate)
}

fn client_config(trusted: Option<CertificateDer<'static>>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    trusted.into_iter().for_each(|certificate| roots.add(certificate).expect("a certificate"));
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

fn echo(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, stream);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let size = stream.read(&mut buffer)?;
        if size == 0 {
            stream.conn.send_close_notify();
            return stream.flush();
        }
        stream.write_all(&buffer[..size])?;
    }
}

/// Sends, and reads at the same time what comes back; a TLS connection is one value, so this one takes turns.
fn client(address: SocketAddr, config: Arc<ClientConfig>, letter: u8) -> io::Result<(ProtocolVersion, usize)> {
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    let mut echoed = vec![0; 1024];
    let mut count = 0;
    for _ in 0..SIZE / echoed.len() {
        stream.write_all(&vec![letter; echoed.len()])?;
        stream.read_exact(&mut echoed)?;
        count += echoed.iter().filter(|&&byte| byte == letter).count();
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    // The peer's own goodbye, without which the end might be somebody else's doing.
    assert_eq!(stream.read(&mut echoed)?, 0);
    Ok((stream.conn.protocol_version().expect("after a handshake"), count))
}

fn main() -> io::Result<()> {
    let (config, certificate) = server_config();
    osier::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = StreamServer::new(listener, move |stream, _| _ = echo(stream, config.clone()));
        server.start();
        let trusts = client_config(Some(certificate));
        let clients: Vec<_> = (b'a'..b'a' + 20)
            .map(|letter| {
                let config = trusts.clone();
                osier::spawn(move || client(address, config, letter))
            })
            .collect();
        let answers: Vec<_> = osier::join_all(clients).expect("nobody panics").into_iter().collect::<Result<_, _>>()?;
        let bytes: usize = answers.iter().map(|&(_, count)| count).sum();
        assert_eq!((answers.len(), bytes), (20, 20 * SIZE));
        println!("{:?}: {} clients got {} KiB back", answers[0].0, answers.len(), bytes / 1024);

        let refused = client(address, client_config(None), b'z').expect_err("it trusts nobody");
        let why = refused.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(why)) = why else { panic!("{refused}") };
        assert_eq!(*why, rustls::CertificateError::UnknownIssuer);
        println!("a client that does not know the certificate: {why:?}");
        assert!(server.stop(Duration::from_secs(10)), "everybody has gone");
        Ok(())
    })
}

#[test]
fn rustls_works_on_tasks() {
    main().unwrap();
}
