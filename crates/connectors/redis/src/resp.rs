//! The protocol of the server (RESP 2), without a socket: bytes in, bytes out.
//!
//! Commands are encoded around their values, which travel as they are, from where they are. Replies
//! are read line by line: a [`Head`] says what comes, and whoever asked decides where the bytes
//! after it go. [`Decoder`] puts small replies together.

mod command;
mod decoder;
mod head;

pub use self::{
    command::Command,
    decoder::{Decoder, Value},
    head::{Head, Malformed},
};
