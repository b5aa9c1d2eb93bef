//! The corpus of the fuzz targets, as a test: nothing in it makes a decoder panic or misread.

#[path = "../../../fuzz/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/wire_checks.rs"]
mod wire_checks;

#[test]
fn frames_hold() {
    corpus::check_all("wire_frame", wire_checks::frame);
}

#[test]
fn hellos_hold() {
    corpus::check_all("wire_hello", wire_checks::hello);
}

#[test]
fn sessions_hold() {
    corpus::check_all("wire_session", wire_checks::session);
}
