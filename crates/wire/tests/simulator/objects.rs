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
        Self {
            key: any_key(random),
            content: any_content(len, random),
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

/// An object that is replaced again and again, by anybody.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) key: ObjectKey,
    /// All that it will ever be.
    pub(crate) versions: Vec<Arc<Vec<u8>>>,
    /// Which of them somebody began to put.
    pub(crate) begun: Vec<bool>,
    /// When one was stored first.
    pub(crate) stored: Option<u64>,
}

impl Cell {
    pub(crate) fn new(lens: &[usize], random: &mut Random) -> Self {
        let versions = lens.iter().map(|&len| any_content(len, random));
        Self {
            versions: versions.collect(),
            begun: vec![false; lens.len()],
            key: any_key(random),
            stored: None,
        }
    }

    /// Whether these bytes are something that somebody put.
    pub(crate) fn may_be(&self, bytes: &[u8]) -> bool {
        let mut all = self.versions.iter().zip(&self.begun);
        all.any(|(version, begun)| *begun && version.as_slice() == bytes)
    }
}

fn any_key(random: &mut Random) -> ObjectKey {
    ObjectKey {
        id: random.bytes(),
        capability: random.bytes(),
    }
}

fn any_content(len: usize, random: &mut Random) -> Arc<Vec<u8>> {
    let mut content = random.bytes::<64>().to_vec();
    while content.len() < len {
        let more = content.len().min(len - content.len());
        content.extend_from_within(..more);
    }
    content.truncate(len);
    Arc::new(content)
}
