"""Alerts listed and silenced from the command line, and the heartbeat of a healthy daemon."""

import contextlib
import sqlite3
from pathlib import Path

from support.programs.daemon import Daemon, run_command
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import SECRET, FakeReceiver


async def test_a_silence_suppresses_a_notification_until_it_is_deleted(tmp_path: Path) -> None:
    """A silence survives a restart; an alert still firing when the silence is deleted is notified then."""
    async with FakeProvider("ok") as provider, FakeReceiver() as hook, FakeReceiver() as monitor:
        config = {
            "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
            "canaries": {"chat": {"target": "sim", "model": MODEL, "every": "400ms", "retry": {"max_attempts": 1}}},
            "alerts": {
                "group_wait": 0,
                "rules": {"Down": {"detector": {"type": "consecutive", "failures": 2}}},
                "receivers": {"hook": {"type": "webhook", "url": hook.url, "secret": SECRET}},
            },
            "heartbeat": {"url": monitor.url, "every": "1s"},
        }
        async with Daemon(tmp_path, config) as daemon:
            at = ("--url", await address(daemon))
            assert (0, "no alert is firing\n") == (await run_command("alerts", *at))[:2]
            made = await run_command("silence", 'canary="chat"', "--for", "1h", "--why", "a test", *at)
            assert 0 == made.code
            provider.set_fault("cut")
            await daemon.wait_for_log("alert fired", alert="Down")
            await daemon.terminate()
            await daemon.start()
            await daemon.wait_for_log("run finished", 3, canary="chat", outcome="failed")
            assert [] == [one for one in hook.accepted_notifications() if one[0] == "alert.fired"]

            at = ("--url", await address(daemon))
            shown = (await run_command("alerts", *at)).stdout
            assert "FIRING  Down  chat" in shown
            assert f'SILENCE {made.stdout.strip()}  canary="chat"' in shown
            assert 0 == (await run_command("unsilence", made.stdout.strip(), *at)).code
            assert 1 == (await run_command("unsilence", made.stdout.strip(), *at)).code
            await hook.wait_for_deliveries(1)
            assert "alert.fired" == hook.accepted[-1].json["type"]
            await monitor.wait_for_deliveries(1)


async def test_an_unreachable_daemon_and_an_invalid_matcher_are_reported(tmp_path: Path) -> None:
    """The command prints one sentence and no traceback; for a matcher it is the daemon's message."""
    said = await run_command("alerts", "--url", "http://127.0.0.1:9")
    assert 1 == said.code
    assert said.stderr.startswith("streamcanary: cannot reach a daemon at http://127.0.0.1:9")
    async with FakeProvider("ok") as provider:
        config = {
            "targets": {"sim": {"base_url": provider.base_url, "api_key": "none"}},
            "canaries": {"chat": {"target": "sim", "model": "sim-ok"}},
        }
        async with Daemon(tmp_path, config) as daemon:
            said = await run_command("silence", "tier", "--for", "1h", "--url", await address(daemon))
    assert (1, True) == (said.code, "not a matcher: 'tier'" in said.stderr)


async def test_a_silence_with_nested_repetitions_does_not_stop_the_daemon(tmp_path: Path) -> None:
    """Such a silence is evaluated at once, also after a restart, where a silence of another syntax is dropped."""
    name = "canary-with-a-name-of-34-characters"
    async with FakeProvider("cut") as provider:
        config = {
            "targets": {"sim": {"base_url": provider.base_url, "api_key": "none", "provider": "simulator"}},
            "canaries": {name: {"target": "sim", "model": MODEL, "every": "400ms", "retry": {"max_attempts": 1}}},
            "alerts": {"rules": {"Down": {"detector": {"type": "consecutive", "failures": 2}}}},
        }
        async with Daemon(tmp_path, config) as daemon:
            at = ("--url", await address(daemon))
            refused = await run_command("silence", 'canary=~"(?=c).*"', "--for", "1h", *at)
            assert (1, True) == (refused.code, "lookaheads are not supported" in refused.stderr)
            made = await run_command("silence", 'canary=~"([a-z-]+)+X"', "--for", "1h", *at)
            assert 0 == made.code
            await daemon.wait_for_log("alert fired", alert="Down")
            await daemon.terminate()
            with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as store, store:
                store.execute(
                    "INSERT INTO silences SELECT 'old', replace(value, '([a-z-]+)+X', '(?=c).*') FROM silences"
                )
            await daemon.start()
            await daemon.wait_until_ready()
            dropped = await daemon.wait_for_log("stored row unreadable")
            assert ("silences", "old") == (dropped["table"], dropped["key"])
            assert "the regular expression of matcher" in dropped["error"]
            await daemon.wait_for_log("run finished", 3, canary=name, outcome="failed")
            shown = (await run_command("alerts", "--url", await address(daemon))).stdout
            assert (1, True) == (shown.count("SILENCE "), f"FIRING  Down  {name}" in shown)


async def address(daemon: Daemon) -> str:
    """Return the address of the daemon's API."""
    served = await daemon.wait_for_log("web server started")
    return f"http://127.0.0.1:{served['port']}"
