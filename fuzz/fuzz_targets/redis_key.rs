#![no_main]

#[path = "../redis_checks.rs"]
#[allow(dead_code, reason = "the other targets use the rest")]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::redis_key(bytes));
