"""Side by side benchmarks over the Python API."""
