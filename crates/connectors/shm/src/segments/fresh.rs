//! How an object gets into a segment for which there is no memory yet.

use std::{io, path::Path};

use proxystore_core::Payload;
use proxystore_limits::{Limit, Shortage};

use super::{
    Shared, files,
    fill::Target,
    kept::Segment,
    protocol,
    put::{Draft, whole_pages},
};
use crate::{
    allotment::Allotment, config::Options, control::SEGMENTS, crash, error::ShmError,
    membership::Inode,
};

/// How many records are looked at before a new one is made.
const SEARCHED: u32 = 32;

/// Bytes of memory that the kernel needs for a file on a disk, its link, and what it writes at once.
const SPILLED: u64 = 64 << 10;

impl Shared {
    /// Writes an object into fresh memory, or to a disk where there is none.
    pub(super) fn take_fresh(
        &self,
        payload: &Payload<'_>,
        options: &Options,
    ) -> Result<Draft<'_>, ShmError> {
        let needed = whole_pages(payload.len() as u64);
        let mut allotment = self.allot(needed, options.budget);
        if allotment.is_err() && self.give_back_free() {
            allotment = self.allot(needed, options.budget);
        }
        let shortage = match allotment {
            Ok(allotment) => match self.fill_fresh(payload, allotment) {
                Err(ShmError::Os { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                    Shortage {
                        limit: Limit::FileSystem(self.membership.path().to_owned()),
                        needed,
                        available: 0,
                    }
                }
                outcome => return outcome,
            },
            Err(shortage) => shortage,
        };
        match &options.spill {
            Some(directory) => self.spill(payload, directory, &shortage),
            None => Err(shortage.into()),
        }
    }

    fn fill_fresh(
        &self,
        payload: &Payload<'_>,
        mut allotment: Allotment<'_>,
    ) -> Result<Draft<'_>, ShmError> {
        let membership = &self.membership;
        let path = membership.path();
        let mut draft = self.take_record()?;
        crash::point("segments.fresh.writing");
        let Some(segment) = &mut draft.segment else {
            return Ok(draft);
        };
        let file = files::create(membership, segment.number)?;
        crash::point("segments.fresh.created");
        let inode = Inode::of(&file).map_err(ShmError::os("looking at a segment", path))?;
        segment.inode = Some(inode);
        let target = Target::of_file(file);
        target
            .fill(payload, &mut |bytes| allotment.given(bytes))
            .map_err(ShmError::os("writing an object", path))?;
        crash::point("segments.fresh.written");
        segment.capacity = target
            .end_at_page()
            .map_err(ShmError::os("sizing a segment", path))?
            .unwrap_or(0);
        allotment.keep();
        Ok(draft)
    }

    /// Writes an object to a disk.
    fn spill(
        &self,
        payload: &Payload<'_>,
        directory: &Path,
        shortage: &Shortage,
    ) -> Result<Draft<'_>, ShmError> {
        // A file on a disk takes memory, too, which many small ones add up to.
        self.machine.check(self.membership.path(), SPILLED)?;
        let mut draft = self.take_record()?;
        let Some(segment) = &mut draft.segment else {
            return Ok(draft);
        };
        segment.spilled = true;
        tracing::debug!(%shortage, "an object is spilled");
        let file = files::create_spilled(
            &self.membership,
            directory,
            segment.number,
            segment.generation,
        )?;
        let outcome = Target::of_file(file).fill(payload, &mut |_| {});
        crash::point("segments.spill.written");
        match outcome {
            Ok(()) => Ok(draft),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(ShmError::Full {
                reason: format!(
                    "{shortage}, which is {} and has no room for it either",
                    directory.display()
                ),
            }),
            Err(error) => Err(ShmError::os("writing a spilled object", directory)(error)),
        }
    }

    /// A record with nothing behind it, to write an object of its next generation for.
    fn take_record(&self) -> Result<Draft<'_>, ShmError> {
        let control = self.membership.control();
        let path = self.membership.path();
        loop {
            let spare = self.kept.lock().spare.pop();
            let Some(number) = spare else {
                break;
            };
            if let Some(draft) = self.take_absent(number) {
                return Ok(draft);
            }
        }
        let mut searched = {
            let mut kept = self.kept.lock();
            let end = control.segments_end();
            let start = if kept.searched < end {
                kept.searched
            } else {
                0
            };
            kept.searched = start.saturating_add(SEARCHED);
            start..kept.searched.min(end)
        };
        if let Some(draft) = searched.find_map(|number| self.take_absent(number)) {
            return Ok(draft);
        }
        while let Some(number) = control.new_segment(path)? {
            if let Some(draft) = self.take_absent(number) {
                return Ok(draft);
            }
        }
        let mut all = 0..control.segments_end();
        all.find_map(|number| self.take_absent(number))
            .ok_or_else(|| ShmError::Full {
                reason: format!("the namespace holds {SEGMENTS} objects already; evict some"),
            })
    }

    fn take_absent(&self, number: u32) -> Option<Draft<'_>> {
        let record = self.record(number)?;
        let generation = protocol::take_absent(&record, self.membership.id())?;
        Some(Draft {
            shared: self,
            segment: Some(Segment {
                number,
                generation,
                capacity: 0,
                spilled: false,
                mapped: None,
                inode: None,
            }),
        })
    }
}
