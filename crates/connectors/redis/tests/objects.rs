//! Objects that end by themselves, are damaged, or are not what they look like.

mod support;

use std::thread;

use proxystore_core::{ErrorKind, Key};
use proxystore_redis::resp::Value;

use crate::support::{
    Checked, now,
    operations::{get, open, put, set, soon},
    server::Server,
};

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
        Value::Bulk(bytes) => bytes,
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
