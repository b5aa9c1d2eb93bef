#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "the other target uses the rest")]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::file_key(bytes));
