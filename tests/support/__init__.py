"""Shared test support: builders, fake servers, and real programs.

- `clock.py`: clocks that a test sets.
- `http_client.py`: HTTP client for loopback.
- `hypothesis_profile.py`: the number of examples for property tests.
"""
