"""With ``reload: hot``, an upgrade replaces the pod exactly if the running daemon could not apply the configuration."""

from pathlib import Path
from typing import Any

import pytest

from streamcanary.reload.plan import restart_needed
from support.programs.helm import MINIMAL, merged, object_of, rendered
from support.reload import load_config

pytestmark = pytest.mark.real("helm")

OTLP = {"telemetry": {"otlp": {"endpoint": "http://otel:4318"}}}
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "heartbeat": ({}, {"heartbeat": {"url": "http://127.0.0.1:9/x", "every": "1m"}}),
    "budget": ({}, {"budget": {"requests_per_minute": 9}}),
    "names of the server": ({}, {"web": {"allowed_hosts": ["a.example"]}}),
    "OTLP switched on": ({}, OTLP),
    "OTLP switched off": (OTLP, {}),
    "another Collector": (OTLP, {"telemetry": {"otlp": {"endpoint": "http://other:4317", "protocol": "grpc"}}}),
    "headers of OTLP": (OTLP, merged(OTLP, {"telemetry": {"otlp": {"headers": {"tenant": "b"}, "timeout": "3s"}}})),
    "interval of OTLP": (OTLP, merged(OTLP, {"telemetry": {"otlp": {"interval": "1m"}}})),
    "metrics": ({}, {"telemetry": {"prometheus": False}}),
    "liveness file": ({}, {"web": {"liveness_file": "/run/alive"}}),
    "history": ({}, {"store": {"keep": "1d"}}),
}


def pod_template(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return the pod template of a release with these sections in its configuration."""
    deployment = object_of(rendered(folder, values=merged(MINIMAL, {"config": config})), "Deployment")
    template: dict[str, Any] = deployment["spec"]["template"]
    return template


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=list(CHANGES))
def test_the_pod_is_replaced_if_a_restart_is_needed(
    before: dict[str, Any], after: dict[str, Any], tmp_path: Path
) -> None:
    """The pod template changes with a key that only a restart applies, and with no other."""
    is_needed = bool(restart_needed(load_config(tmp_path, **before), load_config(tmp_path, **after)))
    assert is_needed is (pod_template(tmp_path, before) != pod_template(tmp_path, after))


def test_a_changed_canary_replaces_no_pod(tmp_path: Path) -> None:
    """Another interval is loaded by the running daemon."""
    changed = {"canaries": {"chat": {"every": "1m"}}}
    assert pod_template(tmp_path, {}) == pod_template(tmp_path, changed)


def test_the_chart_knows_nothing_of_an_existing_config_map(tmp_path: Path) -> None:
    """Its content is not rendered, so the pod has no checksum of it."""
    values = merged(MINIMAL, {"config": None, "existingConfigMap": "canaries"})
    deployment = object_of(rendered(tmp_path, values=values), "Deployment")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert ["kubectl.kubernetes.io/default-container"] == list(annotations)
