"""``/metrics`` for Prometheus. It is authorized as the API is: it names canaries, targets and what they spend."""

from collections.abc import AsyncIterator
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from streamcanary.web.authorization import Authorizer
from streamcanary.web.request_body import EarlyResponse


class MetricsSource(Protocol):
    """Renders the metrics of the daemon."""

    def scrape(self, accept: str) -> tuple[str, AsyncIterator[bytes]]:
        """Return the content type for the header ``Accept``, and the body in parts, which are made when they are sent.

        Each is written before the next, so that other tasks run between them, and a large body never exists as a whole.
        """
        ...


def metrics_routes(source: MetricsSource | None, authorizer: Authorizer) -> list[Route]:
    """Return the route of ``/metrics``; without a source there is none."""
    if source is None:
        return []

    async def metrics(request: Request) -> Response:
        rejection = authorizer.rejection_of(request)
        if rejection is not None:
            return EarlyResponse(rejection)
        content_type, parts = source.scrape(request.headers.get("accept", ""))
        headers = {"Content-Type": content_type, "Cache-Control": "no-store", "Vary": "Accept"}
        return StreamingResponse(() if request.method == "HEAD" else parts, headers=headers)

    return [Route("/metrics", metrics)]
