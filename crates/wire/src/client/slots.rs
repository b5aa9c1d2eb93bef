//! The requests under way, by the number of their stream.

use crate::{
    ObjectKey,
    message::{Mode, Reply},
};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Put {
        key: ObjectKey,
        mode: Mode,
    },
    Get {
        whole: bool,
    },
    Exists,
    Evict {
        /// The object of a put that was cancelled and had been stored.
        undoes: Option<ObjectKey>,
    },
    Status,
    Clear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All of the request is on its way.
    Asked,
    /// The body of a put is being sent.
    Sending,
    /// The body of a get is being received.
    Receiving,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) asked: Asked,
    pub(super) state: State,
    /// Nobody wants to hear of it any more.
    pub(super) cancelled: bool,
}

impl Slot {
    /// Whether this reply answers what was asked.
    pub(super) fn awaits(&self, reply: &Reply<'_>) -> bool {
        match (self.state, self.asked, reply) {
            (State::Sending | State::Receiving, _, Reply::Refused { .. }) => true,
            (State::Sending | State::Receiving, ..) => false,
            (State::Asked, asked, reply) => match reply {
                Reply::Done => {
                    matches!(
                        asked,
                        Asked::Put { .. } | Asked::Evict { .. } | Asked::Clear
                    )
                }
                Reply::Present { .. } => asked == Asked::Exists,
                Reply::Absent => matches!(asked, Asked::Get { .. } | Asked::Exists),
                Reply::Object { .. } => matches!(asked, Asked::Get { .. }),
                Reply::Found { .. } => asked == Asked::Get { whole: true },
                Reply::Elsewhere { .. } => asked == Asked::Get { whole: false },
                Reply::Report(_) => asked == Asked::Status,
                Reply::Refused { .. } => true,
            },
        }
    }
}

/// The slot of stream `n` is at `n - 1`.
#[derive(Debug)]
pub(super) struct Slots {
    all: Vec<Option<Slot>>,
    free: Vec<u32>,
    most: u32,
}

impl Slots {
    pub(super) const fn new(most: u32) -> Self {
        Self {
            all: Vec::new(),
            free: Vec::new(),
            most,
        }
    }

    /// The number of a stream that was free, unless there is none.
    pub(super) fn take(&mut self, slot: Slot) -> Option<u32> {
        if let Some(stream) = self.free.pop() {
            *self.place(stream)? = Some(slot);
            return Some(stream);
        }
        let stream = u32::try_from(self.all.len()).ok()? + 1;
        if stream > self.most {
            return None;
        }
        self.all.push(Some(slot));
        Some(stream)
    }

    pub(super) fn of(&mut self, stream: u32) -> Option<&mut Slot> {
        self.place(stream)?.as_mut()
    }

    pub(super) fn free(&mut self, stream: u32) -> Option<Slot> {
        let slot = self.place(stream)?.take()?;
        self.free.push(stream);
        Some(slot)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.all.iter().flatten()
    }

    fn place(&mut self, stream: u32) -> Option<&mut Option<Slot>> {
        let index = usize::try_from(stream).ok()?.checked_sub(1)?;
        self.all.get_mut(index)
    }
}
