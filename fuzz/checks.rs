//! What must hold for any bytes at all; the fuzz targets and the tests of the corpus share it.

use proxystore_core::Key;
use proxystore_file::{
    key::ObjectName,
    marker::{Decoded, Marker},
};
use twox_hash::XxHash3_64;

/// Decodes a marker as it is, and with the checksum that makes the rest of the decoder reachable.
pub(crate) fn marker(bytes: &[u8]) {
    decode(bytes);
    let checksum = XxHash3_64::oneshot(bytes).to_le_bytes();
    decode(&[bytes, &checksum].concat());
}

fn decode(bytes: &[u8]) {
    let Ok(Decoded::Ours(marker) | Decoded::Newer(marker)) = Marker::decode(bytes) else {
        return;
    };
    assert_eq!(Marker::decode(&marker.encode()), Ok(Decoded::Ours(marker)));
}

/// Parses a key: whatever is taken is a plain file name, and stays what it is.
pub(crate) fn file_key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Some(name) = ObjectName::parse(text) else {
        return;
    };
    let plain = |byte: u8| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    assert!(text.len() == 36 && text.bytes().all(plain), "{text:?}");
    assert_eq!(Key::from(name).as_text(), Some(text));
}
