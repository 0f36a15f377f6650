"""Error responses: problem documents of RFC 9457."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from streamcanary.model.redaction.redactor import scrub

MEDIA_TYPE: Final = "application/problem+json"
"""The media type of a problem document."""

_MAX_INSTANCE = 200  # characters
_MAX_DETAIL = 2000  # characters


class Problem(Struct, frozen=True, kw_only=True):
    """An error (RFC 9457). ``detail`` says what is wrong, and what would be right.

    ``instance`` is the path of the request, and ``/`` if the daemon has no such path: it may have a token in it.
    """

    type: str = "about:blank"
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    instance: str


def problem_response(
    request: Request,
    status: int,
    detail: str,
    *,
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> Response:
    """Return the response with the problem document for ``request``; ``extensions`` are further members of it."""
    problem = Problem(
        title=title or HTTPStatus(status).phrase,
        status=status,
        detail=detail[:_MAX_DETAIL],
        instance=_path_of(request),
    )
    content = msgspec.json.encode({**msgspec.to_builtins(problem), **(extensions or {})})
    return Response(content, status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


async def http_problem(request: Request, error: Exception) -> Response:
    """Return the problem of a request for which there is no route, or that a route does not answer."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    if status == HTTPStatus.NOT_FOUND:
        detail = "there is no such path; GET /api/openapi.json lists what there is"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(sorted((headers or {}).get("Allow", "").split(", ")))
        detail = f"{_path_of(request)} does not accept {scrub(request.method, limit=20)}; use {allowed}"
    elif isinstance(error, HTTPException):
        detail = error.detail
    else:
        detail = "the daemon has an internal error; its log has the reason"
    return problem_response(request, status, detail, headers=headers)


def _path_of(request: Request) -> str:
    return scrub(request.url.path, limit=_MAX_INSTANCE) if "endpoint" in request.scope else "/"
