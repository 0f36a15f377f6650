"""The record of a request to the simulator."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from streamcanary.simulator.http.http1 import RequestHead

MAX_RECORDED_BODY: Final = 8 * 1024
"""Bytes of a body that are recorded."""
_MAX_HEADER_LENGTH = 512
_RECORDED_HEADERS = (
    "accept",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "user-agent",
    "x-stainless-read-timeout",
    "x-stainless-retry-count",
)


class RecordedRequest(Struct, frozen=True, kw_only=True):
    """One received request.

    ``at`` is wall time (seconds since the epoch), ``elapsed`` seconds since the start of the simulator or its timeline,
    on a monotonic clock. ``model`` and ``stream`` are ``None`` if the request has none, ``fault`` if none was selected.
    ``authorization`` is whether the request had a key; the key is not recorded. ``headers`` are a fixed selection
    without secrets, ``body`` is the first 8 KiB.
    """

    id: str
    at: float
    elapsed: float
    method: str
    path: str
    authorization: bool
    headers: Mapping[str, str]
    body: str
    model: str | None = None
    stream: bool | None = None
    fault: str | None = None


def record_request(
    id: str,  # noqa: A002 - the name of the field
    head: RequestHead,
    body: bytes,
    *,
    at: float,
    elapsed: float,
    model: str | None = None,
    stream: bool | None = None,
    fault: str | None = None,
) -> RecordedRequest:
    """Return the record of a request, without secrets and truncated."""
    return RecordedRequest(
        id=id,
        at=at,
        elapsed=elapsed,
        method=head.method[:32],
        path=head.path[:500],
        authorization="authorization" in head.headers or "api-key" in head.headers,
        headers={name: head.headers[name][:_MAX_HEADER_LENGTH] for name in _RECORDED_HEADERS if name in head.headers},
        body=body[:MAX_RECORDED_BODY].decode("utf-8", errors="replace"),
        model=model and model[:200],
        stream=stream,
        fault=fault,
    )
