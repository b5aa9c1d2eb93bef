//! What must hold for whatever a Redis server sends or a key says; the fuzz targets and the tests of
//! the corpus share it.

use proxystore_core::Key;
use proxystore_redis::{
    key::ObjectName,
    manifest::Manifest,
    resp::{Decoder, Value},
};
use twox_hash::XxHash3_64;

/// How large a reply may be that is put together here.
const BUDGET: usize = 4096;

/// Decodes replies: in one piece as byte by byte, and never more than there may be.
pub(crate) fn reply(bytes: &[u8]) {
    let mut whole = Decoder::new(BUDGET);
    let Ok((taken, at_once)) = whole.feed(bytes) else {
        return;
    };
    assert!(taken <= bytes.len());
    let mut decoder = Decoder::new(BUDGET);
    let mut start = 0;
    let mut bit_by_bit = None;
    for end in 1..=bytes.len() {
        let (taken, value) = decoder.feed(&bytes[start..end]).expect("as in one piece");
        start += taken;
        bit_by_bit = value;
        if bit_by_bit.is_some() {
            break;
        }
    }
    assert_eq!(at_once, bit_by_bit);
    if let Some(value) = at_once {
        assert_eq!(start, taken);
        assert!(size(&value) <= BUDGET, "{value:?}");
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Bulk(bytes) | Value::Simple(bytes) => bytes.len(),
        Value::Error(text) => text.len().min(1),
        Value::Integer(_) | Value::Nil => size_of::<Value>(),
    }
}

/// Parses a key: whatever is taken is one line, and stays what it is.
pub(crate) fn redis_key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Some(name) = ObjectName::parse(text) else {
        return;
    };
    assert!(!text.is_empty() && text.len() <= 512 && !text.chars().any(char::is_control));
    assert_eq!(Key::from(&name).as_text(), Some(text));
    let Some(expected) = name.expected() else {
        assert_eq!(name.base(), text);
        return;
    };
    let base = ObjectName::parse(name.base()).expect("a name without the rest is one");
    assert_eq!(base.with_expected(expected).as_str(), text);
}

/// Parses a list of parts as it is, and with the checksum that makes the rest reachable.
pub(crate) fn manifest(bytes: &[u8]) {
    parse(bytes);
    let checksum = XxHash3_64::oneshot(bytes).to_le_bytes();
    parse(&[bytes, &checksum].concat());
}

fn parse(bytes: &[u8]) {
    let Ok(Some(manifest)) = Manifest::parse(bytes) else {
        return;
    };
    assert_eq!(manifest.encode(), *bytes);
    let last = manifest.parts().saturating_sub(1);
    assert!(manifest.part_len(last) <= manifest.part);
    assert_eq!(manifest.part_len(manifest.parts()), 0);
}
