//! Mappings of segments that were copied from lately.
//!
//! A producer that uses its segments again puts one object after the other into the same memory.
//! Who copies them out with a mapping of its own that it keeps pays for the pages once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{mapped::Mapped, membership::Inode};

/// How many are kept: each may keep the memory of a segment whose owner has given it up.
const COUNT: usize = 4;
const IDLE: Duration = Duration::from_secs(2);

/// The mappings of this process.
#[derive(Debug, Default)]
pub(crate) struct Sources(Vec<Source>);

#[derive(Debug)]
struct Source {
    inode: Inode,
    mapped: Arc<Mapped>,
    used: Instant,
}

impl Sources {
    /// The mapping of a file, if there is one of at least `len` bytes.
    pub(crate) fn find(&mut self, inode: Inode, len: usize) -> Option<Arc<Mapped>> {
        let mut sources = self.0.iter_mut();
        let source = sources.find(|source| source.inode == inode && source.mapped.len() >= len)?;
        source.used = Instant::now();
        Some(Arc::clone(&source.mapped))
    }

    /// Keeps a mapping, in place of the file's last one or of the one that was not used for longest.
    pub(crate) fn insert(&mut self, inode: Inode, mapped: Arc<Mapped>) {
        self.0.retain(|source| source.inode != inode);
        while self.0.len() >= COUNT {
            let oldest = (0..self.0.len()).min_by_key(|&index| self.0[index].used);
            self.0.swap_remove(oldest.unwrap_or(0));
        }
        self.0.push(Source {
            inode,
            mapped,
            used: Instant::now(),
        });
    }

    /// Gives up those that were not used lately, and returns whether any are left.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        self.0.retain(|source| source.used + IDLE > now);
        !self.0.is_empty()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives up all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
