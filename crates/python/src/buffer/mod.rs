//! Bytes in and out of Python through the buffer protocol, without a copy.
//!
//! This folder and `proxy` are the only places of this crate that hold `unsafe` code.

mod frame;
mod gather;
mod held;
mod memory;

pub(crate) use frame::{PyFrameHeader, join_buffers, make_frame, open_frame};
pub(crate) use gather::{Gathered, join};
pub(crate) use held::{Held, any_dropped, release_dropped};
pub(crate) use memory::{PyMemory, into_python};
