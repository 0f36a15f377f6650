"""The verbs `test-rules`, `backtest` and `rules` as processes: output and exit codes."""

import json
import sqlite3
from pathlib import Path

import msgspec
import pytest

from streamcanary.alerting.testing.series_notation import parse_values
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.status.alert_history import PastIncident, past_incident_id
from support.alerting.builders import CHAT, NOON
from support.programs.daemon import run_command, write_config
from support.store.builders import open_store

ROOT = Path(__file__).parents[2]
CONFIG: dict = {
    "targets": {
        "openai": {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-live-5up3rs3cr3t", "provider": "openai"}
    },
    "canaries": {"chat": {"target": "openai", "model": "m", "every": "30s"}},
    "alerts": {"rules": {"Errors": {"detector": {"type": "consecutive", "failures": 3}}}},
}
TESTS = """
alerts: {rules: {Errors: {detector: {type: consecutive, failures: 3}}}}
tests:
  - name: outage
    interval: 30s
    input_series: [{series: chat, values: ok x10 stalled x5}]
    alert_rule_test: [{eval_time: 6m, alertname: Errors, exp_alerts: []}]
"""


async def recorded(path: Path, values: str) -> Path:
    """Record runs of ``chat``, one each 30 s from noon, and close the store."""
    store = open_store(path)
    outcomes = [
        word.to_outcome(CHAT, number, NOON + 30 * number) for number, word in enumerate(parse_values(values)) if word
    ]
    await store.commit([], outcomes)
    await store.close()
    return path


async def test_the_example_of_rule_tests_passes() -> None:
    """The example of rule tests passes for the example of a configuration."""
    result = await run_command("test-rules", ROOT / "config" / "rules-test.yaml", OPENAI_API_KEY="none")
    assert (0, "") == (result.code, result.stderr)
    assert result.stdout.endswith("rules-test.yaml\n  SUCCESS\n\n")


async def test_a_failing_rule_test_is_printed_as_by_promtool(tmp_path: Path) -> None:
    """The output has file, test, alert, time, expected and firing alerts, and the exit code is 1."""
    path = tmp_path / "a.yaml"
    path.write_text(TESTS)
    result = await run_command("test-rules", path)
    assert (1, "") == (result.code, result.stderr)
    assert (
        f"Unit Testing:  {path}\n"
        "  FAILED:\n"
        "    name: outage, alertname: Errors, time: 6m,\n"
        "        exp:[]\n"
        "        got:[\n"
        "            0:\n"
        '              Labels:{canary="chat", provider="provider", target="target"}\n'
        "              Annotations:{}\n"
        "        ]\n"
        "\n"
        "\n"
    ) == result.stdout


async def test_every_error_of_an_invalid_file_is_printed(tmp_path: Path) -> None:
    """Each error has line, column and key; the other files are still tested, and the exit code is 2."""
    bad, failing = tmp_path / "bad.yaml", tmp_path / "failing.yaml"
    bad.write_text(TESTS.replace("stalled", "stalld").replace("eval_time: 6m", "eval_tme: 6m"))
    failing.write_text(TESTS)
    result = await run_command("test-rules", bad, failing)
    assert 2 == result.code
    assert {
        f"{bad}:6:43: tests[0].input_series[0].values: unknown outcome or fault 'stalld'; did you mean stalled?",
        f"{bad}:7:24: tests[0].alert_rule_test[0].eval_tme: unknown key; did you mean eval_time?",
        f"{bad}:7:23: tests[0].alert_rule_test[0].eval_time: is required, and missing",
    } == set(result.stderr.splitlines())
    assert "  INVALID FILE\n" in result.stdout
    assert "  FAILED:\n" in result.stdout


async def test_an_unknown_rule_or_configuration_is_an_invalid_file(tmp_path: Path) -> None:
    """A test of an unknown rule, or with a missing configuration, gives exit code 2."""
    path = tmp_path / "a.yaml"
    write_config(tmp_path, {**CONFIG, "store": {"path": "a.db"}}).rename(tmp_path / "config.yaml")
    inline = TESTS.replace("alerts: {rules: {Errors: {detector: {type: consecutive, failures: 3}}}}", "RULES")
    path.write_text(
        inline.replace("RULES", "rule_files: [config.yaml]").replace("alertname: Errors", "alertname: Eror")
    )
    result = await run_command("test-rules", path)
    assert 2 == result.code
    assert "tests[0].alert_rule_test[0].alertname: unknown rule 'Eror'; known: BehindSchedule" in result.stderr
    path.write_text(inline.replace("RULES", "rule_files: [nowhere.yaml]"))
    result = await run_command("test-rules", path)
    assert (2, f"{tmp_path / 'nowhere.yaml'}: no such file; give the path of a configuration file\n") == (
        result.code,
        result.stderr,
    )


async def test_a_backtest_prints_alerts_and_totals(tmp_path: Path) -> None:
    """The output has alerts with times and counts, and totals; the default store is that of the configuration."""
    config = write_config(tmp_path, {**CONFIG, "store": {"path": "a.db"}})
    await recorded(tmp_path / "a.db", "ok x10 stalled x5 ok x5 rate_limited x4")
    result = await run_command("backtest", "-c", config)
    assert (0, "") == (result.code, result.stderr)
    assert "24 runs from 2027-01-15T08:00:00.000Z to 2027-01-15T08:11:30.000Z\n" in result.stdout
    assert "2027-01-15T08:06:00.000Z  2m30s              Errors  chat     5 of 8  stalled 5\n" in result.stdout
    assert "2027-01-15T08:11:00.000Z  30s, still firing  Errors  chat     3 of 3  rate_limited 3\n" in result.stdout
    [line] = [line for line in result.stdout.splitlines() if line.startswith("Errors ")]
    assert ["Errors", "2", "3m", "0"] == line.split()
    assert "2027-01-15T08:05:00.000Z  6m30s   chat      1m      Errors\n" in result.stdout


async def test_a_backtest_compares_with_the_alerts_of_the_daemon(tmp_path: Path) -> None:
    """An alert in the store is an outage, with the time until the daemon detected it."""
    config = write_config(tmp_path, {**CONFIG, "store": {"path": "a.db"}})
    await recorded(tmp_path / "a.db", "ok x10 stalled x5 ok x5")
    opened = NOON + 330
    known = PastIncident(
        id=past_incident_id("k", opened),
        key="k",
        rule="Two",
        subject="chat",
        opened=opened,
        since=NOON + 300,
        resolved=NOON + 480,
        canaries=("chat",),
    )
    store = open_store(tmp_path / "a.db")
    await store.commit([RowChange("alert_history", known.id, msgspec.json.encode(known))], [])
    await store.close()
    result = await run_command("backtest", "-c", config)
    begin = result.stdout.index("OUTAGE ")
    header, row, *_ = result.stdout[begin:].splitlines()
    assert ["OUTAGE", "LASTED", "CANARIES", "RECORDED", "Errors", "FIRST"] == header.split()
    assert ["2027-01-15T08:05:00.000Z", "3m30s", "chat", "30s", "1m", "Errors"] == row.split()


async def test_a_backtest_prints_json(tmp_path: Path) -> None:
    """``--json`` prints one object for the period of ``--since`` and ``--until``."""
    config = write_config(tmp_path, CONFIG)
    path = await recorded(tmp_path / "b.db", "ok x10 stalled x5 ok x5 stalled x5")
    period = ("--since", "2027-01-15T08:09:00Z", "--until", "2027-01-15T09:11:31+01:00")
    result = await run_command("backtest", "-c", config, "--db", path, "--json", *period)
    report = json.loads(result.stdout)
    assert (0, "", 6, 0) == (result.code, result.stderr, report["runs"], report["unread"])
    assert ["2027-01-15T08:11:00.000Z"] == [alert["fired"] for alert in report["alerts"]]
    assert {"fires": 1, "seconds": 30.0, "pages": 0} == report["rules"]["Errors"]
    assert [60.0] == [outage["delays"]["Errors"] for outage in report["outages"]]


async def test_an_unreadable_run_is_a_warning(tmp_path: Path) -> None:
    """A backtest skips an unreadable run with a warning and replays the others."""
    path = await recorded(tmp_path / "a.db", "ok x3")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE runs SET outcome = '{}' WHERE id = 2")
    connection.commit()
    connection.close()
    result = await run_command("backtest", "-c", write_config(tmp_path, CONFIG), "--db", path)
    assert 0 == result.code
    assert result.stderr.startswith("warning: skipped run chat-1, which cannot be read: ")
    assert result.stdout.startswith("2 runs from ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--db", "missing.db"), "there is no database "),
        (("--since", "yesterday"), "--since 'yesterday' is not a time: write one such as 2027-01-15T08:00:00Z"),
    ],
    ids=["database", "time"],
)
async def test_an_invalid_argument_of_backtest_is_exit_code_2(arguments, message, tmp_path: Path) -> None:
    """A missing database or an invalid time gives one line on stderr and nothing on stdout."""
    result = await run_command("backtest", "-c", write_config(tmp_path, CONFIG), *arguments)
    assert (2, "") == (result.code, result.stdout)
    assert result.stderr.startswith(f"streamcanary: {message}")
    assert 1 == len(result.stderr.splitlines())


async def test_rules_prints_a_prometheus_rule_file(tmp_path: Path) -> None:
    """``rules`` prints a rule file without secrets to stdout."""
    result = await run_command("rules", "-c", write_config(tmp_path, CONFIG))
    assert (0, "") == (result.code, result.stderr)
    assert "  - name: streamcanary.Errors\n" in result.stdout.replace('"', "")
    assert "5up3rs3cr3t" not in result.stdout


@pytest.mark.parametrize("command", ["rules", "backtest"])
async def test_an_invalid_configuration_is_exit_code_2(command, tmp_path: Path) -> None:
    """An invalid configuration gives its errors on stderr and exit code 2."""
    result = await run_command(
        command, "-c", write_config(tmp_path, {**CONFIG, "alerts": {"rules": {"Errors": {"mach": []}}}})
    )
    assert (2, "") == (result.code, result.stdout)
    assert "alerts.rules.Errors.mach: unknown key; did you mean match?" in result.stderr
