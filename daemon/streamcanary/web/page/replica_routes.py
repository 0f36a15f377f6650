"""The route of the page of replicas; there is none without a database that several share."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamcanary.web.api.replicas import Replicas
from streamcanary.web.authorization import Authorizer
from streamcanary.web.page.responses import COMPRESSION, html, page_handler
from streamcanary.web.page.routes import StatusPages
from streamcanary.web.page.views.replicas import replicas_version, replicas_view


def replica_routes(replicas: Replicas | None, pages: StatusPages, authorizer: Authorizer) -> list[Route]:
    """Return the route of the page."""
    if replicas is None:
        return []

    async def show(request: Request) -> Response:
        status = replicas.status()
        frame = pages.frame(request, subject="replicas")
        version = replicas_version(status)
        return html(
            "replicas.html", view=replicas_view(status), live="replicas", version=version, here="replicas", **frame
        )

    return [Route("/replicas", page_handler(authorizer, show), middleware=COMPRESSION)]
