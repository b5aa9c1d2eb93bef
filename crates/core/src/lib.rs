//! The words every part of proxystore shares: connectors, keys, payloads, errors.
