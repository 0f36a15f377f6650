"""Wraps the handlers of the JSON API: authorizes each request, and answers errors as ``{"error": "..."}``."""

from collections.abc import Awaitable, Callable

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from streamcanary.web.authorization import Authorizer
from streamcanary.web.request_body import BodyTooLarge, EarlyResponse

Handler = Callable[[Request], Awaitable[Response]]
"""Answers a request. It may raise ``ValueError`` with a message for the client: status 400."""


def authorized_handler(authorizer: Authorizer, handle: Handler) -> Handler:
    """Return ``handle`` for authorized requests only; invalid ones get status 400 or 413 with the reason."""

    async def respond(request: Request) -> Response:
        rejection = authorizer.rejection_of(request)
        if rejection is not None:
            return EarlyResponse(rejection)
        try:
            return await handle(request)
        except BodyTooLarge as error:
            rejection = JSONResponse({"error": str(error)}, status_code=413)
            return EarlyResponse(rejection) if error.has_more else rejection
        except ValidationError as error:
            return JSONResponse({"error": _validation_message(error)}, status_code=400)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    return respond


def _validation_message(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in problems[:10]
    )
