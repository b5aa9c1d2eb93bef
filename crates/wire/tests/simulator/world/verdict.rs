//! What must hold.

use proxystore_wire::Violation;

use super::{Line, Trouble, World};
use crate::objects::Object;

impl World {
    /// Peers that keep to the protocol accuse each other of nothing, unless the clock jumps or bits
    /// flip.
    pub(super) fn check_violations(&mut self, line: &Line) {
        for violation in [line.client.violation, line.node.violation]
            .into_iter()
            .flatten()
        {
            let is_silent = matches!(violation, Violation::Silent(_));
            self.shared.tally.silent += u64::from(is_silent);
            let flips = self.trouble == Trouble::Flips;
            let jumps = matches!(self.trouble, Trouble::Jumps | Trouble::Everything);
            assert!(flips || (is_silent && jumps), "{violation}");
        }
        let refused = line.client.refused.is_some() || line.node.refused.is_some();
        assert!(
            !refused || self.trouble == Trouble::Flips,
            "a handshake failed"
        );
    }

    /// What was put is there, what was not is not, and nothing is held for nobody.
    pub(super) fn check_the_end(&mut self) {
        for line in &mut self.lines {
            line.node.lose(&mut self.storage);
        }
        for Object {
            key,
            content,
            stored,
            failed,
            evict_begun,
            evicted,
        } in &self.shared.objects
        {
            let held = self.storage.holds(key);
            if let Some(bytes) = held {
                assert!(bytes == content.as_slice(), "the node holds other bytes");
            }
            assert!(stored.is_none() || failed.is_none());
            assert!(stored.is_some() || failed.is_some(), "a put never ended");
            assert!(
                failed.is_none() || held.is_none(),
                "something stayed of a put that failed"
            );
            assert!(
                evicted.is_none() || held.is_none(),
                "something stayed of an evicted object"
            );
            if stored.is_some() && evict_begun.is_none() {
                assert!(held.is_some(), "an object is gone");
            }
        }
        for cell in &self.shared.cells {
            let held = self.storage.holds(&cell.key);
            assert!(
                held.is_none_or(|bytes| cell.may_be(bytes)),
                "the node holds what nobody put"
            );
            assert!(held.is_some() || cell.stored.is_none(), "an object is gone");
        }
        let (used, objects) = self.storage.usage();
        assert_eq!(used, objects, "room is reserved for nobody");
        // Attackers may have put something of their own.
        if self.trouble != Trouble::Attacks && self.trouble != Trouble::Everything {
            assert!(self.storage.len() <= self.shared.objects.len() + self.shared.cells.len());
        }
    }
}
