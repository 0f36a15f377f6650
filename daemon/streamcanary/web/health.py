"""The health endpoints. ``/livez``: the event loop runs. ``/readyz``: the daemon can work, even if its targets fail.

The responses contain names and reasons but no secrets. They do not depend on the client or the ``Host`` header,
because the kubelet uses the address of the pod.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from streamcanary.model.redaction.redactor import scrub

_log = logging.getLogger(__name__)


class Healthy(str):
    """What a component that is healthy has to say."""

    __slots__ = ()


HealthCheck = Callable[[], Awaitable[str | None] | str | None]
"""Returns why the component is not healthy; ``None``, or :class:`Healthy` with a remark, if it is.

May be a coroutine function; limited to 2 s.
"""

_CHECK_TIMEOUT = 2.0  # seconds
_NO_STORE = {"Cache-Control": "no-store"}


def health_routes(checks: Mapping[str, HealthCheck]) -> list[Route]:
    """Return the routes of the health endpoints. ``checks`` are the checks of ``/readyz`` by name."""

    async def livez(request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=_NO_STORE)

    async def readyz(request: Request) -> Response:
        results = await asyncio.gather(*(_run_check(name, check) for name, check in checks.items()))
        is_ready = all(isinstance(result, Healthy) for result in results)
        answer = dict(zip(checks, results, strict=True))
        return JSONResponse(
            {"ready": is_ready, "checks": answer}, status_code=200 if is_ready else 503, headers=_NO_STORE
        )

    return [Route("/livez", livez), Route("/readyz", readyz)]


async def _run_check(name: str, check: HealthCheck) -> str:
    """Return why a component is not healthy, or that it is."""
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT):
            reason = check()
            if inspect.isawaitable(reason):
                reason = await reason
    except TimeoutError:
        return f"no result within {_CHECK_TIMEOUT:g} s"
    except Exception as error:  # noqa: BLE001 - it is logged and reported in the response: the check fails
        _log.warning("readiness check raised an exception", extra={"check": name}, exc_info=True)
        return f"the check raised {type(error).__name__}"
    if not reason:
        return Healthy("ok")
    return Healthy(scrub(reason)) if isinstance(reason, Healthy) else scrub(reason)
