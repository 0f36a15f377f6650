"""Reads which part of an export the receiver rejected: OTLP answers with a partial success.

https://opentelemetry.io/docs/specs/otlp/#partial-success. The SDK ignores it. The responses of all signals have the
same fields on the wire: the number of rejected items, and a message.
"""

from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from streamcanary.telemetry.otlp.sdk_log_handler import SdkLogHandler

MAX_RESPONSE: Final = 64 * 1024
"""Bytes of a response that are read; it has one number and one message."""


def record_partial_success(content: bytes, sdk_log: SdkLogHandler) -> None:
    """Record the rejected items in the body of a successful response; a body that is no OTLP rejects nothing."""
    if not content or len(content) > MAX_RESPONSE:
        return
    try:
        part = ExportTraceServiceResponse.FromString(content).partial_success
    except DecodeError:
        return
    if part.rejected_spans > 0:
        sdk_log.record_rejection(part.rejected_spans, part.error_message)


def watch_grpc_responses(exporter: Any, sdk_log: SdkLogHandler) -> None:
    """Let a gRPC exporter record the rejected items of its responses, which it drops otherwise.

    The exporter creates its client again after a lost connection, always through its attribute ``_stub``.
    """
    create_client = exporter._stub

    def create_watching_client(channel: Any) -> Any:
        client = create_client(channel)
        export = client.Export

        def export_and_record(*arguments: Any, **options: Any) -> Any:
            response = export(*arguments, **options)
            record_partial_success(response.SerializeToString(), sdk_log)
            return response

        client.Export = export_and_record
        return client

    exporter._stub = create_watching_client
    exporter._client = create_watching_client(exporter._channel)
