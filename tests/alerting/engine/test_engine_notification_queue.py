"""What is tried again, what is not, and who is told of it: invariant 7, and level receivers in the pure engine."""

from typing import Any

import msgspec

from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import SendFinished, SendStarted, Started, StateReceiverReported, Tick
from streamcanary.alerting.engine.reconciliation import UNREADABLE_REASON
from streamcanary.alerting.engine.state import State, read_state
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Refused, Retry
from streamcanary.model.alerts.incident import NotificationState
from streamcanary.model.canary import Canary
from support.alerting.builders import CHAT, NOON, EngineHarness, alerts, bad, good, webhook_config

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
TWO_HOOKS = {"hook": webhook_config(), "other": webhook_config()}


def fired(**sections: Any) -> EngineHarness:
    """Build a world in which ``chat`` has failed three times."""
    world = EngineHarness(alerts(**sections))
    world.observe(bad, bad, bad)
    return world


# ---- 7: what is tried again, and what is not


def test_a_page_is_tried_for_as_long_as_it_fires() -> None:
    """Two weeks of a dead receiver lose nothing, at one try a minute in the end."""
    world = fired()
    waits = []
    for _ in range(12):
        assert world.deliver(answer=Retry(reason="no answer")) is not None
        (notice,) = world.state.notifications.values()
        waits.append(notice.next_attempt - world.now)
        world.now = notice.next_attempt
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    world.now += 14 * 86400
    world.step(Tick())
    assert world.deliver_all() == [("trigger", "Errors")]


def test_retries_of_many_are_spread() -> None:
    """Luck takes up to half of a wait."""
    assert [notification_queue.backoff(4, luck) for luck in (0.0, 0.5, 1.0)] == [8.0, 6.0, 4.0]


def test_retry_after_is_honoured_for_all_that_goes_there() -> None:
    """A receiver that asks for a minute gets one, also from the other groups."""
    canaries = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b")]
    world = EngineHarness(alerts(), *canaries)
    for name in ("a", "b"):
        world.observe(*[msgspec.structs.replace(bad(number), canary=name) for number in range(3)])
    world.deliver(answer=Retry(reason="HTTP 429", retry_after=60.0, is_definitely_undelivered=True))
    assert world.deliver() is None
    world.now += 60
    assert len(world.deliver_all()) == 2


def test_a_clock_that_was_set_back_does_not_hold_a_retry_back() -> None:
    """Or a page would wait for an hour that has already passed."""
    world = fired()
    world.deliver(answer=Retry(reason="no answer"))
    world.now -= 3600
    assert world.deliver_all() == [("trigger", "Errors")]


def test_a_refused_page_is_told_to_the_others() -> None:
    """It is parked with its error, and ``ReceiverFailing`` goes to the other receivers alone."""
    world = fired(receivers=TWO_HOOKS, routes=[{"receivers": ["hook", "other"]}])
    world.deliver(answer=Refused("HTTP 401: bad token"))
    parked = next(notice for notice in world.state.notifications.values() if notice.receiver == "hook")
    assert (parked.state, parked.last_error) == (NotificationState.PARKED, "HTTP 401: bad token")
    assert world.deliver_all("hook") == []
    assert world.deliver_all("other") == [("trigger", "Errors"), ("trigger", "ReceiverFailing")]
    (failing,) = [incident for incident in world.open_incidents if incident.rule == "ReceiverFailing"]
    assert (failing.subject, failing.labels["severity"], failing.evidence.message) == (
        "hook",
        "page",
        "HTTP 401: bad token",
    )


def test_a_failing_receiver_that_is_alone_in_its_route_is_told_to_all_others() -> None:
    """Somebody has to hear it."""
    world = fired(receivers=TWO_HOOKS, routes=[{"receivers": ["hook"]}])
    world.deliver(answer=Refused("HTTP 404"))
    assert world.deliver_all("other") == [("trigger", "ReceiverFailing")]


def test_a_notice_about_a_failing_receiver_never_begets_another() -> None:
    """Two receivers that refuse everything do not page each other for ever."""
    world = fired(receivers=TWO_HOOKS, routes=[{"receivers": ["hook", "other"]}])
    for _ in range(50):
        for receiver in TWO_HOOKS:
            world.deliver(receiver, Refused("HTTP 400"))
    assert sorted(incident.subject for incident in world.open_incidents) == ["chat", "hook", "other"]
    assert len(world.state.notifications) == 4


def test_who_refuses_only_word_of_another_is_not_reported() -> None:
    """That would tell the one that fails, of all receivers."""
    world = fired(receivers=TWO_HOOKS, routes=[{"receivers": ["hook", "other"]}])
    world.deliver("other")
    world.deliver("hook", Refused("HTTP 400"))
    world.deliver("other", Refused("HTTP 400"))
    assert sorted(incident.subject for incident in world.open_incidents) == ["chat", "hook"]


def test_a_receiver_that_accepts_again_is_well() -> None:
    """The next page it takes resolves ``ReceiverFailing``."""
    world = fired(receivers=TWO_HOOKS, routes=[{"receivers": ["hook", "other"]}])
    world.deliver(answer=Refused("HTTP 400"))
    world.deliver_all("other")
    world.observe(good, good, good)
    world.observe(bad, bad, bad)
    world.deliver("hook")
    assert ("resolve", "ReceiverFailing") in world.deliver_all("other")


def test_a_level_receiver_that_refuses_is_told_to_the_others() -> None:
    """As an edge receiver is, and until it accepts again."""
    world = fired(receivers={"hook": webhook_config(), "prom": PROM})
    world.step(StateReceiverReported("prom", Refused("HTTP 400: bad label")))
    assert world.deliver_all() == [("trigger", "Errors"), ("trigger", "ReceiverFailing")]
    world.step(StateReceiverReported("prom", Accepted()))
    assert world.deliver_all() == [("resolve", "ReceiverFailing")]


def test_no_resolve_follows_a_page_that_was_refused() -> None:
    """Every answer was a definite no: the receiver knows of nothing that could be over."""
    world = fired()
    world.deliver(answer=Retry(reason="HTTP 429", is_definitely_undelivered=True))
    world.now += 60
    world.deliver(answer=Refused("HTTP 400"))
    world.observe(good, good, good)
    assert (world.deliver_all(), world.state.notifications) == ([], {})


def test_a_resolve_follows_a_refusal_after_an_answer_that_was_lost() -> None:
    """The try that got no answer may have been taken."""
    world = fired()
    world.deliver(answer=Retry(reason="no answer"))
    world.now += 60
    world.deliver(answer=Refused("HTTP 400"))
    world.observe(good, good, good)
    assert world.deliver_all() == [("resolve", "Errors")]


def test_a_resolve_that_waits_goes_away_when_its_trigger_is_refused() -> None:
    """Tried, over, then refused for good: there is nothing to end."""
    world = fired()
    world.deliver(answer=Retry(reason="HTTP 429", is_definitely_undelivered=True, retry_after=600.0))
    world.observe(good, good, good)
    world.now += 600
    world.deliver(answer=Refused("HTTP 400"))
    assert (world.deliver_all(), world.state.notifications) == ([], {})


def test_what_is_over_and_undelivered_is_kept_for_a_week() -> None:
    """Then nobody wants to hear it any more; everything else of it goes, too."""
    world = fired()
    world.deliver(answer=Retry(reason="no answer"))
    world.observe(good, good, good)
    world.now = NOON + 7 * 86400
    world.step(Tick())
    assert len(world.state.notifications) == 2
    world.now += 86400
    world.advance_one_minute()
    assert (world.state.notifications, world.state.incidents, world.state.groups) == ({}, {}, {})


def restarted(world: EngineHarness) -> EngineHarness:
    """Kill the daemon, and start it again with nothing changed."""
    world.crash()
    world.step(Started())
    return world


def test_a_refused_page_is_tried_once_more_at_the_next_start() -> None:
    """By then its receiver may be mended: it hears the page it missed, and ``ReceiverFailing`` is over."""
    world = fired(receivers=TWO_HOOKS)
    refused = world.deliver(answer=Refused("HTTP 404"))
    world.deliver_all("other")
    again = restarted(world).deliver()
    assert refused is not None
    assert again is not None
    assert (refused.id, refused.members, 2) == (again.id, again.members, again.attempts)
    assert [("resolve", "ReceiverFailing")] == world.deliver_all("hook", "other")
    world.observe(good, good, good)
    assert [("resolve", "Errors")] == world.deliver_all("hook")


def test_a_receiver_that_still_refuses_is_tried_once_a_start() -> None:
    """The others hear nothing of that: they know."""
    world = fired(receivers=TWO_HOOKS)
    world.deliver(answer=Refused("HTTP 404"))
    world.deliver_all("other")
    for _ in range(3):
        assert restarted(world).deliver(answer=Refused("HTTP 404")) is not None
        assert [] == world.deliver_all("hook", "other")
    world.observe(good, good, good)
    assert [] == world.deliver_all("hook")


def test_a_page_that_may_have_been_taken_is_not_tried_again_at_a_start() -> None:
    """One try got no answer before the refusal; a restart with nothing changed does not page twice."""
    world = fired()
    world.deliver(answer=Retry(reason="no answer"))
    world.now += 60
    world.deliver(answer=Refused("HTTP 400"))
    assert [] == restarted(world).deliver_all()


def test_a_refused_page_of_an_outage_that_is_over_is_not_tried_again() -> None:
    """Nobody wants to be woken by it."""
    world = fired()
    world.deliver(answer=Refused("HTTP 400"))
    world.observe(good, good, good)
    assert [] == restarted(world).deliver_all()


def test_a_refused_resolve_is_tried_again_at_the_next_start() -> None:
    """Whoever accepted the page waits for its end, and may have been mended; it gets it once."""
    world = fired()
    world.deliver()
    world.observe(good, good, good)
    refused = world.deliver(answer=Refused("HTTP 403"))
    assert [] == world.deliver_all()
    again = restarted(world).deliver()
    assert refused is not None
    assert again is not None
    assert (refused.id, "resolve") == (again.id, again.action)
    assert [] == restarted(world).deliver_all()


def test_a_resolve_that_may_have_been_taken_is_not_tried_again_at_a_start() -> None:
    """One try got no answer before the refusal; a restart with nothing changed tells nobody twice."""
    world = fired()
    world.deliver()
    world.observe(good, good, good)
    world.deliver(answer=Retry(reason="no answer"))
    world.now += 60
    world.deliver(answer=Refused("HTTP 400"))
    assert [] == restarted(world).deliver_all()


def test_an_outage_that_begins_anew_supersedes_the_refused_end_of_the_last() -> None:
    """At the next start there is nothing left of it to tell."""
    world = fired()
    world.deliver()
    world.observe(good, good, good)
    world.deliver(answer=Refused("HTTP 403"))
    world.observe(bad, bad, bad)
    assert [("trigger", "Errors")] == world.deliver_all()
    assert [] == restarted(world).deliver_all()


def test_what_a_group_told_of_ends_if_the_store_cannot_read_it() -> None:
    """Nobody waits for ever for the end of a page of which only the group is left; if still bad, it fires anew."""
    world = fired()
    told = world.deliver()
    (key,) = world.stored_rows["incidents"]
    world.stored_rows["incidents"][key] = b"\xff"
    world.state, _ = read_state(world.stored_rows)
    world.step(Started())
    ended = world.deliver()
    assert told is not None
    assert ended is not None
    assert (told.group, "resolve", UNREADABLE_REASON) == (ended.group, ended.action, ended.members[0].resolve_reason)
    world.observe(bad)
    assert [("trigger", "Errors")] == world.deliver_all()


def test_a_receiver_that_no_route_names_any_longer_is_not_tried_again() -> None:
    """It refused the page, and the operator has sent the alert elsewhere."""
    world = fired(receivers=TWO_HOOKS, routes=[{"receivers": ["hook"]}])
    world.deliver(answer=Refused("HTTP 400"))
    world.deliver_all("other")
    world.configure(alerts(receivers=TWO_HOOKS, routes=[{"receivers": ["other"]}]))
    restarted(world)
    assert ([], [("trigger", "Errors")]) == (world.deliver_all("hook"), world.deliver_all("other"))


def test_an_answer_that_comes_twice_counts_once() -> None:
    """Also after the notice is settled, or gone."""
    world = fired()
    sent = world.deliver()
    assert sent is not None
    before = world.state
    for late in (Refused("HTTP 400"), Retry(reason="late"), Accepted()):
        world.step(SendFinished(sent.id, late, 0.0))
    world.step(SendStarted(sent.id))
    assert world.state == before


# ---- level receivers


def test_a_level_receiver_is_told_what_fires_and_what_ended_of_late() -> None:
    """The end for a quarter of an hour, then nothing."""
    world = fired(receivers={"prom": PROM})
    assert world.state.notifications == {}
    assert [incident.resolved for incident in active_alerts(world.state, "prom", world.now)] == [None]
    assert active_alerts(world.state, "another", world.now) == ()
    world.observe(good, good, good)
    world.crash()
    (ended,) = active_alerts(world.state, "prom", world.now)
    assert ended.resolved == NOON + 30 * 5 + 1
    assert active_alerts(world.state, "prom", ended.resolved + 899) == (ended,)
    assert active_alerts(world.state, "prom", ended.resolved + 900) == ()


def test_rows_that_nobody_can_read_are_left_out() -> None:
    """A detector from another version starts afresh; the open incident stays."""
    world = fired()
    key = next(iter(world.stored_rows["detectors"]))
    world.stored_rows["detectors"][key] = b'{"detector": {"type": "from the future"}}'
    world.state, unread = read_state(world.stored_rows)
    assert [line.split(":")[0] for line in unread] == [f"detectors {key}"]
    world.observe(good, good, good)
    assert (world.open_incidents, isinstance(world.state, State)) == ([], True)


def test_a_resolve_that_is_refused_when_the_next_page_waits_is_not_kept() -> None:
    """That page says more; nothing of the former outage comes after it, not even at a start."""
    world = fired()
    world.deliver()
    world.observe(good, good, good)
    end = world.start_send()
    world.observe(bad, bad, bad)
    assert end is not None
    world.step(SendFinished(end.id, Refused("HTTP 403"), 0.0))
    assert [("trigger", "Errors")] == world.deliver_all()
    assert [] == restarted(world).deliver_all()


def test_a_refused_page_of_which_nothing_fires_any_longer_waits_for_the_news() -> None:
    """At a start it is not sent again as it was: the group goes on with another member, told of when that is due."""
    fleet = [CHAT, msgspec.structs.replace(CHAT, name="other")]
    world = EngineHarness(alerts(group_by=["alert"], group_interval=300), *fleet)
    world.observe(bad, bad, bad)
    world.deliver(answer=Refused("HTTP 400"))
    for number in range(3, 6):
        world.observe(msgspec.structs.replace(bad(number), canary="other"))
    world.observe(good, good, good)
    assert [] == restarted(world).deliver_all()
    world.now += 300
    world.step(Tick())
    page = world.deliver()
    assert page is not None
    assert ("trigger", [("other", True), ("chat", False)]) == (
        page.action,
        [(one.canary, one.is_firing) for one in page.members],
    )
