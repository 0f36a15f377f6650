"""The receivers of the notifications and of the telemetry of a daemon: they count, forget, and refuse a part."""

from collections import Counter
from typing import Final

from support.servers.otlp import FakeCollector
from support.servers.pagerduty import FakePagerDuty
from support.servers.receiver import Behaviour, Delivery, FakeReceiver, Reply

_REFUSED: Final = 9  # of so many notifications, one is refused


class SoakHook(FakeReceiver):
    """A webhook, an Alertmanager and the monitor of heartbeats."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self._counts = counts

    def reply(self, delivery: Delivery) -> Behaviour:
        """Count what is accepted."""
        kind = {"/hook": "webhooks", "/heartbeat": "heartbeats"}.get(delivery.path, "Alertmanager")
        return _refusal(self, self._counts) or _count(self._counts, kind, Reply())


class SoakPager(FakePagerDuty):
    """PagerDuty."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self._counts = counts

    def reply(self, delivery: Delivery) -> Behaviour:
        """Validate an event, unless it is refused."""
        return _refusal(self, self._counts) or super().reply(delivery)


def _refusal(receiver: FakeReceiver, counts: Counter[str]) -> Behaviour | None:
    """Return an error for some of the requests; forget the earlier ones."""
    receiver.deliveries.clear()
    receiver.accepted.clear()
    counts["notifications"] += 1
    return _count(counts, "refused notifications", Reply(503)) if counts["notifications"] % _REFUSED == 0 else None


def _count(counts: Counter[str], name: str, reply: Reply) -> Reply:
    counts[name] += 1
    return reply


class SoakCollector(FakeCollector):
    """The OTLP endpoint over HTTP."""

    def reply(self, delivery: Delivery) -> Behaviour:
        """Count the items of an export, unless it is refused."""
        self.deliveries.clear()
        self.accepted.clear()
        return super().reply(delivery)
