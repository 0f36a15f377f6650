"""``check``: what it says of rules, on stdout as a table, and on stderr as warnings."""

import re
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.target import TargetSpec
from streamcanary.cli.commands.check import main
from streamcanary.cli.series_estimate import estimate_series
from streamcanary.model.clock import SystemClock
from streamcanary.simulator import Simulator
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store
from support.alerting.builders import NOON, bad, good, webhook_config
from support.clock import ManualClock
from support.programs.daemon import write_config
from support.servers.simulator import HANGING_TIMINGS
from support.telemetry.in_memory import RecordedTelemetry

Said = Any


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """Return a function that checks a configuration, and returns the lines on stdout and stderr."""

    def check(
        rules: dict[str, Any],
        base_rate: str = "2%",
        budget: dict[str, Any] | None = None,
        every: bool = False,
        **canaries: str,
    ) -> tuple[list[str], list[str]]:
        price = {"input": 1000, "output": 1000}  # the question has 27 tokens, the answer up to 256: some 0.28 USD
        path = write_config(
            tmp_path,
            {
                "targets": {"sim": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none", "price": price}},
                "budget": budget or {},
                "canaries": {
                    name: {"target": "sim", "model": "m", "every": every}
                    for name, every in (canaries or {"chat": "30s"}).items()
                },
                "alerts": {"rules": rules, "receivers": {"hook": webhook_config()}},
            },
        )
        assert 0 == main(Namespace(config=path, base_rate=base_rate, all=every))
        said = capsys.readouterr()
        return said.out.splitlines(), said.err.splitlines()

    return check


def row(lines: list[str], rule: str, canaries: str = "") -> list[str]:
    """Return the cells of the row of a rule."""
    [found] = [line for line in lines if line.startswith(f"{rule} ") and canaries in line]
    return re.split(r" {2,}", found)


def test_it_says_what_a_rule_will_do(check: Said) -> None:
    """Delays at three error rates, when it resolves, and what it costs: three in a row, one run each 30 s."""
    out, err = check({"Down": {"detector": {"type": "consecutive", "failures": 3}}})
    header = "RULE  CANARIES  EVERY  20% FAIL  50% FAIL  100% FAIL  RESOLVES AFTER  FALSE PAGES  IN ALL"
    assert header.split("  ") == row(out, "RULE")
    expected = ["Down", "chat", "30s", "1h17m", "6m45s", "1m15s", "3 good runs, 1m15s", "0.68 at 2%", "0.68"]
    assert expected == row(out, "Down")
    assert [] == err


def test_canaries_that_are_alike_share_a_row(check: Said) -> None:
    """By how often they run; and the false pages of the whole fleet are summed for each rule."""
    often = {f"often-{number}": "30s" for number in range(3)}
    out, _ = check({"Spike": {"detector": {"type": "spike"}}, "Down": {}}, **often, seldom="5m")
    one, other = row(out, "Spike", "often-0 and 2 more"), row(out, "Spike", "seldom")
    assert ("30s", "5m", "0.21", "0.076") == (one[2], other[2], one[-1], other[-1])
    assert ["Spike", "all", "0.28"] == row(out, "Spike", " all ")


def test_it_says_what_the_canaries_use_of_the_budget(check: Said) -> None:
    """Of each limit that there is, at full speed."""
    out, err = check({}, budget={"usd_per_day": 2000, "requests_per_minute": 10}, chat="30s", other="60s")
    [line] = [line for line in out if line.startswith("budget")]
    assert "budget     up to 1235.52 of 2000 USD a day, 3 of 10 requests a minute, while nothing is retried" == line
    assert [] == err
    out, _ = check({})
    assert [] == [line for line in out if line.startswith("budget")]


def test_a_budget_that_slows_canaries_on_any_day_is_a_warning(check: Said) -> None:
    """With what they ask for."""
    _, err = check({}, budget={"usd_per_day": 5, "requests_per_minute": 1}, chat="30s")
    assert [
        "budget.usd_per_day 5: a day at full speed may cost 823.68",
        "budget.requests_per_minute 1: the canaries are due 2 times a minute",
    ] == [re.split("[;,]", line.removeprefix("warning: "))[0] for line in err]


@pytest.mark.parametrize(("rate", "expected"), [("0.5%", "0.011 at 0.5%"), ("0.1", "78 at 10%")])
def test_the_base_rate_can_be_set(check: Said, rate: str, expected: str) -> None:
    """A ``spike`` keeps its own."""
    out, _ = check({"Down": {}, "Spike": {"detector": {"type": "spike"}}}, rate)
    assert expected == row(out, "Down")[-2]
    assert "0.069 at 2%" == row(out, "Spike")[-2]


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ("often", "not a fraction: write a percentage such as 50%, or a number such as 0.5"),
        ("60%", "at most 50%; what fails more often is no base rate"),
    ],
)
def test_a_bad_base_rate_is_exit_code_2(capsys: pytest.CaptureFixture[str], rate: str, message: str) -> None:
    """Before anything is read."""
    assert 2 == main(Namespace(config=Path("nowhere.yaml"), base_rate=rate, all=False))
    assert f"streamcanary: --base-rate: {message}\n" == capsys.readouterr().err


def test_what_takes_longer_than_a_month_is_not_spelled_out(check: Said) -> None:
    """Ten of ten at 20 % of errors: practically never."""
    out, _ = check({"Never": {"detector": {"type": "consecutive", "failures": 10}}})
    assert [">30d", "17h2m", "4m45s"] == row(out, "Never")[3:6]
    assert "<0.001" == row(out, "Never")[-1]


def test_a_ratio_that_one_failure_reaches_is_a_warning(check: Said) -> None:
    """With the numbers; it may be meant, so the exit code stays 0."""
    _, err = check({"Jumpy": {"detector": {"type": "ratio", "over": "5m", "threshold": "10%"}}}, a="30s", b="30s")
    assert [
        "warning: rule Jumpy: one failed run of the 10 in 5m is 10%, and fires at 10% (a and 1 more)",
    ] == err


def test_a_ratio_that_one_failure_reaches_after_a_start_is_a_warning(check: Said) -> None:
    """As long as the window is not full, there are fewer runs to be bad."""
    _, err = check({"Jumpy": {"detector": {"type": "ratio", "over": "10m", "threshold": "20%", "min_samples": 5}}})
    assert [
        "warning: rule Jumpy: after a start or a gap one failed run of 5 (min_samples) is 20%, and fires at 20% (chat)",
    ] == err


def test_one_failure_that_pages_is_a_warning(check: Said) -> None:
    """A ``consecutive`` of one, as a ``ratio`` that one failure reaches; and one is one, not many."""
    out, err = check({"Jumpy": {"detector": {"type": "consecutive", "failures": 1}}})
    assert [
        "warning: rule Jumpy: one failed run fires, and single failures are common; write failures: 2 or more (chat)"
    ] == err
    assert "1 good run, 15s" == row(out, "Jumpy")[6]
    assert "good: 1 canary, 1 rule, 1 receiver" == out[-1]


def test_what_the_configuration_is_warned_of_comes_with_its_place(check: Said, tmp_path: Path) -> None:
    """As mistakes do; the exit code stays 0."""
    out, err = check({"ReceiverFailed": {"measure": "first_attempts"}}, a="30s", b="30s")
    [said] = err
    place, _, rest = said.partition(": alerts.rules.")
    assert re.fullmatch(rf"warning: {tmp_path}/streamcanary.yaml:1:\d+", place)
    assert "ReceiverFailed: is a rule of its own beside the built-in ReceiverFailing; did you mean " in rest
    assert "good: 2 canaries, 1 rule, 1 receiver" == out[-1]


def test_a_large_fleet_is_not_listed_whole(check: Said) -> None:
    """Fifty canaries, and how many there are more; ``--all`` lists all."""
    fleet = {f"c{number}": "30s" for number in range(53)}
    rules = {"TargetRejected": {"enabled": False}} | {f"R{number}": {} for number in range(10)}
    out, err = check(rules, **fleet)
    assert 50 == sum(line.startswith("c") and "sim" in line for line in out)
    assert "and 3 more; --all lists them" in out
    assert "R0, R1, R2, R3, R4, R5, R6, R7 and 2 more" == row(out, "c0")[-1]
    assert [
        (
            "warning: canaries c0, c1, c2, c3, c4, c5, c6, c7 and 45 more: no rule tells of faults blamed on config "
            "(rejected key, unknown model); TargetRejected does, or a rule with blame: [config]"
        )
    ] == err
    out, _ = check(rules, every=True, **fleet)
    assert 53 == sum(line.startswith("c") and "sim" in line for line in out)


def test_faults_that_nobody_would_be_told_of_are_a_warning(check: Said) -> None:
    """The built-in rule tells of what is blamed on config, unless it is switched off."""
    off = {"TargetRejected": {"enabled": False}}
    _, err = check({"Down": {}, **off})
    assert ["warning: canary chat: no rule tells of faults blamed on config"] == [line.split(" (")[0] for line in err]
    assert ([], []) == (check({"Down": {}})[1], check({"Told": {"blame": ["config"]}, **off})[1])


async def record(tmp_path: Path, samples: str) -> None:
    """Keep runs of ``chat`` in the store that the configuration names: ``x`` failed, ``.`` did not."""
    store = Store.open(StoreConfig(path=tmp_path / "store.db"), ManualClock(NOON))
    await store.commit((), [(bad if sample == "x" else good)(number) for number, sample in enumerate(samples)])
    await store.close()


SPIKE = {"Spike": {"detector": {"type": "spike"}}}


async def test_a_base_rate_above_normal_is_a_warning(tmp_path: Path, check: Said) -> None:
    """Known from the runs that the store has; with what it costs."""
    await record(tmp_path, ("." * 15 + "x" + "." * 4) * 20)
    _, [said] = check(SPIKE)
    assert said.startswith(
        "warning: rule Spike: chat fails more often than normal (2%): 20 of 400 recorded runs are 5%; "
        "at that rate it pages "
    )
    assert said.endswith(" times a month; set normal to at least that")


async def test_it_leaves_nothing_beside_the_store(tmp_path: Path, check: Said) -> None:
    """A log or an index that belongs to whoever runs ``check`` would keep the daemon from its own store."""
    await record(tmp_path, "." * 100)
    there = {path.name for path in tmp_path.iterdir()}
    check(SPIKE)
    assert there | {"streamcanary.yaml"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "samples",
    [
        "." * 400,
        ("." * 40 + "x" + "." * 9) * 10,  # normal
        "." * 300 + "x" * 80 + "." * 200,  # an outage, which the rule would have told of
        "x" * 200 + "." * 300,  # what failed long ago outlives what went well
        "x.x.",  # too few
    ],
    ids=["well", "normal", "outage", "old", "few"],
)
async def test_what_is_normal_or_no_base_rate_is_no_warning(tmp_path: Path, check: Said, samples: str) -> None:
    """Chance, an outage that is over, or failures that are kept longer."""
    await record(tmp_path, samples)
    assert [] == check(SPIKE)[1]


async def test_a_spike_all_the_time_is_a_warning(tmp_path: Path, check: Said) -> None:
    """What is bad most of the time is not left out as an outage."""
    await record(tmp_path, "." + "x.x." * 100)
    [said] = check(SPIKE)[1]
    assert "200 of 401 recorded runs are 49.9%, which is a spike all the time; find out why" in said


def test_a_store_that_cannot_be_read_is_a_warning(tmp_path: Path, check: Said) -> None:
    """It says why; the configuration may be good all the same. Without a store there is nothing to say."""
    (tmp_path / "store.db").write_bytes(b"no database at all" * 100)
    [said] = check(SPIKE)[1]
    assert said.startswith("warning: store.path: whether normal is what it says cannot be told: ")
    assert [] == check({"Down": {}})[1]


def test_a_large_fleet_is_checked_in_seconds(check: Said) -> None:
    """Two hundred canaries, five rules, three intervals."""
    rules = {
        "Spike": {"detector": {"type": "spike"}},
        "Burn": {"detector": {"type": "burn_rate", "objective": "99%"}},
        "Ratio": {"detector": {"type": "ratio", "over": "30m", "threshold": "30%"}},
        "Held": {"detector": {"type": "ratio", "over": "20 runs", "threshold": "30%", "for": "2m"}},
        "Down": {},
    }
    before = time.process_time()
    out, _ = check(rules, **{f"c{number}": ("30s", "1m", "5m")[number % 3] for number in range(200)})
    assert time.process_time() - before < 10
    assert 5 * (3 + 1) == sum(line.startswith(tuple(f"{rule} " for rule in rules)) for line in out)


async def test_the_series_are_as_many_as_there_are(recorded: RecordedTelemetry) -> None:
    """A canary that runs well, and is told its usage, makes the series that were counted."""
    request = {"stream_options": {"include_usage": True}}
    spec = CanarySpec.model_validate({"target": "sim", "model": "sim-ok", "every": "10s", "request": request})
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        target = TargetSpec.model_validate({"base_url": simulator.base_url, "api_key": "sk-x", "provider": "sim"})
        async with CanaryRunners({"sim": target}, {"counted": spec}, clock=SystemClock()) as fleet:
            run = fleet.by_name["counted"]
            fleet.metrics.initialize_series(run.canary)
            await run(SystemClock().time())
    assert recorded.series(canary="counted") == estimate_series(1, 0)
    assert estimate_series(1, 0) * 3 + 7 == estimate_series(3, 7)


def test_it_says_when_the_absence_of_runs_is_noticed(check: Said) -> None:
    """Of rules that are written and of the built-in one; three runs, what the last may take, and some slack."""
    out, _ = check({"Gone": {"detector": {"type": "no_data", "runs": 2}}}, a="30s", b="30s", c="5m")
    assert [
        "NoData fires 1m59s after the last run of a and 1 more",
        "NoData fires 16m5s after the last run of c",
        "Gone fires 1m29s after the last run of a and 1 more",
        "Gone fires 11m5s after the last run of c",
    ] == [line for line in out if " fires " in line and "after the last run" in line]


@pytest.mark.parametrize(
    "detector",
    [
        {"type": "ratio", "over": "100 runs", "threshold": "1%", "min_samples": 5},
        {"type": "burn_rate", "objective": "99.9%", "windows": [{"long": "3d", "short": "6h", "rate": 1}]},
    ],
    ids=lambda detector: detector["type"],
)
def test_a_rule_that_fires_at_what_is_normal_is_a_warning(check: Said, detector: dict[str, Any]) -> None:
    """It would not be free of noise because it never fires anew."""
    _, err = check({"Always": {"detector": detector}})
    assert [True] == ["and 2% are taken to be normal" in line for line in err if "rule Always: fires at" in line]


def test_a_window_that_looks_back_less_than_it_says_is_a_warning(check: Said) -> None:
    """With how far it does."""
    _, err = check({"Long": {"detector": {"type": "ratio", "over": "3d", "threshold": "10%"}}})
    assert [True] == ["a window holds 1000 at most: it looks back 8h20m" in line for line in err if "Long" in line]


def test_a_window_of_burn_rate_that_is_never_full_is_a_warning(check: Said) -> None:
    """The longer one can fire, so it is no error."""
    _, err = check({"Burns": {"detector": {"type": "burn_rate", "objective": "99%"}}}, chat="10m")
    assert [True] == ["6 in 1h: fewer runs than min_samples (10)" in line for line in err if "Burns" in line]


def test_a_canary_by_cron_is_shown_with_its_schedule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the table says how its pauses are counted."""
    cron = {"cron": "*/10 9-17 * * 1-5", "timezone": "Europe/Berlin"}
    path = write_config(
        tmp_path,
        {
            "targets": {"sim": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
            "canaries": {"office": {"target": "sim", "model": "m", **cron}},
            "alerts": {
                "rules": {"Down": {}, "Rate": {"detector": {"type": "ratio", "over": "2h", "threshold": "30%"}}}
            },
        },
    )
    assert 0 == main(Namespace(config=path, base_rate="2%", all=False))
    out = capsys.readouterr().out.splitlines()
    expected = ["Down", "office", "*/10 9-17 * * 1-5 Europe/Berlin", "3d17h", "18h23m", "15h12m"]
    assert expected == row(out, "Down")[:6]
    assert [True] == ["pauses and all" in line for line in out if line.startswith("by cron: ")]
