"""A served status page, and what is on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any

import httpx2

from streamcanary.web.authorization import Authorizer
from streamcanary.web.config import WebConfig
from streamcanary.web.page.page import page_routes
from streamcanary.web.page.sources import PageSources
from streamcanary.web.web_server import WebServer
from support.clock import ManualClock
from support.http_client import NO_CA_CONTEXT
from support.status.canaries import NOON

_BLOCKS = frozenset(
    ("article", "dd", "div", "dt", "h1", "h2", "h3", "header", "label", "li", "p", "section", "td", "th", "tr")
)

TOKEN = "0123456789abcdef"


@asynccontextmanager
async def served_page(
    sources: PageSources, *, is_public: bool = False, clock: ManualClock | None = None, **web: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve the page over ``sources``, and yield a client that follows no redirects."""
    config = WebConfig.model_validate({"port": 0, "public_page": is_public, **web})
    clock = clock or ManualClock(wall=NOON)
    routes = page_routes(sources, Authorizer(config, clock), clock)
    async with WebServer(config, routes) as site:
        assert site.address is not None
        base_url = f"http://127.0.0.1:{site.address[1]}"
        async with httpx2.AsyncClient(trust_env=False, base_url=base_url, verify=NO_CA_CONTEXT) as http:
            yield http


def same_origin(http: httpx2.AsyncClient) -> dict[str, str]:
    """Return the headers that a browser sends with a form of this site."""
    return {"Origin": str(http.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}


class Document(HTMLParser):
    """A page: its elements with their attributes, and the text of each."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._texts: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "img", "br", "option"):
            self._open.append((tag, dict(attrs), []))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            name, attributes, parts = self._open.pop()
            text = "".join(parts)
            self._texts.append((name, attributes, " ".join(text.split())))
            if self._open:
                self._open[-1][2].append(f" {text} " if name in _BLOCKS else text)
            if name == tag:
                return

    def handle_data(self, data: str) -> None:
        if self._open:
            self._open[-1][2].append(data)

    def text(self, tag: str, **attributes: str) -> str:
        """Return the text of the first element with these attributes (``data_state`` is ``data-state``)."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return next(text for name, found, text in self._texts if name == tag and wanted.items() <= found.items())

    def all(self, tag: str, attribute: str) -> list[str]:
        """Return the values of an attribute of all elements ``tag`` that have it."""
        return [found[attribute] or "" for name, found in self.elements if name == tag and attribute in found]
