//! Batches take few round trips, and are there as a whole or not at all.

mod support;

use proxystore_core::{Connector, ErrorKind, Key, Payload, Segment};

use crate::support::{
    Checked, now,
    operations::{open, soon},
    server::Server,
};

fn put_batch(connector: &dyn Connector, objects: &[Vec<u8>]) -> proxystore_core::Result<Vec<Key>> {
    let segments: Vec<_> = objects.iter().map(|bytes| [Segment::from(bytes)]).collect();
    let payloads: Vec<_> = segments.iter().map(Payload::from).collect();
    now(connector.put_batch(&payloads, soon()))
}

fn get_batch(connector: &dyn Connector, keys: &[Key]) -> Checked<Vec<Option<Vec<u8>>>> {
    let objects = now(connector.get_batch(keys, soon()))?;
    let objects = objects.into_iter();
    Ok(objects
        .map(|object| object.map(|memory| memory.to_vec()))
        .collect())
}

fn objects() -> Vec<Vec<u8>> {
    // Small ones and large ones, and some of the size at which they are cut into parts.
    let sizes = (0..700_usize).map(|index| match index % 100 {
        17 => 100_000,
        42 => 1_500_000,
        43 => 400_000,
        _ => index % 1000,
    });
    sizes
        .enumerate()
        .map(|(index, size)| vec![u8::try_from(index % 251).unwrap_or_default(); size])
        .collect()
}

#[test]
fn all_sizes_go_through_one_batch() -> Checked {
    let server = Server::start(&[])?;
    for config in [
        server.config(),
        server
            .config()
            .with("part_size", 200_000_i64)
            .with("ttl", 60.0),
    ] {
        let connector = open(&config)?;
        let objects = objects();
        let mut keys = put_batch(&*connector, &objects)?;
        keys.insert(3, connector.new_key()?);
        let mut expected: Vec<_> = objects.into_iter().map(Some).collect();
        expected.insert(3, None);
        assert!(get_batch(&*connector, &keys)? == expected);
        for key in &keys {
            now(connector.evict(key, soon()))?;
        }
        assert!(server.names()?.is_empty());
    }
    Ok(())
}

#[test]
fn a_batch_is_one_command_for_each_object() -> Checked {
    let server = Server::start(&[])?;
    let connector = open(&server.config())?;
    let objects = vec![vec![7; 1000]; 1000];
    let before = server.info("total_commands_processed")?;
    let keys = put_batch(&*connector, &objects)?;
    assert_eq!(get_batch(&*connector, &keys)?.len(), 1000);
    let after = server.info("total_commands_processed")?;
    // As many commands as objects, and no more.
    let commands = after.parse::<u64>()? - before.parse::<u64>()?;
    assert!(commands < 2010, "{commands} commands");
    Ok(())
}

#[test]
fn what_fails_in_the_middle_leaves_nothing() -> Checked {
    let server = Server::start(&[])?;
    let connector = open(&server.config().with("part_size", 300_000_i64))?;
    let mut objects = vec![vec![1; 1000]; 600];
    objects.push(vec![2; 700_000]);
    objects.push(vec![3; 8_000_000]);
    let used: u64 = server.info("used_memory")?.parse()?;
    server.ask(&format!("CONFIG SET maxmemory {}", used + (5 << 20)))?;
    let error = put_batch(&*connector, &objects).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(server.names()?.is_empty(), "{:?}", server.names()?);
    server.ask("CONFIG SET maxmemory 0")?;
    assert_eq!(put_batch(&*connector, &objects)?.len(), objects.len());
    Ok(())
}

#[test]
fn a_damaged_object_is_named() -> Checked {
    let server = Server::start(&[])?;
    let connector = open(&server.config())?;
    let keys = put_batch(&*connector, &vec![vec![7; 1000]; 20])?;
    let name = keys[11].as_text().ok_or("no text")?.as_bytes();
    for value in [vec![8; 1000], vec![7; 999]] {
        server.say(&[b"SET", name, &value])?;
        let error = now(connector.get_batch(&keys, soon())).expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupted);
        assert_eq!(error.context("key"), Some(&*keys[11].to_string()));
        // The connection, or another one, is used again.
        assert!(now(connector.exists(&keys[0], soon()))?);
    }
    Ok(())
}
