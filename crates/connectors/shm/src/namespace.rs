//! One process's share of a namespace.

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use crate::{
    config::Options,
    crash,
    error::ShmError,
    membership::{Directory, Inode, Leaving, Membership, Missing},
    registry,
    segments::Segments,
    slabs::Slabs,
};

/// Milliseconds after which a process that lives has let a deferred key name what it put for it.
const SETTING: u64 = 60_000;

/// A namespace as this process uses it. All connectors over it share one.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) membership: Arc<Membership>,
    pub(crate) segments: Segments,
    pub(crate) slabs: Slabs,
}

impl Namespace {
    /// Joins the namespace that the options name, and puts away what dead processes left.
    pub(crate) fn join(options: &Options) -> Result<Arc<Self>, ShmError> {
        let there = Directory::namespace(&options.directory(), &options.namespace, Missing::Left)?;
        let there = there.map(|directory| directory.inode()).transpose()?;
        let namespace = registry::join(there, || Self::new(Membership::join(options)?))?;
        namespace.membership.raise_hold(options);
        namespace.membership.touch();
        namespace.segments.follow(options);
        namespace.adopt();
        Ok(namespace)
    }

    /// Joins a namespace only to look after it; none if there is none.
    pub(crate) fn join_to_tend(base: &Path, name: &str) -> Result<Option<Arc<Self>>, ShmError> {
        let Some(directory) = Directory::namespace(base, name, Missing::Left)? else {
            return Ok(None);
        };
        let there = Some(directory.inode()?);
        if let Some(namespace) = registry::find(there) {
            return Ok(Some(namespace));
        }
        let joined = Membership::join_to_tend(base, name)?;
        Ok(joined.map(|membership| Arc::new(Self::around(membership))))
    }

    fn new(membership: Arc<Membership>) -> Result<(Inode, Arc<Self>), ShmError> {
        let inode = membership.directory().inode()?;
        Ok((inode, Arc::new(Self::around(membership))))
    }

    /// What there is in a namespace.
    pub(crate) fn around(membership: Arc<Membership>) -> Self {
        Self {
            segments: Segments::new(Arc::clone(&membership)),
            slabs: Slabs::new(Arc::clone(&membership)),
            membership,
        }
    }

    /// Makes sure, before an operation, that this process is a member, also after a fork, and puts
    /// away what the dead left that were met. Costs next to nothing when there is nothing to do.
    /// `this` is asked for itself only after a fork.
    pub(crate) fn tend(&self, this: impl FnOnce() -> Arc<Self>) -> Result<(), ShmError> {
        if self.membership.is_inherited() {
            // A child that was not told of the fork: the registry does not know its namespaces.
            registry::keep(&this())?;
        }
        self.membership.check()?;
        if self.membership.take_notice() {
            self.adopt();
        }
        Ok(())
    }

    /// Takes over what dead processes left, and says how many these were. What cannot be taken over
    /// now is left to the next.
    pub(crate) fn adopt(&self) -> usize {
        let mut adopted = 0;
        if let Err(error) = self.membership.clear_drafts() {
            self.warn(&error);
        }
        for grave in self.membership.graves() {
            let outcome = grave.and_then(|grave| {
                if let Some(dead) = grave.member {
                    crash::point("adopt.begun");
                    self.remove_orphans(dead)?;
                    self.segments.adopt(dead)?;
                    crash::point("adopt.segments");
                    self.slabs.adopt(dead)?;
                    crash::point("adopt.slabs");
                }
                self.membership.close_grave(grave)
            });
            match outcome {
                Ok(()) => adopted += 1,
                Err(error) => self.warn(&error),
            }
        }
        if adopted > 0
            && let Err(error) = self.remove_replaced(SETTING)
        {
            self.warn(&error);
        }
        adopted
    }

    fn warn(&self, error: &ShmError) {
        let path = self.membership.path().display();
        tracing::warn!(%path, %error, "what a dead process left was not put away");
    }

    /// Refuses the identifier of another namespace, and says why it differs.
    pub(crate) fn check_id(&self, id: u64) -> Result<(), ShmError> {
        self.membership.check_id(id)
    }

    /// The random number that keys of this namespace carry.
    pub(crate) fn id(&self) -> u64 {
        self.membership.control().id()
    }

    /// Evicts every object.
    pub(crate) fn clear(&self) -> Result<(), ShmError> {
        let segments = self.segments.clear();
        self.slabs.clear().and(segments)
    }

    /// Leaves while the process exits.
    pub(crate) fn leave_at_exit(&self) {
        self.give_back();
        self.membership.leave(Leaving::Exits);
    }

    /// Gives the memory back that this process keeps for its next puts.
    fn give_back(&self) {
        let given_back = self.segments.leave().and_then(|()| self.slabs.leave());
        if let Err(error) = given_back {
            let path = self.membership.path().display();
            tracing::debug!(%path, %error, "memory is left to be freed by others");
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A child that has not used it since the fork has nothing in it.
        if !self.membership.is_inherited() {
            self.give_back();
            self.membership.give_up();
        }
    }
}
