"""Repeated ``kill -9``: an outage is one trigger and one resolve, however often the daemon is killed."""

import asyncio
import random
import secrets
from pathlib import Path
from typing import Any

import pytest

from support.programs.alertmanager import Alertmanager
from support.programs.daemon import Daemon
from support.programs.program import poll_until
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import HANG, SECRET, FakeReceiver, Reply

KILLS = 12
KILLS_AFTERWARDS = 4
"""Further kills, while the resolve is due."""


def config(provider: FakeProvider, alertmanager: Alertmanager, hook: FakeReceiver) -> dict[str, Any]:
    """Return a configuration that takes several starts to detect an outage and its end."""
    return {
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {
            "chat": {
                "target": "sim",
                "model": MODEL,
                "every": "600ms",
                "timeouts": {"total": "590ms"},
                "retry": {"max_attempts": 2, "base_delay": "10ms"},
            }
        },
        "alerts": {
            "group_wait": 0,
            "rules": {
                "Down": {"detector": {"type": "consecutive", "failures": 6, "resolve_after": 3}},
                "NoData": {"enabled": False},
                "TargetRejected": {"enabled": False},
            },
            "receivers": {
                "prom": {"type": "alertmanager", "urls": [alertmanager.url]},
                "hook": {"type": "webhook", "url": hook.url, "secret": SECRET, "timeout": "700ms"},
            },
        },
    }


async def start_and_kill(daemon: Daemon, instant: random.Random) -> None:
    """Start the daemon and kill it: one time in four during the start, otherwise within a second after it."""
    await daemon.start()
    if instant.random() < 0.25:
        await asyncio.sleep(instant.uniform(0.0, 2.0))
    else:
        await daemon.wait_for_log("daemon started")
        await asyncio.sleep(instant.uniform(0.0, 1.0))
    await daemon.kill()


@pytest.mark.timeout(300)
@pytest.mark.real("alertmanager")
async def test_a_repeatedly_killed_daemon_triggers_once_and_resolves_once(tmp_path: Path) -> None:
    """Twelve kills in the outage and four in the recovery: one incident opens and one resolves, in this order.

    The webhook hangs, refuses and closes connections before it accepts, so that kills hit deliveries too.
    """
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    instant = random.Random(seed)  # noqa: S311 - repeatable on purpose
    failures = (HANG, Reply(503), "close", HANG, Reply(429, {"Retry-After": "1"}))
    async with (
        FakeProvider("cut") as provider,
        FakeReceiver(*failures) as hook,
        FakeReceiver() as pager,
        Alertmanager(tmp_path, webhook=pager.url) as alertmanager,
    ):
        daemon = Daemon(tmp_path / "daemon", config(provider, alertmanager, hook))
        for _ in range(KILLS):
            await start_and_kill(daemon, instant)
        async with daemon:  # otherwise no trigger may have been accepted yet, and nothing would be resolved
            await hook.wait_for_deliveries(1, within=60)
            await poll_until(lambda: firing(alertmanager), 60, lambda: daemon.stderr[-6000:])
        provider.set_fault("ok")
        for _ in range(KILLS_AFTERWARDS):
            await start_and_kill(daemon, instant)
        async with daemon:
            await poll_until(
                lambda: both_resolved(hook, pager),
                60,
                lambda: f"{hook.accepted_notifications()} {daemon.stderr[-6000:]}",
            )
            assert [] == await alertmanager.alerts()
            assert 0 == (await daemon.terminate()).code

        (fired, opened), (resolved, closed) = hook.accepted_notifications()
        assert ("alert.fired", "alert.resolved") == (fired, resolved)
        assert opened != closed
        assert all(delivery.signed_with(SECRET) for delivery in hook.deliveries)
        assert {opened, closed} == {delivery.id for delivery in hook.deliveries}
        order = [delivery.json["type"] for delivery in hook.deliveries]
        assert sorted(order) == order, "a resolve came before a trigger"
        assert 1 == len({delivery.body for delivery in hook.deliveries if delivery.id == opened})
        assert ["firing", "resolved"] == [delivery.json["status"] for delivery in pager.accepted]
        assert 1 == len({alert["fingerprint"] for page in pager.accepted for alert in page.json["alerts"]})


async def firing(alertmanager: Alertmanager) -> bool | None:
    """Return whether Alertmanager has the alert."""
    return bool(await alertmanager.alerts()) or None


async def both_resolved(hook: FakeReceiver, pager: FakeReceiver) -> bool | None:
    """Return whether both receivers have the resolve."""
    ended = [delivery.json["status"] for delivery in pager.accepted][-1:] == ["resolved"]
    return (ended and len(hook.accepted_notifications()) >= 2) or None
