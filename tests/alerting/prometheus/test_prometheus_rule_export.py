"""The rule file for Prometheus: what is in it, what is said instead, and what is left to the daemon."""

import pytest
from msgspec import structs
from ruamel.yaml import YAML

from streamcanary.alerting.prometheus import promql
from streamcanary.alerting.prometheus.rule_export import export_rules
from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FAULT_PROPERTIES, Blame, FaultKind
from streamcanary.model.schedule import Cron
from support.alerting.builders import CHAT, alerts, webhook_config

RATIO = {"type": "ratio", "over": "5m", "threshold": "50%", "min_samples": 5}
TEST = structs.replace(CHAT, name="chat.test", labels={"tier": "test"})
OURS = ["CanaryEgressDown", "BudgetExhausted", "ReceiverFailing", "StoreFailing"]


def exported(rule: dict | None = None, *canaries: Canary, **sections) -> dict[str, list[dict]]:
    """Export the rule ``Watched``, and return the rules of each alert by its name."""
    rules = {} if rule is None else {"Watched": rule}
    config = alerts(rules={**rules, **sections.pop("rules", {})}, **sections)
    file = YAML(typ="safe").load(export_rules(config, "default", canaries or (CHAT,)))
    return {group["name"].removeprefix("streamcanary."): group["rules"] for group in file["groups"]}


def the_alert(rule: dict, *canaries: Canary) -> dict:
    """Return the alert that ``rule`` becomes."""
    return exported(rule, *canaries)["Watched"][-1]


def test_the_file_is_the_same_each_time() -> None:
    """Whatever the order of the canaries: a repository shows what has changed, and nothing else."""
    config = alerts(rules={"Watched": {"detector": RATIO, "match": ['tier=~"prod|test"']}})
    assert export_rules(config, "default", [CHAT, TEST]) == export_rules(config, "default", [TEST, CHAT])


def test_own_labels_are_resolved_to_canaries() -> None:
    """They are on no metric: the counters are asked for the canaries that have them now."""
    rules = exported({"detector": RATIO, "match": ['tier="prod"']}, CHAT, structs.replace(CHAT, name="b.c"), TEST)
    assert all('{canary=~"b\\\\.c|chat", ' in rule["expr"] for rule in rules["Watched"][:-1])
    assert "prod" == rules["Watched"][-1]["labels"]["tier"]


def test_a_rule_without_matchers_asks_for_all_canaries() -> None:
    """Then none is named, and a new one needs no new file."""
    assert all("{canary" not in rule["expr"] for rule in exported({"detector": RATIO}, CHAT, TEST)["Watched"])


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"detector": {"type": "spike"}}, "the order of runs"),
        ({"detector": {"type": "consecutive"}}, "the order of runs"),
        ({"detector": {**RATIO, "over": "20 runs"}}, "a number of runs"),
        ({"detector": RATIO, "measure": "first_attempts"}, "which attempt was the first"),
        ({"detector": RATIO, "measure": "first_token", "limit": "2s"}, "the time of a run"),
        ({"detector": RATIO, "measure": "duration", "limit": "2s"}, "the time of a run"),
    ],
    ids=str,
)
def test_what_promql_cannot_say_the_daemon_says(rule, why) -> None:
    """No counter knows of it; the daemon's own word for it does."""
    [alert] = exported(rule)["Watched"]
    by = "canary, target, provider, job, namespace"
    assert f'max by ({by}) (streamcanary_alert_active{{alert="Watched"}}) == 1' == alert["expr"]


def test_alerts_about_the_daemon_itself_are_there() -> None:
    """All built-in ones that are enabled, by what the daemon says of itself; each receiver on its own."""
    groups = exported(rules={"StoreFailing": {"enabled": False}})
    assert OURS[:-1] == list(groups)
    [alert] = groups["ReceiverFailing"]
    assert (
        'max by (receiver, job, namespace) (streamcanary_alert_active{alert="ReceiverFailing"}) == 1' == alert["expr"]
    )
    assert "Notifications to {{ $labels.receiver }} do not arrive" == alert["annotations"]["summary"]


@pytest.mark.parametrize("blame", [[one] for one in Blame] + [["network", "provider"], list(Blame)], ids=str)
def test_blame_becomes_the_faults_that_are_blamed_so(blame) -> None:
    """Exactly those that our own engine takes for bad, and a failure without a fault."""
    counted = exported({"detector": RATIO, "blame": [str(one) for one in blame]})["Watched"][0]["expr"]
    selector = counted.partition("error_type")[2].partition("}")[0]
    listed = set(selector.strip('=~!"').split("|"))
    bad = {
        kind.value for kind in FaultKind if FAULT_PROPERTIES[kind].blame in blame and kind is not FaultKind.CANCELLED
    }
    everything = {kind.value for kind in FaultKind}
    assert {"", *bad} == (listed if selector.startswith("=") else {"", *(everything - listed)})


def test_slow_runs_are_counted_among_answers() -> None:
    """A run that failed is neither slow nor not."""
    bad, seen, _ = exported({"detector": RATIO, "measure": "slow"})["Watched"]
    assert '{outcome="slow"}' in bad["expr"]
    assert '{outcome="ok"}' in seen["expr"]
    assert "failed" not in bad["expr"] + seen["expr"]


def test_a_detector_keeps_its_numbers() -> None:
    """Threshold, number of samples and ``for`` of a ratio; the windows of a burn rate."""
    ratio = the_alert({"detector": {**RATIO, "threshold": "12.5%", "for": "90s"}})
    assert "90s" == ratio["for"]
    assert ">= 0.125 - 1e-9" in ratio["expr"]
    assert ">= 5 - 1e-9" in ratio["expr"]
    rules = exported({"detector": {"type": "burn_rate", "objective": "99.9%"}})["Watched"]
    assert {"increase5m", "increase30m", "increase1h", "increase6h"} == {
        rule["record"].rpartition(":")[2] for rule in rules[:-1]
    }
    assert ">= 0.0144 - 1e-9" in rules[-1]["expr"]
    assert ">= 0.006 - 1e-9" in rules[-1]["expr"]


def test_each_canary_may_be_silent_for_as_long_as_it_says() -> None:
    """Three runs, the timeout of the last, and five seconds."""
    slow = structs.replace(CHAT, name="slow", interval=300.0, timeout=60.0)
    alert = the_alert({"detector": {"type": "no_data"}}, CHAT, slow)
    assert 'canary="chat"' in alert["expr"]
    assert "offset 155s" in alert["expr"]
    assert 'canary="slow"' in alert["expr"]
    assert "offset 965s" in alert["expr"]


def test_a_canary_that_runs_by_cron_is_left_to_the_daemon() -> None:
    """How long it may be silent depends on the time of day."""
    cron = structs.replace(CHAT, name="nightly", cron=Cron.parse("0 3 * * *", "UTC"))
    alert = the_alert({"detector": {"type": "no_data"}}, CHAT, cron)
    assert 'streamcanary_alert_active{alert="Watched", canary="nightly"}' in alert["expr"]
    assert 'canary="chat"' in alert["expr"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{canary} of {target}", "{{ $labels.canary }} of {{ $labels.target }}"),
        ("{alert} in {instance}: {status}", "Watched in default: firing"),
        ("{message} {since}", "[message] [since]"),
        ("{resolves}", "3 good runs in a row"),
        ("100%", "100%"),
        ("{{{{ .Labels }}}}", '{{ "{" }}{{ "{" }} .Labels }}'),
        ("{{{canary}", '{{ "{" }}{{ $labels.canary }}'),
    ],
)
def test_annotations_become_templates_of_prometheus(template, expected) -> None:
    """Fields that it knows are translated, the others stay as words, and braces are braces."""
    rule = {"annotations": {"summary": template}}
    assert expected == the_alert(rule)["annotations"]["summary"]


def test_what_is_lost_is_said_in_a_comment() -> None:
    """Fields of annotations without a counterpart, labels that differ, rules that watch nothing."""
    rules = {
        "Watched": {"annotations": {"summary": "{message}"}, "match": ['target="openai"']},
        "Nobody": {"match": ['tier="none"']},
    }
    text = export_rules(alerts(rules=rules), "default", [CHAT, TEST])
    assert "# Prometheus does not know, and the annotations leave as a word: message.\n" in text
    assert "# The canaries' label tier is not the same for all of them, and not on this alert.\n" in text
    assert "# These watch no canary, and are left out: Nobody.\n" in text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(300, "5m"), (90, "90s"), (86400, "1d"), (1.5, "1500ms"), (0.0001, "1ms"), (3600 * 36, "36h")],
)
def test_durations_are_exact(seconds, expected) -> None:
    """PromQL takes whole numbers of one unit."""
    assert expected == promql.duration(seconds)


def test_metrics_have_the_names_that_the_exporter_gives_them() -> None:
    """As the OpenTelemetry exporter for Prometheus derives them from ours."""
    from opentelemetry.exporter.prometheus import _mapping as mapping  # takes a moment, and only here

    for metric in (names.RUNS, names.ALERT_ACTIVE, names.CANARY_INFO, names.LAST_RUN, names.NOTIFICATIONS):
        unit = mapping.map_unit(metric.unit)
        name = mapping.sanitize_full_name(metric.name) + (f"_{unit}" if unit else "")
        assert promql.metric_name(metric) == name + ("_total" if metric.kind == "counter" else "")
    assert promql.label_name(names.ERROR_TYPE) == mapping.sanitize_attribute(names.ERROR_TYPE)


def test_no_secret_gets_into_the_file() -> None:
    """Receivers are none of its business."""
    text = export_rules(alerts(receivers={"hook": webhook_config(url="http://127.0.0.1:9/T0K3N")}), "default", [CHAT])
    assert "T0K3N" not in text
    assert "whsec" not in text
