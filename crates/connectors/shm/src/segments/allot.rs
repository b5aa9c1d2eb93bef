//! Memory that puts may take, of what all processes may.

use std::time::{Duration, Instant};

use proxystore_limits::Shortage;

use super::Shared;
use crate::allotment::Allotment;

/// How long memory may be taken without asking again how much there is.
const ALLOWED: Duration = Duration::from_millis(100);

impl Shared {
    /// Allows so many bytes of memory to be taken, if nothing forbids it.
    pub(super) fn allot(
        &self,
        needed: u64,
        budget: Option<u64>,
    ) -> Result<Allotment<'_>, Shortage> {
        let allotment = Allotment::within(budget, &self.membership, needed)?;
        let now = Instant::now();
        if let Some((bytes, until)) = &mut self.kept.lock().allowance
            && *until > now
            && *bytes >= needed
        {
            *bytes -= needed;
            return Ok(allotment);
        }
        let beyond = allotment.check(&self.machine)?;
        self.kept.lock().allowance = Some((beyond, now + ALLOWED));
        Ok(allotment)
    }
}
