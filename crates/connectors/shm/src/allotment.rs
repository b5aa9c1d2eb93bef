//! Memory that this process may take, of what all processes may.

use proxystore_limits::{Limit, Machine, Shortage};

use crate::membership::Membership;

/// Memory that may be taken: counted as this process's, and left to it by the others. What is not
/// kept is theirs again when this is dropped.
#[derive(Debug)]
pub(crate) struct Allotment<'a> {
    membership: &'a Membership,
    /// Bytes that are counted as this process's.
    counted: u64,
    /// Bytes that the system has not given yet.
    reserved: u64,
}

impl<'a> Allotment<'a> {
    /// Allots so many bytes, if the budget has room for them.
    pub(crate) fn within(
        budget: Option<u64>,
        membership: &'a Membership,
        needed: u64,
    ) -> Result<Self, Shortage> {
        // Counted first and looked at then: of two that are too much together, both notice.
        membership.add_bytes(needed.cast_signed());
        membership.add_reserved(needed.cast_signed());
        let allotment = Self {
            membership,
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
        Ok(allotment)
    }

    /// Whether the machine can spare the bytes; if so, bytes that may be taken beyond them without
    /// asking again soon.
    pub(crate) fn check(&self, machine: &Machine) -> Result<u64, Shortage> {
        let needed = self.counted;
        let reserved = self.membership.reserved().max(needed);
        machine
            .check(self.membership.path(), reserved)
            .map_err(|shortage| Shortage {
                needed,
                available: shortage.available.saturating_sub(reserved - needed),
                ..shortage
            })
    }

    /// Notes that the system has given some of it.
    pub(crate) fn given(&mut self, bytes: u64) {
        let bytes = bytes.min(self.reserved);
        self.reserved -= bytes;
        self.membership.add_reserved(-bytes.cast_signed());
    }

    /// Leaves it counted, as whoever gives the memory back counts it back.
    pub(crate) fn keep(mut self) {
        self.counted = 0;
    }
}

impl Drop for Allotment<'_> {
    fn drop(&mut self) {
        self.membership.add_reserved(-self.reserved.cast_signed());
        self.membership.add_bytes(-self.counted.cast_signed());
    }
}
