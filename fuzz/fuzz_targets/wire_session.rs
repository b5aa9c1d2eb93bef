#![no_main]

#[path = "../wire_checks.rs"]
#[allow(dead_code, reason = "the other targets use the rest")]
mod wire_checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire_checks::session(bytes));
