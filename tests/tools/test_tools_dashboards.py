"""The generated dashboards follow the rules that Grafana does not check."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tools.observe.panel_queries import PanelQuery, panel_queries, panels

from streamcanary.model import names
from streamcanary.model.prometheus_names import metric_name
from streamcanary.telemetry.dashboards import load_dashboards

DASHBOARDS = load_dashboards()
BUILTIN_VARIABLES = {"__interval", "__interval_ms", "__rate_interval", "__range"}
PICTURES = Path(__file__).parents[2] / "docs" / "images" / "dashboards"
METRICS = {metric_name(value) for value in vars(names).values() if isinstance(value, names.Metric)}


def all_queries() -> Iterator[PanelQuery]:
    for dashboard in DASHBOARDS.values():
        yield from panel_queries(dashboard.text)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_says_what_it_shows(name):
    """Each panel has a title, a description in whole sentences, a unit, and the data source of the variable."""
    for panel in panels(DASHBOARDS[name].text):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_overlap(name):
    """No two panels of a dashboard share a cell of its grid, and none is wider than the grid."""
    taken: dict[tuple[int, int], str] = {}
    for panel in panels(DASHBOARDS[name].text):
        position = panel["gridPos"]
        assert position["x"] + position["w"] <= 24, panel["title"]
        for x in range(position["x"], position["x"] + position["w"]):
            for y in range(position["y"], position["y"] + position["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_queries_use_the_variables_of_their_dashboard(name):
    """Each variable in a query is one of the dashboard, or of Grafana."""
    text = DASHBOARDS[name].text
    known = {variable["name"] for variable in _content(text)["templating"]["list"]} | BUILTIN_VARIABLES
    for query in panel_queries(text):
        assert set(re.findall(r"\$(\w+)", query.expr)) <= known, query


def test_queries_name_metrics_of_the_table():
    """Each metric in a query is a name of ``model/names.py``, as Prometheus writes it."""
    unknown = {
        name
        for query in all_queries()
        for name in re.findall(r"\b((?:streamcanary|gen_ai_client|process)_\w+)\b(?=[\[{])", query.expr)
        if re.sub(r"_(bucket|sum|count)$", "", name) not in METRICS
    }
    assert unknown == set()


def test_every_gauge_of_canaries_is_on_a_dashboard():
    """What a provider says about limits and the life of a model, and when a canary last ran, can be seen."""
    names_in_queries = {name for query in all_queries() for name in re.findall(r"streamcanary_\w+", query.expr)}
    gauges = {
        metric_name(value)
        for value in vars(names).values()
        if isinstance(value, names.Metric)
        and value.kind == "gauge"
        and value.name.startswith(("streamcanary.model.", "streamcanary.ratelimit.", "streamcanary.last_"))
    }
    of_rules_only = {metric_name(names.LAST_FAILURE)}  # by the rules about a fleet; other panels have the failures
    assert of_rules_only == gauges - names_in_queries


def test_the_genai_dashboard_uses_standard_metrics_alone():
    """The dashboard for other instrumentations needs no metric and no label of streamcanary."""
    for query in panel_queries(DASHBOARDS["genai"].text):
        assert "streamcanary_" not in query.expr
        assert "canary" not in query.expr


def test_latencies_and_failures_link_to_traces():
    """Queries of latency heat maps, and of failures by kind, ask for exemplars, whose data link opens the trace."""
    with_exemplars = [query for query in all_queries() if query.exemplar]
    assert {"canary", "genai", "overview"} == {
        name for name, dashboard in DASHBOARDS.items() if any(query.exemplar for query in panel_queries(dashboard.text))
    }
    assert any("first_token_seconds_bucket" in query.expr for query in with_exemplars)
    assert any("streamcanary_failures_total" in query.expr for query in with_exemplars)


def test_identifiers_are_unique():
    """Dashboards have different identifiers, so that none replaces another one at the import."""
    identifiers = [_content(dashboard.text)["uid"] for dashboard in DASHBOARDS.values()]
    assert len(identifiers) == len(set(identifiers))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_and_queries_have_identifiers(name):
    """Panels and rows have different numbers, and the queries of a panel are A, B and so on."""
    everything = _content(DASHBOARDS[name].text)["panels"]
    assert list(range(1, len(everything) + 1)) == [panel["id"] for panel in everything]
    for panel in panels(DASHBOARDS[name].text):
        letters = [target["refId"] for target in panel["targets"]]
        assert [chr(ord("A") + index) for index in range(len(letters))] == letters, panel["title"]


def test_the_first_screen_of_the_overview_says_what_who_and_why():
    """What fails, for whom and who can fix it are within the 24 rows of the grid that a screen of 1080 lines shows."""
    first = {
        panel["title"]
        for panel in panels(DASHBOARDS["overview"].text)
        if panel["gridPos"]["y"] + panel["gridPos"]["h"] <= 24
    }
    assert {"Daemon: last data", "Failing for", "Failed runs by blame", "Failed runs by provider"} <= first
    assert "Firing alerts" in first


def test_a_number_without_a_value_is_red_unless_the_panel_says_what_it_means():
    """No data from the daemon is no green 0: the number says so in red, or in words of its panel."""
    for dashboard in DASHBOARDS.values():
        for panel in panels(dashboard.text):
            if panel["type"] == "stat":
                defaults = panel["fieldConfig"]["defaults"]
                colours = {
                    each["options"]["result"].get("color")
                    for each in defaults.get("mappings") or ()
                    if each["type"] == "special"
                }
                assert colours == ({"red"} if defaults["noValue"] == "no data" else set()), panel["title"]
                assert "vector(0)" not in panel["targets"][0]["expr"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_picture_in_the_documentation_shows_the_dashboard(name):
    """It is small, and has the title of each row and panel; after a change, ``make pictures`` draws it again."""
    path = PICTURES / f"{name}.svg"
    assert path.stat().st_size < 160_000
    texts = {element.text for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")}  # noqa: S314 - ours
    content = _content(DASHBOARDS[name].text)
    assert {content["title"], *(panel["title"] for panel in content["panels"])} <= texts


def _content(text: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(text)
    return content
