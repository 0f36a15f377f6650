"""Parts that tests share: builders, fake servers, and real programs.

- `clock.py`: clocks that a test sets.
- `http_client.py`: HTTP client for loopback.
- `hypothesis_profile.py`: how many examples property tests run.
"""
