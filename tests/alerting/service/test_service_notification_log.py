"""Log lines about notifications that were not accepted."""

import logging
from typing import Any

import pytest

from streamcanary.store.database import Store
from support.alerting.builders import alerts, bad, webhook_config
from support.alerting.service import enqueue_outcomes, running_service, wait_until
from support.servers.receiver import FakeReceiver, Reply


@pytest.mark.parametrize("kind", ["webhook", "alertmanager"])
@pytest.mark.parametrize(("status", "message"), [(503, "notification failed"), (404, "notification refused")])
async def test_a_line_names_the_alert_and_has_its_trace(
    store: Store, caplog: pytest.LogCaptureFixture, kind: str, status: int, message: str
) -> None:
    """The line has the alert, the canary and the traces of its last failed runs; so OTLP has the trace context."""
    async with FakeReceiver(always=Reply(status)) as receiver:
        receivers: dict[str, Any] = {
            "webhook": {"hook": webhook_config(receiver.url)},
            "alertmanager": {"hook": {"type": "alertmanager", "urls": [receiver.url]}},
        }
        async with running_service(store, alerts(receivers=receivers[kind])) as alerting:
            enqueue_outcomes(alerting, [bad(number) for number in range(1, 4)])
            await wait_until(lambda: message in [record.message for record in caplog.records])
    record = vars(next(record for record in caplog.records if record.message == message))
    assert {"alert": "Errors", "subject": "chat", "alerts": 1, "receiver": "hook"} == {
        name: record[name] for name in ("alert", "subject", "alerts", "receiver")
    }
    assert f"{3:032x}" == record["trace_ids"][-1]
    assert record["levelno"] >= logging.WARNING
