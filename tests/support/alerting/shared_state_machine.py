"""Random stories of alerting with two replicas: takeovers at any moment, and commits in doubt."""

from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from streamcanary.alerting.engine.inputs import RunFinished, SendFinished, Started, Tick
from streamcanary.alerting.notify.delivery.result import Accepted
from streamcanary.store.errors import LeaseLost, SessionLost
from support.alerting.builders import EngineHarness
from support.alerting.config_variants import WEBHOOK_NAMES
from support.alerting.shared_harness import DeposedOwner, MemoryDatabase, SharedDatabase, SharedHarness
from support.alerting.state_machine import AlertingStateMachine

SKEWS = (-4.0, 0.0, 4.0)
"""Seconds by which the clock of a successor may differ."""


class SharedAlertingStateMachine(AlertingStateMachine):
    """The stories of one daemon with a store of its own, with two replicas and a database."""

    # what only a store of one daemon can do
    store = start_with_unreadable_store = lose_store = None  # type: ignore[assignment]

    harness: SharedHarness
    deposed: DeposedOwner | None = None

    def create_database(self) -> SharedDatabase:
        """Return an empty database."""
        return MemoryDatabase()

    def create_harness(self) -> EngineHarness:
        """Return the harness of the owner."""
        return SharedHarness(self.config, *self.fleet, database=self.create_database())

    # ---- takeovers

    @rule(skew=st.sampled_from(SKEWS), with_sends=st.booleans())
    def hand_over(self, skew: float, with_sends: bool) -> None:
        """Let the owner end what it sends, and release its lease; another replica takes it."""
        for receiver in WEBHOOK_NAMES if with_sends else ():
            self.answer(receiver, "accepted")
        self.in_flight.clear()
        self.harness.take_over(fence=False)
        self._start(skew)

    @rule(skew=st.sampled_from(SKEWS), received=st.booleans())
    def kill(self, skew: float, received: bool) -> None:
        """Kill the owner, after or before receivers got what it was sending; another replica takes over."""
        for receiver in WEBHOOK_NAMES if received else ():
            if (notification := self.in_flight.pop(receiver, None)) is not None:
                self.receiver_models[receiver].receive(notification)
        self.in_flight.clear()
        self.harness.crash()
        self._start(skew)

    @rule(skew=st.sampled_from(SKEWS), who=st.integers(0, 3), how=st.sampled_from(["good", "bad"]))
    def pause(self, skew: float, who: int, how: str) -> None:
        """Stop the owner while it sends, and after it has evaluated a run; another replica takes over."""
        self.deposed = DeposedOwner(self.harness, self.in_flight)
        self.in_flight.clear()
        self.harness.wait_for(self.harness.database.record(self._create_run(self.fleet[who % len(self.fleet)], how)))
        self.deposed.evaluate_pending()
        self.harness.crash()
        self._start(skew)

    @rule()
    def resume(self) -> None:
        """Continue the stopped owner: it commits nothing, and sends nothing."""
        deposed, self.deposed = self.deposed, None
        if deposed is None:
            return
        for receiver, notification in deposed.in_flight.items():
            if deposed.may_send:
                self.receiver_models[receiver].receive(notification)
            deposed.evaluate(SendFinished(notification.id, Accepted(), 0.5))
        with pytest.raises((SessionLost, LeaseLost)):
            deposed.commit()

    # ---- the database

    @rule(count=st.integers(1, 3))
    def lose_answers(self, count: int) -> None:
        """Let the next commits succeed without an answer: they are repeated."""
        self.harness.database.lose_answers(count)

    @rule(who=st.integers(0, 3), how=st.sampled_from(["good", "bad"]))
    def record_twice(self, who: int, how: str) -> None:
        """Record a run twice, as after a commit in doubt."""
        run = self._create_run(self.fleet[who % len(self.fleet)], how)
        self.harness.wait_for(self.harness.database.record(run))
        self._step(RunFinished(run))

    @rule(how=st.lists(st.sampled_from(["good", "bad", "unreachable"]), min_size=1, max_size=6))
    def record_without_owner(self, how: list[str]) -> None:
        """Record runs while nobody owns alerting; the successor evaluates them."""
        self.in_flight.clear()
        for number, each in enumerate(how):
            run = self._create_run(self.fleet[number % len(self.fleet)], each)
            self.harness.wait_for(self.harness.database.record(run))
        self.harness.crash()
        self._start(0.0)

    def _start(self, skew: float) -> None:
        """Start the successor, whose clock differs by ``skew`` seconds."""
        self.harness.now += skew
        if skew < 0:
            self.firing_unmuted_since = dict.fromkeys(self.firing_unmuted_since, self.elapsed)
        self._step(Started())
        self._step(Tick(20.0))

    def _create_run(self, canary: Any, how: str) -> Any:
        run = super()._create_run(canary, how)
        return msgspec.structs.replace(run, replica=f"pod-{ord(canary.name[0]) % 2}")

    def teardown(self) -> None:
        """Let all canaries recover: each notified receiver gets the resolve, and nothing is left in the database."""
        try:
            self.resume()
            super().teardown()
            assert [] == self.harness.wait_for(self.harness.database.inputs.pending(10))
        finally:
            self.harness.close()
