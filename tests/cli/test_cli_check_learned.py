"""``check`` shows what rules have learned from the recorded runs, and forecasts with it."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from streamcanary.alerting.engine.evaluation.baselines import request_key
from streamcanary.alerting.engine.keys import incident_key
from streamcanary.alerting.forecast import learn_baselines
from streamcanary.alerting.learning.baseline import LearnedRate, LearnedValues, RequestSince
from streamcanary.alerting.rules import Rule
from streamcanary.cli.commands.configuration.check import main
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from streamcanary.store.config import StoreConfig
from streamcanary.store.opening import open_store
from support.alerting.builders import NOON, a_run, bad, good, webhook_config
from support.alerting.histories import answer_times, bursty_samples
from support.clock import ManualClock
from support.programs.daemon import write_config

LEARNS = {"type": "spike", "normal": "learned"}
SLOWER = {"measure": "first_token", "detector": {"type": "shift"}}

NO_SHAPES: Any = {"shapes": False, "shape": None, "plot": None}


async def check(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    rule: dict[str, Any],
    runs: list[Outcome],
    names: Sequence[str] = ("chat",),
    rows: Sequence[RowChange] = (),
    *,
    forget: bool = False,
) -> tuple[list[str], list[str]]:
    """Record ``runs``, check a configuration with ``rule``, and return its output and its warnings.

    With ``forget``, the store no longer has the runs, but their rollups.
    """
    store = open_store(StoreConfig(path=folder / "store.db"), ManualClock(NOON))
    await store.commit(rows, runs)
    if forget:
        await store.write(lambda connection: connection.execute("DELETE FROM runs"))
    await store.close()
    canaries = {name: {"target": "t", "model": "m", "every": "30s"} for name in names}
    targets = {"t": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}}
    path = write_config(
        folder,
        {
            "targets": targets,
            "canaries": canaries,
            "alerts": {"rules": {"R": rule}, "receivers": {"hook": webhook_config()}},
        },
    )
    assert 0 == main(Namespace(config=path, base_rate="2%", all=False, enforce_budget=False, **NO_SHAPES))
    output = capsys.readouterr()
    return output.out.splitlines(), output.err.splitlines()


def rates(rate: float, autocorrelation: float = 0.0, count: int = 4000, canary: str = "chat") -> list[Outcome]:
    """Return runs of ``canary`` that fail at ``rate``."""
    samples = bursty_samples(rate, autocorrelation, count)
    return [
        structs.replace((bad if failed else good)(number), canary=canary, run_id=f"{canary}-{number}")
        for number, failed in enumerate(samples)
    ]


def times(days: float, spread: float = 0.3) -> list[Outcome]:
    """Return runs every two minutes with a time to the first token of half a second."""
    return [
        a_run(number, started=NOON + at, time_to_first_token=value)
        for number, (at, value) in enumerate(answer_times(days, every=120.0, spread=spread))
    ]


def lines_about_learning(lines: list[str]) -> list[str]:
    """Return the lines that say what was learned."""
    return [line for line in lines if " learned " in line]


async def test_a_learned_base_rate_is_printed_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line has rate, number of runs, upper bound and autocorrelation, and the forecast is at the learned rate."""
    out, err = await check(tmp_path, capsys, {"detector": LEARNS}, rates(0.01))
    assert ["R learned of chat: 1.07% of 4,000 runs (at most 1.38%), no bursts"] == lines_about_learning(out)
    [forecast] = [line for line in out if line.startswith("R  ")]
    assert "at 1.4%" in forecast
    assert [] == err


async def test_what_the_daemon_has_learned_from_more_runs_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A baseline in the store that is from more runs than the command reads is that which the daemon uses."""
    few, many = (LearnedRate(bad=n // 50, total=n, upper_bound=0.022, autocorrelation=0.0) for n in (1_000, 200_000))
    for baseline, expected in ((few, "1.07% of 4,000 runs"), (many, "2% of 200,000 runs")):
        folder = tmp_path / str(baseline.total)
        folder.mkdir()
        row = RowChange("baselines", incident_key("default", "R", "chat"), msgspec.json.encode(baseline))
        damaged = RowChange("baselines", "damaged", b"{")
        out, _ = await check(folder, capsys, {"detector": LEARNS}, rates(0.01), rows=[row, damaged])
        [line] = lines_about_learning(out)
        assert line.startswith(f"R learned of chat: {expected}")


async def test_a_request_that_was_changed_has_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in the daemon, runs and baselines of another request say nothing about the one that is configured."""
    baseline = LearnedRate(bad=4_000, total=200_000, upper_bound=0.022, autocorrelation=0.0)
    rows = [
        RowChange("baselines", "canary:chat", msgspec.json.encode(RequestSince(digest="another"))),
        RowChange("baselines", incident_key("default", "R", "chat"), msgspec.json.encode(baseline)),
    ]
    out, _ = await check(tmp_path, capsys, {"detector": LEARNS}, rates(0.01), rows=rows)
    [line] = lines_about_learning(out)
    assert line.startswith("R has learned nothing of chat yet")


async def test_runs_of_a_former_request_do_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in the daemon, only runs since the canary sends its present request count."""
    runs = rates(0.01)
    canary = Canary(name="chat", target="t", provider="t", interval=30.0)
    request = RequestSince(digest=canary.request_digest, since=runs[3000].started)
    rules = {"R": Rule.model_validate({"detector": LEARNS})}
    [learned] = learn_baselines(rules, "default", [canary], runs, {request_key(canary): request})
    assert isinstance(learned.baseline, LearnedRate)
    assert 1000 == learned.baseline.total + learned.baseline.in_incidents


@pytest.mark.parametrize("worse", ["2x", "3x"])
async def test_limits_for_another_change_are_learned_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], worse: str
) -> None:
    """What a daemon has learned for another ``worse`` is not what it will use."""
    many = LearnedRate(bad=20_000, total=200_000, upper_bound=0.102, autocorrelation=0.0)
    quantiles = tuple(0.6 + 0.022 * number for number in range(20))
    stored = LearnedValues(limits={"chat": (9.0,)}, days=7.0, above=many, quantiles=quantiles, smallest_change=2**0.5)
    row = RowChange("baselines", incident_key("default", "R", "chat"), msgspec.json.encode(stored))
    rule = {"measure": "first_token", "detector": {"type": "shift", "worse": worse}}
    out, _ = await check(tmp_path, capsys, rule, times(2), rows=[row])
    [line] = lines_about_learning(out)
    assert (worse == "2x") == ("9s" in line), line


async def test_without_history_the_defaults_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too few runs to learn from are named, with what would be enough."""
    out, err = await check(tmp_path, capsys, {"detector": LEARNS}, rates(0.01, count=50))
    assert [
        "R has learned nothing of chat yet: it needs 200 runs outside incidents; until then it uses its defaults"
    ] == lines_about_learning(out)
    assert [] == err


async def test_a_rate_above_the_cap_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A canary that fails more often than may be learned is a warning with the line to paste."""
    _, [warning] = await check(tmp_path, capsys, {"detector": LEARNS}, rates(0.09))
    assert "chat fails more often than max_normal (5%)" in warning
    assert warning.endswith("write detector: {type: spike, normal: learned, max_normal: 11%}")


async def test_a_rule_has_one_line_to_paste(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If several canaries fail more often than normal, or in bursts, one line has the highest value of each option."""
    runs = [*rates(0.06), *rates(0.12, canary="poem"), *rates(0.02, 0.4, canary="sql"), *rates(0.02, canary="ok")]
    runs.sort(key=lambda run: run.started)
    rule = {"detector": {"type": "spike", "normal": "4%", "autocorrelation": 0}}
    _, warnings = await check(tmp_path, capsys, rule, runs, names=("chat", "poem", "sql", "ok"))
    starts = ["R: chat fails more", "R: poem fails more", "R: failures of sql come in bursts", "R: write detector"]
    assert [True] * 4 == [
        warning.startswith(f"warning: rule {start}") for warning, start in zip(warnings, starts, strict=True)
    ]
    line = "detector: {type: spike, normal: 12%, autocorrelation: 0.5}"
    assert f"warning: rule R: write {line}, with the highest of these values" == warnings[-1]
    assert not any("; write" in warning for warning in warnings)


async def test_bursts_that_contradict_the_configuration_are_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An autocorrelation that is written too low is a warning with the line to paste."""
    detector = {"type": "spike", "autocorrelation": 0}
    _, [warning] = await check(tmp_path, capsys, {"detector": detector}, rates(0.02, 0.4))
    assert warning.startswith("warning: rule R: failures of chat come in bursts: their autocorrelation is up to 0.4")
    assert warning.endswith("write detector: {type: spike, autocorrelation: 0.49}")


async def test_learned_times_are_printed_with_a_forecast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rule about a change has a table with the delays by factor, and a line with what is usual."""
    out, err = await check(tmp_path, capsys, SLOWER, times(2))
    [learned] = lines_about_learning(out)
    assert learned.startswith("R learned of chat: usually 7")
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
    assert warning.endswith("write worse: 3.3x")


async def test_times_of_several_canaries_have_one_factor_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the times of several canaries vary too much, one line has the highest factor."""
    poem = [structs.replace(run, canary="poem", run_id=f"poem-{run.run_id}") for run in times(2, spread=0.8)]
    runs = sorted([*times(2, spread=1.2), *poem], key=lambda run: run.started)
    _, warnings = await check(tmp_path, capsys, SLOWER, runs, names=("chat", "poem"))
    assert len(warnings) == 3
    assert warnings[-1] == "warning: rule R: write worse: 3.3x, with the highest of these values"


async def test_rules_learn_from_rollups_where_runs_are_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without recorded runs of a day, what is usual comes from their sums by hour."""
    out, err = await check(tmp_path, capsys, SLOWER, times(2), forget=True)
    [line] = lines_about_learning(out)
    assert line.startswith("R learned of chat: usually ")
    assert [] == err


async def test_of_many_contradictions_some_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If many canaries contradict a rule, eight are named and the others counted."""
    names = [f"c{number}" for number in range(12)]
    runs = [run for name in names for run in rates(0.2, count=300, canary=name)]
    _, warnings = await check(tmp_path, capsys, {"detector": {"type": "spike"}}, runs, names)
    assert len(warnings) == 10
    assert warnings[-2] == "warning: rule R: 4 more of its alerts contradict the recorded runs in this way"
    assert warnings[-1].startswith("warning: rule R: write detector: {type: spike, normal: 2")


async def test_what_many_canaries_have_learned_is_shortened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The forecast has at most eight rows of a rule, and says how many canaries are left out."""
    names = [f"c{number}" for number in range(12)]
    runs = [run for number, name in enumerate(names) for run in rates(0.001 * (number + 1), count=2000, canary=name)]
    out, _ = await check(tmp_path, capsys, {"detector": LEARNS}, runs, names)
    rows = [line for line in out if line.startswith("R  ")]
    assert 8 < len(rows) <= 10
    assert any("more; list all with --all" in row for row in rows)
    assert [line for line in lines_about_learning(out) if line.endswith("4 more; list all with --all")]
