//! Whether an exchange that failed is tried again, when, and where.

use std::{sync::Arc, time::Duration};

use proxystore_stream::Address;

use super::Exchange;
use crate::{error::RedisError, refusal::Reason, servers::Directory};

/// How often a lost connection is replaced for one exchange.
const REPLACED: u32 = 3;
/// How often a server may send an exchange on to another.
const REDIRECTED: u32 = 16;
/// The first pause before an exchange that a server cannot carry out for the moment is tried again.
const PAUSE: Duration = Duration::from_millis(5);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Another attempt.
pub(super) struct Retry {
    /// How long to wait before it.
    pub(super) pause: Duration,
    /// The server that is to carry it out just this once, if the one that refused it named one.
    pub(super) asked: Option<Arc<Address>>,
}

/// The attempts at one exchange so far.
#[derive(Default)]
pub(super) struct Attempts {
    redirected: u32,
    replaced: u32,
    paused: u32,
}

impl Attempts {
    /// What to do after `error`: none if another attempt would not help, or there were enough of them.
    /// What the error tells of the servers goes to the directory. `any_server` says whether the exchange is
    /// for whichever server has the key, which may be another one by now.
    pub(super) fn retry<E: Exchange>(
        &mut self,
        error: &RedisError,
        exchange: &E,
        directory: &Directory,
        any_server: bool,
    ) -> Option<Retry> {
        let can_change = any_server && directory.can_change();
        match error.refusal().map(|refusal| &refusal.reason) {
            Some(Reason::Moved(slot, to)) if directory.is_cluster() => {
                directory.moved(*slot, to.clone());
                self.redirect(None)
            }
            // With several keys it is to wait until all those of the slot are where they will be.
            Some(Reason::Ask(to)) if directory.is_cluster() && exchange.is_single() => {
                self.redirect(Some(Arc::new(to.clone())))
            }
            Some(Reason::Ask(_)) if directory.is_cluster() => Some(self.wait()),
            Some(Reason::Busy) => Some(self.wait()),
            Some(Reason::ReadOnly) if can_change => {
                directory.forget();
                Some(self.wait())
            }
            _ if error.is_unreachable() && can_change => {
                directory.forget();
                Some(self.wait())
            }
            _ if error.is_lost() && exchange.is_repeatable() => {
                if can_change {
                    directory.forget();
                }
                self.reconnect()
            }
            _ => None,
        }
    }

    /// Another attempt at once, with the server that another named.
    fn redirect(&mut self, asked: Option<Arc<Address>>) -> Option<Retry> {
        self.redirected += 1;
        (self.redirected <= REDIRECTED).then_some(Retry {
            pause: Duration::ZERO,
            asked,
        })
    }

    /// Another attempt over a new connection: at once in place of one that may have been lost while
    /// nobody used it.
    fn reconnect(&mut self) -> Option<Retry> {
        self.replaced += 1;
        match self.replaced {
            1 => Some(Retry {
                pause: Duration::ZERO,
                asked: None,
            }),
            2..=REPLACED => Some(self.wait()),
            _ => None,
        }
    }

    /// Another attempt after a pause: longer each time.
    fn wait(&mut self) -> Retry {
        let pause = PAUSE.saturating_mul(1 << self.paused.min(16));
        self.paused += 1;
        Retry {
            pause: pause.min(LONGEST_PAUSE),
            asked: None,
        }
    }
}
