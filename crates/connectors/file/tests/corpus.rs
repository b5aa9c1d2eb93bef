//! The corpus of the fuzz targets, as a test: nothing in it makes a decoder panic or misread.

#[path = "../../../../fuzz/checks.rs"]
mod checks;
#[path = "../../../../fuzz/corpus.rs"]
mod corpus;

#[test]
fn markers_hold() {
    corpus::check_all("marker", checks::marker);
}

#[test]
fn keys_hold() {
    corpus::check_all("file_key", checks::file_key);
}
