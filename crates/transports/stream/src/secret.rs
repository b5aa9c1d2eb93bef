//! Secrets: named in configurations, looked up where they are used, and never in any text.

use std::{
    env,
    fmt::{self, Write as _},
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use proxystore_core::{Error, ErrorKind};

/// A file of more bytes holds no secret.
const LARGEST: u64 = 64 << 10;
/// Bytes of a secret that is made here, before they are written as hexadecimal digits.
const MADE: usize = 32;
/// Name of the file with the secret of a user, in the user's directory of `ProxyStore`.
const FILE: &str = "secret";

/// A secret, or where to find it.
///
/// A configuration names the environment variable or the file that holds it, and whoever opens the
/// configuration looks it up. A literal one is good in its process only.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Literal(String),
    Variable(String),
    File(PathBuf),
    Default,
}

impl Secret {
    /// The secret that an option names: `env:NAME` is the value of an environment variable,
    /// `file:PATH` the content of a file without the line break at its end, and anything else the
    /// secret itself.
    #[must_use]
    pub fn parse(option: &str) -> Self {
        let kind = match option.split_once(':') {
            Some(("env", name)) => Kind::Variable(name.to_owned()),
            Some(("file", path)) => Kind::File(path.into()),
            _ => Kind::Literal(option.to_owned()),
        };
        Self(kind)
    }

    /// The secret of this user on this host: the content of the file `secret` in the user's
    /// directory of `ProxyStore`, which is made by whoever needs it first.
    #[must_use]
    pub const fn of_this_user() -> Self {
        Self(Kind::Default)
    }

    /// How a configuration names it; none if it is literal, and must not be in one that leaves the
    /// process.
    #[must_use]
    pub fn reference(&self) -> Option<String> {
        match &self.0 {
            Kind::Literal(_) | Kind::Default => None,
            Kind::Variable(name) => Some(format!("env:{name}")),
            Kind::File(path) => Some(format!("file:{}", path.display())),
        }
    }

    /// The option that [`parse`](Self::parse) takes to the same secret; none for that of the user.
    /// It is a secret itself if this is literal.
    #[must_use]
    pub fn to_option(&self) -> Option<String> {
        match &self.0 {
            Kind::Literal(secret) => Some(secret.clone()),
            _ => self.reference(),
        }
    }

    /// The secret's bytes.
    ///
    /// # Errors
    ///
    /// [`SecretError`] saying where it should be.
    pub fn reveal(&self) -> Result<Vec<u8>, SecretError> {
        let secret = match &self.0 {
            Kind::Literal(secret) => secret.clone().into_bytes(),
            Kind::Variable(name) => {
                use std::os::unix::ffi::OsStringExt;
                let value = env::var_os(name);
                value
                    .ok_or_else(|| SecretError::NoVariable { name: name.clone() })?
                    .into_vec()
            }
            // Whoever mounts a secret into a container may give it to a group.
            Kind::File(path) => read(path, 0o007)?,
            Kind::Default => read_or_make(&home()?.join(FILE))?,
        };
        if secret.is_empty() {
            let place = self.reference().unwrap_or_else(|| "the option".to_owned());
            return Err(SecretError::Empty { place });
        }
        Ok(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Literal(_) => formatter.write_str("Secret(***)"),
            Kind::Default => formatter.write_str("Secret(of this user)"),
            Kind::Variable(name) => write!(formatter, "Secret(env:{name})"),
            Kind::File(path) => write!(formatter, "Secret(file:{})", path.display()),
        }
    }
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set.
    #[error("the environment variable {name}, which should hold the secret, is not set")]
    NoVariable {
        /// Its name.
        name: String,
    },
    /// There is nothing where the secret should be.
    #[error("the secret is empty (in {place})")]
    Empty {
        /// Where.
        place: String,
    },
    /// Others could read the secret.
    #[error("the secret's file is not this user's alone; chmod 600 it, or make another one")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file is too large.
    #[error("the file is too large to be a secret's")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// There is no home directory.
    #[error(
        "there is no directory for this user's secret; set PROXYSTORE_HOME or HOME, or name a \
         secret by env: or file:"
    )]
    NoHome,
    /// The system refused.
    #[error("the secret's file cannot be {action}: {source}")]
    Os {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

impl From<SecretError> for Error {
    fn from(error: SecretError) -> Self {
        let message = error.to_string();
        match error {
            SecretError::NoVariable { .. } | SecretError::Empty { .. } | SecretError::NoHome => {
                Self::new(ErrorKind::InvalidConfig, message)
            }
            SecretError::TooLarge { path } => {
                Self::new(ErrorKind::InvalidConfig, message).with_path(path)
            }
            SecretError::Exposed { path } => {
                Self::new(ErrorKind::PermissionDenied, message).with_path(path)
            }
            SecretError::Os { path, source, .. } => {
                let kind = Self::from_io("", source).kind();
                Self::new(kind, message).with_path(path)
            }
        }
    }
}

/// The directory of this user's configuration and data, as the Python package has it.
///
/// # Errors
///
/// [`SecretError::NoHome`] if the environment names none.
pub fn home() -> Result<PathBuf, SecretError> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    let home = set("PROXYSTORE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(set("XDG_DATA_HOME")?).join("proxystore")))
        .or_else(|| Some(env::home_dir()?.join(".local/share/proxystore")));
    std::path::absolute(home.ok_or(SecretError::NoHome)?).map_err(|_| SecretError::NoHome)
}

fn read_or_make(path: &Path) -> Result<Vec<u8>, SecretError> {
    match read(path, 0o077) {
        Err(SecretError::Os { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            make(path)?;
            read(path, 0o077)
        }
        outcome => outcome,
    }
}

/// The content of a file whose mode has none of the bits of `exposed`.
fn read(path: &Path, exposed: u32) -> Result<Vec<u8>, SecretError> {
    let failed = |source| SecretError::Os {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let owner = metadata.uid();
    let user = rustix::process::geteuid().as_raw();
    // The superuser's files are trusted as the superuser is.
    if metadata.mode() & exposed != 0 || (owner != user && owner != 0) {
        return Err(SecretError::Exposed {
            path: path.to_owned(),
        });
    }
    let mut secret = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut secret)
        .map_err(failed)?;
    if secret.len() as u64 > LARGEST {
        return Err(SecretError::TooLarge {
            path: path.to_owned(),
        });
    }
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    Ok(secret)
}

/// Makes the file, unless another process does so first. Nobody ever sees half of it.
fn make(path: &Path) -> Result<(), SecretError> {
    let failed = |source| SecretError::Os {
        action: "made",
        path: path.to_owned(),
        source,
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    let mut random = [0; MADE + 8];
    getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error)))?;
    let mut digits = String::with_capacity(2 * random.len());
    for byte in random {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    let (secret, name) = digits.split_at(2 * MADE);
    let temporary = directory.join(format!(".{FILE}-{name}"));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            writeln!(file, "{secret}")?;
            file.sync_all()
        })
        .and_then(|()| std::fs::hard_link(&temporary, path));
    // It is not needed any more, whatever happened.
    let _ = std::fs::remove_file(&temporary);
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn options_name_secrets_without_holding_them() {
        assert_eq!(Secret::parse("env:X").reference().as_deref(), Some("env:X"));
        let file = Secret::parse("file:/a b");
        assert_eq!(file.reference().as_deref(), Some("file:/a b"));
        let literal = Secret::parse("hunter2");
        assert_eq!(literal.reference(), None);
        assert_eq!(literal.to_option().as_deref(), Some("hunter2"));
        assert_eq!(format!("{literal:?}"), "Secret(***)");
        assert_eq!(literal.reveal().expect("a secret"), b"hunter2");
        assert_eq!(Secret::of_this_user().to_option(), None);
    }

    #[test]
    fn what_cannot_be_had_is_told_by_its_place() {
        let error = Secret::parse("env:PROXYSTORE_NO_SUCH_VARIABLE").reveal();
        let error = error.expect_err("not set").to_string();
        assert!(error.contains("PROXYSTORE_NO_SUCH_VARIABLE"), "{error}");
        let error = Secret::parse("file:/nowhere/secret")
            .reveal()
            .expect_err("no file");
        assert_eq!(
            Error::from(error).path(),
            Some(Path::new("/nowhere/secret"))
        );
        assert!(matches!(
            Secret::parse("").reveal(),
            Err(SecretError::Empty { .. })
        ));
    }

    #[test]
    fn a_file_that_others_can_read_holds_no_secret() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        fs::write(&path, "hunter2\r\n").expect("room");
        let secret = Secret::parse(&format!("file:{}", path.display()));
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
        mode(0o604).expect("a mode");
        assert!(matches!(secret.reveal(), Err(SecretError::Exposed { .. })));
        mode(0o640).expect("a mode");
        assert_eq!(secret.reveal().expect("a secret"), b"hunter2");
    }

    #[test]
    fn the_users_secret_is_made_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a/b/secret");
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| read_or_make(&path)))
                .collect();
            let made = makers
                .into_iter()
                .map(|maker| maker.join().expect("no panic"));
            made.collect::<Result<_, _>>().expect("a secret")
        });
        assert_eq!(secrets[0].len(), 2 * MADE);
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        let metadata = fs::metadata(&path).expect("a file");
        assert_eq!(metadata.mode() & 0o777, 0o600);
        let left = fs::read_dir(directory.path().join("a/b"))
            .expect("a directory")
            .count();
        assert_eq!(left, 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
        assert!(matches!(
            read_or_make(&path),
            Err(SecretError::Exposed { .. })
        ));
    }
}
