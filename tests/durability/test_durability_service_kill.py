"""``kill -9`` at a hundred instants during fire and resolve, with a receiver that fails half of its responses."""

import asyncio
import contextlib
import itertools
import os
import random
import secrets
import signal
import sqlite3
import sys
from collections import defaultdict
from pathlib import Path
from typing import Self

import pytest

from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.model.alerts.incident import Action
from streamcanary.model.status.alert_history import PastIncident, past_incident_id
from streamcanary.store.config import StoreConfig
from streamcanary.store.recorded_runs import read_alert_history
from streamcanary.store.tables import alert_history, alert_rows
from support.servers.receiver import CLOSE, CUT, HANG, SECRET, Behaviour, Delivery, FakeReceiver, Reply
from support.store.builders import CHILD_ENVIRONMENT

KILLS = 100
MAX_KILLS = 500
"""The limit of kills: a notification that has not been received until then counts as lost."""
MAX_LIFETIME = 0.3
"""Seconds: time to start, to evaluate a change, and to attempt its notification several times."""

LONGER = 1.1
"""The factor by which a process may live longer for each one that was killed before both were accepted.

On a busy machine even the start takes longer than ``MAX_LIFETIME``, and a notification would never be sent.
"""

PROGRAM = Path(__file__).with_name("program_service_kill.py")
CANARIES = {"chat", "search"}
FIRED, RESOLVED = "alert.fired", "alert.resolved"


class UnreliableReceiver(FakeReceiver):
    """Accepts half of its deliveries; of the others it accepts some whose response is lost."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def reply(self, delivery: Delivery) -> Behaviour:
        """Return the response to ``delivery``."""
        if self._chance.random() < 0.5:
            return Reply()
        failures: list[Behaviour] = [Reply(500), Reply(429, {"Retry-After": "1"}), CLOSE, HANG, CUT]
        failure = self._chance.choice(failures)
        if failure == CUT:
            self.accepted.append(delivery)
        return failure

    def accepted_by_canary(self) -> dict[str, list[tuple[str, str]]]:
        """Return type and id of the accepted deliveries by canary, without immediate repetitions."""
        by_canary = defaultdict(list)
        for delivery in self.accepted:
            by_canary[delivery.json["labels"]["canary"]].append((delivery.json["type"], delivery.id))
        return {canary: [one for one, _ in itertools.groupby(deliveries)] for canary, deliveries in by_canary.items()}

    def has_last_accepted(self, kind: str) -> bool:
        """Return whether the last accepted delivery of each canary is of type ``kind``."""
        return {canary: deliveries[-1][0] for canary, deliveries in self.accepted_by_canary().items()} == dict.fromkeys(
            CANARIES, kind
        )


class KilledProcesses:
    """``async with KilledProcesses(folder, url)``: processes that are killed in turn over one store."""

    def __init__(self, folder: Path, url: str) -> None:
        self._store, self._health, self._log = folder / "canary.db", folder / "health", folder / "log"
        self._url = url
        self.kills = 0

    async def __aenter__(self) -> Self:
        self.set_health("well")
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(PROGRAM), str(self._store), self._url, str(self._health)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**CHILD_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        return self

    async def __aexit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def set_health(self, health: str) -> None:
        """Let all runs be ``bad`` or ``well`` from now on."""
        self._health.write_text(health)

    async def run_and_kill(self, seconds: float) -> None:
        """Run a process for ``seconds``, and kill it."""
        assert self.kills < MAX_KILLS, f"a notification is never received: {self._log.read_text()}"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n".encode())
        assert (await self._process.stdout.readline()).decode() == f"{-signal.SIGKILL}\n", self._log.read_text()
        self.kills += 1

    def stored_state(self) -> State:
        """Return the state in the store."""
        with contextlib.closing(sqlite3.connect(f"{self._store.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("BEGIN")
            state, unread = read_state(alert_rows.load_rows(connection))
            past = alert_history.read_unfinished(connection, ())
        assert unread == []
        assert {one.id for one in past if one.resolved is None} == {
            past_incident_id(one.key, one.opened) for one in state.incidents.values() if one.is_firing
        }, "the history differs from the state"
        return state

    def history(self) -> list[PastIncident]:
        """Return the history of alerts in the store."""
        return read_alert_history(StoreConfig(path=self._store), 0.0)


def firing(state: State) -> set[str]:
    """Return the canaries of the open incidents, and assert that each has one at most.

    ``ReceiverFailing``, which has no canary, can be open too: by the fast clock the receiver does not respond for
    minutes. No other receiver would be notified of it.
    """
    names = [incident.canary for incident in state.incidents.values() if incident.is_firing and incident.canary]
    assert sorted(names) == sorted(set(names))
    return set(names)


@pytest.mark.timeout(300)
async def test_outage_and_recovery_are_accepted_once_whenever_alerting_is_killed(tmp_path: Path) -> None:
    """By id, each trigger and each resolve is accepted once and in order; a repetition has the same bytes.

    Health changes as soon as the receiver has accepted both canaries, so that few processes have nothing to do.
    """
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    turns = 0
    async with UnreliableReceiver(random.Random(seed + 1)) as hook, KilledProcesses(tmp_path, hook.url) as processes:  # noqa: S311 - the same
        while processes.kills < KILLS:
            for health, kind, open_now in (("bad", FIRED, CANARIES), ("well", RESOLVED, set[str]())):
                processes.set_health(health)
                turns += 1
                waits = 0
                while not hook.has_last_accepted(kind):
                    await processes.run_and_kill(chance.uniform(0.0, MAX_LIFETIME * LONGER**waits))
                    waits += 1
                state = processes.stored_state()
                assert firing(state) == open_now
                received = {deliveries[-1] for deliveries in hook.accepted_by_canary().values()}
                waiting = {(FIRED, one.id) for one in state.notifications.values() if one.action is Action.TRIGGER}
                assert open_now == set() or waiting == received, (
                    "the id of a stored trigger differs from the received one"
                )
        waits = 0
        while processes.stored_state().notifications:  # the response of these was lost
            await processes.run_and_kill(MAX_LIFETIME * LONGER**waits)
            waits += 1
        observed = len(hook.deliveries)
        await processes.run_and_kill(2 * MAX_LIFETIME)
        assert len(hook.deliveries) == observed, "a restart without changes has sent a notification"
        end = processes.stored_state()
        history = [one for one in processes.history() if one.subject in CANARIES]

    print(f"{processes.kills} kills, {turns} turns, {observed} deliveries")  # noqa: T201 - shown when the test fails
    for deliveries in hook.accepted_by_canary().values():
        assert [kind for kind, _ in deliveries] == [FIRED, RESOLVED] * (turns // 2)
    assert len(history) == turns
    for incident in history:
        kinds = [event.kind for event in incident.timeline]
        assert [kinds.count(kind) for kind in ("first_failure", "fired", "resolved", "resolve_notified")] == [1] * 4
    ids = [received for deliveries in hook.accepted_by_canary().values() for _, received in deliveries]
    assert len(ids) == len(set(ids)) == 2 * turns
    assert len({delivery.body for delivery in hook.accepted}) == len(ids), "a repeated notification has different bytes"
    assert {delivery.id for delivery in hook.deliveries} == set(ids), "a notification was sent and never accepted"
    assert all(delivery.signed_with(SECRET) for delivery in hook.deliveries)
    assert (firing(end), [group for group in end.groups.values() if group.is_firing]) == (set(), [])
