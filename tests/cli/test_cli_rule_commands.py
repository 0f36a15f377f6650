"""What is done with rules while nobody watches: their tests, a backtest, and the same rules for Prometheus."""

import json
import sqlite3
from pathlib import Path

import pytest

from streamcanary.alerting.testing.series_notation import parse_values
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


async def test_the_example_of_tests_holds() -> None:
    """For the example of a configuration."""
    said = await run_command("test-rules", ROOT / "config" / "rules-test.yaml", OPENAI_API_KEY="none")
    assert (0, "") == (said.code, said.stderr)
    assert said.stdout.endswith("rules-test.yaml\n  SUCCESS\n\n")


async def test_a_test_that_fails_is_shown_as_promtool_does(tmp_path: Path) -> None:
    """File, test, alert and time, what was expected and what there was; exit code 1."""
    path = tmp_path / "a.yaml"
    path.write_text(TESTS)
    said = await run_command("test-rules", path)
    assert (1, "") == (said.code, said.stderr)
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
    ) == said.stdout


async def test_every_problem_of_a_bad_file_is_told(tmp_path: Path) -> None:
    """With line, column and key; the other files are still tested, and the exit code is 2."""
    bad, failing = tmp_path / "bad.yaml", tmp_path / "failing.yaml"
    bad.write_text(TESTS.replace("stalled", "stalld").replace("eval_time: 6m", "eval_tme: 6m"))
    failing.write_text(TESTS)
    said = await run_command("test-rules", bad, failing)
    assert 2 == said.code
    assert {
        f"{bad}:6:43: tests[0].input_series[0].values: there is no outcome or fault 'stalld'; did you mean stalled?",
        f"{bad}:7:24: tests[0].alert_rule_test[0].eval_tme: unknown key; did you mean eval_time?",
        f"{bad}:7:23: tests[0].alert_rule_test[0].eval_time: is required, and missing",
    } == set(said.stderr.splitlines())
    assert "  BAD FILE\n" in said.stdout
    assert "  FAILED:\n" in said.stdout


async def test_a_test_of_a_rule_that_is_not_there_is_a_bad_file(tmp_path: Path) -> None:
    """And so is one whose configuration is bad or missing."""
    path = tmp_path / "a.yaml"
    write_config(tmp_path, {**CONFIG, "store": {"path": "a.db"}}).rename(tmp_path / "config.yaml")
    inline = TESTS.replace("alerts: {rules: {Errors: {detector: {type: consecutive, failures: 3}}}}", "RULES")
    path.write_text(
        inline.replace("RULES", "rule_files: [config.yaml]").replace("alertname: Errors", "alertname: Eror")
    )
    said = await run_command("test-rules", path)
    assert 2 == said.code
    assert "tests[0].alert_rule_test[0].alertname: there is no rule 'Eror'; known: BudgetExhausted" in said.stderr
    path.write_text(inline.replace("RULES", "rule_files: [nowhere.yaml]"))
    said = await run_command("test-rules", path)
    assert (2, f"{tmp_path / 'nowhere.yaml'}: no such file; give the path of a configuration file\n") == (
        said.code,
        said.stderr,
    )


async def test_a_backtest_tells_what_would_have_been(tmp_path: Path) -> None:
    """Alerts with their time and count, and sums for rules and receivers; the store is the configuration's own."""
    config = write_config(tmp_path, {**CONFIG, "store": {"path": "a.db"}})
    await recorded(tmp_path / "a.db", "ok x10 stalled x5 ok x5 rate_limited x4")
    said = await run_command("backtest", "-c", config)
    assert (0, "") == (said.code, said.stderr)
    assert "24 runs from 2027-01-15T08:00:00.000Z to 2027-01-15T08:11:30.000Z\n" in said.stdout
    assert "2027-01-15T08:06:00.000Z  2m30s        Errors  chat   5 of 8  stalled 5\n" in said.stdout
    assert "2027-01-15T08:11:00.000Z  30s, and on  Errors  chat   3 of 3  rate_limited 3\n" in said.stdout
    [line] = [line for line in said.stdout.splitlines() if line.startswith("Errors ")]
    assert ["Errors", "2", "3m", "0"] == line.split()


async def test_a_backtest_can_be_read_by_a_machine(tmp_path: Path) -> None:
    """One object on stdout, of the time that was asked for."""
    config = write_config(tmp_path, CONFIG)
    path = await recorded(tmp_path / "b.db", "ok x10 stalled x5 ok x5 stalled x5")
    asked = ("--since", "2027-01-15T08:09:00Z", "--until", "2027-01-15T09:11:31+01:00")
    said = await run_command("backtest", "-c", config, "--db", path, "--json", *asked)
    report = json.loads(said.stdout)
    assert (0, "", 6, 0) == (said.code, said.stderr, report["runs"], report["unread"])
    assert ["2027-01-15T08:11:00.000Z"] == [alert["fired"] for alert in report["alerts"]]
    assert {"fires": 1, "seconds": 30.0, "pages": 0} == report["rules"]["Errors"]


async def test_a_row_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    """The others are replayed."""
    path = await recorded(tmp_path / "a.db", "ok x3")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE runs SET outcome = '{}' WHERE id = 2")
    connection.commit()
    connection.close()
    said = await run_command("backtest", "-c", write_config(tmp_path, CONFIG), "--db", path)
    assert 0 == said.code
    assert said.stderr.startswith("warning: run chat-1 cannot be read, and is left out: ")
    assert said.stdout.startswith("2 runs from ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--db", "missing.db"), "there is no database "),
        (("--since", "yesterday"), "--since 'yesterday' is no time: write one such as 2027-01-15T08:00:00Z"),
    ],
    ids=["database", "time"],
)
async def test_what_a_backtest_cannot_use_is_exit_code_2(arguments, message, tmp_path: Path) -> None:
    """One sentence on stderr, and nothing on stdout."""
    said = await run_command("backtest", "-c", write_config(tmp_path, CONFIG), *arguments)
    assert (2, "") == (said.code, said.stdout)
    assert said.stderr.startswith(f"streamcanary: {message}")
    assert 1 == len(said.stderr.splitlines())


async def test_rules_are_printed_for_prometheus(tmp_path: Path) -> None:
    """A rule file on stdout; nothing of a secret in it."""
    said = await run_command("rules", "-c", write_config(tmp_path, CONFIG))
    assert (0, "") == (said.code, said.stderr)
    assert "  - name: streamcanary.Errors\n" in said.stdout.replace('"', "")
    assert "5up3rs3cr3t" not in said.stdout


@pytest.mark.parametrize("command", ["rules", "backtest"])
async def test_a_bad_configuration_is_exit_code_2(command, tmp_path: Path) -> None:
    """As with every verb."""
    said = await run_command(
        command, "-c", write_config(tmp_path, {**CONFIG, "alerts": {"rules": {"Errors": {"mach": []}}}})
    )
    assert (2, "") == (said.code, said.stdout)
    assert "alerts.rules.Errors.mach: unknown key; did you mean match?" in said.stderr
