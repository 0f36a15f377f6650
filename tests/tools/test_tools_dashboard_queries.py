"""The queries of the dashboards, computed by the real promtool from series with gaps, restarts and isolated events."""

from pathlib import Path
from typing import Any

import pytest
from tools.docs.dashboards import metrics, queries
from tools.observe.panel_queries import panels, substitute

from streamcanary.model import names
from streamcanary.telemetry.dashboards import load_dashboards
from support.programs.promtool import run_tests

pytestmark = pytest.mark.real("promtool")

VARIABLES = {"__interval": "1m", "__interval_ms": "60000", "__rate_interval": "75s", "__range": "1h"}
"""Those of Grafana for a step of one minute, and a scrape every 15 seconds."""
CANARY = 'canary="chat", target="openai", provider="openai"'
FAILURES = f'streamcanary_failures_total{{{CANARY}, blame="provider"}}'
RUNS = f'streamcanary_runs_total{{{CANARY}, outcome="failed"}}'
BUILD_INFO = {"series": 'streamcanary_build_info{job="j", instance="i"}', "values": "1x240"}
UPTIME = {"series": 'process_uptime_seconds{job="j", instance="i"}', "values": "0+15x240"}
CANARY_INFO = {"series": f'streamcanary_canary_info{{job="j", instance="i", {CANARY}}}', "values": "1x240"}
CANARY_KEY = '{canary="chat", provider="openai", target="openai"}'
FAILED_BARS = metrics.new_increase(names.FAILURES, "blame")
FAILED_RANGE = metrics.new_increase(names.FAILURES, "blame", within=metrics.RANGE)


def check(
    folder: Path,
    expr: str,
    series: list[dict[str, str]],
    expected: dict[float, list[tuple[str, float]]],
    *,
    interval: str = "15s",
    rate_interval: str = VARIABLES["__rate_interval"],
) -> None:
    """Assert that ``expr`` has these labels and values, to a whole number, at each number of minutes.

    ``interval`` is the time between two samples, and ``rate_interval`` what Grafana sets ``$__rate_interval`` to.
    """
    variables = {**VARIABLES, "__rate_interval": rate_interval}
    tests: list[dict[str, Any]] = [
        {
            "expr": f"round({substitute(expr, variables)}, 1)",
            "eval_time": f"{round(minutes * 60)}s",
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples],
        }
        for minutes, samples in expected.items()
    ]
    code, output = run_tests(
        folder, "groups: []", [{"interval": interval, "input_series": series, "promql_expr_test": tests}]
    )
    assert 0 == code, output


def failures(values: str) -> list[dict[str, str]]:
    return [{"series": FAILURES, "values": values}]


def by_blame(value: float) -> list[tuple[str, float]]:
    return [('{blame="provider"}', value)]


def in_daemons(metric: str, **values: str) -> list[dict[str, str]]:
    """Return the series of the same canary in several daemons."""
    return [
        {"series": f'{metric}{{job="j", instance="{instance}", {CANARY}}}', "values": each}
        for instance, each in values.items()
    ]


@pytest.mark.parametrize("gap", ["stale", "_x4", "_x100"])
def test_a_gap_in_the_scrapes_is_no_outage(tmp_path, gap):
    """The value of a series after a missed scrape, or while Prometheus did not run, is that of its lifetime."""
    expected = {
        "stale": {6: by_blame(0), 7: by_blame(0), 8: by_blame(0)},
        "_x4": {6: [], 7: by_blame(0), 8: by_blame(0)},  # a single value has no rate
        "_x100": {30: [], 31: by_blame(0), 32: by_blame(0)},
    }
    check(tmp_path, FAILED_BARS, failures(f"5000x19 {gap} 5000x60"), expected[gap])


def test_a_range_that_starts_in_a_gap_counts_from_the_gap(tmp_path):
    """The same for the window of the whole time range."""
    check(tmp_path, FAILED_RANGE, failures("5000x19 stale 5000x239 5001x4"), {65.5: by_blame(1)})


@pytest.mark.parametrize("before", range(17, 25))
def test_an_isolated_failure_is_in_exactly_one_bar(tmp_path, before):
    """Wherever the scrapes are in the steps, one increase of a series is one in one step."""
    bar = (before + 1) * 15 // 60 + ((before + 1) * 15 % 60 > 0)
    expected = {at: by_blame(1.0 if at == bar else 0.0) for at in range(3, 10)}
    check(tmp_path, FAILED_BARS, failures(f"5x{before} 6x60"), expected)


@pytest.mark.parametrize("before", range(17, 25))
def test_an_isolated_run_is_in_exactly_one_bar(tmp_path, before):
    """The same for a counter that starts at 0."""
    bar = (before + 1) * 15 // 60 + ((before + 1) * 15 % 60 > 0)
    expected = {at: [('{outcome="failed"}', 1.0 if at == bar else 0.0)] for at in range(3, 10)}
    series = [{"series": RUNS, "values": f"0x{before} 1x60"}]
    check(tmp_path, metrics.increase(names.RUNS, "outcome"), series, expected)


@pytest.mark.parametrize("before", range(17, 25))
def test_the_first_failure_of_a_series_is_in_exactly_one_bar(tmp_path, before):
    """A series that starts with its first event, at 1, has it in the step in which it starts."""
    bar = before * 15 // 60 + (before * 15 % 60 > 0)
    expected = {at: by_blame(1.0 if at == bar else 0.0) for at in range(bar, 10)}
    check(tmp_path, FAILED_BARS, failures(f"_x{before} 1x60"), expected)


def test_a_restart_loses_no_failure_of_a_new_series(tmp_path):
    """What a new series counted before the daemon restarted is added to what it counted after it."""
    check(tmp_path, FAILED_RANGE, failures("_x40 1+1x99 1 2 2x60"), {50: by_blame(102)})


def test_the_first_failures_after_a_restart_in_a_gap_count(tmp_path):
    """A series that is lower after a gap than before counts from 0: the daemon has been restarted."""
    check(tmp_path, FAILED_BARS, failures("7x19 stale _x8 2x60"), {8: by_blame(2), 9: by_blame(0)})


def of_a_daemon(values: str, uptime: str) -> list[dict[str, str]]:
    return [
        {**UPTIME, "values": uptime},
        {"series": FAILURES.replace("}", ', job="j", instance="i"}'), "values": values},
    ]


def test_a_restart_in_a_gap_counts_from_0(tmp_path):
    """Also where the first value after it is not lower than the last one before: the uptime shows the restart."""
    series = of_a_daemon("1x19 stale _x10 1x40", "3600+15x19 stale _x10 0+15x40")
    check(tmp_path, FAILED_BARS, series, {8: by_blame(1), 9: by_blame(0)})


def test_a_restart_after_a_long_gap_counts_from_0(tmp_path):
    """The same where the daemon has been up for longer than it had been before."""
    series = of_a_daemon("2x10 stale _x300 2x60", "0+15x10 stale _x300 0+15x60")
    check(tmp_path, FAILED_RANGE, series, {90: by_blame(2)})


def test_a_gap_without_a_restart_is_no_outage(tmp_path):
    """The uptime of a daemon that was not scraped goes on."""
    series = of_a_daemon("5000x19 stale _x10 5000x40", "0+15x19 stale _x10 465+15x40")
    check(tmp_path, FAILED_BARS, series, {8: by_blame(0), 9: by_blame(0)})


def test_a_later_restart_does_not_make_a_gap_one(tmp_path):
    """Where the range starts in a gap without a restart, a restart within it adds no count of before the range."""
    series = of_a_daemon("5000x19 stale 5000x119 stale 5001x119", "0+15x19 stale 315+15x119 stale 0+15x119")
    check(tmp_path, FAILED_RANGE, series, {65.1: by_blame(1)})


@pytest.mark.parametrize("before", range(17, 25))
def test_an_isolated_attempt_is_in_one_column_of_a_heat_map(tmp_path, before):
    """The bar rule holds for the buckets of a histogram."""
    bar = (before + 1) * 15 // 60 + ((before + 1) * 15 % 60 > 0)
    series = [
        {
            "series": f'streamcanary_first_token_seconds_bucket{{{CANARY}, le="1"}}',
            "values": f"5x{before} 6x60",
        }
    ]
    expected = {at: [('{le="1"}', 1.0 if at == bar else 0.0)] for at in range(3, 10)}
    check(tmp_path, metrics.heat(names.FIRST_TOKEN_TIME), series, expected)


NATIVE = {
    "series": f"streamcanary_first_token_seconds{{{CANARY}}}",
    "values": "{{schema:0 sum:0 count:0 buckets:[0]}}+{{schema:0 sum:60 count:30 buckets:[0 30]}}x40",
}
"""Two observations a second of 1 to 2 s, 2 s on average: an exponential histogram over OTLP."""


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (f"10 * ({metrics.quantile(1, names.FIRST_TOKEN_TIME, 'canary')})", [('{canary="chat"}', 20.0)]),
        (metrics.quantile(1, names.FIRST_TOKEN_TIME), [("{}", 2.0)]),
        (metrics.rate(names.FIRST_TOKEN_TIME, "canary", suffix="_count"), [('{canary="chat"}', 2.0)]),
        (metrics.rate(names.FIRST_TOKEN_TIME, "canary", suffix="_sum"), [('{canary="chat"}', 4.0)]),
        (metrics.mean(names.FIRST_TOKEN_TIME, "canary"), [('{canary="chat"}', 2.0)]),
        (f"histogram_count({metrics.heat(names.FIRST_TOKEN_TIME)})", [("{}", 120.0)]),
    ],
)
def test_native_histograms_have_quantiles_rates_and_heat_maps(tmp_path, expr, expected):
    """With ``telemetry.otlp.histograms: exponential`` the panels of latencies have data, too."""
    check(tmp_path, expr, [NATIVE], {8: expected})


def test_calls_that_are_reported_each_minute_have_rates_at_all_times(tmp_path):
    """The board of other SDKs allows for their 60 s between samples, whatever the data source is set to."""
    targets = [target for panel in panels(load_dashboards()["genai"].text) for target in panel["targets"]]
    assert {"1m"} == {target["interval"] for target in targets}
    expr = targets[0]["expr"]
    assert "$__rate_interval" in expr
    calls = 'gen_ai_client_operation_duration_seconds_count{job="app", gen_ai_operation_name="chat"}'
    expected = {10 + seconds / 60: [("{}", 4.0)] for seconds in (0, 5, 20, 40, 59)}
    series = [{"series": calls, "values": "0+240x60"}]
    check(tmp_path, expr, series, expected, interval="1m", rate_interval="4m")  # as Grafana does: four times the 1m


def test_no_firing_alert_is_zero_while_the_daemon_reports(tmp_path):
    """A count is 0 while the daemon reports, and absent afterwards: no green 0 for a daemon that is dead."""
    expr = queries.total(queries.firing_alerts())
    check(tmp_path, expr, [{**BUILD_INFO, "values": "1x20 stale"}], {5: [("{}", 0.0)], 6: [], 15: []})


def test_the_age_of_the_last_data_grows_after_the_daemon_stopped(tmp_path):
    """It is 0 at a scrape, and the time since the last one at a failed scrape and later, within the time range."""
    series = [{**BUILD_INFO, "values": "1x20 stale _x300"}]
    check(
        tmp_path, queries.longest_silence(), series, {5: [("{}", 0.0)], 6: [("{}", 60.0)], 30: [("{}", 1500.0)], 70: []}
    )


def test_a_canary_fails_since_its_last_success(tmp_path):
    """Only a canary whose last run failed is in the result."""
    series = [
        {"series": f"streamcanary_last_run_time_seconds{{{CANARY}}}", "values": "0+15x40"},
        {"series": f"streamcanary_last_success_time_seconds{{{CANARY}}}", "values": "0+15x20 300x20"},
    ]
    expr = queries.failing_for(metrics.CANARY_LABELS)
    check(tmp_path, expr, series, {4: [], 10: [(CANARY_KEY, 300.0)]})


def test_a_canary_without_a_success_fails_since_the_start(tmp_path):
    """Without a last success, the time since the daemon started is the least that is known."""
    series = [
        *in_daemons("streamcanary_last_run_time_seconds", i="0+15x40"),
        UPTIME,
        CANARY_INFO,
    ]
    check(tmp_path, queries.failing_for(metrics.CANARY_LABELS), series, {4: [(CANARY_KEY, 240.0)]})


@pytest.mark.parametrize("failing", ["0+15x100", "5+15x100"])
def test_a_canary_that_fails_in_one_of_two_daemons_fails(tmp_path, failing):
    """A region that is down is not hidden by one in which the same canary succeeds, whichever ran last."""
    series = [
        BUILD_INFO,
        *in_daemons("streamcanary_last_run_time_seconds", i=failing, i2="0+15x100"),
        *in_daemons("streamcanary_last_success_time_seconds", i="0x100", i2="0+15x100"),
    ]
    check(tmp_path, queries.total(queries.failing_canaries()), series, {10: [("{}", 1.0)]})
    check(tmp_path, queries.failing_canaries(), series, {10: [(CANARY_KEY, 1.0)]})
    check(tmp_path, queries.failing_for(metrics.CANARY_LABELS), series, {10: [(CANARY_KEY, 600.0)]})


def test_a_canary_without_a_success_in_one_of_two_daemons_fails_since_its_start(tmp_path):
    """The uptime is that of the daemon in which it has never succeeded."""
    series = [
        UPTIME,
        {"series": UPTIME["series"].replace('"i"', '"i2"'), "values": "9000+15x240"},
        *in_daemons("streamcanary_canary_info", i="1x240", i2="1x240"),
        *in_daemons("streamcanary_last_run_time_seconds", i="0+15x100", i2="0+15x100"),
        *in_daemons("streamcanary_last_success_time_seconds", i2="0+15x100"),
    ]
    check(tmp_path, queries.failing_for(metrics.CANARY_LABELS), series, {10: [(CANARY_KEY, 600.0)]})


def daemons(second: str, uptime: str) -> list[dict[str, str]]:
    """Return the series of a daemon that stops after five minutes, and of a second one."""
    other = {"series": BUILD_INFO["series"].replace('"i"', '"i2"'), "values": second}
    return [
        {**BUILD_INFO, "values": "1x20 stale _x300"},
        {**UPTIME, "values": "3600+15x20 stale _x300"},
        other,
        {"series": UPTIME["series"].replace('"i"', '"i2"'), "values": uptime},
    ]


def test_the_age_of_the_last_data_is_that_of_the_daemon_that_is_silent(tmp_path):
    """Another daemon that reports does not hide it."""
    series = daemons("1x240", "3600+15x240")
    check(tmp_path, queries.longest_silence(), series, {4: [("{}", 0.0)], 30: [("{}", 1500.0)]})
    ages = [('{instance="i", job="j"}', 1500.0), ('{instance="i2", job="j"}', 0.0)]
    check(tmp_path, queries.data_age(), series, {30: ages})


def test_a_daemon_that_was_replaced_is_not_silent(tmp_path):
    """One of the same job has started since, or shortly before, under another name: a pod after an update."""
    series = daemons("_x18 1x240", "_x18 0+15x240")
    check(tmp_path, queries.longest_silence(), series, {8: [("{}", 0.0)], 30: [("{}", 0.0)]})


def test_only_canaries_that_failed_have_a_band(tmp_path):
    """A canary without a failed run in the time range is not in the timeline of failures."""
    series = [
        {"series": RUNS, "values": "0+1x40"},
        {"series": RUNS.replace("failed", "ok").replace("chat", "good"), "values": "0+1x40"},
    ]
    check(tmp_path, queries.failing_canary_runs(), series, {8: [('{canary="chat"}', 1.0)]})


@pytest.mark.parametrize("chosen", [".*", "chat", "(chat|search)"])
def test_rate_limits_of_a_target_are_shown_whichever_canary_is_chosen(tmp_path, chosen):
    """Also beside those of a canary of another daemon; calls of applications, which have no target, are left out."""
    expr = next(
        target["expr"]
        for panel in panels(load_dashboards()["canary"].text)
        for target in panel["targets"]
        if panel["title"] == "Rate-limit headroom" and "by (canary" in target["expr"]
    )
    name = "streamcanary_ratelimit_headroom_ratio"
    series = [
        {"series": f'{name}{{target="openai", provider="openai", type="requests"}}', "values": "20x40"},
        {"series": f'{name}{{{CANARY}, type="tokens"}}', "values": "40x40"},
        {"series": f'{name}{{type="tokens"}}', "values": "60x40"},
    ]
    expected = [
        ('{target="openai", type="requests"}', 20.0),
        ('{canary="chat", target="openai", type="tokens"}', 40.0),
    ]
    check(tmp_path, expr.replace("$canary", chosen), series, {5: expected})
