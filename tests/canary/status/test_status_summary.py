"""The status of everything in one sentence."""

from typing import Any

import pytest

from streamcanary.canary.status.summary import summarize
from streamcanary.model.alerts.incident import Evidence, Incident
from streamcanary.model.alerts.status_snapshot import OpenIncident, StatusSnapshot
from streamcanary.model.status.canary_status import CanaryState, CanaryStatus, RecentRun
from streamcanary.model.status.summary import OverallState, StatusSummary
from support.store.builders import NOON

OK, SLOW, DEGRADED, FAILING, UNKNOWN = CanaryState


def canary(name: str, state: CanaryState = OK, target: str = "openai", **changes: Any) -> CanaryStatus:
    """Build the status of a canary in ``state`` since noon, whose last run had three attempts."""
    values: dict[str, Any] = {
        "provider": "openai",
        "model": "m",
        "labels": {},
        "interval": 30.0,
        "since": None if state is UNKNOWN else NOON,
        "fault": "stalled" if state in (DEGRADED, FAILING) else None,
        "recent_runs": (RecentRun(run_id="r", started=NOON, outcome="failed", attempts=3),),
    }
    return CanaryStatus(name=name, target=target, state=state, **{**values, **changes})


def canaries(target: str, *states: CanaryState) -> list[CanaryStatus]:
    """Build the canaries of a target."""
    return [canary(f"{target}-{number}", state, target) for number, state in enumerate(states)]


def incident(rule: str = "Errors", subject: str = "openai-0", **changes: Any) -> OpenIncident:
    """Build an open incident of severity ``page``; ``about_daemon`` is one that no canary has."""
    about_daemon = changes.pop("about_daemon", False)
    summary = changes.pop("summary", "")
    values: dict[str, Any] = {"labels": {"severity": "page"}, "evidence": Evidence(since=NOON - 60)}
    found = Incident(
        key=f"{rule}/{subject}",
        rule=rule,
        subject=subject,
        canary=None if about_daemon else subject,
        opened=NOON,
        **values | {name: changes.pop(name) for name in ("labels", "scope") if name in changes},
    )
    return OpenIncident(incident=found, annotations={"summary": summary} if summary else {}, **changes)


def summary(statuses: list[CanaryStatus], *incidents: OpenIncident, **changes: Any) -> StatusSummary:
    """Return the summary at noon."""
    snapshot = StatusSnapshot(incidents=incidents, firing_count=len(incidents), **changes)
    return summarize(statuses, snapshot, instance="i", version="1", started=NOON - 9, now=NOON)


@pytest.mark.parametrize(
    ("statuses", "sentence"),
    [
        ([], "No canary is configured"),
        (canaries("openai", UNKNOWN, UNKNOWN), "No canary has run yet"),
        ([canary("one", UNKNOWN, since=NOON)], "No canary has a recent result"),
        ([canary("one")], "The canary one answers"),
        (canaries("openai", OK, OK, OK), "All 3 canaries answer"),
        (canaries("openai", OK, OK, UNKNOWN), "2 of 3 canaries answer; 1 has no recent result"),
        (canaries("openai", OK, FAILING, OK), "openai: openai-1 fails (stalled)"),
        ([canary("one", FAILING)], "openai: one fails (stalled)"),
        (canaries("openai", *[FAILING] * 6, OK, OK), "openai: 6 of 8 canaries fail (stalled)"),
        (canaries("openai", FAILING, FAILING), "openai: both canaries fail (stalled)"),
        (canaries("openai", *[FAILING] * 5), "openai: all 5 canaries fail (stalled)"),
        (
            [*canaries("azure", FAILING), *canaries("openai", FAILING, FAILING, OK)],
            "openai: 2 of 3 canaries fail (stalled); azure: azure-0 fails (stalled)",
        ),
        (
            [each for target in "abcde" for each in canaries(target, FAILING, OK)],
            "5 of 10 canaries fail, at 5 targets: a (1 of 2), b (1 of 2), c (1 of 2) and 2 more",
        ),
        ([canary("one", FAILING, fault="stream_cut")], "openai: one fails (stream cut off)"),
        (canaries("openai", SLOW, SLOW, OK), "openai: 2 of 3 canaries are slow"),
        (canaries("openai", SLOW, OK), "openai: openai-0 is slow"),
        (canaries("openai", DEGRADED, DEGRADED, OK), "openai: 2 of 3 canaries are answered by a fallback (stalled)"),
        (canaries("openai", DEGRADED, FAILING, SLOW), "openai: openai-1 fails (stalled)"),
    ],
)
def test_the_sentence_says_what_is_broken_and_for_whom(statuses: list[CanaryStatus], sentence: str) -> None:
    """The worst state is in the sentence, with the target, the number of canaries and the most frequent fault."""
    assert sentence == summary(statuses).sentence


@pytest.mark.parametrize(
    ("faults", "text"),
    [
        (["stalled", "stalled", "rate_limited"], "(stalled, rate limited)"),
        (["stalled", "rate_limited", "rate_limited", "server_error"], "(rate limited, stalled and 1 more)"),
        ([None, None], None),
    ],
)
def test_the_sentence_names_the_faults_that_there_are(faults: list[str | None], text: str | None) -> None:
    """One fault does not stand for others: two are named, the most frequent first."""
    statuses = [canary(f"c{number}", FAILING, fault=fault) for number, fault in enumerate(faults)]
    sentence = summary(statuses).sentence
    assert sentence.endswith("canaries fail" if text is None else f"canaries fail {text}")


@pytest.mark.parametrize(
    ("statuses", "detail"),
    [
        (canaries("openai", OK, OK), ""),
        (canaries("openai", FAILING, FAILING), "users get no answer after 3 attempts; no alert fires"),
        (canaries("openai", DEGRADED, OK), "users with the same fallback are served, after 3 attempts; no alert fires"),
        (canaries("openai", SLOW, OK), "users are served, over the SLO; no alert fires"),
        ([canary("one", FAILING, message="no token for 5 s", recent_runs=())], "no token for 5 s; no alert fires"),
        (
            canaries("openai", FAILING, FAILING, DEGRADED, SLOW, SLOW),
            "users get no answer after 3 attempts; 1 more is answered by a fallback; 2 more are slow; no alert fires",
        ),
    ],
)
def test_the_detail_says_what_users_see_and_what_was_tried(statuses: list[CanaryStatus], detail: str) -> None:
    """It also counts the canaries in other states."""
    assert detail == summary(statuses).detail


@pytest.mark.parametrize(
    ("incidents", "notified", "text"),
    [
        ((incident(),), (), "no receiver is notified"),
        ((incident(notified=("oncall",)),), ("oncall",), "notified: oncall"),
        (
            (incident(notified=("oncall", "chat")), incident("Other", notified=("chat", "hook", "prom"))),
            ("oncall", "chat", "hook", "prom"),
            "notified: oncall, chat, hook and 1 more",
        ),
        ((incident(notified=("oncall",), silenced_by=("s",)),), ("oncall",), "notified: oncall; 1 alert is muted"),
    ],
)
def test_the_detail_says_who_was_notified(
    incidents: tuple[OpenIncident, ...], notified: tuple[str, ...], text: str
) -> None:
    """It names the receivers that have accepted a notification of any alert, at most three of them."""
    shown = summary(canaries("openai", FAILING, FAILING), *incidents)
    assert (notified, f"users get no answer after 3 attempts; {text}") == (shown.notified, shown.detail)


def test_an_outage_of_the_own_network_explains_all_others() -> None:
    """The sentence is about the daemon, and the detail names the canaries."""
    egress = incident("CanaryEgressDown", "egress", about_daemon=True, summary="No provider is reachable")
    shown = summary(canaries("openai", FAILING, FAILING), egress)
    assert ("No provider is reachable", OverallState.FAILING) == (shown.sentence, shown.state)
    assert "openai: both canaries fail (stalled)" in shown.detail


def test_a_failing_store_is_said_when_all_else_is_well() -> None:
    """An alert about the daemon follows what the canaries say."""
    store = incident("StoreFailing", "store", about_daemon=True, summary="The store cannot be written.")
    assert "All 2 canaries answer, but: The store cannot be written" == summary(canaries("a", OK, OK), store).sentence


def test_a_failing_store_is_in_the_detail_of_an_outage() -> None:
    """The sentence is about the canaries."""
    store = incident("StoreFailing", "store", about_daemon=True, summary="The store cannot be written")
    shown = summary(canaries("openai", FAILING, OK), store)
    assert "openai: openai-0 fails (stalled)" == shown.sentence
    assert "The store cannot be written" in shown.detail


def test_alerts_that_have_not_resolved_are_said() -> None:
    """A canary may answer again before its alert resolves; the alert tells since when."""
    shown = summary(canaries("openai", OK, OK), incident())
    assert "All 2 canaries answer; 1 alert fires: Errors (openai-0)" == shown.sentence
    assert (OverallState.FAILING, NOON - 60) == (shown.state, shown.since)


@pytest.mark.parametrize(
    ("statuses", "incidents", "state"),
    [
        (canaries("openai", OK, UNKNOWN), (), OverallState.OK),
        (canaries("openai", UNKNOWN), (), OverallState.UNKNOWN),
        (canaries("openai", SLOW), (), OverallState.DEGRADED),
        (canaries("openai", FAILING), (), OverallState.DEGRADED),
        (canaries("openai", FAILING), (incident(),), OverallState.FAILING),
        (canaries("openai", FAILING), (incident(labels={"severity": "critical"}),), OverallState.FAILING),
        (canaries("openai", FAILING), (incident(labels={}),), OverallState.FAILING),
        (canaries("openai", OK), (incident(labels={"severity": "ticket"}),), OverallState.DEGRADED),
        (canaries("openai", FAILING), (incident(silenced_by=("s",)),), OverallState.DEGRADED),
        (canaries("openai", OK), (incident(muted_by="maintenance deploy"),), OverallState.DEGRADED),
    ],
)
def test_the_state_is_failing_only_if_somebody_is_paged(
    statuses: list[CanaryStatus], incidents: tuple[OpenIncident, ...], state: OverallState
) -> None:
    """A muted alert, one that does not page, and failures without an alert are less."""
    assert state is summary(statuses, *incidents).state


def test_muted_alerts_and_undelivered_notifications_are_counted() -> None:
    """Both are in the detail."""
    shown = summary(canaries("openai", OK), incident(silenced_by=("s",)), undelivered_count=2)
    assert (1, 1, 2) == (shown.firing, shown.silenced, shown.undelivered)
    assert "1 alert is muted; 2 notifications are not delivered" == shown.detail


def test_an_outage_began_with_the_first_canary_of_its_state() -> None:
    """Canaries in a better state do not count."""
    statuses = [canary("a", FAILING, since=NOON - 5), canary("b", FAILING, since=NOON - 9), canary("c", SLOW, since=1)]
    assert NOON - 9 == summary(statuses).since


def test_hostile_text_is_bounded_and_printable() -> None:
    """A message of a provider, and the summary of an alert, have no control characters and no great length."""
    statuses = [canary("one", FAILING, message="\x1b[31m" + "\u202ex" * 5000)]
    store = incident("StoreFailing", "store", about_daemon=True, summary="\x00" + "y" * 5000)
    detail = summary(statuses, store).detail
    assert len(detail) < 1000
    assert detail.isprintable()
