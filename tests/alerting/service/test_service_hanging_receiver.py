"""A receiver that hangs for five minutes of simulated time."""

import asyncio
from typing import Any

import pytest

from streamcanary.store.database import Store
from streamcanary.store.tables import history
from support.alerting.builders import alerts, bad, good, webhook_config
from support.alerting.service import accepted_types, enqueue_outcomes, running_service, wait_until
from support.clock import ManualClock
from support.servers.receiver import HANG, FakeReceiver, Reply

FIRED, RESOLVED = "alert.fired", "alert.resolved"


class LoopClock(ManualClock):
    """A clock that also advances the running event loop, so that its timers and timeouts are due by this clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._ahead = 0.0
        loop = asyncio.get_running_loop()
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + self._ahead)

    def advance(self, seconds: float) -> None:
        """Advance the time."""
        super().advance(seconds)
        self._ahead += seconds


async def test_receiver_that_hangs_for_five_minutes_delays_no_other_receiver_and_no_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that hangs for five minutes delays neither the other receiver nor a run.

    Its deliveries time out and are retried. Once it responds, it is sent the outage that it may know and its resolve,
    but not the outage that began and ended while it hung.
    """
    clock, seconds = LoopClock(monkeypatch), 0
    async with FakeReceiver(always=HANG) as slow, FakeReceiver() as quick:
        receivers = {"slow": webhook_config(slow.url, timeout="60s"), "quick": webhook_config(quick.url)}
        async with running_service(store, alerts(receivers=receivers), clock) as alerting:

            async def observe(kind: Any, until_second: int) -> None:
                """Enqueue a run of ``kind`` each second, and wait until each is processed."""
                nonlocal seconds
                for seconds in range(seconds + 1, until_second + 1):  # noqa: B020 - it continues from its last value
                    clock.advance(1)
                    enqueue_outcomes(alerting, [kind(seconds)])
                    await wait_until(lambda: not (alerting._queue or alerting._is_busy))

            for kind, end, received in ((bad, 3, 1), (good, 150, 2), (bad, 153, 3), (good, 300, 4)):
                await observe(kind, min(end, seconds + 3))
                await quick.wait_for_deliveries(received)
                await observe(kind, end)
                assert len(quick.deliveries) == received
            assert accepted_types(quick) == [FIRED, RESOLVED, FIRED, RESOLVED]
            assert 4 <= len(slow.deliveries) <= 5  # in 300 seconds, of which each takes 60 and a pause
            assert (accepted_types(slow), len({delivery.id for delivery in slow.deliveries})) == ([], 1)
            clock.advance(1)
            alerting.wake()
            await wait_until(lambda: alerting._write_buffer.is_empty)
            assert len(await store.read(lambda connection: history.recent_runs(connection, limit=1000))) == 300

            slow.always = Reply()
            while not slow.accepted:
                assert seconds < 300 + 60 + 60, (
                    "the receiver gets no further request"
                )  # a timeout, and the longest pause
                await observe(good, seconds + 1)
            await wait_until(lambda: not alerting.state.notifications)
            assert accepted_types(slow) == [FIRED, RESOLVED]
            assert [one.json["opened"] for one in slow.accepted] == [one.json["opened"] for one in quick.accepted[:2]]
