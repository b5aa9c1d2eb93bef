//! How a side introduces itself.

use std::fmt;

use super::{Alien, HandshakeError};
use crate::limits::Limits;

/// How every hello begins.
pub const MAGIC: [u8; 8] = *b"\x89PXN\r\n\x1a\n";

/// The version of the protocol that is spoken here, the only one so far.
pub const VERSION: u16 = 1;

/// The length of a hello, in bytes.
pub const HELLO: usize = 72;

/// How a side makes sure who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The transport has done it.
    Transport,
    /// Both sides prove that they know the secret.
    Secret,
}

impl Method {
    const fn number(self) -> u8 {
        match self {
            Self::Transport => 0,
            Self::Secret => 1,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Transport),
            1 => Some(Self::Secret),
            _ => None,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Transport => "no secret",
            Self::Secret => "a secret",
        })
    }
}

/// What a node says about its willingness, in its hello and instead of its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Willing {
    Yes,
    /// Versions or methods do not fit together; the rest of the hello says which.
    Unfit,
    Full,
    Draining,
    WrongProof,
}

impl Willing {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::Unfit => 1,
            Self::Full => 2,
            Self::Draining => 3,
            Self::WrongProof => 4,
        }
    }

    pub(super) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Yes),
            1 => Some(Self::Unfit),
            2 => Some(Self::Full),
            3 => Some(Self::Draining),
            4 => Some(Self::WrongProof),
            _ => None,
        }
    }
}

/// A hello. Its layout is the same in every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) versions: (u16, u16),
    pub(super) method: Method,
    pub(super) willing: Willing,
    pub(super) limits: Limits,
    pub(super) nonce: [u8; 32],
}

impl Hello {
    pub(super) fn encode(&self) -> [u8; HELLO] {
        let mut bytes = [0; HELLO];
        let Limits {
            streams,
            inline,
            chunk,
            credit,
            window,
        } = self.limits;
        let numbers = [streams, inline, chunk, credit, window];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.versions.0.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.versions.1.to_le_bytes());
        bytes[12] = self.method.number();
        bytes[13] = self.willing.number();
        for (place, number) in bytes[16..36].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[40..].copy_from_slice(&self.nonce);
        bytes
    }

    /// Reads a hello, and nothing of who is no peer; none if there are too few bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Self>, HandshakeError> {
        let magic = bytes.len().min(MAGIC.len());
        if bytes[..magic] != MAGIC[..magic] {
            return Err(HandshakeError::Alien(Alien::recognise(bytes)));
        }
        let Some(bytes) = bytes.first_chunk::<HELLO>() else {
            return Ok(None);
        };
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let versions = (short(8), short(10));
        if versions.0 > versions.1 || versions.0 == 0 {
            return Err(HandshakeError::Malformed);
        }
        if !(versions.0..=versions.1).contains(&VERSION) {
            return Err(HandshakeError::Version {
                peer: versions,
                own: (VERSION, VERSION),
            });
        }
        let method = Method::from_number(bytes[12]).ok_or(HandshakeError::Malformed)?;
        let willing = Willing::from_number(bytes[13]).ok_or(HandshakeError::Malformed)?;
        let limits = Limits {
            streams: long(16),
            inline: long(20),
            chunk: long(24),
            credit: long(28),
            window: long(32),
        };
        if limits != limits.clamped() {
            return Err(HandshakeError::Malformed);
        }
        let mut nonce = [0; 32];
        nonce.copy_from_slice(&bytes[40..]);
        Ok(Some(Self {
            versions,
            method,
            willing,
            limits,
            nonce,
        }))
    }
}
