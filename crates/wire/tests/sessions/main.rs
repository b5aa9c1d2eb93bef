//! Both sides of a connection, one step at a time.

mod codecs;
mod conversation;
mod flow;
mod pair;
mod rules;
mod time;
