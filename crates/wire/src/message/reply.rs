//! What a node answers.

use crate::{
    frame::{Header, Kind},
    message::{Refusal, Report, array},
    violation::Violation,
};

/// What a node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// It is done: the object is stored, or is not there any more.
    Done,
    /// The object is there.
    Present {
        /// Its length in bytes.
        len: u64,
    },
    /// The object is not there.
    Absent,
    /// The object.
    Object {
        /// The checksum that was put with it.
        sum: u64,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// The object follows in chunks.
    Found {
        /// Its length in bytes: at least one.
        len: u64,
        /// The checksum that was put with it.
        sum: u64,
    },
    /// The object is there, but too long for a reply in one frame: ask again for the whole, on the
    /// connection for bulk.
    Elsewhere {
        /// Its length in bytes.
        len: u64,
    },
    /// The report.
    Report(Report<'a>),
    /// No.
    Refused {
        /// Why.
        refusal: Refusal,
        /// What happened, for people.
        text: &'a str,
    },
}

impl<'a> Reply<'a> {
    /// Reads the frame of a reply, whose check was looked at; none if it is another frame.
    ///
    /// # Errors
    ///
    /// [`Violation`] if the body is not what the kind says.
    pub fn decode(header: Header, body: &'a [u8]) -> Result<Option<Self>, Violation> {
        let Header { kind, len, .. } = header;
        let wrong = Violation::WrongLength { kind, len };
        let number = |bytes: &'a [u8]| -> Result<_, Violation> {
            let (number, rest) = array(bytes).ok_or(wrong)?;
            Ok((u64::from_le_bytes(number), rest))
        };
        let reply = match kind {
            Kind::Done => Self::Done,
            Kind::Present => Self::Present {
                len: number(body)?.0,
            },
            Kind::Absent => Self::Absent,
            Kind::Object => {
                let (sum, bytes) = number(body)?;
                Self::Object { sum, bytes }
            }
            Kind::Found => {
                let (len, rest) = number(body)?;
                let (sum, _) = number(rest)?;
                if len == 0 {
                    return Err(Violation::WrongValue { kind, value: len });
                }
                Self::Found { len, sum }
            }
            Kind::Elsewhere => Self::Elsewhere {
                len: number(body)?.0,
            },
            Kind::Report => Self::Report(Report::parse(body)?),
            Kind::Refused => {
                let (&refusal, text) = body.split_first().ok_or(wrong)?;
                let text = std::str::from_utf8(text).map_err(|_| Violation::WrongText { kind })?;
                Self::Refused {
                    refusal: Refusal::from_number(refusal),
                    text,
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(reply))
    }
}
