"""Values of the sidecar that Helm refuses, each with a message that says what is wrong and what would be right."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.programs.helm import template, text_values
from support.programs.sidecar_chart import LIBRARY

pytestmark = pytest.mark.real("helm")

SCHEMA = json.loads((LIBRARY / "values.schema.json").read_text())
SHA = f"sha256:{'a' * 64}"

SCRAPED = {"scrape": True, "tokenSecret": {"name": "shop-canary"}}
OPEN = {"streamcanary-sidecar": {"metrics": SCRAPED, "otlp": {"endpoint": ""}}}
CRON = {"target": "openai", "model": "gpt-4o-mini", "cron": "0 * * * *"}
ONCALL = {"type": "pagerduty", "routing_key_file": "/secrets/pagerduty"}

CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no number of pods": (
        {"replicasHint": 0},
        (
            "replicasHint is not set: write how many pods the application has, usually. Each takes its share of the "
            "schedule and the budget"
        ),
    ),
    "nobody learns of it": (
        {"otlp": {"endpoint": ""}},
        "nobody would learn what the sidecars see: set otlp.endpoint, or metrics.scrape",
    ),
    "open port without a token": (
        {"metrics": {"scrape": True}, "otlp": {"endpoint": ""}},
        (
            "metrics.scrape needs metrics.tokenSecret.name, the name of a Secret with a random token: the port is open "
            "to the cluster"
        ),
    ),
    "monitor of loopback": ({"podMonitor": {"enabled": True}}, "podMonitor needs metrics.scrape: true"),
    "tag and digest": (
        {"image": {"tag": "0.1.0", "digest": SHA}},
        (
            f"image.tag is 0.1.0 and image.digest is {SHA}: nodes pull the digest and ignore the tag, so the two may "
            "disagree; remove one of them"
        ),
    ),
    "digest in the tag": (
        {"image": {"tag": f"0.1.0@{SHA}"}},
        f"image.tag is 0.1.0@{SHA}, with a digest; write the digest into image.digest, and leave image.tag empty",
    ),
    "tag in the repository": (
        {"image": {"repository": "registry.example:5000/canary:edge"}},
        (
            "image.repository is registry.example:5000/canary:edge, with a tag or a digest; write these into "
            "image.tag or image.digest"
        ),
    ),
    "configuration twice": (
        {"existingConfigMap": "canaries"},
        "both config and existingConfigMap (canaries) are set; remove one of them",
    ),
    "unknown target": (
        {"config": {"canaries": {"chat": {"target": "opnai"}}}},
        "config.canaries.chat.target: there is no target 'opnai'; known: openai",
    ),
    "fleet in the configuration": (
        {"config": {"fleet": {"replicas": 3, "member": "x"}}},
        "config.fleet: the chart sets it; use the value replicasHint",
    ),
    "address in the configuration": (
        {"config": {"web": {"port": 8080}}},
        "config.web.port: the chart sets it; use the values web.port and metrics",
    ),
    "path of the store": ({"config": {"store": {"path": "/data/x.db"}}}, "config.store.path: the chart sets it"),
    "metrics twice": (
        {"metrics": SCRAPED},
        (
            "the metrics are both scraped (metrics.scrape) and exported over OTLP: in one Prometheus, each pod would "
            "be counted twice. Remove one, or export the rest (config.telemetry.otlp.signals: [traces, logs]); with "
            "another backend behind OTLP, set otlp.metricsToo: true"
        ),
    ),
    "cron": (
        {"config": {"canaries": {"hourly": CRON}}},
        (
            "config.canaries.hourly.cron: 3 pods cannot share a cron schedule: write every, which they share, or set "
            "replicasHint: 1"
        ),
    ),
    "receiver": (
        {"config": {"alerts": {"receivers": {"oncall": ONCALL}}}},
        (
            "config.alerts.receivers.oncall: each of 3 pods would notify it. Remove it, and let Prometheus notify once "
            "(prometheusRule); if each pod is to notify it, set allowReceivers: true"
        ),
    ),
    "member in a variable": (
        {"extraEnv": [{"name": "STREAMCANARY_FLEET__MEMBER", "value": "x"}]},
        "extraEnv: the chart sets STREAMCANARY_FLEET__MEMBER; remove it",
    ),
    "service in a variable": (
        {"extraEnv": [{"name": "OTEL_SERVICE_NAME", "value": "x"}]},
        "extraEnv: the chart sets OTEL_SERVICE_NAME; remove it",
    ),
    "namespace in a variable": (
        {"extraEnv": [{"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "team=a,service.namespace=b"}]},
        "extraEnv: OTEL_RESOURCE_ATTRIBUTES has service.namespace, by which the rules find the pods; remove it",
    ),
    "service in the configuration": (
        {"config": {"telemetry": {"resource": {"service.name": "x"}}}},
        "config.telemetry.resource: the chart sets service.name, by which the rules find the pods; remove it",
    ),
    "variable that the sidecar lacks": (
        {"config": {"instance": "$${NOT} ${REGION} ${ZONE:-a}"}},
        (
            "config uses the variable ${REGION}, which the sidecar does not have; add it to extraEnv; if something "
            "else sets it, write ${REGION:-DEFAULT}"
        ),
    ),
}

TAKEN: dict[str, tuple[dict[str, Any], str]] = {
    "port": ({"port": 19465, **OPEN}, "web.port is 19465, which the container shop declares; choose another port"),
    "volume": (
        {"volume": "streamcanary-state"},
        "the pod has a volume streamcanary-state already: that is one of the sidecar",
    ),
    "name of a port": (
        {"portName": "streamcanary", **OPEN},
        "the container shop has a port with the name streamcanary, by which Prometheus finds the sidecar; rename it",
    ),
    "network of the node": (
        {"hostNetwork": True, **OPEN},
        (
            "metrics.scrape: the pod has hostNetwork: true, so port 19465 would be open on the node, and only one pod "
            "of a node could have it; use otlp.endpoint instead"
        ),
    ),
}

WRONG_TYPES: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt value": ({"replicas": 3}, "additional properties 'replicas' not allowed"),
    "text for a number": ({"replicasHint": "many"}, "at '/replicasHint': got string, want integer"),
    "privileged port": ({"web": {"port": 80}}, "at '/web/port': minimum: got 80, want 1,024"),
    "address without a scheme": (
        {"otlp": {"endpoint": "collector:4318"}},
        "at '/otlp/endpoint': 'collector:4318' does not match pattern",
    ),
    "misspelt key of a canary": (
        {"config": {"canaries": {"chat": {"evry": "30s"}}}},
        "at '/config/canaries/chat': additional properties 'evry' not allowed",
    ),
    "negative budget": ({"config": {"budget": {"usd_per_day": -1}}}, "/usd_per_day': exclusiveMinimum: got -1"),
}


@pytest.mark.parametrize(("values", "message"), CONTRADICTIONS.values(), ids=list(CONTRADICTIONS))
def test_contradictions_are_refused(values: dict[str, Any], message: str, application: Path, tmp_path: Path) -> None:
    """The templates refuse values that contradict each other."""
    result = template(tmp_path, values={"streamcanary-sidecar": values}, chart=application)
    assert (1, [message]) == (result.code, problems(result.stderr)), result.stderr


@pytest.mark.parametrize(("values", "message"), TAKEN.values(), ids=list(TAKEN))
def test_what_the_application_has_taken_is_refused(
    values: dict[str, Any], message: str, application: Path, tmp_path: Path
) -> None:
    """The sidecar never takes the port, the volume or the name of the application."""
    result = template(tmp_path, values=values, chart=application)
    assert (1, [message]) == (result.code, problems(result.stderr)), result.stderr


@pytest.mark.parametrize(("values", "message"), WRONG_TYPES.values(), ids=list(WRONG_TYPES))
def test_wrong_types_are_refused(values: dict[str, Any], message: str, application: Path, tmp_path: Path) -> None:
    """The schema refuses values of a wrong type or name, with their place."""
    result = template(tmp_path, values={"streamcanary-sidecar": values}, chart=application)
    assert (1, True) == (result.code, message in result.stderr), result.stderr


@pytest.mark.parametrize("path", list(text_values(SCHEMA)), ids=".".join)
def test_no_value_injects_yaml(path: tuple[str, ...], application: Path, tmp_path: Path) -> None:
    """A text with a line break and a key is refused."""
    values: Any = "x\nhostNetwork: true\n        hostNetwork: true"
    for name in reversed(path):
        values = {name: values}
    result = template(tmp_path, values={"streamcanary-sidecar": values}, chart=application)
    assert (1, True) == (result.code, f"at '/{'/'.join(path)}'" in result.stderr), result.stderr


def test_all_problems_are_listed_at_once(application: Path, tmp_path: Path) -> None:
    """A message has one line for each problem."""
    values = {
        "volume": "streamcanary-state",
        "streamcanary-sidecar": {"replicasHint": 0, "podMonitor": {"enabled": True}},
    }
    path = application / "templates" / "streamcanary.yaml"
    text = path.read_text()
    path.unlink()  # the objects alone know nothing of the pod
    try:
        result = template(tmp_path, values=values, chart=application)
    finally:
        path.write_text(text)
    assert 3 == len(problems(result.stderr)), result.stderr


ACCEPTED: dict[str, dict[str, Any]] = {
    "metrics twice, for two backends": {"metrics": SCRAPED, "otlp": {"metricsToo": True}},
    "traces over OTLP, metrics scraped": {
        "metrics": SCRAPED,
        "otlp": {"endpoint": ""},
        "config": {"telemetry": {"otlp": {"endpoint": "http://collector:4318", "signals": ["traces", "logs"]}}},
    },
    "cron of one pod": {"replicasHint": 1, "config": {"canaries": {"hourly": CRON}}},
    "receiver of one pod": {"replicasHint": 1, "config": {"alerts": {"receivers": {"oncall": ONCALL}}}},
    "receiver of each pod": {"allowReceivers": True, "config": {"alerts": {"receivers": {"oncall": ONCALL}}}},
    "Alertmanager, which groups": {
        "config": {"alerts": {"receivers": {"own": {"type": "alertmanager", "urls": ["http://alertmanager:9093"]}}}}
    },
}


@pytest.mark.parametrize("values", ACCEPTED.values(), ids=list(ACCEPTED))
def test_what_is_no_contradiction_is_accepted(values: dict[str, Any], application: Path, tmp_path: Path) -> None:
    """What would be wrong in general is accepted where it is right, or explicit."""
    result = template(tmp_path, values={"streamcanary-sidecar": values}, chart=application)
    assert (0, "") == (result.code, result.stderr)


@pytest.mark.parametrize(("version", "code"), [("1.28.15", 1), ("1.28.0", 1), ("1.29.0-gke.1", 0)])
def test_kubernetes_without_native_sidecars_is_refused(
    version: str, code: int, application: Path, tmp_path: Path
) -> None:
    """Helm does not enforce the version that a library chart needs; before 1.29, the pod would never start."""
    result = template(tmp_path, "--kube-version", version, chart=application)
    expected = (
        f"Kubernetes is v{version}, and has no native sidecars: a pod would wait for ever for its init container to "
        "end. streamcanary-sidecar needs >=1.29.0-0; until then, set enabled: false"
    )
    assert (code, [expected] * code) == (result.code, problems(result.stderr)), result.stderr


def test_a_configuration_is_needed(application: Path, tmp_path: Path) -> None:
    """Without a configuration, the chart says which sections it has to have."""
    result = template(tmp_path, values={"streamcanary-sidecar": {"config": None}}, chart=application)
    assert [
        f"config.{section}: needs at least one entry; config has to be a whole configuration (see README.md)"
        for section in ("targets", "canaries")
    ] == problems(result.stderr)


def problems(stderr: str) -> list[str]:
    """Return the problems in the message of the chart."""
    return [line.removeprefix("- ") for line in stderr.splitlines() if line.startswith("- ")]
