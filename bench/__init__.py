"""Benchmarks of streamcanary: ``python -m bench``."""
