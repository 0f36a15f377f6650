"""What every test shares."""

import pytest

from support import hypothesis_profile
from support.telemetry.in_memory import RecordedTelemetry, install_in_memory_providers


@pytest.fixture(scope="session")
def _recorder() -> RecordedTelemetry:
    return install_in_memory_providers()


@pytest.fixture
def recorded(_recorder: RecordedTelemetry) -> RecordedTelemetry:
    """Return the spans and metrics that are recorded from here on, kept in memory."""
    _recorder.clear()
    return _recorder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases the properties were tried on."""
    if count := hypothesis_profile.total_examples(
        report for reports in terminalreporter.stats.values() for report in reports
    ):
        terminalreporter.write_line(f"{count} cases of properties (profile {hypothesis_profile.PROFILE})")
