"""``probe --diagnose``: the steps to the endpoint before each run."""

import json
from pathlib import Path

import pytest

from streamcanary.simulator import Simulator
from support.programs.daemon import run_command, write_config
from support.servers.certificates import EXPIRED, LOOPBACK, server_tls_context
from support.servers.provider import FakeProvider

KEY = "sk-live-5up3rs3cr3tk3y"


async def test_the_steps_are_printed_before_the_run() -> None:
    """A table has the state, duration and message of each step, and the exit code is that of the run."""
    async with FakeProvider() as provider:
        result = await run_command("probe", "--diagnose", "--base-url", provider.base_url, "--model", "sim-ok")
    assert (0, "") == (result.code, result.stderr)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["probe:", "probing", "endpoint,", "model", "sim-ok"] == rows[0]
    assert [
        *([mark, name] for mark, name in zip(["?", "ok", "ok", "ok"], ["key", "address", "dns", "tcp"], strict=True)),
        ["-", "proxy"],
        ["-", "tls"],
        ["ok", "models"],
        ["ok", "model"],
    ] == [row[:2] for row in rows[1:9]]
    assert "ms" == rows[7][3]
    assert "  OK" == result.stdout.splitlines()[-1]


async def test_a_failed_step_is_marked() -> None:
    """The first failed step has a mark and a remedy, and the run still takes place."""
    async with FakeProvider() as provider:
        result = await run_command("probe", "--diagnose", "--base-url", provider.base_url, "--model", "sim-okay")
    assert (1, "") == (result.code, result.stderr)
    lines = result.stdout.splitlines()
    [failed] = [number for number, line in enumerate(lines) if line.startswith("  FAILED  ")]
    assert "model " in lines[failed]
    assert lines[failed].endswith("listed models")
    assert "> did you mean sim-ok" in lines[failed + 1]
    assert "FAILED: not found (HTTP 404)" in lines[-1]


@pytest.mark.parametrize(("certificate", "code"), [(LOOPBACK, 0), (EXPIRED, 1)])
async def test_json_prints_a_diagnosis_before_each_run(tmp_path: Path, certificate: Path, code: int) -> None:
    """``--json`` prints a line for the diagnosis before that of each run, with a relative ``ca_file``."""
    (tmp_path / "ca.pem").write_text(certificate.read_text() + "#" * 70_000)  # longer than a secret may be
    async with Simulator(ssl=server_tls_context(certificate), api_key=KEY) as simulator:
        canary = {"target": "own", "model": "sim-ok", "every": "30s", "retry": {"max_attempts": 1}}
        config = write_config(
            tmp_path,
            {
                "targets": {"own": {"base_url": simulator.base_url, "api_key": KEY, "ca_file": "ca.pem"}},
                "canaries": {"first": canary, "second": canary},
            },
        )
        result = await run_command("probe", "--diagnose", "--json", "-c", config)
    assert (code, "") == (result.code, result.stderr)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert ["first", "first", "second", "second"] == [line["canary"] for line in lines]
    assert [{"canary", "diagnosis"}, {"canary", "diagnosis"}] == [lines[0].keys(), lines[2].keys()]
    states = {step["name"]: step["state"] for step in lines[0]["diagnosis"]["steps"]}
    assert {0: ("ok", "ok", "ok"), 1: ("failed", "skipped", "failed")}[code] == (
        states["tls"],
        states["model"],
        lines[1]["kind"],
    )
    assert KEY not in result.stdout


async def test_a_missing_ca_file_is_an_invalid_configuration(tmp_path: Path) -> None:
    """``probe`` and ``run`` print the name of a missing file and exit with 2."""
    config = write_config(
        tmp_path,
        {
            "targets": {"own": {"api_key": KEY, "ca_file": "gone.pem"}},
            "canaries": {"c": {"target": "own", "model": "m", "every": "30s"}},
        },
    )
    for name in ("probe", "run"):
        result = await run_command(name, "-c", config)
        assert (2, "") == (result.code, result.stdout)
        assert f"ca_file {tmp_path}/gone.pem cannot be read: No such file or directory" in result.stderr
        assert "Traceback" not in result.stderr
