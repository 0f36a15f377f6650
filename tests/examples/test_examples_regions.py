"""The example with regions: its files work with the real Collector, Prometheus and Alertmanager."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from support.programs import promtool
from support.programs.required_tools import require_tool

FOLDER = Path(__file__).parents[2] / "config/examples/regions"
RULES = (FOLDER / "rules.yaml").read_text()


def runs(region: str, failed: str, ok: str) -> list[dict[str, str]]:
    """Return the series of a region: its runs by outcome, in the notation of promtool."""
    labels = f'job="streamcanary", canary="chat", target="openai", cloud_region="{region}"'
    return [
        {"series": f'streamcanary_runs_total{{{labels}, outcome="failed"}}', "values": failed},
        {"series": f'streamcanary_runs_total{{{labels}, outcome="ok"}}', "values": ok},
    ]


@pytest.mark.real("promtool")
def test_prometheus_accepts_its_configuration_and_rules():
    """``promtool check config`` reads the rule file as well."""
    command = [str(require_tool("promtool")), "check", "config", str(FOLDER / "prometheus.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == result.returncode, result.stderr
    assert "3 rules found" in result.stdout


@pytest.mark.real("promtool")
def test_a_page_needs_failures_in_most_regions(tmp_path):
    """A failing region does not page; two of three do, after the minute that the rule waits."""
    good, bad = ("0x40", "0+1x40"), ("0+1x40", "0x40")
    cases = {
        "all good": [*runs("eu", *good), *runs("us", *good), *runs("ap", *good)],
        "one fails": [*runs("eu", *bad), *runs("us", *good), *runs("ap", *good)],
        "two fail": [*runs("eu", *bad), *runs("us", *bad), *runs("ap", *good)],
        "one of two fails": [*runs("eu", *bad), *runs("us", *good)],
    }
    full = {
        name: [{**series, "values": _expand(series["values"])} for series in every] for name, every in cases.items()
    }
    times = promtool.firing_times(tmp_path, RULES, "FailingInMostRegions", full)
    assert {"all good": [], "one fails": [], "one of two fails": []} == {
        name: found for name, found in times.items() if name != "two fail"
    }
    assert 60 <= times["two fail"][0] <= 120


@pytest.mark.real("promtool")
def test_a_silent_region_is_reported(tmp_path):
    """A region whose metrics end is named; one that is there is not."""
    info = 'streamcanary_canary_info{{job="streamcanary", canary="chat", cloud_region="{region}"}}'
    cases = {
        "there": [{"series": info.format(region="eu"), "values": _expand("1x80")}],
        "silent": [{"series": info.format(region="eu"), "values": " ".join(["1"] * 10 + ["_"] * 70)}],
    }
    times = promtool.firing_times(tmp_path, RULES, "RegionSilent", cases)
    assert [] == times["there"]
    assert 10 * 60 <= times["silent"][0] <= 13 * 60  # five minutes until the series is stale, and five of the rule


def _expand(notation: str) -> str:
    """Return ``0+1x3`` as ``0 1 2 3``: `firing_times` counts the values."""
    start, _, rest = notation.partition("x" if "+" not in notation else "+")
    step, count = ("0", rest) if "+" not in notation else rest.split("x")
    return " ".join(str(int(start) + int(step) * number) for number in range(int(count) + 1))


@pytest.mark.real("otelcol")
def test_the_collector_accepts_its_configuration():
    """``otelcol validate`` knows the components and their settings."""
    command = [str(require_tool("otelcol")), "validate", f"--config={FOLDER / 'otel-collector.yaml'}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == result.returncode, result.stderr


@pytest.mark.real("alertmanager")
async def test_alertmanager_loads_its_configuration(tmp_path):
    """The real Alertmanager starts with the file."""
    shutil.copy(FOLDER / "alertmanager.yaml", tmp_path)
    process = await asyncio.create_subprocess_exec(
        str(require_tool("alertmanager")),
        f"--config.file={tmp_path / 'alertmanager.yaml'}",
        f"--storage.path={tmp_path / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        "--cluster.listen-address=",
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(30):
            while not any("configuration file" in line and "ompleted" in line for line in lines):
                line = (await process.stderr.readline()).decode()
                assert line, "".join(lines)
                lines.append(line)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def test_alerts_of_single_regions_are_inhibited_by_name():
    """The names in the inhibition of Alertmanager are those of the rule file and of the daemon."""
    load = YAML(typ="safe", pure=True).load
    (inhibition,) = load(FOLDER / "alertmanager.yaml")["inhibit_rules"]
    (source,), (target,) = inhibition["source_matchers"], inhibition["target_matchers"]
    fleet = [rule["alert"] for group in load(RULES)["groups"] for rule in group["rules"] if "alert" in rule]
    region = load(FOLDER / "streamcanary.yaml")["alerts"]["rules"]
    assert source.split('"')[1] in fleet
    assert target.split('"')[1] in region
