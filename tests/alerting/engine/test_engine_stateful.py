"""Test the invariants of alerting under random sequences of runs, deliveries, silences, reloads and crashes."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from support.alerting.state_machine import AlertingStateMachine
from support.hypothesis_profile import PROFILE

EXAMPLES, STEPS, PARTS = (300, 60, 10) if PROFILE == "fuzz" else (50, 30, 1)


@pytest.mark.parametrize("part", range(PARTS))
def test_any_sequence_of_events_keeps_the_invariants(part: int) -> None:
    """Any sequence of events keeps the invariants."""
    profile = settings.get_profile(PROFILE)
    bounds = settings(profile, max_examples=EXAMPLES, stateful_step_count=STEPS)
    run_state_machine_as_test(AlertingStateMachine, settings=bounds)
