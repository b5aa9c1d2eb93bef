//! Raw memory: borrowed segments, mappings and buffers that others may see.
