//! The inputs that the fuzz targets start from, for the tests that run the same checks on them.

use std::{fs, path::Path};

/// The fewest inputs of a target: with less the folder is not the one that was meant.
const FEWEST: usize = 4;

/// The inputs of a target.
pub(crate) fn inputs(target: &str) -> Vec<Vec<u8>> {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let folder = folders.find_map(|folder| {
        let corpus = folder.join("fuzz/corpus");
        corpus.is_dir().then(|| corpus.join(target))
    });
    let listing = fs::read_dir(folder.expect("a corpus")).expect("a folder of the target");
    let inputs: Vec<_> = listing
        .map(|entry| fs::read(entry.expect("an entry").path()).expect("a file"))
        .collect();
    assert!(
        inputs.len() >= FEWEST,
        "the corpus of {target} is all but empty"
    );
    inputs
}

/// Checks each input of a target, every beginning of it, and what a flipped bit in each byte makes of
/// it.
pub(crate) fn check_all(target: &str, check: impl Fn(&[u8])) {
    for bytes in inputs(target) {
        check(&bytes);
        for len in 0..bytes.len() {
            check(&bytes[..len]);
            let mut flipped = bytes.clone();
            flipped[len] ^= 1 << (len % 8);
            check(&flipped);
        }
    }
}
