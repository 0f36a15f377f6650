"""The sidecar in a real Kubernetes API that enforces the Pod Security Standard "restricted", and its running pod."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from streamcanary.simulator import Simulator
from support.http_client import loopback_client
from support.kubernetes.cluster import Cluster
from support.kubernetes.node import Node
from support.kubernetes.operator import operator_kinds
from support.programs.program import poll_until
from support.programs.sidecar_chart import COMPONENT, SIDECAR, VALUES, application_chart
from support.servers.simulator import FAST_TIMINGS

KEY = "sk-of-the-application"
TOKEN = "token-for-prometheus"
NAME = "streamcanary-sidecar"
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
APPLICATION: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop", "labels": {"streamcanary": "sidecar"}},
    "spec": {
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {"containers": [{"name": "shop", "image": "registry.example/shop", "securityContext": RESTRICTED}]},
        },
    },
}


@pytest.fixture(scope="module", autouse=True)
def operator(cluster: Cluster) -> None:
    """Install the kinds of the Prometheus operator."""
    cluster.apply(*operator_kinds())
    for kind in ("podmonitors", "prometheusrules"):
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{kind}.monitoring.coreos.com", "--timeout=30s")


@pytest.fixture
async def simulator():
    async with Simulator(timings=FAST_TIMINGS, api_key=KEY) as simulator:
        yield simulator


def config(simulator: Simulator, **canary: Any) -> dict[str, Any]:
    """Build a configuration of which each of two pods runs the canary every two seconds."""
    target = {"base_url": simulator.base_url, "provider": "simulator", "api_key_file": "/secrets/openai"}
    return {
        "instance": "shop",
        "fleet": {"replicas": 2},
        "targets": {"own": target},
        "canaries": {"chat": {"target": "own", "model": "sim-ok", "every": "1s", **canary}},
    }


def apply_component(cluster: Cluster, namespace: str, folder: Path, configuration: object, *components: str) -> None:
    """Apply the application, the component and a configuration, as a user does with ``kubectl apply -k``."""
    folder.mkdir(exist_ok=True)
    if not (folder / "helm").exists():
        (folder / "helm").symlink_to(COMPONENT.parent)
    (folder / "application.yaml").write_text(json.dumps(APPLICATION))
    (folder / "streamcanary.yaml").write_text(json.dumps(configuration))
    options = {"disableNameSuffixHash": True}
    generator = {"name": NAME, "files": ["streamcanary.yaml"], "options": options}
    kustomization = {
        "resources": ["application.yaml"],
        "components": ["helm/kustomize", *components],
        "configMapGenerator": [generator],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))
    cluster.kubectl("apply", "-k", str(folder), "-n", namespace)


def create_keys(cluster: Cluster, namespace: str) -> None:
    """Create the Secret of the sidecar."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME},
        "stringData": {"openai": KEY, "web-token": TOKEN},
    }
    cluster.apply(secret, namespace=namespace)


def requests(simulator: Simulator, model: str = "sim-ok") -> int:
    """Return how many requests for a model the sidecar has sent."""
    return sum(1 for each in simulator.requests if each.model == model and each.authorization)


async def until(condition: Any, node: Node, within: float = 60.0) -> None:
    """Wait until ``condition`` is true."""

    async def check() -> bool | None:
        return await asyncio.to_thread(condition) or None

    await poll_until(check, within, lambda: node.pod.log if node.pods else f"no pod: {node._error!r}")


# Objects


@pytest.mark.parametrize("name", ["default", *VALUES])
def test_the_server_accepts_the_chart_of_an_application(
    name: str, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """Each set of values is installed, and the pod of the Deployment is admitted."""
    chart = application_chart(tmp_path)
    files = ["--values", str(VALUES[name])] if name in VALUES else []
    cluster.helm("install", "shop", str(chart), "-n", namespace, *files)
    [deployment] = cluster.objects("deployments", namespace=namespace)
    pod = cluster.create_pod_of(deployment, namespace=namespace)
    assert ["Always"] == [each["restartPolicy"] for each in pod["spec"]["initContainers"] if each["name"] == SIDECAR]
    cluster.helm("uninstall", "shop", "-n", namespace)
    assert [] == cluster.objects("deployments,configmaps,podmonitors,prometheusrules", namespace=namespace)


def test_the_server_accepts_the_component(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """The component with monitoring is applied to a Deployment, and its pod is admitted."""
    apply_component(cluster, namespace, tmp_path / "shop", {}, "helm/kustomize/monitoring")
    kinds = {each["kind"] for each in cluster.objects("deployments,podmonitors,prometheusrules", namespace=namespace)}
    assert {"Deployment", "PodMonitor", "PrometheusRule"} == kinds
    deployment = cluster.get("deployment", "shop", namespace=namespace)
    assert "Pending" == cluster.create_pod_of(deployment, namespace=namespace)["status"]["phase"]


def test_the_sidecar_sees_no_token(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """The server mounts the token of the ServiceAccount for the application, and not for the sidecar."""
    apply_component(cluster, namespace, tmp_path / "shop", {})
    pod = cluster.create_pod_of(cluster.get("deployment", "shop", namespace=namespace), namespace=namespace)
    [application], [sidecar] = pod["spec"]["containers"], pod["spec"]["initContainers"]
    volumes = [
        next(mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == TOKEN_PATH)
        for container in (application, sidecar)
    ]
    assert (True, "streamcanary-no-token") == (volumes[0].startswith("kube-api-access-"), volumes[1])


# Running pods


async def test_the_sidecar_runs_from_its_pod(
    cluster: Cluster, namespace: str, simulator: Simulator, tmp_path: Path
) -> None:
    """It probes with its ConfigMap and Secret as its own user, its liveness command succeeds, and it ends soon.

    It belongs to no group of the pod, and reads its key nevertheless. A changed ConfigMap is loaded.
    """
    create_keys(cluster, namespace)
    apply_component(cluster, namespace, tmp_path / "shop", config(simulator))
    with Node(cluster, tmp_path / "node", namespace) as node:
        await until(lambda: node.pods and requests(simulator) >= 2, node)
        assert (0, "alive\n") == await asyncio.to_thread(node.pod.probe_liveness)
        name = node.pod.name
        changed = config(simulator, model="sim-500", retry={"max_attempts": 1})
        await asyncio.to_thread(apply_component, cluster, namespace, tmp_path / "shop", changed)
        await until(lambda: requests(simulator, "sim-500") >= 1, node)
        assert name == node.pod.name
        begun = time.monotonic()
        await asyncio.to_thread(node.pod.end)
        assert (0, True) == (node.pod.code, time.monotonic() - begun < 10)
        assert 1 == (await asyncio.to_thread(node.pod.probe_liveness))[0]


async def test_the_pod_is_ready_without_what_the_sidecar_needs(
    cluster: Cluster, namespace: str, simulator: Simulator, tmp_path: Path
) -> None:
    """Without the Secret and with an invalid configuration, the sidecar stays alive: the pod is ready.

    It begins to probe when both are right, in the same process.
    """
    apply_component(cluster, namespace, tmp_path / "shop", {"canaries": {}})
    with Node(cluster, tmp_path / "node", namespace) as node:
        await until(lambda: node.pods and "not running; trying again" in node.pod.log, node)
        await until(lambda: node.pod.probe_liveness()[0] == 0, node)
        assert node.pod.is_ready()
        create_keys(cluster, namespace)
        await asyncio.to_thread(apply_component, cluster, namespace, tmp_path / "shop", config(simulator))
        await until(lambda: requests(simulator) >= 1, node)
        assert node.pod.code is None


async def test_the_sidecar_listens_on_no_port(
    cluster: Cluster, namespace: str, simulator: Simulator, tmp_path: Path
) -> None:
    """It starts before the application, which may listen on any port, whether it declares the port or not."""
    create_keys(cluster, namespace)
    apply_component(cluster, namespace, tmp_path / "shop", config(simulator))
    with Node(cluster, tmp_path / "node", namespace) as node:
        await until(lambda: node.pods and requests(simulator) >= 2, node)
        assert set() == node.pod.listening_ports()


async def test_the_sidecar_listens_if_it_is_scraped(
    cluster: Cluster, namespace: str, simulator: Simulator, tmp_path: Path
) -> None:
    """With the component for Prometheus, it listens on its port, and wants the token."""
    create_keys(cluster, namespace)
    apply_component(cluster, namespace, tmp_path / "shop", config(simulator), "helm/kustomize/monitoring")
    with Node(cluster, tmp_path / "node", namespace) as node:
        await until(lambda: node.pods and requests(simulator) >= 1, node)
        assert {node.pod.port} == node.pod.listening_ports()
        async with loopback_client() as client:
            url = f"http://127.0.0.1:{node.pod.port}/metrics"
            assert 401 == (await client.get(url)).status_code
            answer = await client.get(url, headers={"Authorization": f"Bearer {TOKEN}"})
        assert (200, True) == (answer.status_code, "streamcanary_runs_total{" in answer.text)
