//! Holding on to segments, and seeing who does.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{MemberId, Membership, Standing, pins, pins::Counts, slots};
use crate::error::ShmError;

/// Another process's pins.
#[derive(Debug)]
pub(super) struct Other {
    member: MemberId,
    counts: Counts,
}

impl Membership {
    /// Makes sure that a segment is not used for another object while the pin is held, if its state
    /// is looked at *after* this returns and still says that the object is there. The pin is
    /// ordered before whatever the caller loads next.
    pub(crate) fn pin(self: &Arc<Self>, segment: u32) -> Result<Pin, ShmError> {
        self.as_member(|own| {
            let pins = &own.seat.pins;
            pins.reserve(segment, self.path())?;
            if let Some(word) = pins.count(segment) {
                pins::hold(word, self.mirror.add(segment).into());
            }
            Ok(())
        })?;
        Ok(Pin {
            membership: Arc::clone(self),
            segment,
        })
    }

    fn unpin(&self, segment: u32) {
        let standing = self.standing.lock();
        let count = self.mirror.take(segment);
        if let Standing::Member(own) = &*standing
            && let Some(word) = own.seat.pins.count(segment)
        {
            pins::let_go(word, count.into());
        }
    }

    /// Whether any living process pins a segment; ordered after whatever the caller stored before.
    pub(crate) fn is_pinned(&self, segment: u32) -> bool {
        pins::before_look::<AtomicU64>();
        if self.mirror.count(segment) > 0 {
            return true;
        }
        let this = self.id();
        let mut others = self.others.lock();
        for member in slots::members(&self.control) {
            if member == this {
                continue;
            }
            let slot = member.slot() as usize;
            if others.len() <= slot {
                others.resize_with(slot + 1, || None);
            }
            if others[slot]
                .as_ref()
                .is_none_or(|other| other.member != member)
            {
                match self.look_at(member) {
                    Look::Counts(counts) => others[slot] = Some(Other { member, counts }),
                    Look::Gone => continue,
                    Look::Unknown => return true,
                }
            }
            let held = others[slot]
                .as_ref()
                .is_some_and(|other| other.counts.is_held(segment));
            if held {
                if self.is_alive(member) {
                    return true;
                }
                self.saw_dead.store(true, Ordering::Relaxed);
            }
        }
        false
    }

    /// Maps a member's pins.
    pub(super) fn look_at(&self, member: MemberId) -> Look {
        let gone_or = |look| {
            if slots::is_current(&self.control, member) {
                look
            } else {
                Look::Gone
            }
        };
        let name = slots::pins_name(member.slot());
        let Ok(Some(file)) = self.directory.open(&name, true) else {
            return gone_or(Look::Unknown);
        };
        match Counts::open(&file) {
            Ok(Some(counts)) => {
                if MemberId::new(member.slot(), counts.incarnation()) == member {
                    Look::Counts(counts)
                } else {
                    gone_or(Look::Unknown)
                }
            }
            Ok(None) | Err(_) => gone_or(Look::Unknown),
        }
    }
}

/// What there is to see of another process's pins.
pub(super) enum Look {
    Counts(Counts),
    /// It is no member any more.
    Gone,
    /// It is one, but its pins cannot be seen.
    Unknown,
}

/// Keeps one segment from being used for another object.
#[derive(Debug)]
pub(crate) struct Pin {
    membership: Arc<Membership>,
    segment: u32,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.membership.unpin(self.segment);
    }
}
