//! What becomes of operations when the server fails, is busy, or has no room.

mod support;

use std::{
    thread,
    time::{Duration, Instant},
};

use proxystore_core::{Deadline, ErrorKind, Payload, Segment};

use crate::support::{
    Checked, now,
    operations::{get, open, put, set, soon},
    server::Server,
};

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
