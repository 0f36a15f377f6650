"""A real Prometheus 3: scrapes, receives OTLP, evaluates rules, and answers queries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from msgspec import Struct

from support.http_client import loopback_client
from support.programs.program import Program
from support.programs.required_tools import require_tool


class Series(Struct, frozen=True):
    """A series of a result: its labels, and its values with the times of the samples in seconds since the epoch."""

    labels: dict[str, str]
    values: list[tuple[float, float]]


class QueryFailed(Exception):
    """Prometheus rejected a query; the message is its own."""


class Prometheus(Program):
    """``async with Prometheus(folder, scrape=["127.0.0.1:9465"]) as prometheus``: runs until the block ends.

    ``scrape`` are addresses of ``/metrics``, scraped every second; ``rules`` is the text of a rule file. It takes
    OTLP, too, with the default translation strategy.
    """

    def __init__(self, folder: Path, *, scrape: Sequence[str] = (), rules: str | None = None) -> None:
        super().__init__(folder / "prometheus")
        self._program = require_tool("prometheus")
        self._scrape = list(scrape)
        self._rules = rules

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def otlp_metrics_endpoint(self) -> str:
        """The address for metrics over OTLP, http/protobuf."""
        return f"{self.url}/api/v1/otlp/v1/metrics"

    def command(self) -> list[str]:
        """Write the configuration."""
        config: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [{"job_name": "streamcanary", "static_configs": [{"targets": self._scrape}]}],
            "storage": {"tsdb": {"out_of_order_time_window": "10m"}, "exemplars": {"max_exemplars": 10_000}},
        }
        if self._rules is not None:
            (self.folder / "rules.yaml").write_text(self._rules)
            config["rule_files"] = ["rules.yaml"]
        path = self.folder / "prometheus.yaml"
        path.write_bytes(msgspec.json.encode(config))  # JSON is YAML
        return [
            str(self._program),
            f"--config.file={path}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.ports[0]}",
            "--web.enable-otlp-receiver",
            "--enable-feature=exemplar-storage",
        ]

    async def is_ready(self) -> bool:
        """Return whether ``/-/ready`` returns 200."""
        try:
            async with loopback_client() as client:
                return (await client.get(f"{self.url}/-/ready")).status_code == 200
        except httpx2.HTTPError:
            return False

    async def query(self, expr: str, *, at: float | None = None) -> list[Series]:
        """Return the result at the time ``at``, by default now.

        Raises:
            QueryFailed: if the query is invalid, or fails.
        """
        parameters = {"query": expr} | ({} if at is None else {"time": f"{at:.3f}"})
        result = await self._get("query", parameters)
        if result["resultType"] == "scalar":
            return [Series({}, [_sample(result["result"])])]
        return [Series(each["metric"], [_sample(each["value"])]) for each in result["result"]]

    async def query_range(self, expr: str, *, start: float, end: float, step: float = 1.0) -> list[Series]:
        """Return the results from ``start`` to ``end``, every ``step`` seconds.

        Raises:
            QueryFailed: if the query is invalid, or fails.
        """
        parameters = {"query": expr, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        result = (await self._get("query_range", parameters))["result"]
        return [Series(each["metric"], [_sample(value) for value in each["values"]]) for each in result]

    async def exemplars(self, expr: str, *, start: float, end: float) -> list[dict[str, Any]]:
        """Return the exemplars of all series that ``expr`` selects: labels, value and timestamp."""
        found = await self._get("query_exemplars", {"query": expr, "start": f"{start:.3f}", "end": f"{end:.3f}"})
        return [exemplar for series in found for exemplar in series["exemplars"]]

    async def rule_groups(self) -> list[dict[str, Any]]:
        """Return the rule groups with the state of each rule."""
        groups: list[dict[str, Any]] = (await self._get("rules", {}))["groups"]
        return groups

    async def label_values(self, label: str, selector: str) -> list[str]:
        """Return the values of a label of the series that ``selector`` selects."""
        values: list[str] = await self._get(f"label/{label}/values", {"match[]": selector})
        return values

    async def _get(self, path: str, parameters: dict[str, str]) -> Any:
        async with loopback_client() as client:
            response = await client.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        content = response.json()
        if content["status"] != "success":
            raise QueryFailed(f"{parameters.get('query', path)}: {content['error']}")
        return content["data"]


def _sample(raw: Any) -> tuple[float, float]:
    return float(raw[0]), float(raw[1])
