//! Frames survive being written and read, and nothing else is taken for one.

use std::ops::Range;

use proptest::prelude::*;
use proxystore_frame::{Damage, Entry, Frame, Kind, Layout, TooLarge, sum};
use proxystore_memory::Segment;

/// A frame of these parts, as a connector without a hand in checksums would store it.
fn write(kind: Kind, stream: &[u8], parts: usize, entries: &[Vec<u8>], sums: bool) -> Vec<u8> {
    let lengths = entries.iter().map(Vec::len).collect();
    let layout = Layout::new(kind, stream.to_vec(), parts, lengths, sums).expect("it fits");
    let sums: Vec<u64> = entries.iter().map(|entry| sum(&[entry.into()])).collect();
    let mut frame = layout.header(&sums);
    for (index, entry) in entries.iter().enumerate() {
        frame.extend(entry);
        frame.extend(vec![0; layout.gap(index)]);
    }
    frame
}

fn parse(bytes: &[u8]) -> Result<Frame, Damage> {
    Frame::parse(Segment::from(bytes))
}

fn example(sums: bool) -> Vec<u8> {
    let entries = [vec![1; 100], vec![], vec![2; 64], vec![3; 7]];
    write(Kind::Pickle, b"a pickle", 1, &entries, sums)
}

fn ranges(entries: &[Entry]) -> Vec<Range<usize>> {
    entries.iter().map(|entry| entry.range.clone()).collect()
}

#[test]
fn entries_lie_one_after_the_other_at_multiples_of_64() {
    let frame = parse(&example(false)).expect("a frame");
    assert_eq!(frame.stream, 72..80);
    assert_eq!(frame.parts[0].range, 128..228);
    assert_eq!(ranges(&frame.buffers), [256..256, 256..320, 320..327]);
}

#[test]
fn every_flipped_byte_of_a_header_is_noticed() {
    for sums in [false, true] {
        let whole = example(sums);
        let header = parse(&whole).expect("a frame").parts[0].range.start;
        for position in 0..header {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[position] ^= 1 << bit;
                let damage = parse(&flipped).expect_err("a flipped bit");
                let expected = match position {
                    0..3 => damage == Damage::NotAFrame,
                    3 => damage == Damage::UnknownVersion(flipped[3]),
                    _ => damage == Damage::WrongHeader,
                };
                assert!(expected, "byte {position}: {damage}");
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_an_entry_is_noticed_if_there_are_sums() {
    let whole = example(true);
    let frame = parse(&whole).expect("a frame");
    for entry in frame.parts.iter().chain(&frame.buffers) {
        for position in entry.range.clone() {
            let mut flipped = whole.clone();
            flipped[position] ^= 4;
            let bytes = Segment::from(&flipped);
            let parsed = Frame::parse(bytes).expect("the header is whole");
            let expected = Err(Damage::WrongBytes(entry.range.clone()));
            assert_eq!(parsed.verify(bytes), expected, "byte {position}");
        }
    }
    let bytes = Segment::from(&whole);
    assert_eq!(frame.verify(bytes), Ok(()));
}

#[test]
fn what_is_cut_or_longer_is_noticed() {
    for sums in [false, true] {
        let whole = example(sums);
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "{len} bytes");
        }
        let longer = [whole.as_slice(), b"x"].concat();
        let damage = parse(&longer).expect_err("a byte too many");
        assert_eq!(
            damage,
            Damage::WrongLength {
                expected: whole.len() as u64,
                found: whole.len() + 1
            }
        );
    }
}

/// A header of these fields, with the checksum that they have.
fn header(fields: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = write(Kind::Pickle, b"", 0, &[vec![0; 64]], false);
    fields(&mut bytes);
    let sum = sum(&[bytes[..32].into(), bytes[40..64].into()]);
    bytes[32..40].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn what_only_a_newer_version_writes_is_told_from_damage() {
    assert!(parse(&header(|_| ())).is_ok());
    assert_eq!(
        parse(&header(|bytes| bytes[4] = 99)),
        Err(Damage::UnknownKind(99))
    );
    assert_eq!(
        parse(&header(|bytes| bytes[5] = 2)),
        Err(Damage::UnknownFlags(2))
    );
    assert!(matches!(
        parse(&header(|bytes| bytes[6] = 1)),
        Err(Damage::Contradiction(_))
    ));
}

#[test]
fn forged_lengths_are_refused() {
    let forged = |offset: usize, value: u64| {
        header(|bytes| bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes()))
    };
    for value in [0, 63, 65, 1 << 40, u64::MAX, u64::MAX - 127] {
        assert!(
            matches!(parse(&forged(40, value)), Err(Damage::Contradiction(_))),
            "an entry of {value} bytes"
        );
        assert!(
            parse(&forged(24, value)).is_err(),
            "a frame of {value} bytes"
        );
    }
    for value in [1 << 40, u64::MAX, u64::MAX - 127] {
        assert_eq!(parse(&forged(16, value)), Err(Damage::WrongHeader));
    }
    for value in [4, 1 << 20, u64::from(u32::MAX), u64::MAX] {
        assert!(parse(&forged(8, value)).is_err(), "{value} entries");
    }
}

#[test]
fn what_no_frame_holds_is_refused_before_it_is_written() {
    let refused = |lengths| Layout::new(Kind::Pickle, Vec::new(), 0, lengths, true).err();
    assert_eq!(refused(vec![usize::MAX]), Some(TooLarge));
    assert_eq!(
        refused(vec![usize::MAX / 2, usize::MAX / 2]),
        Some(TooLarge)
    );
}

#[test]
fn a_header_is_completed_by_the_sums_of_all_that_follows() {
    let entries = [vec![1; 100], vec![2; 64], vec![3; 7]];
    let lengths = entries.iter().map(Vec::len).collect();
    let layout = Layout::new(Kind::Pickle, b"x".to_vec(), 0, lengths, true).expect("it fits");
    let pieces: Vec<_> = layout.segments().collect();
    assert_eq!(
        pieces.iter().map(|piece| piece.len).collect::<Vec<_>>(),
        [100, 28, 64, 7]
    );
    let mut sums = vec![u64::MAX; 4];
    let mut whole = entries.iter();
    for (sum_of, piece) in sums.iter_mut().zip(&pieces) {
        if !piece.gap {
            *sum_of = sum(&[whole.next().expect("an entry").into()]);
        }
    }
    let header = layout.header_from_segments(&sums);
    assert_eq!(header.len(), layout.header_len());
    let expected = write(Kind::Pickle, b"x", 0, &entries, true);
    assert_eq!(header, expected[..header.len()]);
}

fn kinds() -> impl Strategy<Value = Kind> {
    (0..Kind::ALL.len()).prop_map(|index| Kind::ALL[index])
}

proptest! {
    #[test]
    fn frames_survive(
        kind in kinds(),
        stream in prop::collection::vec(any::<u8>(), 0..200),
        entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..150),
        continued in 0..10_usize,
        sums: bool,
    ) {
        let parts = continued.min(entries.len());
        let bytes = write(kind, &stream, continued, &entries, sums);
        let frame = parse(&bytes)?;
        prop_assert_eq!(frame.kind, kind);
        prop_assert_eq!(frame.has_sums, sums);
        prop_assert_eq!(&bytes[frame.stream.clone()], stream.as_slice());
        prop_assert_eq!(frame.parts.len(), parts);
        let all: Vec<_> = frame.parts.iter().chain(&frame.buffers).collect();
        prop_assert_eq!(all.len(), entries.len());
        for (found, written) in all.iter().zip(&entries) {
            prop_assert_eq!(&bytes[found.range.clone()], written.as_slice());
            prop_assert_eq!(found.range.start % 64, 0);
        }
        prop_assert_eq!(frame.verify(Segment::from(&bytes)), Ok(()));
    }

    #[test]
    fn nothing_panics(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        begins: bool,
    ) {
        if begins && bytes.len() >= 6 {
            bytes[..6].copy_from_slice(b"PF\n\x01\x01\x01");
        }
        let _ = parse(&bytes);
    }
}
