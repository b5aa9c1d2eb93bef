//! What the slabs of a namespace take.

use super::{Slabs, slab::Slab};
use crate::{membership::MemberId, report::Usage};

impl Slabs {
    /// What there is at present, told with its owner, slab by slab.
    pub(crate) fn usage(&self, mut tell: impl FnMut(MemberId, Usage)) {
        for number in self.numbers() {
            // What cannot be opened now, or is damaged, holds nothing that could be had.
            let Ok(Some(slab)) = Slab::open(&self.membership, number) else {
                continue;
            };
            let mut usage = Usage::default();
            let objects =
                (0..slab.cells()).filter_map(|index| slab.cell(index)?.describe().ok().flatten());
            for object in objects {
                usage.objects += 1;
                usage.bytes += object.len as u64;
            }
            usage.free = (slab.len() as u64).saturating_sub(usage.bytes);
            let is_in_use = usage.objects > 0 || slab.tally(|_| ()).used > 0;
            if is_in_use {
                // Cells without objects go with the slab.
                usage.free = 0;
            }
            tell(self.owner(number).unwrap_or(MemberId::NOBODY), usage);
        }
    }
}
