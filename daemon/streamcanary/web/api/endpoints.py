"""The table of endpoints: what each accepts and returns. The routes and the OpenAPI document are made of it."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Literal

from msgspec import Struct
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamcanary.store.errors import StoreFailing
from streamcanary.web.authorization import Authorizer
from streamcanary.web.problems import problem_response
from streamcanary.web.request_body import BodyTooLarge, EarlyResponse

Handler = Callable[[Request], Awaitable[Response]]
"""Answers a request. It may raise ``ValueError`` with a message for the client: status 400."""

JSON: Final = "application/json"
"""The media type of most responses."""

IS_AUTHORIZED: Final = "is_authorized"
"""The name of the function in the state of a request that returns whether the request would still be authorized."""


class Endpoint(Struct, frozen=True, kw_only=True):
    """One method of one path.

    ``summary`` says in one line what it does, ``description`` more. ``path_parameters`` are the parameters of ``path``
    with their meaning, ``query`` is the struct of the query parameters, ``body`` the model of the request body.
    ``result`` is the type of the response, ``None`` if it is empty, with the status ``success``. ``problems`` are the
    statuses of errors besides those that each endpoint has, such as 400, or each ``POST``, such as 415.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handle: Handler
    summary: str
    description: str = ""
    tag: str
    path_parameters: dict[str, str] = {}
    query: type[Struct] | None = None
    body: type[BaseModel] | None = None
    result: Any = None
    media_type: str = JSON
    success: int = 200
    problems: tuple[int, ...] = ()


def endpoint_routes(endpoints: Iterable[Endpoint], authorizer: Authorizer) -> list[Route]:
    """Return the routes of ``endpoints``: one for each path, so that another method gets 405 with all allowed ones."""
    by_path: dict[str, dict[str, Handler]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = authorized_handler(authorizer, endpoint.handle)
    return [Route(path, _by_method(handlers), methods=[*handlers]) for path, handlers in by_path.items()]


def _by_method(handlers: dict[str, Handler]) -> Handler:
    async def respond(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return respond


def authorized_handler(authorizer: Authorizer, handle: Handler) -> Handler:
    """Return ``handle`` for authorized requests only.

    Invalid ones get status 400 or 413 with the reason, and those that the store fails for 503.
    """

    async def respond(request: Request) -> Response:
        rejection = authorizer.rejection_of(request)
        if rejection is not None:
            return EarlyResponse(rejection)
        setattr(request.state, IS_AUTHORIZED, lambda: authorizer.rejection_of(request) is None)
        try:
            return await handle(request)
        except BodyTooLarge as error:
            rejection = problem_response(request, 413, str(error))
            return EarlyResponse(rejection) if error.has_more else rejection
        except ValidationError as error:
            return problem_response(request, 400, _validation_message(error))
        except ValueError as error:
            return problem_response(request, 400, str(error))
        except StoreFailing as error:
            return problem_response(request, 503, str(error))

    return respond


def _validation_message(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in problems[:10]
    )
