//! Bytes in and out of Python through the buffer protocol, without a copy.
//!
//! This folder and `proxy` are the only places of this crate that hold `unsafe` code.

mod gather;
mod memory;

pub(crate) use gather::Gathered;
pub(crate) use memory::PyMemory;
pub(crate) use memory::into_python;
