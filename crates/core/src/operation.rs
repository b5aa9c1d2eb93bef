//! What a connector's methods return.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// A future that is either done already, without an allocation, or waits for something.
///
/// Connectors at memory speed do their work in the call and return a ready operation; networked
/// ones return a pending one that knows no runtime. Polling a ready operation again after it gave
/// its value stays pending for ever, as other futures' misuse does, and never panics.
#[must_use = "an operation that is not ready does nothing unless polled"]
pub struct Operation<'a, T>(State<'a, T>);

enum State<'a, T> {
    Ready(Option<T>),
    Pending(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
}

impl<'a, T> Operation<'a, T> {
    /// An operation that is done.
    pub const fn ready(value: T) -> Self {
        Self(State::Ready(Some(value)))
    }

    /// An operation that `future` carries out.
    pub fn pending(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self(State::Pending(Box::pin(future)))
    }

    /// The value, if the operation was ready from the start.
    ///
    /// # Errors
    ///
    /// The operation itself, if it has to be polled.
    pub fn into_ready(self) -> Result<T, Self> {
        match self.0 {
            State::Ready(Some(value)) => Ok(value),
            other => Err(Self(other)),
        }
    }
}

impl<T> Future for Operation<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            State::Ready(value) => value.take().map_or(Poll::Pending, Poll::Ready),
            State::Pending(future) => future.as_mut().poll(context),
        }
    }
}

/// The value is moved out and never pinned in place; the future is pinned in its box.
impl<T> Unpin for Operation<'_, T> {}

impl<T> fmt::Debug for Operation<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            State::Ready(Some(_)) => "Ready",
            State::Ready(None) => "Taken",
            State::Pending(_) => "Pending",
        };
        formatter.debug_tuple("Operation").field(&state).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_ready_operation_gives_its_value_once() {
        let mut operation = Operation::ready(7);
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut operation).poll(&mut context), Poll::Ready(7));
        assert_eq!(Pin::new(&mut operation).poll(&mut context), Poll::Pending);
        assert!(Operation::ready(1).into_ready().is_ok());
    }

    #[test]
    fn a_pending_operation_is_polled() {
        let operation = Operation::pending(async { 7 });
        let mut operation = operation.into_ready().expect_err("it must be polled");
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut operation).poll(&mut context), Poll::Ready(7));
    }
}
