//! Asks nodes.
