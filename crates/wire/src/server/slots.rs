//! The requests under way, by the number of their stream.

use super::Ticket;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    /// An answer is due.
    Open,
    /// The body of a put is being received.
    Receiving,
    /// The body of a get is being sent.
    Sending {
        sum: u64,
    },
    /// Refused before the whole body was received, of which the rest may still come.
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// How many requests this stream has had.
    generation: u32,
    state: State,
}

/// The slot of stream `n` is at `n - 1`; those that were never used need not be there.
#[derive(Debug, Default)]
pub(super) struct Slots {
    all: Vec<Slot>,
    open: usize,
}

impl Slots {
    /// What names the present request of a stream.
    pub(super) fn ticket(&self, stream: u32) -> Ticket {
        Ticket {
            stream,
            generation: self.of(stream).map_or(0, |slot| slot.generation),
        }
    }

    /// The state of a request, which is free if it is over.
    pub(super) fn state(&self, ticket: Ticket) -> State {
        self.of(ticket.stream)
            .filter(|slot| slot.generation == ticket.generation)
            .map_or(State::Free, |slot| slot.state)
    }

    /// Begins a request on a stream that is free and within the limits.
    pub(super) fn open(&mut self, stream: u32, state: State) -> Ticket {
        let free = Slot {
            generation: 0,
            state: State::Free,
        };
        let least = stream as usize;
        if self.all.len() < least {
            self.all.resize(least, free);
        }
        self.open += 1;
        self.set(stream, state);
        self.ticket(stream)
    }

    pub(super) fn set(&mut self, stream: u32, state: State) {
        if let Some(slot) = self.of_mut(stream) {
            slot.state = state;
        }
    }

    /// Ends a request: its ticket names nothing any more.
    pub(super) fn free(&mut self, stream: u32) {
        if let Some(slot) = self.of_mut(stream)
            && slot.state != State::Free
        {
            slot.state = State::Free;
            slot.generation = slot.generation.wrapping_add(1);
            self.open -= 1;
        }
    }

    /// The number of requests that are not over.
    pub(super) const fn len(&self) -> usize {
        self.open
    }

    fn of(&self, stream: u32) -> Option<&Slot> {
        let index = (stream as usize).checked_sub(1)?;
        self.all.get(index)
    }

    fn of_mut(&mut self, stream: u32) -> Option<&mut Slot> {
        let index = (stream as usize).checked_sub(1)?;
        self.all.get_mut(index)
    }
}
