//! How processes agree on what a segment is used for.
//!
//! | phase | who moves it on | to what |
//! |---|---|---|
//! | Absent | whoever makes itself the owner of a record that has none | Writing, of the next generation |
//! | Writing | the owner | Live; Absent if it gives up |
//! | Live | anybody, who evicts it | Free |
//! | Free | the owner | Writing, of the next generation, if nobody pins it; Absent |
//!
//! So whatever is done to a segment's file is done by its owner. The segments of a dead owner get
//! another by one exchange of the owner's word, which one process wins.
//!
//! These functions run over mapped memory and, in `model`, under a model checker.

use std::sync::atomic::Ordering;

use crate::{
    control::SegmentRecord,
    membership::MemberId,
    mutants::{Mutant, is_active},
    word::{DamagedWord, Phase, State, Word},
};

/// What a record says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    /// Bytes of the object.
    pub(crate) len: u64,
    /// Bytes of memory behind it.
    pub(crate) capacity: u64,
    /// Whether it is spilled, and a check of all this: see `object`.
    pub(crate) details: u64,
    /// The word of the deferred key that it was put for, or zero.
    pub(crate) ticket: u64,
    /// When it was put, in milliseconds since the host was started.
    pub(crate) put: u64,
}

/// What became of an attempt to use a segment's memory again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recycled {
    /// The caller writes the next generation, of this number.
    Writing(u32),
    /// Somebody looks at it.
    Pinned,
    /// It is not the caller's to use again.
    Lost,
}

/// What became of an attempt to take over a dead process's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adopted {
    /// It holds an object, of this generation, and is the caller's now.
    Live(u32),
    /// There is nothing behind it any more, and it is nobody's.
    Freed,
    /// It was not the dead process's.
    NotTheirs,
}

/// Gets hold of an object: of what `look` finds given its fields, and of the guard that `pin`
/// returns, which keeps its memory from being written to. None if the object is not there.
///
/// `pin` is ordered before whatever comes after it, against the same in `is_pinned` of
/// [`try_recycle`]: either the recycler sees the pin, or the state that is loaded after it is one
/// that says that the object is gone.
pub(crate) fn view<W: Word, P, T, E: From<DamagedWord>>(
    record: &SegmentRecord<'_, W>,
    generation: u32,
    pin: impl FnOnce() -> Result<P, E>,
    look: impl FnOnce(&Fields) -> Result<T, E>,
) -> Result<Option<(P, T)>, E> {
    if is_active(Mutant::CheckBeforePin) {
        if !is_live(record.state, generation)? {
            return Ok(None);
        }
        return Ok(Some((pin()?, look(&load_fields(record))?)));
    }
    let pin = pin()?;
    if !is_live(record.state, generation)? {
        return Ok(None);
    }
    let found = look(&load_fields(record));
    // The pin keeps memory from being written to, but not its file from being removed, nor the
    // record and the name from being used for another one.
    W::fence(Ordering::Acquire);
    if !is_live(record.state, generation)? {
        return Ok(None);
    }
    Ok(Some((pin, found?)))
}

/// Whether the object of this generation is there.
pub(crate) fn is_live<W: Word>(state: &W, generation: u32) -> Result<bool, DamagedWord> {
    let state = State::from_word(state.load(Ordering::Acquire))?;
    let is_same = state.generation == generation || is_active(Mutant::AnyGeneration);
    Ok(state.phase == Phase::Live && is_same)
}

/// Makes an object be gone, and returns whether this call did. Views stay what they are.
pub(crate) fn evict<W: Word>(state: &W, generation: u32) -> Result<bool, DamagedWord> {
    let live = State::new(generation, Phase::Live).to_word();
    let free = State::new(generation, Phase::Free).to_word();
    match state.compare_exchange(live, free, Ordering::AcqRel) {
        Ok(_) => Ok(true),
        Err(other) => State::from_word(other).map(|_| false),
    }
}

/// Begins to write the next generation into the memory of the last one, which only the owner does.
///
/// `is_pinned` is ordered after whatever comes before it.
pub(crate) fn try_recycle<W: Word>(
    record: &SegmentRecord<'_, W>,
    owner: MemberId,
    generation: u32,
    is_pinned: impl FnOnce() -> bool,
) -> Recycled {
    let free = State::new(generation, Phase::Free).to_word();
    let Some(next) = generation.checked_add(1) else {
        return Recycled::Lost;
    };
    // Others take this process for dead once it has closed the files that say that it lives.
    if record.owner.load(Ordering::Acquire) != owner.0
        || record.state.load(Ordering::Acquire) != free
    {
        return Recycled::Lost;
    }
    if is_pinned() {
        return Recycled::Pinned;
    }
    let writing = State::new(next, Phase::Writing).to_word();
    match record
        .state
        .compare_exchange(free, writing, Ordering::AcqRel)
    {
        Ok(_) => Recycled::Writing(next),
        Err(_) => Recycled::Lost,
    }
}

/// Begins to write into a record that has nothing behind it; the generation, unless somebody else
/// is faster or the record has had its last.
pub(crate) fn take_absent<W: Word>(record: &SegmentRecord<'_, W>, owner: MemberId) -> Option<u32> {
    let nobody = MemberId::NOBODY;
    if record.owner.load(Ordering::Acquire) != nobody.0 || !claim(record.owner, nobody, owner) {
        return None;
    }
    let current = record.state.load(Ordering::Acquire);
    if let Ok(state) = State::from_word(current)
        && state.phase == Phase::Absent
        && let Some(generation) = state.generation.checked_add(1)
    {
        let writing = State::new(generation, Phase::Writing).to_word();
        if record
            .state
            .compare_exchange(current, writing, Ordering::AcqRel)
            .is_ok()
        {
            return Some(generation);
        }
    }
    record.owner.store(nobody.0, Ordering::Release);
    None
}

/// Makes what was written be an object.
pub(crate) fn publish<W: Word>(record: &SegmentRecord<'_, W>, generation: u32, fields: &Fields) {
    // Against the one in `fields`: who reads one of these sees the state that was there before
    // them, at least.
    W::fence(Ordering::Release);
    record.len.store(fields.len, Ordering::Relaxed);
    record.capacity.store(fields.capacity, Ordering::Relaxed);
    record.details.store(fields.details, Ordering::Relaxed);
    record.ticket.store(fields.ticket, Ordering::Relaxed);
    record.put.store(fields.put, Ordering::Relaxed);
    let live = State::new(generation, Phase::Live).to_word();
    record.state.store(live, Ordering::Release);
}

/// What the record says of the object of this generation; none if it is not there.
pub(crate) fn fields<W: Word>(
    record: &SegmentRecord<'_, W>,
    generation: u32,
) -> Result<Option<Fields>, DamagedWord> {
    if !is_live(record.state, generation)? {
        return Ok(None);
    }
    let fields = load_fields(record);
    W::fence(Ordering::Acquire);
    Ok(is_live(record.state, generation)?.then_some(fields))
}

/// What the record says of the object in it, if that is looked at again afterwards.
pub(crate) fn load_fields<W: Word>(record: &SegmentRecord<'_, W>) -> Fields {
    Fields {
        len: record.len.load(Ordering::Relaxed),
        capacity: record.capacity.load(Ordering::Relaxed),
        details: record.details.load(Ordering::Relaxed),
        ticket: record.ticket.load(Ordering::Relaxed),
        put: record.put.load(Ordering::Relaxed),
    }
}

/// Says that there is nothing behind a record any more, which only its owner does, after it has
/// removed the file. The generation stays, for the next one to be larger.
pub(crate) fn free<W: Word>(record: &SegmentRecord<'_, W>, generation: u32) {
    let absent = State::new(generation, Phase::Absent).to_word();
    record.state.store(absent, Ordering::Release);
    record.owner.store(MemberId::NOBODY.0, Ordering::Release);
}

/// Takes over a dead process's segment. What it has not finished or has not used again is freed,
/// by `remove`, which takes the file away.
///
/// Whoever dies in here is as dead as the one before, and adopted likewise.
pub(crate) fn adopt<W: Word, E>(
    record: &SegmentRecord<'_, W>,
    dead: MemberId,
    owner: MemberId,
    remove: impl FnOnce() -> Result<(), E>,
) -> Result<Adopted, E> {
    if record.owner.load(Ordering::Acquire) != dead.0 || !claim(record.owner, dead, owner) {
        return Ok(Adopted::NotTheirs);
    }
    let generation = match State::from_word(record.state.load(Ordering::Acquire)) {
        Ok(state) if state.phase == Phase::Live => return Ok(Adopted::Live(state.generation)),
        Ok(state) => state.generation,
        // Which generations there have been is lost with the word, so there can be no more.
        Err(DamagedWord(_)) => u32::MAX,
    };
    remove()?;
    free(record, generation);
    Ok(Adopted::Freed)
}

/// Makes `to` the owner, if `from` is.
fn claim<W: Word>(owner: &W, from: MemberId, to: MemberId) -> bool {
    owner
        .compare_exchange(from.0, to.0, Ordering::AcqRel)
        .is_ok()
}
