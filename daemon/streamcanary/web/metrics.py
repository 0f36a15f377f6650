"""``/metrics`` for Prometheus. It is authorized as the API is: it names canaries, targets and what they spend."""

from bisect import bisect_left
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import accumulate
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from streamcanary.web.authorization import Authorizer
from streamcanary.web.request_body import EarlyResponse

_PART_BYTES: Final = 256 * 1024  # about: a large body does not occupy the event loop in one piece


class MetricsSource(Protocol):
    """Renders the metrics of the daemon."""

    async def scrape(self, accept: str) -> tuple[str, Sequence[bytes]]:
        """Return the content type for the header ``Accept``, and the body in pieces of any size."""
        ...


def metrics_routes(source: MetricsSource | None, authorizer: Authorizer) -> list[Route]:
    """Return the route of ``/metrics``; without a source there is none."""
    if source is None:
        return []

    async def metrics(request: Request) -> Response:
        rejection = authorizer.rejection_of(request)
        if rejection is not None:
            return EarlyResponse(rejection)
        content_type, pieces = await source.scrape(request.headers.get("accept", ""))
        ends = [*accumulate(map(len, pieces))]
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(ends[-1] if ends else 0),
            "Cache-Control": "no-store",
            "Vary": "Accept",
        }
        if request.method == "HEAD":
            return Response(headers=headers)
        return StreamingResponse(_iterate(pieces, ends), headers=headers)

    return [Route("/metrics", metrics)]


async def _iterate(pieces: Sequence[bytes], ends: Sequence[int]) -> AsyncIterator[bytes]:
    """Yield parts; each is written before the next, so that other tasks run between them."""
    for part in join_pieces(pieces, ends):
        yield part


def join_pieces(pieces: Sequence[bytes], ends: Sequence[int]) -> Iterator[bytes]:
    """Yield ``pieces`` in parts of about 256 KiB; ``ends`` has the end of each piece in the whole body.

    Each part is joined when it is needed, in memory that the one before has left: 30 MB at once would take three times
    as long, and twice the memory.
    """
    start = 0
    while start < len(pieces):
        end = bisect_left(ends, (ends[start - 1] if start else 0) + _PART_BYTES) + 1
        if part := b"".join(pieces[start:end]):
            yield part
        start = end
