"""The exported Prometheus rule file: expressions, templates, comments, and rules that the daemon evaluates."""

import pytest
from msgspec import structs
from ruamel.yaml import YAML

from streamcanary.alerting.prometheus import promql
from streamcanary.alerting.prometheus.rule_export import export_rules
from streamcanary.model import names, prometheus_names
from streamcanary.model.canary import Canary
from streamcanary.model.faults import Blame
from streamcanary.model.schedules.cron import Cron
from support.alerting.builders import CHAT, alerts, webhook_config

RATIO = {"type": "ratio", "over": "5m", "threshold": "50%", "min_samples": 5}
TEST = structs.replace(CHAT, name="chat.test", labels={"tier": "test"})
DAEMON_ALERTS = [
    "CanaryEgressDown",
    "BudgetExhausted",
    "ReceiverFailing",
    "StoreFailing",
    "ReloadFailed",
    "BehindSchedule",
]


def exported(rule: dict | None = None, *canaries: Canary, **sections) -> dict[str, list[dict]]:
    """Export the rule ``Watched``, and return the rules of each group by the name of its alert."""
    rules = {} if rule is None else {"Watched": rule}
    config = alerts(rules={**rules, **sections.pop("rules", {})}, **sections)
    file = YAML(typ="safe").load(export_rules(config, "default", canaries or (CHAT,)))
    return {group["name"].removeprefix("streamcanary."): group["rules"] for group in file["groups"]}


def the_alert(rule: dict, *canaries: Canary) -> dict:
    """Return the alerting rule of ``rule``."""
    return exported(rule, *canaries)["Watched"][-1]


def test_the_file_does_not_depend_on_the_order_of_canaries() -> None:
    """The export is equal for canaries in another order, so that a repository shows only real changes."""
    config = alerts(rules={"Watched": {"detector": RATIO, "match": ['tier=~"prod|test"']}})
    assert export_rules(config, "default", [CHAT, TEST]) == export_rules(config, "default", [TEST, CHAT])


def test_canary_labels_are_resolved_to_canary_names() -> None:
    """Matchers on labels of canaries become matchers on names, because the counters do not have these labels."""
    rules = exported({"detector": RATIO, "match": ['tier="prod"']}, CHAT, structs.replace(CHAT, name="b.c"), TEST)
    assert all('{canary=~"b\\\\.c|chat", ' in rule["expr"] for rule in rules["Watched"][:-1])
    assert "prod" == rules["Watched"][-1]["labels"]["tier"]


def test_a_rule_without_matchers_selects_all_canaries() -> None:
    """The expressions name no canary, so that a new canary needs no new file."""
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
        ({"detector": RATIO, "measure": "tokens_per_second", "limit": 20}, "the output speed of a run"),
        ({"detector": RATIO, "measure": "ratelimit_headroom", "limit": "10%"}, "the headroom of a run"),
        ({"detector": RATIO, "measure": "model_changes"}, "the model of the run before"),
    ],
    ids=str,
)
def test_rules_that_promql_cannot_express_use_the_state_of_the_daemon(rule, why) -> None:
    """The alert uses ``streamcanary_alert_active``, because no counter has the data."""
    [alert] = exported(rule)["Watched"]
    by = "canary, target, provider, job, namespace"
    assert f'max by ({by}) (streamcanary_alert_active{{alert="Watched"}}) == 1' == alert["expr"]


def test_built_in_rules_about_the_daemon_are_exported() -> None:
    """Enabled built-in rules use ``streamcanary_alert_active``; ``ReceiverFailing`` is one alert a receiver."""
    groups = exported(rules={"StoreFailing": {"enabled": False}})
    assert [name for name in DAEMON_ALERTS if name != "StoreFailing"] == list(groups)
    [alert] = groups["ReceiverFailing"]
    assert (
        'max by (receiver, job, namespace) (streamcanary_alert_active{alert="ReceiverFailing"}) == 1' == alert["expr"]
    )
    assert "Notifications to {{ $labels.receiver }} are not delivered" == alert["annotations"]["summary"]


@pytest.mark.parametrize("blame", [[one] for one in Blame] + [["network", "provider"], list(Blame)], ids=str)
def test_blame_becomes_a_matcher_of_the_failures(blame) -> None:
    """The matcher selects the blames that are bad for the alert engine, failures without a fault, and all of all."""
    counted = exported({"detector": RATIO, "blame": [str(one) for one in blame]})["Watched"][0]["expr"]
    selector = counted.partition('streamcanary_failures_total{outcome=~"failed|failed_over"')[2].partition("}")[0]
    blames = "|".join(["", *(one.value for one in Blame if one in blame)])
    expected = "" if list(Blame) == blame else f', blame=~"{blames}"'
    assert (
        expected + (', error_type!~"cancelled|client_delayed|client_exhausted"' if Blame.LOCAL in blame else "")
        == selector
    )


def test_slow_runs_are_counted_among_answers() -> None:
    """The expressions of a ``slow`` rule do not count failed runs."""
    bad, seen, _ = exported({"detector": RATIO, "measure": "slow"})["Watched"]
    assert '{outcome="slow"}' in bad["expr"]
    assert '{outcome="ok"}' in seen["expr"]
    assert "failed" not in bad["expr"] + seen["expr"]


def test_a_detector_keeps_its_numbers() -> None:
    """The export has the threshold, ``min_samples`` and ``for`` of a ratio, and the windows of a burn rate."""
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


def test_no_data_waits_by_the_interval_of_each_canary() -> None:
    """The wait is three intervals, the timeout of the canary, and five seconds."""
    slow = structs.replace(CHAT, name="slow", interval=300.0, timeout=60.0)
    alert = the_alert({"detector": {"type": "no_data"}}, CHAT, slow)
    assert 'canary="chat"' in alert["expr"]
    assert "offset 155s" in alert["expr"]
    assert 'canary="slow"' in alert["expr"]
    assert "offset 965s" in alert["expr"]


def test_no_data_of_a_cron_canary_uses_the_state_of_the_daemon() -> None:
    """The wait of a canary with a cron expression depends on the time of day, which PromQL cannot express."""
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
    """Known fields are translated, unknown fields become ``[name]``, and braces are escaped."""
    rule = {"annotations": {"summary": template}}
    assert expected == the_alert(rule)["annotations"]["summary"]


def test_comments_list_the_rules_that_are_not_exported() -> None:
    """The file has comments on unknown template fields, differing labels, and rules that match no canary."""
    rules = {
        "Watched": {"annotations": {"summary": "{message}"}, "match": ['target="openai"']},
        "Unused": {"match": ['tier="none"']},
    }
    text = export_rules(alerts(rules=rules), "default", [CHAT, TEST])
    assert (
        "# Prometheus does not have these template fields, so the annotations show only their names: message.\n" in text
    )
    assert "# The label tier differs between the canaries, so this alert does not have it.\n" in text
    assert "# Omitted, because they match no canary: Unused.\n" in text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(300, "5m"), (90, "90s"), (86400, "1d"), (1.5, "1500ms"), (0.0001, "1ms"), (3600 * 36, "36h")],
)
def test_durations_are_exact(seconds, expected) -> None:
    """A PromQL duration is a whole number of one unit."""
    assert expected == promql.duration(seconds)


def test_metrics_have_the_names_that_the_exporter_gives_them() -> None:
    """The names of metrics and labels equal those of the OpenTelemetry exporter for Prometheus."""
    from opentelemetry.exporter.prometheus import _mapping as mapping  # slow to import

    for metric in (
        names.RUNS,
        names.FAILURES,
        names.ALERT_ACTIVE,
        names.CANARY_INFO,
        names.LAST_RUN,
        names.NOTIFICATIONS,
    ):
        unit = mapping.map_unit(metric.unit)
        name = mapping.sanitize_full_name(metric.name) + (f"_{unit}" if unit else "")
        assert prometheus_names.metric_name(metric) == name + ("_total" if metric.kind == "counter" else "")
    assert prometheus_names.label_name(names.ERROR_TYPE) == mapping.sanitize_attribute(names.ERROR_TYPE)


def test_the_file_has_no_secret() -> None:
    """The file has neither the address nor the key of a receiver."""
    text = export_rules(alerts(receivers={"hook": webhook_config(url="http://127.0.0.1:9/T0K3N")}), "default", [CHAT])
    assert "T0K3N" not in text
    assert "whsec" not in text
