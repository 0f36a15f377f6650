"""``/metrics`` for Prometheus. It is authorized as the API is: it names canaries, targets and what they spend."""

from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from streamcanary.web.authorization import Authorizer
from streamcanary.web.request_body import EarlyResponse

_CHUNK_BYTES: Final = 256 * 1024  # written at once: a large body does not occupy the event loop in one piece


class MetricsSource(Protocol):
    """Renders the metrics of the daemon."""

    async def scrape(self, accept: str) -> tuple[str, Sequence[bytes]]:
        """Return the content type for the header ``Accept``, and the body in parts."""
        ...


def metrics_routes(source: MetricsSource | None, authorizer: Authorizer) -> list[Route]:
    """Return the route of ``/metrics``; without a source there is none."""
    if source is None:
        return []

    async def metrics(request: Request) -> Response:
        rejection = authorizer.rejection_of(request)
        if rejection is not None:
            return EarlyResponse(rejection)
        content_type, parts = await source.scrape(request.headers.get("accept", ""))
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(sum(map(len, parts))),
            "Cache-Control": "no-store",
            "Vary": "Accept",
        }
        if request.method == "HEAD":
            return Response(headers=headers)
        return StreamingResponse(_chunks(parts), headers=headers)

    return [Route("/metrics", metrics)]


async def _chunks(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Yield ``parts`` in chunks of limited size; small ones are joined."""
    pending: list[bytes] = []
    size = 0
    for part in parts:
        if size + len(part) <= _CHUNK_BYTES:
            pending.append(part)
            size += len(part)
            continue
        if pending:
            yield b"".join(pending)
        view = memoryview(part)
        whole = len(part) - len(part) % _CHUNK_BYTES
        for start in range(0, whole, _CHUNK_BYTES):
            yield bytes(view[start : start + _CHUNK_BYTES])
        pending, size = [bytes(view[whole:])], len(part) - whole
    if pending:
        yield b"".join(pending)
