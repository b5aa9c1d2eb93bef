"""Message brokers for streams, one module each."""
