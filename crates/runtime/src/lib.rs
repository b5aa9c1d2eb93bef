//! Drives connector operations to completion: fork-aware, with deadlines.
