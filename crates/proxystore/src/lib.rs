//! Pass-by-reference for distributed programs: the facade and the table of connectors.
