"""Every query of every dashboard, and every exported rule, has data in a real Prometheus, by scrape and over OTLP."""

import math
import re

import httpx2
import pytest
from tools.observe.panel_queries import PanelQuery, panel_queries, substitute
from tools.observe.prometheus_client import Series, exemplars, label_values, query, query_range, rule_groups

from backends.conftest import Scenario
from streamcanary.telemetry.dashboards import load_dashboards
from support.programs.promtool import check_rules

pytestmark = [pytest.mark.real(tool) for tool in ("prometheus", "jaeger", "otelcol", "postgresql")]

DASHBOARDS = load_dashboards()
QUERIES = [(dashboard.name, each) for dashboard in DASHBOARDS.values() for each in panel_queries(dashboard.text)]
QUERY_IDS = [f"{name}, {each.panel}{f', {each.letter}' if each.letter else ''}" for name, each in QUERIES]
OF_RANGE = [(name, each) for name, each in QUERIES if each.is_instant and "$__range]" in each.expr and name != "genai"]
"""The numbers and columns over the time range of the daemon's own dashboards: what is now may differ by a scrape."""
MAY_BE_ZERO = {
    ("daemon", "Lost telemetry"),
    ("daemon", "Standby"),
    ("daemon", "Dropped runs"),
    ("daemon", "Waiting runs"),
    ("daemon", "Lost leases and dropped runs by reason"),
    ("daemon", "Shed runs"),
}
"""Panels whose right value in the scenario may be 0: everything is delivered in time, and replicas agree."""
STEP = 5.0
TOLERANCE = 4.0
"""Seconds by which one way may be behind the other: both have an interval of one second."""

FILES_GAUGE = "process_unix_file_descriptor_count"
OF_PROCESS = {"job", "instance", "__name__"}
CHANGING = {"streamcanary_failures_total", "streamcanary_model_info"}
"""Series of these metrics appear or end with an event. One way may not have the last event yet; and a series that ends
is stale at the next scrape, but over OTLP only after five minutes, because OTLP does not say that it ended."""

FIRING = {"OutageRatio", "ThreeInARow", "ErrorBudget", "SlowRuns", "TargetRejected", "ReceiverFailing"}
FROM_METRICS = {"NoData"}
"""Rules that Prometheus evaluates from other metrics than the state of the daemon, and that do not fire here."""


def variables(scenario: Scenario) -> dict[str, str]:
    """Return the values of Grafana's own variables."""
    length = math.ceil(scenario.end - scenario.start)
    return {
        "__range": f"{length}s",
        "__interval": f"{STEP:g}s",
        "__interval_ms": f"{STEP * 1000:g}",
        "__rate_interval": f"{STEP + 1:g}s",  # Grafana adds one scrape
    }


def run_query(scenario: Scenario, way: str, each: PanelQuery) -> list[Series]:
    """Return the series of a query of a panel that have a number."""
    expr = substitute(each.expr, variables(scenario))
    if each.is_instant:
        found = query(scenario.addresses[way], expr, scenario.end)
    else:
        found = query_range(scenario.addresses[way], expr, start=scenario.start, end=scenario.end, step=STEP)
    return [series for series in found if any(math.isfinite(value) for _, value in series.values)]


@pytest.mark.parametrize("way", ["scrape", "otlp"])
@pytest.mark.parametrize(("dashboard", "each"), QUERIES, ids=QUERY_IDS)
def test_every_query_of_every_panel_has_data(scenario: Scenario, dashboard: str, each: PanelQuery, way: str) -> None:
    """The query is valid, and has a number: another one than 0, which some queries have where nothing is found."""
    if way == "scrape" and any(part in each.expr for part in ("time_per_output_chunk", "gen_ai_response_model")):
        pytest.skip("only the application records it, and it sends OTLP")
    found = run_query(scenario, way, each)
    assert found, substitute(each.expr, variables(scenario))
    if (dashboard, each.panel) not in MAY_BE_ZERO:
        assert any(value != 0 for series in found for _, value in series.values if math.isfinite(value)), found


@pytest.mark.parametrize(
    ("dashboard", "each"), OF_RANGE, ids=[f"{name}, {each.panel}, {each.letter}" for name, each in OF_RANGE]
)
def test_both_ways_show_the_same_numbers(scenario: Scenario, dashboard: str, each: PanelQuery) -> None:
    """Each number and each column of a table has the same rows, and about the same values, either way."""
    by_scrape, by_otlp = (
        {labels_of(series): series.values[0][1] for series in run_query(scenario, way, each)}
        for way in ("scrape", "otlp")
    )
    assert by_otlp.keys() == by_scrape.keys()
    for labels, value in by_scrape.items():
        assert by_otlp[labels] == pytest.approx(value, rel=0.2, abs=0.1), dict(labels)


def test_every_variable_has_values(scenario: Scenario) -> None:
    """The query of each variable of each dashboard offers at least one value."""
    pattern = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")
    for dashboard in DASHBOARDS.values():
        for found in pattern.finditer(dashboard.text):
            assert label_values(scenario.stack.prometheus, found["label"], found["selector"].replace('\\"', '"')), (
                found[0]
            )


def names_of(scenario: Scenario, way: str) -> set[str]:
    """Return the names of the metrics of the daemon."""
    found = label_values(scenario.addresses[way], "__name__", '{job="streamcanary"}')
    return {name for name in found if name.startswith(("streamcanary_", "gen_ai_", "process_"))}


def label_sets(scenario: Scenario, way: str, metric: str) -> set[frozenset[tuple[str, str]]]:
    """Return the labels of each series of ``metric`` at the end, without those that say where it comes from."""
    return set(values(scenario, way, metric, scenario.end))


def test_both_ways_have_the_same_metrics(scenario: Scenario) -> None:
    """A scrape of ``/metrics``, and OTLP with Prometheus's default translation, lead to the same names."""
    assert names_of(scenario, "otlp") == names_of(scenario, "scrape")


def test_both_ways_have_the_same_series(scenario: Scenario) -> None:
    """The series have the same labels, apart from job and instance."""
    for metric in sorted(names_of(scenario, "scrape") - CHANGING):
        assert label_sets(scenario, "otlp", metric) == label_sets(scenario, "scrape", metric), metric


def test_both_ways_have_the_same_values(scenario: Scenario) -> None:
    """A counter that arrived over OTLP is between those of the scrapes some seconds before and after."""
    for metric in sorted(names_of(scenario, "scrape")):
        if not metric.endswith(("_total", "_count", "_sum", "_bucket")) or metric == FILES_GAUGE:
            continue
        before = values(scenario, "scrape", metric, scenario.end - 2 * TOLERANCE)
        after = values(scenario, "scrape", metric, scenario.end)
        for labels, value in values(scenario, "otlp", metric, scenario.end - TOLERANCE).items():
            assert before.get(labels, 0.0) - 1e-9 <= value <= after[labels] + 1e-9, (metric, dict(labels))


def values(scenario: Scenario, way: str, metric: str, at: float) -> dict[frozenset[tuple[str, str]], float]:
    """Return the value of each series of ``metric`` by its labels."""
    return {
        labels_of(series): series.values[0][1]
        for series in query(scenario.addresses[way], f'{metric}{{job="streamcanary"}}', at)
    }


def labels_of(series: Series) -> frozenset[tuple[str, str]]:
    """Return the labels without those of the process. A scrape writes the bucket 1 as ``le="1.0"``, OTLP as ``"1"``."""
    bucket = {"le": f"{float(series.labels['le'])}"} if "le" in series.labels else {}
    return frozenset((key, value) for key, value in {**series.labels, **bucket}.items() if key not in OF_PROCESS)


@pytest.mark.parametrize("way", ["scrape", "otlp"])
def test_every_exported_rule_is_evaluated(scenario: Scenario, way: str) -> None:
    """Prometheus evaluates each rule without an error, and each recorded count has series."""
    rules = [rule for group in rule_groups(scenario.addresses[way]) for rule in group["rules"]]
    assert {("ok", "")} == {(rule["health"], rule.get("lastError", "")) for rule in rules}
    for rule in rules:
        if rule["type"] == "recording":
            assert query(scenario.addresses[way], rule["name"], scenario.end), rule["name"]


@pytest.mark.parametrize("way", ["scrape", "otlp"])
def test_the_exported_rules_fire(scenario: Scenario, way: str) -> None:
    """The rules for what the scenario contains fire in Prometheus, and the others have the state of the daemon."""
    alerts = {
        rule["name"]
        for group in rule_groups(scenario.addresses[way])
        for rule in group["rules"]
        if rule["type"] == "alerting"
    }
    length = variables(scenario)["__range"]
    fired = query(
        scenario.addresses[way],
        f'count by (alertname) (max_over_time(ALERTS{{alertstate="firing"}}[{length}]))',
        scenario.end,
    )
    assert {series.labels["alertname"] for series in fired} >= FIRING
    for alert in alerts - FIRING - FROM_METRICS:
        assert query(scenario.addresses[way], f'streamcanary_alert_active{{alert="{alert}"}}', scenario.end), alert


def test_promtool_accepts_the_exported_rules(scenario: Scenario) -> None:
    """Promtool finds no error in the rule file of the scenario."""
    rules = (scenario.stack.folder / "streamcanary-rules.yaml").read_text()
    code, output = check_rules(scenario.stack.folder, rules)
    assert 0 == code, output


@pytest.mark.parametrize("way", ["scrape", "otlp"])
@pytest.mark.parametrize(
    "metric", ["streamcanary_first_token_seconds_bucket", "streamcanary_failures_total", "streamcanary_runs_total"]
)
def test_exemplars_link_to_traces(scenario: Scenario, metric: str, way: str) -> None:
    """An exemplar has the id of a trace that Jaeger returns."""
    found = exemplars(
        scenario.addresses[way], f'{metric}{{job="streamcanary"}}', start=scenario.start, end=scenario.end - 5
    )
    assert found
    trace_id = found[0]["labels"]["trace_id"]
    [trace] = httpx2.get(f"{scenario.stack.jaeger}/api/traces/{trace_id}", trust_env=False).json()["data"]
    assert "streamcanary.run" in {span["operationName"] for span in trace["spans"]}


def test_the_collector_has_no_complaint_about_its_configuration(scenario: Scenario) -> None:
    """``config/otel-collector.yaml`` uses no name that the Collector calls deprecated."""
    log = (scenario.stack.folder / "otelcol.log").read_text()
    assert "Everything is ready" in log
    assert "deprecated" not in log
