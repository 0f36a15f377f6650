"""The lines that ``probe`` prints for an attempt."""

import pytest

from streamcanary.cli.commands.probing.probe_output import format_attempt
from streamcanary.model.outcome import Attempt, PhaseDurations


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        (
            PhaseDurations(dns=0.002, connect=0.01, tls=0.02, headers=0.3, first_token=0.5, streaming=1.0),
            "1.8s: dns 2ms, connect 10ms, tls 20ms, headers 300ms, first token 500ms, streaming 1s",
        ),
        (PhaseDurations(headers=0.83, first_token=1.0), "1.8s: headers 830ms, first token 1s"),
        (PhaseDurations(), "1.8s"),
    ],
)
def test_attempt_has_its_phases(phases: PhaseDurations, expected: str) -> None:
    """The duration of an attempt is followed by those of the phases that it had, in their order."""
    attempt = Attempt(number=1, route="m", started=0.0, duration=1.832, phases=phases)
    assert f"attempt 1 on m: answered ({expected})" == format_attempt(attempt)
