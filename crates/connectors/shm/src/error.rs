//! What can go wrong in this connector, and how it is told.

use std::{
    io,
    path::{Path, PathBuf},
};

use proxystore_core::{Error, ErrorKind, Key};
use proxystore_limits::Shortage;

use crate::word::DamagedWord;

/// What can go wrong in this connector.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShmError {
    /// It was closed before.
    #[error("the shared-memory connector is closed; open another one")]
    Closed,
    /// Other processes keep it from being joined.
    #[error("the namespace cannot be joined at present: {reason}")]
    Busy { path: PathBuf, reason: &'static str },
    /// An object, or what processes know of it, is not what was written.
    #[error("the object is damaged: {problem}; evict it and put it again")]
    Corrupted { problem: &'static str },
    /// A file is not what this connector makes.
    #[error(
        "the file was not made by this version of the shared-memory connector: {problem}; move it away or use another namespace"
    )]
    Foreign {
        path: PathBuf,
        problem: &'static str,
    },
    /// A key that this connector does not make.
    #[error("the key was not made by a shared-memory connector")]
    InvalidKey { key: Key },
    /// A key that stands for an object already, or for a deferred one that has been given up.
    #[error("the key was not made by new_key(), or its namespace has been cleared since")]
    NotDeferred,
    /// A key of another namespace than the one that is there.
    #[error("the object is out of reach: {reason}")]
    Elsewhere { reason: String },
    /// There is no room.
    #[error("there is no room for the object: {reason}")]
    Full { reason: String },
    /// The directory cannot be trusted.
    #[error("the directory cannot be trusted: {problem}")]
    Insecure { path: PathBuf, problem: String },
    /// There is no file system in memory at the usual place.
    #[error("there is no /dev/shm; name a directory on a tmpfs with the option directory=")]
    NoSharedMemory,
    /// The directory is on a disk.
    #[error(
        "the directory is not in memory; name one on a tmpfs, as /dev/shm is, with the option directory="
    )]
    NotMemory { path: PathBuf },
    /// The operating system has no memory, or no mappings, left for this process.
    #[error(
        "the system refuses this process both a view and a copy of the object's {len} bytes; drop objects that it holds, or raise vm.max_map_count, the limit of its address space, or what vm.overcommit_memory allows"
    )]
    OutOfMemory { len: u64, source: io::Error },
    /// The operating system refused.
    #[error("{action} failed")]
    Os {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Somebody has removed the namespace.
    #[error(
        "the directory of the namespace was removed while this process used it (systemd does so when its user logs out, unless RemoveIPC=no); open another connector"
    )]
    Removed { path: PathBuf },
}

impl ShmError {
    /// Names what was tried and with which file; for `map_err`.
    pub(crate) fn os<E: Into<io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Os {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn insecure(path: &Path, problem: impl Into<String>) -> Self {
        Self::Insecure {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    pub(crate) fn removed(path: &Path) -> Self {
        Self::Removed {
            path: path.to_owned(),
        }
    }

    pub(crate) fn foreign(path: &Path, problem: &'static str) -> Self {
        Self::Foreign {
            path: path.to_owned(),
            problem,
        }
    }
}

impl From<DamagedWord> for ShmError {
    fn from(_: DamagedWord) -> Self {
        Self::Corrupted {
            problem: "what is known of its place is no state that processes leave",
        }
    }
}

impl From<Shortage> for ShmError {
    fn from(shortage: Shortage) -> Self {
        Self::Full {
            reason: shortage.to_string(),
        }
    }
}

impl From<ShmError> for Error {
    fn from(error: ShmError) -> Self {
        let message = error.to_string();
        match error {
            ShmError::Closed => Self::new(ErrorKind::Closed, message),
            ShmError::Busy { path, .. } => {
                Self::new(ErrorKind::Unavailable, message).with_path(path)
            }
            ShmError::Corrupted { .. } => Self::new(ErrorKind::Corrupted, message),
            ShmError::Foreign { path, .. } => {
                Self::new(ErrorKind::Corrupted, message).with_path(path)
            }
            ShmError::InvalidKey { key } => {
                Self::new(ErrorKind::InvalidKey, message).with_key(&key)
            }
            ShmError::NotDeferred => Self::new(ErrorKind::InvalidKey, message),
            ShmError::Elsewhere { .. } => {
                Self::new(ErrorKind::Unavailable, message).with_retryable(false)
            }
            ShmError::Full { .. } => Self::new(ErrorKind::StorageFull, message),
            ShmError::Insecure { path, .. } => {
                Self::new(ErrorKind::PermissionDenied, message).with_path(path)
            }
            ShmError::OutOfMemory { source, .. } => Self::from_io(message, source),
            ShmError::NoSharedMemory => Self::new(ErrorKind::InvalidConfig, message),
            ShmError::NotMemory { path } => {
                Self::new(ErrorKind::InvalidConfig, message).with_path(path)
            }
            ShmError::Removed { path } => Self::new(ErrorKind::Unavailable, message)
                .with_retryable(false)
                .with_path(path),
            ShmError::Os { source, path, .. } => Self::from_io(message, source).with_path(path),
        }
    }
}
