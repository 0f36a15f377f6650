"""The example with regions: its files work with the real Collector, Prometheus and Alertmanager."""

import asyncio
import math
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from support.alerting.vantage_points import Process
from support.programs import promtool
from support.programs.daemon import run_command
from support.programs.required_tools import require_tool

FOLDER = Path(__file__).parents[2] / "config/examples/regions"
RULES = (FOLDER / "rules.yaml").read_text()

BEGIN, END = 1800.0, 3600.0
"""The time of an outage, in seconds."""


def region(name: str, *, is_failing: bool, gone: float = math.inf) -> list[dict[str, str]]:
    """Return the series of a region, as they come through its Collector; in some, the canary fails during an outage."""
    process = Process(region=name, result=lambda time: "bad" if is_failing and BEGIN <= time < END else "ok", gone=gone)
    series = process.series(5400)
    return [
        {**one, "series": one["series"].replace("region=", "cloud_region=").replace('namespace="monitoring", ', "")}
        for one in series
    ]


async def test_the_rules_are_those_that_the_command_prints():
    """Prometheus promotes ``cloud.region`` to a label; with two regions that fail, the provider is down."""
    arguments = ("--fleet", "--vantage", "cloud_region", "--at-least", "2")
    environ = {"REGION": "eu", "OPENAI_API_KEY": "none"}
    result = await run_command("rules", "-c", FOLDER / "streamcanary.yaml", *arguments, **environ)
    assert (0, "") == (result.code, result.stderr)
    assert RULES == result.stdout


@pytest.mark.real("promtool")
def test_prometheus_accepts_its_configuration_and_rules():
    """``promtool check config`` reads the rule file as well."""
    command = [str(require_tool("promtool")), "check", "config", str(FOLDER / "prometheus.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == result.returncode, result.stderr
    assert "11 rules found" in result.stdout


@pytest.mark.real("promtool")
def test_two_regions_that_fail_are_a_page_and_one_is_a_ticket(tmp_path):
    """One of three, and one of two, is a ticket with the region; two of three are a page."""
    cases = {
        "all good": ["eu", "us", "ap"],
        "one fails": ["EU", "us", "ap"],
        "two fail": ["EU", "US", "ap"],
        "one of two fails": ["EU", "us"],
    }
    series = {
        name: [one for each in regions for one in region(each.lower(), is_failing=each.isupper())]
        for name, regions in cases.items()
    }
    pages, tickets = (
        {name for name, times in promtool.firing_times(tmp_path, RULES, alert, series).items() if times}
        for alert in ("ProviderDown", "VantagePointFailing")
    )
    assert ({"two fail"}, {"one fails", "one of two fails"}) == (pages, tickets)


@pytest.mark.real("promtool")
def test_a_silent_region_is_reported(tmp_path):
    """A region whose metrics end is named; one that is there is not."""
    others = [*region("us", is_failing=False), *region("ap", is_failing=False)]
    cases = {
        "there": [*others, *region("eu", is_failing=False)],
        "silent": [*others, *region("eu", is_failing=False, gone=900)],
    }
    times = promtool.firing_times(tmp_path, RULES, "VantagePointSilent", cases)
    assert [] == times["there"]
    assert 900 + 600 <= times["silent"][0] <= 900 + 660


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
