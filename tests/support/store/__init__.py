"""Helpers for tests that use a store.

- `builders.py`: an open store, an outcome to record, and a clock that stands still.
- `full_disk.py`: run a program on a disk that is full, read-only or size-limited.
"""
