"""The exported rules and the alert engine fire at the same time for the same runs."""

from itertools import pairwise
from pathlib import Path
from random import Random

import msgspec
import pytest
from msgspec import structs

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.prometheus.rule_export import export_rules
from streamcanary.alerting.testing.replay import Replay
from streamcanary.alerting.testing.series_notation import parse_values
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from support.alerting.builders import alerts
from support.programs.promtool import SCRAPE, check_rules, firing_times, run_tests, scraped_series

pytestmark = pytest.mark.real("promtool")

EVERY = 30.0
CHAT = Canary(name="chat", target="openai", provider="openai", interval=EVERY, timeout=20.0)
LATEST = EVERY + SCRAPE
"""The tolerance in seconds: one run and one scrape."""

RATIO = {"type": "ratio", "over": "5m", "threshold": "50%", "min_samples": 5}
HELD = {**RATIO, "for": "2m"}
SHORT = {"type": "burn_rate", "objective": "90%", "windows": [{"long": "30m", "short": "5m", "rate": 3}]}
BURN = {"type": "burn_rate", "objective": "95%"}
SILENT = {"type": "no_data", "runs": 3}


def outcomes(values: str) -> list[Outcome]:
    """Return the outcomes of ``values``, one each 30 s from second 3 on."""
    return [
        word.to_outcome(CHAT, number, 3 + EVERY * number)
        for number, word in enumerate(parse_values(values))
        if word is not None
    ]


def engine_firing_times(config: AlertsConfig, runs: list[Outcome], until: float) -> list[float]:
    """Return the times at which the alert engine begins to fire, in seconds after the start."""
    changes: list[Incident] = []
    replay = Replay(Engine(config, "default", [CHAT]), 0.0, on_incident_change=changes.append)
    for run in runs:
        replay.observe(run)
    replay.tick_at(until)
    return [incident.opened for incident in changes if incident.rule == "Watched" and incident.is_firing]


def agree(first: float | None, second: float | None) -> bool:
    """Return whether both fire within the tolerance, or neither fires."""
    return first is second is None or (first is not None and second is not None and abs(first - second) <= LATEST)


def random_values(seed: int, length: int) -> str:
    """Return random values: good runs, an outage with a random error rate and mixed faults, and good runs again."""
    random = Random(seed)  # noqa: S311 - the same each time
    rate = random.choice([0.3, 0.5, 0.8, 1.0])
    begin = random.randrange(12, length // 2)
    end = begin + random.randrange(10, length // 3)
    faults = ["stalled", "rate_limited", "failed_over:stream_cut", "auth_failed", "server_error"]

    def word(number: int) -> str:
        bad = random.random() < (rate if begin <= number < end else 0.02)
        return random.choice(faults) if bad else random.choice(["ok", "ok", "ok", "slow"])

    return " ".join(word(number) for number in range(length))


SCENES = {
    "outage": "ok x20 stalled x20 ok x40",
    "half": "ok x20 " + "stalled ok " * 20 + "ok x30",
    "kinds": "ok x20 stalled rate_limited stream_cut server_error overloaded headers_timeout stalled x10 ok x40",
    "rejected": "ok x20 auth_failed x20 ok x30",
    "short": "ok x30 stalled x2 ok x40",
    "over": "ok x20 failed_over:stalled x20 ok x30",
    **{f"seed-{seed}": random_values(seed, 90) for seed in (1, 4, 7, 9, 11)},
}
FEW = {name: SCENES[name] for name in ("outage", "kinds", "short", "seed-7")}
SILENCES = {
    "silent": "ok x10 _ x10 ok x10",
    "broken": "ok x10 internal_error x10 ok x10",
    "failing": "ok x10 stalled x10 auth_failed x10",
    "short": "ok x10 _ x2 ok x10",
    "twice": "ok x10 _ x8 stalled _ x10 ok x5",
    "end": "ok x12",
}


@pytest.mark.parametrize(
    ("detector", "scenes"),
    [(RATIO, SCENES), (HELD, FEW), (SHORT, SCENES), (BURN, FEW), (SILENT, SILENCES)],
    ids=["ratio", "ratio for 2m", "burn_rate", "burn_rate of the workbook", "no_data"],
)
def test_both_fire_at_the_same_time(detector, scenes, tmp_path: Path, monkeypatch) -> None:
    """Prometheus and the engine first fire within one run and one scrape of each other, or neither fires."""
    config = alerts(rules={"Watched": {"detector": detector}}, receivers={})
    runs = {name: outcomes(values) for name, values in scenes.items()}
    until = {name: EVERY * len(parse_values(values)) for name, values in scenes.items()}
    series = {name: scraped_series(CHAT, runs[name], until[name], monkeypatch) for name in scenes}
    prometheus = firing_times(tmp_path, export_rules(config, "default", [CHAT]), "Watched", series)
    compared = {
        name: (
            next(iter(engine_firing_times(config, runs[name], until[name])), None),
            next(iter(prometheus[name]), None),
        )
        for name in scenes
    }
    assert {True, False} == {first is None for first, _ in compared.values()}
    assert {} == {name: pair for name, pair in compared.items() if not agree(*pair)}


@pytest.mark.parametrize("function", ["increase", "rate"])
def test_the_first_error_of_a_canary_is_an_increase(function, tmp_path: Path, monkeypatch) -> None:
    """``increase()`` and ``rate()`` of ``streamcanary.runs`` count the first failed run: its series begins at zero."""
    series = scraped_series(CHAT, outcomes("ok x10 stalled ok x5"), 480, monkeypatch)
    rule = {"alert": "First", "expr": f'{function}(streamcanary_runs_total{{outcome="failed"}}[5m]) > 0'}
    rules = msgspec.json.encode({"groups": [{"name": "first", "rules": [rule]}]}).decode()  # JSON is YAML
    assert firing_times(tmp_path, rules, "First", {"first": series})["first"][:1] == [SCRAPE * 21]


def test_both_fire_at_the_same_time_when_the_daemon_restarts(tmp_path: Path, monkeypatch) -> None:
    """A reset of the counters during an outage loses no count."""
    config = alerts(rules={"Watched": {"detector": {**RATIO, "threshold": "40%"}}}, receivers={})
    runs = outcomes("ok x20 stalled x3 rate_limited x17 ok x5")
    series = scraped_series(CHAT, runs, 1350, monkeypatch, restart=690)
    prometheus = firing_times(tmp_path, export_rules(config, "default", [CHAT]), "Watched", {"restart": series})
    assert agree(next(iter(engine_firing_times(config, runs, 1350))), next(iter(prometheus["restart"])))


def test_a_ratio_that_hovers_about_its_threshold_fires_once_in_both(tmp_path: Path, monkeypatch) -> None:
    """Prometheus, like the engine, keeps firing above half the threshold."""
    config = alerts(rules={"Watched": {"detector": RATIO}}, receivers={})
    values = "ok x20 stalled x5 ok x5 " + "stalled x4 ok x6 stalled x6 ok x4 " * 3 + "ok x15"
    runs, until = outcomes(values), EVERY * len(parse_values(values))
    series = scraped_series(CHAT, runs, until, monkeypatch)
    rules = export_rules(config, "default", [CHAT])
    prometheus = firing_times(tmp_path, rules, "Watched", {"hovering": series})["hovering"]
    assert 1 == len(engine_firing_times(config, runs, until))
    assert [SCRAPE] * (len(prometheus) - 1) == [after - before for before, after in pairwise(prometheus)]
    assert prometheus[-1] < until


def test_a_certificate_that_expires_fires_in_both(tmp_path: Path, monkeypatch) -> None:
    """Both fire when the time until the expiry gets less than the limit; the alert of Prometheus shows what is left."""
    certificates = {"measure": "certificate_expiry", "limit": "14d", "detector": {"type": "consecutive", "failures": 1}}
    rule = {**certificates, "annotations": {"summary": "A certificate of {target} {message}"}}
    config = alerts(rules={"Watched": rule}, receivers={})
    rules, limit = export_rules(config, "default", [CHAT]), 14 * 86400.0
    runs = [msgspec.structs.replace(run, certificate_expiry=limit + 600) for run in outcomes("ok x40")]
    series = scraped_series(CHAT, runs, 1200, monkeypatch)
    prometheus = firing_times(tmp_path, rules, "Watched", {"renewal due": series})["renewal due"]
    assert 615.0 == prometheus[0]
    assert agree(next(iter(engine_firing_times(config, runs, 1200))), prometheus[0])
    labels = {"canary": "chat", "target": "openai", "provider": "openai", "job": "streamcanary"}
    summary = {"summary": "A certificate of openai expires in 13d 23h 50m 0s"}
    expected = [{"exp_labels": labels, "exp_annotations": summary}]
    tests = [{"eval_time": "20m", "alertname": "Watched", "exp_alerts": expected}]
    code, output = run_tests(tmp_path, rules, [{"interval": "15s", "input_series": series, "alert_rule_test": tests}])
    assert 0 == code, output


def test_an_alert_of_prometheus_has_labels_annotations_and_counts(tmp_path: Path, monkeypatch) -> None:
    """The template fields that Prometheus can fill have the same values as in the engine."""
    rule = {
        "match": ['tier="prod"'],
        "detector": {
            **RATIO,
            "over": "310s",
        },  # starts between two scrapes: Prometheus 3 excludes a sample at the start
        "labels": {"severity": "page", "note": "{{ 7*7 }}"},
        "annotations": {
            "summary": "{alert}: {canary} of {target} ({provider}), {bad} of {total}, {{{{sic}}}} {message}"
        },
    }
    config = alerts(rules={"Watched": rule}, receivers={})
    chat = structs.replace(CHAT, labels={"tier": "prod"})
    rules = export_rules(config, "default", [chat])
    series = scraped_series(chat, outcomes("ok x20 stalled x20"), 1200, monkeypatch)
    expected = {
        "exp_labels": {
            "canary": "chat",
            "target": "openai",
            "provider": "openai",
            "job": "streamcanary",
            "tier": "prod",
            "severity": "page",
            "note": "{{ 7*7 }}",
        },
        "exp_annotations": {"summary": "Watched: chat of openai (openai), 10 of 10, {{sic}} [message]"},
    }
    tests = [{"eval_time": "20m", "alertname": "Watched", "exp_alerts": [expected]}]
    code, output = run_tests(tmp_path, rules, [{"interval": "15s", "input_series": series, "alert_rule_test": tests}])
    assert 0 == code, output


@pytest.mark.parametrize(
    "detector",
    [RATIO, HELD, SHORT, BURN, SILENT, {"type": "spike"}, {"type": "consecutive"}, {**RATIO, "over": "20 runs"}],
    ids=str,
)
def test_promtool_accepts_the_rule_file(detector, tmp_path: Path) -> None:
    """The rule file is valid for each detector, and for unusual names of canaries, rules and instances."""
    fleet = [CHAT, structs.replace(CHAT, name="chat.2", interval=60.0, labels={"tier": "prod"})]
    rules = {"Odd.rule-1": {"detector": detector}, "Some": {"detector": detector, "match": ['tier=~"prod|test"']}}
    code, output = check_rules(tmp_path, export_rules(alerts(rules=rules), 'of "mine"\n', fleet))
    assert 0 == code, output
    assert "duplicate" not in output
