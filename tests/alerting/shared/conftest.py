"""Shared alerting in tests polls without waiting."""

import pytest

from streamcanary.alerting.service.shared import input_feed, leased_service


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read inputs, and repeat commits, after milliseconds."""
    monkeypatch.setattr(input_feed, "POLL_INTERVAL", 0.005)
    monkeypatch.setattr(input_feed, "_RETRY_INTERVAL", 0.005)
    monkeypatch.setattr(leased_service, "_COMMIT_RETRY_INTERVAL", 0.01)
