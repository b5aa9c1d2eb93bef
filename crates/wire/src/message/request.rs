//! What a client asks for.

use crate::{
    frame::{Header, Kind},
    key::ObjectKey,
    message::array,
    violation::Violation,
};

/// What becomes of an object that is already there under the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The id is new; if it is not, the request is refused.
    New,
    /// The object replaces the old one, if the key opens it.
    Replace,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Store this object.
    Put {
        /// Its key.
        key: ObjectKey,
        /// What becomes of an older one.
        mode: Mode,
        /// The checksum of its bytes.
        sum: u64,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// Store the object that follows in chunks.
    Begin {
        /// Its key.
        key: ObjectKey,
        /// What becomes of an older one.
        mode: Mode,
        /// Its length in bytes: at least one.
        len: u64,
    },
    /// The object.
    Get {
        /// Its key.
        key: ObjectKey,
        /// Whether an object of any length is to be sent on this connection.
        whole: bool,
    },
    /// Whether the object is there.
    Exists {
        /// Its key.
        key: ObjectKey,
    },
    /// Remove the object. If there is none, one that is put later with [`Mode::New`] is to be
    /// refused for longer than a silent client may be: it is late, on a connection that was lost.
    Evict {
        /// Its key.
        key: ObjectKey,
    },
    /// What the node has to report about itself.
    Status,
    /// Remove every object.
    Clear,
}

impl<'a> Request<'a> {
    /// Reads the frame of a request, whose check was looked at; none if it is another frame.
    ///
    /// # Errors
    ///
    /// [`Violation`] if the body is not what the kind says.
    pub fn decode(header: Header, body: &'a [u8]) -> Result<Option<Self>, Violation> {
        let Header {
            kind, flags, len, ..
        } = header;
        let wrong = Violation::WrongLength { kind, len };
        let mode = if flags == 0 { Mode::New } else { Mode::Replace };
        let key = || -> Result<_, Violation> {
            let (id, rest) = array::<16>(body).ok_or(wrong)?;
            let (capability, rest) = array::<16>(rest).ok_or(wrong)?;
            Ok((ObjectKey { id, capability }, rest))
        };
        let request = match kind {
            Kind::Put => {
                let (key, rest) = key()?;
                let (sum, bytes) = array(rest).ok_or(wrong)?;
                Self::Put {
                    key,
                    mode,
                    sum: u64::from_le_bytes(sum),
                    bytes,
                }
            }
            Kind::Begin => {
                let (key, rest) = key()?;
                let (len, _) = array(rest).ok_or(wrong)?;
                let len = u64::from_le_bytes(len);
                if len == 0 {
                    return Err(Violation::WrongValue { kind, value: len });
                }
                Self::Begin { key, mode, len }
            }
            Kind::Get => Self::Get {
                key: key()?.0,
                whole: flags != 0,
            },
            Kind::Exists => Self::Exists { key: key()?.0 },
            Kind::Evict => Self::Evict { key: key()?.0 },
            Kind::Status => Self::Status,
            Kind::Clear => Self::Clear,
            _ => return Ok(None),
        };
        Ok(Some(request))
    }
}
