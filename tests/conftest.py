"""Fixtures and report lines of all tests."""

import math
import os

import pytest

from streamcanary.client.drivers.loop_lag import LoopLag
from streamcanary.client.drivers.socket_timer import SocketTimer
from support import hypothesis_profile
from support.telemetry.in_memory import RecordedTelemetry, install_in_memory_providers

pytest_plugins = ["support.postgresql.fixtures"]


@pytest.fixture(scope="session")
def _recorder() -> RecordedTelemetry:
    return install_in_memory_providers()


@pytest.fixture
def recorded(_recorder: RecordedTelemetry) -> RecordedTelemetry:
    """Return the spans and metrics that are recorded in memory from now on."""
    _recorder.clear()
    return _recorder


@pytest.fixture(autouse=True)
def _process_on_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Report no lag of this process, unless the test has the marker ``process_lag``.

    Many tests at once make it late: a timeout would be ``client_delayed`` then, and not what the test expects.
    """
    if request.node.get_closest_marker("process_lag") is None:
        monkeypatch.setattr(LoopLag, "since", lambda _lag, _start: 0.0)
        monkeypatch.setattr(SocketTimer, "lateness", 0.0)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of workers of ``-n auto``: more than CPUs, because many tests wait for real programs."""
    return math.ceil(1.5 * len(os.sched_getaffinity(0)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report the number of property test cases."""
    if count := hypothesis_profile.total_examples(
        report for reports in terminalreporter.stats.values() for report in reports
    ):
        terminalreporter.write_line(f"{count} property test cases (profile {hypothesis_profile.PROFILE})")
