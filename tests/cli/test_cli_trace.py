"""``trace`` and ``probe --trace``: the waterfall of a run of a real daemon."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamcanary.cli.daemon_client import UNEXPECTED_ANSWER
from support.programs.daemon import CommandResult, Daemon, run_command
from support.servers.provider import FakeProvider
from support.servers.receiver import FakeReceiver, Reply
from support.telemetry.run_traces import make_attempt, make_trace

CANARY: dict[str, Any] = {"target": "local", "every": "1s", "retry": {"max_attempts": 2, "base_delay": "10ms"}}


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """Return the address of a daemon with a canary that works and one that fails, after a run of each."""
    async with FakeProvider() as provider:
        config = {
            "targets": {"local": {"base_url": provider.base_url, "api_key": "none"}},
            "canaries": {"good": {**CANARY, "model": "sim-ok"}, "bad": {**CANARY, "model": "sim-500"}},
        }
        async with Daemon(tmp_path / "daemon", config) as daemon:
            await daemon.wait_for_log("run finished", canary="good", outcome="ok")
            await daemon.wait_for_log("run finished", canary="bad", outcome="failed")
            port = (await daemon.wait_for_log("web server started"))["port"]
            yield f"http://127.0.0.1:{port}"


async def trace(*arguments: object) -> CommandResult:
    """Run the verb ``trace``."""
    return await run_command("trace", *arguments)


async def test_a_run_is_printed_by_canary_and_by_id(url: str) -> None:
    """The name of a canary selects its last failed run, ``--last-ok`` the last good one; run id and trace id select."""
    failed = await trace("bad", "--url", url)
    assert (0, "") == (failed.code, failed.stderr)
    lines = failed.stdout.splitlines()
    assert "bad on local: FAILED" == lines[0]
    assert [1, 1] == [failed.stdout.count(f"{attempt}, sim-500") for attempt in ("attempt 1", "attempt 2")]
    assert "wait" in failed.stdout
    good = await trace("good", "--last-ok", "--url", url)
    assert "good on local: OK" == good.stdout.splitlines()[0]
    document = json.loads((await trace("bad", "--json", "--url", url)).stdout)
    for name in (document["run"]["run_id"], document["run"]["trace_id"]):
        found = json.loads((await trace(name, "--json", "--url", url)).stdout)
        assert document["run"]["run_id"] == found["run"]["run_id"]
    call = found["root"]["children"][0]
    assert ["POST", "POST"] == [attempt["name"] for attempt in call["children"]]


async def test_a_run_that_is_not_kept_is_explained(url: str) -> None:
    """The message says what there is instead, and the code is 1."""
    results = [
        await trace("good", "--url", url),
        await trace("bad", "--last-ok", "--url", url),
        await trace("unknown", "--url", url),
        await trace("0" * 32, "--url", url),
    ]
    assert [1, 1, 1, 1] == [result.code for result in results]
    assert [
        "streamcanary: no failed run of good is kept; --last-ok prints the last good one\n",
        "streamcanary: no good run of bad is kept; without --last-ok, the last failed one is printed\n",
        "streamcanary: no run of unknown is kept; there are runs of bad, good\n",
        (
            f"streamcanary: {url}: HTTP 404: no run {'0' * 32} is kept; kept are the last good run and the latest "
            "failed ones of each canary: see GET /api/v1/runs\n"
        ),
    ] == [result.stderr for result in results]


async def test_the_last_good_run_needs_a_canary() -> None:
    """``--last-ok`` with an id is an error in the arguments."""
    result = await trace("0" * 32, "--last-ok")
    assert (2, "streamcanary: --last-ok needs the name of a canary, not the id of a run\n") == (
        result.code,
        result.stderr,
    )


async def test_a_run_that_a_newer_one_replaces_meanwhile_is_no_error() -> None:
    """If the listed run is gone at the second request, the list is read again."""
    listed = Reply(body=b'{"runs": [{"run_id": "a"}]}')
    found = Reply(body=msgspec.json.encode(make_trace(make_attempt(0.0, 1.0))))
    async with FakeReceiver(listed, Reply(404), listed, found) as server:
        result = await trace("chat", "--last-ok", "--url", server.url)
    assert (0, "", "chat on openai: OK") == (result.code, result.stderr, result.stdout.splitlines()[0])


@pytest.mark.parametrize("body", ["[]", "{}", '{"runs": [{}]}', '{"runs": {"a": 1}}', '{"run": 1, "root": 2}', "null"])
async def test_a_server_that_is_no_daemon_is_recognized(body: str) -> None:
    """Any JSON of another server leads to a message, not to a traceback."""
    async with FakeReceiver() as server:
        server.always = Reply(body=body.encode())
        result = await trace("chat", "--url", server.url)
        expected = f"streamcanary: {server.url}: {UNEXPECTED_ANSWER}\n"
    assert (1, expected) == (result.code, result.stderr)


async def test_probe_prints_the_waterfall_of_each_run() -> None:
    """``probe --trace`` draws the run after its result; with ``--json``, it is a second line."""
    async with FakeProvider() as provider:
        options = ("--base-url", provider.base_url, "--model", "sim-cut@1", "--trace")
        drawn = await run_command("probe", *options)
        as_json = await run_command("probe", *options, "--json")
    assert (0, 0) == (drawn.code, as_json.code)
    assert "└─ chat sim-cut@1" in drawn.stdout
    outcome, run = map(json.loads, as_json.stdout.splitlines())
    assert (outcome["run_id"], outcome["trace_id"]) == (run["run"]["run_id"], run["run"]["trace_id"])
