//! Instants that operations wait for.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use proxystore_core::Deadline;
use tokio::runtime::Handle;

use crate::{
    colour::{self, Colour, colour},
    shared,
};

/// The slowest transfer, in bytes per second, that is not given up.
const SLOWEST: u64 = 1_000_000;

/// Ends at an instant, in either colour.
#[derive(Debug)]
#[must_use = "a timer does nothing unless polled"]
pub struct Sleep {
    at: Instant,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// A future that ends at `at`.
pub const fn sleep_until(at: Instant) -> Sleep {
    Sleep { at, timer: None }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        match colour() {
            Colour::Blocking => {
                if Instant::now() >= at {
                    return Poll::Ready(());
                }
                colour::wait_until(at);
                Poll::Pending
            }
            Colour::Shared => {
                if self.timer.is_none() {
                    // A task of another executor has no clock of its own. Without threads for one
                    // there is no shared runtime either, so nothing else is waited for.
                    let current = Handle::try_current().ok();
                    let Some(handle) = current.or_else(|| shared::handle().ok()) else {
                        return Poll::Ready(());
                    };
                    let _entered = handle.enter();
                    self.timer = Some(Box::pin(tokio::time::sleep_until(at.into())));
                }
                match &mut self.timer {
                    Some(timer) => timer.as_mut().poll(context),
                    None => Poll::Pending,
                }
            }
        }
    }
}

/// The deadline passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the deadline passed")
    }
}

impl std::error::Error for Elapsed {}

/// The output of `future`, unless the deadline passes first, which drops the future.
///
/// # Errors
///
/// [`Elapsed`] if it does.
pub async fn timeout<T>(deadline: Deadline, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let Some(at) = deadline.instant() else {
        return Ok(future.await);
    };
    let mut future = pin!(future);
    let mut timer = sleep_until(at);
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut timer).poll(context).map(|()| Err(Elapsed))
    })
    .await
}

/// When an operation that moves `bytes` bytes must have ended: by `deadline`, and within `timeout`
/// and as much longer as the slowest transfer takes that is not given up, 1 MB/s.
#[must_use]
pub fn allowance(deadline: Deadline, timeout: Duration, bytes: u64) -> Deadline {
    let transfer = Duration::from_micros(bytes.saturating_mul(1_000_000 / SLOWEST));
    let own = Instant::now().checked_add(timeout.saturating_add(transfer));
    match (deadline.instant(), own) {
        (Some(given), Some(own)) => Deadline::at(given.min(own)),
        (given, own) => given.or(own).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_the_sooner_of_both_and_grows_with_the_transfer() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let soon = Deadline::at(now + second);
        assert_eq!(allowance(soon, 60 * second, 0), soon);
        let own = allowance(Deadline::at(now + 600 * second), second, 10_000_000);
        let own = own.instant().expect("a limit");
        assert!(
            (now + 11 * second..Instant::now() + 11 * second).contains(&own)
                || own == now + 11 * second
        );
        assert_eq!(
            allowance(Deadline::never(), Duration::MAX, u64::MAX),
            Deadline::never()
        );
    }
}
