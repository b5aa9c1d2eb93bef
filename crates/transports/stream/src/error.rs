//! What goes wrong with a stream.

use std::{io, path::PathBuf};

use proxystore_core::{Error, ErrorKind};

use crate::secret::SecretError;

/// What goes wrong with a stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A name has no address.
    #[error("the name {host} cannot be resolved; check its spelling and this host's DNS")]
    Unresolved {
        /// The name.
        host: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// Nobody could be reached.
    #[error("no connection to {peer}: {source}")]
    Unreachable {
        /// Where the peer should be.
        peer: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The connection was lost.
    #[error("the connection to {peer} was lost: {source}")]
    Lost {
        /// The peer.
        peer: String,
        /// What shows it.
        source: io::Error,
    },
    /// One side does not trust the other.
    #[error("{peer} and this side do not trust each other: {}", reason(source))]
    Untrusted {
        /// The peer.
        peer: String,
        /// What TLS says.
        source: rustls::Error,
    },
    /// What is there does not speak TLS as this side does.
    #[error("{peer} does not speak TLS as this side does: {source}")]
    NoTls {
        /// The peer.
        peer: String,
        /// What TLS says.
        source: rustls::Error,
    },
    /// Certificates or keys that are none.
    #[error("{problem} (in {})", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// What TLS needs beside files.
    #[error("TLS cannot be used with {what}: {problem}")]
    Tls {
        /// What it is.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The shared runtime cannot be had.
    #[error(transparent)]
    Runtime(Error),
}

impl StreamError {
    /// What an error of a stream that was connected means.
    #[must_use]
    pub fn lost(peer: &str, source: io::Error) -> Self {
        Self::from_io(peer, source, |peer, source| Self::Lost { peer, source })
    }

    /// What an error while connecting means.
    #[must_use]
    pub(crate) fn unreachable(peer: &str, source: io::Error) -> Self {
        Self::from_io(peer, source, |peer, source| Self::Unreachable {
            peer,
            source,
        })
    }

    fn from_io(
        peer: &str,
        source: io::Error,
        otherwise: impl FnOnce(String, io::Error) -> Self,
    ) -> Self {
        let peer = peer.to_owned();
        let inner = source
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner.cloned() {
            Some(source) if is_about_trust(&source) => Self::Untrusted { peer, source },
            Some(source) => Self::NoTls { peer, source },
            None => otherwise(peer, source),
        }
    }
}

fn is_about_trust(error: &rustls::Error) -> bool {
    use rustls::{AlertDescription as Alert, Error as Tls};
    match error {
        Tls::InvalidCertificate(_)
        | Tls::NoCertificatesPresented
        | Tls::InvalidCertRevocationList(_) => true,
        Tls::AlertReceived(alert) => matches!(
            alert,
            Alert::AccessDenied
                | Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRequired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                // So a signature is called that does not fit, of an authority of the same name.
                | Alert::DecryptError
                | Alert::NoCertificate
                | Alert::UnknownCA
                | Alert::UnsupportedCertificate
        ),
        _ => false,
    }
}

/// Why one side does not trust the other, and what to do.
fn reason(error: &rustls::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error as Tls};
    let meaning = match error {
        Tls::InvalidCertificate(problem) => match problem {
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "its certificate is not valid yet; do the clocks differ?"
            }
            Certificate::UnknownIssuer | Certificate::BadSignature => {
                "its certificate is not signed by the authority that this side trusts"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "its certificate is for another host"
            }
            _ => "its certificate is not accepted",
        },
        Tls::NoCertificatesPresented => "it has shown no certificate",
        Tls::AlertReceived(alert) => match alert {
            Alert::CertificateExpired => {
                "it says that this side's certificate has expired, or is not valid yet"
            }
            Alert::UnknownCA | Alert::DecryptError => {
                "it does not know the authority that has signed this side's certificate"
            }
            Alert::CertificateRequired | Alert::NoCertificate => {
                "it demands a certificate of this side"
            }
            _ => "it does not accept this side's certificate",
        },
        _ => return error.to_string(),
    };
    format!("{meaning} ({error})")
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        let message = error.to_string();
        match error {
            StreamError::Unresolved { host, .. } => {
                Self::new(ErrorKind::Unavailable, message).with_peer(host)
            }
            StreamError::Unreachable { peer, source } | StreamError::Lost { peer, source } => {
                let kind = match source.kind() {
                    io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                    io::ErrorKind::TimedOut => ErrorKind::TimedOut,
                    _ => ErrorKind::Unavailable,
                };
                Self::new(kind, message).with_peer(peer)
            }
            StreamError::Untrusted { peer, .. } => {
                Self::new(ErrorKind::PermissionDenied, message).with_peer(peer)
            }
            StreamError::NoTls { peer, .. } => Self::new(ErrorKind::Unavailable, message)
                .with_retryable(false)
                .with_peer(peer),
            StreamError::Certificate { path, .. } => {
                Self::new(ErrorKind::InvalidConfig, message).with_path(path)
            }
            StreamError::Tls { .. } => Self::new(ErrorKind::InvalidConfig, message),
            StreamError::Secret(error) => error.into(),
            StreamError::Listen { address, source } => {
                let kind = match source.kind() {
                    io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                    io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => {
                        ErrorKind::Unavailable
                    }
                    _ => ErrorKind::Os,
                };
                Self::new(kind, message).with_peer(address)
            }
            StreamError::Runtime(error) => error,
        }
    }
}
