"""The verb ``probe`` with ``--repeat``: a real process that asks a real server many times."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from support.programs.daemon import run_command, write_config
from support.programs.terminal import Terminal
from support.servers.provider import FakeProvider


def config(folder: Path, provider: FakeProvider, **more: Any) -> Path:
    """Write a configuration with a canary that is ok, one that fails, and one that hangs."""
    canary = {"target": "sim", "every": "30s", "retry": {"max_attempts": 1}}
    return write_config(
        folder,
        {
            "targets": {"sim": {"base_url": provider.base_url, "api_key": "sk-live-5up3rs3cr3t", "provider": "sim"}},
            "canaries": {
                "well": {**canary, "model": "sim-ok"},
                "failing": {**canary, "model": "sim-500"},
                "hanging": {**canary, "model": "sim-stall"},
            },
            **more,
        },
    )


async def test_a_series_prints_percentiles_a_histogram_and_faults(tmp_path: Path) -> None:
    """Both canaries run five times; stderr, which is no terminal, stays empty."""
    async with FakeProvider() as provider:
        file = config(tmp_path, provider)
        result = await run_command("probe", "well", "failing", "-c", file, "--repeat", 5, "--parallel", 3)
        assert 10 == len(provider.requests)
    assert (1, "") == (result.code, result.stderr)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert "well: 5 runs of sim, model sim-ok, 3 at once" in result.stdout
    assert ["p50", "p90", "p95", "p99", "worst"] in rows
    assert ["server", "error", "provider", "5"] in rows
    assert "  FAILED  5 of 5 runs failed" in result.stdout.splitlines()
    assert "█" in result.stdout


async def test_json_has_the_runs_and_then_a_summary_for_each_canary(tmp_path: Path) -> None:
    """Lines with the key ``summary`` come last, and say what fails the probe."""
    async with FakeProvider() as provider:
        file = config(tmp_path, provider)
        result = await run_command("probe", "well", "failing", "-c", file, "--repeat", 2, "--json")
    *runs, well, failing = [json.loads(line) for line in result.stdout.splitlines()]
    assert 1 == result.code
    assert ["well", "failing", "well", "failing"] == [run["canary"] for run in runs]
    assert ("well", 0.0, []) == (well["canary"], well["summary"]["error_rate"], well["summary"]["violations"])
    assert [{"kind": "server_error", "blame": "provider", "count": 2}] == failing["summary"]["faults"]
    assert ["2 of 2 runs failed"] == failing["summary"]["violations"]
    assert 0 < well["summary"]["measures"]["first_token"]["p50"] <= well["summary"]["measures"]["first_token"]["worst"]


async def test_junit_and_markdown_files_are_written(tmp_path: Path) -> None:
    """A test for each run and one for the requirements; the Markdown says first what failed."""
    async with FakeProvider() as provider:
        file = config(tmp_path, provider)
        result = await run_command(
            *("probe", "well", "failing", "-c", file, "--repeat", 2),
            *("--junit", tmp_path / "probe.xml", "--markdown", tmp_path / "probe.md"),
        )
    assert 1 == result.code
    suites = ET.fromstring((tmp_path / "probe.xml").read_bytes())  # noqa: S314 - written by the program under test
    assert [("well", "3", "0"), ("failing", "3", "3")] == [
        (suite.get("name"), suite.get("tests"), suite.get("failures")) for suite in suites
    ]
    failures = [element.get("message") for element in suites.iter("failure")]
    assert "2 of 2 runs failed" == failures[-1]
    assert str(failures[0]).startswith("server error (HTTP 500): ")
    markdown = (tmp_path / "probe.md").read_text()
    assert markdown.startswith("## Probe failed: failing\n")
    assert "| server error | provider | 2 |" in markdown


async def test_markdown_without_a_file_replaces_the_output(tmp_path: Path) -> None:
    """One run of one canary, printed as Markdown and nothing else."""
    async with FakeProvider() as provider:
        result = await run_command("probe", "well", "-c", config(tmp_path, provider), "--markdown")
    assert (0, "") == (result.code, result.stderr)
    assert result.stdout.startswith("## Probe passed\n")
    assert "pong" not in result.stdout


async def test_a_requirement_fails_a_single_run(tmp_path: Path) -> None:
    """A gate needs no series: one run is over its limit."""
    async with FakeProvider() as provider:
        file = config(tmp_path, provider)
        result = await run_command("probe", "well", "-c", file, "--require", "duration max <= 0ms")
    assert 1 == result.code
    assert "  FAILED  well: duration max <= 0ms: it is " in result.stdout


async def test_a_series_stops_when_the_budget_is_spent(tmp_path: Path) -> None:
    """Runs cost some cents; when their sum reaches the budget no more are started, and the exit code is 1."""
    async with FakeProvider() as provider:
        file = config(tmp_path, provider, budget={"usd_per_day": 0.5})
        data = json.loads(file.read_text())
        data["targets"]["sim"]["price"] = {"input": 1000, "output": 1000}
        file.write_text(json.dumps(data))
        result = await run_command("probe", "well", "-c", file, "--repeat", 200)
        runs = len(provider.requests)
    assert 1 < runs < 200, result.stderr
    assert 1 == result.code
    assert f"well: {runs} runs of sim, model sim-ok; stopped, because budget.usd_per_day is spent" in result.stdout


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--repeat", "0"), "--repeat must be from 1 to 1000, not 0"),
        (("--repeat", "1001"), "--repeat must be from 1 to 1000, not 1001"),
        (("--parallel", "51"), "--parallel must be from 1 to 50, not 51"),
        (("--repeat", "2", "--trace"), "--trace shows single runs; leave out --repeat and --parallel"),
        (("--require", "fast"), "--require 'fast': not a requirement"),
        (("--json", "--markdown"), "--json and --markdown both print to stdout"),
        (("--junit", "-"), "--junit -: give a file; stdout has the summary"),
    ],
)
async def test_invalid_options_send_nothing(tmp_path: Path, options: tuple[str, ...], problem: str) -> None:
    """The exit code is 2, and the message says what would be right."""
    async with FakeProvider() as provider:
        result = await run_command("probe", "well", "-c", config(tmp_path, provider), *options)
        assert () == provider.requests
    assert (2, "") == (result.code, result.stdout)
    assert f"streamcanary: {problem}" in result.stderr


@pytest.mark.parametrize("option", ["--junit", "--markdown"])
async def test_a_file_that_cannot_be_written_is_known_before_a_run_costs_money(tmp_path: Path, option: str) -> None:
    """Nothing is sent; the message names the option and the file."""
    async with FakeProvider() as provider:
        file = config(tmp_path, provider)
        result = await run_command("probe", "well", "-c", file, option, tmp_path / "missing" / "probe.xml")
        assert () == provider.requests
    assert (2, "") == (result.code, result.stdout)
    assert f"{option} {tmp_path}/missing/probe.xml: cannot be written; choose another file" in result.stderr


async def test_a_terminal_shows_progress_and_ctrl_c_prints_what_was_measured(tmp_path: Path) -> None:
    """The runs of one canary hang; after Ctrl-C the summary has those that had ended; the cursor stays visible."""
    async with FakeProvider() as provider:
        file = config(tmp_path, provider)
        arguments = ("probe", "well", "hanging", "-c", file, "--repeat", 2, "--parallel", 2)
        async with Terminal(*map(str, arguments), rows=50) as terminal:
            await terminal.wait_for("2/4")
            await terminal.wait_for("0 failed, first token ")
            assert terminal.shows_cursor
            terminal.resize(50, 40)
            terminal.send("\x03")
            assert 130 == await terminal.finish()
    assert terminal.shows_cursor
    assert "2 at once; interrupted" in " ".join(terminal.output.split())
    assert "2 ok; error rate 0%" in terminal.output
    assert "no run has ended" in terminal.output
    assert "Traceback" not in terminal.output


async def test_ctrl_z_and_a_kill_leave_the_cursor_visible(tmp_path: Path) -> None:
    """The progress bar never hides it: a process that is stopped or killed could not show it again."""
    async with FakeProvider() as provider:
        file = config(tmp_path, provider)
        arguments = ("probe", "well", "hanging", "-c", file, "--repeat", 2, "--parallel", 2)
        async with Terminal(*map(str, arguments), in_shell=True) as terminal:
            await terminal.wait_for("2/4")
            terminal.send("\x1a")
            await terminal.wait_for("Stopped")
            assert terminal.shows_cursor
            terminal.send('kill -9 %1; while [ -n "$(jobs -s)" ]; do :; done; echo ended $?\n')
            await terminal.wait_for("ended 0")
            assert terminal.shows_cursor
    assert "\x1b[?25l" not in terminal.output
