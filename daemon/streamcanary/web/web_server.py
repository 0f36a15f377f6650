"""What this daemon serves over HTTP, on one address: health, and whatever other routes it is given."""

import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from streamcanary.web.config import WebConfig
from streamcanary.web.uvicorn_server import UvicornServer, bind_socket

_log = logging.getLogger(__name__)


class WebServer:
    """Serves ``routes`` for as long as it is entered.

    ``address`` is the host and port that are served. A port that is taken costs these pages and nothing else: then
    ``address`` stays ``None``, and one warning says so.
    """

    def __init__(self, config: WebConfig, routes: Sequence[BaseRoute]) -> None:
        self._config = config
        self._routes = routes
        self._exit_stack = AsyncExitStack()
        self.address: tuple[str, int] | None = None

    async def __aenter__(self) -> Self:
        host, port = self._config.host, self._config.port
        try:
            listener = await bind_socket(host, port)
        except (OSError, ValueError) as error:  # ValueError: a host that cannot even be looked up
            _log.warning(
                "health is not served, canaries run on: cannot listen on %s port %d (%s); "
                "end what listens there, or set web.port to a free one, or to 0 for any",
                host,
                port,
                _error_reason(error),
            )
            return self
        application = Starlette(routes=self._routes)
        application.router.redirect_slashes = False
        server = await self._exit_stack.enter_async_context(UvicornServer(application, listener))
        self.address = server.address
        _log.info("health is served", extra={"host": self.address[0], "port": self.address[1]})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.address = None
        await self._exit_stack.aclose()


def _error_reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or "no such host"  # from the resolver, which numbers its errors from below
