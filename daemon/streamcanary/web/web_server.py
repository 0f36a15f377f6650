"""The HTTP server of the daemon: serves routes on one address."""

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from opentelemetry import metrics
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from streamcanary import __version__
from streamcanary.model import names
from streamcanary.web.config import WebConfig
from streamcanary.web.default_headers import DefaultHeaders
from streamcanary.web.problems import http_problem
from streamcanary.web.uvicorn_server import UvicornServer, bind_socket

_log = logging.getLogger(__name__)

RETRY_DELAYS: Final = (1.0, 60.0)
"""Seconds before the first further attempt to bind the address, and at most; doubled each time."""


class WebServer:
    """Serves ``routes`` while the context is entered; nothing, and on no port, if ``config`` is not ``enabled``.

    ``address`` is the bound host and port. If the address cannot be bound, canaries run without the server: ``address``
    is ``None``, ``web server start failed`` is logged, and ``streamcanary.web.listening`` is 0. Binding is tried again
    after 1 s, and then at growing intervals up to a minute, unless ``retry`` is false: a sidecar that shares the ports
    of another container would take its port while that restarts.
    """

    def __init__(
        self,
        config: WebConfig,
        routes: Sequence[BaseRoute],
        *,
        retry: bool = True,
        retry_delays: tuple[float, float] = RETRY_DELAYS,
    ) -> None:
        self._config = config
        self._routes = routes
        self._retry = retry
        self._retry_delays = retry_delays
        self._exit_stack = AsyncExitStack()
        self._retry_task: asyncio.Task[None] | None = None
        metric = names.WEB_LISTENING
        meter = metrics.get_meter(names.INSTRUMENTATION_SCOPE, __version__)
        self._listening = meter.create_gauge(metric.name, metric.unit, metric.description)
        self.address: tuple[str, int] | None = None

    async def __aenter__(self) -> Self:
        if not self._config.enabled or (error := await self._start()) is None:
            return self
        again = "it is tried again" if self._retry else "it is not tried again, so as not to take the port from others"
        _log.warning(
            "web server start failed",
            extra={
                "host": self._config.host,
                "port": self._config.port,
                "error": _error_reason(error),
                "hint": "health endpoints and API are unavailable, canaries run; stop the process that uses the port, "
                f"or set web.port to a free port, or to 0 for any; {again}",
            },
        )
        if self._retry:
            self._retry_task = asyncio.create_task(self._start_later(), name="web server start")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.address = None
        if self._retry_task is not None:
            self._retry_task.cancel()
            await asyncio.gather(self._retry_task, return_exceptions=True)
        await self._exit_stack.aclose()

    async def _start_later(self) -> None:
        """Try again until the server has started."""
        delay, longest = self._retry_delays
        while True:
            await asyncio.sleep(delay)
            if await self._start() is None:
                return
            delay = min(2 * delay, longest)

    async def _start(self) -> Exception | None:
        """Start the server; return the error because of which it has not."""
        try:
            listener = await bind_socket(self._config.host, self._config.port)
        except (OSError, ValueError) as error:  # ValueError: an invalid host name
            self._listening.set(0)
            return error
        application = Starlette(
            routes=self._routes, exception_handlers={HTTPException: http_problem, Exception: http_problem}
        )
        application.router.redirect_slashes = False
        server = await self._exit_stack.enter_async_context(UvicornServer(DefaultHeaders(application), listener))
        self.address = server.address
        self._listening.set(1)
        _log.info("web server started", extra={"host": self.address[0], "port": self.address[1]})
        return None


def _error_reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or "no such host"  # errors of the resolver have negative numbers
