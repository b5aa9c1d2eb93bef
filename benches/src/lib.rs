//! Benchmarks of the native core; run them with `cargo bench`.

#![forbid(unsafe_code)]
