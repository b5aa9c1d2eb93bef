//! What can go wrong in this connector, and how it is told.

use std::{
    io,
    path::{Path, PathBuf},
};

use proxystore_core::{Error, ErrorKind, Key};

use crate::marker::MarkerError;

/// What can go wrong in this connector.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It was closed before.
    #[error("the file connector is closed; open another one on the directory")]
    Closed {
        /// The connector's directory.
        path: PathBuf,
    },
    /// An object is not what was put.
    #[error("the object is damaged: {problem}")]
    Corrupted {
        /// The object's key.
        key: Key,
        /// The file that shows it.
        path: PathBuf,
        /// What is wrong with it.
        problem: Mismatch,
    },
    /// A key that this connector does not make.
    #[error("the key was not made by a file connector, whose keys are one lower-case UUID")]
    InvalidKey {
        /// The key.
        key: Key,
    },
    /// Somebody holds the directory's lock.
    #[error("another process keeps the directory locked; try again, or see what lslocks(8) shows")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{action} failed")]
    Os {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// An object is replaced faster than it can be opened.
    #[error("the object was replaced each time it was about to be read; try again")]
    Replaced {
        /// The object's key.
        key: Key,
        /// Its data file.
        path: PathBuf,
    },
}

/// How an object differs from what its marker says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The bytes are not those that were put.
    #[error("its bytes have changed since it was put")]
    Checksum,
    /// Somebody writes to the file.
    #[error("its file changes while it is read")]
    InUse,
    /// The data file is another one.
    #[error("its file was replaced from outside")]
    Inode,
    /// The data file has another length.
    #[error("its file has {found} bytes and should have {expected}")]
    Length {
        /// As the marker says.
        expected: u64,
        /// As the file system says.
        found: u64,
    },
    /// The marker is no record.
    #[error(transparent)]
    Marker(#[from] MarkerError),
    /// There is a marker and no data file.
    #[error("its file is gone")]
    Missing,
    /// The data is no file.
    #[error("it is not a regular file")]
    NotAFile,
}

impl FileError {
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
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        let message = error.to_string();
        match error {
            FileError::Closed { path } => Self::new(ErrorKind::Closed, message).with_path(path),
            FileError::Corrupted { key, path, problem } => {
                let (kind, message) = match problem {
                    Mismatch::Marker(MarkerError::TooNew { .. }) => (
                        ErrorKind::Unsupported,
                        format!("the object cannot be read: {problem}"),
                    ),
                    _ => (
                        ErrorKind::Corrupted,
                        format!("{message}; evict it and put it again"),
                    ),
                };
                Self::new(kind, message).with_key(&key).with_path(path)
            }
            FileError::InvalidKey { key } => {
                Self::new(ErrorKind::InvalidKey, message).with_key(&key)
            }
            FileError::Locked { path } => Self::new(ErrorKind::TimedOut, message).with_path(path),
            FileError::Os {
                action,
                path,
                source,
            } => {
                let message = match source.kind() {
                    io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge => format!(
                        "there is no room for the object: {action} failed; nothing of it was \
                         kept; make room or use another store_dir"
                    ),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                        format!("{action} is not permitted; check who owns store_dir and its mode")
                    }
                    io::ErrorKind::NotFound => {
                        format!(
                            "{action} failed, as the directory is gone; open the connector again"
                        )
                    }
                    _ => message,
                };
                Self::from_io(message, source).with_path(path)
            }
            FileError::Replaced { key, path } => Self::new(ErrorKind::Unavailable, message)
                .with_key(&key)
                .with_path(path),
        }
    }
}
