"""A real daemon whose configuration is reloaded: by its file, by SIGHUP, and through the API."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.http_client import loopback_client
from support.programs.daemon import Daemon
from support.programs.program import poll_until
from support.servers.provider import MODEL, FakeProvider
from support.servers.receiver import SECRET, FakeReceiver

TOKEN = "0123456789abcdef"
JSON = {"Content-Type": "application/json"}


class WatchingDaemon(Daemon):
    """A daemon that looks at its file five times a second."""

    run_arguments = ("--reload-interval", "200ms")


class UnwatchingDaemon(Daemon):
    """A daemon that reloads only when it is asked to."""

    run_arguments = ("--reload-interval", "0")


def canary(model: str = "sim-ok", every: str = "1s") -> dict[str, Any]:
    """Build the section of a canary."""
    return {"target": "sim", "model": model, "every": every, "retry": {"max_attempts": 1}}


def config(provider: FakeProvider, hook: FakeReceiver, **canaries: dict[str, Any]) -> dict[str, Any]:
    """Build a configuration whose rule fires after two failures."""
    return {
        "store": {"path": "store.db"},
        "web": {"port": 0},
        "targets": {"sim": {"base_url": provider.base_url, "api_key": "none"}},
        "canaries": canaries,
        "alerts": {
            "group_wait": 0,
            "group_by": ["alert", "canary"],
            "rules": {
                "NoData": {"enabled": False},
                "Down": {"detector": {"type": "consecutive", "failures": 2, "resolve_after": 2}},
            },
            "receivers": {"hook": {"type": "webhook", "url": hook.url, "secret": SECRET}},
        },
    }


def write(path: Path, text: str) -> None:
    """Replace a file at once, as an editor does."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def write_config(daemon: Daemon, data: dict[str, Any]) -> None:
    """Replace the configuration of ``daemon``."""
    write(daemon.config, json.dumps(data))


def notified(hook: FakeReceiver) -> list[tuple[str, str]]:
    """Return type and rule of each notification that ``hook`` accepted."""
    return [(each.json["type"], each.json["labels"]["alert"]) for each in hook.accepted]


async def url(daemon: Daemon) -> str:
    """Return the address of the API."""
    return f"http://127.0.0.1:{(await daemon.wait_for_log('web server started'))['port']}"


async def get(daemon: Daemon, path: str) -> Any:
    """Return the JSON of the API at ``path``."""
    async with loopback_client() as client:
        return (await client.get(f"{await url(daemon)}{path}")).json()


async def post_reload(daemon: Daemon, **headers: str) -> httpx2.Response:
    """Ask ``daemon`` to reload its configuration."""
    async with loopback_client() as client:
        return await client.post(f"{await url(daemon)}/-/reload", headers={**JSON, **headers})


async def test_a_changed_file_is_applied_and_unchanged_canaries_keep_their_schedule(tmp_path: Path) -> None:
    """Runs of a canary that stays are due on the same grid; a new canary runs, and a removed one stops."""
    async with FakeProvider("ok") as provider, FakeReceiver() as hook:
        before = config(provider, hook, stays=canary(), goes=canary())
        async with WatchingDaemon(tmp_path, before) as daemon:
            await daemon.wait_for_log("run finished", 2, canary="stays")
            write_config(daemon, config(provider, hook, stays=canary(), comes=canary()))
            reloaded = await daemon.wait_for_log("configuration reloaded")
            assert ["canaries.goes removed", "canaries.comes added"] == reloaded["changes"]
            await daemon.wait_for_log("run finished", 2, canary="comes")
            last = len(daemon.log_lines("run finished", canary="goes"))
            await daemon.wait_for_log("run finished", 6, canary="stays")
            await daemon.terminate()
            assert len(daemon.log_lines("run finished", canary="goes")) <= last + 1
        rows = daemon.query("SELECT json_extract(outcome, '$.scheduled') FROM runs WHERE canary = 'stays' ORDER BY 1")
        due = [row[0] for row in rows]
        assert {0.0} == {round(later - due[1], 3) % 1 for later in due[1:]}


async def test_incidents_keep_their_identity_and_those_of_removed_canaries_resolve(tmp_path: Path) -> None:
    """After a reload an open alert is not sent again; when its canary is removed, it resolves with the reason."""
    async with FakeProvider("cut") as provider, FakeReceiver() as hook:
        before = config(provider, hook, chat=canary(MODEL))
        async with WatchingDaemon(tmp_path, before) as daemon:
            await hook.wait_for_deliveries(1)
            [incident] = (await get(daemon, "/api/v1/incidents"))["incidents"]
            write_config(daemon, config(provider, hook, chat=canary(MODEL), other=canary()))
            await daemon.wait_for_log("configuration reloaded")
            runs = len(daemon.log_lines("run finished", canary="chat"))
            await daemon.wait_for_log("run finished", runs + 2, canary="chat")
            [after] = (await get(daemon, "/api/v1/incidents"))["incidents"]
            assert (incident["key"], incident["opened"]) == (after["key"], after["opened"])
            assert [("alert.fired", "Down")] == notified(hook)

            write_config(daemon, config(provider, hook, other=canary()))
            resolved = await daemon.wait_for_log("alert resolved", alert="Down")
            assert resolved["reason"].startswith("the canary was removed from the configuration")
            await hook.wait_for_deliveries(2)
            assert [("alert.fired", "Down"), ("alert.resolved", "Down")] == notified(hook)


async def test_an_invalid_file_changes_nothing_and_is_reported_until_it_is_valid(tmp_path: Path) -> None:
    """``ReloadFailed`` fires, with the metric, the status and the log, and resolves with the next valid file."""
    async with FakeProvider("ok") as provider, FakeReceiver() as hook:
        good = config(provider, hook, chat=canary())
        async with WatchingDaemon(tmp_path, good) as daemon:
            first = await get(daemon, "/api/v1/status")
            write_config(daemon, {**good, "wob": {}})
            await hook.wait_for_deliveries(1)
            refused = await daemon.wait_for_log("configuration not reloaded", reason="invalid")
            assert "wob: unknown key; did you mean web?" in refused["error"]
            status = await get(daemon, "/api/v1/status")
            assert first["config"]["hash"] == status["config"]["hash"]
            assert ("invalid", ["wob"]) == (
                status["config"]["last_result"],
                [error["key"] for error in status["config"]["errors"]],
            )
            async with loopback_client() as client:
                metrics = (await client.get(f"{await url(daemon)}/metrics")).text
            assert "streamcanary_config_last_reload_successful 0\n" in metrics
            assert 'streamcanary_config_reloads_total{result="failure"} 1\n' in metrics
            runs = len(daemon.log_lines("run finished", canary="chat"))
            await daemon.wait_for_log("run finished", runs + 1, canary="chat", outcome="ok")

            write_config(daemon, good)
            await hook.wait_for_deliveries(2)
            assert [("alert.fired", "ReloadFailed"), ("alert.resolved", "ReloadFailed")] == notified(hook)


async def test_a_restart_with_a_valid_file_resolves_reload_failed(tmp_path: Path) -> None:
    """A daemon starts with a valid configuration only, so the alert is over."""
    async with FakeProvider("ok") as provider, FakeReceiver() as hook:
        good = config(provider, hook, chat=canary())
        async with WatchingDaemon(tmp_path, good) as daemon:
            write_config(daemon, {**good, "store": {"path": "store.db", "keep": "1d"}})
            needed = await daemon.wait_for_log("configuration not reloaded", reason="restart_needed")
            assert "restart the daemon to apply a change of store.keep" == needed["error"]
            await hook.wait_for_deliveries(1)
            await daemon.terminate()
            await daemon.start()
            await daemon.wait_until_ready()
            await hook.wait_for_deliveries(2)
            assert [("alert.fired", "ReloadFailed"), ("alert.resolved", "ReloadFailed")] == notified(hook)


async def test_the_swapped_link_of_a_configmap_is_noticed(tmp_path: Path) -> None:
    """The kubelet exchanges the link ``..data``, through which the path of the file leads."""
    async with FakeProvider("ok") as provider, FakeReceiver() as hook:
        daemon = WatchingDaemon(tmp_path, config(provider, hook, chat=canary()))
        for version, canaries in (("1", {"chat": canary()}), ("2", {"chat": canary(), "other": canary()})):
            (tmp_path / f"..{version}").mkdir()
            data = {**config(provider, hook, **canaries), "store": {"path": str(tmp_path / "store.db")}}
            (tmp_path / f"..{version}" / "streamcanary.yaml").write_text(json.dumps(data))
        (tmp_path / "..data").symlink_to("..1")
        daemon.config.unlink()
        daemon.config.symlink_to("..data/streamcanary.yaml")
        async with daemon:
            (tmp_path / "..data_tmp").symlink_to("..2")
            (tmp_path / "..data_tmp").replace(tmp_path / "..data")
            reloaded = await daemon.wait_for_log("configuration reloaded")
            assert ["canaries.other added"] == reloaded["changes"]
            await daemon.wait_for_log("run finished", canary="other")


async def test_sighup_and_post_judge_the_file_at_once(tmp_path: Path) -> None:
    """Both reload although the file is not watched; the answer says what has changed, or everything that is wrong."""
    async with FakeProvider("ok") as provider, FakeReceiver() as hook:
        good = config(provider, hook, chat=canary())
        async with UnwatchingDaemon(tmp_path, good) as daemon:
            write_config(daemon, config(provider, hook, chat=canary(), second=canary()))
            os.kill(daemon.pid, signal.SIGHUP)
            await daemon.wait_for_log("configuration reloaded")

            write_config(daemon, config(provider, hook, chat=canary(), third=canary()))
            applied = await post_reload(daemon)
            assert (200, "applied") == (applied.status_code, applied.json()["result"])
            assert [
                {"key": "canaries.second", "change": "removed"},
                {"key": "canaries.third", "change": "added"},
            ] == applied.json()["changes"]
            assert "unchanged" == (await post_reload(daemon)).json()["result"]

            write_config(daemon, {**good, "wob": {}, "budget": {"usd_per_day": "many"}})
            invalid = await post_reload(daemon)
            assert (422, "application/problem+json") == (invalid.status_code, invalid.headers["content-type"])
            assert {"wob", "budget.usd_per_day"} == {error["key"] for error in invalid.json()["errors"]}

            write_config(daemon, {**good, "web": {"port": 1}})
            restart = await post_reload(daemon)
            assert (409, ["web.port"]) == (restart.status_code, restart.json()["restart_needed"])


@pytest.mark.parametrize(("token", "status"), [("wrong", 401), (TOKEN, 200)])
async def test_a_reload_needs_the_token(tmp_path: Path, token: str, status: int) -> None:
    """With ``web.token`` a request must send it; a reload can replace the token."""
    async with FakeProvider("ok") as provider, FakeReceiver() as hook:
        with_token = {**config(provider, hook, chat=canary()), "web": {"port": 0, "token": TOKEN}}
        async with UnwatchingDaemon(tmp_path, with_token) as daemon:
            write_config(daemon, {**with_token, "web": {"port": 0, "token": f"new{TOKEN}"}})
            answer = await post_reload(daemon, Authorization=f"Bearer {token}")
            assert status == answer.status_code
            if status == 200:
                assert TOKEN not in daemon.stderr + answer.text
                assert 401 == (await post_reload(daemon, Authorization=f"Bearer {TOKEN}")).status_code


async def test_a_website_cannot_reload(tmp_path: Path) -> None:
    """Without a token, a request must be JSON, which no form of another site can send."""
    async with (
        FakeProvider("ok") as provider,
        FakeReceiver() as hook,
        UnwatchingDaemon(tmp_path, config(provider, hook, chat=canary())) as daemon,
    ):
        answer = await post_reload(daemon, **{"Content-Type": "application/x-www-form-urlencoded"})
        assert 415 == answer.status_code
        assert [] == daemon.log_lines("configuration")


async def test_a_receiver_that_is_repaired_gets_what_is_pending(tmp_path: Path) -> None:
    """A notification that waits for a receiver is sent to its new address, once."""
    async with FakeProvider("cut") as provider, FakeReceiver() as hook:
        broken = config(provider, hook, chat=canary(MODEL))
        broken["alerts"]["receivers"]["hook"]["url"] = "http://127.0.0.1:9"
        async with WatchingDaemon(tmp_path, broken) as daemon:
            await daemon.wait_for_log("notification failed", receiver="hook")
            write_config(daemon, config(provider, hook, chat=canary(MODEL)))
            await hook.wait_for_deliveries(1)
            provider.set_fault("ok")
            await hook.wait_for_deliveries(2)
            assert [("alert.fired", "Down"), ("alert.resolved", "Down")] == notified(hook)


async def test_series_of_a_removed_canary_end(tmp_path: Path) -> None:
    """``/metrics`` has current canaries only, so that a removed one does not seem to hang."""
    async with (
        FakeProvider("ok") as provider,
        FakeReceiver() as hook,
        UnwatchingDaemon(tmp_path, config(provider, hook, stays=canary(), goes=canary())) as daemon,
    ):
        await daemon.wait_for_log("run finished", canary="goes")
        write_config(daemon, config(provider, hook, stays=canary()))
        await post_reload(daemon)

        async def canaries() -> set[str] | None:
            async with loopback_client() as client:
                text = (await client.get(f"{await url(daemon)}/metrics")).text
            return {name for name in ("stays", "goes") if f'canary="{name}"' in text}

        assert {"stays"} == await poll_until(canaries, 10.0, lambda: daemon.stderr)
