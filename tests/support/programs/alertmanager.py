"""A real Alertmanager, alone or in a cluster, with its data in a temporary folder."""

import uuid
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from support.http_client import loopback_client
from support.programs.program import Program
from support.programs.required_tools import require_tool


class Alertmanager(Program):
    """``async with Alertmanager(tmp_path, webhook=url) as am``: accepts alerts until the block ends.

    It notifies ``webhook`` and ``slack`` (the URL of an incoming webhook, whose messages the default template renders).
    A URL that is ``None`` is not configured. Each alert is a group of one, and is sent after ``group_wait`` (a Go
    duration), its changes after ``group_interval``, by default the same.

    In a cluster, the first one has ``is_clustered``, and others have it as their ``peer``: they notify the same
    receivers, and each notification is sent by one of them. The second one waits for two seconds, the peer timeout, so
    ``group_interval`` must be longer.
    """

    ports_needed = 2

    def __init__(
        self,
        folder: Path,
        *,
        webhook: str | None = None,
        slack: str | None = None,
        group_wait: str = "100ms",
        group_interval: str | None = None,
        is_clustered: bool = False,
        peer: "Alertmanager | None" = None,
    ) -> None:
        super().__init__(folder / "alertmanager")
        self._is_clustered = is_clustered or peer is not None
        self._peer = peer
        self._program = require_tool("alertmanager")
        self._webhook = webhook
        self._slack = slack
        self._group_wait = group_wait
        self._group_interval = group_interval or group_wait
        self._name: str = peer._name if peer else f"test-{uuid.uuid4().hex}"

    @property
    def url(self) -> str:
        """The base URL, for a receiver of type ``alertmanager``."""
        return f"http://127.0.0.1:{self.ports[0]}"

    async def alerts(self, **parameters: str) -> list[dict[str, Any]]:
        """Return its firing alerts in the format of its v2 API.

        ``parameters`` go into the query: ``active="false"``, ``filter='alertname="X"'``. Resolved alerts are
        not included.
        """
        alerts: list[dict[str, Any]] = await self._get("/api/v2/alerts", **parameters)
        return alerts

    async def cluster_size(self) -> int:
        """Return the number of members of its cluster, itself included."""
        status = await self._get("/api/v2/status")
        return len(status["cluster"].get("peers", []))

    async def is_ready(self) -> bool:
        """Return whether the Alertmanager on the port is the started one, which the name of its receiver shows."""
        try:
            return await self._get("/api/v2/receivers") == [{"name": self._name}]
        except httpx2.HTTPError:
            return False

    def command(self) -> list[str]:
        """Write Alertmanager's configuration."""
        hooks = [] if self._webhook is None else [{"url": self._webhook, "send_resolved": True}]
        slack = [] if self._slack is None else [{"api_url": self._slack, "channel": "#alerts", "send_resolved": True}]
        config = {
            "route": {
                "receiver": self._name,
                "group_by": ["..."],
                "group_wait": self._group_wait,
                "group_interval": self._group_interval,
                "repeat_interval": "1h",
            },
            "receivers": [{"name": self._name, "webhook_configs": hooks, "slack_configs": slack}],
        }
        path = self.folder / "alertmanager.yml"
        path.write_bytes(msgspec.json.encode(config))  # JSON is YAML
        return [
            str(self._program),
            f"--config.file={path}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.ports[0]}",
            *self._cluster_arguments(),
        ]

    def _cluster_arguments(self) -> list[str]:
        if not self._is_clustered:
            return ["--cluster.listen-address="]
        peers = [f"--cluster.peer=127.0.0.1:{self._peer.ports[1]}"] if self._peer else []
        return [
            f"--cluster.listen-address=127.0.0.1:{self.ports[1]}",
            f"--cluster.advertise-address=127.0.0.1:{self.ports[1]}",
            "--cluster.gossip-interval=50ms",
            "--cluster.pushpull-interval=1s",
            "--cluster.peer-timeout=2s",
            "--cluster.settle-timeout=2s",
            *peers,
        ]

    async def _get(self, path: str, **parameters: str) -> Any:
        async with loopback_client() as client:
            response = await client.get(self.url + path, params=parameters)
        return response.raise_for_status().json()
