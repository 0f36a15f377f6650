"""Test the invariants of alerting in random stories of two replicas that share a database."""

import contextlib

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from support.alerting.postgres_harness import PostgresDatabase
from support.alerting.shared_harness import SharedDatabase
from support.alerting.shared_state_machine import SharedAlertingStateMachine
from support.hypothesis_profile import PROFILE
from support.postgresql.cluster import Cluster

EXAMPLES, STEPS, PARTS = (300, 60, 10) if PROFILE == "fuzz" else (40, 30, 1)


@pytest.mark.parametrize("part", range(PARTS))
def test_any_story_of_two_replicas_keeps_the_invariants(part: int) -> None:
    """Any sequence of events and takeovers keeps the invariants."""
    profile = settings.get_profile(PROFILE)
    bounds = settings(profile, max_examples=EXAMPLES, stateful_step_count=STEPS)
    run_state_machine_as_test(SharedAlertingStateMachine, settings=bounds)


@pytest.mark.real("postgresql")
def test_any_story_in_postgresql_keeps_the_invariants(postgresql: Cluster) -> None:
    """The same stories, with a database of its own for each."""

    class InPostgresql(SharedAlertingStateMachine):
        def create_database(self) -> SharedDatabase:
            self.stack = contextlib.ExitStack()
            return PostgresDatabase(self.stack.enter_context(postgresql.database()))

        def teardown(self) -> None:
            with self.stack:
                super().teardown()

    examples, steps = (40, 40) if PROFILE == "fuzz" else (2, 25)
    bounds = settings(settings.get_profile(PROFILE), max_examples=examples, stateful_step_count=steps)
    run_state_machine_as_test(InPostgresql, settings=bounds)
