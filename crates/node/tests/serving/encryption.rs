//! Who gets in over TLS.

use std::{
    convert::Infallible,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
};

use proxystore_core::{Deadline, Error, Operation, Result};
use proxystore_memory::Segment;
use proxystore_node::{Certificates, Node, NodeOptions};
use proxystore_runtime::{Stopped, drive};
use proxystore_stream::{Address, Stream, TlsClient, tls::TlsFiles};
use proxystore_wire::handshake::Authentication;
use rcgen::CertificateParams;

use crate::authority::{Authority, expire};
use crate::support::{Answer, MIB, Peer, SECRET, bytes, key, options, port, wait};

/// A stream whose user waits for it.
struct Waited(Stream);

fn waited<T: Send>(future: impl Future<Output = io::Result<T>> + Send) -> io::Result<T> {
    let operation = Operation::pending(async { Result::Ok(future.await) });
    let outcome = drive(operation, Deadline::never(), || Ok::<_, Infallible>(()));
    outcome.unwrap_or_else(|stopped| match stopped {
        Stopped::Failed(error) => Err(io::Error::other(error)),
        Stopped::Interrupted(never) => match never {},
    })
}

impl Read for Waited {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        waited(self.0.read(target))
    }
}

impl Write for Waited {
    fn write(&mut self, source: &[u8]) -> io::Result<usize> {
        waited(async {
            self.0.write_all(&[Segment::from(source)]).await?;
            self.0.flush().await
        })?;
        Ok(source.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection in TLS, and what binds proofs to it.
fn connect(node: &Node, tls: &TlsClient) -> io::Result<(Waited, Vec<u8>)> {
    let address = Address::tcp("127.0.0.1", port(node));
    let stream = waited(async {
        let stream = Stream::connect(&address, Some(tls)).await;
        stream.map_err(|error| io::Error::other(Error::from(error)))
    })?;
    let binding = stream.channel_binding("EXPORTER-proxystore-node");
    Ok((Waited(stream), binding.expect("it is TLS").to_vec()))
}

fn with_secret(node: &Node, secret: &str) -> io::Result<Peer> {
    let tls = TlsClient::anonymous().expect("ciphers");
    let (stream, binding) = connect(node, &tls)?;
    let authentication = Authentication::Secret {
        secret: secret.as_bytes(),
        binding: &binding,
    };
    Peer::shake(stream, &authentication)
}

fn exchanges(peer: &mut Peer) {
    for (number, len) in [0, 100, 65_536, 65_537, 5 * MIB].into_iter().enumerate() {
        let (key, object) = (key(number as u128), bytes(len, 9));
        assert_eq!(peer.set(&key, &object).expect("an answer"), Answer::Done);
        assert!(peer.get(&key).expect("an answer") == Answer::Object(object));
    }
}

/// A node that demands encryption.
fn encrypting(mut options: NodeOptions) -> Node {
    options.encrypt = Some(true);
    Node::start(options).expect("a node")
}

#[test]
fn objects_travel_in_tls() {
    let node = encrypting(options());
    exchanges(&mut with_secret(&node, SECRET).expect("the secret is right"));
}

#[test]
fn a_node_of_this_host_takes_both_who_encrypt_and_who_do_not() {
    let node = Node::start(options()).expect("a node");
    exchanges(&mut with_secret(&node, SECRET).expect("the secret is right"));
    let plain = Peer::tcp((Ipv4Addr::LOCALHOST, port(&node)), SECRET);
    exchanges(&mut plain.expect("the secret is right"));
}

#[test]
fn another_secret_or_none_does_not_get_in() {
    let node = encrypting(options());
    let wrong = with_secret(&node, "another secret, as long");
    let text = wrong.err().expect("it is refused").to_string();
    assert!(text.contains("secret"), "{text}");
    let tls = TlsClient::anonymous().expect("ciphers");
    let (stream, _) = connect(&node, &tls).expect("TLS");
    let without = Peer::shake(stream, &Authentication::Transport);
    without.err().expect("it is refused");
    // A proof for one connection is none for another.
    let (stream, _) = connect(&node, &tls).expect("TLS");
    let (_other, binding) = connect(&node, &tls).expect("TLS");
    let passed_on = Peer::shake(
        stream,
        &Authentication::Secret {
            secret: SECRET.as_bytes(),
            binding: &binding,
        },
    );
    passed_on.err().expect("it is refused");
}

#[test]
fn who_does_not_encrypt_where_it_must_does_not_get_in() {
    let node = encrypting(options());
    let plain = Peer::tcp((Ipv4Addr::LOCALHOST, port(&node)), SECRET);
    plain.err().expect("it is refused");
    wait(&node, "connections_rejected", |rejected| rejected == 1);
    // Within the host the Unix socket is as good.
    exchanges(&mut Peer::of(&node));
}

#[test]
fn who_encrypts_where_nobody_does_is_refused() {
    let mut given = options();
    given.encrypt = Some(false);
    let node = Node::start(given).expect("a node");
    with_secret(&node, SECRET).err().expect("it is refused");
    let plain = Peer::tcp((Ipv4Addr::LOCALHOST, port(&node)), SECRET);
    exchanges(&mut plain.expect("the secret is right"));
}

#[test]
fn garbage_in_place_of_tls_disturbs_nobody() {
    let node = encrypting(options());
    let mut peer = with_secret(&node, SECRET).expect("the secret is right");
    for len in [1, 5, 100, 20_000] {
        let mut garbage = bytes(len, len as u64);
        garbage[0] = 0x16;
        let mut socket =
            TcpStream::connect((Ipv4Addr::LOCALHOST, port(&node))).expect("it listens");
        let _ = socket.write_all(&garbage);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read_to_end(&mut Vec::new());
    }
    exchanges(&mut peer);
    wait(&node, "connections", |connections| connections == 1);
}

#[test]
fn a_node_in_tls_finishes_what_is_under_way() {
    let node = encrypting(options());
    let mut peer = with_secret(&node, SECRET).expect("the secret is right");
    exchanges(&mut peer);
    assert!(node.stop(Deadline::never()));
    while peer.read().is_ok() {}
}

/// The authority's certificate, a new one that it signs, and its key.
fn issue(
    authority: &Authority,
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> Certificates {
    authority.issue(name, change);
    Certificates {
        certificate: authority.path(&format!("{name}.pem")),
        key: authority.path(&format!("{name}.key")),
        authority: authority.path("ca.pem"),
    }
}

fn with_certificate(
    node: &Node,
    own: Option<&Certificates>,
    authority: &Authority,
) -> io::Result<Peer> {
    let ca = authority.path("ca.pem");
    let tls = TlsClient::from_files(TlsFiles {
        authority: Some(&ca),
        certificate: own.map(|own| own.certificate.as_path()),
        key: own.map(|own| own.key.as_path()),
    });
    let (stream, _) = connect(node, &tls.expect("certificates"))?;
    Peer::shake(stream, &Authentication::Transport)
}

#[test]
fn certificates_of_the_authority_and_no_others_get_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut given = options();
    given.certificates = Some(issue(&authority, "node", |_| {}));
    let node = Node::start(given).expect("a node");
    let own = issue(&authority, "own", |_| {});
    exchanges(&mut with_certificate(&node, Some(&own), &authority).expect("it is trusted"));
    let expired = issue(&authority, "expired", expire);
    for refused in [None, Some(&expired), Some(&issue(&stranger, "own", |_| {}))] {
        let outcome = with_certificate(&node, refused, &authority);
        outcome.err().expect("it is refused");
    }
    // Nor is a node trusted that another authority vouches for.
    let outcome = with_certificate(&node, Some(&own), &stranger);
    outcome.err().expect("it is not trusted");
    // Knowing the secret is not having a certificate.
    with_secret(&node, SECRET).err().expect("it is refused");
    wait(&node, "connections_rejected", |rejected| rejected == 5);
}

#[test]
fn a_node_for_other_hosts_starts_with_a_secret_or_certificates() {
    let mut open = options();
    open.host = "0.0.0.0".to_owned();
    let node = Node::start(open.clone()).expect("it has a secret");
    exchanges(&mut with_secret(&node, SECRET).expect("the secret is right"));
    drop(node);
    open.secret = None;
    let authority = Authority::new();
    open.certificates = Some(issue(&authority, "node", |_| {}));
    let mut broken = open.clone();
    Node::start(open).expect("it has certificates");
    if let Some(files) = &mut broken.certificates {
        std::mem::swap(&mut files.certificate, &mut files.key);
    }
    let error = Error::from(Node::start(broken).expect_err("a key is no certificate"));
    assert_eq!(error.kind(), proxystore_core::ErrorKind::InvalidConfig);
}
