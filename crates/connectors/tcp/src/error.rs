//! What can go wrong in this connector, and how it is told.

use std::io;

use proxystore_core::{Error, ErrorKind, Key};

/// What can go wrong in this connector.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// It was closed before.
    #[error("the tcp connector is closed; open another one on the node")]
    Closed,
    /// The node that outlives this process did not start.
    #[error("{program} could not start a node: {said}")]
    Daemon {
        /// The program.
        program: String,
        /// What it said.
        said: String,
    },
    /// There is no program that starts nodes.
    #[error(
        "{program}, which starts nodes that outlive their process, cannot be run; install the \
         package's scripts, or name it in PROXYSTORE_NODE"
    )]
    NoProgram {
        /// The program.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A key that this connector does not make.
    #[error(
        "the key was not made by a tcp connector, whose keys are a host, a port and two numbers of \
         32 lower-case hexadecimal digits"
    )]
    InvalidKey {
        /// The key.
        key: Key,
    },
    /// A node that was asked or started failed, or could not be.
    #[error(transparent)]
    Node(#[from] Error),
    /// There were no random bytes.
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
}

impl From<TcpError> for Error {
    fn from(error: TcpError) -> Self {
        let message = error.to_string();
        match error {
            TcpError::Closed => Self::new(ErrorKind::Closed, message),
            TcpError::InvalidKey { key } => {
                Self::new(ErrorKind::InvalidKey, message).with_key(&key)
            }
            TcpError::Daemon { .. } => {
                Self::new(ErrorKind::Unavailable, message).with_retryable(false)
            }
            TcpError::NoProgram { source, .. } => {
                Self::new(ErrorKind::InvalidConfig, message).with_source(source)
            }
            TcpError::Node(error) => error,
            TcpError::Random(source) => Self::new(ErrorKind::Os, message).with_source(source),
        }
    }
}
