//! Memory that puts may take, of what all processes may.

use std::time::{Duration, Instant};

use super::Shared;
use crate::limits::{Limit, Shortage};

/// How long memory may be taken without asking again how much there is.
const ALLOWED: Duration = Duration::from_millis(100);

/// Memory that may be taken, and is counted as taken, unless it is dropped.
pub(super) struct Allotment<'a> {
    shared: &'a Shared,
    /// Bytes that are counted as this process's.
    counted: u64,
    /// Bytes that the system has not given yet.
    reserved: u64,
}

impl Allotment<'_> {
    /// Notes that the system has given some of it.
    pub(super) fn given(&mut self, bytes: u64) {
        let bytes = bytes.min(self.reserved);
        self.reserved -= bytes;
        self.shared.membership.add_reserved(-bytes.cast_signed());
    }

    /// Leaves it counted, as somebody else counts it back.
    pub(super) fn keep(mut self) {
        self.counted = 0;
    }
}

impl Drop for Allotment<'_> {
    fn drop(&mut self) {
        let membership = &self.shared.membership;
        membership.add_reserved(-self.reserved.cast_signed());
        membership.add_bytes(-self.counted.cast_signed());
    }
}

impl Shared {
    /// Allows so many bytes of memory to be taken, if nothing forbids it.
    pub(super) fn allot(
        &self,
        needed: u64,
        budget: Option<u64>,
    ) -> Result<Allotment<'_>, Shortage> {
        let membership = &self.membership;
        // Counted first and looked at then: of two that are too much together, both notice.
        membership.add_bytes(needed.cast_signed());
        membership.add_reserved(needed.cast_signed());
        let allotment = Allotment {
            shared: self,
            counted: needed,
            reserved: needed,
        };
        if let Some(budget) = budget {
            let used = membership.bytes().saturating_sub(needed);
            if used.saturating_add(needed) > budget {
                return Err(Shortage {
                    limit: Limit::Budget(budget),
                    needed,
                    available: budget.saturating_sub(used),
                });
            }
        }
        let now = Instant::now();
        if let Some((bytes, until)) = &mut self.kept.lock().allowance
            && *until > now
            && *bytes >= needed
        {
            *bytes -= needed;
            return Ok(allotment);
        }
        let reserved = membership.reserved().max(needed);
        match self.machine.check(membership.path(), reserved) {
            Ok(beyond) => {
                self.kept.lock().allowance = Some((beyond, now + ALLOWED));
                Ok(allotment)
            }
            Err(shortage) => Err(Shortage {
                needed,
                available: shortage.available.saturating_sub(reserved - needed),
                ..shortage
            }),
        }
    }
}
