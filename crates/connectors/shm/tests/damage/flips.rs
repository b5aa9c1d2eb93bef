//! Every byte that says something, changed in turn.

use std::os::unix::fs::FileExt;

use proxystore_core::Config;

use crate::{
    support::{
        Checked,
        client::config,
        directory, ensure,
        layout::{
            CELL_LEN, HEADER_LEN, Layout, Place, SEGMENT_LEN, SLAB_HEADER_LEN, SLAB_LEN,
            TICKET_LEN, word,
        },
        processes::set_patience,
    },
    witness::{DEFERRED, Keeper, LARGE, SMALL, look_afresh},
};

/// Words of the control file's header that have a meaning; the others are tried here and there.
const HEADER_USED: u64 = 16 * 8;

const ALL: [usize; 6] = [0, 1, 2, 3, 4, 5];

/// Those that are in one slab.
const TINY: [usize; 2] = [SMALL, 2];

/// A range of bytes, and which objects may be errors when one of them is another.
struct Range {
    what: &'static str,
    file: String,
    start: u64,
    len: u64,
    suffers: &'static [usize],
}

pub(crate) fn every_byte() -> Checked {
    let directory = directory()?;
    let options = config(directory.path());
    let layout = Layout::new(directory.path());
    let mut keeper = Keeper::start(&options)?;
    keeper.hold()?;
    let keys = keeper.keys.clone();
    // Whoever looks takes what it needs once, so that the counters stand still afterwards.
    look_afresh(&options, &keys)?.check_but(&[])?;
    let [
        Place::Segment(segment),
        Place::Cell { slab, .. },
        Place::Ticket { slab: tickets, .. },
    ] = [LARGE, SMALL, DEFERRED].map(|index| Place::of(&keys[index]).unwrap_or(Place::Segment(0)))
    else {
        return Err("the objects are not where they should be".into());
    };
    let header_at = |index: usize| -> Checked<u64> {
        let place = Layout::cell_header(Place::of(&keys[index])?);
        Ok(place.ok_or("it is in no cell")?.1)
    };
    let control = |what, start, len, suffers| Range {
        what,
        file: "control".to_owned(),
        start,
        len,
        suffers,
    };
    let slab_file = |what, slab, start, len, suffers| Range {
        what,
        file: format!("c{slab}"),
        start,
        len,
        suffers,
    };
    let ranges = [
        control("the header", 0, HEADER_LEN, &ALL),
        control(
            "a segment's record",
            Layout::segment_record(segment),
            SEGMENT_LEN,
            &[LARGE],
        ),
        control(
            "a slab's record",
            Layout::slab_record(slab),
            SLAB_LEN,
            &TINY,
        ),
        slab_file("a slab's header", slab, 0, SLAB_HEADER_LEN, &TINY),
        slab_file(
            "a cell's header",
            slab,
            header_at(SMALL)?,
            CELL_LEN,
            &[SMALL],
        ),
        slab_file(
            "a ticket",
            tickets,
            header_at(DEFERRED)?,
            TICKET_LEN,
            &[DEFERRED],
        ),
    ];
    let mut flipped = 0;
    for range in &ranges {
        for at in 0..range.len {
            let unused = range.len == HEADER_LEN && at >= HEADER_USED;
            if unused && at % 251 != 0 {
                continue;
            }
            set_patience(120);
            flip(&options, &layout, &mut keeper, range, at)
                .map_err(|error| format!("{}, byte {at}: {error}", range.what))?;
            flipped += 1;
        }
    }
    println!("{flipped} bytes were flipped");
    keeper.leave()
}

fn flip(options: &Config, layout: &Layout, keeper: &mut Keeper, range: &Range, at: u64) -> Checked {
    let file = layout.file(&range.file)?;
    let place = range.start + at;
    let start = place / 8 * 8;
    let before = word(&file, start)?;
    let mut changed = before.to_ne_bytes();
    changed[usize::try_from(place - start)?] ^= 1 << (at % 8);
    file.write_all_at(&changed, start)?;
    let seen = keeper.look();
    let afresh = look_afresh(options, &keeper.keys);
    file.write_all_at(&before.to_ne_bytes(), start)?;
    for view in [seen?, afresh?] {
        view.check_honest()?;
        if range.suffers != ALL {
            ensure!(view.joined, "nobody can join");
            view.check_but(range.suffers)?;
        }
    }
    // And when it is as before, nothing is left of it.
    keeper.look()?.check_but(&[])?;
    keeper.work()?;
    look_afresh(options, &keeper.keys)?.check_but(&[])
}
