"""Assembles the routes of the status page."""

from starlette.routing import Route

from streamcanary.model.clock import Clock
from streamcanary.web.authorization import Authorizer
from streamcanary.web.page.access_routes import AccessPages, access_routes
from streamcanary.web.page.alert_routes import AlertPages, alert_routes
from streamcanary.web.page.replica_routes import replica_routes
from streamcanary.web.page.routes import StatusPages, status_routes
from streamcanary.web.page.sources import PageSources


def page_routes(sources: PageSources, authorizer: Authorizer, clock: Clock) -> list[Route]:
    """Return the routes of the page. They come last: the final one answers every other path with what exists."""
    pages = StatusPages(sources, authorizer, clock)
    return [
        *access_routes(AccessPages(sources.canaries, authorizer), authorizer),
        *alert_routes(AlertPages(sources, pages, clock), authorizer),
        *replica_routes(sources.replicas, pages, authorizer),
        *status_routes(pages, authorizer),
    ]
