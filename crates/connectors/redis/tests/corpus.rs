//! The corpus of the fuzz targets, as a test: nothing in it makes a decoder panic or misread.

use std::{fs, path::Path};

#[path = "../../../../fuzz/redis_checks.rs"]
mod checks;

#[test]
fn replies_hold() {
    every("redis_reply", checks::reply);
}

#[test]
fn keys_hold() {
    every("redis_key", checks::redis_key);
}

#[test]
fn lists_of_parts_hold() {
    every("redis_manifest", checks::manifest);
}

fn every(target: &str, check: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus");
    let listing = fs::read_dir(corpus.join(target)).expect("a corpus");
    let mut count = 0;
    for entry in listing {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a file");
        check(&bytes);
        // And everything one cut away from it.
        (0..bytes.len()).for_each(|len| check(&bytes[..len]));
        count += 1;
    }
    assert!(count > 3, "the corpus of {target} is all but empty");
}
