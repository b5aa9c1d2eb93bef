//! What a frame holds.

/// How the stream and the buffers of a frame make up its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The stream is a pickle, the buffers are those that it leaves out.
    Pickle = 1,
    /// The only buffer is the object: `bytes`.
    Bytes = 2,
    /// The only buffer is the object: text in UTF-8.
    Text = 3,
    /// As [`Pickle`](Self::Pickle), written by cloudpickle.
    CloudPickle = 4,
    /// The stream is the pickle of an array's type and shape, the only buffer its elements.
    Array = 5,
    /// The stream names a type that a user has registered, the buffers are what the user's
    /// serializer made of the object.
    Registered = 6,
    /// The only buffer is what a serializer of the user's made of the object.
    Opaque = 7,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 7] = [
        Self::Pickle,
        Self::Bytes,
        Self::Text,
        Self::CloudPickle,
        Self::Array,
        Self::Registered,
        Self::Opaque,
    ];

    /// The kind that a number stands for in a frame.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The number that stands for it in a frame.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether objects keep the buffers rather than copies of them.
    #[must_use]
    pub const fn keeps_buffers(self) -> bool {
        match self {
            Self::Pickle | Self::CloudPickle | Self::Array | Self::Registered => true,
            Self::Bytes | Self::Text | Self::Opaque => false,
        }
    }
}
