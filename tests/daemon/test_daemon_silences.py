"""Alerts seen and muted from the command line, and the heartbeat of a daemon that gets on."""

from pathlib import Path

from support.programs.daemon import Daemon, verb
from support.servers.provider import MODEL, Provider
from support.servers.receiver import SECRET, Receiver


async def test_a_silence_holds_back_a_page_until_it_is_ended(tmp_path: Path) -> None:
    """Made before the outage by one verb, ended by another: still bad, so it pages then; it is kept over a restart."""
    async with Provider("ok") as provider, Receiver() as hook, Receiver() as monitor:
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
            assert (0, "nothing fires\n") == (await verb("alerts", *at))[:2]
            made = await verb("silence", 'canary="chat"', "--for", "1h", "--why", "a test", *at)
            assert 0 == made.code
            provider.turn("cut")
            await daemon.said("alert fired", alert="Down")
            await daemon.terminate()
            await daemon.start()
            await daemon.said("run", 3, canary="chat", outcome="failed")
            assert [] == [one for one in hook.story() if one[0] == "alert.fired"]

            at = ("--url", await address(daemon))
            shown = (await verb("alerts", *at)).stdout
            assert "FIRING  Down  chat" in shown
            assert f'SILENCE {made.stdout.strip()}  canary="chat"' in shown
            assert 0 == (await verb("unsilence", made.stdout.strip(), *at)).code
            assert 1 == (await verb("unsilence", made.stdout.strip(), *at)).code
            await hook.received(1)
            assert "alert.fired" == hook.accepted[-1].json["type"]
            await monitor.received(1)


async def test_a_daemon_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    """And a bad matcher, in the daemon's words; no traceback."""
    said = await verb("alerts", "--url", "http://127.0.0.1:9")
    assert 1 == said.code
    assert said.stderr.startswith("streamcanary: no daemon answers at http://127.0.0.1:9")
    async with Provider("ok") as provider:
        config = {
            "targets": {"sim": {"base_url": provider.base_url, "api_key": "none"}},
            "canaries": {"chat": {"target": "sim", "model": "sim-ok"}},
        }
        async with Daemon(tmp_path, config) as daemon:
            said = await verb("silence", "tier", "--for", "1h", "--url", await address(daemon))
    assert (1, True) == (said.code, "not a matcher: 'tier'" in said.stderr)


async def address(daemon: Daemon) -> str:
    """Return where the daemon's API is."""
    served = await daemon.said("health is served")
    return f"http://127.0.0.1:{served['port']}"
