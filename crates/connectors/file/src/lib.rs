//! A connector that keeps objects as files in a directory.
