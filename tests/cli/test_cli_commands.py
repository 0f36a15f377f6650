"""The other verbs, each as a process: what they print where, and how they end."""

import asyncio
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.programs.daemon import run_command, write_config
from support.servers.provider import FakeProvider
from support.servers.receiver import SECRET


def config(folder: Path, provider: FakeProvider) -> Path:
    """Write a configuration with three canaries: well, rescued by a retry, and failing."""
    canary = {"target": "sim", "every": "30s", "retry": {"max_attempts": 2, "base_delay": "10ms"}}
    return write_config(
        folder,
        {
            "targets": {"sim": {"base_url": provider.base_url, "api_key": "sk-live-5up3rs3cr3t", "provider": "sim"}},
            "canaries": {
                "well": {**canary, "model": "sim-ok", "expect": {"contains": "pong"}},
                "rescued": {**canary, "model": "sim-cut@1"},
                "failing": {**canary, "model": "sim-500"},
            },
            "alerts": {
                "group_wait": 0,
                "rules": {"Down": {"match": ['canary!="well"']}},
                "receivers": {"hook": {"type": "webhook", "url": "https://example.com/T0K3N", "secret": SECRET}},
            },
        },
    )


@pytest.mark.timeout(180)
async def test_the_demo_shows_an_outage_and_ends_with_a_summary() -> None:
    """``demo --once``: what happens goes to stderr, the summary to stdout as one line of JSON."""
    said = await run_command("demo", "--once", within=120)
    assert 0 == said.code, said.stderr
    [line] = said.stdout.splitlines()
    summary = json.loads(line)
    assert {
        "runs",
        "failed",
        "attempts",
        "alerts_fired",
        "alerts_resolved",
        "seconds_to_fire",
        "seconds_to_resolve",
    } == summary.keys()
    assert 0 < summary["alerts_fired"] == summary["alerts_resolved"]
    assert 0 < summary["failed"] < summary["runs"] < summary["attempts"]
    assert 0 < summary["seconds_to_fire"]
    assert 0 < summary["seconds_to_resolve"]
    told = [said.stderr.find(words) for words in ("PAGE  FIRING", "stream_cut", "stalled", "rate_limited")]
    assert -1 not in told
    assert said.stderr.find("PAGE  FIRING") < said.stderr.find("PAGE  RESOLVED")
    end = said.stderr[said.stderr.find("PAGE  RESOLVED") :]
    assert re.search(r"s        chat[a-z-]*: recovered: \d+ of the last \d+ runs were good\n", end)
    assert 2 == len(set(re.findall(r"s        (chat[a-z-]*): \d+ of \d+ runs bad", said.stderr)))  # on one page
    assert "Traceback" not in said.stderr


async def test_probe_shows_the_answer_and_its_attempts(tmp_path: Path) -> None:
    """All canaries that are named answered: exit code 0."""
    async with FakeProvider() as provider:
        said = await run_command("probe", "well", "rescued", "-c", config(tmp_path, provider))
    assert (0, "") == (said.code, said.stderr)
    assert "well: asking sim for sim-ok" in said.stdout
    assert "pong" in said.stdout.lower()
    assert ["attempt 1 on sim-cut@1", "attempt 2 on sim-cut@1"] == [
        line.split(":")[0].split(" after ")[0].strip() for line in said.stdout.splitlines() if "on sim-cut@1" in line
    ]
    assert 2 == said.stdout.count("  OK")


async def test_probe_of_a_canary_that_fails_is_exit_code_1(tmp_path: Path) -> None:
    """Without names all canaries run; one that fails is enough."""
    async with FakeProvider() as provider:
        said = await run_command("probe", "-c", config(tmp_path, provider))
    assert (1, "") == (said.code, said.stderr)
    assert "FAILED: server_error (HTTP 500)" in said.stdout
    assert "5up3rs3cr3t" not in said.stdout


async def test_probe_can_be_read_by_a_machine(tmp_path: Path) -> None:
    """``--json``: one object a run on stdout, and nothing else."""
    async with FakeProvider() as provider:
        said = await run_command("probe", "--json", "-c", config(tmp_path, provider))
    runs = [json.loads(line) for line in said.stdout.splitlines()]
    assert (1, "") == (said.code, said.stderr)
    assert [("well", "ok", 1), ("rescued", "ok", 2), ("failing", "failed", 2)] == [
        (run["canary"], run["kind"], len(run["attempts"])) for run in runs
    ]
    assert "server_error" == runs[2]["fault"]["kind"]
    assert "stream_cut" == runs[1]["attempts"][0]["fault"]["kind"]


async def test_probe_of_an_unknown_canary_is_exit_code_2(tmp_path: Path) -> None:
    """The message lists those that there are, and nobody is asked."""
    async with FakeProvider() as provider:
        said = await run_command("probe", "well", "wel", "-c", config(tmp_path, provider))
        assert () == provider.requests
    assert (2, "") == (said.code, said.stdout)
    assert "streamcanary: there is no canary wel; known: well, rescued, failing\n" == said.stderr


@pytest.mark.parametrize(("model", "code"), [("sim-ok", 0), ("sim-stream-of-luck", 1)])
async def test_probe_asks_any_endpoint(model: str, code: int) -> None:
    """Without a configuration, by its address."""
    async with FakeProvider() as provider:
        said = await run_command("probe", "--base-url", provider.base_url, "--model", model, "--json")
    assert (code, "") == (said.code, said.stderr)
    assert model == json.loads(said.stdout)["attempts"][0]["route"]


async def test_check_says_what_is_watched(tmp_path: Path) -> None:
    """Exit code 0, the canaries with their rules, the receivers, and no secret."""
    async with FakeProvider() as provider:
        said = await run_command("check", "-c", config(tmp_path, provider))
        assert () == provider.requests
    assert 0 == said.code
    rows = [line.split() for line in said.stdout.splitlines()]
    assert ["well", "sim", "sim-ok", "30s", "none"] in rows
    assert ["failing", "sim", "sim-500", "30s", "Down"] in rows
    assert ["hook", "webhook"] in rows
    assert "good: 3 canaries, 1 rule, 1 receiver" == said.stdout.splitlines()[-1]
    assert [] == [secret for secret in ("5up3rs3cr3t", "T0K3N", SECRET) if secret in said.stdout]


async def test_check_refuses_what_run_would_refuse(tmp_path: Path) -> None:
    """Exit code 2, and the message on stderr."""
    said = await run_command("check", "-c", tmp_path / "missing.yaml")
    assert (2, "", f"{tmp_path}/missing.yaml: no such file; give the path of a configuration file\n") == said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_simulate_serves_until_it_is_told_to_stop(number: int) -> None:
    """It says where, answers there, hanging calls do not hold it up, and the exit code is 0."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamcanary", "simulate", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            assert process.stderr is not None
            base_url = (await process.stderr.readline()).decode().removeprefix("serving ").strip()
            async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
                assert "sim-stall" in (await client.get(f"{base_url}/models")).text
                async with client.stream("POST", f"{base_url}/chat/completions", json=ask("sim-stall")) as response:
                    assert 200 == response.status_code
                    process.send_signal(number)
                    stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (0, b"") == (process.returncode, stdout)
    assert b"POST /v1/chat/completions sim-stall stall" in stderr
    assert b"Traceback" not in stderr


def ask(model: str) -> dict[str, Any]:
    """Return the body of a request."""
    return {"model": model, "messages": [{"role": "user", "content": "ping"}], "stream": True}


async def test_help_and_version_go_to_stdout() -> None:
    """Every verb of the list has its help."""
    said = await run_command("--help")
    assert (0, "") == (said.code, said.stderr)
    for name in ("run", "demo", "probe", "check", "simulate"):
        assert f"\n    {name} " in said.stdout
    assert "streamcanary 0." in (await run_command("--version")).stdout
