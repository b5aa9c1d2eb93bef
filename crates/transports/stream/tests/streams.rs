//! Streams between two ends of this process, in both colours, plain and in TLS.

#[path = "support/authority.rs"]
mod authority;

use std::{
    convert::Infallible,
    future::Future,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};

use proxystore_core::{Deadline, Error, ErrorKind, Operation, Result};
use proxystore_memory::{Filling, Segment};
use proxystore_runtime::{Colour, Stopped, drive, spawn, timeout};
use proxystore_stream::{
    Address, Listener, Stream, StreamError, TlsClient, TlsServer, tls::TlsFiles,
};

use crate::authority::{Authority, expire};

/// Carries out `future` in either colour.
fn run<T: Send + 'static>(colour: Colour, future: impl Future<Output = T> + Send + 'static) -> T {
    match colour {
        Colour::Blocking => {
            let operation = Operation::pending(async { Result::Ok(future.await) });
            match drive(operation, Deadline::never(), || Ok::<_, Infallible>(())) {
                Ok(value) => value,
                Err(Stopped::Failed(error)) => panic!("{error:?}"),
                Err(Stopped::Interrupted(never)) => match never {},
            }
        }
        Colour::Shared => {
            let (answer, answers) = mpsc::channel();
            spawn(async move {
                let _ = answer.send(future.await);
            })
            .expect("a runtime");
            answers.recv().expect("an answer")
        }
    }
}

/// A peer that sends back whatever it receives, until the end, and where it is.
fn echo(tls: Option<TlsServer>, address: Address) -> Address {
    let (bound, is_bound) = mpsc::channel();
    spawn(async move {
        let listener = Listener::bind(&address).await.expect("a free address");
        let _ = bound.send(listener.address().expect("an address"));
        while let Ok(connection) = listener.accept().await {
            let mut stream = Stream::accepted(connection).expect("a stream");
            if let Some(tls) = &tls {
                match stream.secured(tls).await {
                    Ok(secured) => stream = secured,
                    Err(_) => continue,
                }
            }
            let mut buffer = vec![0; 100_000];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                let segments = [Segment::from(&buffer[..read])];
                if stream.write_all(&segments).await.is_err() {
                    break;
                }
            }
        }
    })
    .expect("a runtime");
    is_bound.recv().expect("it listens")
}

fn bytes(len: usize) -> Vec<u8> {
    let pattern = (0..=u8::MAX).chain(3..=u8::MAX).chain(9..100);
    pattern.cycle().take(len).collect()
}

/// Sends `len` bytes and receives them back, both at once, into their final place.
async fn exchange(stream: &Stream, len: usize) -> io::Result<Vec<u8>> {
    let sent = bytes(len);
    let (head, tail) = sent.split_at(len / 3);
    let parts = [Segment::from(head), Segment::EMPTY, Segment::from(tail)];
    let writing = stream.write_all(&parts);
    let reading = async {
        let mut filling = Filling::new(len).expect("memory");
        let mut beside = [0; 8];
        while filling.remaining() > 0 {
            let (here, there) = stream.fill(&mut filling, 50_000, &mut beside).await?;
            if here + there == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filling.push(&beside[..there]);
        }
        Ok(filling.finish().expect("all bytes").to_vec())
    };
    let mut writing = std::pin::pin!(writing);
    let mut reading = std::pin::pin!(reading);
    let mut written = false;
    std::future::poll_fn(|context| {
        use std::task::Poll;
        if !written && let Poll::Ready(outcome) = writing.as_mut().poll(context) {
            outcome?;
            written = true;
        }
        match reading.as_mut().poll(context) {
            Poll::Ready(outcome) if written => Poll::Ready(outcome),
            Poll::Ready(Ok(_)) => Poll::Ready(Err(io::Error::other("more came than was sent"))),
            other => other,
        }
    })
    .await
}

fn in_both(test: fn(Colour)) {
    for colour in Colour::ALL {
        test(colour);
    }
}

#[test]
fn bytes_come_back_over_tcp() {
    in_both(|colour| {
        let address = echo(None, Address::tcp("localhost", 0));
        run(colour, async move {
            let stream = Stream::connect(&address, None).await.expect("a stream");
            assert_eq!(stream.colour(), colour);
            assert!(stream.is_quiet() && !stream.is_encrypted());
            assert_eq!(stream.peer(), address.to_string());
            for len in [1, 100, 5_000_000] {
                assert_eq!(exchange(&stream, len).await.expect("bytes"), bytes(len));
            }
        });
    });
}

#[test]
fn bytes_come_back_over_a_unix_socket_whose_user_is_known() {
    in_both(|colour| {
        let directory = tempfile::tempdir_in("/tmp").expect("a directory");
        let address = echo(None, Address::Unix(directory.path().join("socket")));
        run(colour, async move {
            let stream = Stream::connect(&address, None).await.expect("a stream");
            assert_eq!(
                stream.peer_user(),
                Some(rustix::process::geteuid().as_raw())
            );
            assert_eq!(
                exchange(&stream, 3_000_000).await.expect("bytes"),
                bytes(3_000_000)
            );
        });
    });
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

#[test]
fn nobody_there_is_an_error_that_names_the_address() {
    in_both(|colour| {
        let error = |address: Address| -> Error {
            let connected = run(colour, async move { Stream::connect(&address, None).await });
            connected.expect_err("nobody is there").into()
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let refused = error(Address::tcp("localhost", port));
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(
            refused.to_string().contains(&format!("localhost:{port}")),
            "{refused}"
        );
        let absent = error(Address::Unix("/nowhere/socket".into()));
        assert_eq!(absent.kind(), ErrorKind::Unavailable);
        let unknown = error(Address::tcp("no-such-host.invalid", 1));
        assert_eq!(unknown.kind(), ErrorKind::Unavailable);
        assert!(
            unknown.to_string().contains("no-such-host.invalid"),
            "{unknown}"
        );
    });
}

#[test]
fn the_next_address_is_tried_when_one_refuses() {
    // Only the second address of `localhost` answers.
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        eprintln!("this host has no IPv6: nothing to try");
        return;
    };
    let port = listener.local_addr().expect("an address").port();
    let stream = run(Colour::Blocking, async move {
        Stream::connect(&Address::tcp("localhost", port), None).await
    });
    let (_, peer) = stream.expect("a stream").addresses().expect("addresses");
    assert!(peer.is_ipv6());
}

#[test]
fn a_stream_that_is_shut_down_wakes_its_reader() {
    in_both(|colour| {
        let address = echo(None, Address::tcp("127.0.0.1", 0));
        let read = run(colour, async move {
            let stream = Stream::connect(&address, None).await.expect("a stream");
            stream.shutdown();
            assert!(!stream.is_quiet());
            stream.read(&mut [0; 4]).await
        });
        assert_eq!(read.expect("the end"), 0);
    });
}
