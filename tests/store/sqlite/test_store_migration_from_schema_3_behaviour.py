"""The daemon continues with a database of schema 3 as the release that wrote it would."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from streamcanary.alerting.engine.inputs import RunFinished, Started, Tick
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.model.alerts.incident import Action, Notification, NotificationState
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind
from streamcanary.settings import load
from streamcanary.store.sqlite.migrations import migrate
from streamcanary.store.tables import alert_rows

FIXTURES = Path(__file__).parents[2] / "fixtures" / "store"


@pytest.fixture
def engine() -> Engine:
    """Provide an engine with the configuration under which the database was written."""
    settings = load(FIXTURES / "schema-3.yaml", {})
    return Engine(settings.alerts, settings.instance, settings.to_canaries())


@pytest.fixture
def state(tmp_path: Path) -> State:
    """Provide the state of the migrated database."""
    path = Path(shutil.copy(FIXTURES / "schema-3.db", tmp_path / "canary.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection)
        return read_state(alert_rows.load_rows(connection))[0]


def last_seen(state: State) -> float:
    """Return when the last run was seen, in seconds since the epoch."""
    return max(one.last_seen for one in state.reachability.values())


def success(canary: str, at: float) -> Outcome:
    """Build a successful run that ended ``at`` (seconds since the epoch)."""
    attempt = Attempt(number=1, route="primary", started=at - 0.5, duration=0.5)
    return Outcome(
        run_id=f"{canary}-{at}",
        canary=canary,
        target="sim",
        provider="openai",
        kind=OutcomeKind.OK,
        scheduled=at - 0.5,
        started=at - 0.5,
        duration=0.5,
        attempts=(attempt,),
        time_to_first_token=0.0005,
    )


def triggers(state: State, receiver: str) -> dict[str, Notification]:
    """Return the triggers of a receiver, by group."""
    return {n.group: n for n in state.notifications.values() if n.receiver == receiver and n.action is Action.TRIGGER}


def test_a_start_notifies_no_receiver_again(engine: Engine, state: State) -> None:
    """A receiver that accepted a trigger gets no second one, and the groups that fire are the same."""
    now = last_seen(state) + 5
    started, _ = engine.step(state, Started(), now)
    ticked, _ = engine.step(started, Tick(), now + 1)
    assert {key for key, group in state.groups.items() if group.is_firing} == {
        key for key, group in ticked.groups.items() if group.is_firing
    }
    assert triggers(state, "accepts") == triggers(ticked, "accepts")
    assert {NotificationState.ACCEPTED} == {n.state for n in triggers(ticked, "accepts").values()}


def test_a_refused_trigger_is_retried_at_the_start(engine: Engine, state: State) -> None:
    """A notification that was definitely refused is retried once at each start while its group fires."""
    started, _ = engine.step(state, Started(), last_seen(state) + 5)
    firing = {key for key, group in started.groups.items() if group.is_firing and key in triggers(state, "refuses")}
    assert firing
    assert {NotificationState.PENDING} == {triggers(started, "refuses")[key].state for key in firing}


def test_an_incident_of_the_former_release_resolves(engine: Engine, state: State) -> None:
    """Good runs resolve an incident of the former release, and the notified receiver gets the resolve."""
    now = last_seen(state) + 5
    state, _ = engine.step(state, Started(), now)
    opened = [one for one in state.incidents.values() if one.canary == "cut" and one.rule == "Row" and one.is_firing]
    assert 1 == len(opened)
    for number in range(40):
        for canary in ("cut", "unreachable"):
            state, _ = engine.step(state, RunFinished(success(canary, now + number)), now + number)
    state, _ = engine.step(state, Tick(), now + 41)
    incident = state.incidents[opened[0].key]
    assert (False, "recovered: the last 3 runs were good") == (incident.is_firing, incident.resolve_reason)
    [group] = [group for group in state.groups.values() if opened[0].key in group.members]
    resolves = {n.receiver for n in state.notifications.values() if n.group == group.key and n.action is Action.RESOLVE}
    assert "accepts" in resolves
