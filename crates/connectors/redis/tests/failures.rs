//! What goes wrong is told: what, with which server, and what to do.

mod support;

use std::{
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use proxystore_core::{
    CloseOptions, Config, Connector, Deadline, Error, ErrorKind, Factory, Key, Payload, Result,
    Segment,
};
use proxystore_redis::FACTORY;

use crate::support::{Checked, now, server::Server, tls::Certificates};

fn soon() -> Deadline {
    Deadline::at(Instant::now() + Duration::from_secs(30))
}

fn open(config: &Config) -> Checked<Arc<dyn Connector>> {
    Ok(FACTORY.open(config)?)
}

fn put(connector: &dyn Connector, bytes: &[u8]) -> Result<Key> {
    let segments = [Segment::from(bytes)];
    now(connector.put(Payload::from(&segments), soon()))
}

fn set(connector: &dyn Connector, key: &Key, bytes: &[u8]) -> Result<()> {
    let segments = [Segment::from(bytes)];
    now(connector.set(key, Payload::from(&segments), soon()))
}

fn get(connector: &dyn Connector, key: &Key) -> Result<Option<Vec<u8>>> {
    let object = now(connector.get(key, soon()))?;
    Ok(object.map(|memory| memory.to_vec()))
}

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

#[test]
fn a_server_that_restarts_is_used_again() -> Checked {
    let mut server = Server::start(&[])?;
    let connector = open(&server.config())?;
    let key = put(&*connector, b"object")?;
    let deferred = connector.new_key()?;
    server.kill()?;
    for error in [
        get(&*connector, &key).err(),
        put(&*connector, b"object").err(),
        set(&*connector, &deferred, b"object").err(),
        now(connector.exists(&key, soon())).err(),
    ] {
        let error = error.ok_or("the server is gone")?;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.is_retryable(), "{error:?}");
    }
    server.restart()?;
    assert_eq!(get(&*connector, &key)?, None);
    set(&*connector, &deferred, b"object")?;
    assert_eq!(
        get(&*connector, &deferred)?.as_deref(),
        Some(&b"object"[..])
    );
    // Between two operations nobody need notice.
    server.kill()?;
    server.restart()?;
    assert!(!now(connector.exists(&deferred, soon()))?);
    let key = put(&*connector, b"object")?;
    server.kill()?;
    server.restart()?;
    set(&*connector, &deferred, b"object")?;
    assert_eq!(get(&*connector, &key)?, None);
    Ok(())
}

#[test]
fn a_server_that_is_busy_is_waited_for() -> Checked {
    let server = Server::start(&["--busy-reply-threshold", "1"])?;
    let connector = open(&server.config())?;
    let key = put(&*connector, b"object")?;
    thread::scope(|scope| {
        // A script that runs until it is killed; the server answers BUSY meanwhile.
        let script = scope.spawn(|| {
            let run = server.say(&[b"EVAL", b"while true do end", b"0"]);
            run.is_err()
        });
        while !server
            .ask("PING")
            .is_err_and(|error| error.to_string().starts_with("BUSY"))
        {
            thread::yield_now();
        }
        let brief = Deadline::at(Instant::now() + Duration::from_millis(500));
        let refused = now(connector.get(&key, brief));
        let waiting = scope.spawn(|| get(&*connector, &key).map_err(|error| error.to_string()));
        while server.ask("SCRIPT KILL").is_err() {
            thread::yield_now();
        }
        let error = refused.expect_err("busy");
        // A server that runs a script looks for commands now and then.
        let kinds = [ErrorKind::Unavailable, ErrorKind::TimedOut];
        assert!(
            kinds.contains(&error.kind()) && error.is_retryable(),
            "{error:?}"
        );
        assert!(script.join().map_err(|_| "a thread panicked")?);
        let found = waiting.join().map_err(|_| "a thread panicked")??;
        assert_eq!(found.as_deref(), Some(&b"object"[..]));
        Checked::Ok(())
    })?;
    Ok(())
}

#[test]
fn a_server_that_loads_its_data_is_waited_for() -> Checked {
    let mut server = Server::start(&["--appendonly", "yes", "--key-load-delay", "2000"])?;
    let connector = open(&server.config())?;
    let keys: Checked<Vec<_>> = (0..300).map(|_| Ok(put(&*connector, b"object")?)).collect();
    let last = keys?.pop().ok_or("no keys")?;
    server.ask("BGREWRITEAOF")?;
    while server.info("aof_rewrite_in_progress")? != "0"
        || server.info("aof_rewrite_scheduled")? != "0"
    {
        thread::yield_now();
    }
    server.kill()?;
    server.restart()?;
    assert_eq!(get(&*connector, &last)?.as_deref(), Some(&b"object"[..]));
    Ok(())
}

#[test]
fn what_the_server_evicts_is_gone_or_an_error() -> Checked {
    let server = Server::start(&[])?;
    let connector = open(&server.config().with("part_size", 100_000_i64))?;
    let whole = put(&*connector, &vec![7; 50_000])?;
    let parts = put(&*connector, &vec![7; 450_000])?;
    assert_eq!(
        get(&*connector, &parts)?.map(|bytes| bytes.len()),
        Some(450_000)
    );
    server.say(&[b"DEL", whole.as_text().ok_or("no text")?.as_bytes()])?;
    assert_eq!(get(&*connector, &whole)?, None);
    let names = server.names()?;
    let part = names
        .iter()
        .find(|name| name.ends_with(":3"))
        .ok_or("no part")?;
    server.say(&[b"DEL", part.as_bytes()])?;
    let error = get(&*connector, &parts).expect_err("a part is gone");
    assert_eq!(error.kind(), ErrorKind::Corrupted);
    assert!(error.to_string().contains("part 3"), "{error}");
    now(connector.evict(&parts, soon()))?;
    assert!(server.names()?.is_empty());
    Ok(())
}

#[test]
fn an_object_whose_parts_push_each_other_out_is_refused() -> Checked {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"])?;
    let connector = open(&server.config().with("part_size", 1_000_000_i64))?;
    let used: u64 = server.info("used_memory")?.parse()?;
    server.ask(&format!("CONFIG SET maxmemory {}", used + (8 << 20)))?;
    let error = put(&*connector, &vec![7; 20_000_000]).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
    assert!(server.names()?.is_empty(), "{:?}", server.names()?);
    Ok(())
}

#[test]
fn a_value_beyond_the_servers_limit_says_which_option_helps() -> Checked {
    let server = Server::start(&["--proto-max-bulk-len", "1mb"])?;
    let connector = open(&server.config())?;
    let error = put(&*connector, &vec![7; 5_000_000]).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
    assert!(error.to_string().contains("part_size"), "{error}");
    assert!(server.names()?.is_empty());
    // The server has ended that connection; the next operation has another.
    let key = put(&*connector, b"object")?;
    assert_eq!(get(&*connector, &key)?.as_deref(), Some(&b"object"[..]));
    Ok(())
}

#[test]
fn what_nobody_waits_for_any_more_is_not_kept() -> Checked {
    let server = Server::start(&[])?;
    let connector = open(&server.config())?;
    put(&*connector, b"there")?;
    let part_size = open(&server.config().with("part_size", 100_000_i64))?;
    put(&*part_size, b"there")?;
    let before = server.names()?;
    server.pause()?;
    for (connector, len) in [
        (&connector, 100),
        (&connector, 200_000),
        (&part_size, 900_000),
    ] {
        let bytes = vec![7; len];
        let segments = [Segment::from(&bytes)];
        let brief = Deadline::at(Instant::now() + Duration::from_millis(50));
        let error = now(connector.put(Payload::from(&segments), brief)).expect_err("stalled");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
    }
    server.resume()?;
    put(&*connector, b"later")?;
    let waited = Instant::now();
    while server.names()?.len() != before.len() + 1 {
        let names = server.names()?;
        assert!(waited.elapsed() < Duration::from_mins(1), "{names:?}");
        thread::yield_now();
    }
    Ok(())
}

#[test]
fn objects_end_with_their_time() -> Checked {
    let server = Server::start(&[])?;
    let config = server
        .config()
        .with("ttl", 0.2)
        .with("part_size", 100_000_i64);
    let connector = open(&config)?;
    let deferred = connector.new_key()?;
    set(&*connector, &deferred, b"object")?;
    let keys = [
        deferred,
        put(&*connector, b"object")?,
        put(&*connector, &vec![7; 90_000])?,
        put(&*connector, &vec![7; 950_000])?,
    ];
    while !server.names()?.is_empty() {
        for key in &keys {
            // There or not, and never in part.
            get(&*connector, key)?;
        }
    }
    for key in &keys {
        assert_eq!(get(&*connector, key)?, None);
    }
    Ok(())
}

#[test]
fn keys_of_something_else_are_refused() -> Checked {
    let server = Server::start(&[])?;
    let connector = open(&server.config())?;
    server.ask("RPUSH list a b c")?;
    let error = get(&*connector, &Key::text("list")).expect_err("a list");
    assert_eq!(error.kind(), ErrorKind::InvalidKey, "{error:?}");
    let key = put(&*connector, b"object")?;
    let error = set(&*connector, &key, b"other").expect_err("put for good");
    assert_eq!(error.kind(), ErrorKind::InvalidKey, "{error:?}");
    // What others have stored is an object as it is, whatever its name.
    server.ask("SET plain value")?;
    let found = get(&*connector, &Key::text("plain"))?;
    assert_eq!(found.as_deref(), Some(&b"value"[..]));
    Ok(())
}

#[test]
fn an_object_that_looks_like_a_list_of_parts_is_one_all_the_same() -> Checked {
    let server = Server::start(&[])?;
    let connector = open(&server.config().with("part_size", 100_000_i64))?;
    put(&*connector, &vec![7; 250_000])?;
    let names = server.names()?;
    let listed = names
        .iter()
        .find(|name| !name.contains(':'))
        .ok_or("no list")?;
    let list = match server.say(&[b"GET", listed.as_bytes()])? {
        proxystore_redis::resp::Value::Bulk(bytes) => bytes,
        other => return Err(format!("{other:?}").into()),
    };
    let key = connector.new_key()?;
    for bytes in [&list[..], &list[..20], &list[..16]] {
        set(&*connector, &key, bytes)?;
        assert_eq!(get(&*connector, &key)?.as_deref(), Some(bytes));
        let other = put(&*connector, bytes)?;
        assert_eq!(get(&*connector, &other)?.as_deref(), Some(bytes));
        now(connector.evict(&other, soon()))?;
    }
    set(&*connector, &key, b"small")?;
    assert_eq!(get(&*connector, &key)?.as_deref(), Some(&b"small"[..]));
    now(connector.evict(&key, soon()))?;
    assert_eq!(server.names()?, names);
    Ok(())
}

#[test]
fn large_objects_are_checked_as_small_ones_are() -> Checked {
    let server = Server::start(&[])?;
    let connector = open(&server.config())?;
    let bytes = vec![7; 9_000_000];
    for (damage, kind) in [
        ("SETRANGE $ 8500000 x", Some(ErrorKind::Corrupted)),
        ("APPEND $ x", Some(ErrorKind::Corrupted)),
        ("SET $ x", Some(ErrorKind::Corrupted)),
        ("DEL $", None),
    ] {
        let key = put(&*connector, &bytes)?;
        let name = key.as_text().ok_or("no text")?;
        assert!(get(&*connector, &key)?.as_ref() == Some(&bytes));
        server.ask(&damage.replace('$', name))?;
        match (get(&*connector, &key), kind) {
            (Err(error), Some(kind)) => assert_eq!(error.kind(), kind, "{damage}: {error:?}"),
            (Ok(None), None) => {}
            (other, _) => panic!(
                "{damage}: {:?}",
                other.map(|found| found.map(|_| "an object"))
            ),
        }
        now(connector.evict(&key, soon()))?;
        // Something else may have taken the name.
        server.ask(&format!("RPUSH {name} x"))?;
        let error = get(&*connector, &key).expect_err("a list");
        assert_eq!(error.kind(), ErrorKind::InvalidKey, "{error:?}");
        now(connector.evict(&key, soon()))?;
        assert!(!now(connector.exists(&key, soon()))?);
    }
    Ok(())
}

#[test]
fn large_objects_may_be_evicted_while_they_are_got() -> Checked {
    let server = Server::start(&[])?;
    let connector = open(&server.config())?;
    let bytes = vec![7; 30_000_000];
    for _ in 0..5 {
        let key = put(&*connector, &bytes)?;
        thread::scope(|scope| {
            let getting = scope.spawn(|| get(&*connector, &key));
            now(connector.evict(&key, soon()))?;
            let found = getting.join().map_err(|_| "a thread panicked")??;
            assert!(found.is_none_or(|found| found == bytes));
            Checked::Ok(())
        })?;
        assert_eq!(get(&*connector, &key)?, None);
    }
    Ok(())
}
