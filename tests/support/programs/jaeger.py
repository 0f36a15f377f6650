"""A real Jaeger with its storage in memory: receives OTLP, and returns traces by its API."""

from pathlib import Path
from typing import Any

import httpx2

from support.http_client import loopback_client
from support.programs.program import Program, poll_until
from support.programs.required_tools import require_tool

CONFIG = Path(__file__).parents[3] / "tools" / "observe" / "jaeger.yaml"


class Jaeger(Program):
    """``async with Jaeger(tmp_path) as jaeger``: runs with the configuration of ``make observe``."""

    ports_needed = 4

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "jaeger")
        self._program = require_tool("jaeger")

    @property
    def otlp_grpc_endpoint(self) -> str:
        """The address for OTLP over gRPC."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def otlp_endpoint(self) -> str:
        """The base address for OTLP over http/protobuf."""
        return f"http://127.0.0.1:{self.ports[1]}"

    def command(self) -> list[str]:
        """Set the variables of the configuration file, and return the command line."""
        names = ("JAEGER_OTLP", "JAEGER_OTLP_HTTP", "JAEGER_HTTP", "JAEGER_GRPC")
        addresses = {name: f"127.0.0.1:{port}" for name, port in zip(names, self.ports, strict=True)}
        self.environment = {**addresses, "OTEL_TRACES_SAMPLER": "always_off"}
        return [str(self._program), "--config", str(CONFIG)]

    async def is_ready(self) -> bool:
        """Return whether the API answers."""
        try:
            async with loopback_client() as client:
                return (await client.get(f"{self._url}/api/services")).status_code == 200
        except httpx2.HTTPError:
            return False

    async def services(self) -> list[str]:
        """Return the names of the services that have traces."""
        async with loopback_client() as client:
            return sorted((await client.get(f"{self._url}/api/services")).json()["data"] or ())

    async def trace(self, trace_id: str, spans: int, *, within: float = 20.0) -> list[dict[str, Any]]:
        """Return the spans of a trace, once there are ``spans`` of them."""

        async def find() -> list[dict[str, Any]] | None:
            async with loopback_client() as client:
                response = await client.get(f"{self._url}/api/traces/{trace_id}")
            if response.status_code != 200:
                return None
            found: list[dict[str, Any]] = response.json()["data"][0]["spans"]
            return found if len(found) >= spans else None

        return await poll_until(find, within, lambda: f"trace {trace_id} has not {spans} spans\n{self.log[-2000:]}")

    async def search(self, service: str, operation: str, tags: str) -> list[str]:
        """Return the ids of the traces that have a span of ``operation`` with ``tags``, as JSON."""
        parameters = {"service": service, "operation": operation, "tags": tags, "limit": "100"}
        async with loopback_client() as client:
            response = await client.get(f"{self._url}/api/traces", params=parameters)
        return [trace["traceID"] for trace in response.raise_for_status().json()["data"]]

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.ports[2]}"
