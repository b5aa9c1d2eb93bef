//! The corpus of the fuzz targets, as a test: nothing in it makes a decoder panic or misread.

#[path = "../../../../fuzz/redis_checks.rs"]
mod checks;
#[path = "../../../../fuzz/corpus.rs"]
mod corpus;

#[test]
fn replies_hold() {
    corpus::check_all("redis_reply", checks::reply);
}

#[test]
fn keys_hold() {
    corpus::check_all("redis_key", checks::redis_key);
}

#[test]
fn lists_of_parts_hold() {
    corpus::check_all("redis_manifest", checks::manifest);
}
