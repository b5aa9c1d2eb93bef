//! The behaviour every connector keeps, as runnable cases.
