"""The Kustomize component adds the same sidecar as the library chart."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from streamcanary import __version__
from streamcanary.telemetry.resource import resource_attributes
from streamcanary.telemetry.sdk import create_resource
from support.alerting.fleets import Fleet
from support.kubernetes.containers import environment
from support.kubernetes.schemas import check_manifests
from support.programs.helm import object_of, rendered
from support.programs.promtool import check_rules, firing_times
from support.programs.sidecar_chart import COMPONENT, SIDECAR, kustomize, pod_spec_of, sidecar_of

pytestmark = pytest.mark.real("kubectl")

ENV_OF_VALUES = {"STREAMCANARY_FLEET__REPLICAS", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME"}
"""Variables in which the chart has values; with Kustomize they are in the configuration, and in a label of the pod."""

APPLICATION: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop", "labels": {"streamcanary": "sidecar"}},
    "spec": {
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {
                "initContainers": [{"name": "migrate", "image": "registry.example/shop"}],
                "containers": [{"name": "shop", "image": "registry.example/shop"}],
                "volumes": [{"name": "data", "emptyDir": {}}],
            },
        },
    },
}


def build(
    folder: Path, application: dict[str, Any] = APPLICATION, *components: str, **fields: Any
) -> list[dict[str, Any]]:
    """Return the objects of a kustomization with ``application`` and the component."""
    (folder / "helm").symlink_to(COMPONENT.parent)
    (folder / "application.yaml").write_text(json.dumps(application))
    (folder / "streamcanary.yaml").write_text("targets: {}\n")
    generator = {"name": "streamcanary-sidecar", "files": ["streamcanary.yaml"]}
    kustomization = {
        "resources": ["application.yaml"],
        "components": ["helm/kustomize", *components],
        "configMapGenerator": [generator],
        **fields,
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))  # JSON is YAML in the style [a, b]
    return kustomize(folder)


@pytest.mark.real("helm")
def test_the_container_is_that_of_the_chart(application: Path, tmp_path: Path) -> None:
    """Container and volumes equal those of the library chart, apart from what is a value of the chart."""
    of_chart = rendered(
        tmp_path, "--set", "streamcanary-sidecar.secret.existing=streamcanary-sidecar", chart=application
    )
    of_component = build(tmp_path)
    expected, actual = sidecar_of(of_chart), sidecar_of(of_component)
    for container in (expected, actual):
        container["env"] = [each for each in container["env"] if each["name"] not in ENV_OF_VALUES]
    assert expected == actual
    volumes = [each for each in pod_spec_of(of_chart)["volumes"] if each["name"].startswith(SIDECAR)]
    added = [each for each in pod_spec_of(of_component)["volumes"] if each["name"].startswith(SIDECAR)]
    for each in (*volumes, *added):
        each.get("configMap", {}).pop("name", None)
    assert volumes == added


@pytest.mark.real("helm")
def test_the_scraped_container_is_that_of_the_chart(application: Path, tmp_path: Path) -> None:
    """With the second component, environment and ports equal those of ``metrics.scrape``; so does the PodMonitor."""
    values = {
        "metrics": {"scrape": True, "tokenSecret": {"name": "streamcanary-sidecar", "key": "web-token"}},
        "podMonitor": {"enabled": True, "matchLabels": {"streamcanary": "sidecar"}},
        "otlp": {"endpoint": ""},
    }
    of_chart = rendered(tmp_path, values={"streamcanary-sidecar": values}, chart=application)
    of_component = build(tmp_path, APPLICATION, "helm/kustomize/monitoring")
    expected, actual = sidecar_of(of_chart), sidecar_of(of_component)
    assert expected["ports"] == actual["ports"]
    token = {
        "STREAMCANARY_WEB__TOKEN_FILE": {"value": "/secrets/web-token"}
    }  # the chart has a Secret of its own for it
    variables = {each.pop("name"): each for each in expected["env"]}
    assert {name: variables[name] for name in variables if name not in ENV_OF_VALUES} | token == {
        each.pop("name"): each for each in actual["env"] if each["name"] not in ENV_OF_VALUES
    }
    spec = object_of(of_chart, "PodMonitor", "canary-shop-streamcanary-sidecar")["spec"]
    monitor = object_of(of_component, "PodMonitor", "streamcanary-sidecar")["spec"]
    [relabeling] = monitor["podMetricsEndpoints"][0].pop("relabelings")
    assert (spec, "job") == (monitor, relabeling["targetLabel"])


@pytest.mark.real("promtool")
def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    """The PrometheusRule is a valid rule file, about all fleets in one Prometheus."""
    rule = object_of(
        build(tmp_path, APPLICATION, "helm/kustomize/monitoring"), "PrometheusRule", "streamcanary-sidecar"
    )
    code, output = check_rules(tmp_path, json.dumps(rule["spec"]))
    assert (0, True) == (code, "FleetFailing" in json.dumps(rule["spec"])), output


def test_the_application_stays_as_it_is(tmp_path: Path) -> None:
    """Apart from the sidecar, its volumes and a label, the workload is what it was; the selector does not change."""
    deployment = object_of(build(tmp_path), "Deployment", "shop")
    spec = deployment["spec"]["template"]["spec"]
    for key in ("initContainers", "volumes"):
        spec[key] = [each for each in spec[key] if not each["name"].startswith(SIDECAR)]
    assert "sidecar" == deployment["spec"]["template"]["metadata"]["labels"].pop("streamcanary")
    assert APPLICATION == deployment


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_other_workloads_get_the_sidecar(kind: str, tmp_path: Path) -> None:
    """The kind of the workload stays."""
    [workload] = [each for each in build(tmp_path, APPLICATION | {"kind": kind}) if each["kind"] != "ConfigMap"]
    assert kind == workload["kind"]
    names = [each["name"] for each in workload["spec"]["template"]["spec"]["initContainers"]]
    assert ["migrate", SIDECAR] == names


@pytest.mark.parametrize("components", [(), ("helm/kustomize/monitoring",)])
def test_the_sidecar_is_the_last_init_container(components: tuple[str, ...], tmp_path: Path) -> None:
    """It starts after those of the application, such as a proxy, and is the only one if there are none."""
    plain = json.loads(json.dumps(APPLICATION))
    containers = plain["spec"]["template"]["spec"].pop("initContainers")
    for number, before in enumerate(([], containers, [*containers, {"name": "proxy", "restartPolicy": "Always"}])):
        folder = tmp_path / str(number)
        folder.mkdir()
        if before:
            plain["spec"]["template"]["spec"]["initContainers"] = before
        names = [each["name"] for each in pod_spec_of(build(folder, plain, *components))["initContainers"]]
        assert [*(each["name"] for each in before), SIDECAR] == names


@pytest.mark.parametrize(
    ("labels", "job"), [({"app.kubernetes.io/name": "search"}, "prod/search"), ({}, "prod/streamcanary")]
)
def test_a_label_of_the_pod_is_the_name_of_the_service(
    labels: dict[str, str], job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ``service.namespace`` and ``service.name``, Prometheus makes the job of metrics over OTLP."""
    metadata = {"name": "x-1", "namespace": "prod", "uid": "1", "labels": labels}
    env = environment(sidecar_of(build(tmp_path)), {"metadata": metadata, "spec": {"nodeName": "n"}}, lambda *_: None)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    attributes = create_resource(resource_attributes(env, version="1", host="h"), {}).attributes
    assert job.split("/") == [attributes[f"service.{part}"] for part in ("namespace", "name")]


@pytest.mark.real("promtool")
def test_the_applications_of_a_namespace_are_different_fleets(tmp_path: Path) -> None:
    """An outage of the smaller application fires ``FleetFailing``, about it alone: the healthy one hides nothing."""
    rule = object_of(
        build(tmp_path, APPLICATION, "helm/kustomize/monitoring"), "PrometheusRule", "streamcanary-sidecar"
    )

    def series(job: str, members: int, *, fails: bool) -> list[dict[str, str]]:
        result = lambda _member, due: "bad" if fails and due >= 900 else "ok"  # noqa: E731 - read with its use
        return Fleet(members=members, every=30.0, replicas=members, result=result, job=job).series(1800)

    cases = {
        "two jobs": series("prod/shop", 4, fails=True) + series("prod/search", 96, fails=False),
        "healthy": series("prod/shop", 4, fails=False) + series("prod/search", 96, fails=False),
    }
    found = firing_times(tmp_path, json.dumps(rule["spec"]), "FleetFailing", cases)
    assert [True, False] == [bool(found.get(case)) for case in cases]


def test_the_job_of_a_scraped_pod_is_that_over_otlp(tmp_path: Path) -> None:
    """It is NAMESPACE/LABEL; a pod without the label keeps the job of the PodMonitor."""
    monitor = object_of(build(tmp_path, APPLICATION, "helm/kustomize/monitoring"), "PodMonitor", "streamcanary-sidecar")
    [rule] = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]
    pods = ({"namespace": "prod", "pod_label_app_kubernetes_io_name": name} for name in ("shop", "search", ""))
    jobs = []
    for pod in pods:
        joined = rule["separator"].join(pod[each.removeprefix("__meta_kubernetes_")] for each in rule["sourceLabels"])
        found = re.fullmatch(rule["regex"], joined)
        jobs.append(found[1] if found else None)
    assert ["prod/shop", "prod/search", None] == jobs


def test_a_workload_without_the_label_gets_no_sidecar(tmp_path: Path) -> None:
    """Only workloads with the label are changed."""
    plain = APPLICATION | {"metadata": {"name": "shop"}}
    assert plain == object_of(build(tmp_path, plain), "Deployment", "shop")


def test_the_image_can_be_replaced(tmp_path: Path) -> None:
    """The transformer ``images`` of the kustomization applies to the sidecar."""
    image = {"name": "ghcr.io/streamcanary/streamcanary", "newName": "registry.example/canary", "newTag": "edge"}
    assert "registry.example/canary:edge" == sidecar_of(build(tmp_path, images=[image]))["image"]


def test_the_image_is_of_this_version(tmp_path: Path) -> None:
    """The tag is the version of the package."""
    assert f"ghcr.io/streamcanary/streamcanary:{__version__}" == sidecar_of(build(tmp_path))["image"]


@pytest.mark.real("kubeconform")
def test_kubeconform_accepts_the_objects(tmp_path: Path) -> None:
    """No object has an unknown field, or a value of a wrong type."""
    objects = build(tmp_path, APPLICATION, "helm/kustomize/monitoring")
    manifests = "\n---\n".join(json.dumps(each) for each in objects)
    checked = check_manifests(manifests, skip_kinds=("PodMonitor", "PrometheusRule"))
    assert [("ConfigMap", ()), ("Deployment", ())] == sorted((each.kind, each.problems) for each in checked)


def test_the_objects_are_as_recorded(tmp_path: Path) -> None:
    """With both components, a workload gives the recorded objects; UPDATE_HELM_OUTPUT=1 writes them again."""
    recorded = Path(__file__).parents[1] / "fixtures" / "kustomize" / "shop.yaml"
    objects = build(tmp_path, APPLICATION, "helm/kustomize/monitoring", namespace="shop")
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    if os.environ.get("UPDATE_HELM_OUTPUT"):
        yaml.dump_all(objects, recorded)
    assert list(yaml.load_all(recorded)) == objects
