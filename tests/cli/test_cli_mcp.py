"""The verb ``mcp``, with the client of the SDK on stdin and stdout of a real process."""

import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters

from streamcanary.cli.mcp_server.documents import DATA_WARNING, MAX_CHARACTERS, answer
from support.programs.daemon import Daemon, run_command, write_config
from support.programs.program import poll_until
from support.programs.terminal import Terminal
from support.servers.provider import MODEL, FakeProvider

READING = {"status", "canaries", "canary", "incidents", "past_incidents", "runs", "run_waterfall", "silences"}
SECRET = "sk-live-5up3rs3cr3t"


def config(provider: FakeProvider) -> dict[str, Any]:
    """Return a configuration with a failing canary."""
    canary = {"target": "sim", "every": "1s", "timeouts": {"total": "800ms"}, "retry": {"max_attempts": 2}}
    return {
        "targets": {"sim": {"base_url": provider.base_url, "api_key": SECRET, "provider": "sim"}},
        "canaries": {"chat": {**canary, "model": MODEL}, "other": {**canary, "model": "sim-ok"}},
        "alerts": {"rules": {"Down": {"detector": {"type": "consecutive", "failures": 2}}}},
        "web": {"port": 0},
    }


def url_of(daemon: Daemon) -> str:
    """Return the address of the API."""
    return f"http://127.0.0.1:{daemon.log_lines('web server started')[-1]['port']}"


@asynccontextmanager
async def session(*options: str) -> AsyncIterator[Client]:
    """Start the verb, and connect to it."""
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "streamcanary", "mcp", *options], env={"PATH": os.environ["PATH"]}
    )
    async with Client(parameters) as client:
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> str:
    """Return the text that a tool answers, which must not be an error."""
    result = await client.call_tool(tool, arguments)
    [content] = result.content
    assert not result.is_error, content.text
    return str(content.text)


async def error_of(client: Client, tool: str, **arguments: Any) -> str:
    """Return the error of a tool."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return str(result.content[0].text)


async def test_an_agent_finds_out_what_is_broken(tmp_path: Path) -> None:
    """From the sentence to the waterfall of a failed run; each answer marks its texts as data."""
    async with FakeProvider("500") as provider, Daemon(tmp_path, config(provider)) as daemon:
        await daemon.wait_for_log("alert fired")
        async with session("--url", url_of(daemon)) as client:
            status = json.loads(await call(client, "status"))
            assert DATA_WARNING == status["warning"]
            assert 1 == status["summary"]["counts"]["failing"]
            incidents = json.loads(await call(client, "incidents"))["incidents"]
            assert [("Down", "chat")] == [(one["alert"], one["subject"]) for one in incidents]
            history = json.loads(await call(client, "past_incidents", canary="chat"))["incidents"]
            assert [("Down", "chat")] == [(one["rule"], one["subject"]) for one in history]
            canaries = json.loads(await call(client, "canaries", state="failing"))["canaries"]
            assert [("chat", "failing", "server_error")] == [
                (one["name"], one["state"], one["fault"]) for one in canaries
            ]
            assert "chat" == json.loads(await call(client, "canary", name="chat"))["status"]["name"]
            runs = json.loads(await call(client, "runs", canary="chat", limit=3))["runs"]
            assert ["server_error", "server_error"] == [attempt["fault"] for attempt in runs[-1]["attempts"]]

            async def waterfall() -> str | None:
                result = await client.call_tool("run_waterfall", {"run_id": runs[0]["run_id"]})
                return None if result.is_error else str(result.content[0].text)

            text = await poll_until(waterfall, 20, lambda: "no waterfall")
            assert text.startswith(DATA_WARNING)
            assert "server error" in text
            assert SECRET not in text


async def test_tools_are_read_only_unless_allowed(tmp_path: Path) -> None:
    """Without options no tool changes anything; each says whether it does."""
    async with FakeProvider() as provider, Daemon(tmp_path, config(provider)) as daemon:
        async with session("--url", url_of(daemon)) as client:
            tools = (await client.list_tools()).tools
            assert READING == {tool.name for tool in tools}
            assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
            assert client.instructions is not None
            assert DATA_WARNING in client.instructions
            assert "probe_canary" in await error_of(client, "probe_canary", name="chat")
        options = ("--allow-silence", "--allow-probe", str(daemon.config))
        async with session("--url", url_of(daemon), *options) as client:
            tools = (await client.list_tools()).tools
            changing = {tool.name for tool in tools if tool.annotations is None or not tool.annotations.read_only_hint}
            assert {"create_silence", "end_silence", "probe_canary"} == changing


async def test_an_allowed_agent_silences_and_probes(tmp_path: Path) -> None:
    """A silence of a day at most, with a reason; and runs of canaries of the configuration only."""
    async with FakeProvider() as provider, Daemon(tmp_path, config(provider)) as daemon:
        options = ("--allow-silence", "--allow-probe", str(daemon.config))
        async with session("--url", url_of(daemon), *options) as client:
            silence = json.loads(
                await call(client, "create_silence", match=['canary="chat"'], duration="30m", reason="deployment")
            )
            assert ("active", "mcp") == (silence["state"], silence["by"])
            await call(client, "end_silence", silence_id=silence["id"])
            for duration in ("2d", "soon"):
                error = await error_of(client, "create_silence", match=['a="b"'], duration=duration, reason="x")
                assert "duration: " in error
            assert "match" in await error_of(client, "create_silence", match=["no matcher"], duration="1m", reason="x")
            run = json.loads(await call(client, "probe_canary", name="other"))
            assert ("other", "ok") == (run["canary"], run["kind"])
            assert "there are chat, other" in await error_of(client, "probe_canary", name="http://evil.example")


async def test_an_agent_spends_no_more_than_the_budget(tmp_path: Path) -> None:
    """Once the probes of a session have cost ``budget.usd_per_day``, the next one is refused."""
    async with FakeProvider() as provider:
        documents = config(provider)
        documents["targets"]["sim"]["price"] = {"input": 1000, "output": 1000}
        file = write_config(tmp_path, {**documents, "budget": {"usd_per_day": 0.3}})
        async with session("--url", "http://127.0.0.1:9", "--allow-probe", str(file)) as client:
            spent = 0.0
            while spent < 0.3:
                spent += json.loads(await call(client, "probe_canary", name="other"))["cost"]
            asked = len(provider.requests)
            assert "budget.usd_per_day is spent" in await error_of(client, "probe_canary", name="other")
            assert asked == len(provider.requests)


async def test_errors_say_what_is_wrong(tmp_path: Path) -> None:
    """An unknown canary, an invalid argument, a daemon that is not there."""
    async with (
        FakeProvider() as provider,
        Daemon(tmp_path, config(provider)) as daemon,
        session("--url", url_of(daemon)) as client,
    ):
        assert "there is no canary chit" in await error_of(client, "canary", name="chit")
        assert "limit" in await error_of(client, "runs", canary="chat", limit=1000)
        assert "state" in await error_of(client, "canaries", state="broken")
        await daemon.terminate()
        assert "cannot reach a daemon at" in await error_of(client, "status")


async def test_http_serves_loopback_only_and_no_browser(tmp_path: Path) -> None:
    """Another transport for the same tools; a page in a browser that names another host is refused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/mcp"
    async with (
        FakeProvider() as provider,
        Daemon(tmp_path, config(provider)) as daemon,
        Terminal("mcp", "--url", url_of(daemon), "--http", str(port)) as terminal,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        await terminal.wait_for(f"serving {url}")

        async def rebound_status() -> int | None:
            with contextlib.suppress(httpx2.HTTPError):  # until it listens
                return (await http.post(url, json={}, headers={"Host": "evil.example"})).status_code
            return None

        assert 400 <= await poll_until(rebound_status, 20, lambda: terminal.output) < 500
        async with Client(url) as client:
            assert DATA_WARNING in await call(client, "status")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--http", "9999", "--allow-silence"), "need stdio: every program on this machine can connect to --http"),
        (("--http", "70000"), "--http must be a port from 1 to 65535, not 70000"),
        (("--allow-probe", "missing.yaml"), "missing.yaml: no such file"),
        (("--token-file", "missing"), "cannot read the token from missing"),
    ],
)
async def test_invalid_options_are_exit_code_2(options: tuple[str, ...], problem: str) -> None:
    """Nothing is served."""
    result = await run_command("mcp", *options)
    assert (2, "") == (result.code, result.stdout)
    assert problem in result.stderr


async def test_without_the_sdk_the_message_says_what_to_install(tmp_path: Path) -> None:
    """The SDK is an extra; here it is hidden."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['mcp'] = None")
    result = await run_command("mcp", PYTHONPATH=str(tmp_path))
    assert (2, "") == (result.code, result.stdout)
    assert "pip install 'streamcanary[mcp]'" in result.stderr


@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_answers_are_bounded(size: int) -> None:
    """However much a daemon answers; control characters are removed, and what is left out is said."""
    items = [{"message": "\x1b[2J\u202e<x>" * 200, "deep": [[[[[[[[[["x"]]]]]]]]]]} for _ in range(size)]
    text = answer({"items": items}, "items")
    assert len(text) <= MAX_CHARACTERS
    assert not {"\x1b", "\u202e"} & set(text)
    document = json.loads(text)
    assert size == len(document["items"]) + document["left_out"]


@pytest.mark.parametrize(
    "document",
    [
        {"status": {"name": "chat", "alerts": ["x" * 400] * 50}, "rules": [{"text": "y" * 400}] * 50},
        {
            "name": "chat",
            **{f"field-{number}": {"text": "x" * 500} for number in range(40)},
            "runs": [[["z" * 500] * 40]],
        },
        {"name": "chat", "object": {f"{number}": "x" * 500 for number in range(49)}, "other": {"a": ["y" * 500] * 40}},
        {"name": "chat", **{f"{number}-{'k' * 90}": '"' * 500 for number in range(49)}},
        {"name": "chat", "items": [{"timeline": ["x" * 500] * 50} for _ in range(50)]},
    ],
)
def test_a_long_document_is_shortened_inside(document: dict[str, Any]) -> None:
    """It stays valid JSON with all that is short, and says of which lists how many entries are left out."""
    for items in (None, "items"):
        text = answer(document, items)
        assert len(text) <= MAX_CHARACTERS
        found = json.loads(text)
        assert DATA_WARNING == found["warning"]
        assert document.get("name") == found.get("name")
        assert found.get("left_out") or found["shortened"]


def test_what_is_left_out_is_counted() -> None:
    """By the path of the list; a document that fits has no such field."""
    found = json.loads(answer({"status": {"alerts": ["x" * 490] * 50, "runs": ["y" * 490] * 50}, "name": "chat"}))
    kept = {name: len(found["status"][name]) for name in ("alerts", "runs")}
    assert {f"status.{name}": 50 - count for name, count in kept.items() if count < 50} == found["shortened"]
    assert sum(kept.values()) >= 25
    assert "shortened" not in json.loads(answer({"status": {"alerts": ["x"]}}))
