//! A server that cannot be used is told: why, which server, and what to do.

mod support;

use std::{
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    thread,
};

use proxystore_core::{CloseOptions, Config, Error, ErrorKind};

use crate::support::{
    Checked, now,
    operations::{get, open, put, soon},
    server::Server,
    tls::Certificates,
};

/// The error of a put into a server with these options, which has to name the server.
fn refused(config: &Config, kind: ErrorKind, says: &str) -> Checked<Error> {
    let error = put(&*open(config)?, b"object").expect_err("refused");
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(
        error.to_string().contains(says),
        "{says} is not in: {error}"
    );
    assert!(error.context("peer").is_some(), "{error:?}");
    assert_eq!(error.context("operation"), Some("put"));
    Ok(error)
}

#[test]
fn passwords_are_looked_up_and_never_told() -> Checked {
    let server = Server::start(&["--requirepass", "s3cret"])?;
    server.ask("ACL SETUSER writer on >pa55word ~* +@all")?;
    server.ask("ACL SETUSER reader on >pa55word ~* +@read")?;
    let config = server.config();
    refused(&config, ErrorKind::PermissionDenied, "set password")?;
    let wrong = config.clone().with("password", "wr0ng");
    let error = refused(&wrong, ErrorKind::PermissionDenied, "username and password")?;
    assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
    let reader = config
        .clone()
        .with("username", "reader")
        .with("password", "pa55word");
    refused(&reader, ErrorKind::PermissionDenied, "does not permit")?;
    let file = server.directory().join("password");
    std::fs::write(&file, "pa55word\n")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let named = format!("file:{}", file.display());
    let writer = config
        .clone()
        .with("username", "writer")
        .with("password", named.as_str());
    let connector = open(&writer)?;
    assert_eq!(connector.config(), writer);
    let key = put(&*connector, b"object")?;
    assert_eq!(get(&*connector, &key)?.as_deref(), Some(&b"object"[..]));
    let url = format!("redis://:s3cret@127.0.0.1:{}", server.port);
    let connector = open(&Config::new().with("url", url.as_str()))?;
    assert_eq!(get(&*connector, &key)?.as_deref(), Some(&b"object"[..]));
    let missing = config.with("password", "env:NO_SUCH_VARIABLE_OF_A_TEST");
    let error = put(&*open(&missing)?, b"object").expect_err("no such variable");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    assert!(env::var("NO_SUCH_VARIABLE_OF_A_TEST").is_err());
    Ok(())
}

#[test]
fn a_password_that_nobody_wants_is_told() -> Checked {
    let server = Server::start(&[])?;
    let config = server.config().with("password", "s3cret");
    let error = refused(
        &config,
        ErrorKind::PermissionDenied,
        "username and password",
    )?;
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    Ok(())
}

#[test]
fn databases_are_apart() -> Checked {
    let server = Server::start(&[])?;
    let third = open(&server.config().with("database", 3_i64))?;
    let key = put(&*third, b"object")?;
    assert_eq!(get(&*open(&server.config())?, &key)?, None);
    assert!(server.names()?.is_empty());
    now(open(&server.config())?.close(CloseOptions { clear: Some(true) }, soon()))?;
    assert_eq!(get(&*third, &key)?.as_deref(), Some(&b"object"[..]));
    let far = server.config().with("database", 3000_i64);
    refused(&far, ErrorKind::Unavailable, "DB index is out of range")?;
    Ok(())
}

#[test]
fn tls_wants_the_right_certificates_on_both_sides() -> Checked {
    let (certificates, others) = (Certificates::make(), Certificates::make());
    let (server, config) = certificates.start(&[])?;
    let key = put(&*open(&config)?, b"object")?;
    assert_eq!(
        get(&*open(&config)?, &key)?.as_deref(),
        Some(&b"object"[..])
    );
    let path = |certificates: &Certificates, name| {
        let path = certificates.path(name);
        path.to_string_lossy().into_owned()
    };
    let port = i64::from(server.bus);
    let at = |host: &str| Config::new().with("hostname", host).with("port", port);
    let stranger = at("127.0.0.1").with("authority", path(&others, "ca.pem"));
    refused(&stranger, ErrorKind::PermissionDenied, "trust")?;
    let nobody = at("127.0.0.1").with("authority", path(&certificates, "ca.pem"));
    refused(&nobody, ErrorKind::PermissionDenied, "trust")?;
    // Plain commands to a port that expects TLS.
    let plain = put(&*open(&at("127.0.0.1"))?, b"object").expect_err("no TLS");
    assert_eq!(plain.kind(), ErrorKind::Unavailable, "{plain:?}");
    // And the other way round.
    // The server takes what TLS begins with for a line that is not complete.
    let backwards = server
        .config()
        .with("authority", path(&certificates, "ca.pem"))
        .with("timeout", 0.2);
    refused(&backwards, ErrorKind::TimedOut, "deadline")?;
    let missing = at("127.0.0.1").with("authority", "/nowhere/ca.pem");
    let error = open(&missing).err().ok_or("there is no such file")?;
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    Ok(())
}

#[test]
fn who_is_not_there_or_no_redis_is_told() -> Checked {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = i64::from(listener.local_addr()?.port());
    let config = Config::new()
        .with("hostname", "127.0.0.1")
        .with("port", port);
    // Somebody who says something at once, and to whom nobody else connects.
    let answers = move |says: &'static [u8]| -> Checked<()> {
        let (mut peer, _): (TcpStream, _) = listener.accept()?;
        let _ = peer.read(&mut [0; 1000])?;
        peer.write_all(says)?;
        // Until the other side has gone.
        let _ = peer.read(&mut [0; 1000]);
        Ok(())
    };
    let peer = thread::spawn(move || {
        let web = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
        let garbage = b"\x00\x01\x02garbage\xff";
        let huge = b"*1000000000\r\n";
        let done = [&web[..], garbage, huge].into_iter().try_for_each(answers);
        done.map_err(|error| error.to_string())
    });
    refused(&config, ErrorKind::Unavailable, "a web server answers")?;
    let error = refused(&config, ErrorKind::Unavailable, "no Redis server")?;
    assert!(!error.is_retryable());
    refused(&config, ErrorKind::Unavailable, "something else")?;
    peer.join().map_err(|_| "a thread panicked")??;
    let error = refused(&config, ErrorKind::Unavailable, "no connection")?;
    assert!(error.is_retryable());
    let nowhere = Config::new()
        .with("hostname", "no.such.host.invalid")
        .with("port", 1_i64);
    refused(&nowhere, ErrorKind::Unavailable, "cannot be resolved")?;
    let socket = Config::new().with("path", "/nowhere/redis.sock");
    refused(&socket, ErrorKind::Unavailable, "no connection")?;
    Ok(())
}
