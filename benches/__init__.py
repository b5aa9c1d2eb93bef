"""Benchmarks: those of the native core, and those beside the original."""
