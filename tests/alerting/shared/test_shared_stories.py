"""Test the invariants of alerting in random stories of two replicas that share a database."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from support.alerting.shared_state_machine import SharedAlertingStateMachine
from support.hypothesis_profile import PROFILE

EXAMPLES, STEPS, PARTS = (300, 60, 10) if PROFILE == "fuzz" else (40, 30, 1)


@pytest.mark.parametrize("part", range(PARTS))
def test_any_story_of_two_replicas_keeps_the_invariants(part: int) -> None:
    """Any sequence of events and takeovers keeps the invariants."""
    profile = settings.get_profile(PROFILE)
    bounds = settings(profile, max_examples=EXAMPLES, stateful_step_count=STEPS)
    run_state_machine_as_test(SharedAlertingStateMachine, settings=bounds)
