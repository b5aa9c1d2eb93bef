//! What frames mean.
//!
//! [`Request`] and [`Reply`] borrow from the bytes that they were read from.

mod refusal;
mod reply;
mod report;
mod request;

pub use self::{
    refusal::Refusal,
    reply::Reply,
    report::{Report, ReportBuilder},
    request::{Mode, Request},
};

/// The first bytes, and the rest.
fn array<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    let (first, rest) = bytes.split_first_chunk()?;
    Some((*first, rest))
}
