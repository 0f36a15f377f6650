"""Responses of the page: their headers, and the handlers around each page."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from streamcanary.web.authorization import Authorizer, Refusal
from streamcanary.web.page.rendering import load, render
from streamcanary.web.request_body import BodyTooLarge, EarlyResponse, read_body
from streamcanary.web.sessions import is_equal

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer, a browser would not say which site sends a form
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
COMPRESSION: Final = [Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)]
"""Pages are compressed: text of this kind is five to seven times smaller, in about a millisecond."""

MAX_FIELDS: Final = 50

Handler = Callable[[Request], Awaitable[Response]]
"""Answers a request for a page. It may raise :class:`Failure`."""


class Failure(Exception):
    """A page that cannot be shown: ``heading`` and ``message`` for people, and what exists as ``links``."""

    def __init__(
        self,
        status: int,
        heading: str,
        message: str,
        links: tuple[tuple[str, str], ...] = (),
        links_heading: str = "What there is",
    ) -> None:
        super().__init__(message)
        self.status, self.heading, self.message = status, heading, message
        self.links, self.links_heading = links, links_heading


def html(template: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any) -> HTMLResponse:
    """Return a rendered page."""
    return HTMLResponse(
        render(template, **values),
        status_code=status,
        headers={**SECURITY_HEADERS, "Cache-Control": "no-store", **(headers or {})},
    )


def failure_page(failure: Failure, **values: Any) -> HTMLResponse:
    """Return the page of a failure."""
    return html(
        "error.html",
        failure.status,
        heading=failure.heading,
        message=failure.message,
        links=failure.links,
        links_heading=failure.links_heading,
        **values,
    )


def refusal_page(request: Request, refusal: Refusal) -> Response:
    """Return the page of a refused request: the form to log in if that helps."""
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        after = wanted if request.method in ("GET", "HEAD") else "/"
        return html("login.html", 401, refusal.headers, is_login=True, error="", next=after)
    heading = HTTPStatus(refusal.status).phrase if refusal.status != HTTPStatus.MISDIRECTED_REQUEST else "Unknown host"
    return failure_page(Failure(refusal.status, heading, refusal.message), headers=refusal.headers, is_login=True)


def page_handler(authorizer: Authorizer, handle: Handler) -> Handler:
    """Return ``handle`` for those who may read the page; failures become pages."""

    async def respond(request: Request) -> Response:
        await load()
        refusal = authorizer.page_refusal(request)
        if refusal is not None:
            return refusal_page(request, refusal)
        try:
            return await handle(request)
        except Failure as failure:
            return failure_page(failure)

    return respond


def form_handler(authorizer: Authorizer, handle: Callable[[Request, "Form"], Awaitable[Response]]) -> Handler:
    """Return ``handle`` for forms that a page of this server sent, see :meth:`Authorizer.form_refusal`."""

    async def respond(request: Request) -> Response:
        refusal = authorizer.form_refusal(request)
        if refusal is not None:
            return EarlyResponse(refusal_page(request, refusal))
        try:
            form = await read_form(request)
            session = authorizer.session_of(request)
            if session is not None and not is_equal(form.first("csrf"), session.csrf):
                return failure_page(
                    Failure(403, "The form is out of date", "It was opened before you logged in; open it again.")
                )
            return await handle(request, form)
        except Failure as failure:
            return failure_page(failure)

    return respond


class Form:
    """The fields of a form, each possibly more than once."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def first(self, name: str) -> str:
        """Return the first value of a field, empty if there is none."""
        return next((value for key, value in self._pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        """Return the values of a field."""
        return [value for key, value in self._pairs if key == name]


async def read_form(request: Request) -> Form:
    """Return the fields of the form that ``request`` sends.

    Raises:
        Failure: if it is too large, or no form.
    """
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Failure(415, "Not a form", "Send application/x-www-form-urlencoded, or JSON to /api/v1.")
    try:
        body = await read_body(request)
        return Form(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except BodyTooLarge as error:
        raise Failure(413, "Too large", str(error)) from None
    except ValueError:
        raise Failure(400, "Not a form", "The body is not UTF-8, or has too many fields.") from None
