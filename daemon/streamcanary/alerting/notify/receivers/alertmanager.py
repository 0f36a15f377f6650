"""``alertmanager``: Prometheus Alertmanager, through its API v2.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import httpx2
import msgspec
from pydantic import Field, field_validator

from streamcanary.alerting.notify.delivery.receiver_url import BaseUrl
from streamcanary.alerting.notify.delivery.response_check import reject_web_page
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Refused
from streamcanary.alerting.notify.message import Alert, rfc3339
from streamcanary.alerting.notify.receivers.base import HttpReceiver
from streamcanary.alerting.notify.text_format import facts
from streamcanary.model.config_types.duration import PositiveDuration

ALERT_EXPIRY = 15 * 60.0
"""Seconds after which a firing alert that is not sent again ends, and for which a resolved alert is sent."""

_MAX_ALERTS_PER_REQUEST = 64  # the batch size of Prometheus


class Alertmanager(HttpReceiver):
    """A state receiver: each peer is sent all active alerts at every change and each ``resend`` seconds.

    ``urls`` are the addresses of all peers of the cluster, never of a load balancer. A firing alert is sent with
    ``endsAt`` 15 minutes ahead, so that it ends if this daemon does not come back. A resolved alert is sent with the
    time of its resolve, for 15 minutes. ``generator_url`` is the link "Source" in Alertmanager, by
    default the alert on the status page, if ``alerts.external_url`` is set. The details of an alert
    are sent as annotations (``message``, ``diagnosis``, ``request_ids`` …), unless the rule has an annotation of that
    name.
    """

    is_state_receiver: ClassVar[bool] = True
    can_deduplicate: ClassVar[bool] = True

    type: Literal["alertmanager"]
    urls: Annotated[tuple[BaseUrl, ...], Field(min_length=1, max_length=16)]
    resend: Annotated[PositiveDuration, Field(ge=1, le=ALERT_EXPIRY / 3)] = 60.0
    generator_url: BaseUrl | None = None

    @field_validator("urls")
    @classmethod
    def _check_unique_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(urls)) < len(urls):
            raise ValueError("has the same address twice")
        return urls

    async def post(self, http: httpx2.AsyncClient, url: str, alerts: Sequence[Alert], now: float) -> DeliveryResult:
        """Send all ``alerts`` to the peer at ``url`` in batches, and return the worst result of a batch.

        Alertmanager stores the valid alerts of a request that it answers with 400, so that a refused batch does not
        stop the next one; a batch to be retried does.
        """
        worst_result: DeliveryResult = Accepted()
        for start in range(0, len(alerts), _MAX_ALERTS_PER_REQUEST):
            batch = msgspec.json.encode(
                [self.render_alert(alert, now) for alert in alerts[start : start + _MAX_ALERTS_PER_REQUEST]]
            )
            result = await self.deliver(http, f"{url}/api/v2/alerts", batch, now, check_response=reject_web_page)
            if isinstance(result, Refused):
                worst_result = result
            elif not isinstance(result, Accepted):
                return result  # the retry sends all batches again
        return worst_result

    def render_alert(self, alert: Alert, now: float) -> dict[str, object]:
        """Return ``alert`` as Alertmanager takes it at ``now`` (seconds since the epoch)."""
        # After a clock step back, both times may be in the future. Alertmanager treats an alert whose end is in the
        # future as firing, and rejects one whose end is before its start.
        ends = now + ALERT_EXPIRY if alert.resolved is None else min(alert.resolved, now)
        document: dict[str, object] = {
            "labels": alert.labels,
            "annotations": {
                **_evidence_annotations(alert),
                **{name: text for name, text in alert.annotations.items() if text},
            },
            "startsAt": rfc3339(min(alert.opened, now, ends)),
            "endsAt": rfc3339(ends),
        }
        if source := self.generator_url or alert.url:
            document["generatorURL"] = source
        return document


def _evidence_annotations(alert: Alert) -> dict[str, str]:
    traces = {"trace_url": alert.trace_urls[-1]} if alert.trace_urls else {}
    # The time since then would be another with each request, and is what Alertmanager shows itself.
    since = alert.opened if alert.evidence.since is None else alert.evidence.since
    urls = {name: url for name, url in (("status_url", alert.url), ("silence_url", alert.silence_url)) if url}
    return {fact.key: fact.text for fact in facts(alert)} | {"since": rfc3339(since)} | traces | urls
