"""Stands in for the kubelet and the controllers of a cluster: runs the pods of Deployments, Jobs and `helm test`."""

import contextlib
import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx2

from support.kubernetes.cluster import Cluster, CommandFailed
from support.kubernetes.containers import POD_IP, PodVolumes, command_line, environment
from support.kubernetes.logs import LogServer
from support.kubernetes.servers import tls_context
from support.kubernetes.volumes import MissingObject
from support.programs.listening_ports import listening_ports
from support.programs.program import free_ports

_POLL = 0.2  # seconds
_END_WITHIN = 15.0
_JOB_WITHIN = 60.0
_PORT = "STREAMCANARY_WEB__PORT"
LIVENESS_COMMAND = "/opt/streamcanary/bin/streamcanary-liveness"
"""The command of liveness probes in the image."""

_KINDS = {"ConfigMap": "configmaps", "Secret": "secrets"}

Object = Mapping[str, Any]


class RunningPod:
    """The process of a pod's container, which logs to ``folder / "log"``; its port is mapped to a free one.

    It is the container that runs streamcanary, which may be a sidecar. Others do not run: their image does not exist.
    """

    def __init__(self, node: "Node", pod: Object) -> None:
        self.name: str = pod["metadata"]["name"]
        self.namespace: str = pod["metadata"]["namespace"]
        self.folder = node.folder / self.namespace / self.name
        self.port = node.port or free_ports(1)[0]
        self._node = node
        spec = pod["spec"]
        self.account: str = spec["serviceAccountName"]
        container = self._container = _streamcanary_container(spec)
        self._volumes = PodVolumes(spec, container, self.folder / "volumes", node.folder / self.namespace / "claims")
        self.update_volumes()
        variables = environment(container, pod, self._fetch)
        if _PORT in variables:
            variables[_PORT] = str(self.port)  # a pod has an address of its own; this process shares that of others
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command_line(container, self._volumes, self.folder / "root"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], **variables},
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """The output of the container."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def code(self) -> int | None:
        """The exit code; ``None`` while the container runs."""
        return self._process.poll()

    def update_volumes(self) -> bool:
        """Write the current ConfigMaps and Secrets, as the kubelet does within a minute or two; return a change."""
        return self._volumes.update(self._fetch)

    def is_ready(self) -> bool:
        """Return whether the container is ready: it runs, and with a readiness probe, ``/readyz`` answers 200."""
        if "readinessProbe" not in self._container:
            return self.code is None
        with contextlib.suppress(httpx2.HTTPError), httpx2.Client(trust_env=False, verify=self._node.tls) as client:
            return client.get(f"http://{POD_IP}:{self.port}/readyz", timeout=5).status_code == 200
        return False

    def probe_liveness(self) -> tuple[int, str]:
        """Run the command of the liveness probe in the container; return its exit code and output."""
        program, *arguments = self._container["livenessProbe"]["exec"]["command"]
        assert program == LIVENESS_COMMAND, program
        probe = subprocess.run(
            command_line(self._container, self._volumes, self.folder / "probe", arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_END_WITHIN,
            check=False,
        )
        return probe.returncode, probe.stdout + probe.stderr

    def listening_ports(self) -> set[int]:
        """Return the TCP ports on which the process listens: as the kernel has them."""
        return listening_ports(self._process.pid)

    def end(self) -> None:
        """Send SIGTERM, and SIGKILL if that does not end it in time."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_WITHIN)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _fetch(self, kind: str, name: str) -> dict[str, Any] | None:
        if kind == "SecretProviderClass":
            return self._node.secret_provider_classes.get(name)
        return self._node.read(f"/api/v1/namespaces/{self.namespace}/{_KINDS[kind]}/{name}")


class Node:
    """``with Node(cluster, folder, NAMESPACE) as node``: runs what the namespace asks for, until the block ends.

    A thread reads the objects from the API server, starts and ends processes, and writes their status: what the
    controllers and the kubelet of a cluster do. A changed ConfigMap or Secret reaches a running pod at once. A problem
    of the thread fails the block.
    """

    def __init__(self, cluster: Cluster, folder: Path, namespace: str, *, port: int | None = None) -> None:
        self.folder = folder
        self.port = port
        """The port of each pod, instead of a free one."""
        self.tls = tls_context(cluster.api.ca)
        self.finished: list[RunningPod] = []
        """The pods of Jobs and of `helm test` that have ended."""
        self.secret_provider_classes: dict[str, dict[str, Any]] = {}
        """What the CSI driver mounts, by class: ``{"data": {FILE: TEXT}}``."""
        self._cluster = cluster
        self._namespace = namespace
        self._deployments: dict[str, list[tuple[str, RunningPod]]] = {}  # by uid: pods with their templates
        self._seen: set[str] = set()  # the uids of Jobs and pods that have been started
        self._running: list[tuple[Object, RunningPod, float]] = []  # of Jobs, and pods of tests
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="node")
        self._logs = LogServer(self._find_log)
        self._name = f"node-{uuid.uuid4().hex[:12]}"
        headers = {"Authorization": f"Bearer {cluster.api.token}"}
        self._client = httpx2.Client(
            base_url=cluster.api.url, headers=headers, verify=self.tls, trust_env=False, timeout=20
        )

    def __enter__(self) -> Self:
        self._logs.__enter__()
        status = {
            "addresses": [{"type": "InternalIP", "address": POD_IP}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._logs.port}},
        }
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._name}, "status": status}
        self._client.post("/api/v1/nodes", json=node).raise_for_status()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        for pod in (*self.pods, *(pod for _, pod, _ in self._running)):
            pod.end()
        self._client.delete(f"/api/v1/nodes/{self._name}")
        self._client.close()
        self._logs.__exit__()
        if self._error is not None:
            raise self._error

    @property
    def pod(self) -> RunningPod:
        """The only pod of the Deployments."""
        [pod] = self.pods
        return pod

    @property
    def pods(self) -> list[RunningPod]:
        """The pods of the Deployments."""
        return [pod for pods in list(self._deployments.values()) for _, pod in pods]

    def is_ready(self) -> bool:
        """Return whether the pod of the only Deployment has started, and is ready.

        Raises:
            AssertionError: if it has ended.
        """
        if not self.pods:
            return False
        assert self.pod.code is None, self.pod.log
        return self.pod.is_ready()

    def read(self, path: str) -> dict[str, Any] | None:
        """Return an object or a list from the API server; ``None`` if it does not exist."""
        response = self._client.get(path)
        if response.status_code == 404:
            return None
        found: dict[str, Any] = response.raise_for_status().json()
        return found

    def _run(self) -> None:
        try:
            while not self._stop.wait(_POLL):
                self._reconcile()
        except Exception as error:  # noqa: BLE001 - raised by __exit__
            self._error = error

    def _reconcile(self) -> None:
        namespace = self._namespace
        self._create_default_account()
        self._reconcile_deployments(self._items(f"/apis/apps/v1/namespaces/{namespace}/deployments"))
        for job in self._items(f"/apis/batch/v1/namespaces/{namespace}/jobs"):
            if job["metadata"]["uid"] not in self._seen:
                self._start(job, is_job=True)
        for pod in self._items(f"/api/v1/namespaces/{namespace}/pods"):
            if pod["metadata"]["uid"] not in self._seen:
                self._start(pod, is_job=False)
        self._running = [each for each in self._running if not self._finish(*each)]

    def _reconcile_deployments(self, deployments: list[Object]) -> None:
        present = {each["metadata"]["uid"]: each for each in deployments}
        for uid in set(self._deployments) - set(present):
            for _, pod in self._deployments.pop(uid):
                self._delete(pod)
        for uid, deployment in present.items():
            pods = self._deployments.setdefault(uid, [])
            self._update_pods(deployment, pods)
            for _, pod in pods:
                pod.update_volumes()
            self._report_deployment(deployment, pods)

    def _update_pods(self, deployment: Object, pods: list[tuple[str, RunningPod]]) -> None:
        """Start and end pods until there are as many as the Deployment wants, with its current template.

        Of several, one is replaced after the other: a new one starts, and when it is ready, an outdated one ends.
        """
        template, wanted = _template(deployment), deployment["spec"]["replicas"]
        outdated = [each for each in pods if each[0] != template]
        surge = 1 if outdated and wanted > 1 else 0
        while len(pods) > wanted + surge or (outdated and not surge):
            self._end(pods, outdated.pop(0) if outdated else pods[-1])
        while len(pods) < wanted + surge:
            if (started := self._try_start(self._create_pod(deployment))) is None:
                return
            pods.append((template, started))
        if outdated and all(pod.is_ready() for _, pod in pods):
            self._end(pods, outdated[0])

    def _end(self, pods: list[tuple[str, RunningPod]], ended: tuple[str, RunningPod]) -> None:
        pods.remove(ended)
        self._delete(ended[1])

    def _start(self, workload: Object, *, is_job: bool) -> None:
        pod = self._create_pod(workload) if is_job else workload
        if (running := self._try_start(pod)) is not None:
            self._seen |= {workload["metadata"]["uid"], pod["metadata"]["uid"]}
            self._running.append((workload, running, time.monotonic()))

    def _try_start(self, pod: Object) -> RunningPod | None:
        """Start a pod; return ``None`` if it refers to an object that does not exist yet: the kubelet tries again."""
        self._seen.add(pod["metadata"]["uid"])
        if not pod["spec"].get("nodeName"):
            binding = {"metadata": {"name": pod["metadata"]["name"]}, "target": {"kind": "Node", "name": self._name}}
            self._client.post(f"{_path('Pod', pod)}/binding", json=binding).raise_for_status()
            pod = self.read(_path("Pod", pod)) or pod
        try:
            return RunningPod(self, pod)
        except MissingObject:
            self._client.delete(_path("Pod", pod))
            return None

    def _finish(self, workload: Object, pod: RunningPod, started: float) -> bool:
        """Report a pod that has ended; return whether it has."""
        if pod.code is None and time.monotonic() - started < _JOB_WITHIN:
            return False
        pod.end()
        self.finished.append(pod)
        succeeded, now = pod.code == 0, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if "template" not in workload["spec"]:
            self._patch(_path("Pod", workload), {"phase": "Succeeded" if succeeded else "Failed"})
            return True
        kinds = ("SuccessCriteriaMet", "Complete") if succeeded else ("FailureTarget", "Failed")
        status: dict[str, Any] = {
            "startTime": now,
            "succeeded" if succeeded else "failed": 1,
            "conditions": [
                {"type": kind, "status": "True", "lastProbeTime": now, "lastTransitionTime": now} for kind in kinds
            ],
        }
        self._patch(_path("Job", workload), status | ({"completionTime": now} if succeeded else {}))
        return True

    def _report_deployment(self, deployment: Object, pods: list[tuple[str, RunningPod]]) -> None:
        ready = sum(pod.is_ready() for _, pod in pods)
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": sum(template == _template(deployment) for template, _ in pods),
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        former = deployment.get("status", {})
        if {name: former.get(name, 0) for name in status} != status:
            self._patch(_path("Deployment", deployment), status)

    def _create_pod(self, workload: Object) -> Object:
        return self._cluster.create_pod_of(workload, namespace=self._namespace)

    def _create_default_account(self) -> None:
        """Create the ServiceAccount ``default``, as the controller of ServiceAccounts does."""
        path = f"/api/v1/namespaces/{self._namespace}"
        if self.read(path) is not None and self.read(f"{path}/serviceaccounts/default") is None:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            self._client.post(f"{path}/serviceaccounts", json=account)

    def _find_log(self, namespace: str, name: str) -> str | None:
        pods = (*self.finished, *self.pods, *(pod for _, pod, _ in self._running))
        return next((pod.log for pod in pods if (pod.namespace, pod.name) == (namespace, name)), None)

    def _delete(self, pod: RunningPod) -> None:
        pod.end()
        with contextlib.suppress(CommandFailed):
            self._client.delete(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}", params={"gracePeriodSeconds": 0})

    def _items(self, path: str) -> list[Object]:
        items: list[Object] = (self.read(path) or {}).get("items", [])
        return items

    def _patch(self, path: str, status: dict[str, Any]) -> None:
        headers = {"Content-Type": "application/merge-patch+json"}
        response = self._client.patch(f"{path}/status", content=json.dumps({"status": status}), headers=headers)
        assert response.status_code in (200, 404), response.text  # 404: deleted in the meantime


def _template(deployment: Object) -> str:
    return json.dumps(deployment["spec"]["template"], sort_keys=True)


def _streamcanary_container(spec: Object) -> Object:
    """Return the only container of a pod spec that runs streamcanary; if there is none, the only sidecar that does."""
    sidecars = [each for each in spec.get("initContainers", ()) if each.get("restartPolicy") == "Always"]
    for containers in (spec["containers"], sidecars):
        if found := [each for each in containers if "streamcanary" in each["image"]]:
            [container] = found
            return container
    raise AssertionError(f"no container runs streamcanary: {spec}")


def _path(kind: str, found: Object) -> str:
    prefixes = {"Pod": "/api/v1", "Job": "/apis/batch/v1", "Deployment": "/apis/apps/v1"}
    metadata = found["metadata"]
    return f"{prefixes[kind]}/namespaces/{metadata['namespace']}/{kind.lower()}s/{metadata['name']}"
