"""The PrometheusRule of the chart: valid, with the rules of the configuration, and about this release."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.programs.helm import MINIMAL, VALUES, merged, object_of, rendered
from support.programs.promtool import check_rules, firing_times

pytestmark = pytest.mark.real("helm")

ABSENT = "StreamcanaryAbsent"


def rule_spec(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the groups of the only PrometheusRule, as in a rule file."""
    [rule] = [each for each in objects if each["kind"] == "PrometheusRule"]
    spec: dict[str, Any] = rule["spec"]
    return spec


@pytest.mark.real("promtool")
@pytest.mark.parametrize("name", ["default", "everything", "own-rules"])
def test_promtool_accepts_the_rules(name: str, tmp_path: Path) -> None:
    """The groups of the PrometheusRule are a valid rule file."""
    files = ["--values", VALUES[name]] if name in VALUES else []
    objects = rendered(tmp_path, *files, "--set", "prometheusRule.enabled=true")
    code, output = check_rules(tmp_path, json.dumps(rule_spec(objects)))
    assert 0 == code, output


def test_rules_of_the_configuration_replace_built_in_ones(tmp_path: Path) -> None:
    """Each rule of ``config`` is an alert of its name; a built-in rule of that name is left out, or changed."""
    objects = rendered(tmp_path, "--values", VALUES["everything"])
    groups = object_of(objects, "PrometheusRule", "canary")["spec"]["groups"]
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    assert {"ChatFailing", "NoData", "TargetRejected", ABSENT} <= alerts.keys()
    assert "StoreFailing" not in alerts
    assert "https://runbooks.example/chat" == alerts["ChatFailing"]["annotations"]["runbook_url"]
    assert "severity" in alerts["NoData"]["expr"]


@pytest.mark.real("promtool")
@pytest.mark.parametrize(
    ("monitor", "job"), [("podMonitor", "monitoring/canary-streamcanary"), ("serviceMonitor", "canary-streamcanary")]
)
def test_the_absence_of_the_daemon_of_this_release(monitor: str, job: str, tmp_path: Path) -> None:
    """The alert fires five minutes after its last sample, while daemons of other releases and namespaces have some."""
    values = merged(MINIMAL, {"prometheusRule": {"enabled": True}, monitor: {"enabled": True}})
    own = {"job": job, "namespace": "monitoring"}
    others = [{**own, "job": job.replace("canary-", "other-")}, {**own, "namespace": "elsewhere"}]
    series = [
        {"series": f"streamcanary_canary_info{json_labels(labels)}", "values": samples}
        for labels, samples in [*((each, "1x40") for each in others), (own, "1x9 stale _x30")]
    ]
    cases = {"dead": [{**each, "values": expanded(each["values"])} for each in series]}
    cases["alive"] = [{**each, "values": expanded("1x40")} for each in series]
    rules = json.dumps(rule_spec(rendered(tmp_path, values=values)))
    times = firing_times(tmp_path, rules, ABSENT, cases)
    assert ([], 450.0) == (times["alive"], times["dead"][0])


def json_labels(labels: dict[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def expanded(values: str) -> str:
    """Return samples one by one: ``1x3`` becomes ``1 1 1 1``."""
    return " ".join(
        " ".join([each.partition("x")[0]] * (int(each.partition("x")[2] or 0) + 1)) for each in values.split()
    )


@pytest.mark.real("promtool")
def test_the_absence_of_any_daemon(tmp_path: Path) -> None:
    """Without a monitor of the chart, the labels of the daemon are not known: the alert is about the last one."""
    rules = json.dumps(rule_spec(rendered(tmp_path, values=merged(MINIMAL, {"prometheusRule": {"enabled": True}}))))
    series = [{"series": 'streamcanary_canary_info{job="pods"}', "values": expanded("1x40")}]
    assert {"alive": []} == firing_times(tmp_path, rules, ABSENT, {"alive": series})


@pytest.mark.real("promtool")
@pytest.mark.parametrize(
    ("alert", "metric", "owned", "lost", "wait"),
    [
        ("StreamcanaryShardsWithoutOwner", "streamcanary_replica_shards", ("300", "212"), ("300", "211"), 120.0),
        ("StreamcanaryAlertsWithoutOwner", "streamcanary_replica_alerts_owner", ("0", "1"), ("0", "0"), 120.0),
        ("StreamcanaryReplicaStandsBy", "streamcanary_replica_standby", ("0", "0"), ("0", "1"), 1800.0),
    ],
)
def test_what_no_replica_owns_is_reported(
    alert: str, metric: str, owned: tuple[str, str], lost: tuple[str, str], wait: float, tmp_path: Path
) -> None:
    """The pods are counted together, and one that is replaced within the waiting time is no alert."""
    rules = json.dumps(rule_spec(rendered(tmp_path, "--values", VALUES["replicas"])))
    name = "monitoring/canary-streamcanary"
    cases = {
        case: [
            {
                "series": f"{metric}{json_labels({'job': name, 'namespace': 'monitoring', 'instance': instance})}",
                "values": expanded(f"{value}x160"),
            }
            for instance, value in zip(("a:9465", "b:9465"), values, strict=True)
        ]
        for case, values in (("owned", owned), ("lost", lost))
    }
    times = firing_times(tmp_path, rules, alert, cases)
    assert [] == times.get("owned", [])
    assert wait <= times["lost"][0] <= wait + 60
