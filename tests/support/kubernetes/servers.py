"""The processes of a Kubernetes API: etcd, which stores the objects, and kube-apiserver, which checks them."""

import ssl
import uuid
from pathlib import Path

import httpx2

from support.http_client import loopback_client
from support.programs.program import Program
from support.programs.required_tools import require_tool
from support.servers.certificates import LOOPBACK

ADMIN = "admin"
"""The user in the group ``system:masters``, which may do everything."""


class Etcd(Program):
    """``async with Etcd(folder) as etcd``: an etcd of one member, which does not wait for the disk."""

    ports_needed = 2  # for clients, and for other members
    ready_within = 60.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "etcd")
        self._program = require_tool("etcd")
        self._name = uuid.uuid4().hex

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.ports[0]}"

    async def is_ready(self) -> bool:
        """Return whether the started etcd answers, which the name of its member shows."""
        try:
            async with loopback_client() as client:
                response = await client.post(f"{self.url}/v3/cluster/member/list", json={})
        except httpx2.HTTPError:
            return False
        return response.status_code == 200 and [member.get("name") for member in response.json()["members"]] == [
            self._name
        ]

    def command(self) -> list[str]:
        """Return the command line; each start on new ports has an empty data folder."""
        peer = f"http://127.0.0.1:{self.ports[1]}"
        return [
            str(self._program),
            f"--name={self._name}",
            f"--data-dir={self.folder / f'data-{self.ports[0]}'}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={self._name}={peer}",
            "--unsafe-no-fsync",
        ]


class ApiServer(Program):
    """``async with ApiServer(folder, etcd) as api``: accepts :attr:`token` as the user :data:`ADMIN`.

    It has RBAC, and the admission plugins that are on by default: among them ServiceAccount, and PodSecurity, which
    enforces the level in a label of the namespace. There are no controllers: nobody creates the pods of a Deployment,
    nor the ServiceAccount ``default`` of a namespace, and a deleted namespace remains ``Terminating``.
    """

    ready_within = 90.0

    def __init__(self, folder: Path, etcd: Etcd) -> None:
        super().__init__(folder / "kube-apiserver")
        self._program = require_tool("kube-apiserver")
        self._etcd = etcd
        self.token = uuid.uuid4().hex

    @property
    def url(self) -> str:
        """The address of the API."""
        return f"https://127.0.0.1:{self.ports[0]}"

    @property
    def ca(self) -> Path:
        """The certificates with which clients verify the server; created at the start."""
        return self.folder / "certificates" / "apiserver.crt"

    async def is_ready(self) -> bool:
        """Return whether the started server, and not another one on its port, is ready: only it knows the token."""
        if not self.ca.exists():
            return False
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            async with httpx2.AsyncClient(trust_env=False, verify=tls_context(self.ca), headers=headers) as client:
                return (await client.get(f"{self.url}/readyz")).status_code == 200
        except (httpx2.HTTPError, ssl.SSLError):
            return False

    def command(self) -> list[str]:
        """Write the file of tokens, and return the command line."""
        tokens = self.folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{self.token},{ADMIN},{ADMIN},"system:masters"\n')
        return [
            str(self._program),
            f"--etcd-servers={self._etcd.url}",
            f"--cert-dir={self.ca.parent}",
            f"--secure-port={self.ports[0]}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",  # without it the server looks for a default route, which may be missing
            "--endpoint-reconciler-type=none",  # a loopback address is not valid as an endpoint
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={LOOPBACK}",
            f"--service-account-signing-key-file={LOOPBACK}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--allow-privileged=true",  # as in most clusters: what a namespace allows is the matter of PodSecurity
            "--authorization-mode=RBAC",
            f"--token-auth-file={tokens}",
        ]


def tls_context(ca: Path) -> ssl.SSLContext:
    """Return a context for clients that trusts only ``ca``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    return context
