"""``pagerduty``: PagerDuty, through its Events API v2.

https://developer.pagerduty.com/docs/events-api-v2-overview
"""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import httpx2
import msgspec
from pydantic import AfterValidator, Field, model_validator

from streamcanary.alerting.notify.delivery.receiver_url import BaseUrl
from streamcanary.alerting.notify.delivery.response_check import reject_web_page
from streamcanary.alerting.notify.delivery.result import DeliveryResult
from streamcanary.alerting.notify.message import Alert, Message, rfc3339
from streamcanary.alerting.notify.receivers.base import (
    HttpReceiver,
    check_value_or_file,
    retry_for_unusable_secret,
    value_or_file,
)
from streamcanary.alerting.notify.text_format import facts, links, status, truncate
from streamcanary.model.config_types.secret import Secret, SecretUnreadable

Severity = Literal["critical", "error", "warning", "info"]

_SEVERITY_ORDER: tuple[Severity, ...] = ("critical", "error", "warning", "info")
_SEVERITIES: dict[str, Severity] = {
    "page": "critical",
    "critical": "critical",
    "error": "error",
    "ticket": "warning",
    "warning": "warning",
    "info": "info",
}
_ROUTING_KEY = re.compile(r"[0-9A-Za-z]{32}")
_MAX_SUMMARY_LENGTH = 1024
_MAX_DEDUP_KEY_LENGTH = 255
_MAX_FIELD_LENGTH = 255
_MAX_ALERTS_BYTES = 400_000  # bytes of the alerts, so that the whole event is below the limit of 512 KB
_MAX_LINKS = 20
_MAX_NAMES_PER_LINK = 3  # subjects in the text of a link


def _check_routing_key(text: str) -> str:
    if not _ROUTING_KEY.fullmatch(text):
        raise ValueError("must be the 32 letters and digits of an integration of type Events API v2")
    return text


def _check_secret_routing_key(value: Secret) -> Secret:
    _check_routing_key(value.reveal())
    return value


class PagerDuty(HttpReceiver):
    """An event receiver: one PagerDuty incident for each group of alerts, resolved when no alert of the group fires.

    ``routing_key`` is the integration key of a service or of an event orchestration. ``url`` is the address before
    ``/v2/enqueue``: by default PagerDuty's, ``https://events.eu.pagerduty.com`` for accounts in its EU region.

    The severity is that of the label ``severity``, the highest of the alerts that fire: ``page`` and ``critical`` are
    critical, ``error`` is error, ``ticket`` and ``warning`` are warning, ``info`` is info; ``severities`` adds to these
    or changes them. For another value, or without the label, ``severity`` applies. ``client_url`` is the target of the
    link "View in streamcanary", by default the status page, if ``alerts.external_url`` is set.

    PagerDuty logs a repeated ``trigger`` of an open incident without another effect, and drops a ``resolve`` of an
    unknown one, so that a repeated delivery is harmless.
    """

    is_state_receiver: ClassVar[bool] = False
    can_deduplicate: ClassVar[bool] = True

    type: Literal["pagerduty"]
    routing_key: Annotated[Secret, AfterValidator(_check_secret_routing_key)] | None = None
    routing_key_file: Path | None = None
    url: BaseUrl = "https://events.pagerduty.com"
    severity: Severity = "error"
    severities: Annotated[dict[str, Severity], Field(max_length=50)] = Field(default_factory=dict)
    client_url: BaseUrl | None = None

    @property
    def can_reconcile(self) -> bool:
        """Whether it is sent resolves of groups that an earlier process may have opened: it drops unknown ones."""
        return True

    @model_validator(mode="after")
    def _check_one_key(self) -> "PagerDuty":
        check_value_or_file(self, "routing_key")
        return self

    def read_secrets(self) -> tuple[str]:
        """Return the routing key."""
        return (_check_routing_key(value_or_file(self.routing_key, self.routing_key_file).reveal()),)

    async def send(self, http: httpx2.AsyncClient, message: Message, now: float) -> DeliveryResult:
        """Deliver ``message``; raise nothing but cancellation."""
        try:
            (key,) = self.read_secrets()
        except (SecretUnreadable, ValueError) as error:
            return retry_for_unusable_secret(error)
        event = msgspec.json.encode(self.render_event(message, key))
        return await self.deliver(
            http, f"{self.url}/v2/enqueue", event, now, secrets=(key,), check_response=reject_web_page
        )

    def render_event(self, message: Message, key: str) -> dict[str, Any]:
        """Return the event for ``message``, within the limits of PagerDuty; ``key`` is the routing key."""
        event: dict[str, Any] = {
            "routing_key": key,
            "event_action": "resolve" if message.is_resolve else "trigger",
            "dedup_key": message.key[:_MAX_DEDUP_KEY_LENGTH],
            "payload": self._payload(message),
            "links": _links(message),
            "client": "streamcanary",
        }
        if client_url := self.client_url or message.url:
            event["client_url"] = client_url
        return event

    def _payload(self, message: Message) -> dict[str, Any]:
        labels, alerts = message.labels, message.firing_alerts or message.alerts
        source = [alert.labels.get("target") or alert.subject for alert in alerts]
        fields = {
            "source": _join_names(source) or "streamcanary",
            "component": _join_names([alert.subject for alert in alerts]),
            "group": labels.get("instance") or _join_names([alert.labels.get("instance", "") for alert in alerts]),
            "class": _join_names([alert.name for alert in alerts]),
        }
        return {
            "summary": truncate(message.title or "streamcanary", _MAX_SUMMARY_LENGTH),
            "severity": self._severity(message),
            "timestamp": rfc3339(message.opened),
            **{name: text for name, text in fields.items() if text},
            "custom_details": _custom_details(message),
        }

    def _severity(self, message: Message) -> Severity:
        """Return the highest severity of the firing alerts, or of all alerts if none fires."""
        severities = {**_SEVERITIES, **self.severities}
        alerts = message.firing_alerts or message.alerts
        found = {severities.get(alert.labels.get("severity", ""), self.severity) for alert in alerts}
        return next((severity for severity in _SEVERITY_ORDER if severity in found), self.severity)


def _custom_details(message: Message) -> dict[str, Any]:
    """Return the details of as many alerts as an event can hold; resolved alerts of a firing group are separate."""
    alerts: list[dict[str, Any]] = []
    resolved: list[dict[str, Any]] = []
    remaining_bytes = _MAX_ALERTS_BYTES
    for alert in message.alerts:
        document = _alert_details(alert)
        remaining_bytes -= len(msgspec.json.encode(document))
        if remaining_bytes < 0:
            break
        (alerts if alert.is_firing or message.is_resolve else resolved).append(document)
    details: dict[str, Any] = {"status": status(message), "alerts": alerts}
    if resolved:
        details["no_longer_firing"] = resolved
    if rest := message.alert_count - len(alerts) - len(resolved):
        details["and_more"] = rest
    return details


def _alert_details(alert: Alert) -> dict[str, Any]:
    known = {
        "alert": alert.alert,
        "about": alert.subject,
        "status": "firing" if alert.is_firing else "resolved",
        "summary": truncate(alert.summary, _MAX_SUMMARY_LENGTH),
        **{fact.key: fact.text for fact in facts(alert)},
    }
    return {name: text for name, text in known.items() if text} | {"labels": alert.labels}


def _links(message: Message) -> list[dict[str, str]]:
    """Return the links of all alerts, each URL once, with its subjects unless it applies to all of them."""
    titles: dict[str, str] = {}
    subjects: dict[str, dict[str, None]] = {}
    for alert in message.alerts:
        for link in links(alert):
            titles.setdefault(link.url, link.title)
            subjects.setdefault(link.url, {})[alert.subject] = None
    subject_count = len({alert.subject for alert in message.alerts})
    found = []
    for url, title in list(titles.items())[:_MAX_LINKS]:
        names = list(filter(None, subjects[url]))
        more = f" and {len(names) - _MAX_NAMES_PER_LINK} more" if len(names) > _MAX_NAMES_PER_LINK else ""
        is_shared_by_all = len(subjects[url]) == subject_count
        suffix = f" ({', '.join(names[:_MAX_NAMES_PER_LINK])}{more})" if names and not is_shared_by_all else ""
        found.append({"href": url, "text": truncate(title + suffix, _MAX_FIELD_LENGTH)})
    return found


def _join_names(names: list[str]) -> str:
    """Return each of ``names`` once, cut to 255 characters."""
    return truncate(", ".join(dict.fromkeys(name for name in names if name)), _MAX_FIELD_LENGTH)
