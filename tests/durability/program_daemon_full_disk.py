"""Takes the daemon through an outage while the disk of its store is full, and prints what it saw as one JSON object.

The store is at ``argv[1]``; ``argv[3]`` names what happens.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from support.http_client import loopback_client
from support.programs.daemon import Daemon
from support.programs.program import poll_until
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import SECRET, FakeReceiver
from support.store.full_disk import FillableDisk

path, how, scenario = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
disk = FillableDisk(path, how)


def config(provider: FakeProvider, hook: FakeReceiver) -> dict[str, Any]:
    """Return a configuration with one canary and one webhook."""
    return {
        "store": {"path": str(path)},
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {
            "chat": {
                "target": "sim",
                "model": MODEL,
                "every": "500ms",
                "timeouts": {"total": "490ms"},
                "retry": {"max_attempts": 1},
            }
        },
        "alerts": {
            "group_wait": 0,
            "rules": {
                "NoData": {"enabled": False},
                "TargetRejected": {"enabled": False},
                "CertificateExpiring": {"enabled": False},
                "CertificateExpiringSoon": {"enabled": False},
                "Down": {"detector": {"type": "consecutive", "failures": 2, "resolve_after": 2}},
            },
            "receivers": {
                "hook": {"type": "webhook", "url": hook.url, "secret": SECRET, "timeout": "30s", "recall": True}
            },
        },
    }


def received(hook: FakeReceiver) -> list[list[str]]:
    """Return the deliveries to the webhook: type and alert."""
    return [[one.json["type"], one.json["labels"]["alert"]] for one in hook.accepted]


async def wait_for_delivery(hook: FakeReceiver, what: str, alert: str, since: int = 0) -> None:
    """Wait for such a delivery after the first ``since`` ones."""

    async def look() -> bool | None:
        return [what, alert] in received(hook)[since:] or None

    await poll_until(look, 30, lambda: f"never told {what} {alert}: {received(hook)}")


async def get(daemon: Daemon, what: str) -> Any:
    """Return the status and the data that the daemon serves."""
    port = daemon.log_lines("web server started")[0]["port"]
    async with loopback_client() as client:
        answer = await client.get(f"http://127.0.0.1:{port}{what}")
        return [answer.status_code, answer.json()]


async def first_start(daemon: Daemon, provider: FakeProvider, hook: FakeReceiver) -> dict[str, Any]:
    """Start on a full disk, notify, free space, and be killed during the outage."""
    disk.fill()
    await daemon.start()
    await wait_for_delivery(hook, "alert.fired", "StoreFailing")
    seen = {"readyz": await get(daemon, "/readyz")}
    provider.set_fault("cut")
    await wait_for_delivery(hook, "alert.fired", "Down")
    disk.make_room()
    await wait_for_delivery(hook, "alert.resolved", "StoreFailing")
    await daemon.wait_until_ready()
    await daemon.wait_for_log("run finished", len(daemon.log_lines("run finished")) + 2)
    await daemon.kill()
    await daemon.start()
    await daemon.wait_for_log("run finished", 3, outcome="failed")
    provider.set_fault("ok")
    await wait_for_delivery(hook, "alert.resolved", "Down")
    await daemon.terminate()
    return seen


async def killed_while_full(daemon: Daemon, provider: FakeProvider, hook: FakeReceiver) -> dict[str, Any]:
    """Notify, fill the disk, be killed, start on the full disk, recover, and free space."""
    await daemon.start()
    await daemon.wait_until_ready()
    provider.set_fault("cut")
    await wait_for_delivery(hook, "alert.fired", "Down")
    disk.fill()
    await wait_for_delivery(hook, "alert.fired", "StoreFailing")
    await daemon.kill()
    known = len(hook.accepted)
    await daemon.start()
    await wait_for_delivery(hook, "alert.fired", "StoreFailing", known)
    provider.set_fault("ok")
    await daemon.wait_for_log("run finished", 3, outcome="ok")
    disk.make_room()
    await wait_for_delivery(hook, "alert.resolved", "StoreFailing")
    await wait_for_delivery(hook, "alert.resolved", "Down")
    await daemon.terminate()
    return {}


async def notified_from_memory_only(daemon: Daemon, provider: FakeProvider, hook: FakeReceiver) -> dict[str, Any]:
    """Notify from memory only, be killed, recover, and start again with space."""
    await daemon.start()
    await daemon.wait_until_ready()
    await daemon.wait_for_log(
        "run finished", 4, outcome="ok"
    )  # the store knows of it: one that is empty may be one that was lost
    disk.fill()
    await wait_for_delivery(hook, "alert.fired", "StoreFailing")
    provider.set_fault("cut")
    await wait_for_delivery(hook, "alert.fired", "Down")
    await daemon.kill()
    disk.make_room()
    provider.set_fault("ok")
    await daemon.start()
    for alert in ("BudgetExhausted", "CanaryEgressDown", "Down", "ReloadFailed", "StoreFailing"):
        await wait_for_delivery(hook, "alert.resolved", alert)
    await daemon.terminate()  # not killed: the results of these deliveries are to be stored
    known = len(hook.accepted)
    await daemon.start()
    await daemon.wait_for_log("run finished", 3, outcome="ok")
    await daemon.terminate()
    return {"told_after_a_restart": received(hook)[known:]}


async def main() -> None:
    """Run the scenario."""
    async with FakeProvider("ok") as provider, FakeReceiver() as hook:
        daemon = Daemon(path.parent.with_name("daemon"), config(provider, hook))
        try:
            seen = await globals()[scenario](daemon, provider, hook)
        finally:
            await daemon.kill()
        seen["told"] = received(hook)
        seen["keys"] = len({(one.json["labels"]["alert"], one.json["key"]) for one in hook.accepted})
        print(json.dumps(seen))  # noqa: T201 - how it tells the test


asyncio.run(main())
