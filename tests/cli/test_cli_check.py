"""``check``: the tables and forecasts on stdout, and the warnings on stderr."""

import re
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.cli.commands.configuration.check import main
from streamcanary.cli.metric_series_estimate import estimate_series, max_series
from streamcanary.model.clock import SystemClock
from streamcanary.simulator import Simulator, Timings
from streamcanary.store.config import StoreConfig
from streamcanary.store.opening import open_store
from support.alerting.builders import NOON, bad, good, webhook_config
from support.clock import ManualClock
from support.programs.daemon import write_config
from support.servers.certificates import LOOPBACK, server_tls_context
from support.telemetry.in_memory import RecordedTelemetry

CheckFunction = Any

NO_SHAPES: Any = {"shapes": False, "shape": None, "plot": None}


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> CheckFunction:
    """Return a function that checks a configuration and returns the lines on stdout and stderr."""

    def check(
        rules: dict[str, Any],
        base_rate: str = "2%",
        budget: dict[str, Any] | None = None,
        every: bool = False,
        code: int = 0,
        **canaries: str,
    ) -> tuple[list[str], list[str]]:
        price = {"input": 1000, "output": 1000}  # 27 tokens in, up to 256 out: about 0.28 USD
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
        assert code == main(
            Namespace(config=path, base_rate=base_rate, all=every, enforce_budget=code == 1, **NO_SHAPES)
        )
        output = capsys.readouterr()
        return output.out.splitlines(), output.err.splitlines()

    return check


def row(lines: list[str], rule: str, canaries: str = "") -> list[str]:
    """Return the cells of the row of a rule."""
    [found] = [line for line in lines if line.startswith(f"{rule} ") and canaries in line]
    return re.split(r" {2,}", found)


def test_a_rule_has_a_row_with_its_forecast(check: CheckFunction) -> None:
    """The row has the delays at three error rates, the time to resolve, alerts a day and false pages."""
    out, err = check({"Down": {"detector": {"type": "consecutive", "failures": 3}}})
    header = "RULE  CANARIES  EVERY  20% ERRORS  50% ERRORS  100% ERRORS  RESOLVES AFTER"
    assert [*header.split("  "), "PER DAY AT 5, 10, 20%", "FALSE PAGES", "TOTAL"] == row(out, "RULE")
    delays, steady = ["1h17m", "6m45s", "1m15s"], "0.34, 2.6, 18"
    expected = ["Down", "chat", "30s", *delays, "3 good runs, 1m15s", steady, "0.68 at 2%", "0.68"]
    assert expected == row(out, "Down")
    assert [] == err


def test_canaries_with_equal_schedules_share_a_row(check: CheckFunction) -> None:
    """A rule has one row for each schedule, and a row with the sum of the false pages."""
    often = {f"often-{number}": "30s" for number in range(3)}
    out, _ = check({"Spike": {"detector": {"type": "spike"}}, "Down": {}}, **often, seldom="5m")
    one, other = row(out, "Spike", "often-0 and 2 more"), row(out, "Spike", "seldom")
    assert ("30s", "5m", "0.052", "0.018") == (one[2], other[2], one[-1], other[-1])
    assert ["Spike", "all", "0.07"] == row(out, "Spike", " all ")


def test_the_expected_use_of_the_budget_is_printed(check: CheckFunction) -> None:
    """The line has the expected use of each configured limit."""
    out, err = check({}, budget={"usd_per_day": 2000, "requests_per_minute": 10}, chat="30s", other="60s")
    [line] = [line for line in out if line.startswith("budget")]
    assert "budget     up to 1235.52 of 2000 USD a day, 3 of 10 requests a minute, without retries" == line
    assert [] == err
    out, _ = check({})
    assert [] == [line for line in out if line.startswith("budget")]


def test_an_insufficient_budget_is_a_warning(check: CheckFunction) -> None:
    """A limit below the expected use gives a warning with both numbers."""
    _, err = check({}, budget={"usd_per_day": 5, "requests_per_minute": 1}, chat="30s")
    assert [
        "budget.usd_per_day 5: the canaries may cost 823.68 a day",
        "budget.requests_per_minute 1: the canaries are due 2 times a minute",
    ] == [re.split("[;,]", line.removeprefix("warning: "))[0] for line in err]


def test_an_insufficient_budget_can_be_a_failure(check: CheckFunction) -> None:
    """With ``--enforce-budget``, an insufficient budget is exit code 1, and the warning says why."""
    _, [line] = check({}, budget={"requests_per_minute": 1}, code=1, chat="30s")
    assert "warning: budget.requests_per_minute 1: the canaries are due 2 times a minute" in line


@pytest.mark.parametrize(("rate", "expected"), [("0.5%", "0.011 at 0.5%"), ("0.1", "78 at 10%")])
def test_the_base_rate_can_be_set(check: CheckFunction, rate: str, expected: str) -> None:
    """``--base-rate`` applies to all detectors except ``spike``."""
    out, _ = check({"Down": {}, "Spike": {"detector": {"type": "spike"}}}, rate)
    assert expected == row(out, "Down")[-2]
    assert "0.069 at 2%" == row(out, "Spike")[-2]


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ("often", "not a fraction: write a percentage such as 50%, or a number such as 0.5"),
        ("60%", "60% is too high: at most 50%"),
    ],
)
def test_an_invalid_base_rate_is_exit_code_2(capsys: pytest.CaptureFixture[str], rate: str, message: str) -> None:
    """``check`` rejects the rate before it reads the configuration."""
    assert 2 == main(
        Namespace(config=Path("nowhere.yaml"), base_rate=rate, all=False, enforce_budget=False, **NO_SHAPES)
    )
    assert f"streamcanary: --base-rate: {message}\n" == capsys.readouterr().err


def test_a_delay_over_a_month_is_printed_as_a_bound(check: CheckFunction) -> None:
    """A delay over 30 days is printed as ``>30d``, and very rare pages as ``<0.001``."""
    out, _ = check({"Never": {"detector": {"type": "consecutive", "failures": 10}}})
    assert [">30d", "17h2m", "4m45s"] == row(out, "Never")[3:6]
    assert "<0.001" == row(out, "Never")[-1]


def test_a_ratio_that_one_failure_reaches_is_a_warning(check: CheckFunction) -> None:
    """The warning has the numbers, and the exit code stays 0."""
    _, err = check({"Jumpy": {"detector": {"type": "ratio", "over": "5m", "threshold": "10%"}}}, a="30s", b="30s")
    assert [
        "warning: rule Jumpy: one failed run of the 10 in 5m is 10%, and fires at 10% (a and 1 more)",
    ] == err


def test_a_ratio_that_one_failure_reaches_after_a_start_is_a_warning(check: CheckFunction) -> None:
    """A window that is not full fires with fewer failed runs, and ``check`` warns of it."""
    _, err = check({"Jumpy": {"detector": {"type": "ratio", "over": "10m", "threshold": "20%", "min_samples": 5}}})
    assert [
        "warning: rule Jumpy: after a start or a gap one failed run of 5 (min_samples) is 20%, and fires at 20% (chat)",
    ] == err


def test_a_consecutive_of_one_is_a_warning(check: CheckFunction) -> None:
    """A rule that fires after one failed run gives a warning, and counts of one are singular."""
    out, err = check({"Jumpy": {"detector": {"type": "consecutive", "failures": 1}}})
    assert [
        "warning: rule Jumpy: one failed run fires, and single failures are common; write failures: 2 or more (chat)"
    ] == err
    assert "1 good run, 15s" == row(out, "Jumpy")[6]
    assert "valid: 1 canary, 1 rule, 1 receiver" == out[-1]


def test_a_warning_of_the_configuration_has_its_place(check: CheckFunction, tmp_path: Path) -> None:
    """A warning has file, line, column and key, as an error has, and the exit code stays 0."""
    out, err = check({"ReceiverFailed": {"measure": "first_attempts"}}, a="30s", b="30s")
    [warning] = err
    place, _, rest = warning.partition(": alerts.rules.")
    assert re.fullmatch(rf"warning: {tmp_path}/streamcanary.yaml:1:\d+", place)
    assert "ReceiverFailed: is a new rule, not the built-in ReceiverFailing; did you mean " in rest
    assert "valid: 2 canaries, 1 rule, 1 receiver" == out[-1]


def test_only_fifty_canaries_are_listed_without_all(check: CheckFunction) -> None:
    """``check`` lists 50 canaries and the number of others, and all with ``--all``."""
    fleet = {f"c{number}": "30s" for number in range(53)}
    rules = {"TargetRejected": {"enabled": False}} | {f"R{number}": {} for number in range(10)}
    out, err = check(rules, **fleet)
    assert 50 == sum(line.startswith("c") and "sim" in line for line in out)
    assert "and 3 more; list all with --all" in out
    assert "R0, R1, R2, R3, R4, R5, R6, R7 and 2 more" == row(out, "c0")[-1]
    assert [
        (
            "warning: canaries c0, c1, c2, c3, c4, c5, c6, c7 and 45 more: no rule selects faults with blame config "
            "(rejected key, unknown model); enable TargetRejected, or add a rule with blame: [config]"
        )
    ] == err
    out, _ = check(rules, every=True, **fleet)
    assert 53 == sum(line.startswith("c") and "sim" in line for line in out)


def test_config_faults_without_a_rule_are_a_warning(check: CheckFunction) -> None:
    """``check`` warns if ``TargetRejected`` is disabled and no other rule selects blame ``config``."""
    off = {"TargetRejected": {"enabled": False}}
    _, err = check({"Down": {}, **off})
    assert ["warning: canary chat: no rule selects faults with blame config"] == [line.split(" (")[0] for line in err]
    assert ([], []) == (check({"Down": {}})[1], check({"Rejected": {"blame": ["config"]}, **off})[1])


async def record(tmp_path: Path, samples: str) -> None:
    """Record runs of ``chat`` in the store of the configuration: ``x`` is failed, ``.`` is ok."""
    store = open_store(StoreConfig(path=tmp_path / "store.db"), ManualClock(NOON))
    await store.commit((), [(bad if sample == "x" else good)(number) for number, sample in enumerate(samples)])
    await store.close()


SPIKE = {"Spike": {"detector": {"type": "spike"}}}


async def test_a_base_rate_above_normal_is_a_warning(tmp_path: Path, check: CheckFunction) -> None:
    """Recorded runs that fail more often than ``normal`` give a warning with the expected false pages."""
    await record(tmp_path, ("." * 15 + "x" + "." * 4) * 20)
    _, [warning] = check(SPIKE)
    assert warning.startswith(
        "warning: rule Spike: chat fails more often than normal (2%): 20 of 400 recorded runs failed (5%); expect "
    )
    assert warning.endswith(" false pages a month; write detector: {type: spike, normal: 7.2%}")


async def test_check_creates_no_file_beside_the_store(tmp_path: Path, check: CheckFunction) -> None:
    """A file of another user, such as a write-ahead log, could block the daemon."""
    await record(tmp_path, "." * 100)
    before = {path.name for path in tmp_path.iterdir()}
    check(SPIKE)
    assert before | {"streamcanary.yaml"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "samples",
    [
        "." * 400,
        ("." * 40 + "x" + "." * 9) * 10,  # normal
        "." * 300 + "x" * 80 + "." * 200,  # an outage, for which the rule fires
        "x" * 200 + "." * 300,  # old failed runs are kept longer than successful ones
        "x.x.",  # too few
    ],
    ids=["well", "normal", "outage", "old", "few"],
)
async def test_a_normal_base_rate_is_no_warning(tmp_path: Path, check: CheckFunction, samples: str) -> None:
    """Rates within chance, resolved outages, old failures and few samples give no warning."""
    await record(tmp_path, samples)
    assert [] == check(SPIKE)[1]


async def test_a_base_rate_above_spike_is_a_warning(tmp_path: Path, check: CheckFunction) -> None:
    """Failures during most of the time are not excluded as an outage."""
    await record(tmp_path, "." + "x.x." * 100)
    [warning] = check(SPIKE)[1]
    assert "200 of 401 recorded runs failed (49.9%), which is at or above spike (30%); fix the failures" in warning


def test_an_unreadable_store_is_a_warning(tmp_path: Path, check: CheckFunction) -> None:
    """The warning has the reason; rules without a ``spike`` need no store and give no warning."""
    (tmp_path / "store.db").write_bytes(b"no database at all" * 100)
    [warning] = check(SPIKE)[1]
    assert warning.startswith("warning: store.path: cannot compare recorded runs with normal: ")
    assert [] == check({"Down": {}})[1]


def test_a_large_fleet_is_checked_in_seconds(check: CheckFunction) -> None:
    """A check of 200 canaries with five rules and three intervals takes less than 10 s of CPU time."""
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


async def test_the_estimate_of_series_matches_the_metrics(recorded: RecordedTelemetry) -> None:
    """A successful run over TLS, to a name, with token usage, exports as many series as estimated."""
    request = {"stream_options": {"include_usage": True}}
    spec = CanarySpec.model_validate({"target": "sim", "model": "sim-ok", "every": "10s", "request": request})
    timings = Timings(first_token=0.001, chunk_gap=0.001)  # so that each phase takes some time
    async with Simulator(timings=timings, ssl=server_tls_context(LOOPBACK)) as simulator:
        base_url = simulator.base_url.replace("127.0.0.1", "localhost")
        options = {"base_url": base_url, "api_key": "sk-x", "provider": "sim", "ca_file": LOOPBACK}
        target = TargetSpec.model_validate(options)
        async with CanaryRunners({"sim": target}, {"counted": spec}, clock=SystemClock()) as runners:
            run = runners.by_name["counted"]
            runners.metrics.initialize_series(run.canary)
            await run(SystemClock().time())
    assert recorded.series(canary="counted") == estimate_series(1, 0)
    assert estimate_series(1, 0) * 3 + 7 == estimate_series(3, 7)


def test_the_number_of_series_and_its_limit_are_printed(check: CheckFunction) -> None:
    """The report tells how many series there are while all is well, and how many there can be."""
    out, _ = check({}, a="30s", b="1m")
    [line] = [line for line in out if line.startswith("metrics")]
    healthy, highest = (int(word) for word in line.replace(",", "").split() if word.isdigit())
    assert f"metrics    {healthy} time series when all runs succeed, at most {highest}" == line
    assert healthy < highest


def test_each_metric_is_limited() -> None:
    """More canaries add series up to the limit of attribute sets; a fallback adds those of its route."""
    one = max_series([1], 0, 0)
    assert one < max_series([1], 0, 1) == one + 5
    assert one < max_series([2], 0, 0) < 2 * one
    assert one * 2 > max_series([1, 1], 0, 0)
    thousand, ten_thousand = (max_series([9] * count, 0, 0) for count in (1_000, 10_000))
    assert ten_thousand < 10 * thousand


def test_few_canaries_with_many_routes_are_not_limited() -> None:
    """A daemon that can reload has room for 200 canaries, so that ten can have all their series."""
    none, one, ten = (max_series([10] * count, 0, 0) for count in (0, 1, 10))
    assert 10 * (one - none) == ten - none


def test_a_rule_about_changes_of_the_model_has_no_error_rate(check: CheckFunction) -> None:
    """Such a rule depends on no error rate: it has a line, and neither a forecast nor a warning of single failures."""
    out, err = check({"ModelChanged": {"enabled": True}}, a="30s", b="30s")
    assert "ModelChanged evaluates whether another model answers a and 1 more than at the run before" in out
    assert ([], []) == ([line for line in out if line.startswith("RULE")], err)


def test_rules_with_a_lower_limit_have_forecasts(check: CheckFunction) -> None:
    """Runs below the limit of a rule are its bad runs, whose rate the forecast varies."""
    out, _ = check({"Scarce": {"measure": "ratelimit_headroom", "limit": "10%"}})
    assert ["Scarce", "chat", "30s", "1h17m", "6m45s", "1m15s"] == row(out, "Scarce")[:6]


def test_the_delay_of_no_data_rules_is_printed(check: CheckFunction) -> None:
    """The delay of the built-in and of other ``no_data`` rules is printed for each schedule."""
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
def test_a_threshold_at_the_base_rate_is_a_warning(check: CheckFunction, detector: dict[str, Any]) -> None:
    """A rule that fires at the base rate gives a warning, although it has few false pages because it never resolves."""
    _, err = check({"Always": {"detector": detector}})
    assert [True] == ["but the base rate is 2%" in line for line in err if "rule Always: fires at" in line]


def test_a_window_over_the_sample_limit_is_a_warning(check: CheckFunction) -> None:
    """The warning has the time that the window really covers."""
    _, err = check({"Long": {"detector": {"type": "ratio", "over": "3d", "threshold": "10%"}}})
    assert [True] == ["a window holds at most 1000: it covers 8h20m" in line for line in err if "Long" in line]


def test_a_burn_rate_window_with_too_few_runs_is_a_warning(check: CheckFunction) -> None:
    """It is not an error, because the longer window can fire."""
    _, err = check({"Burns": {"detector": {"type": "burn_rate", "objective": "99%"}}}, chat="10m")
    assert [True] == ["6 in 1h: fewer runs than min_samples (10)" in line for line in err if "Burns" in line]


def test_a_cron_canary_is_listed_with_its_schedule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has the cron expression, and a line explains how pauses count."""
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
    assert 0 == main(Namespace(config=path, base_rate="2%", all=False, enforce_budget=False, **NO_SHAPES))
    out = capsys.readouterr().out.splitlines()
    expected = ["Down", "office", "*/10 9-17 * * 1-5 Europe/Berlin", "3d17h", "18h23m", "15h12m"]
    assert expected == row(out, "Down")[:6]
    assert [True] == ["pauses included" in line for line in out if line.startswith("cron: ")]
