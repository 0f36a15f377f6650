"""Receivers across restarts, and the effect of a slow receiver on the others."""

from pathlib import Path
from typing import Any

from support.programs.daemon import Daemon
from support.programs.program import poll_until
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import HANG, SECRET, FakeReceiver


def config(provider: FakeProvider, **hooks: FakeReceiver) -> dict[str, Any]:
    """Return a configuration with a canary that can fail, one that succeeds, and a webhook for each of ``hooks``."""
    often = {"target": "sim", "every": "500ms", "timeouts": {"total": "490ms"}, "retry": {"max_attempts": 1}}
    return {
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
        "canaries": {"chat": {**often, "model": MODEL}, "steady": {**often, "model": "sim-ok"}},
        "alerts": {
            "group_wait": 0,
            "rules": {
                "NoData": {"enabled": False},
                "TargetRejected": {"enabled": False},
                "Down": {
                    "match": ['canary="chat"'],
                    "detector": {"type": "consecutive", "failures": 2, "resolve_after": 2},
                },
            },
            "receivers": {
                name: {"type": "webhook", "url": hook.url, "secret": SECRET, "timeout": "30s"}
                for name, hook in hooks.items()
            },
        },
    }


async def test_a_restart_without_changes_notifies_no_receiver(tmp_path: Path) -> None:
    """During and after an outage, a daemon that restarts after SIGTERM or SIGKILL sends nothing again."""
    async with FakeProvider("cut") as provider, FakeReceiver() as hook:
        daemon = Daemon(tmp_path, config(provider, hook=hook))
        async with daemon:
            await hook.wait_for_deliveries(1)
            await daemon.terminate()
            await daemon.start()
            await daemon.wait_for_log("run finished", 3, canary="chat", outcome="failed")
            await daemon.kill()
            await daemon.start()
            await daemon.wait_for_log("run finished", 3, canary="chat", outcome="failed")
            assert [("alert.fired", hook.deliveries[0].id)] == hook.accepted_notifications()
            assert 1 == len(hook.deliveries)
            assert [] == daemon.log_lines("alert")

            provider.set_fault("ok")
            await hook.wait_for_deliveries(2)
            await daemon.terminate()
            await daemon.start()
            await daemon.wait_for_log("run finished", 3, canary="chat", outcome="ok")
            await daemon.terminate()
        assert ["alert.fired", "alert.resolved"] == [delivery.json["type"] for delivery in hook.deliveries]


async def test_a_slow_receiver_delays_no_canary_and_no_other_receiver(tmp_path: Path) -> None:
    """While one receiver hangs, canaries continue and the other receiver gets the resolve."""
    async with FakeProvider("cut") as provider, FakeReceiver(always=HANG) as slow, FakeReceiver() as quick:
        async with Daemon(tmp_path, config(provider, slow=slow, quick=quick)) as daemon:
            await quick.wait_for_deliveries(1)
            await slow.wait_for_deliveries(1)
            for canary in ("chat", "steady"):
                runs = len(daemon.log_lines("run finished", canary=canary))
                await daemon.wait_for_log("run finished", runs + 5, canary=canary)
            provider.set_fault("ok")
            await quick.wait_for_deliveries(2)
            assert 1 == len(slow.deliveries)
            assert [] == daemon.log_lines("notification", receiver="slow")  # its first attempt has not timed out yet
        assert ["alert.fired", "alert.resolved"] == [delivery.json["type"] for delivery in quick.accepted]
        assert [] == slow.accepted


async def test_every_log_line_is_one_json_object_without_a_secret(tmp_path: Path) -> None:
    """Keys and signing secrets do not appear on stderr, even in errors from the provider or a receiver."""
    key = "sk-live-5up3rs3cr3tk3y"
    async with FakeProvider("401") as provider, FakeReceiver(always=HANG) as hook:
        settings = config(provider, hook=hook)
        settings["targets"]["sim"] |= {"api_key": key, "headers": {"X-Team": "team-t0k3n-9d2f"}}
        settings["alerts"]["rules"]["Down"]["blame"] = ["config"]
        settings["alerts"]["receivers"]["hook"] |= {"timeout": "200ms", "url": f"{hook.url}/hooks/T0K3N-in-the-path"}
        async with Daemon(tmp_path, settings) as daemon:
            await daemon.wait_for_log("notification failed", receiver="hook")
            assert any(request.authorization for request in provider.requests)

            async def noticed() -> bool | None:
                return bool(daemon.log_lines("run finished", fault="auth_failed")) or None

            await poll_until(noticed, 30, lambda: daemon.stderr)
            await daemon.terminate()
    assert all({"time", "level", "message", "logger"} <= line.keys() for line in daemon.log)
    assert [] == [s for s in (key, "t0k3n-9d2f", SECRET, "T0K3N-in-the-path") if s in daemon.stderr]
    assert "" == daemon.stdout
