//! Namespaces' identifiers: random, and telling where they were made.
//!
//! | bits | content |
//! |---|---|
//! | 55 to 62 | a digest of the host, which changes when it is started again |
//! | 48 to 54 | a digest of the mounted file system |
//! | 0 to 47 | random |

use std::{fs, io};

use super::{
    Membership,
    directory::{Directory, Missing},
    entry,
};
use crate::error::ShmError;

const RANDOM_BITS: u32 = 48;
const MOUNT_BITS: u32 = 7;
const HOST_BITS: u32 = 8;

/// A new identifier, never zero.
pub(super) fn new(directory: &Directory) -> Result<u64, ShmError> {
    let random = random(directory)? >> (u64::BITS - RANDOM_BITS);
    Ok(fingerprint(directory)? << RANDOM_BITS | random.max(1))
}

/// A random number, for something in a directory.
pub(super) fn random(directory: &Directory) -> Result<u64, ShmError> {
    getrandom::u64()
        .map_err(io::Error::other)
        .map_err(ShmError::os("drawing a random number", directory.path()))
}

/// Where a namespace of another identifier is, as far as the two tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    OtherHost,
    OtherMount,
    /// On this host and in this file system: of another name, or gone.
    Here,
}

/// Where the namespace `other` was made, as seen from the namespace `this`.
pub(super) const fn whereabouts(this: u64, other: u64) -> Whereabouts {
    let differing = (this ^ other) >> RANDOM_BITS;
    if differing >> MOUNT_BITS != 0 {
        Whereabouts::OtherHost
    } else if differing != 0 {
        Whereabouts::OtherMount
    } else {
        Whereabouts::Here
    }
}

fn fingerprint(directory: &Directory) -> Result<u64, ShmError> {
    // Without /proc, the host's name is the next best.
    let host = fs::read("/proc/sys/kernel/random/boot_id")
        .unwrap_or_else(|_| fs::read("/etc/hostname").unwrap_or_default());
    let mount: Vec<u8> = directory
        .mount()?
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let digest = |bytes: &[u8], bits| twox_hash::XxHash3_64::oneshot(bytes) >> (u64::BITS - bits);
    Ok(digest(&host, HOST_BITS) << MOUNT_BITS | digest(&mount, MOUNT_BITS))
}

impl Membership {
    /// Refuses the identifier of another namespace, and says why it differs.
    pub(crate) fn check_id(&self, id: u64) -> Result<(), ShmError> {
        let this = self.control.id();
        if id == this {
            return Ok(());
        }
        if !self.directory.is_there() {
            return Err(ShmError::removed(self.path()));
        }
        let reason = match whereabouts(this, id) {
            Whereabouts::OtherHost => {
                "it was put on another host, or before this one was started again; objects in \
                 shared memory stay on their host"
                    .to_owned()
            }
            Whereabouts::OtherMount => {
                "it was put into another /dev/shm of this host, as every container has one of its \
                 own; let the containers share one (--ipc=host, or a volume of type tmpfs)"
                    .to_owned()
            }
            Whereabouts::Here => match self.sibling(id) {
                Some(name) => {
                    format!(
                        "it is in the namespace {name:?}; open a connector with namespace={name:?}"
                    )
                }
                None => format!(
                    "its namespace has ended, as no process has used it for longer than hold=, or \
                     is not in {}; the namespace there was made anew or is another one",
                    self.path().display()
                ),
            },
        };
        Err(ShmError::Elsewhere { reason })
    }

    /// The name of the namespace with this identifier, if it is beside this one.
    fn sibling(&self, id: u64) -> Option<String> {
        let base = Directory::base(self.path().parent()?, Missing::Left).ok()??;
        base.names().ok()?.into_iter().find(|name| {
            let directory = base.inner(name, Missing::Left).ok().flatten();
            let control = directory.and_then(|directory| entry::open_control(&directory).ok()?);
            control.is_some_and(|control| control.id() == id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whereabouts_are_told_from_the_upper_bits() {
        let this = 0x1234_5678_9abc_def0;
        assert_eq!(whereabouts(this, this ^ 1), Whereabouts::Here);
        assert_eq!(whereabouts(this, this ^ (1 << 47)), Whereabouts::Here);
        assert_eq!(whereabouts(this, this ^ (1 << 48)), Whereabouts::OtherMount);
        assert_eq!(whereabouts(this, this ^ (1 << 54)), Whereabouts::OtherMount);
        assert_eq!(whereabouts(this, this ^ (1 << 55)), Whereabouts::OtherHost);
        let both = this ^ (1 << 62) ^ (1 << 50) ^ 3;
        assert_eq!(whereabouts(this, both), Whereabouts::OtherHost);
    }
}
