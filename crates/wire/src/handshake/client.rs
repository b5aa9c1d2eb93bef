//! The client's side.

use super::{
    Agreed, Authentication, HELLO, HandshakeError, PROOF, Progress, VERSION,
    hello::{Hello, Willing},
    proof::{Prover, Role, method},
};
use crate::limits::Limits;

/// The client's side of a handshake.
pub struct ClientHandshake {
    own: Limits,
    prover: Option<Prover>,
    hello: [u8; HELLO],
    /// What the node said, once it did.
    node: Option<([u8; HELLO], Limits)>,
}

impl ClientHandshake {
    /// Begins: puts into `out` what is to be sent first. `nonce` are random bytes that were never
    /// used before.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::ShortSecret`].
    pub fn new(
        own: Limits,
        authentication: &Authentication<'_>,
        nonce: [u8; 32],
        out: &mut Vec<u8>,
    ) -> Result<Self, HandshakeError> {
        let own = own.clamped();
        let prover = Prover::new(authentication)?;
        let hello = Hello {
            versions: (VERSION, VERSION),
            method: method(prover.as_ref()),
            willing: Willing::Yes,
            limits: own,
            nonce,
        };
        let hello = hello.encode();
        out.extend_from_slice(&hello);
        Ok(Self {
            own,
            prover,
            hello,
            node: None,
        })
    }

    /// Looks at bytes that arrived, and puts into `out` what is to be sent. To be called with the
    /// bytes that are not done with and more, until something was agreed on.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]: the connection is over.
    pub fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        let mut used = 0;
        let (node, limits) = if let Some(node) = self.node {
            node
        } else {
            let Some(hello) = Hello::decode(bytes)? else {
                return Ok(Progress { used, agreed: None });
            };
            let own = method(self.prover.as_ref());
            if hello.method != own {
                let peer = hello.method;
                return Err(HandshakeError::Method { peer, own });
            }
            judge(hello.willing)?;
            let mut node = [0; HELLO];
            node.copy_from_slice(&bytes[..HELLO]);
            used = HELLO;
            if let Some(prover) = &self.prover {
                out.extend_from_slice(&prover.prove(Role::Client, &[self.hello, node]));
            }
            self.node = Some((node, hello.limits));
            (node, hello.limits)
        };
        if let Some(prover) = &self.prover {
            let Some(proof) = bytes[used..].first_chunk::<PROOF>() else {
                return Ok(Progress { used, agreed: None });
            };
            if proof[1..4] != [0; 3] {
                return Err(HandshakeError::Malformed);
            }
            judge(Willing::from_number(proof[0]).ok_or(HandshakeError::Malformed)?)?;
            prover.check(proof, Role::Node, &[self.hello, node])?;
            used += PROOF;
        }
        let agreed = Agreed {
            version: VERSION,
            own: self.own,
            peer: limits,
        };
        Ok(Progress {
            used,
            agreed: Some(agreed),
        })
    }
}

const fn judge(willing: Willing) -> Result<(), HandshakeError> {
    match willing {
        Willing::Yes => Ok(()),
        Willing::Unfit => Err(HandshakeError::Malformed),
        Willing::Full => Err(HandshakeError::Full),
        Willing::Draining => Err(HandshakeError::Draining),
        Willing::WrongProof => Err(HandshakeError::Refused),
    }
}
