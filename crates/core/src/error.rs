//! The one public error.

use std::{
    borrow::Cow,
    error::Error as StdError,
    fmt, io,
    path::{Path, PathBuf},
};

use crate::key::Key;

/// What most functions here return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed: what kind of failure, whether trying again may help, where it happened,
/// and what caused it.
///
/// Ask it ([`kind`](Self::kind), [`is_retryable`](Self::is_retryable),
/// [`os_error`](Self::os_error)); its text is for people and may change. `Display` is one line,
/// `Debug` the long report with all context and causes.
///
/// It is opaque so that connectors can add causes and context without breaking anyone who matches.
/// A connector keeps a private enum of what can go wrong in it and converts that in one place.
pub struct Error(Box<Report>);

struct Report {
    kind: ErrorKind,
    retryable: bool,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    path: Option<PathBuf>,
    os_error: Option<i32>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The connector was closed before.
    Closed,
    /// The object is not what was put.
    Corrupted,
    /// A defect of this library.
    Internal,
    /// An option is missing, unknown, or of the wrong type or value.
    InvalidConfig,
    /// The key is not one that this connector makes.
    InvalidKey,
    /// The operating system refused for a reason that no other kind names.
    Os,
    /// The operating system forbids it.
    PermissionDenied,
    /// There is no room left for the object.
    StorageFull,
    /// The deadline passed first.
    TimedOut,
    /// The object is larger than the connector takes.
    TooLarge,
    /// The server or peer cannot be reached.
    Unavailable,
    /// The connector cannot do this.
    Unsupported,
}

impl ErrorKind {
    /// The kind in a few words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Corrupted => "object corrupted",
            Self::Internal => "internal error",
            Self::InvalidConfig => "invalid configuration",
            Self::InvalidKey => "invalid key",
            Self::Os => "operating system error",
            Self::PermissionDenied => "permission denied",
            Self::StorageFull => "storage full",
            Self::TimedOut => "timed out",
            Self::TooLarge => "object too large",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
        }
    }

    const fn is_retryable(self) -> bool {
        matches!(self, Self::TimedOut | Self::Unavailable)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Error {
    /// A failure of the given kind. `message` says what happened and, where that is known, what to
    /// do about it: no capital letter, no full stop.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Report {
            kind,
            retryable: kind.is_retryable(),
            message: message.into(),
            context: Vec::new(),
            path: None,
            os_error: None,
            source: None,
        }))
    }

    /// A refusal by the operating system; the kind and the error number come from `source`.
    #[must_use]
    pub fn from_io(message: impl Into<Cow<'static, str>>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => ErrorKind::StorageFull,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::PermissionDenied
            }
            io::ErrorKind::TimedOut => ErrorKind::TimedOut,
            _ => ErrorKind::Os,
        };
        let os_error = source.raw_os_error();
        let mut error = Self::new(kind, message).with_source(source);
        error.0.os_error = os_error;
        error
    }

    /// Adds the key that the operation was about.
    #[must_use]
    pub fn with_key(self, key: &Key) -> Self {
        self.with_context("key", key.to_string())
    }

    /// Adds the path that the operation was about.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.path = Some(path.into());
        self
    }

    /// Adds the name of the operation that failed.
    #[must_use]
    pub fn with_operation(self, operation: &'static str) -> Self {
        self.with_context("operation", operation)
    }

    /// Adds the peer that the operation was about.
    #[must_use]
    pub fn with_peer(self, peer: impl Into<String>) -> Self {
        self.with_context("peer", peer)
    }

    /// Adds a named fact about where the failure happened. The first value of a name stays: it was
    /// added closer to the cause.
    #[must_use]
    pub fn with_context(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if self.context(name).is_none() {
            self.0.context.push((name, value.into()));
        }
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says whether trying again may help, where the kind alone does not tell.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same operation may succeed when tried again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// What happened, without the context.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The value of the fact `name`, if it was added.
    #[must_use]
    pub fn context(&self, name: &str) -> Option<&str> {
        let found = self.contexts().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }

    /// All named facts, in the order in which they were added.
    pub fn contexts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let facts = self.0.context.iter();
        facts.map(|(name, value)| (*name, value.as_str()))
    }

    /// The operating system's error number, if it refused.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        self.0.os_error
    }

    /// The path that the operation was about, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)?;
        if let Some(source) = &self.0.source {
            write!(formatter, ": {source}")?;
        }
        let path = self.path().map(|path| ("path", path.display().to_string()));
        let facts = self
            .contexts()
            .map(|(name, value)| (name, value.to_owned()))
            .chain(path);
        for (index, (name, value)) in facts.enumerate() {
            let opening = if index == 0 { " (" } else { ", " };
            write!(formatter, "{opening}{name}={value}")?;
        }
        if self.0.context.is_empty() && self.0.path.is_none() {
            return Ok(());
        }
        formatter.write_str(")")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let retry = if self.0.retryable {
            "may succeed when tried again"
        } else {
            "permanent"
        };
        write!(formatter, "{} ({retry}): {}", self.0.kind, self.0.message)?;
        for (name, value) in self.contexts() {
            write!(formatter, "\n    {name}: {value}")?;
        }
        if let Some(path) = self.path() {
            write!(formatter, "\n    path: {}", path.display())?;
        }
        if let Some(number) = self.0.os_error {
            write!(formatter, "\n    os error: {number}")?;
        }
        let mut source = self.source();
        while let Some(cause) = source {
            write!(formatter, "\n    caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_people_and_a_long_report() {
        let source = io::Error::from_raw_os_error(28);
        let error = Error::from_io("the object could not be written", source)
            .with_key(&Key::text("k"))
            .with_key(&Key::text("later"))
            .with_path("/data/k");
        assert_eq!(
            error.to_string(),
            "the object could not be written: No space left on device (os error 28) \
             (key=('k'), path=/data/k)"
        );
        let report = format!("{error:?}");
        assert!(report.starts_with("storage full (permanent): "), "{report}");
        assert!(report.contains("\n    os error: 28"), "{report}");
        assert!(report.contains("\n    caused by: "), "{report}");
    }

    #[test]
    fn kinds_follow_from_system_errors() {
        let kind = |number| Error::from_io("x", io::Error::from_raw_os_error(number)).kind();
        assert_eq!(kind(28), ErrorKind::StorageFull); // ENOSPC
        assert_eq!(kind(122), ErrorKind::StorageFull); // EDQUOT
        assert_eq!(kind(27), ErrorKind::StorageFull); // EFBIG
        assert_eq!(kind(13), ErrorKind::PermissionDenied); // EACCES
        assert_eq!(kind(30), ErrorKind::PermissionDenied); // EROFS
        assert_eq!(kind(5), ErrorKind::Os); // EIO
    }

    #[test]
    fn a_plain_error_is_its_message() {
        let error = Error::new(ErrorKind::Closed, "the connector is closed");
        assert_eq!(error.to_string(), "the connector is closed");
        assert!(!error.is_retryable());
        assert!(error.with_retryable(true).is_retryable());
        assert!(Error::new(ErrorKind::Unavailable, "x").is_retryable());
    }

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
