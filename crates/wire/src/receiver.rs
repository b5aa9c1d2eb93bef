//! Takes frames out of the bytes that arrived.

use crate::{
    frame::{HEADER, Header, Kind, is_intact},
    limits::Limits,
    violation::Violation,
};

/// A frame, or for a chunk its header alone.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: Header,
    pub(crate) body: &'a [u8],
    /// How many bytes it takes.
    pub(crate) used: usize,
}

/// The first frame in `bytes`, if it is there as a whole; of a chunk, the header is enough.
pub(crate) fn parse<'a>(bytes: &'a [u8], own: &Limits) -> Result<Option<Frame<'a>>, Violation> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let header = Header::decode(head)?;
    let Header { kind, len, .. } = header;
    let too_long = match kind {
        Kind::Data => len > own.chunk,
        Kind::Put | Kind::Object => len as usize > own.inline as usize + kind.head(),
        _ => false,
    };
    if too_long {
        return Err(Violation::WrongLength { kind, len });
    }
    let len = if kind == Kind::Data { 0 } else { len as usize };
    let Some(body) = rest.get(..len) else {
        return Ok(None);
    };
    if !is_intact(head, body.get(..kind.head()).unwrap_or_default()) {
        return Err(Violation::Damaged { kind });
    }
    Ok(Some(Frame {
        header,
        body,
        used: HEADER + len,
    }))
}
