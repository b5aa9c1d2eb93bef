//! What a node reports about itself.

use crate::{frame::Kind, violation::Violation};

/// The most entries of a report.
const MAX_ENTRIES: usize = 256;

/// The longest name that a node gives an entry, in bytes: all entries then fit into a frame.
const MAX_NAME: usize = 64;

/// Named numbers, in the order in which the node gave them. Unknown names are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a>(&'a [u8]);

impl<'a> Report<'a> {
    /// Reads a report: each entry is the length of its name (one byte), the name (UTF-8) and a
    /// number of eight bytes.
    ///
    /// # Errors
    ///
    /// [`Violation::WrongText`] if the bytes are none.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Violation> {
        let wrong = Violation::WrongText { kind: Kind::Report };
        let mut rest = bytes;
        let mut count = 0;
        while !rest.is_empty() {
            let (_, _, after) = entry(rest).ok_or(wrong)?;
            rest = after;
            count += 1;
        }
        if count > MAX_ENTRIES {
            return Err(wrong);
        }
        Ok(Self(bytes))
    }

    /// The entries.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, u64)> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (name, value, after) = entry(rest)?;
            rest = after;
            Some((name, value))
        })
    }

    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.0
    }
}

fn entry(bytes: &[u8]) -> Option<(&str, u64, &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(len))?;
    let (value, rest) = rest.split_first_chunk()?;
    Some((
        std::str::from_utf8(name).ok()?,
        u64::from_le_bytes(*value),
        rest,
    ))
}

/// A report in the making.
#[derive(Clone, Debug, Default)]
pub struct ReportBuilder {
    bytes: Vec<u8>,
    count: usize,
}

impl ReportBuilder {
    /// A report without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a number. A report takes 256; names are cut at 64 bytes.
    pub fn add(&mut self, name: &str, value: u64) -> &mut Self {
        if self.count < MAX_ENTRIES {
            let name = &name[..name.floor_char_boundary(MAX_NAME)];
            // Cut to fit just above.
            self.bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(&value.to_le_bytes());
            self.count += 1;
        }
        self
    }

    /// The report.
    #[must_use]
    pub fn as_report(&self) -> Report<'_> {
        Report(&self.bytes)
    }
}
