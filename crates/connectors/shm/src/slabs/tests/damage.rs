//! Files and records that are not what was written, and keys that were never made.

use std::{fs::OpenOptions, os::unix::fs::FileExt};

use super::*;

/// Looks at everything of a namespace as a process would that joins now.
fn look_at_all(fixture: &Fixture, objects: &[(Reference, Vec<u8>)], tickets: &[(Reference, u64)]) {
    let slabs = fixture.other();
    for (reference, object) in objects {
        match get(&slabs, *reference) {
            Ok(None) | Err(ShmError::Corrupted { .. }) => {}
            Ok(Some(found)) => assert_eq!(&found, object, "wrong bytes"),
            Err(error) => panic!("{error}"),
        }
    }
    for &(ticket, object) in tickets {
        let (slab, cell, generation) = cell(ticket);
        match slabs.target(slab, cell, generation) {
            Ok(None) | Err(ShmError::Corrupted { .. }) => {}
            Ok(Some(target)) if target == object => {}
            Ok(Some(target)) => {
                // No object says that it was put for this ticket but the one that was.
                if let Some(Reference {
                    place: Place::Cell { slab, cell },
                    generation,
                }) = Reference::from_word(target)
                {
                    let found = slabs.exists(slab, cell, generation);
                    assert!(!found.is_ok_and(|found| {
                        found.is_some_and(|found| found.ticket == ticket.to_word())
                    }));
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn no_flipped_byte_of_a_header_gives_wrong_bytes() {
    let fixture = Fixture::new();
    let ticket = fixture.slabs.new_ticket().expect("there is room");
    // One of them was put for the ticket.
    let objects: Vec<(Reference, Vec<u8>)> = [(0, 0), (1, 0), (100, 0), (128, ticket.to_word())]
        .into_iter()
        .map(|(len, ticket)| (fixture.put_for(&bytes(len, 3), ticket), bytes(len, 3)))
        .collect();
    let last = objects[3].0.to_word();
    let (slab, index, generation) = cell(ticket);
    let moved = fixture.slabs.retarget(slab, index, generation, 0, last);
    moved.expect("it is sound").expect("nothing is named");
    let tickets = [(ticket, last)];
    let mut flips = 0;
    for number in [cell(ticket).0, cell(objects[0].0).0] {
        let path = fixture.slabs.membership.path().join(slab::name(number));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .expect("a slab");
        let shape = fixture.slabs.local().table.with(number, Slab::shape);
        let headers = shape.expect("it is mapped").header_at(5);
        for at in 0..headers as u64 {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("a byte");
            for flip in [0xff, 1, 0x80] {
                file.write_all_at(&[byte[0] ^ flip], at).expect("a byte");
                look_at_all(&fixture, &objects, &tickets);
                flips += 1;
            }
            file.write_all_at(&byte, at).expect("a byte");
        }
    }
    assert!(flips > 1000);
    assert_eq!(found(&fixture.other(), objects[2].0), Some(bytes(100, 3)));
}

#[test]
fn no_flipped_byte_of_a_record_gives_wrong_bytes() {
    let fixture = Fixture::new();
    let ticket = fixture.slabs.new_ticket().expect("there is room");
    let object = (fixture.put(b"object"), b"object".to_vec());
    for number in 0..fixture.slabs.membership.control().slabs_end() {
        let record = fixture
            .slabs
            .membership
            .control()
            .slab(number)
            .expect("a record");
        for word in [record.state, record.owner, record.shape] {
            for byte in 0..8 {
                for flip in [0xff, 1, 0x80] {
                    let before = word.fetch_xor(flip << (8 * byte), Ordering::Relaxed);
                    look_at_all(&fixture, std::slice::from_ref(&object), &[(ticket, 0)]);
                    // Those who have mapped it already, too.
                    assert!(matches!(
                        get(&fixture.slabs, object.0),
                        Ok(Some(found)) if found == object.1
                    ));
                    word.store(before, Ordering::Relaxed);
                }
            }
        }
    }
    look_at_all(&fixture, std::slice::from_ref(&object), &[(ticket, 0)]);
    assert_eq!(found(&fixture.other(), object.0), Some(object.1));
}

#[test]
fn a_file_that_was_cut_or_replaced_is_told() {
    let fixture = Fixture::new();
    let object = fixture.put(b"object");
    let path = fixture.files().remove(0);
    let file = OpenOptions::new().write(true).open(&path).expect("a slab");
    let len = file.metadata().expect("a slab").len();
    let corrupted = || match get(&fixture.other(), object) {
        Err(ShmError::Corrupted { problem }) => problem,
        other => panic!("{other:?}"),
    };
    for cut in [0, 1, 4096, len - 1, len + 1] {
        file.set_len(cut).expect("a slab");
        assert!(corrupted().contains("size"));
    }
    // Of the right size, but nothing in it.
    file.set_len(0).expect("a slab");
    file.set_len(len).expect("a slab");
    assert!(corrupted().contains("another"));
    fs::remove_file(&path).expect("a slab");
    assert!(corrupted().contains("missing"));
    // Nothing of it is in the way of what others put.
    let other = fixture.other();
    let segments = [Segment::from(b"fine")];
    let put = other.put(&Payload::from(&segments), 0, &fixture.options);
    let put = put.expect("there is room");
    assert_eq!(found(&other, put), Some(b"fine".to_vec()));
    other
        .adopt(fixture.slabs.membership.id())
        .expect("damage is left alone");
    assert_eq!(found(&other, put), Some(b"fine".to_vec()));
}

#[test]
fn forged_references_find_nothing() {
    let fixture = Fixture::new();
    let object = fixture.put(b"object");
    let ticket = fixture.slabs.new_ticket().expect("there is room");
    let (slab, cell, generation) = cell(object);
    let slabs = &fixture.slabs;
    for (slab, cell, generation) in [
        (slab, cell, generation + 1),
        (slab, cell, u32::MAX),
        (slab, cell + 1, generation),
        (slab, crate::key::CELLS - 1, generation),
        (slab + 2, cell, generation),
        (crate::control::SLABS - 1, cell, generation),
        self::cell(ticket),
    ] {
        assert!(
            slabs
                .get(slab, cell, generation)
                .expect("nothing")
                .is_none()
        );
        slabs.evict(slab, cell, generation).expect("nothing");
        let target = slabs.target(slab, cell, generation).expect("nothing");
        assert!(target.is_none() || (slab, cell, generation) == self::cell(ticket));
    }
    assert!(exists(slabs, object));
}
