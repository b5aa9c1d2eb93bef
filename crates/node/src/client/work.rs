//! What operations do on a connection.

use std::time::Instant;

use proxystore_core::Payload;
use proxystore_wire::{
    ObjectKey, StreamId,
    client::{NotNow, Session},
    message::{Mode, Refusal},
};

use super::{
    connection::State,
    error::ClientError,
    exchange::Work,
    upload::Upload,
    waiters::{Outcome, Park, WaiterId},
};

/// The most requests of one operation that are under way at once.
pub(super) const UNDER_WAY: usize = 1024;

/// Requests that are a frame each, begun in order as far as the connection takes them.
pub(super) struct Requests<F> {
    count: usize,
    begun: usize,
    ask: F,
    /// What the requests came to, in order.
    outcomes: Vec<Option<Outcome>>,
    finished: usize,
    failed: bool,
}

impl<F> Requests<F>
where
    F: FnMut(usize, &mut Session, Instant) -> Result<StreamId, NotNow>,
{
    /// As many requests as `count`, each begun by `ask`.
    pub(super) fn new(count: usize, ask: F) -> Self {
        Self {
            count,
            begun: 0,
            ask,
            outcomes: std::iter::repeat_with(|| None).take(count).collect(),
            finished: 0,
            failed: false,
        }
    }

    /// What the requests came to; after the first failure, none for those that were not waited for.
    pub(super) fn into_outcomes(self) -> Vec<Option<Outcome>> {
        self.outcomes
    }
}

impl<F> Work<'_> for Requests<F>
where
    F: FnMut(usize, &mut Session, Instant) -> Result<StreamId, NotNow>,
{
    fn advance(
        &mut self,
        state: &mut State,
        id: WaiterId,
        now: Instant,
    ) -> Result<Option<Park>, ClientError> {
        for (index, outcome) in state.waiters.outcomes(id).drain(..) {
            self.failed |= matches!(outcome, Outcome::Failed(_));
            self.finished += 1;
            if let Some(place) = self.outcomes.get_mut(index) {
                *place = Some(outcome);
            }
        }
        if self.failed || self.finished == self.count {
            return Ok(None);
        }
        state.check()?;
        let mut park = Park::default();
        while self.begun < self.count {
            let under_way = self.begun - self.finished;
            park.threshold = under_way / 2;
            if under_way >= UNDER_WAY {
                break;
            }
            let asked = (self.ask)(self.begun, &mut state.session, now);
            if !begin(state, id, self.begun, asked)? {
                park.blocked = true;
                break;
            }
            self.begun += 1;
        }
        if self.begun == self.count {
            park.threshold = 0;
        }
        Ok(Some(park))
    }
}

/// A put of one object of any size.
pub(super) struct Put<'a, 'k> {
    key: &'k ObjectKey,
    mode: Mode,
    payload: Payload<'a>,
    copied: bool,
    /// None if the object travels within the request.
    upload: Option<Box<Upload<'a>>>,
    begun: bool,
    outcome: Option<Outcome>,
}

impl<'a, 'k> Put<'a, 'k> {
    /// Stores the object; `copied` if it does not keep still.
    pub(super) fn new(key: &'k ObjectKey, mode: Mode, payload: Payload<'a>, copied: bool) -> Self {
        Self {
            key,
            mode,
            payload,
            copied,
            upload: None,
            begun: false,
            outcome: None,
        }
    }

    pub(super) fn into_outcome(self) -> Option<Outcome> {
        self.outcome
    }

    /// Whether the node cannot have stored the object, whatever has become of the connection.
    pub(super) fn is_unfinished(&self) -> bool {
        match &self.upload {
            Some(upload) => upload.is_sending(),
            None => !self.begun,
        }
    }
}

impl<'a> Work<'a> for Put<'a, '_> {
    fn advance(
        &mut self,
        state: &mut State,
        id: WaiterId,
        now: Instant,
    ) -> Result<Option<Park>, ClientError> {
        if let Some((_, outcome)) = state.waiters.outcomes(id).pop() {
            self.outcome = Some(outcome);
            return Ok(None);
        }
        state.check()?;
        if self.begun {
            return Ok(Some(Park::default()));
        }
        let segments = self.payload.segments();
        let asked = state.session.put(self.key, self.mode, segments, now);
        self.begun = begin(state, id, 0, asked)?;
        if let Ok(stream) = asked
            && !state.session.is_inline(self.payload.len())
        {
            self.upload = Some(Box::new(Upload::new(stream, self.payload, self.copied)));
        }
        Ok(Some(Park {
            blocked: !self.begun,
            ..Park::default()
        }))
    }

    fn upload(&mut self) -> Option<&mut Upload<'a>> {
        let upload = self.upload.as_deref_mut();
        upload.filter(|upload| upload.is_sending())
    }
}

/// Notes a request that was asked for; false if it has to wait.
pub(super) fn begin(
    state: &mut State,
    id: WaiterId,
    index: usize,
    asked: Result<StreamId, NotNow>,
) -> Result<bool, ClientError> {
    match asked {
        Ok(stream) => {
            state.waiters.begin(id, index, stream);
            state.unsent = true;
            Ok(true)
        }
        Err(NotNow::Busy) => Ok(false),
        Err(NotNow::Draining) => Err(ClientError::Refused {
            refusal: Refusal::Draining,
            text: "".into(),
        }),
    }
}
