"""What the rendered objects promise: security, configuration, keys, reload, monitoring."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from streamcanary.cli.main import main
from streamcanary.settings import load
from streamcanary.simulator import Simulator
from support.programs.daemon import run_command
from support.programs.helm import CHART, MINIMAL, VALUES, helm, merged, object_of, objects_of, rendered
from support.servers.simulator import FAST_TIMINGS

pytestmark = pytest.mark.real("helm")

CONFIG = "streamcanary.yaml"


def pod_specs(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the pod specs of the rendered objects by kind."""
    specs = {each["kind"]: each["spec"] for each in objects if each["kind"] in ("Deployment", "Job", "Pod")}
    return {kind: spec["template"]["spec"] if "template" in spec else spec for kind, spec in specs.items()}


def daemon_container(objects: list[dict[str, Any]]) -> dict[str, Any]:
    [container] = pod_specs(objects)["Deployment"]["containers"]
    return container


@pytest.mark.parametrize("name", ["default", *VALUES])
def test_all_containers_are_restricted(name: str, tmp_path: Path) -> None:
    """No container of any pod may become root, gain privileges or write outside its volumes, and none has a token."""
    objects = rendered(tmp_path, *(["--values", VALUES[name]] if name in VALUES else []))
    for spec in pod_specs(objects).values():
        security = spec["securityContext"]
        assert (True, 65532, {"type": "RuntimeDefault"}) == (
            security["runAsNonRoot"],
            security["runAsUser"],
            security["seccompProfile"],
        )
        assert (False, False) == (spec["automountServiceAccountToken"], spec["enableServiceLinks"])
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            assert {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            } == container["securityContext"]
            assert {"limits", "requests"} == container["resources"].keys()


def test_long_names_keep_the_name_of_the_release(tmp_path: Path) -> None:
    """Two releases have different names, and no object one that is too long, however long those of the releases are."""
    names = []
    for release in (f"{'a' * 52}{end}" for end in "xy"):
        arguments = ("template", release, CHART, "--set", "dashboards.enabled=true")
        objects = objects_of(helm(*arguments, folder=tmp_path).stdout)
        assert 63 >= max(len(each["metadata"]["name"]) for each in objects)
        names.append({each["metadata"]["name"] for each in objects})
    assert set() == names[0] & names[1]


def test_nothing_grants_permissions(tmp_path: Path) -> None:
    """The chart has no Role and no binding."""
    kinds = {each["kind"] for each in rendered(tmp_path, "--values", VALUES["everything"])}
    assert set() == {kind for kind in kinds if "Role" in kind}


def test_the_configuration_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ConfigMap has ``config``, an instance of its own, and the names of the Service; ``check`` accepts it."""
    target = {"api_key": "none", "api_key_file": None}
    objects = rendered(tmp_path, values=merged(MINIMAL, {"config": {"targets": {"openai": target}}}))
    text = object_of(objects, "ConfigMap")["data"][CONFIG]
    config = YAML(typ="safe", pure=True).load(text)
    assert "monitoring/canary-streamcanary" == config["instance"]
    assert "canary-streamcanary.monitoring.svc" in config["web"]["allowed_hosts"]
    assert MINIMAL["config"]["canaries"] == config["canaries"]
    (tmp_path / CONFIG).write_text(text)
    for variable in daemon_container(objects)["env"]:
        if "value" in variable:
            monkeypatch.setenv(variable["name"], variable["value"].replace("/secrets/", f"{tmp_path}/"))
    (tmp_path / "streamcanary-web-token").write_text("0123456789abcdef")
    assert 0 == main(["check", "-c", str(tmp_path / CONFIG)])


def test_the_instance_can_be_chosen(tmp_path: Path) -> None:
    """``config.instance`` replaces the default."""
    objects = rendered(tmp_path, values=merged(MINIMAL, {"config": {"instance": "production"}}))
    config = YAML(typ="safe", pure=True).load(object_of(objects, "ConfigMap")["data"][CONFIG])
    assert "production" == config["instance"]


@pytest.mark.parametrize("region", ["eu-west-1", "e$u ä"])
def test_the_region_is_a_variable_and_part_of_the_instance(tmp_path: Path, region: str) -> None:
    """Releases of the same name in several regions have alerts with keys of their own."""
    target = {"api_key": "none", "api_key_file": None}
    values = merged(MINIMAL, {"region": region, "config": {"targets": {"openai": target}}})
    objects = rendered(tmp_path, values=values)
    (tmp_path / CONFIG).write_text(object_of(objects, "ConfigMap")["data"][CONFIG])
    environ = {each["name"]: each["value"] for each in daemon_container(objects)["env"] if "value" in each}
    (tmp_path / "token").write_text("0123456789abcdef")
    environ["STREAMCANARY_WEB__TOKEN_FILE"] = str(tmp_path / "token")
    settings = load(tmp_path / CONFIG, environ)
    assert (region, f"{region}/monitoring/canary-streamcanary") == (settings.region, settings.instance)


def test_large_and_special_values_arrive_unchanged(tmp_path: Path) -> None:
    """Numbers are not rewritten as floating point, and braces and dollars are not interpreted by helm."""
    canary = {"limits": {"max_bytes": 123456789}, "prompt": "{nonce} {{ .Values }} $${HOME} 'x' \"y\" ä\nnext: line"}
    values = merged(MINIMAL, {"config": {"canaries": {"chat": canary}}})
    config = YAML(typ="safe", pure=True).load(
        object_of(rendered(tmp_path, "--skip-schema-validation", values=values), "ConfigMap")["data"][CONFIG]
    )
    assert canary == {key: config["canaries"]["chat"][key] for key in canary}


def test_a_checksum_replaces_the_pod(tmp_path: Path) -> None:
    """With ``reload: checksum`` the pod has the digest of its configuration."""
    objects = rendered(tmp_path, values=merged(MINIMAL, {"reload": "checksum"}))
    text = object_of(objects, "ConfigMap")["data"][CONFIG]
    annotations = object_of(objects, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert hashlib.sha256(text.rstrip("\n").encode()).hexdigest() == annotations["checksum/config"]


def test_a_changed_variable_replaces_the_pod(tmp_path: Path) -> None:
    """A key that is an environment variable changes only with the pod, so a changed Secret of the chart replaces it."""
    base = merged(MINIMAL, {"secret": {"existing": None, "create": True, "data": {"openai": "k", "REGION": "eu"}}})
    changed = merged(base, {"secret": {"data": {"REGION": "us"}}})
    for env, is_same in (({"env": []}, True), ({"env": ["REGION"]}, False)):
        first, second = (
            object_of(rendered(tmp_path, values=merged(each, {"secret": env})), "Deployment")
            for each in (base, changed)
        )
        assert is_same is (first == second)


@pytest.mark.parametrize(("persistent", "strategy"), [(True, "Recreate"), (False, "RollingUpdate")])
def test_two_pods_never_share_a_claim(persistent: bool, strategy: str, tmp_path: Path) -> None:
    """With a claim, the pod is ended before its successor starts."""
    objects = rendered(tmp_path, values=merged(MINIMAL, {"persistence": {"enabled": persistent}}))
    assert strategy == object_of(objects, "Deployment")["spec"]["strategy"]["type"]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, "ghcr.io/streamcanary/streamcanary:0.1.0"),
        ({"tag": "edge"}, "ghcr.io/streamcanary/streamcanary:edge"),
        (
            {"repository": "localhost:5000/canary", "digest": f"sha256:{'a' * 64}"},
            f"localhost:5000/canary@sha256:{'a' * 64}",
        ),
    ],
)
def test_the_image_has_a_tag_or_a_digest(image: dict[str, str], expected: str, tmp_path: Path) -> None:
    """The default is the tag of the version."""
    assert expected == daemon_container(rendered(tmp_path, values=merged(MINIMAL, {"image": image})))["image"]


def test_keys_are_files_and_variables_by_choice(tmp_path: Path) -> None:
    """Each key of the Secret is a file below /secrets; only those in ``secret.env`` are variables."""
    objects = rendered(tmp_path, "--values", VALUES["created-secret"])
    container = daemon_container(objects)
    from_secret = {
        each["name"]: each["valueFrom"]["secretKeyRef"]
        for each in container["env"]
        if "secretKeyRef" in each.get("valueFrom", {})
    }
    assert {"OPENAI_API_KEY": {"name": "canary-streamcanary", "key": "OPENAI_API_KEY"}} == from_secret
    [volume] = [each for each in pod_specs(objects)["Deployment"]["volumes"] if each["name"] == "secrets"]
    assert ["canary-streamcanary-web", "canary-streamcanary"] == [
        each["secret"]["name"] for each in volume["projected"]["sources"]
    ]
    assert {"name": "secrets", "mountPath": "/secrets", "readOnly": True} in container["volumeMounts"]


def test_the_check_reads_copies_of_what_the_release_will_create(tmp_path: Path) -> None:
    """The Job runs before the release exists, with a ConfigMap and a Secret of its own, which are deleted after it."""
    objects = rendered(tmp_path, "--values", VALUES["created-secret"])
    name = "canary-streamcanary-check"
    for kind in ("ConfigMap", "Secret", "Job"):
        annotations = object_of(objects, kind, name)["metadata"]["annotations"]
        assert "pre-install,pre-upgrade" == annotations["helm.sh/hook"]
        assert "before-hook-creation,hook-succeeded" == annotations["helm.sh/hook-delete-policy"]
    for kind, key in (("ConfigMap", "data"), ("Secret", "stringData")):
        assert object_of(objects, kind)[key] == object_of(objects, kind, name)[key]
    job = json.dumps(object_of(objects, "Job", name)["spec"])
    assert f'"configMap": {{"name": "{name}"}}' in job
    assert '"serviceAccountName": "default"' in job
    assert "canary-streamcanary-web" not in job


def test_the_check_runs_as_a_service_account_that_exists(tmp_path: Path) -> None:
    """With ``serviceAccount.create: false`` it is that of the daemon; its annotations are its own."""
    values = {
        "serviceAccount": {"create": False, "name": "canary"},
        "podAnnotations": {"proxy": "in"},
        "check": {"podAnnotations": {"proxy": "out"}},
    }
    objects = rendered(tmp_path, values=merged(MINIMAL, values))
    assert "canary" == pod_specs(objects)["Job"]["serviceAccountName"]
    job = object_of(objects, "Job", "canary-streamcanary-check")
    assert {"proxy": "out"} == job["spec"]["template"]["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("name", "kind", "key"),
    [("created-secret", "PodMonitor", "podMetricsEndpoints"), ("everything", "ServiceMonitor", "endpoints")],
)
def test_prometheus_scrapes_with_the_token(name: str, kind: str, key: str, tmp_path: Path) -> None:
    """The endpoint of a monitor has the Secret of the token as its credentials."""
    objects = rendered(tmp_path, "--values", VALUES[name])
    [monitor] = [each for each in objects if each["kind"] == kind]
    [endpoint] = monitor["spec"][key]
    [secret] = [each for each in objects if each["kind"] == "Secret" and each["metadata"]["name"].endswith("-web")]
    credentials = endpoint["authorization"]["credentials"]
    assert (secret["metadata"]["name"], True) == (credentials["name"], credentials["key"] in secret["data"])


def test_every_dashboard_is_a_config_map(tmp_path: Path) -> None:
    """Each dashboard has a ConfigMap with the label that the sidecar of Grafana looks for, and is valid JSON."""
    objects = rendered(tmp_path, values=merged(MINIMAL, {"dashboards": {"enabled": True}}))
    labelled = [each for each in objects if "grafana_dashboard" in each["metadata"]["labels"]]
    files = {f"streamcanary-{path.name}": path.read_text() for path in (CHART / "files" / "dashboards").iterdir()}
    assert {name: json.loads(text) for name, text in files.items()} == {
        name: json.loads(text) for each in labelled for name, text in each["data"].items()
    }


async def test_a_release_without_a_configuration_probes_a_simulator(
    tmp_path: Path,
) -> None:
    """Its pod has a simulated provider as a native sidecar, and its configuration gives runs that are ok."""
    objects = rendered(tmp_path)
    for spec in (pod_specs(objects)["Deployment"], pod_specs(objects)["Pod"]):
        [sidecar] = spec["initContainers"]
        assert (["simulate", "--port", "9466"], "Always") == (sidecar["args"], sidecar["restartPolicy"])
    (tmp_path / CONFIG).write_text(object_of(objects, "ConfigMap")["data"][CONFIG])
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        target = {"STREAMCANARY_TARGETS__SIMULATOR__BASE_URL": simulator.base_url}
        result = await run_command("probe", "-c", tmp_path / CONFIG, **target)
    assert 0 == result.code, result
