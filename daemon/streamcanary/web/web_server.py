"""The HTTP server of the daemon: serves routes on one address."""

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
    """Serves ``routes`` while the context is entered.

    ``address`` is the bound host and port. If the address cannot be bound, canaries run without the server: ``address``
    stays ``None``, and ``web server start failed`` is logged.
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
        except (OSError, ValueError) as error:  # ValueError: an invalid host name
            _log.warning(
                "web server start failed",
                extra={
                    "host": host,
                    "port": port,
                    "error": _error_reason(error),
                    "hint": "health endpoints and API are unavailable, canaries run; stop the process that uses the "
                    "port, or set web.port to a free port, or to 0 for any",
                },
            )
            return self
        application = Starlette(routes=self._routes)
        application.router.redirect_slashes = False
        server = await self._exit_stack.enter_async_context(UvicornServer(application, listener))
        self.address = server.address
        _log.info("web server started", extra={"host": self.address[0], "port": self.address[1]})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.address = None
        await self._exit_stack.aclose()


def _error_reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or "no such host"  # errors of the resolver have negative numbers
