"""The page about more than one machine says what the rules do."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from streamcanary.alerting.prometheus.promql import duration
from streamcanary.alerting.prometheus.vantage_queries import MAX_INTERVAL, VantageRuleOptions
from streamcanary.alerting.prometheus.vantage_rules import export_vantage_rules
from streamcanary.model.config_types.duration import format_duration, parse_duration

PAGE = (Path(__file__).parents[2] / "docs/more-than-one-machine.md").read_text(encoding="utf-8")


def rows(header: str) -> list[list[str]]:
    """Return the cells of the table whose first column has this header."""
    table = PAGE[PAGE.index(f"| {header} |") :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_table_has_the_alerts_and_their_severities() -> None:
    """Those of a file without ``--of``, in its order."""
    [group] = YAML(typ="safe").load(export_vantage_rules(VantageRuleOptions()))["groups"]
    alerts = [[f"`{rule['alert']}`", rule["labels"]["severity"]] for rule in group["rules"] if "alert" in rule]
    assert alerts == [row[:2] for row in rows("Alert")]


@pytest.mark.parametrize(("interval", "window"), [row[:2] for row in rows("Interval")])
def test_the_table_has_the_window_of_each_interval(interval: str, window: str) -> None:
    """The window is as long as five runs, or somewhat longer."""
    windows = VantageRuleOptions(intervals=(parse_duration(interval),)).windows
    assert [window] == [duration(each) for each in windows]


def test_the_longest_interval_is_named() -> None:
    """Canaries that run less often are not compared."""
    assert re.search(rf"less often than every {format_duration(MAX_INTERVAL)} are not compared", PAGE)
