"""``GET /api/v1/status``: which configuration the daemon runs with. ``POST /-/reload``: reload it.

A reload that fails is answered with a problem document (RFC 9457), which lists every error of the file.
"""

from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streamcanary import __version__
from streamcanary.model.config_reload import ConfigStatus, ReloadKind, ReloadResult
from streamcanary.web.authorization import Authorizer
from streamcanary.web.authorized_handler import authorized_handler

_NO_STORE = {"Cache-Control": "no-store"}
_MAX_LISTED = 1000  # changes and keys in one answer
_PROBLEMS: dict[ReloadKind, tuple[int, str]] = {
    ReloadKind.INVALID: (422, "The configuration is invalid"),
    ReloadKind.RESTART_NEEDED: (409, "The configuration needs a restart"),
    ReloadKind.FAILED: (500, "The configuration could not be loaded"),
    ReloadKind.STOPPING: (503, "The daemon is stopping"),
}


class Reloads(Protocol):
    """The reloads of the configuration as the API uses them."""

    @property
    def status(self) -> ConfigStatus:
        """Which configuration the daemon runs with."""
        ...

    async def reload(self) -> ReloadResult:
        """Reload the configuration, and return the result."""
        ...


def reload_routes(reloads: Reloads | None, authorizer: Authorizer) -> list[Route]:
    """Return the routes. Without ``reloads`` the configuration has no file, and there is nothing to show or reload."""

    async def status(request: Request) -> Response:
        config = None if reloads is None else _status_json(reloads.status)
        return JSONResponse({"version": __version__, "config": config}, headers=_NO_STORE)

    async def reload(request: Request) -> Response:
        if reloads is None:
            return JSONResponse({"error": "this daemon has no configuration file"}, status_code=404)
        result = await reloads.reload()
        if result.is_success:
            return JSONResponse(_result_json(result), headers=_NO_STORE)
        code, title = _PROBLEMS[result.kind]
        problem = {"title": title, "status": code, "detail": result.message, **_result_json(result)}
        return JSONResponse(problem, code, headers=_NO_STORE, media_type="application/problem+json")

    return [
        Route("/api/v1/status", authorized_handler(authorizer, status)),
        Route("/-/reload", authorized_handler(authorizer, reload), methods=["POST"]),
    ]


def _status_json(status: ConfigStatus) -> dict[str, Any]:
    last = status.last_result
    return {
        "file": status.file,
        "hash": status.content_hash,
        "loaded": _rfc3339(status.loaded),
        "last_reload": None if status.last_reload is None else _rfc3339(status.last_reload),
        "last_result": None if last is None else last.kind.value,
        "last_error": None if last is None or last.is_success else last.message,
        "errors": [] if last is None else _errors_json(last),
    }


def _result_json(result: ReloadResult) -> dict[str, Any]:
    return {
        "result": result.kind.value,
        "hash": result.content_hash,
        "changes": [{"key": each.key, "change": each.change} for each in result.changes[:_MAX_LISTED]],
        "restart_needed": list(result.restart_needed[:_MAX_LISTED]),
        "errors": _errors_json(result),
    }


def _errors_json(result: ReloadResult) -> list[dict[str, Any]]:
    return [
        {"key": error.key, "line": error.line, "column": error.column, "message": error.message}
        for error in result.errors
    ]


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
