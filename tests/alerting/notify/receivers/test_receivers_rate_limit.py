"""How often a receiver is told, and who is told of a page."""

import pytest
from pydantic import TypeAdapter

from streamcanary.alerting.lint.paging import receiver_warnings, unpaged_alert_warnings
from streamcanary.alerting.notify.receivers import Receiver
from streamcanary.alerting.notify.receivers.rate_limit import RateLimiter
from streamcanary.alerting.routing import Route
from support.alerting.builders import webhook_config
from support.servers.pagerduty import ROUTING_KEY

RECEIVERS = TypeAdapter(dict[str, Receiver]).validate_python(
    {
        "oncall": {"type": "pagerduty", "routing_key": ROUTING_KEY},
        "chat": {"type": "slack", "url": "https://hooks.slack.com/services/T/B/x"},
        "prom": {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]},
        "hook": webhook_config(),
        "mail": {"type": "apprise", "urls": ["json://localhost"]},
        "more-mail": {"type": "apprise", "urls": ["json://localhost/2"]},
    }
)
PAGING = {"alertname": "Errors", "canary": "chat", "severity": "page"}


def test_deliveries_go_at_their_pace() -> None:
    """A few at once after a pause, then one a second; a turn that is not there is not taken."""
    pace = RateLimiter(60)
    assert [0.0] * 5 == [pace.acquire(100.0) for _ in range(5)]
    assert [1.0, 1.0] == [pace.acquire(100.0), pace.acquire(100.0)]
    assert pytest.approx(0.25) == pace.acquire(100.75)
    assert 0.0 == pace.acquire(101.0)
    assert pytest.approx(1.0) == pace.acquire(101.0)
    assert [0.0] * 5 == [pace.acquire(1000.0) for _ in range(5)]
    assert pytest.approx(1.0) == pace.acquire(1000.0)


def test_a_wait_that_was_slept_out_is_over() -> None:
    """However the seconds are rounded, nobody is sent to sleep again for nothing."""
    pace, now, waits = RateLimiter(7), 0.1, 0
    for _ in range(500):
        while wait := pace.acquire(now):
            now, waits = now + wait, waits + 1
    assert pytest.approx((500 - 1) / 7 * 60) == now - 0.1
    assert 499 == waits


def test_the_most_in_a_minute_is_what_was_set() -> None:
    """Besides what was saved up."""
    pace = RateLimiter(6000)
    assert 6000 + 500 >= sum(pace.acquire(second / 200) == 0.0 for second in range(200 * 60)) >= 6000
    slow = RateLimiter(1)
    assert (0.0, 60.0) == (slow.acquire(5.0), slow.acquire(5.0))


def test_a_clock_that_goes_back_gives_no_turns() -> None:
    """And costs none."""
    pace = RateLimiter(60)
    for _ in range(5):
        pace.acquire(100.0)
    assert 1.0 == pace.acquire(50.0)
    assert 0.0 == pace.acquire(51.0)


@pytest.mark.parametrize(
    ("receivers", "warned"),
    [
        (("mail",), "mail"),
        (("mail", "more-mail"), "mail and more-mail"),
        (("mail", "oncall"), None),
        (("mail", "chat"), None),
        (("prom",), None),
        (("hook",), None),
    ],
)
def test_a_page_that_goes_to_mail_alone_is_worth_a_warning(receivers: tuple[str, ...], warned: str | None) -> None:
    """Once for each alert, whatever canaries it watches."""
    routes = (Route.model_validate({"match": ['canary="other"'], "receivers": ["oncall"]}), Route(receivers=receivers))
    told = unpaged_alert_warnings(
        routes, RECEIVERS, [PAGING, {**PAGING, "canary": "second"}, {**PAGING, "canary": "other"}]
    )
    expected = (
        f"Errors pages, but is routed only to {warned}, which can neither deduplicate nor resolve; "
        "also route it to a pagerduty, alertmanager or webhook receiver"
    )
    assert ([expected] if warned else []) == told


def test_a_ticket_may_go_to_mail_alone() -> None:
    """And what no route matches goes nowhere, which is told elsewhere."""
    routes = (Route.model_validate({"match": ['severity="ticket"'], "receivers": ["mail"]}),)
    assert [] == unpaged_alert_warnings(
        routes, RECEIVERS, [{**PAGING, "severity": "ticket"}, {"alertname": "Bare"}, PAGING]
    )


def test_what_apprise_cannot_do_is_said() -> None:
    """Of each such receiver, and of no other."""
    says = (
        "apprise can neither deduplicate nor resolve: a message may come twice, and that an alert is over is one more"
    )
    assert [f"receiver mail: {says}", f"receiver more-mail: {says}"] == receiver_warnings(RECEIVERS)


def test_who_knows_a_group_by_its_key_and_who_is_told_its_state() -> None:
    """The rest of alerting asks for no more."""
    assert {"oncall": True, "chat": False, "prom": True, "hook": True, "mail": False, "more-mail": False} == {
        name: receiver.can_deduplicate for name, receiver in RECEIVERS.items()
    }
    assert ["prom"] == [name for name, receiver in RECEIVERS.items() if receiver.is_state_receiver]
