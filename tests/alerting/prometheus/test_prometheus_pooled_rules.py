"""Exported rules that pool canaries: one alert for each scope, which fires when the alert engine does."""

from pathlib import Path

import pytest
from msgspec import structs
from ruamel.yaml import YAML

from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.prometheus.rule_export import export_rules
from streamcanary.alerting.testing.replay import Replay
from streamcanary.alerting.testing.series_notation import parse_values
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from support.alerting.builders import CHAT, alerts
from support.programs.promtool import SCRAPE, firing_times, scraped_series

RATIO = {"type": "ratio", "over": "5m", "threshold": "30%", "min_samples": 8}
BURN = {"type": "burn_rate", "objective": "90%", "windows": [{"long": "30m", "short": "5m", "rate": 3}]}
MINI = structs.replace(CHAT, name="mini", labels={"tier": "test"})
FAR = structs.replace(CHAT, name="far", target="azure", provider="azure")


def exported(rule: dict, *canaries: Canary) -> dict[str, list[dict]]:
    """Export the rule ``Watched`` for ``canaries``; return the rules of each of its groups."""
    file = YAML(typ="safe").load(export_rules(alerts(rules={"Watched": rule}), "default", canaries))
    names = {group["name"].removeprefix("streamcanary."): group["rules"] for group in file["groups"]}
    return {name: rules for name, rules in names.items() if name.startswith("Watched")}


def test_each_scope_has_an_alert_with_its_own_labels() -> None:
    """A rule with several scopes has an alert for each, which counts the runs of all canaries of a value together."""
    rules = exported({"detector": RATIO, "per": ["canary", "target", "all"]}, CHAT, MINI, FAR)
    assert ["Watched.all", "Watched.target", "Watched"] == list(rules)
    by = {name: some[0]["expr"].split("(")[1].rstrip(") ") for name, some in rules.items()}
    assert {
        "Watched": "canary, target, provider, job, namespace",
        "Watched.target": "target, provider, job, namespace",
        "Watched.all": "job, namespace",
    } == by
    assert {"Watched": None, "Watched.target": "target", "Watched.all": "all"} == {
        name: some[-1].get("labels", {}).get("scope") for name, some in rules.items()
    }


def test_a_scope_value_that_is_left_out_is_not_in_the_expression() -> None:
    """The target with one canary has no pooled alert, so that its canary is not among those that are counted."""
    rules = exported({"detector": RATIO, "per": ["canary", "target"]}, CHAT, MINI, FAR)
    assert all('{canary=~"chat|mini", ' in rule["expr"] for rule in rules["Watched.target"][:-1])
    assert all("{canary" not in rule["expr"] for rule in rules["Watched"][:-1])


@pytest.mark.parametrize(
    ("rule", "scope"),
    [
        ({"detector": {"type": "spike"}, "per": "target"}, "target"),
        ({"detector": RATIO, "per": "tier"}, "tier"),
        ({"detector": RATIO, "per": "model"}, "model"),
    ],
)
def test_what_promql_cannot_pool_is_evaluated_by_the_daemon(rule: dict, scope: str) -> None:
    """The order of runs, models and labels of canaries are not in the counters: the daemon's alert is used."""
    canaries = [structs.replace(canary, model="gpt") for canary in (CHAT, structs.replace(CHAT, name="mini"))]
    (alert,) = exported(rule, *canaries)[f"Watched.{scope}"]
    assert f'streamcanary_alert_active{{alert="Watched", scope="{scope}"}}' in alert["expr"]
    assert "max by (scope, scope_value, target, provider, job, namespace)" in alert["expr"]


def test_the_alerts_of_canaries_are_apart_from_pooled_ones() -> None:
    """The alert of a canary does not select the series of pooled alerts, which have no canary."""
    rules = exported({"detector": {"type": "spike"}, "per": ["canary", "target"]}, CHAT, MINI)
    assert 'streamcanary_alert_active{alert="Watched", scope=""}' in rules["Watched"][0]["expr"]


SCENES = {
    "both": ("ok x20 stalled x10 ok x30", "ok x20 stalled x10 ok x30"),
    "one": ("ok x20 stalled x20 ok x20", "ok x60"),
    "few": ("ok x20 stalled x2 ok x38", "ok x60"),
    "apart": ("ok x20 stalled x3 ok x37", "ok x22 rate_limited x4 ok x34"),
}


def runs_of(canary: Canary, values: str, start: float) -> list[Outcome]:
    """Return the outcomes of ``values``, one each 30 s from ``start`` on."""
    words = enumerate(parse_values(values))
    return [word.to_outcome(canary, number, start + 30 * number) for number, word in words if word is not None]


@pytest.mark.real("promtool")
@pytest.mark.parametrize("detector", [RATIO, BURN], ids=["ratio", "burn_rate"])
def test_both_fire_at_the_same_time(detector: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus and the engine pool the runs of two canaries alike: they fire within one run and one scrape."""
    config = alerts(rules={"Watched": {"detector": detector, "per": "target"}}, receivers={})
    series, expected = {}, {}
    for name, values in SCENES.items():
        of_chat, of_mini = runs_of(CHAT, values[0], 3.0), runs_of(MINI, values[1], 18.0)
        series[name] = [
            *scraped_series(CHAT, of_chat, 30.0 * 60, monkeypatch),
            *scraped_series(MINI, of_mini, 30.0 * 60, monkeypatch),
        ]
        changes: list[Incident] = []
        replay = Replay(Engine(config, "default", [CHAT, MINI]), 0.0, on_incident_change=changes.append)
        for run in sorted([*of_chat, *of_mini], key=lambda run: run.started):
            replay.observe(run)
        expected[name] = next((incident.opened for incident in changes if incident.is_firing), None)
    fired = firing_times(tmp_path, export_rules(config, "default", [CHAT, MINI]), "Watched", series)
    found = {name: next(iter(times), None) for name, times in fired.items()}
    assert {True, False} == {first is None for first in expected.values()}
    apart = {name: (expected[name], found[name]) for name in SCENES}
    assert {} == {
        name: pair
        for name, pair in apart.items()
        if (pair[0] is None) != (pair[1] is None) or abs((pair[0] or 0) - (pair[1] or 0)) > 30 + SCRAPE
    }
