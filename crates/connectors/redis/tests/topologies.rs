//! Objects are found where they are, whichever server that is at the time.

mod support;

use std::thread;

use proxystore_core::{CloseOptions, ErrorKind, Key, Payload, Segment};
use proxystore_redis::resp::Value;

use crate::support::{
    Checked,
    cluster::Cluster,
    now,
    operations::{get, open, put, set, soon},
    sentinel::Watched,
    server::Server,
};

fn number(value: &Value) -> Checked<i64> {
    match value {
        Value::Integer(number) => Ok(*number),
        other => Err(format!("{other:?} is no number").into()),
    }
}

fn slot_of(server: &Server, key: &Key) -> Checked<i64> {
    let name = key.as_text().ok_or("no text")?;
    number(&server.say(&[b"CLUSTER", b"KEYSLOT", name.as_bytes()])?)
}

fn id_of(server: &Server) -> Checked<String> {
    let id = server.ask("CLUSTER MYID")?;
    Ok(id.as_text().ok_or("no text")?.to_owned())
}

#[test]
fn a_cluster_is_told_from_a_server() -> Checked {
    let cluster = Cluster::start()?;
    let mut refused = 0;
    for _ in 0..20 {
        if let Err(error) = put(&*open(&cluster.servers[0].config())?, b"object") {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert!(error.to_string().contains("set cluster"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 0, "a third of the slots is here");
    let server = Server::start(&[])?;
    let alone = open(&server.config().with("cluster", true))?;
    let error = put(&*alone, b"object").expect_err("no cluster");
    assert!(
        error.to_string().contains("cluster support disabled"),
        "{error}"
    );
    Ok(())
}

#[test]
fn objects_are_spread_over_a_cluster_and_found() -> Checked {
    let cluster = Cluster::start()?;
    let connector = open(
        &cluster
            .config()
            .with("prefix", "p:")
            .with("part_size", 100_000_i64),
    )?;
    let objects: Vec<_> = (0..60_usize)
        .map(|index| vec![u8::try_from(index).unwrap_or_default(); index % 7 * 40_000])
        .collect();
    let segments: Vec<_> = objects.iter().map(|bytes| [Segment::from(bytes)]).collect();
    let payloads: Vec<_> = segments.iter().map(Payload::from).collect();
    let keys = now(connector.put_batch(&payloads, soon()))?;
    for server in &cluster.servers {
        assert!(!server.names()?.is_empty(), "the keys are spread");
    }
    let found = now(connector.get_batch(&keys, soon()))?;
    for ((key, found), bytes) in keys.iter().zip(found).zip(&objects) {
        assert_eq!(found.map(|memory| memory.to_vec()).as_ref(), Some(bytes));
        assert_eq!(get(&*connector, key)?.as_ref(), Some(bytes));
    }
    // A key that a connector to a single server has made.
    let plain = Key::text("977218f4-d6ac-460a-85a8-99950957b5dc");
    set(&*connector, &plain, &vec![7; 450_000])?;
    assert_eq!(
        get(&*connector, &plain)?.map(|bytes| bytes.len()),
        Some(450_000)
    );
    now(connector.evict(&plain, soon()))?;
    now(connector.close(CloseOptions { clear: Some(true) }, soon()))?;
    for server in &cluster.servers {
        assert_eq!(server.names()?, Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn slots_that_move_are_followed() -> Checked {
    let cluster = Cluster::start()?;
    let connector = open(&cluster.config())?;
    let seed = &cluster.servers[0];
    let deferred = connector.new_key()?;
    set(&*connector, &deferred, b"before")?;
    let slot = slot_of(seed, &deferred)?;
    let owner = usize::try_from(slot / 5461)?.min(2);
    let from = &cluster.servers[owner];
    let to = &cluster.servers[(owner + 1) % 3];
    to.ask(&format!(
        "CLUSTER SETSLOT {slot} IMPORTING {}",
        id_of(from)?
    ))?;
    from.ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id_of(to)?))?;
    assert_eq!(
        get(&*connector, &deferred)?.as_deref(),
        Some(&b"before"[..])
    );
    // While it moves, the old server asks to look at the new one.
    let name = deferred.as_text().ok_or("no text")?;
    from.ask(&format!("MIGRATE 127.0.0.1 {} {name} 0 5000", to.port))?;
    assert_eq!(
        get(&*connector, &deferred)?.as_deref(),
        Some(&b"before"[..])
    );
    assert!(now(connector.exists(&deferred, soon()))?);
    // What takes several commands waits until the slot has moved.
    thread::scope(|scope| {
        let setting = scope.spawn(|| set(&*connector, &deferred, b"after"));
        for server in [to, from, &cluster.servers[(owner + 2) % 3]] {
            server.ask(&format!("CLUSTER SETSLOT {slot} NODE {}", id_of(to)?))?;
        }
        setting.join().map_err(|_| "a thread panicked")??;
        Checked::Ok(())
    })?;
    assert_eq!(get(&*connector, &deferred)?.as_deref(), Some(&b"after"[..]));
    assert!(to.names()?.iter().any(|known| known == name));
    // A batch that begins where the slot was is done where it is.
    let stale = open(&cluster.config())?;
    assert_eq!(get(&*stale, &deferred)?.as_deref(), Some(&b"after"[..]));
    Ok(())
}

#[test]
fn a_new_master_is_found() -> Checked {
    let mut watched = Watched::start()?;
    let connector = open(&watched.config())?;
    let key = put(&*connector, b"object")?;
    assert!(
        !watched.master.names()?.is_empty(),
        "the object is with the master"
    );
    while watched.replica.names()?.is_empty() {
        thread::yield_now();
    }
    watched.master.kill()?;
    // Until the sentinel has made the replica the master, this waits.
    assert_eq!(get(&*connector, &key)?.as_deref(), Some(&b"object"[..]));
    let key = put(&*connector, b"another")?;
    assert_eq!(get(&*connector, &key)?.as_deref(), Some(&b"another"[..]));
    assert_eq!(watched.replica.names()?.len(), 2);
    let unknown = watched.config().with("sentinel_master", "nobody");
    let error = put(&*open(&unknown)?, b"object").expect_err("unknown");
    assert!(error.to_string().contains("sentinel_master"), "{error}");
    Ok(())
}

#[test]
fn a_replica_takes_no_objects_and_says_so() -> Checked {
    let watched = Watched::start()?;
    let error = put(&*open(&watched.replica.config())?, b"object").expect_err("a replica");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("replica"), "{error}");
    Ok(())
}
