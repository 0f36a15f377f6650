"""The chart in a real Kubernetes API that enforces the Pod Security Standard "restricted"."""

import asyncio
import json
import re
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from streamcanary.simulator import Simulator
from support.kubernetes.cluster import Cluster, CommandFailed
from support.kubernetes.node import Node
from support.kubernetes.operator import operator_kinds
from support.programs.helm import CHART, MINIMAL, VALUES, merged, write_values
from support.servers.simulator import FAST_TIMINGS

KEY = "sk-from-the-server"
RELEASE = "canary"
NAME = "canary-streamcanary"
KINDS = (
    "deployments,services,serviceaccounts,configmaps,secrets,persistentvolumeclaims,networkpolicies,"
    "poddisruptionbudgets,podmonitors,servicemonitors,prometheusrules"
)
DEFAULT_RULES = {"selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"}
"""What everyone who is authenticated may create: questions about oneself."""


@pytest.fixture(scope="session", autouse=True)
def operator(cluster: Cluster) -> None:
    """Install the kinds of the Prometheus operator."""
    cluster.apply(*operator_kinds())
    for kind in ("podmonitors", "servicemonitors", "prometheusrules"):
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{kind}.monitoring.coreos.com", "--timeout=30s")


def create_keys(cluster: Cluster, namespace: str, **keys: str) -> None:
    """Create the Secret ``llm-keys``."""
    metadata = {"name": "llm-keys"}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys}, namespace=namespace)


def release_objects(cluster: Cluster, namespace: str) -> set[str]:
    """Return the objects of the release, as ``Kind/name``."""
    return {
        f"{each['kind']}/{each['metadata']['name']}"
        for each in cluster.objects(KINDS, namespace=namespace)
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") == "Helm"
        and "deletionTimestamp" not in each["metadata"]  # a claim waits for a controller
    }


def token(cluster: Cluster, namespace: str) -> str:
    data: str = cluster.get("secret", f"{NAME}-web", namespace=namespace)["data"]["token"]
    return data


class Release:
    """The chart as a release in a namespace."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.cluster, self.namespace, self._folder = cluster, namespace, folder

    def helm(self, verb: str, values: dict[str, Any] | None = None, *arguments: str) -> str:
        """Run a verb of helm on the release, with values if the verb takes the chart."""
        chart = [str(CHART), "--values", str(write_values(self._folder, values))] if values is not None else []
        return self.cluster.helm(verb, RELEASE, *chart, "-n", self.namespace, "--timeout", "50s", *arguments)


@pytest.fixture
def release(cluster: Cluster, namespace: str, tmp_path: Path) -> Release:
    return Release(cluster, namespace, tmp_path)


def without_check(values: dict[str, Any]) -> dict[str, Any]:
    """Return values of a release that no Job checks, for tests in which no node runs it."""
    return merged(values, {"check": {"enabled": False}})


# Objects


@pytest.mark.parametrize("name", ["default", *VALUES])
def test_the_server_accepts_every_object_and_pod(name: str, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Each set of values is installed; the pods of the Deployment, of the check and of the test are admitted, too."""
    create_keys(cluster, namespace, openai="k", OPENAI_API_KEY="k")
    files = ["--values", str(VALUES[name])] if name in VALUES else []
    elsewhere = ["--set", "dashboards.namespace=", "--no-hooks"]
    manifests = cluster.helm("install", RELEASE, str(CHART), "-n", namespace, *files, *elsewhere, "-o", "json")
    assert "deployed" == json.loads(manifests)["info"]["status"]
    [deployment] = cluster.objects("deployments", namespace=namespace)
    accounts = {each["metadata"]["name"] for each in cluster.objects("serviceaccounts", namespace=namespace)}
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    if account not in accounts:  # these values say that it exists
        metadata = {"name": account}
        cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}, namespace=namespace)
    assert cluster.create_pod_of(deployment, namespace=namespace)["status"]["phase"] == "Pending"
    for hook in json.loads(manifests).get("hooks", ()):
        cluster.kubectl("apply", "--dry-run=server", "-n", namespace, "-f", "-", stdin=hook["manifest"])


def test_an_upgrade_a_rollback_and_a_removal(release: Release, cluster: Cluster, namespace: str) -> None:
    """An upgrade changes the objects and keeps the token; a rollback restores them; nothing remains of a removal."""
    create_keys(cluster, namespace, openai="k")
    release.helm("install", without_check(MINIMAL))
    installed, first_token = release_objects(cluster, namespace), token(cluster, namespace)
    first = cluster.get("configmap", NAME, namespace=namespace)["data"]
    changed = merged(MINIMAL, {"config": {"canaries": {"chat": {"every": "5m"}}}, "podMonitor": {"enabled": True}})
    release.helm("upgrade", without_check(changed))
    assert installed | {f"PodMonitor/{NAME}"} == release_objects(cluster, namespace)
    assert "every: 5m" in cluster.get("configmap", NAME, namespace=namespace)["data"]["streamcanary.yaml"]
    assert first_token == token(cluster, namespace)
    release.helm("rollback", None, "1")
    assert (installed, first) == (
        release_objects(cluster, namespace),
        cluster.get("configmap", NAME, namespace=namespace)["data"],
    )
    assert first_token == token(cluster, namespace)
    release.helm("uninstall")
    assert set() == release_objects(cluster, namespace)


def test_the_notes_say_what_to_do_next(release: Release, cluster: Cluster, namespace: str) -> None:
    """They have the commands for this release, and warn of what is missing."""
    create_keys(cluster, namespace, openai="k")
    notes = release.helm("install", {"check": {"enabled": False}})
    assert "probes a SIMULATED provider" in notes
    assert "create secret generic llm-keys" in notes
    notes = release.helm("upgrade", without_check(MINIMAL))
    for expected in (
        f"kubectl -n {namespace} rollout status deployment/{NAME}",
        f"helm -n {namespace} test {RELEASE} --logs",
        f"kubectl -n {namespace} port-forward deployment/{NAME} 9465",
        "WARNING: nobody is notified",
    ):
        assert expected in notes
    rules = {"prometheusRule": {"enabled": True}, "podMonitor": {"enabled": True}}
    assert "WARNING" not in release.helm("upgrade", without_check(merged(MINIMAL, rules)))


def test_the_service_account_may_do_nothing(release: Release, cluster: Cluster, namespace: str) -> None:
    """The rules of the ServiceAccount are those of everyone: no object can be read, listed or changed."""
    create_keys(cluster, namespace, openai="k")
    release.helm("install", without_check(MINIMAL))
    credential = cluster.service_account_token(NAME, namespace=namespace)
    kubeconfig = cluster.write_kubeconfig("account.kubeconfig", credential, namespace=namespace)
    listed = cluster.kubectl("auth", "can-i", "--list", kubeconfig=kubeconfig).splitlines()[1:]
    resources = {line.split()[0].partition(".")[0] for line in listed if not line.startswith(" ")}
    assert DEFAULT_RULES == resources
    for verb, kind in (("get", "secrets"), ("list", "pods"), ("create", "pods"), ("patch", "configmaps")):
        with pytest.raises(CommandFailed):
            cluster.kubectl("auth", "can-i", verb, kind, kubeconfig=kubeconfig)


def test_a_key_that_an_existing_secret_lacks_is_refused(release: Release, cluster: Cluster, namespace: str) -> None:
    """Helm looks up the Secret, and names the key that it lacks and those that it has."""
    create_keys(cluster, namespace, azure="k")
    with pytest.raises(CommandFailed) as refused:
        release.helm("install", MINIMAL)
    assert "config names the file /secrets/openai, and Secret llm-keys has azure" in refused.value.stderr
    values = without_check(merged(MINIMAL, {"web": {"tokenSecret": {"existing": "llm-keys"}}}))
    create_keys(cluster, namespace, openai="k")
    with pytest.raises(CommandFailed) as refused:
        release.helm("install", values)
    assert "web.tokenSecret.key is token, and Secret llm-keys has azure, openai" in refused.value.stderr


# Running pods


@pytest.fixture
async def simulator():
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        yield simulator


def simulated(simulator: Simulator) -> dict[str, Any]:
    """Return values of a release that probes the simulator every second."""
    canary = {"model": "sim-ok", "every": "1s"}
    target = {"base_url": simulator.base_url, "provider": "simulator"}
    return merged(MINIMAL, {"config": {"targets": {"openai": target}, "canaries": {"chat": canary}}})


def pod_names(cluster: Cluster, namespace: str) -> set[str]:
    return {each["metadata"]["name"] for each in cluster.objects("pods", namespace=namespace)}


async def until(condition: Callable[[], Any], describe: Callable[[], object], within: float = 60.0) -> Any:
    """Return the first true result of ``condition``, which blocks the event loop for a moment at most."""
    deadline = time.monotonic() + within
    while not (found := await asyncio.to_thread(condition)):
        assert time.monotonic() < deadline, describe()
        await asyncio.sleep(0.1)
    return found


def metric(node: Node, pattern: str, credential: str) -> float:
    """Return the value of the first series that matches ``pattern`` at ``/metrics``; 0 if there is none."""
    headers = {"Authorization": f"Bearer {credential}"}
    with httpx2.Client(trust_env=False, verify=node.tls) as client:
        text = client.get(f"http://127.0.0.1:{node.pod.port}/metrics", headers=headers).raise_for_status().text
    found = re.search(rf"^{pattern}(?:\{{[^\n]*\}})? (\S+)", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_the_daemon_runs_from_the_objects_of_the_server(
    release: Release, cluster: Cluster, namespace: str, simulator: Simulator, tmp_path: Path
) -> None:
    """The check passes, and the pod probes with its ConfigMap and Secret, as a user that can write nowhere else.

    ``helm test`` runs each canary once, with the same configuration and key.
    """
    create_keys(cluster, namespace, openai=KEY)
    with Node(cluster, tmp_path / "node", namespace) as node:
        await asyncio.to_thread(release.helm, "install", simulated(simulator))
        [check] = node.finished
        assert (0, True) == (check.code, "valid: 1 canary" in check.log)
        await until(node.is_ready, lambda: node.pod.log)
        credential = b64decode(token(cluster, namespace)).decode()
        ok = r'streamcanary_runs_total\{[^\n]*outcome="ok"[^\n]*\}'
        await until(lambda: metric(node, ok, credential) >= 2, lambda: node.pod.log)
        tested = await asyncio.to_thread(release.helm, "test", None, "--logs")
        assert "Phase:          Succeeded" in tested
        assert "pong" in tested.lower()


async def test_keys_of_a_csi_driver(
    release: Release, cluster: Cluster, namespace: str, simulator: Simulator, tmp_path: Path
) -> None:
    """The check before the installation reads them, and so does the daemon.

    The check runs as the ServiceAccount of the daemon, once that exists: a driver may give it the keys.
    """
    csi = {
        "secret": None,
        "csi": {"enabled": True, "secretProviderClass": "vault"},
        "config": {"targets": {"openai": {"api_key_file": "/secrets-store/openai"}}},
    }
    with Node(cluster, tmp_path / "node", namespace) as node:
        node.secret_provider_classes["vault"] = {"data": {"openai": KEY}}
        await asyncio.to_thread(release.helm, "install", merged(simulated(simulator), csi))
        await until(node.is_ready, lambda: node.pod.log)
        await asyncio.to_thread(release.helm, "upgrade", merged(simulated(simulator), csi))
        assert [(0, "default"), (0, NAME)] == [(each.code, each.account) for each in node.finished]


async def test_a_configuration_that_check_refuses_changes_nothing(
    release: Release, cluster: Cluster, namespace: str, simulator: Simulator, tmp_path: Path
) -> None:
    """A budget below what the schedule spends fails the upgrade: the log says why, and the former pod keeps running."""
    create_keys(cluster, namespace, openai=KEY)
    with Node(cluster, tmp_path / "node", namespace) as node:
        await asyncio.to_thread(release.helm, "install", simulated(simulator))
        await until(node.is_ready, lambda: node.pod.log)
        before, pod = cluster.get("configmap", NAME, namespace=namespace)["data"], node.pod.name
        spendthrift = merged(simulated(simulator), {"config": {"budget": {"requests_per_minute": 10}}})
        with pytest.raises(CommandFailed, match="pre-upgrade hooks failed"):
            await asyncio.to_thread(release.helm, "upgrade", spendthrift)
        assert "budget.requests_per_minute 10: the canaries are due 60 times a minute" in node.finished[-1].log
        assert (before, pod) == (cluster.get("configmap", NAME, namespace=namespace)["data"], node.pod.name)
        assert node.pod.is_ready()


async def test_a_change_that_needs_a_restart_replaces_the_pod(
    release: Release, cluster: Cluster, namespace: str, simulator: Simulator, tmp_path: Path
) -> None:
    """OTLP that is switched on is in effect after the upgrade: another pod has loaded it."""
    create_keys(cluster, namespace, openai=KEY)
    exported = {"config": {"telemetry": {"otlp": {"endpoint": "http://127.0.0.1:9"}}}}
    with Node(cluster, tmp_path / "node", namespace) as node:
        await asyncio.to_thread(release.helm, "install", simulated(simulator))
        await until(node.is_ready, lambda: node.pod.log)
        former = node.pod.name
        await asyncio.to_thread(release.helm, "upgrade", merged(simulated(simulator), exported))
        await until(lambda: former not in pod_names(cluster, namespace) and node.is_ready(), lambda: node.pod.log)
        assert "restart_needed" not in node.pod.log


async def test_a_first_installation_that_failed(
    release: Release, cluster: Cluster, namespace: str, simulator: Simulator, tmp_path: Path
) -> None:
    """The name of the release is in use then, so ``upgrade --install`` follows, not another ``install``."""
    create_keys(cluster, namespace, openai=KEY)
    with Node(cluster, tmp_path / "node", namespace) as node:
        spendthrift = merged(simulated(simulator), {"config": {"budget": {"requests_per_minute": 10}}})
        with pytest.raises(CommandFailed, match="failed pre-install"):
            await asyncio.to_thread(release.helm, "install", spendthrift)
        with pytest.raises(CommandFailed, match="that is still in use"):
            await asyncio.to_thread(release.helm, "install", simulated(simulator))
        await asyncio.to_thread(release.helm, "upgrade", simulated(simulator), "--install")
        await until(node.is_ready, lambda: node.pod.log)


async def test_a_changed_config_map_is_loaded_by_the_running_pod(
    release: Release, cluster: Cluster, namespace: str, simulator: Simulator, tmp_path: Path
) -> None:
    """An upgrade of the configuration adds a canary to the running daemon; one that is invalid changes nothing."""
    create_keys(cluster, namespace, openai=KEY)
    reloads = r'streamcanary_config_reloads_total\{[^\n]*result="%s"[^\n]*\}'
    with Node(cluster, tmp_path / "node", namespace) as node:
        await asyncio.to_thread(release.helm, "install", simulated(simulator))
        await until(node.is_ready, lambda: node.pod.log)
        name, credential = node.pod.name, b64decode(token(cluster, namespace)).decode()
        second = merged(simulated(simulator)["config"]["canaries"]["chat"], {"every": "2s"})
        changed = merged(simulated(simulator), {"config": {"canaries": {"second": second}}})
        await asyncio.to_thread(release.helm, "upgrade", changed)
        ran = r'streamcanary_runs_total\{canary="second",[^\n]*outcome="ok"[^\n]*\}'
        await until(lambda: metric(node, ran, credential) >= 1, lambda: node.pod.log)
        assert (1, name) == (metric(node, reloads % "success", credential), node.pod.name)
        broken = {"data": {"streamcanary.yaml": "canaries: {}"}}  # Helm would refuse it
        cluster.kubectl("patch", "configmap", NAME, "-n", namespace, "--type=merge", "-p", json.dumps(broken))
        await until(lambda: metric(node, reloads % "failure", credential) >= 1, lambda: node.pod.log)
        before = metric(node, ran, credential)
        await until(lambda: metric(node, ran, credential) > before, lambda: node.pod.log)
        assert node.is_ready()
