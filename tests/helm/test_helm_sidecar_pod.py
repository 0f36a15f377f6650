"""What the sidecar promises to the pod of an application: it changes nothing of it, and cannot keep it from working."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from support.programs.helm import helm, merged, object_of, objects_of, rendered, template, write_values
from support.programs.sidecar_chart import SIDECAR, VALUES, pod_spec_of, sidecar_of

pytestmark = pytest.mark.real("helm")

CONFIG = "streamcanary.yaml"
VOLUMES = {"streamcanary-config", "streamcanary-secrets", "streamcanary-state", "streamcanary-no-token"}


@pytest.fixture(params=["default", *VALUES])
def objects(request: pytest.FixtureRequest, application: Path, tmp_path: Path) -> list[dict[str, Any]]:
    """Return the objects of the application for each set of values."""
    files = ["--values", VALUES[request.param]] if request.param in VALUES else []
    return rendered(tmp_path, *files, chart=application)


def own_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return values of the library chart as values of the application."""
    return {"streamcanary-sidecar": values}


def test_the_sidecar_is_native(objects: list[dict[str, Any]]) -> None:
    """It is an init container that always restarts, so a Job with it ends, and the last one: it ends before a proxy."""
    containers = pod_spec_of(objects)["initContainers"]
    assert ["migrate", SIDECAR] == [each["name"] for each in containers]
    assert "Always" == containers[-1]["restartPolicy"]


def test_the_sidecar_is_restricted(objects: list[dict[str, Any]]) -> None:
    """It is restricted by its own security context, whatever the pod's is."""
    assert {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    } == sidecar_of(objects)["securityContext"]


def test_the_pod_does_not_wait_for_the_sidecar(objects: list[dict[str, Any]]) -> None:
    """It has a liveness probe that needs no port, and neither a startup nor a readiness probe, nor a hook."""
    sidecar = sidecar_of(objects)
    assert {"livenessProbe"} == {key for key in sidecar if key.endswith("Probe") or key == "lifecycle"}
    assert "exec" in sidecar["livenessProbe"]


def test_the_pod_starts_without_what_the_sidecar_reads(objects: list[dict[str, Any]]) -> None:
    """Each ConfigMap and Secret is optional, also that of a variable."""
    volumes = [each for each in pod_spec_of(objects)["volumes"] if each["name"] in VOLUMES]
    sources = [each for each in volumes if "configMap" in each]
    sources += [source for each in volumes if "projected" in each for source in each["projected"]["sources"]]
    assert 2 <= len(sources)
    for source in sources:
        assert True is (source.get("configMap") or source["secret"])["optional"]


def test_the_sidecar_cannot_have_the_pod_evicted(objects: list[dict[str, Any]]) -> None:
    """It writes to memory only: the kubelet evicts a pod that writes more to the disk than a limit allows."""
    writable = {each["name"] for each in sidecar_of(objects)["volumeMounts"] if not each.get("readOnly")}
    assert {"streamcanary-state"} == writable
    [state] = [each for each in pod_spec_of(objects)["volumes"] if each["name"] == "streamcanary-state"]
    assert {"medium": "Memory", "sizeLimit": "32Mi"} == state["emptyDir"]


def test_the_sidecar_asks_for_little(objects: list[dict[str, Any]]) -> None:
    """It requests 20m of CPU and 128Mi of memory, and its memory is limited; its CPU is not."""
    resources = sidecar_of(objects)["resources"]
    assert {"cpu": "20m", "memory": "128Mi"} == resources["requests"]
    assert {"memory"} == resources["limits"].keys()


def test_the_application_stays_as_it_is(application: Path, tmp_path: Path) -> None:
    """Without what the sidecar adds, the pod spec is that of the application, with its grace period."""
    spec = pod_spec_of(rendered(tmp_path, chart=application))
    spec["initContainers"] = [each for each in spec["initContainers"] if each["name"] != SIDECAR]
    spec["volumes"] = [each for each in spec["volumes"] if each["name"] not in VOLUMES]
    path = application / "templates" / "plain.yaml"
    path.write_text(
        "{{ if .Values.plain }}kind: Plain\nmetadata: {name: x}\n"
        'spec: {{ include "shop.podSpec" . | nindent 2 }}{{ end }}\n'
    )
    try:
        plain = rendered(tmp_path, "--set", "plain=true", chart=application)
    finally:
        path.unlink()
    assert [spec] == [each["spec"] for each in plain if each["kind"] == "Plain"]


def test_the_sidecar_can_be_disabled(application: Path, tmp_path: Path) -> None:
    """Without it there are no objects, no container and no volumes, whatever the other values are."""
    values = own_values({"enabled": False, "replicasHint": 0, "podMonitor": {"enabled": True}})
    objects = rendered(tmp_path, values=values, chart=application)
    assert ["Deployment"] == [each["kind"] for each in objects]
    assert (["migrate"], ["certificates"]) == tuple(
        [each["name"] for each in pod_spec_of(objects)[key]] for key in ("initContainers", "volumes")
    )


@pytest.mark.parametrize(("allowed", "expected"), [(False, True), (True, False)])
def test_the_token_of_the_pod_is_hidden(allowed: bool, expected: bool, application: Path, tmp_path: Path) -> None:
    """In place of the ServiceAccount's token there is an empty folder, unless the sidecar may read the token."""
    values = own_values({"serviceAccountToken": allowed})
    mounts = sidecar_of(rendered(tmp_path, values=values, chart=application))["volumeMounts"]
    assert expected is ("/var/run/secrets/kubernetes.io/serviceaccount" in {each["mountPath"] for each in mounts})


def test_each_pod_is_a_member_of_the_fleet(application: Path, tmp_path: Path) -> None:
    """The number of pods is that of ``replicasHint``, and the member is the name of the pod."""
    values = own_values({"replicasHint": 100})
    env = {each["name"]: each for each in sidecar_of(rendered(tmp_path, values=values, chart=application))["env"]}
    assert "100" == env["STREAMCANARY_FLEET__REPLICAS"]["value"]
    assert {"fieldRef": {"fieldPath": "metadata.name"}} == env["STREAMCANARY_FLEET__MEMBER"]["valueFrom"]


def test_the_sidecar_listens_on_no_port(application: Path, tmp_path: Path) -> None:
    """It starts before the application, which may listen on any port, also on one that it does not declare."""
    sidecar = sidecar_of(rendered(tmp_path, chart=application))
    env = {each["name"]: each.get("value") for each in sidecar["env"]}
    assert ("false", None) == (env["STREAMCANARY_WEB__ENABLED"], sidecar.get("ports"))
    assert set() == {"STREAMCANARY_WEB__HOST", "STREAMCANARY_WEB__PORT", "STREAMCANARY_WEB__TOKEN_FILE"} & env.keys()


def test_the_sidecar_listens_if_it_is_scraped(application: Path, tmp_path: Path) -> None:
    """For Prometheus, the port is open to the cluster, with a token, and declared."""
    values = {"otlp": {"endpoint": ""}, "metrics": {"scrape": True, "tokenSecret": {"name": "shop-canary"}}}
    sidecar = sidecar_of(rendered(tmp_path, values=own_values(values), chart=application))
    env = {each["name"]: each.get("value") for each in sidecar["env"]}
    assert ("true", "0.0.0.0", "19465", "/secrets/streamcanary-web-token") == tuple(  # noqa: S104 - expected
        env[f"STREAMCANARY_WEB__{key}"] for key in ("ENABLED", "HOST", "PORT", "TOKEN_FILE")
    )
    assert [{"name": "streamcanary", "containerPort": 19465}] == sidecar["ports"]


def test_a_changed_configuration_replaces_no_pod(application: Path, tmp_path: Path) -> None:
    """The running sidecars load it; the Deployment of the application does not change."""
    changed = own_values({"config": {"canaries": {"chat": {"every": "1m"}}}})
    first, second = (
        object_of(rendered(tmp_path, values=each, chart=application), "Deployment", "canary") for each in ({}, changed)
    )
    assert first == second


def test_nobody_is_paged_by_a_single_pod(application: Path, tmp_path: Path) -> None:
    """By default, the configuration has no receiver."""
    text = object_of(rendered(tmp_path, chart=application), "ConfigMap", "canary-shop-streamcanary-sidecar")["data"][
        CONFIG
    ]
    assert "receivers" not in text
    assert "monitoring/canary-shop" == YAML(typ="safe", pure=True).load(text)["instance"]


def test_prometheus_scrapes_with_the_token(application: Path, tmp_path: Path) -> None:
    """The PodMonitor has the port and the Secret of the sidecar, and finds the pods by their labels."""
    objects = rendered(tmp_path, "--values", VALUES["scraped"], chart=application)
    monitor = object_of(objects, "PodMonitor", "canary-shop-streamcanary-sidecar")["spec"]
    [endpoint] = monitor["podMetricsEndpoints"]
    assert {"name": "shop-canary", "key": "web-token"} == endpoint["authorization"]["credentials"]
    assert [endpoint["port"]] == [each["name"] for each in sidecar_of(objects)["ports"]]
    assert {"app": "shop"} == monitor["selector"]["matchLabels"]
    assert "shop-canary" in json.dumps(pod_spec_of(objects)["volumes"])


def test_values_arrive_unchanged(application: Path, tmp_path: Path) -> None:
    """Numbers are not rewritten as floating point, and braces and dollars are not interpreted by Helm."""
    canary = {"limits": {"max_bytes": 123456789}, "prompt": "{nonce} {{ .Values }} $${HOME} 'x' \"y\" ä\nnext: line"}
    values = own_values({"config": {"canaries": {"chat": canary}}})
    text = template(tmp_path, "--skip-schema-validation", values=values, chart=application).stdout
    config = YAML(typ="safe", pure=True).load(
        object_of(objects_of(text), "ConfigMap", "canary-shop-streamcanary-sidecar")["data"][CONFIG]
    )
    assert canary == {key: config["canaries"]["chat"][key] for key in canary}


def test_only_the_container_can_be_rendered(application: Path, tmp_path: Path) -> None:
    """A chart that has its own way to assemble a pod takes container and volumes by themselves."""
    spec = pod_spec_of(rendered(tmp_path, chart=application))
    path = application / "templates" / "parts.yaml"
    path.write_text(
        "{{ if .Values.parts }}kind: Parts\nmetadata: {name: x}\n"
        'container: {{ include "streamcanary-sidecar.container" . | nindent 2 }}\n'
        'volumes: {{ include "streamcanary-sidecar.volumes" . | nindent 2 }}\n{{ end }}'
    )
    try:
        [parts] = [
            each for each in rendered(tmp_path, "--set", "parts=true", chart=application) if each["kind"] == "Parts"
        ]
    finally:
        path.unlink()
    assert spec["initContainers"][-1] == parts["container"]
    assert spec["volumes"][1:] == parts["volumes"]


def test_values_of_a_parent_chart_are_accepted(application: Path, tmp_path: Path) -> None:
    """A parent chart passes ``global``, which the chart does not use."""
    values = merged(own_values({}), {"global": {"imageRegistry": "registry.example"}})
    path = write_values(tmp_path, values)
    assert 0 == helm("template", "x", application, "--values", path, folder=tmp_path).code
