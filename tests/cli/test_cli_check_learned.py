"""``check`` shows what rules have learned from the recorded runs, and forecasts with it."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from streamcanary.cli.commands.check import main
from streamcanary.model.outcome import Outcome
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store
from support.alerting.builders import NOON, a_run, webhook_config
from support.alerting.histories import answer_times
from support.clock import ManualClock
from support.programs.daemon import write_config

SLOWER = {"measure": "first_token", "detector": {"type": "shift"}}


async def check(
    folder: Path, capsys: pytest.CaptureFixture[str], rule: dict[str, Any], runs: list[Outcome]
) -> tuple[list[str], list[str]]:
    """Record ``runs`` of ``chat``, check a configuration with ``rule``, and return its output and its warnings."""
    store = Store.open(StoreConfig(path=folder / "store.db"), ManualClock(NOON))
    await store.commit((), runs)
    await store.close()
    canaries = {"chat": {"target": "t", "model": "m", "every": "30s"}}
    targets = {"t": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}}
    path = write_config(
        folder,
        {
            "targets": targets,
            "canaries": canaries,
            "alerts": {"rules": {"R": rule}, "receivers": {"hook": webhook_config()}},
        },
    )
    assert 0 == main(Namespace(config=path, base_rate="2%", all=False, enforce_budget=False))
    output = capsys.readouterr()
    return output.out.splitlines(), output.err.splitlines()


def times(days: float, spread: float = 0.3) -> list[Outcome]:
    """Return runs every two minutes with a time to the first token of half a second."""
    return [
        a_run(number, started=NOON + at, time_to_first_token=value)
        for number, (at, value) in enumerate(answer_times(days, every=120.0, spread=spread))
    ]


def lines_about_learning(lines: list[str]) -> list[str]:
    """Return the lines that say what was learned."""
    return [line for line in lines if " learned " in line]


async def test_learned_times_are_printed_with_a_forecast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rule about a change has a table with the delays by factor, and a line with what is usual."""
    out, err = await check(tmp_path, capsys, SLOWER, times(2))
    [learned] = lines_about_learning(out)
    assert learned.startswith("R learned of chat: 90% take 7")
    header, row = [line for line in out if line.startswith(("RULE", "R  "))][-2:]
    assert header.split()[-10:-4] == ["1.5x", "WORSE", "2x", "WORSE", "4x", "WORSE"]
    assert row.split()[:4] == ["R", "chat", "first_token", "30s"]
    assert [] == err


async def test_times_before_a_day_of_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a day of runs the rule is named as one that does not evaluate yet."""
    out, _ = await check(tmp_path, capsys, SLOWER, times(0.5))
    [line] = lines_about_learning(out)
    assert line.startswith("R has learned nothing of chat yet: it needs a day of runs, and 200 answers; until then")


async def test_times_that_vary_too_much_are_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the factor cannot be recognised, the warning says which one can."""
    _, [warning] = await check(tmp_path, capsys, SLOWER, times(2, spread=1.2))
    assert warning.startswith("warning: rule R: first_token of chat: values vary so much that 2x cannot be recognised")
    assert warning.endswith("write worse: 3x")
