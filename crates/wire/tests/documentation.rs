//! `docs/node_protocol.md` says what is sent.

use std::{collections::BTreeMap, fs, path::Path};

use proxystore_wire::{
    frame::{
        Kind, MAX_CHUNK, MAX_INLINE, MAX_STREAMS, MAX_TEXT, MAX_WINDOW, MIN_CHUNK, MIN_WINDOW,
    },
    handshake::{HELLO, MAGIC},
    message::Refusal,
};

/// The length of a key, in bytes.
const KEY: usize = 32;

/// The cells of the rows of all tables below this heading, up to the next one.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/node_protocol.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, section) = page.split_once(heading).expect("the heading");
    let lines = section.lines().skip(1);
    let section = lines.take_while(|line| !line.starts_with('#'));
    let rows = section.filter(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

/// The length of a head that is described as `key, sum (8)`.
fn len_of(head: &str) -> usize {
    let numbers = head.split('(').skip(1);
    let numbers = numbers.map(|rest| rest.split(')').next()?.parse::<usize>().ok());
    let key = if head.starts_with("key") { KEY } else { 0 };
    key + numbers.map(|len| len.expect("a length")).sum::<usize>()
}

#[test]
fn kinds_are_those_of_the_page() {
    let rows: BTreeMap<_, _> = rows("## 3. Frames")
        .into_iter()
        .filter_map(|row| {
            let number = u8::from_str_radix(row[0].strip_prefix("0x")?, 16).ok()?;
            let flags = u8::from(!row[4].is_empty());
            Some((number, (row[1].clone(), flags, len_of(&row[5]))))
        })
        .collect();
    let kinds: BTreeMap<_, _> = (0..=u8::MAX)
        .filter_map(|number| {
            let kind = Kind::from_number(number)?;
            Some((number, (format!("{kind:?}"), kind.flags(), kind.head())))
        })
        .collect();
    assert_eq!(rows, kinds);
}

#[test]
fn reasons_are_those_of_the_page() {
    let rows: BTreeMap<_, _> = rows("## 6. Reasons of refusals")
        .into_iter()
        .filter_map(|row| Some((row[0].parse::<u8>().ok()?, row[1].clone())))
        .collect();
    let reasons: BTreeMap<_, _> = (0..=u8::MAX)
        .map(|number| (number, Refusal::from_number(number)))
        .filter(|(_, reason)| !matches!(reason, Refusal::Other(_)))
        .map(|(number, reason)| (number, format!("{reason:?}")))
        .collect();
    assert_eq!(rows, reasons);
}

#[test]
fn a_hello_is_that_of_the_page() {
    let rows = rows("### Hello");
    let row = |offset: &str| {
        let row = rows.iter().find(|row| row[0] == offset);
        row.expect("a row of this offset").clone()
    };
    let magic = MAGIC.map(|byte| format!("{byte:02x}")).join(" ");
    assert_eq!(row("0")[2], format!("`{magic}`"));
    let last = row("40");
    let nonce: usize = last[1].parse().expect("a length");
    assert_eq!(40 + nonce, HELLO);
    for (offset, least, most) in [
        ("16", 1, MAX_STREAMS),
        ("20", 0, MAX_INLINE),
        ("24", MIN_CHUNK, MAX_CHUNK),
        ("28", MIN_CHUNK, MAX_WINDOW),
        ("32", MIN_WINDOW, MAX_WINDOW),
    ] {
        let range = format!("({least} to {most})");
        assert!(row(offset)[2].replace(',', "").ends_with(&range), "{range}");
    }
}

#[test]
fn limits_are_those_of_the_page() {
    let rows = rows("## 10. Limits");
    let limit = |what: &str| {
        let row = rows.iter().find(|row| row[0] == what);
        row.expect("a row of this limit")[1].replace(',', "")
    };
    assert_eq!(
        limit("requests under way on a connection"),
        MAX_STREAMS.to_string()
    );
    assert_eq!(limit("`Data`"), format!("16 + {MAX_CHUNK} bytes"));
    assert_eq!(
        limit("frame but for `Data`"),
        format!("16 + 40 + {MAX_INLINE} bytes")
    );
    assert_eq!(limit("text of a refusal"), format!("{MAX_TEXT} bytes"));
}
