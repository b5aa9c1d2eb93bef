"""What the suites share: other interpreters, child processes, leak checks."""
