//! What dead processes leave, and forked children.

use std::{fs::OpenOptions, os::unix::fs::FileExt};

use super::*;
use crate::{control::HeaderWord, namespace::Namespace};

#[test]
fn what_a_dead_process_left_is_adopted() {
    let fixture = Fixture::new();
    let dead = fixture.slabs.membership.id();
    let ticket = fixture.slabs.new_ticket().expect("there is room");
    let kept = fixture.put(b"kept");
    let named = fixture.put_for(b"named", ticket.to_word());
    let (slab, index, generation) = cell(ticket);
    fixture
        .slabs
        .retarget(slab, index, generation, 0, named.to_word())
        .expect("it is sound")
        .expect("nothing is named");
    // As if it had died before it noted that the ticket names this one.
    let (number, index, generation) = cell(named);
    let path = fixture.slabs.membership.path().join(slab::name(number));
    let file = OpenOptions::new().write(true).open(path).expect("a slab");
    let shape = fixture.slabs.local().table.with(number, Slab::shape);
    let header = shape.expect("it is mapped").header_at(index as usize);
    file.write_all_at(&[0; 8], header as u64 + 24)
        .expect("room");
    let is_settled = |slabs: &Slabs| {
        let described = slabs.local().table.with(number, |slab| {
            slab.cell(index as usize)
                .and_then(|cell| cell.describe().ok()?)
        });
        let described = described.flatten().expect("it is there");
        assert_eq!(described.generation, generation);
        described.settled
    };
    assert!(!is_settled(&fixture.slabs));
    let orphan = fixture.put_for(b"orphan", ticket.to_word());
    let taken = fixture.put(b"taken");
    evict(&fixture.slabs, taken);
    // As if it had died while writing.
    let (slab, index, generation) = cell(taken);
    fixture.slabs.local().table.with(slab, |slab| {
        let taken = slab.cell(index as usize).and_then(|cell| cell.take());
        assert_eq!(taken, Some(generation + 1));
    });
    let heir = fixture.other();
    heir.adopt(dead).expect("it is sound");
    assert_eq!(found(&heir, kept), Some(b"kept".to_vec()));
    assert_eq!(found(&heir, named), Some(b"named".to_vec()));
    assert_eq!(found(&heir, orphan), None);
    assert!(is_settled(&heir));
    let segments = [Segment::from(b"new")];
    let mut places = HashSet::new();
    for _ in 0..300 {
        let put = heir.put(&Payload::from(&segments), 0, &fixture.options);
        places.insert(put.expect("there is room").place);
    }
    assert!(places.contains(&taken.place) && places.contains(&orphan.place));
    assert!(!places.contains(&kept.place) && !places.contains(&named.place));
    assert_eq!(found(&heir, kept), Some(b"kept".to_vec()));
    let fresh = heir.new_ticket().expect("there is room");
    assert_ne!(fresh.place, ticket.place);
}

#[test]
fn a_slab_that_somebody_died_making_is_made_again() {
    let fixture = Fixture::new();
    let membership = &fixture.slabs.membership;
    let (control, me) = (membership.control(), membership.id());
    let number = control.new_slab(membership.path()).expect("room");
    let number = number.expect("a slab");
    let record = record::Record::from(control.slab(number).expect("a record"));
    let shape = Class::of(10).expect("a class").shape(0);
    record.claim(me, shape).expect("it is nobody's");
    membership.create(&slab::name(number)).expect("a file");
    let heir = fixture.other();
    heir.adopt(me).expect("it is sound");
    assert_eq!(fixture.files(), [] as [PathBuf; 0]);
    let segments = [Segment::from(b"new")];
    let put = heir.put(&Payload::from(&segments), 0, &fixture.options);
    let put = put.expect("there is room");
    assert_eq!(cell(put).0, number);
    assert_eq!(found(&heir, put), Some(b"new".to_vec()));
    assert_eq!(
        control.header(HeaderWord::SlabsEnd).load(Ordering::Relaxed),
        1
    );
    let _ = &fixture.directory;
}

#[test]
fn a_forked_child_puts_into_slabs_of_its_own() {
    testing::alone(|directory| {
        let options = testing::options(directory, 60.0);
        let namespace = Namespace::join(&options).expect("a namespace");
        let put = |bytes: &[u8]| {
            let segments = [Segment::from(bytes)];
            let put = namespace.slabs.put(&Payload::from(&segments), 0, &options);
            put.expect("there is room")
        };
        let parents = put(b"parent's");
        let told = directory.join("told");
        let child = testing::fork(|| {
            assert_eq!(found(&namespace.slabs, parents), Some(b"parent's".to_vec()));
            let childs = put(b"child's");
            assert_ne!(cell(childs).0, cell(parents).0);
            evict(&namespace.slabs, parents);
            fs::write(&told, childs.to_word().to_le_bytes()).expect("room");
        });
        child.join();
        let word = fs::read(&told).expect("the child told").try_into();
        let childs = Reference::from_word(u64::from_le_bytes(word.expect("a word")));
        let childs = childs.expect("a reference");
        assert_eq!(found(&namespace.slabs, parents), None);
        assert_eq!(found(&namespace.slabs, childs), Some(b"child's".to_vec()));
        // The child ended without leaving.
        assert_eq!(namespace.adopt(), 1);
        assert_eq!(found(&namespace.slabs, childs), Some(b"child's".to_vec()));
        let owner = namespace.slabs.owner(cell(childs).0);
        assert_eq!(owner, Some(namespace.membership.id()));
        evict(&namespace.slabs, childs);
        namespace.slabs.leave().expect("it is its own");
        assert_eq!(files(namespace.membership.path()), [] as [PathBuf; 0]);
    });
}
