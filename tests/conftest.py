"""Fixtures and report lines of all tests."""

import pytest

from support import hypothesis_profile
from support.telemetry.in_memory import RecordedTelemetry, install_in_memory_providers


@pytest.fixture(scope="session")
def _recorder() -> RecordedTelemetry:
    return install_in_memory_providers()


@pytest.fixture
def recorded(_recorder: RecordedTelemetry) -> RecordedTelemetry:
    """Return the spans and metrics that are recorded in memory from now on."""
    _recorder.clear()
    return _recorder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report the number of property test cases."""
    if count := hypothesis_profile.total_examples(
        report for reports in terminalreporter.stats.values() for report in reports
    ):
        terminalreporter.write_line(f"{count} property test cases (profile {hypothesis_profile.PROFILE})")
