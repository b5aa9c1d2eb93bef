//! Why a request is refused.

/// Why a request is refused. The text beside it says the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no room for the object.
    Full,
    /// The object is larger than the node takes at all.
    TooLarge,
    /// The key does not open the object.
    Forbidden,
    /// The object changed while it was sent: its checksum is not that of its bytes.
    Changed,
    /// What the node holds is not any more what was put.
    Damaged,
    /// The client gave the request up.
    Cancelled,
    /// The node is about to stop; nothing was done.
    Draining,
    /// The node failed at it.
    Failed,
    /// A reason that only a newer node knows.
    Other(u8),
}

impl Refusal {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Full => 1,
            Self::TooLarge => 2,
            Self::Forbidden => 3,
            Self::Changed => 4,
            Self::Damaged => 5,
            Self::Cancelled => 6,
            Self::Draining => 7,
            Self::Failed => 8,
            Self::Other(number) => number,
        }
    }

    /// The refusal with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Full,
            2 => Self::TooLarge,
            3 => Self::Forbidden,
            4 => Self::Changed,
            5 => Self::Damaged,
            6 => Self::Cancelled,
            7 => Self::Draining,
            8 => Self::Failed,
            number => Self::Other(number),
        }
    }
}
