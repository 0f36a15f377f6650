"""``pagerduty``: PagerDuty, by its Events API v2.

https://developer.pagerduty.com/docs/events-api-v2-overview
"""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import httpx2
import msgspec
from pydantic import AfterValidator, Field, model_validator

from streamcanary.alerting.notify.message import Alert, Page, rfc3339
from streamcanary.alerting.notify.receivers.base import HttpTerms, either, one_of_each, undelivered
from streamcanary.alerting.notify.receivers.delivery_result import Answer
from streamcanary.alerting.notify.receivers.response_check import no_web_page
from streamcanary.alerting.notify.receivers.url import BaseAddress
from streamcanary.alerting.notify.text import clip, facts, links, status
from streamcanary.model.config_types.secret import Secret, SecretUnreadable

Severity = Literal["critical", "error", "warning", "info"]

_RANK: tuple[Severity, ...] = ("critical", "error", "warning", "info")
_SEVERITIES: dict[str, Severity] = {
    "page": "critical",
    "critical": "critical",
    "error": "error",
    "ticket": "warning",
    "warning": "warning",
    "info": "info",
}
_KEY = re.compile(r"[0-9A-Za-z]{32}")
_LONGEST_SUMMARY = 1024
_LONGEST_KEY = 255
_LONGEST_FIELD = 255
_LARGEST = 400_000  # bytes of the alerts; with all else it stays below the 512 KB of an event
_MOST_LINKS = 20
_MOST_NAMES = 3  # that a link is labelled with


def _check_key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise ValueError("must be the 32 letters and digits of an integration of type Events API v2")
    return text


def _routing_key(value: Secret) -> Secret:
    _check_key(value.reveal())
    return value


class PagerDuty(HttpTerms):
    """An edge receiver: one PagerDuty incident for each group of alerts, resolved when nothing of it fires any more.

    ``routing_key`` is the integration key of a service or of an event orchestration. ``url`` is the address before
    ``/v2/enqueue``: by default PagerDuty's, ``https://events.eu.pagerduty.com`` for accounts in its EU region.

    The severity is that of the label ``severity``, the worst of the alerts that fire: ``page`` and ``critical`` are
    critical, ``error`` is error, ``ticket`` and ``warning`` are warning, ``info`` is info; ``severities`` adds to these
    or changes them. Another label, or none, is ``severity``. ``client_url`` is where the link "View in streamcanary"
    leads.

    A further ``trigger`` of an incident that is open changes nothing but its log, and a ``resolve`` of none is dropped,
    so that nothing of what comes twice does harm.
    """

    level: ClassVar[bool] = False
    keyed: ClassVar[bool] = True

    type: Literal["pagerduty"]
    routing_key: Annotated[Secret, AfterValidator(_routing_key)] | None = None
    routing_key_file: Path | None = None
    url: BaseAddress = "https://events.pagerduty.com"
    severity: Severity = "error"
    severities: Annotated[dict[str, Severity], Field(max_length=50)] = Field(default_factory=dict)
    client_url: BaseAddress | None = None

    @model_validator(mode="after")
    def _one_key(self) -> "PagerDuty":
        one_of_each(self, "routing_key")
        return self

    def reveal(self) -> tuple[str]:
        """Return the routing key."""
        return (_check_key(either(self.routing_key, self.routing_key_file).reveal()),)

    async def send(self, http: httpx2.AsyncClient, page: Page, now: float) -> Answer:
        """Deliver ``page``. Raises nothing but cancellation."""
        try:
            (key,) = self.reveal()
        except (SecretUnreadable, ValueError) as error:
            return undelivered(error)
        event = msgspec.json.encode(self._event(page, key, now))
        return await self.deliver(http, f"{self.url}/v2/enqueue", event, now, secrets=(key,), consent=no_web_page)

    def _event(self, page: Page, key: str, now: float) -> dict[str, Any]:
        event: dict[str, Any] = {
            "routing_key": key,
            "event_action": "resolve" if page.over else "trigger",
            "dedup_key": page.key[:_LONGEST_KEY],
            "payload": self._payload(page, now),
            "links": _links(page),
            "client": "streamcanary",
        }
        if self.client_url:
            event["client_url"] = self.client_url
        return event

    def _payload(self, page: Page, now: float) -> dict[str, Any]:
        labels, told = page.labels, page.firing or page.alerts
        source = [alert.labels.get("target") or alert.subject for alert in told]
        fields = {
            "source": _some(source) or "streamcanary",
            "component": _some([alert.subject for alert in told]),
            "group": labels.get("instance") or _some([alert.labels.get("instance", "") for alert in told]),
            "class": _some([alert.name for alert in told]),
        }
        return {
            "summary": clip(page.title or "streamcanary", _LONGEST_SUMMARY),
            "severity": self._severity(page),
            "timestamp": rfc3339(page.opened),
            **{name: text for name, text in fields.items() if text},
            "custom_details": _details(page, now),
        }

    def _severity(self, page: Page) -> Severity:
        """Return the worst of those that fire, or of all if none does."""
        known = {**_SEVERITIES, **self.severities}
        told = page.firing or page.alerts
        found = {known.get(alert.labels.get("severity", ""), self.severity) for alert in told}
        return next((severity for severity in _RANK if severity in found), self.severity)


def _details(page: Page, now: float) -> dict[str, Any]:
    """Return what is known, with as many of the alerts as an event can hold; what is over apart from what is not."""
    alerts: list[dict[str, Any]] = []
    over: list[dict[str, Any]] = []
    room = _LARGEST
    for alert in page.alerts:
        document = _alert(alert)
        room -= len(msgspec.json.encode(document))
        if room < 0:
            break
        (alerts if alert.firing or page.over else over).append(document)
    details: dict[str, Any] = {"status": status(page, now), "alerts": alerts}
    if over:
        details["no_longer_firing"] = over
    if rest := page.total - len(alerts) - len(over):
        details["and_more"] = rest
    return details


def _alert(alert: Alert) -> dict[str, Any]:
    known = {
        "alert": alert.alert,
        "about": alert.subject,
        "status": "firing" if alert.firing else "resolved",
        "summary": clip(alert.summary, _LONGEST_SUMMARY),
        **{fact.key: fact.text for fact in facts(alert)},
    }
    return {name: text for name, text in known.items() if text} | {"labels": alert.labels}


def _links(page: Page) -> list[dict[str, str]]:
    """Return where there is more to see, each address once, with whom it is about unless that is all of them."""
    titles: dict[str, str] = {}
    about: dict[str, dict[str, None]] = {}
    for alert in page.alerts:
        for link in links(alert):
            titles.setdefault(link.url, link.title)
            about.setdefault(link.url, {})[alert.subject] = None
    everybody = len({alert.subject for alert in page.alerts})
    found = []
    for url, title in list(titles.items())[:_MOST_LINKS]:
        names = list(filter(None, about[url]))
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        whose = f" ({', '.join(names[:_MOST_NAMES])}{more})" if names and len(about[url]) < everybody else ""
        found.append({"href": url, "text": clip(title + whose, _LONGEST_FIELD)})
    return found


def _some(names: list[str]) -> str:
    """Return each of ``names`` once, as far as a field has room."""
    return clip(", ".join(dict.fromkeys(name for name in names if name)), _LONGEST_FIELD)
