"""``/livez``: the loop turns. ``/readyz``: this daemon can do its work, whatever becomes of the endpoints it asks.

The answers hold names and reasons, no secrets; they are the same to whoever asks, by whatever ``Host``: the kubelet
asks by the address of the pod.
"""

import asyncio
import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from streamcanary.model.secret import scrub
from streamcanary.web.config import WebConfig
from streamcanary.web.server import LoopServer, bind

_log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[str | None] | str | None]
"""Says why it is not well, or ``None`` if it is. May be a coroutine function; is given two seconds."""

_LONGEST_CHECK = 2.0  # seconds
_FRESH = {"Cache-Control": "no-store"}


class HealthServer:
    """Serves health for as long as it is entered.

    ``checks`` are what ``/readyz`` asks, by name. ``address`` is the host and port that are served. A port that is
    taken costs these pages and nothing else: then ``address`` stays ``None``, and one warning says so.
    """

    def __init__(self, config: WebConfig, checks: Mapping[str, Check]) -> None:
        self._config = config
        self._checks = dict(checks)
        self._running = AsyncExitStack()
        self.address: tuple[str, int] | None = None

    async def __aenter__(self) -> Self:
        host, port = self._config.host, self._config.port
        try:
            listener = await bind(host, port)
        except (OSError, ValueError) as error:  # ValueError: a host that cannot even be looked up
            _log.warning(
                "health is not served, canaries run on: cannot listen on %s port %d (%s); "
                "end what listens there, or set web.port to a free one, or to 0 for any",
                host,
                port,
                _reason(error),
            )
            return self
        server = await self._running.enter_async_context(LoopServer(self._application(), listener))
        self.address = server.address
        _log.info("health is served", extra={"host": self.address[0], "port": self.address[1]})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.address = None
        await self._running.aclose()

    def _application(self) -> Starlette:
        application = Starlette(routes=[Route("/livez", self._livez), Route("/readyz", self._readyz)])
        application.router.redirect_slashes = False
        return application

    async def _livez(self, request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=_FRESH)

    async def _readyz(self, request: Request) -> Response:
        reasons = await asyncio.gather(*(_ask(name, check) for name, check in self._checks.items()))
        ready = not any(reasons)
        answer = {name: reason or "ok" for name, reason in zip(self._checks, reasons, strict=True)}
        return JSONResponse({"ready": ready, "checks": answer}, status_code=200 if ready else 503, headers=_FRESH)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or "no such host"  # from the resolver, which numbers its errors from below


async def _ask(name: str, check: Check) -> str | None:
    try:
        async with asyncio.timeout(_LONGEST_CHECK):
            reason = check()
            if inspect.isawaitable(reason):
                reason = await reason
    except TimeoutError:
        return f"no answer within {_LONGEST_CHECK:g} s"
    except Exception as error:  # noqa: BLE001 - it goes into the answer and the log: the check does not pass
        _log.warning("the check %s of /readyz broke", name, exc_info=True)
        return f"the check broke: {type(error).__name__}"
    return scrub(reason) if reason else None
