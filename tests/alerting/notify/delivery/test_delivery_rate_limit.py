"""The rate limit of receivers, and the warnings about receivers that are unsuited for paging."""

import pytest
from pydantic import TypeAdapter

from streamcanary.alerting.lint.paging import receiver_warnings, unpaged_alert_warnings
from streamcanary.alerting.notify.delivery.rate_limit import RateLimiter
from streamcanary.alerting.notify.receivers import Receiver
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


def test_rate_limit_allows_a_burst_and_then_the_rate() -> None:
    """The limiter gives five tokens at once, then one a second; a refused request takes no token."""
    pace = RateLimiter(60)
    assert [0.0] * 5 == [pace.acquire(100.0) for _ in range(5)]
    assert [1.0, 1.0] == [pace.acquire(100.0), pace.acquire(100.0)]
    assert pytest.approx(0.25) == pace.acquire(100.75)
    assert 0.0 == pace.acquire(101.0)
    assert pytest.approx(1.0) == pace.acquire(101.0)
    assert [0.0] * 5 == [pace.acquire(1000.0) for _ in range(5)]
    assert pytest.approx(1.0) == pace.acquire(1000.0)


def test_returned_wait_is_sufficient() -> None:
    """After the returned wait a token is available, whatever the rounding."""
    pace, now, waits = RateLimiter(7), 0.1, 0
    for _ in range(500):
        while wait := pace.acquire(now):
            now, waits = now + wait, waits + 1
    assert pytest.approx((500 - 1) / 7 * 60) == now - 0.1
    assert 499 == waits


def test_tokens_of_a_minute_are_the_rate_plus_the_burst() -> None:
    """The limiter gives at most the configured tokens a minute besides the burst."""
    pace = RateLimiter(6000)
    assert 6000 + 500 >= sum(pace.acquire(second / 200) == 0.0 for second in range(200 * 60)) >= 6000
    slow = RateLimiter(1)
    assert (0.0, 60.0) == (slow.acquire(5.0), slow.acquire(5.0))


def test_clock_that_goes_back_neither_gives_nor_takes_tokens() -> None:
    """A clock that goes back neither gives nor takes tokens."""
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
def test_page_routed_only_to_email_is_a_warning(receivers: tuple[str, ...], warned: str | None) -> None:
    """A paging alert that is routed only to email gives one warning, for all its canaries."""
    routes = (Route.model_validate({"match": ['canary="other"'], "receivers": ["oncall"]}), Route(receivers=receivers))
    received = unpaged_alert_warnings(
        routes, RECEIVERS, [PAGING, {**PAGING, "canary": "second"}, {**PAGING, "canary": "other"}]
    )
    expected = (
        f"Errors pages, but is routed only to {warned}, which can neither deduplicate nor resolve; "
        "also route it to a pagerduty, alertmanager or webhook receiver"
    )
    assert ([expected] if warned else []) == received


def test_ticket_routed_only_to_email_is_no_warning() -> None:
    """A ticket that is routed only to email, and an alert without a route, give no warning here."""
    routes = (Route.model_validate({"match": ['severity="ticket"'], "receivers": ["mail"]}),)
    assert [] == unpaged_alert_warnings(
        routes, RECEIVERS, [{**PAGING, "severity": "ticket"}, {"alertname": "Bare"}, PAGING]
    )


def test_each_apprise_receiver_gives_a_warning() -> None:
    """Each receiver of type apprise gives a warning, and no other receiver does."""
    says = (
        "apprise can neither deduplicate nor resolve: a message may come twice, and that an alert is over is one more"
    )
    assert [f"receiver mail: {says}", f"receiver more-mail: {says}"] == receiver_warnings(RECEIVERS)


def test_receiver_properties_by_type() -> None:
    """Each type of receiver declares whether it deduplicates and whether it is a state receiver."""
    assert {"oncall": True, "chat": False, "prom": True, "hook": True, "mail": False, "more-mail": False} == {
        name: receiver.can_deduplicate for name, receiver in RECEIVERS.items()
    }
    assert ["prom"] == [name for name, receiver in RECEIVERS.items() if receiver.is_state_receiver]
