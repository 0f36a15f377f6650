"""A real Kubernetes API, with kubectl and Helm on it."""

import json
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.kubernetes.servers import ADMIN, ApiServer, Etcd
from support.programs.required_tools import require_tool

_WITHIN = 60.0
_LOG_TAIL = 6000  # characters
_ENFORCE = "pod-security.kubernetes.io/enforce"

Manifest = Mapping[str, Any]


class CommandFailed(AssertionError):
    """kubectl or Helm exited with another code than 0; the message has its stderr."""

    def __init__(self, command: str, code: int, stderr: str) -> None:
        super().__init__(f"`{command}` exited with {code}:\n{stderr.strip()}")
        self.stderr = stderr


class Cluster:
    """A running API server. All calls wait for at most a minute, and act as :data:`ADMIN` unless they say otherwise."""

    def __init__(self, folder: Path, etcd: Etcd, api: ApiServer) -> None:
        self.folder = folder
        self.api = api
        self._etcd = etcd
        self.kubeconfig = self.write_kubeconfig("admin.kubeconfig", api.token, user=ADMIN)

    @property
    def environment(self) -> dict[str, str]:
        """The environment for programs that use the cluster: its kubeconfig, and an empty home."""
        helm = {f"HELM_{kind}_HOME": str(self.folder / "helm" / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HELM_", "KUBE")) and not name.lower().endswith("_proxy")
        }
        return inherited | helm | {"KUBECONFIG": str(self.kubeconfig), "HOME": str(home)}

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """Run kubectl, and return its stdout.

        Raises:
            CommandFailed: if it fails, for example because the server refuses an object.
        """
        return self._run("kubectl", arguments, stdin, kubeconfig)

    def helm(self, *arguments: str, stdin: str | None = None) -> str:
        """Run Helm, and return its stdout.

        With ``--wait`` it waits for what no controller does.

        Raises:
            CommandFailed: if it fails.
        """
        return self._run("helm", arguments, stdin, None)

    def apply(self, *manifests: Manifest, namespace: str | None = None, dry_run: bool = False) -> None:
        """Create or change objects; with ``dry_run`` the server checks and does not store them.

        Raises:
            CommandFailed: if the server refuses one.
        """
        arguments = ["apply", "--server-side", "-f", "-"]
        arguments += ["--dry-run=server"] if dry_run else []
        arguments += [] if namespace is None else ["-n", namespace]
        self.kubectl(*arguments, stdin="\n---\n".join(map(json.dumps, manifests)))

    def get(self, kind: str, name: str, *, namespace: str) -> dict[str, Any]:
        """Return an object as the server holds it.

        Raises:
            CommandFailed: if it does not exist.
        """
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        return found

    def objects(self, kinds: str, *, namespace: str) -> list[dict[str, Any]]:
        """Return all objects of these kinds (``deployments,secrets``) in a namespace."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kinds, "-n", namespace, "-o", "json"))["items"]
        return found

    def create_namespace(self, level: str = "restricted") -> str:
        """Create a namespace that enforces a level of the Pod Security Standards, and return its unique name.

        Like in a cluster with controllers, it has the ServiceAccount ``default``.
        """
        name = f"test-{uuid.uuid4().hex[:12]}"
        labels = {_ENFORCE: level}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        self.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}},
            namespace=name,
        )
        return name

    def create_pod_of(self, workload: Manifest, *, namespace: str) -> dict[str, Any]:
        """Create the pod that the controller of a Deployment or Job would create from its template, and return it.

        The server applies its admission plugins, which check the template of a workload only in part.

        Raises:
            CommandFailed: if the server refuses the pod.
        """
        template = workload["spec"]["template"]
        name = f"{workload['metadata']['name'][:40]}-{uuid.uuid4().hex[:5]}"
        metadata = {**template.get("metadata", {}), "name": name}
        self.apply({"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata}, namespace=namespace)
        return self.get("pod", name, namespace=namespace)

    def service_account_token(self, name: str, *, namespace: str) -> str:
        """Return a token of a ServiceAccount, valid for ten minutes."""
        return self.kubectl("create", "token", name, "-n", namespace, "--duration=10m").strip()

    def write_kubeconfig(self, name: str, token: str, *, user: str = "user", namespace: str = "default") -> Path:
        """Write a kubeconfig with which a client acts as the owner of ``token``, and return its path."""
        cluster = {"server": self.api.url, "certificate-authority": str(self.api.ca)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user, "namespace": namespace}}],
            "current-context": "test",
        }
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))  # JSON is YAML
        return path

    def logs(self) -> dict[str, str]:
        """Return the end of the log of each process."""
        return {"etcd": self._etcd.log[-_LOG_TAIL:], "kube-apiserver": self.api.log[-_LOG_TAIL:]}

    def _run(self, tool: str, arguments: tuple[str, ...], stdin: str | None, kubeconfig: Path | None) -> str:
        environment = self.environment | ({} if kubeconfig is None else {"KUBECONFIG": str(kubeconfig)})
        result = subprocess.run(
            [str(require_tool(tool)), *arguments],
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=_WITHIN,
            env=environment,
            check=False,
        )
        if result.returncode != 0:
            raise CommandFailed(f"{tool} {' '.join(arguments)}", result.returncode, result.stderr)
        return result.stdout


@asynccontextmanager
async def running_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Start etcd and the API server on free loopback ports, with all files in ``folder``; end both with the block.

    The calling test is skipped if a program is missing.
    """
    for tool in ("etcd", "kube-apiserver", "kubectl", "helm"):
        require_tool(tool)
    async with Etcd(folder) as etcd, ApiServer(folder, etcd) as api:
        yield Cluster(folder, etcd, api)
