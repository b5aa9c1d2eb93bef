//! Processes that leave, die, are adopted, and fork.

use super::*;
use crate::{
    namespace::Namespace,
    testing::{Signal, alone, fork},
};

#[test]
fn what_is_left_is_given_back_and_objects_stay() {
    let directory = directory();
    let (producer, consumer) = (
        Member::join(directory.path()),
        Member::join(directory.path()),
    );
    let object = bytes(1 << 20, 1);
    let [kept, evicted, by_other] = [(); 3].map(|()| producer.put(&object));
    producer.evict(evicted);
    consumer.evict(by_other);
    producer.segments.leave().expect("no refusal");
    assert_eq!(producer.files(), [format!("s{}", kept.0)]);
    assert!(consumer.get(kept).expect("an object").to_vec() == object);
    consumer.segments.clear().expect("no refusal");
    assert!(!consumer.exists(kept));
}

#[test]
fn what_the_dead_leave_is_adopted() {
    let directory = directory();
    let adopter = Member::join(directory.path());
    let dead = Member::join(directory.path());
    let object = bytes(1 << 20, 1);
    let [kept, evicted, viewed] = [(); 3].map(|()| dead.put(&object));
    dead.evict(evicted);
    let view = adopter.get(viewed).expect("an object");
    let died = dead.membership().id();
    // One that it was writing when it died.
    let control = adopter.membership().control();
    let number = control
        .new_segment(directory.path())
        .expect("memory")
        .expect("a record");
    let record = adopter.segments.shared.record(number).expect("a record");
    assert_eq!(protocol::take_absent(&record, died), Some(1));
    fs::write(adopter.file((number, 1)), b"half of it").expect("room");
    adopter.segments.adopt(died).expect("no refusal");
    assert_eq!(adopter.files().len(), 2);
    assert!(adopter.get(kept).expect("an object").to_vec() == object);
    assert!(adopter.membership().bytes() >= 2 << 20);
    // The memory is the adopter's to use again.
    adopter.evict(kept);
    let again = adopter.put(&bytes(1 << 20, 2));
    assert_eq!(again, (kept.0, kept.1 + 1));
    assert!(adopter.get(again).expect("an object").to_vec() == bytes(1 << 20, 2));
    adopter.evict(viewed);
    assert_ne!(adopter.put(&object).0, viewed.0);
    assert!(view.to_vec() == object);
    // Whom others take for dead touches nothing of what was its own.
    dead.segments.evict(again.0, again.1).expect("no refusal");
    let fresh = dead.put(&object);
    assert!(
        ![kept.0, viewed.0].contains(&fresh.0),
        "these are the adopter's"
    );
    adopter.segments.adopt(died).expect("no refusal");
    adopter.segments.adopt(died).expect("no refusal");
}

#[test]
fn evicting_an_object_of_a_dead_process_frees_it_at_once() {
    alone(|directory| {
        let survivor = Member::join(directory);
        let signal = Signal::new();
        let child = fork(|| {
            let dead = Member::join(directory);
            assert_eq!(dead.put(&bytes(1 << 20, 1)), (0, 1));
            signal.say();
            loop {
                thread::park();
            }
        });
        signal.wait();
        child.kill();
        assert!(survivor.get((0, 1)).expect("an object").to_vec() == bytes(1 << 20, 1));
        survivor.evict((0, 1));
        assert!(survivor.files().is_empty());
        assert_eq!(survivor.put(&bytes(1 << 20, 2)), (0, 2));
    });
}

#[test]
fn a_forked_child_has_segments_of_its_own() {
    alone(|directory| {
        let text = directory.to_str().expect("text");
        let options = Options::parse(&Config::new().with("directory", text)).expect("options");
        let namespace = Namespace::join(&options).expect("a namespace");
        let put = |object: &[u8]| {
            let segments = [Segment::from(object)];
            let payload = Payload::new(&segments);
            let reference = namespace.segments.put(&payload, 0, &options).expect("room");
            let Place::Segment(number) = reference.place else {
                panic!("it is in a segment");
            };
            (number, reference.generation)
        };
        let get = |(number, generation)| {
            let found = namespace.segments.get(number, generation);
            found.expect("no damage").map(|found| found.object)
        };
        let object = bytes(1 << 20, 1);
        let (free, live) = (put(&object), put(&object));
        let view = get(live).expect("an object");
        let copied = namespace
            .segments
            .get_copy(live.0, live.1)
            .expect("no damage");
        drop(copied);
        namespace.segments.evict(free.0, free.1).expect("no damage");
        let child = fork(|| {
            namespace.tend(|| Arc::clone(&namespace)).expect("a member");
            assert!(view.to_vec() == object, "an inherited view");
            assert!(get(live).expect("an object").to_vec() == object);
            for seed in 2..6 {
                let place = put(&bytes(1 << 20, seed));
                assert!(
                    ![free.0, live.0].contains(&place.0),
                    "these are the parent's"
                );
                assert!(get(place).expect("an object").to_vec() == bytes(1 << 20, seed));
                let copy = namespace
                    .segments
                    .get_copy(place.0, place.1)
                    .expect("no damage");
                assert!(copy.expect("an object").object.to_vec() == bytes(1 << 20, seed));
                namespace
                    .segments
                    .evict(place.0, place.1)
                    .expect("no damage");
            }
            drop(view);
        });
        child.join();
        assert_eq!(put(&bytes(1 << 20, 9)), (free.0, free.1 + 1));
        assert!(get(live).expect("an object").to_vec() == object);
    });
}
