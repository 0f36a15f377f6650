"""Rows of the store that cannot be read: what fires goes on, and what is notified is resolved."""

from typing import Any

import pytest
from msgspec import structs

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import Started, Tick
from streamcanary.alerting.engine.recovery.reconciliation import UNREADABLE_REASON
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.model.outcome import Outcome
from support.alerting.builders import CHAT, EngineHarness, alerts, bad, good, webhook_config

OTHER = structs.replace(CHAT, name="other")


def bad_other(number: int) -> Outcome:
    """Return a failed run of the canary ``other``."""
    return structs.replace(bad(number), canary="other")


def good_other(number: int) -> Outcome:
    """Return a good run of the canary ``other``."""
    return structs.replace(good(number), canary="other")


def firing_harness(**sections: Any) -> EngineHarness:
    """Build a harness in which ``chat`` failed three times."""
    harness = EngineHarness(alerts(**sections))
    harness.observe(bad, bad, bad)
    return harness


def with_unreadable_incident(harness: EngineHarness, config: AlertsConfig | None = None) -> EngineHarness:
    """Restart with an incident row that cannot be read, under ``config``."""
    (key,) = harness.stored_rows["incidents"]
    harness.stored_rows["incidents"][key] = b"\xff"
    harness.state, _ = read_state(harness.stored_rows)
    harness.configure(config or harness.config)
    harness.step(Started())
    return harness


def test_unreadable_incident_of_a_notified_group_still_fires() -> None:
    """An incident row that cannot be read is restored from its group, and resolves when its rule resolves it."""
    harness = firing_harness()
    trigger = harness.deliver()
    with_unreadable_incident(harness)
    harness.observe(bad, good, good)
    assert [] == harness.deliver_all()
    harness.observe(good)
    resolve = harness.deliver()
    assert trigger is not None
    assert resolve is not None
    assert (trigger.group, "resolve", "recovered: the last 3 runs were good") == (
        resolve.group,
        resolve.action,
        resolve.members[0].resolve_reason,
    )


def test_unreadable_incident_of_a_removed_rule_is_resolved() -> None:
    """An incident row that cannot be read, and that no rule watches any longer, is resolved at the start."""
    harness = firing_harness()
    harness.deliver()
    with_unreadable_incident(harness, alerts(rules={}))
    resolve = harness.deliver()
    assert resolve is not None
    assert ("resolve", UNREADABLE_REASON) == (resolve.action, resolve.members[0].resolve_reason)


def test_unreadable_incident_that_was_not_notified_leaves_its_group() -> None:
    """An incident row that cannot be read, and of which nobody was notified, sends nothing until the rule fires."""
    harness = EngineHarness(alerts(group_wait=60))
    harness.observe(bad, bad, bad)
    with_unreadable_incident(harness)
    harness.now += 120
    harness.step(Tick())
    assert [] == harness.deliver_all()
    harness.observe(*[good] * 4, bad, bad, bad)
    harness.now += 120
    harness.step(Tick())
    assert [("trigger", "Errors")] == harness.deliver_all()


@pytest.mark.parametrize("deleted", [("chat",), ("other",), ("chat", "other")])
def test_deleted_incidents_of_a_group_are_restored_before_it_is_routed(deleted: tuple[str, ...]) -> None:
    """If incident rows are deleted and the row of their group is not, a start with other routes resolves the group."""
    receivers = {"hook": webhook_config(), "late": webhook_config()}
    sections: dict[str, Any] = {"receivers": receivers, "group_by": ["alert"], "group_interval": "1h"}
    harness = EngineHarness(alerts(**sections, routes=[{"receivers": ["hook"]}]))
    harness.configure(harness.config, CHAT, OTHER)
    harness.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == harness.deliver_all()
    harness.observe(*[bad_other] * 3)  # waits for the next notification of the group
    for key, incident in harness.state.incidents.items():
        if incident.canary in deleted:
            del harness.stored_rows["incidents"][key]
    harness.crash()
    harness.configure(alerts(**sections, routes=[{"receivers": ["late"]}]), CHAT, OTHER)
    harness.step(Started())
    harness.observe(*[good, good_other] * 4)
    assert [] == harness.open_incidents
    assert [("resolve", "Errors")] == harness.deliver_all("hook")


def test_unreadable_rows_are_skipped() -> None:
    """An unreadable detector row is skipped and the detector starts empty; the open incident stays."""
    harness = firing_harness()
    key = next(iter(harness.stored_rows["detectors"]))
    harness.stored_rows["detectors"][key] = b'{"detector": {"type": "from the future"}}'
    harness.state, unread = read_state(harness.stored_rows)
    assert [(row.table, row.key) for row in unread] == [("detectors", key)]
    harness.observe(good, good, good)
    assert (harness.open_incidents, isinstance(harness.state, State)) == ([], True)


def test_stored_silence_with_an_unsupported_expression_is_skipped() -> None:
    """A silence that an earlier version stored, with an expression that RE2 rejects, is skipped; another one stays."""
    stored = {
        name: f'{{"id":"{name}","match":["canary=~\\"{pattern}\\""],"starts":0,"until":1}}'.encode()
        for name, pattern in (("old", "(?=chat).*"), ("new", "([a-z-]+)+X"))
    }
    state, unread = read_state({"silences": stored})
    assert (["new"], 1) == (list(state.silences), len(unread))
    assert ("silences", "old") == unread[0][:2]
    assert unread[0].reason.startswith("the regular expression of matcher 'canary=~\"(?=chat).*\"' is not valid")
