"""``GET /api/v1/status``: what is broken in one sentence, and which configuration the daemon runs with."""

from typing import Protocol

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from streamcanary import __version__
from streamcanary.model.status.config_reload import ConfigStatus
from streamcanary.model.status.replicas import ReplicasStatus
from streamcanary.model.status.summary import StatusSummary
from streamcanary.web.api.endpoints import Endpoint
from streamcanary.web.api.reload import ConfigError, Reloads, config_errors
from streamcanary.web.api.replicas import Replicas
from streamcanary.web.api.responses import json_response, rfc3339


class Summaries(Protocol):
    """The status of everything as the API uses it."""

    def summary(self) -> StatusSummary:
        """Return the status of everything in one sentence."""
        ...


class ConfigDocument(Struct, frozen=True, kw_only=True):
    """Which configuration file is loaded, since when, and the result of the last reload."""

    file: str
    hash: str
    loaded: str
    last_reload: str | None
    last_result: str | None
    last_error: str | None
    errors: list[ConfigError]


class StatusDocument(Struct, frozen=True, kw_only=True):
    """The status of the daemon; ``config`` is ``null`` if it has no configuration file.

    ``replicas`` is ``null`` without a database that several share.
    """

    version: str
    summary: StatusSummary
    config: ConfigDocument | None
    replicas: ReplicasStatus | None = None


def status_endpoints(summaries: Summaries, reloads: Reloads | None, replicas: Replicas | None = None) -> list[Endpoint]:
    """Return the endpoint of the status."""

    async def status(request: Request) -> Response:
        return json_response(
            StatusDocument(
                version=__version__,
                summary=summaries.summary(),
                config=None if reloads is None else _config_document(reloads.status),
                replicas=None if replicas is None else replicas.status(),
            )
        )

    return [
        Endpoint(
            method="GET",
            path="/api/v1/status",
            handle=status,
            tag="status",
            summary="Return what is broken in one sentence, and which configuration is loaded.",
            result=StatusDocument,
        )
    ]


def _config_document(status: ConfigStatus) -> ConfigDocument:
    last = status.last_result
    return ConfigDocument(
        file=status.file,
        hash=status.content_hash,
        loaded=rfc3339(status.loaded),
        last_reload=None if status.last_reload is None else rfc3339(status.last_reload),
        last_result=None if last is None else last.kind.value,
        last_error=None if last is None or last.is_success else last.message,
        errors=[] if last is None else config_errors(last),
    )
