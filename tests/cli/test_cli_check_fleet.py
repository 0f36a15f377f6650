"""What ``check`` prints about a fleet."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from streamcanary.cli.commands.configuration.check import main
from support.alerting.builders import webhook_config
from support.programs.daemon import write_config

NO_SHAPES: Any = {"shapes": False, "shape": None, "plot": None}


def check(
    folder: Path, capsys: pytest.CaptureFixture[str], code: int = 0, **sections: Any
) -> tuple[list[str], list[str]]:
    """Check a configuration with a fleet; return the lines on stdout and stderr."""
    config = {
        "fleet": {"replicas": 100, "member": "pod-a"},
        "targets": {
            "sim": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none", "price": {"input": 1, "output": 1}}
        },
        "canaries": {name: {"target": "sim", "model": "m", "every": "30s"} for name in ("chat", "other")},
        **sections,
    }
    path = write_config(folder, config)
    assert code == main(Namespace(config=path, base_rate="2%", all=False, enforce_budget=code == 1, **NO_SHAPES))
    output = capsys.readouterr()
    return output.out.splitlines(), output.err.splitlines()


def test_the_schedule_of_a_member_and_of_the_fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both intervals are printed, and what the other numbers are about."""
    out, err = check(tmp_path, capsys)
    start = out.index("fleet of 100: each member runs chat and 1 more every 50m, together every 30s")
    assert [
        "FleetFailing of rules --fleet fires 2m30s after all runs of chat and 1 more begin to fail",
        "while there are 10 members, it fires after 25m",
        "schedules, forecasts and budget below are those of each member",
    ] == out[start + 1 : start + 4]
    assert ["chat", "sim", "m", "50m", "none"] == next(line for line in out if line.startswith("chat")).split()
    assert [] == err


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [
        (1, ["FleetFailing of rules --fleet fires 4m45s after all runs of chat and 1 more begin to fail"]),
        (
            5,
            [
                "FleetFailing of rules --fleet fires 3m45s after all runs of chat and 1 more begin to fail",
                "while there is one member, it fires after 23m45s",
            ],
        ),
    ],
)
def test_small_fleets(tmp_path: Path, capsys: pytest.CaptureFixture[str], replicas: int, expected: list[str]) -> None:
    """A fleet of one has no fewer members; of others, a tenth is at least one."""
    out, _ = check(tmp_path, capsys, fleet={"replicas": replicas, "member": "pod-a"})
    start = next(number for number, line in enumerate(out) if line.startswith("FleetFailing"))
    assert expected == out[start : start + len(expected)]
    assert out[start + len(expected)].startswith("schedules")


def test_forecasts_are_those_of_a_member(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rule of a member fires after the runs of that member."""
    rule = {"detector": {"type": "consecutive", "failures": 3}, "labels": {"severity": "ticket"}}
    out, _ = check(tmp_path, capsys, alerts={"rules": {"Failing": rule}})
    row = next(line for line in out if line.startswith("Failing"))
    assert True is (" 50m " in row and " 2h5m " in row)
    assert "NoData fires 2h31m after the last run of chat and 1 more" in out


def test_the_budget_of_a_member_and_of_the_fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The expected use is printed for one member and for all of them."""
    out, _ = check(tmp_path, capsys, budget={"usd_per_day": 5, "requests_per_minute": 20})
    start = next(number for number, line in enumerate(out) if line.startswith("budget"))
    assert [
        "budget     up to 0.016 of 0.05 USD a day, 0.04 of 0.2 requests a minute, without retries",
        "           up to 1.65 of 5 USD a day, 4 of 20 requests a minute for all 100 members",
    ] == out[start : start + 2]


def test_a_budget_that_is_too_small_is_told_in_numbers_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The warning has the limit as it is in the file."""
    _, [line] = check(tmp_path, capsys, code=1, budget={"requests_per_minute": 3})
    assert line.startswith("warning: budget.requests_per_minute 3: the canaries are due 4 times a minute")


def test_no_receiver_is_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A member needs no receiver, also with rules that page."""
    rule = {"detector": {"type": "consecutive", "failures": 3}, "labels": {"severity": "page"}}
    _, err = check(tmp_path, capsys, alerts={"rules": {"Failing": rule}})
    assert [] == err


def test_a_daemon_without_a_web_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said what that means; it is a warning if the results of canaries go nowhere else."""
    telemetry = {"otlp": {"endpoint": "http://127.0.0.1:9"}}
    out, err = check(tmp_path, capsys, web={"enabled": False}, telemetry=telemetry)
    assert (True, []) == ("web        disabled: no port, and so no health endpoints, API and /metrics" in out, err)
    out, [line] = check(tmp_path, capsys, web={"enabled": False})
    assert "web.enabled: the results go nowhere: add telemetry.otlp or a receiver" in line


def test_a_heartbeat_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One member that is alive would keep the heartbeat of all."""
    _, [line] = check(tmp_path, capsys, heartbeat={"url": "http://127.0.0.1:9/ping"})
    assert "heartbeat: all 100 members of fleet request this URL, so requests stop only when none of them is" in line


def test_a_receiver_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred members with a receiver notify a hundred times."""
    _, [line] = check(tmp_path, capsys, alerts={"receivers": {"hook": webhook_config()}})
    assert line.endswith(
        "alerts.receivers: each of the 100 members of fleet notifies them by itself; remove them, and let Prometheus "
        "notify once, with the rules of: streamcanary rules --fleet"
    )
