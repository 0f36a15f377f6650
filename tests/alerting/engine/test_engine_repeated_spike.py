"""A ``spike`` alert that fires again within a day: more good runs resolve it, and the notification says why."""

from streamcanary.alerting.engine.inputs import Started
from support.alerting.builders import EngineHarness, alerts, bad, good

RULE = {"detector": {"type": "spike", "normal": "5%", "spike": "60%", "false_pages": "1 per 2h"}}
"""Fires at two failures in a row, and resolves after six good runs in a row."""

FIRST = "6 good runs in a row"
SECOND = "12 good runs in a row, instead of 6, as it fired 2 times within a day of the last resolve"


def fired_twice() -> EngineHarness:
    """Return an engine in which the alert has fired, resolved, and fired again."""
    engine = EngineHarness(alerts(rules={"Errors": RULE}))
    engine.observe(*[bad] * 3, *[good] * 10, *[bad] * 3)
    return engine


def test_the_incident_says_how_many_good_runs_are_needed_and_why() -> None:
    """The second incident needs twice the good runs, and its resolve condition says why."""
    engine = EngineHarness(alerts(rules={"Errors": RULE}))
    engine.observe(*[bad] * 3)
    [incident] = engine.state.incidents.values()
    assert (True, FIRST) == (incident.is_firing, incident.resolve_condition.split(";")[0])
    engine.observe(*[good] * 6, *[bad] * 3)
    [incident] = engine.state.incidents.values()
    assert (True, SECOND) == (incident.is_firing, incident.resolve_condition.split(";")[0])
    engine.observe(*[good] * 11)
    [incident] = engine.state.incidents.values()
    assert incident.is_firing
    engine.observe(good)
    [incident] = engine.state.incidents.values()
    assert not incident.is_firing


def test_a_restart_keeps_the_number_of_good_runs_and_the_reason() -> None:
    """After a crash the stored detector state continues, and the resolve condition is that of the second alert."""
    engine = fired_twice()
    engine.crash()
    engine.step(Started())
    [incident] = engine.state.incidents.values()
    assert SECOND == incident.resolve_condition.split(";")[0]
    engine.observe(*[good] * 11)
    [incident] = engine.state.incidents.values()
    assert incident.is_firing
    engine.observe(good)
    [incident] = engine.state.incidents.values()
    assert not incident.is_firing


def test_the_notification_says_how_many_good_runs_are_needed() -> None:
    """The notification that fires again has the resolve condition with the reason."""
    engine = fired_twice()
    conditions = [member.resolve_condition for one in engine.state.notifications.values() for member in one.members]
    assert SECOND in [condition.split(";")[0] for condition in conditions]
