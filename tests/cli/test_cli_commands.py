"""The verbs `demo`, `probe`, `check` and `simulate` as processes: output and exit codes."""

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
from support.programs.terminal import Terminal
from support.servers.provider import FakeProvider
from support.servers.receiver import SECRET


def config(folder: Path, provider: FakeProvider) -> Path:
    """Write a configuration with three canaries: ok, ok after a retry, and failing."""
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
async def test_demo_once_prints_an_outage_and_a_summary() -> None:
    """``demo --once`` prints events to stderr and a summary to stdout as one line of JSON."""
    result = await run_command("demo", "--once", within=120)
    assert 0 == result.code, result.stderr
    [line] = result.stdout.splitlines()
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
    positions = [result.stderr.find(text) for text in ("PAGE  FIRING", "stream cut off", "stalled", "rate limited")]
    assert -1 not in positions
    assert result.stderr.find("PAGE  FIRING") < result.stderr.find("PAGE  RESOLVED")
    end = result.stderr[result.stderr.find("PAGE  RESOLVED") :]
    assert re.search(r"s        chat[a-z-]*: recovered: \d+ of the last \d+ runs were good\n", end)
    assert 2 == len(
        set(re.findall(r"s        (chat[a-z-]*): \d+ of \d+ runs failed", result.stderr))
    )  # in one notification
    assert "Traceback" not in result.stderr
    first_line, *_ = result.stderr.splitlines()
    assert re.search(r"status page: http://127\.0\.0\.1:\d+/ ", first_line)
    assert "streamcanary probe --base-url https://api.openai.com/v1 --model gpt-4o-mini" in result.stderr


async def test_demo_prints_an_address_that_answers_and_ends_with_ctrl_c() -> None:
    """The status page is served while the demo runs; interrupted, its exit code is 0 without a summary."""
    async with Terminal("demo", columns=120) as terminal:
        await terminal.wait_for("chat: ok after")
        address = re.search(r"status page: (http://127\.0\.0\.1:\d+)/", terminal.output)
        assert address is not None
        async with httpx2.AsyncClient(trust_env=False) as client:
            status = (await client.get(f"{address[1]}/api/v1/status")).json()
        assert "demo" == status["summary"]["instance"]
        terminal.send("\x03")
        assert 0 == await terminal.finish()
    assert "did not fire" not in terminal.output


async def test_demo_ends_once_or_never() -> None:
    """``--once`` and ``--loop`` contradict each other."""
    result = await run_command("demo", "--once", "--loop")
    assert (2, "") == (result.code, result.stdout)
    assert "give one of them" in result.stderr


async def test_probe_prints_the_answer_and_its_attempts(tmp_path: Path) -> None:
    """The exit code is 0 if all named canaries are ok."""
    async with FakeProvider() as provider:
        result = await run_command("probe", "well", "rescued", "-c", config(tmp_path, provider))
    assert (0, "") == (result.code, result.stderr)
    assert "well: probing sim, model sim-ok" in result.stdout
    assert "pong" in result.stdout.lower()
    assert ["attempt 1 on sim-cut@1", "attempt 2 on sim-cut@1"] == [
        line.split(":")[0].split(" after ")[0].strip() for line in result.stdout.splitlines() if "on sim-cut@1" in line
    ]
    assert 2 == result.stdout.count("  OK")


async def test_probe_of_a_failing_canary_is_exit_code_1(tmp_path: Path) -> None:
    """Without names all canaries run, and one failed run gives exit code 1."""
    async with FakeProvider() as provider:
        result = await run_command("probe", "-c", config(tmp_path, provider))
    assert (1, "") == (result.code, result.stderr)
    assert "FAILED: server error (HTTP 500)" in result.stdout
    assert "5up3rs3cr3t" not in result.stdout


async def test_probe_json_prints_one_object_for_each_run(tmp_path: Path) -> None:
    """``--json`` prints one object for each run to stdout, and no other output."""
    async with FakeProvider() as provider:
        result = await run_command("probe", "--json", "-c", config(tmp_path, provider))
    runs = [json.loads(line) for line in result.stdout.splitlines()]
    assert (1, "") == (result.code, result.stderr)
    assert [("well", "ok", 1), ("rescued", "ok", 2), ("failing", "failed", 2)] == [
        (run["canary"], run["kind"], len(run["attempts"])) for run in runs
    ]
    assert "server_error" == runs[2]["fault"]["kind"]
    assert "stream_cut" == runs[1]["attempts"][0]["fault"]["kind"]


async def test_probe_of_an_unknown_canary_is_exit_code_2(tmp_path: Path) -> None:
    """The message lists the known canaries, and no request is sent."""
    async with FakeProvider() as provider:
        result = await run_command("probe", "well", "wel", "-c", config(tmp_path, provider))
        assert () == provider.requests
    assert (2, "") == (result.code, result.stdout)
    assert "streamcanary: unknown canary wel; known: well, rescued, failing\n" == result.stderr


@pytest.mark.parametrize(("model", "code"), [("sim-ok", 0), ("sim-stream-of-luck", 1)])
async def test_probe_needs_no_configuration(model: str, code: int) -> None:
    """``--base-url`` and ``--model`` probe any endpoint."""
    async with FakeProvider() as provider:
        result = await run_command("probe", "--base-url", provider.base_url, "--model", model, "--json")
    assert (code, "") == (result.code, result.stderr)
    assert model == json.loads(result.stdout)["attempts"][0]["route"]


async def test_check_lists_canaries_rules_and_receivers(tmp_path: Path) -> None:
    """``check`` lists canaries with their rules and receivers, prints no secret, and exits with 0."""
    async with FakeProvider() as provider:
        result = await run_command("check", "-c", config(tmp_path, provider))
        assert () == provider.requests
    assert 0 == result.code
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["well", "sim", "sim-ok", "30s", "none"] in rows
    assert ["failing", "sim", "sim-500", "30s", "Down"] in rows
    assert ["hook", "webhook"] in rows
    assert "valid: 3 canaries, 1 rule, 1 receiver" == result.stdout.splitlines()[-1]
    assert [] == [secret for secret in ("5up3rs3cr3t", "T0K3N", SECRET) if secret in result.stdout]


async def test_check_of_a_missing_file_is_exit_code_2(tmp_path: Path) -> None:
    """``check`` prints the error to stderr and exits with 2."""
    result = await run_command("check", "-c", tmp_path / "missing.yaml")
    assert (2, "", f"{tmp_path}/missing.yaml: no such file; give the path of a configuration file\n") == result


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_simulate_serves_until_a_signal(number: int) -> None:
    """``simulate`` prints its address, serves there, and exits with 0 on a signal despite an open request."""
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
                async with client.stream(
                    "POST", f"{base_url}/chat/completions", json=request_body("sim-stall")
                ) as response:
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


def request_body(model: str) -> dict[str, Any]:
    """Return the body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "ping"}], "stream": True}


async def test_help_and_version_go_to_stdout() -> None:
    """``--help`` lists the verbs, and ``--version`` prints the version."""
    result = await run_command("--help")
    assert (0, "") == (result.code, result.stderr)
    for name in ("run", "demo", "probe", "check", "simulate"):
        assert f"\n    {name} " in result.stdout
    assert "streamcanary 0." in (await run_command("--version")).stdout


@pytest.mark.parametrize(
    ("interval", "problem"), [("1ms", "must be at least 0.1 s, or 0"), ("often", "not a duration")]
)
async def test_run_refuses_an_invalid_reload_interval(tmp_path: Path, interval: str, problem: str) -> None:
    """An invalid interval ends ``run`` with exit code 2, and a message with the option and what would be right."""
    result = await run_command("run", "-c", str(tmp_path / "none.yaml"), "--reload-interval", interval)
    assert (2, "") == (result.code, result.stdout)
    assert result.stderr.startswith(f"streamcanary run: error: argument --reload-interval: {problem}")
