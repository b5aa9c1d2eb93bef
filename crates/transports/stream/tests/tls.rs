//! TLS within streams: who is trusted, and what becomes of those who speak no TLS.

mod support;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};

use proxystore_core::{Deadline, Error, ErrorKind, Result};
use proxystore_runtime::{Colour, spawn, timeout};
use proxystore_stream::{
    Address, Listener, Stream, StreamError, TlsClient, TlsServer, tls::TlsFiles,
};

use crate::support::{
    authority::{Authority, expire},
    bytes, echo, exchange, in_both, run,
};

fn server(authority: &Authority, name: &str) -> TlsServer {
    let (ca, certificate, key) = files(authority, name);
    let files = TlsFiles {
        authority: Some(&ca),
        certificate: Some(&certificate),
        key: Some(&key),
    };
    TlsServer::mutual(files).expect("a server")
}

fn client(authority: &Authority, name: Option<&str>) -> TlsClient {
    let (ca, certificate, key) = files(authority, name.unwrap_or_default());
    let files = TlsFiles {
        authority: Some(&ca),
        certificate: name.map(|_| certificate.as_path()),
        key: name.map(|_| key.as_path()),
    };
    TlsClient::from_files(files).expect("a client")
}

/// The authority's certificate, the one of this name, and its key.
fn files(authority: &Authority, name: &str) -> (PathBuf, PathBuf, PathBuf) {
    (
        authority.path("ca.pem"),
        authority.path(&format!("{name}.pem")),
        authority.path(&format!("{name}.key")),
    )
}

/// What a client meets that connects and says something.
fn attempt(address: &Address, tls: TlsClient) -> Result<Vec<u8>> {
    let address = address.clone();
    run(Colour::Blocking, async move {
        let stream = Stream::connect(&address, Some(&tls)).await?;
        let exchanged = exchange(&stream, 100).await;
        exchanged.map_err(|error| StreamError::lost(stream.peer(), error).into())
    })
}

#[test]
fn bytes_come_back_in_tls_and_both_ends_know_the_channel() {
    in_both(|colour| {
        let server = TlsServer::anonymous().expect("a certificate");
        let address = echo(Some(server), Address::tcp("127.0.0.1", 0));
        run(colour, async move {
            let tls = TlsClient::anonymous().expect("a client");
            let stream = Stream::connect(&address, Some(&tls))
                .await
                .expect("a stream");
            assert!(stream.is_encrypted());
            for len in [1, 100, 5_000_000] {
                assert_eq!(exchange(&stream, len).await.expect("bytes"), bytes(len));
            }
            let one = stream.channel_binding("one").expect("a binding");
            assert_ne!(Some(one), stream.channel_binding("other"));
            drop(stream);
            let other = Stream::connect(&address, Some(&tls))
                .await
                .expect("a stream");
            assert_ne!(Some(one), other.channel_binding("one"));
        });
    });
}

#[test]
fn both_ends_have_the_same_binding() {
    let (bound, is_bound) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    spawn(async move {
        let listener = Listener::bind(&Address::tcp("127.0.0.1", 0))
            .await
            .expect("an address");
        let _ = bound.send(listener.address().expect("an address"));
        let stream = Stream::accepted(listener.accept().await.expect("a peer")).expect("a stream");
        let tls = TlsServer::anonymous().expect("a certificate");
        let stream = stream.secured(&tls).await.expect("TLS");
        let _ = answer.send(stream.channel_binding("label"));
        let _ = stream.read(&mut [0; 1]).await;
    })
    .expect("a runtime");
    let address = is_bound.recv().expect("it listens");
    let ours = run(Colour::Blocking, async move {
        let tls = TlsClient::anonymous().expect("a client");
        let stream = Stream::connect(&address, Some(&tls))
            .await
            .expect("a stream");
        let binding = stream.channel_binding("label");
        (binding, answers.recv().expect("an answer"))
    });
    assert!(ours.0.is_some());
    assert_eq!(ours.0, ours.1);
}

#[test]
fn certificates_are_checked_on_both_sides() {
    let authority = Authority::new();
    authority.issue("server", |_| ());
    authority.issue("client", |_| ());
    authority.issue("expired", expire);
    let stranger = Authority::new();
    stranger.issue("client", |_| ());
    let address = echo(
        Some(server(&authority, "server")),
        Address::tcp("127.0.0.1", 0),
    );

    let known = attempt(&address, client(&authority, Some("client")));
    assert_eq!(known.expect("both are known"), bytes(100));
    for (client, why) in [
        (client(&authority, None), "no certificate"),
        (
            client(&authority, Some("expired")),
            "an expired certificate",
        ),
        (
            client(&stranger, Some("client")),
            "a server of another authority",
        ),
    ] {
        let error = attempt(&address, client).expect_err(why);
        assert_eq!(
            error.kind(),
            ErrorKind::PermissionDenied,
            "{why}: {error:?}"
        );
        assert!(error.context("peer").is_some());
    }
    let elsewhere = echo(
        Some(server(&authority, "expired")),
        Address::tcp("127.0.0.1", 0),
    );
    let error = attempt(&elsewhere, client(&authority, Some("client"))).expect_err("expired");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("expired"), "{error}");
}

#[test]
fn files_that_hold_no_certificates_are_named() {
    let authority = Authority::new();
    authority.issue("server", |_| ());
    let (ca, certificate, key) = files(&authority, "server");
    let check = |files: TlsFiles<'_>, named: &str| {
        let error = Error::from(TlsServer::mutual(files).expect_err("no certificates"));
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(named), "{error}");
    };
    let whole = TlsFiles {
        authority: Some(&ca),
        certificate: Some(&certificate),
        key: Some(&key),
    };
    check(
        TlsFiles {
            authority: None,
            ..whole
        },
        "authority",
    );
    check(TlsFiles { key: None, ..whole }, "server.pem");
    check(
        TlsFiles {
            certificate: None,
            ..whole
        },
        "server.key",
    );
    check(
        TlsFiles {
            key: Some(&certificate),
            ..whole
        },
        "server.pem",
    );
    check(
        TlsFiles {
            authority: Some(&key),
            ..whole
        },
        "server.key",
    );
    let absent = authority.path("absent.pem");
    check(
        TlsFiles {
            certificate: Some(&absent),
            ..whole
        },
        "absent.pem",
    );
}

#[test]
fn who_does_not_speak_tls_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = Address::tcp(
        "127.0.0.1",
        listener.local_addr().expect("an address").port(),
    );
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("a peer");
        peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .expect("room");
        let _ = peer.read(&mut [0; 512]);
    });
    let tls = TlsClient::anonymous().expect("a client");
    let error = attempt(&address, tls).expect_err("no TLS there");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.is_retryable(), "{error:?}");
    server.join().expect("no panic");
}

#[test]
fn garbage_and_silence_do_not_hold_up_a_server() {
    let server = TlsServer::anonymous().expect("a certificate");
    let (bound, is_bound) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    spawn(async move {
        let listener = Listener::bind(&Address::tcp("127.0.0.1", 0))
            .await
            .expect("an address");
        let _ = bound.send(listener.address().expect("an address"));
        let (brief, long) = (Duration::from_millis(300), Duration::from_mins(1));
        // Only whoever is silent is not waited for.
        for patience in [long, brief, long] {
            let stream = Stream::accepted(listener.accept().await.expect("a peer"));
            let stream = stream.expect("a stream");
            let deadline = Deadline::at(Instant::now() + patience);
            let secured = timeout(deadline, Box::pin(stream.secured(&server))).await;
            let _ = answer.send(match secured {
                Ok(Ok(_)) => "secured",
                Ok(Err(StreamError::NoTls { .. })) => "no TLS",
                Ok(Err(_)) => "lost",
                Err(_) => "silent",
            });
        }
    })
    .expect("a runtime");
    let Address::Tcp { host, port } = is_bound.recv().expect("it listens") else {
        panic!("a port");
    };
    let connect = || TcpStream::connect((host.as_str(), port)).expect("a connection");
    let mut garbage = connect();
    garbage
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("room");
    assert_eq!(answers.recv().expect("an answer"), "no TLS");
    let silent = connect();
    assert_eq!(answers.recv().expect("an answer"), "silent");
    drop(connect());
    assert_eq!(answers.recv().expect("an answer"), "lost");
    drop((garbage, silent));
}
