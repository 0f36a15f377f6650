"""Several pods that share a database: configuration, updates, spread and disruptions."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from streamcanary.cli.main import main
from support.programs.helm import MINIMAL, VALUES, merged, object_of, objects_of, rendered, template

pytestmark = [pytest.mark.real("helm")]

CONFIG = "streamcanary.yaml"
URL = "postgresql://canary:secret@127.0.0.1:5432/canary"
DATABASE = {"database": {"existingSecret": "canary-database"}}
SHARED = merged(MINIMAL, {**DATABASE, "replicas": 3})


def deployment(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return the spec of the Deployment."""
    spec: dict[str, Any] = object_of(rendered(folder, values=values), "Deployment")["spec"]
    return spec


def variables(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the environment of the only container of a pod spec: values, or what the value is taken from."""
    [container] = spec["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def store_of(objects: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the section ``store`` of the rendered configuration."""
    config: dict[str, Any] = YAML(typ="safe", pure=True).load(object_of(objects, "ConfigMap")["data"][CONFIG])
    return config.get("store")


def kinds(objects: list[dict[str, Any]]) -> set[str]:
    return {each["kind"] for each in objects}


def test_the_url_is_a_file_from_the_secret(tmp_path: Path) -> None:
    """The URL is in no variable and in no ConfigMap; pods of the daemon and of the check read the key of the Secret."""
    values = merged(SHARED, {"database": {"key": "uri"}})
    objects = rendered(tmp_path, values=values)
    jobs = object_of(objects, "Job", "canary-streamcanary-check")["spec"]["template"]["spec"]
    pods = object_of(objects, "Deployment")["spec"]["template"]["spec"]
    for spec, optional in ((pods, {}), (jobs, {"optional": True})):
        assert "/secrets/streamcanary-database-url" == variables(spec)["STREAMCANARY_STORE__URL_FILE"]
        assert "STREAMCANARY_STORE__PATH" not in variables(spec)
        [volume] = [each for each in spec["volumes"] if each["name"] == "secrets"]
        source = {
            "name": "canary-database",
            "items": [{"key": "uri", "path": "streamcanary-database-url"}],
            **optional,
        }
        assert {"secret": source} in volume["projected"]["sources"]


def test_the_check_reads_the_database_without_another_secret(tmp_path: Path) -> None:
    """The volume of the check has the URL if the configuration needs no other secret."""
    values = merged(SHARED, {"secret": {"existing": None}, "config": {"targets": {"openai": {"api_key": "none"}}}})
    values["config"]["targets"]["openai"].pop("api_key_file")
    job = object_of(rendered(tmp_path, values=values), "Job", "canary-streamcanary-check")
    [volume] = [each for each in job["spec"]["template"]["spec"]["volumes"] if each["name"] == "secrets"]
    assert ["canary-database"] == [each["secret"]["name"] for each in volume["projected"]["sources"]]


def test_the_daemon_accepts_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``check`` accepts the ConfigMap with the environment of the pod, and without the URL it says what is missing."""
    target = {"api_key": "none", "api_key_file": None}
    values = merged(
        SHARED, {"config": {"targets": {"openai": target}, "store": {"lease": "20s", "schema": "canaries"}}}
    )
    objects = rendered(tmp_path, values=values)
    (tmp_path / CONFIG).write_text(object_of(objects, "ConfigMap")["data"][CONFIG])
    for name, value in variables(object_of(objects, "Deployment")["spec"]["template"]["spec"]).items():
        if isinstance(value, str):
            monkeypatch.setenv(name, value.replace("/secrets/", f"{tmp_path}/"))
    monkeypatch.setenv("STREAMCANARY_STORE__REPLICA", "canary-streamcanary-0")
    (tmp_path / "streamcanary-web-token").write_text("0123456789abcdef")
    assert 2 == main(["check", "-c", str(tmp_path / CONFIG)])
    (tmp_path / "streamcanary-database-url").write_text(URL)
    assert 0 == main(["check", "-c", str(tmp_path / CONFIG)])


def test_the_replica_is_named_after_its_pod(tmp_path: Path) -> None:
    """The name is unique, and the one that ``kubectl`` shows."""
    spec = deployment(tmp_path, SHARED)["template"]["spec"]
    assert {"fieldRef": {"fieldPath": "metadata.name"}} == variables(spec)["STREAMCANARY_STORE__REPLICA"]


def test_the_generation_is_the_revision_of_the_release(tmp_path: Path) -> None:
    """Each upgrade, and each rollback, has a higher revision: the configuration of the last one is the current one."""
    (tmp_path / "values.yaml").touch()
    assert {"generation": 1} == store_of(rendered(tmp_path, values=SHARED))
    upgrade = rendered(tmp_path, "--is-upgrade", values=SHARED)
    assert {"generation": 1} == store_of(upgrade)  # `helm template` knows no revision
    own = merged(SHARED, {"config": {"store": {"generation": 7, "keep": "1d"}}})
    assert {"generation": 7, "keep": "1d"} == store_of(rendered(tmp_path, values=own))


def test_a_store_of_one_pod_has_no_generation(tmp_path: Path) -> None:
    """A release without a database is as before: an upgrade without a change changes nothing."""
    objects = rendered(tmp_path, values=MINIMAL)
    assert store_of(objects) is None
    spec = object_of(objects, "Deployment")["spec"]["template"]["spec"]
    assert "/var/lib/streamcanary/streamcanary.db" == variables(spec)["STREAMCANARY_STORE__PATH"]
    assert "STREAMCANARY_STORE__REPLICA" not in variables(spec)


def test_no_claim_and_no_folder_of_the_store(tmp_path: Path) -> None:
    """With a database there is neither a claim nor a volume for the store, though ``persistence.enabled`` is true."""
    objects = rendered(tmp_path, values=SHARED)
    assert "PersistentVolumeClaim" not in kinds(objects)
    spec = object_of(objects, "Deployment")["spec"]["template"]["spec"]
    assert {"config", "secrets", "tmp"} == {each["name"] for each in spec["volumes"]}
    assert {"config", "secrets", "tmp"} == {each["name"] for each in spec["containers"][0]["volumeMounts"]}


@pytest.mark.parametrize(("replicas", "unavailable"), [(0, 0), (1, 0), (2, 1), (5, 1)])
def test_an_update_replaces_one_pod_after_the_other(replicas: int, unavailable: int, tmp_path: Path) -> None:
    """Pods end and start side by side, and a single pod ends only after its successor is ready."""
    strategy = deployment(tmp_path, merged(SHARED, {"replicas": replicas}))["strategy"]
    assert "RollingUpdate" == strategy["type"]
    assert {"maxSurge": 1, "maxUnavailable": unavailable} == strategy["rollingUpdate"]


def test_pods_are_spread_over_nodes_and_zones(tmp_path: Path) -> None:
    """The constraints are soft, and about the pods of one version; other ones replace them; one pod needs none."""
    constraints = deployment(tmp_path, SHARED)["template"]["spec"]["topologySpreadConstraints"]
    assert [("kubernetes.io/hostname", "ScheduleAnyway"), ("topology.kubernetes.io/zone", "ScheduleAnyway")] == [
        (each["topologyKey"], each["whenUnsatisfiable"]) for each in constraints
    ]
    labels = deployment(tmp_path, SHARED)["selector"]["matchLabels"]
    assert all(each["labelSelector"]["matchLabels"] == labels for each in constraints)
    assert all(each["matchLabelKeys"] == ["pod-template-hash"] for each in constraints)
    own = [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]
    changed = deployment(tmp_path, merged(SHARED, {"topologySpreadConstraints": own}))
    assert ["rack"] == [each["topologyKey"] for each in changed["template"]["spec"]["topologySpreadConstraints"]]
    single = deployment(tmp_path, merged(SHARED, {"replicas": 1}))
    assert "topologySpreadConstraints" not in single["template"]["spec"]


@pytest.mark.parametrize(
    ("replicas", "enabled", "exists"),
    [(3, None, True), (3, "auto", True), (3, False, False), (1, None, False), (1, True, True), (0, None, False)],
)
def test_drains_evict_one_pod_at_a_time(replicas: int, enabled: Any, exists: bool, tmp_path: Path) -> None:
    """More than one pod have a PodDisruptionBudget of one, unless it is switched off."""
    budget = {} if enabled is None else {"podDisruptionBudget": {"enabled": enabled}}
    objects = rendered(tmp_path, values=merged(SHARED, {"replicas": replicas, **budget}))
    assert exists is ("PodDisruptionBudget" in kinds(objects))
    if exists:
        assert 1 == object_of(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"]


def test_the_network_policy_allows_the_database(tmp_path: Path) -> None:
    """Its port is a value, since the chart does not see the URL in the Secret."""
    objects = rendered(tmp_path, "--values", VALUES["replicas"])
    policy = object_of(objects, "NetworkPolicy")
    assert 6432 in {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", ())}


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        ("postgresql://canary:letmein@db.example/canary", True),
        ("postgresql://db.example/canary?user=canary&password=letmein", True),
        ("postgresql://canary:${PASSWORD}@db.example:5433/canary", False),
        ("postgresql://db.example/canary", False),
    ],
)
def test_a_password_in_the_configuration_is_refused(url: str, is_refused: bool, tmp_path: Path) -> None:
    """A URL without a password may be in the ConfigMap, and the pods share that database."""
    values = merged(MINIMAL, {"replicas": 2, "extraEnv": [{"name": "PASSWORD", "value": "x"}]})
    result = template(tmp_path, "--set-string", f"config.store.url={url}", values=values)
    assert (1 if is_refused else 0) == result.code, result.stderr
    assert is_refused is ("config.store.url: a secret would be readable in a ConfigMap" in result.stderr)
    assert "letmein" not in result.stderr
    if not is_refused:
        assert "PersistentVolumeClaim" not in kinds(objects_of(result.stdout))


def test_a_config_map_that_exists_has_the_database_of_the_value(tmp_path: Path) -> None:
    """The variables of the pod say where the database is; the generation is a matter of that ConfigMap."""
    values = merged(SHARED, {"config": None, "existingConfigMap": "canaries"})
    spec = deployment(tmp_path, values)["template"]["spec"]
    assert "/secrets/streamcanary-database-url" == variables(spec)["STREAMCANARY_STORE__URL_FILE"]


@pytest.mark.parametrize(
    ("replicas", "budget"),
    [
        (3, {"maxUnavailable": 2}),
        (3, {"maxUnavailable": "66%"}),
        (3, {"minAvailable": 1}),
        (3, {"minAvailable": "1%"}),
        (1, {"enabled": True, "maxUnavailable": "100%"}),
    ],
)
def test_a_budget_that_keeps_one_of_several_pods_is_accepted(
    tmp_path: Path, replicas: int, budget: dict[str, Any]
) -> None:
    """Kubernetes rounds both numbers up; a single pod may be evicted, or no node with it could be drained."""
    objects = rendered(tmp_path, values=merged(SHARED, {"replicas": replicas, "podDisruptionBudget": budget}))
    spec = object_of(objects, "PodDisruptionBudget")["spec"]
    name = "minAvailable" if "minAvailable" in budget else "maxUnavailable"
    assert budget[name] == spec[name]
