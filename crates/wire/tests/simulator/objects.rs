//! What the operations are about, and what is known of it.

use std::sync::Arc;

use proxystore_wire::ObjectKey;

use crate::random::Random;

/// An object that is put once, by one client, and what everybody may see of it.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: ObjectKey,
    pub(crate) content: Arc<Vec<u8>>,
    /// When its put was answered with success.
    pub(crate) stored: Option<u64>,
    /// When its put failed or was given up.
    pub(crate) failed: Option<u64>,
    /// When an evict of it began first, and when one ended first.
    pub(crate) evict_begun: Option<u64>,
    pub(crate) evicted: Option<u64>,
}

impl Object {
    pub(crate) fn new(len: usize, random: &mut Random) -> Self {
        let mut content = random.bytes::<64>().to_vec();
        while content.len() < len {
            let more = content.len().min(len - content.len());
            content.extend_from_within(..more);
        }
        content.truncate(len);
        Self {
            key: ObjectKey {
                id: random.bytes(),
                capability: random.bytes(),
            },
            content: Arc::new(content),
            stored: None,
            failed: None,
            evict_begun: None,
            evicted: None,
        }
    }

    /// Whether a read that began at `begun` and ends now had to find it.
    pub(crate) fn must_be_there(&self, begun: u64) -> bool {
        self.stored.is_some_and(|stored| stored < begun) && self.evict_begun.is_none()
    }

    /// Whether a read that began at `begun` must not have found it.
    pub(crate) fn must_be_gone(&self, begun: u64) -> bool {
        self.evicted.is_some_and(|evicted| evicted < begun)
    }
}
