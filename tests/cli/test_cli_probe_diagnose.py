"""``probe --diagnose``: the way to the endpoint first, then the run as always."""

import json
from pathlib import Path

import pytest

from streamcanary.simulator import Simulator
from support.programs.daemon import run_command, write_config
from support.servers.certificates import EXPIRED, LOOPBACK, server_tls_context
from support.servers.provider import FakeProvider

KEY = "sk-live-5up3rs3cr3tk3y"


async def test_the_steps_come_before_the_run() -> None:
    """A table with a mark, the time and what was found, then what a probe always shows; the exit code is the run's."""
    async with FakeProvider() as provider:
        said = await run_command("probe", "--diagnose", "--base-url", provider.base_url, "--model", "sim-ok")
    assert (0, "") == (said.code, said.stderr)
    rows = [line.split() for line in said.stdout.splitlines()]
    assert ["probe:", "asking", "endpoint", "for", "sim-ok"] == rows[0]
    assert [
        *([mark, name] for mark, name in zip(["?", "ok", "ok", "ok"], ["key", "address", "dns", "tcp"], strict=True)),
        ["-", "proxy"],
        ["-", "tls"],
        ["ok", "models"],
        ["ok", "model"],
    ] == [row[:2] for row in rows[1:9]]
    assert "ms" == rows[7][3]
    assert "  OK" == said.stdout.splitlines()[-1]


async def test_what_is_broken_stands_out() -> None:
    """The first broken step is marked, with what to do; the run goes on all the same, and fails."""
    async with FakeProvider() as provider:
        said = await run_command("probe", "--diagnose", "--base-url", provider.base_url, "--model", "sim-okay")
    assert (1, "") == (said.code, said.stderr)
    lines = said.stdout.splitlines()
    [broken] = [number for number, line in enumerate(lines) if line.startswith("  FAILED  ")]
    assert "model " in lines[broken]
    assert lines[broken].endswith("listed")
    assert "> did you mean sim-ok" in lines[broken + 1]
    assert "FAILED: not_found (HTTP 404)" in lines[-1]


@pytest.mark.parametrize(("certificate", "code"), [(LOOPBACK, 0), (EXPIRED, 1)])
async def test_a_configuration_with_its_own_authority(tmp_path: Path, certificate: Path, code: int) -> None:
    """``--json``: a line for the diagnosis before the line of each run. A relative ``ca_file`` starts at the config."""
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
        said = await run_command("probe", "--diagnose", "--json", "-c", config)
    assert (code, "") == (said.code, said.stderr)
    told = [json.loads(line) for line in said.stdout.splitlines()]
    assert ["first", "first", "second", "second"] == [line["canary"] for line in told]
    assert [{"canary", "diagnosis"}, {"canary", "diagnosis"}] == [told[0].keys(), told[2].keys()]
    states = {step["name"]: step["state"] for step in told[0]["diagnosis"]["steps"]}
    assert {0: ("ok", "ok", "ok"), 1: ("failed", "skipped", "failed")}[code] == (
        states["tls"],
        states["model"],
        told[1]["kind"],
    )
    assert KEY not in said.stdout


async def test_a_file_that_is_missing_is_bad_configuration(tmp_path: Path) -> None:
    """Exit code 2 and the file's name, for the daemon as for a probe."""
    config = write_config(
        tmp_path,
        {
            "targets": {"own": {"api_key": KEY, "ca_file": "gone.pem"}},
            "canaries": {"c": {"target": "own", "model": "m", "every": "30s"}},
        },
    )
    for name in ("probe", "run"):
        said = await run_command(name, "-c", config)
        assert (2, "") == (said.code, said.stdout)
        assert f"ca_file {tmp_path}/gone.pem cannot be read: No such file or directory" in said.stderr
        assert "Traceback" not in said.stderr
