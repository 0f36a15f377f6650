"""A receiver of OTLP over both protocols that accepts, refuses, hangs, or rejects a part, as a test says."""

import asyncio
from typing import Any, Literal, Self

import grpc
import grpc.aio
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from support.servers.receiver import HANG, Behaviour, Delivery, FakeReceiver, Reply

Mode = Literal["accept", "unavailable", "hang", "reject"]

_SERVICES = {
    "/v1/traces": ("opentelemetry.proto.collector.trace.v1.TraceService", trace_service_pb2, "Trace"),
    "/v1/metrics": ("opentelemetry.proto.collector.metrics.v1.MetricsService", metrics_service_pb2, "Metrics"),
    "/v1/logs": ("opentelemetry.proto.collector.logs.v1.LogsService", logs_service_pb2, "Logs"),
}
_REJECTED = {"/v1/traces": "rejected_spans", "/v1/metrics": "rejected_data_points", "/v1/logs": "rejected_log_records"}


class FakeCollector(FakeReceiver):
    """``async with FakeCollector() as collector``: receives OTLP over HTTP and gRPC on loopback.

    :attr:`mode` applies from the next export on. ``reject`` answers with a partial success that rejects one item of
    each export. The accepted items are counted by the path of the signal, such as ``/v1/traces``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mode: Mode = "accept"
        self.accepted_items = dict.fromkeys(_SERVICES, 0)
        self.rejected_items = dict.fromkeys(_SERVICES, 0)
        self._grpc = grpc.aio.server()
        self._grpc.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    service,
                    {
                        "Export": grpc.unary_unary_rpc_method_handler(
                            _GrpcMethod(self, path).export,
                            request_deserializer=getattr(module, f"Export{name}ServiceRequest").FromString,
                            response_serializer=getattr(module, f"Export{name}ServiceResponse").SerializeToString,
                        )
                    },
                )
                for path, (service, module, name) in _SERVICES.items()
            ]
        )
        self._grpc_port = 0

    @property
    def grpc_url(self) -> str:
        """The address for gRPC."""
        return f"http://127.0.0.1:{self._grpc_port}"

    async def __aenter__(self) -> Self:
        self._grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        await self._grpc.start()
        return await super().__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self._grpc.stop(grace=None)
        await super().__aexit__(*error)

    def reply(self, delivery: Delivery) -> Behaviour:
        """Return the behaviour for an export over HTTP."""
        if self.mode == "hang":
            return HANG
        if self.mode == "unavailable":
            return Reply(503)
        _, module, name = _SERVICES[delivery.path]
        request = getattr(module, f"Export{name}ServiceRequest").FromString(delivery.body)
        return Reply(
            200, {"content-type": "application/x-protobuf"}, self.answer(delivery.path, request).SerializeToString()
        )

    def answer(self, path: str, request: Any) -> Any:
        """Count the items of ``request``, and return the response."""
        _, module, name = _SERVICES[path]
        rejected = int(self.mode == "reject")
        self.accepted_items[path] += _count(path, request) - rejected
        self.rejected_items[path] += rejected
        response = getattr(module, f"Export{name}ServiceResponse")()
        if rejected:
            setattr(response.partial_success, _REJECTED[path], rejected)
            response.partial_success.error_message = "over the quota"
        return response


class _GrpcMethod:
    """The method ``Export`` of one signal."""

    def __init__(self, collector: FakeCollector, path: str) -> None:
        self._collector = collector
        self._path = path

    async def export(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        if self._collector.mode == "hang":
            await asyncio.Event().wait()
        if self._collector.mode == "unavailable":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no exporter is available")
        return self._collector.answer(self._path, request)


def _count(path: str, request: Any) -> int:
    if path == "/v1/traces":
        return sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)
    if path == "/v1/logs":
        return sum(len(scope.log_records) for group in request.resource_logs for scope in group.scope_logs)
    metrics = (each for group in request.resource_metrics for scope in group.scope_metrics for each in scope.metrics)
    return sum(len(getattr(each, each.WhichOneof("data")).data_points) for each in metrics)
