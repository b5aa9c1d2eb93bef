//! Raw memory: borrowed segments, mappings and buffers that others may see.
//!
//! Every byte that the data plane moves is somebody else's while it moves: an array that another
//! thread may write to, or a file that another process has mapped. A Rust `&[u8]` promises that
//! nobody writes, and that promise cannot be kept here, so this crate works with raw pointers and
//! offers the safe words that everything above it is written in.
//!
//! # Layout
//!
//! * [`segment`]: [`Segment`], borrowed bytes that others may be writing to, and how to copy them
//!   out or write them to a descriptor.
//! * [`descriptor`]: [`close`], which tells whether the file took everything.
//! * [`mapping`]: [`Mapping`], a private, copy-on-write view of a file.
//! * [`memory`]: [`Memory`], what a get returns: owned bytes, or a mapping.
//! * [`filling`]: [`Filling`], memory that is being received.
//! * [`recycled`]: large buffers that are used again, with their pages.
//! * [`scratch`]: [`with_scratch`], memory that each thread keeps to work on bytes piece by piece.
//! * [`background()`]: threads that give memory back, and threads without signals.

mod background;
pub mod descriptor;
pub mod filling;
pub mod mapping;
pub mod memory;
pub mod recycled;
pub mod scratch;
pub mod segment;

pub use self::{
    background::{background, without_signals},
    descriptor::close,
    filling::Filling,
    mapping::Mapping,
    memory::{Memory, ReadError},
    scratch::with_scratch,
    segment::{Cursor, Segment, send_vectored, write_all, write_vectored},
};
