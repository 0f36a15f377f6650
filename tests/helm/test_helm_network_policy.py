"""The NetworkPolicy allows DNS, HTTPS and the ports of addresses; the notes name those whose port is not known."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.programs.helm import CHART, MINIMAL, VALUES, merged, object_of, rendered

pytestmark = pytest.mark.real("helm")


def target(**keys: Any) -> dict[str, Any]:
    """Return values with these keys of the target."""
    return {"config": {"targets": {"openai": keys}}}


def receivers(**found: dict[str, Any]) -> dict[str, Any]:
    """Return values with receivers."""
    return {"config": {"alerts": {"receivers": found}}}


def variable(name: str, value: str) -> dict[str, Any]:
    """Return values with one variable of the pod."""
    return {"extraEnv": [{"name": name, "value": value}]}


PORTS: dict[str, tuple[dict[str, Any], set[int]]] = {
    "a target": (target(base_url="http://vllm.models:8000/v1"), {8000}),
    "a target without a port": (target(base_url="http://vllm.models/v1"), {80}),
    "a target with a port and credentials of IPv6": (target(base_url="https://[2001:db8::1]:8443/v1"), {8443}),
    "a default": (target(base_url="${HOST_URL:-http://vllm:8000/v1}"), {8000}),
    "a variable of the pod": (
        merged(target(base_url="${BASE}/v1"), variable("BASE", "http://vllm:8001")),
        {8001},
    ),
    "a proxy": (target(proxy="http://proxy.example:3128"), {3128}),
    "receivers": (
        receivers(
            am={"type": "alertmanager", "urls": ["http://am-0:9093", "http://am-1:9094"]},
            hook={"type": "webhook", "url": "http://bridge:9000/x", "secret": "${POD_NAME}"},
        ),
        {9000, 9093, 9094},
    ),
    "a Collector": ({"config": {"telemetry": {"otlp": {"endpoint": "http://otel:4317"}}}}, {4317}),
    "a heartbeat": ({"config": {"heartbeat": {"url": "http://gateway:9091/ping"}}}, {9091}),
    "a proxy of the pod": (variable("HTTPS_PROXY", "http://proxy.example:3129"), {3129}),
    "a proxy without a scheme": (variable("https_proxy", "proxy.example:3130"), {3130}),
    "a Collector of the pod": (variable("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318"), {4318}),
    "a prompt": (
        {"config": {"canaries": {"chat": {"prompt": "Summarize https://docs.example:31337 and http://x:22/y"}}}},
        set(),
    ),
    "a link in an annotation": (
        {"config": {"alerts": {"rules": {"NoData": {"annotations": {"runbook_url": "https://wiki.example:8443/x"}}}}}},
        set(),
    ),
    "another variable of the pod": (variable("DOCS", "http://docs.example:31337"), set()),
}

UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "a variable that nobody knows": (target(base_url="http://${HOSTNAME}/v1"), "config.targets.openai.base_url"),
    "a port in a variable": (target(base_url="http://vllm:${HOSTNAME}/v1"), "config.targets.openai.base_url"),
    "a file": (
        receivers(r={"type": "webhook", "url_file": "/run/url", "secret": "${POD_NAME}"}),
        "config.alerts.receivers.r.url_file",
    ),
    "a scheme of another service": (
        receivers(r={"type": "apprise", "urls": ["mailtos://${POD_NAME}"]}),
        "config.alerts.receivers.r.urls[0]",
    ),
    "a ConfigMap": (
        {"config": None, "existingConfigMap": "canaries"},
        "the configuration in ConfigMap canaries",
    ),
    "variables from elsewhere": ({"extraEnvFrom": [{"secretRef": {"name": "x"}}]}, "the variables of extraEnvFrom"),
    "a proxy in a Secret": (
        {"extraEnv": [{"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}]},
        "the variable HTTPS_PROXY",
    ),
}


def with_policy(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a release with a NetworkPolicy."""
    return merged(merged(MINIMAL, {"networkPolicy": {"enabled": True}}), values)


def egress_ports(objects: list[dict[str, Any]], name: str = "canary-streamcanary") -> list[set[int]]:
    """Return the ports of each egress rule."""
    policy = object_of(objects, "NetworkPolicy", name)
    return [{port["port"] for port in rule["ports"]} for rule in policy["spec"]["egress"]]


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the chart that renders its notes as an object, which helm does only with a cluster."""
    chart = tmp_path_factory.mktemp("noted") / "streamcanary"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "notes.txt")
    (chart / "templates" / "notes.yaml").write_text(NOTES)
    return chart


NOTES = """\
kind: Notes
metadata: {name: canary-streamcanary}
text: {{ tpl (.Files.Get "notes.txt") . | toJson }}
"""


def notes(folder: Path, chart: Path, values: dict[str, Any]) -> str:
    """Return the notes of an installation."""
    text: str = object_of(rendered(folder, values=values, chart=chart), "Notes")["text"]
    return text


@pytest.mark.parametrize(("values", "expected"), PORTS.values(), ids=list(PORTS))
def test_ports_of_addresses_are_allowed(values: dict[str, Any], expected: set[int], tmp_path: Path) -> None:
    """An address opens its port; other text opens none."""
    assert [{53}, {443} | expected] == egress_ports(rendered(tmp_path, values=with_policy(values)))


def test_further_rules_are_added(tmp_path: Path) -> None:
    """``networkPolicy.extraEgress`` is rendered as it is."""
    objects = rendered(tmp_path, "--values", VALUES["everything"])
    assert [{53}, {443, 3128, 4318, 8000, 9093}, {3128}] == egress_ports(objects, "canary")


@pytest.mark.parametrize(("values", "expected"), UNKNOWN.values(), ids=list(UNKNOWN))
def test_addresses_that_are_not_known_are_named(
    values: dict[str, Any], expected: str, noted: Path, tmp_path: Path
) -> None:
    """The notes say which ports may be missing, and where to add them."""
    found = re.search(r"the ports of (.+) are not known", notes(tmp_path, noted, with_policy(values)))
    assert expected == (found and found[1])


def test_nothing_is_said_of_known_addresses(noted: Path, tmp_path: Path) -> None:
    """Without unknown addresses, or without a policy, there is no warning about it."""
    unknown = merged(MINIMAL, target(base_url="http://${HOSTNAME}/v1"))
    for values in (with_policy({}), unknown):
        assert "NetworkPolicy" not in notes(tmp_path, noted, values)


def test_the_command_for_the_token_escapes_its_key(noted: Path, tmp_path: Path) -> None:
    """In a JSONPath, a dot in a key has a backslash."""
    values = merged(MINIMAL, {"web": {"tokenSecret": {"existing": "web", "key": "api.token"}}})
    assert r"-o jsonpath='{.data.api\.token}'" in notes(tmp_path, noted, values)
