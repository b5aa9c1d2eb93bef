//! Proofs that a side knows the secret.

use ring::hmac;

use super::{Authentication, HELLO, HandshakeError, Method, hello::Willing};

/// The length of a proof, in bytes.
pub const PROOF: usize = 36;

/// The shortest secret that is taken, in bytes: whoever pretends to be a node sees the client's
/// proof, and could try short secrets one by one.
pub const SHORTEST_SECRET: usize = 16;

/// Who proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Node,
}

impl Role {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Client => b"proxystore node protocol, proof of the client\0",
            Self::Node => b"proxystore node protocol, proof of the node\0",
        }
    }
}

/// Makes and checks proofs.
pub(super) struct Prover {
    key: hmac::Key,
    binding: Vec<u8>,
}

impl Prover {
    /// None if no proofs are needed.
    pub(super) fn new(authentication: &Authentication<'_>) -> Result<Option<Self>, HandshakeError> {
        let Authentication::Secret { secret, binding } = authentication else {
            return Ok(None);
        };
        if secret.len() < SHORTEST_SECRET {
            return Err(HandshakeError::ShortSecret(secret.len()));
        }
        Ok(Some(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            binding: binding.to_vec(),
        }))
    }

    pub(super) fn prove(&self, role: Role, hellos: &[[u8; HELLO]; 2]) -> [u8; PROOF] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&self.message(role, hellos));
        let mut proof = [0; PROOF];
        proof[4..].copy_from_slice(context.sign().as_ref());
        proof
    }

    pub(super) fn check(
        &self,
        proof: &[u8; PROOF],
        role: Role,
        hellos: &[[u8; HELLO]; 2],
    ) -> Result<(), HandshakeError> {
        let message = self.message(role, hellos);
        hmac::verify(&self.key, &message, &proof[4..]).map_err(|_| HandshakeError::WrongProof)
    }

    fn message(&self, role: Role, hellos: &[[u8; HELLO]; 2]) -> Vec<u8> {
        // All parts but the last have a fixed length for each role.
        [role.label(), &hellos[0], &hellos[1], &self.binding].concat()
    }
}

/// What a side with or without a secret expects of the other.
pub(super) const fn method(prover: Option<&Prover>) -> Method {
    match prover {
        Some(_) => Method::Secret,
        None => Method::Transport,
    }
}

/// What stands in place of a proof if there is none to give.
pub(super) fn refusal(willing: Willing) -> [u8; PROOF] {
    let mut proof = [0; PROOF];
    proof[0] = willing.number();
    proof
}
