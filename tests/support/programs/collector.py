"""A real OpenTelemetry Collector, whose received spans and metrics are read from the files that it writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from support.http_client import loopback_client
from support.programs.program import Program, poll_until
from support.programs.required_tools import require_tool

_READY = "Everything is ready. Begin running and processing data."
_ATTRIBUTE_KINDS = {"stringValue": str, "intValue": int, "doubleValue": float, "boolValue": bool}
_DATA_KINDS = ("sum", "gauge", "histogram", "exponentialHistogram")
_STATUS = {0: "UNSET", 1: "OK", 2: "ERROR"}
_KIND = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}


class Span(Struct, frozen=True, kw_only=True):
    """A span as the Collector received it. ``start`` and ``end`` are seconds since the epoch."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start: float
    end: float
    status: str
    status_message: str
    attributes: dict[str, Any]
    events: tuple[str, ...]
    resource: dict[str, Any]
    scope: str


class Point(Struct, frozen=True, kw_only=True):
    """The last state of one series. ``value`` is a number, or the count of a histogram."""

    metric: str
    unit: str
    attributes: dict[str, Any]
    value: float
    sum: float | None = None
    bounds: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()
    resource: dict[str, Any] = field(default_factory=dict)


class Log(Struct, frozen=True, kw_only=True):
    """A log record as the Collector received it."""

    event: str
    body: str
    severity: str
    trace_id: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: str


class Collector(Program):
    """``async with Collector(tmp_path) as collector``: receives OTLP over HTTP and gRPC until the block ends."""

    ports_needed = 3

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "otelcol")
        self._program = require_tool("otelcol")

    @property
    def otlp_endpoint(self) -> str:
        """The base address for OTLP over http/protobuf."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def otlp_grpc_endpoint(self) -> str:
        """The address for OTLP over gRPC."""
        return f"http://127.0.0.1:{self.ports[1]}"

    async def spans(self, count: int = 1, *, name: str | None = None, within: float = 20.0) -> list[Span]:
        """Return all spans (called ``name``) in the order of their start, once there are at least ``count``."""

        async def find_spans() -> list[Span] | None:
            spans = sorted((s for s in self._spans() if name in (None, s.name)), key=lambda span: span.start)
            return spans if len(spans) >= count else None

        return await poll_until(
            find_spans, within, lambda: f"expected {count} spans, received {list(self._spans())}\n{self.log}"
        )

    async def points(self, metric: str, count: int = 1, *, within: float = 20.0) -> list[Point]:
        """Return the last state of every series of ``metric``, once there are at least ``count``."""

        async def find_points() -> list[Point] | None:
            last = {
                msgspec.json.encode((point.attributes, point.resource), order="deterministic"): point
                for point in self._points()
                if point.metric == metric
            }
            return list(last.values()) if len(last) >= count else None

        return await poll_until(
            find_points,
            within,
            lambda: f"expected {metric}, received {sorted({p.metric for p in self._points()})}\n{self.log}",
        )

    async def logs(self, count: int = 1, *, event: str | None = None, within: float = 20.0) -> list[Log]:
        """Return all log records (called ``event``) in the order of arrival, once there are at least ``count``."""

        async def find_logs() -> list[Log] | None:
            logs = [log for log in self._logs() if event in (None, log.event)]
            return logs if len(logs) >= count else None

        return await poll_until(
            find_logs, within, lambda: f"expected {count} logs, received {list(self._logs())}\n{self.log}"
        )

    def history(self, metric: str) -> Iterator[Point]:
        """Yield every point of ``metric`` received so far, in the order of the exports."""
        return (point for point in self._points() if point.metric == metric)

    async def values(self, metric: str, value: float, *, within: float = 20.0) -> None:
        """Wait until a point of ``metric`` with ``value`` has arrived."""

        async def has_arrived() -> bool | None:
            return any(point.value == value for point in self.history(metric)) or None

        await poll_until(has_arrived, within, lambda: f"expected {metric} {value}, received {list(self._points())}")

    def kinds(self, metric: str) -> list[str]:
        """Return the kinds of data of ``metric`` that have arrived, each once."""
        kinds = {
            kind
            for group in self._lines("metrics", "resourceMetrics")
            for scope in group["scopeMetrics"]
            for each in scope["metrics"]
            if each["name"] == metric
            for kind in _DATA_KINDS
            if kind in each
        }
        return sorted(kinds)

    async def prometheus(self) -> str:
        """Return the metrics as the Collector exposes them to Prometheus."""
        async with loopback_client() as client:
            response = await client.get(f"http://127.0.0.1:{self.ports[2]}/metrics")
        return response.raise_for_status().text

    def command(self) -> list[str]:
        """Write the Collector's configuration."""
        http, grpc, prometheus = self.ports
        files = {
            signal: {
                "path": str(self.folder / f"{signal}.jsonl"),
                "format": "json",
                "flush_interval": "50ms",
                "append": True,
            }
            for signal in ("traces", "metrics", "logs")
        }
        config = {
            "receivers": {
                "otlp": {
                    "protocols": {
                        "http": {"endpoint": f"127.0.0.1:{http}"},
                        "grpc": {"endpoint": f"127.0.0.1:{grpc}"},
                    }
                }
            },
            "exporters": {
                **{f"file/{signal}": settings for signal, settings in files.items()},
                "prometheus": {"endpoint": f"127.0.0.1:{prometheus}"},
            },
            "service": {
                "telemetry": {"metrics": {"level": "none"}},  # they would need another port
                "pipelines": {
                    "traces": {"receivers": ["otlp"], "exporters": ["file/traces"]},
                    "metrics": {"receivers": ["otlp"], "exporters": ["file/metrics", "prometheus"]},
                    "logs": {"receivers": ["otlp"], "exporters": ["file/logs"]},
                },
            },
        }
        path = self.folder / "config.yaml"
        path.write_bytes(msgspec.json.encode(config))  # JSON is YAML
        return [str(self._program), "--config", str(path)]

    async def is_ready(self) -> bool:
        """Return whether the log has the line that the Collector writes once every port is bound."""
        return _READY in self.log

    def _lines(self, signal: str, kind: str) -> Iterator[dict[str, Any]]:
        path = self.folder / f"{signal}.jsonl"
        if path.exists():
            complete = path.read_bytes().rpartition(b"\n")[0]  # the last line may be incomplete
            for line in complete.splitlines():
                yield from msgspec.json.decode(line)[kind]

    def _spans(self) -> Iterator[Span]:
        for group in self._lines("traces", "resourceSpans"):
            resource = _attributes(group["resource"])
            for scope in group["scopeSpans"]:
                for raw in scope["spans"]:
                    yield _span(raw, resource, scope.get("scope", {}).get("name", ""))

    def _logs(self) -> Iterator[Log]:
        for group in self._lines("logs", "resourceLogs"):
            resource = _attributes(group["resource"])
            for scope in group["scopeLogs"]:
                for raw in scope["logRecords"]:
                    yield Log(
                        event=raw.get("eventName", ""),
                        body=_value(raw["body"]),
                        severity=raw["severityText"],
                        trace_id=raw.get("traceId", ""),
                        attributes=_attributes(raw),
                        resource=resource,
                        scope=scope.get("scope", {}).get("name", ""),
                    )

    def _points(self) -> Iterator[Point]:
        for group in self._lines("metrics", "resourceMetrics"):
            resource = _attributes(group["resource"])
            for scope in group["scopeMetrics"]:
                for metric in scope["metrics"]:
                    data = next(metric[kind] for kind in _DATA_KINDS if kind in metric)
                    for raw in data["dataPoints"]:
                        yield _point(metric, raw, resource)


def _span(raw: dict[str, Any], resource: dict[str, Any], scope: str) -> Span:
    status = raw.get("status", {})
    return Span(
        name=raw["name"],
        kind=_KIND[raw["kind"]],
        trace_id=raw["traceId"],
        span_id=raw["spanId"],
        parent_id=raw.get("parentSpanId", ""),
        start=int(raw["startTimeUnixNano"]) / 1e9,
        end=int(raw["endTimeUnixNano"]) / 1e9,
        status=_STATUS[status.get("code", 0)],
        status_message=status.get("message", ""),
        attributes=_attributes(raw),
        events=tuple(event["name"] for event in raw.get("events", [])),
        resource=resource,
        scope=scope,
    )


def _point(metric: dict[str, Any], raw: dict[str, Any], resource: dict[str, Any]) -> Point:
    value = raw.get("asDouble", raw.get("asInt", raw.get("count", 0)))
    return Point(
        metric=metric["name"],
        unit=metric.get("unit", ""),
        attributes=_attributes(raw),
        value=float(value),
        sum=raw.get("sum"),
        bounds=tuple(raw.get("explicitBounds", ())),
        buckets=tuple(int(count) for count in raw.get("bucketCounts", ())),
        resource=resource,
    )


def _attributes(raw: dict[str, Any]) -> dict[str, Any]:
    return {item["key"]: _value(item["value"]) for item in raw.get("attributes", [])}


def _value(raw: dict[str, Any]) -> Any:
    if "arrayValue" in raw:
        return [_value(item) for item in raw["arrayValue"].get("values", [])]
    [(kind, value)] = raw.items()
    return _ATTRIBUTE_KINDS[kind](value)
