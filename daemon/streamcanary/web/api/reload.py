"""``POST /-/reload``: reload the configuration.

A reload that fails is answered with a problem document (RFC 9457), which lists every error of the file.
"""

from typing import Protocol

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from streamcanary.model.status.config_reload import ConfigStatus, ReloadKind, ReloadResult
from streamcanary.web.api.endpoints import Endpoint
from streamcanary.web.api.responses import json_response
from streamcanary.web.problems import problem_response

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


class ConfigError(Struct, frozen=True, kw_only=True):
    """An error of the configuration file, at a line and column of it if these are known."""

    key: str
    line: int | None
    column: int | None
    message: str


class ConfigChange(Struct, frozen=True, kw_only=True):
    """A key of the configuration that has changed, and how."""

    key: str
    change: str


class ReloadDocument(Struct, frozen=True, kw_only=True):
    """The result of a reload; ``restart_needed`` are the keys whose change needs a restart."""

    result: str
    hash: str
    changes: list[ConfigChange]
    restart_needed: list[str]
    errors: list[ConfigError]


def reload_endpoints(reloads: Reloads | None) -> list[Endpoint]:
    """Return the endpoint. Without ``reloads`` the configuration has no file, and there is nothing to reload."""

    async def reload(request: Request) -> Response:
        if reloads is None:
            return problem_response(request, 404, "this daemon has no configuration file")
        result = await reloads.reload()
        if result.is_success:
            return json_response(_result_document(result))
        code, title = _PROBLEMS[result.kind]
        extensions = msgspec.to_builtins(_result_document(result))
        return problem_response(request, code, result.message, title=title, extensions=extensions)

    return [
        Endpoint(
            method="POST",
            path="/-/reload",
            handle=reload,
            tag="status",
            summary="Reload the configuration.",
            description="The problem of a reload that failed has the fields of the result in addition.",
            result=ReloadDocument,
            problems=(404, 409, 422, 500, 503),
        )
    ]


def _result_document(result: ReloadResult) -> ReloadDocument:
    return ReloadDocument(
        result=result.kind.value,
        hash=result.content_hash,
        changes=[ConfigChange(key=each.key, change=each.change) for each in result.changes[:_MAX_LISTED]],
        restart_needed=list(result.restart_needed[:_MAX_LISTED]),
        errors=config_errors(result),
    )


def config_errors(result: ReloadResult) -> list[ConfigError]:
    """Return the errors of the configuration file."""
    return [
        ConfigError(key=error.key, line=error.line, column=error.column, message=error.message)
        for error in result.errors
    ]
