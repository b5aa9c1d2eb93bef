//! What the segments of a namespace take.

use std::sync::atomic::Ordering;

use super::{Segments, object::Object, protocol};
use crate::{
    membership::MemberId,
    report::Usage,
    word::{Phase, State},
};

impl Segments {
    /// What there is at present, told with its owner, segment by segment.
    pub(crate) fn usage(&self, mut tell: impl FnMut(MemberId, Usage)) {
        let control = self.shared.membership.control();
        for number in 0..control.segments_end() {
            let Some(record) = self.shared.record(number) else {
                break;
            };
            // What cannot be read is no object.
            let Ok(state) = State::from_word(record.state.load(Ordering::Acquire)) else {
                continue;
            };
            let fields = protocol::load_fields(&record);
            let owner = MemberId(record.owner.load(Ordering::Acquire));
            let usage = match state.phase {
                Phase::Absent => continue,
                Phase::Free | Phase::Writing => Usage {
                    free: fields.capacity,
                    ..Usage::default()
                },
                Phase::Live => match Object::from_fields(&fields, state.generation) {
                    Ok(object) if object.spilled => Usage {
                        objects: 1,
                        spilled: object.len,
                        ..Usage::default()
                    },
                    Ok(object) => Usage {
                        objects: 1,
                        bytes: object.len,
                        ..Usage::default()
                    },
                    Err(_) => continue,
                },
            };
            tell(owner, usage);
        }
    }
}
