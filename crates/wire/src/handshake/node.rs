//! The node's side.

use super::{
    Agreed, Authentication, HELLO, HandshakeError, PROOF, Progress, VERSION,
    hello::{Hello, Willing},
    proof::{Prover, Role, method, refusal},
};
use crate::limits::Limits;

/// The node's side of a handshake.
pub struct NodeHandshake {
    own: Limits,
    prover: Option<Prover>,
    nonce: [u8; 32],
    willing: Willing,
    /// Both hellos and what the client takes, once it said so.
    hellos: Option<([[u8; HELLO]; 2], Limits)>,
}

impl NodeHandshake {
    /// Waits for a client. `nonce` are random bytes that were never used before.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::ShortSecret`].
    pub fn new(
        own: Limits,
        authentication: &Authentication<'_>,
        nonce: [u8; 32],
    ) -> Result<Self, HandshakeError> {
        Ok(Self {
            own: own.clamped(),
            prover: Prover::new(authentication)?,
            nonce,
            willing: Willing::Yes,
            hellos: None,
        })
    }

    /// Waits for a client in order to tell it that there is no room for it.
    #[must_use]
    pub fn refusing_as_full(mut self) -> Self {
        self.willing = Willing::Full;
        self
    }

    /// Waits for a client in order to tell it that the node is about to stop.
    #[must_use]
    pub fn refusing_as_draining(mut self) -> Self {
        self.willing = Willing::Draining;
        self
    }

    /// Looks at bytes that arrived, and puts into `out` what is to be sent. To be called with the
    /// bytes that are not done with and more, until something was agreed on.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]: the connection is over, once what is in `out` was sent.
    pub fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        let mut used = 0;
        let (hellos, limits) = if let Some(hellos) = self.hellos {
            hellos
        } else {
            let Some(hello) = Hello::decode(bytes).inspect_err(|error| self.excuse(*error, out))?
            else {
                return Ok(Progress { used, agreed: None });
            };
            let own = method(self.prover.as_ref());
            if hello.method != own {
                let peer = hello.method;
                out.extend_from_slice(&self.hello(Willing::Unfit));
                return Err(HandshakeError::Method { peer, own });
            }
            let answer = self.hello(self.willing);
            out.extend_from_slice(&answer);
            match self.willing {
                Willing::Full => return Err(HandshakeError::Full),
                Willing::Draining => return Err(HandshakeError::Draining),
                Willing::Yes | Willing::Unfit | Willing::WrongProof => {}
            }
            let mut client = [0; HELLO];
            client.copy_from_slice(&bytes[..HELLO]);
            used = HELLO;
            *self.hellos.insert(([client, answer], hello.limits))
        };
        if let Some(prover) = &self.prover {
            let Some(proof) = bytes[used..].first_chunk::<PROOF>() else {
                return Ok(Progress { used, agreed: None });
            };
            if proof[..4] != [0; 4] {
                return Err(HandshakeError::Malformed);
            }
            if let Err(error) = prover.check(proof, Role::Client, &hellos) {
                out.extend_from_slice(&refusal(Willing::WrongProof));
                return Err(error);
            }
            out.extend_from_slice(&prover.prove(Role::Node, &hellos));
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

    fn hello(&self, willing: Willing) -> [u8; HELLO] {
        let hello = Hello {
            versions: (VERSION, VERSION),
            method: method(self.prover.as_ref()),
            willing,
            limits: self.own,
            nonce: self.nonce,
        };
        hello.encode()
    }

    /// What to say to somebody who cannot be served.
    fn excuse(&self, error: HandshakeError, out: &mut Vec<u8>) {
        match error {
            HandshakeError::Alien(alien) => out.extend_from_slice(alien.answer()),
            HandshakeError::Version { .. } => out.extend_from_slice(&self.hello(Willing::Unfit)),
            _ => {}
        }
    }
}
