"""The routes for those without a token: the form to log in, badges, and the public page."""

from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from streamcanary.web.authorization import Authorizer, Refusal
from streamcanary.web.page.drawing.badge import badge
from streamcanary.web.page.responses import (
    COMPRESSION,
    SECURITY_HEADERS,
    Failure,
    Form,
    failure_page,
    form_handler,
    html,
    read_form,
    refusal_page,
)
from streamcanary.web.page.sources import Canaries
from streamcanary.web.page.views.public import public_title, public_view
from streamcanary.web.request_body import EarlyResponse
from streamcanary.web.sessions import COOKIE, SESSION_LIFETIME

_BADGE_HEADERS: Final = {
    **SECURITY_HEADERS,
    "Content-Security-Policy": "default-src 'none'; style-src 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",  # a README shows it
}
_PUBLIC_CACHE: Final = {"Cache-Control": "public, max-age=30"}
_PRIVATE_CACHE: Final = {"Cache-Control": "private, max-age=30"}  # a proxy must not give it to others


class AccessPages:
    """The pages for those without a token."""

    def __init__(self, canaries: Canaries, authorizer: Authorizer) -> None:
        self._canaries = canaries
        self._authorizer = authorizer

    async def login_page(self, request: Request) -> Response:
        """Show the form to log in, or the overview if there is no need to."""
        refusal = self._authorizer.page_refusal(request)
        return RedirectResponse("/", 303, SECURITY_HEADERS) if refusal is None else refusal_page(request, refusal)

    async def login(self, request: Request) -> Response:
        """Exchange the token for a session."""
        try:
            form = await read_form(request)
        except Failure as failure:
            return EarlyResponse(failure_page(failure, is_login=True))
        after = local_address(form.first("next"))
        result = self._authorizer.login(request, form.first("token"))
        if isinstance(result, Refusal) and result.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS):
            return html("login.html", result.status, result.headers, is_login=True, error=result.message, next=after)
        if isinstance(result, Refusal):
            return refusal_page(request, result)
        response = RedirectResponse(after, status_code=303, headers=SECURITY_HEADERS)
        is_https = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
        response.set_cookie(
            COOKIE, result, max_age=int(SESSION_LIFETIME), httponly=True, samesite="strict", secure=is_https
        )
        return response

    async def logout(self, request: Request, form: Form) -> Response:
        """End the session in this browser."""
        response = RedirectResponse("/", status_code=303, headers=SECURITY_HEADERS)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    async def badge(self, request: Request) -> Response:
        """Answer with the badge of a canary: to those who may read the page, or to anyone if that is public."""
        refusal = self._authorizer.page_refusal(request)
        if refusal is not None and (
            not self._authorizer.has_public_page or self._authorizer.host_refusal(request) is not None
        ):
            return refusal_page(request, refusal)
        name = request.path_params["canary"]
        headers = {**_BADGE_HEADERS, **(_PUBLIC_CACHE if self._authorizer.has_public_page else _PRIVATE_CACHE)}
        status = self._canaries.find(name)
        if status is None:
            return Response(badge(name, "unknown", None), 404, headers, "image/svg+xml")
        month = status.month.availability if status.month else None
        title = public_title(status) if refusal is not None else name
        return Response(badge(title, status.state.value, month), 200, headers, "image/svg+xml")

    async def public(self, request: Request) -> Response:
        """Show the public page, if there is one."""
        if (refusal := self._authorizer.host_refusal(request)) is not None:
            return refusal_page(request, refusal)
        if not self._authorizer.has_public_page:
            return failure_page(
                Failure(404, "There is no public page.", "web.public_page: true shows one."), is_login=True
            )
        view = public_view(self._canaries.statuses())
        return html("public.html", view=view, heading=f"{view.sentence} · status", is_public=True)


def access_routes(pages: AccessPages, authorizer: Authorizer) -> list[Route]:
    """Return the routes of login, logout, badges and the public page."""
    return [
        Route("/login", pages.login_page),
        Route("/login", pages.login, methods=["POST"]),
        Route("/logout", form_handler(authorizer, pages.logout), methods=["POST"]),
        Route("/badge/{canary}.svg", pages.badge),
        Route("/public", pages.public, middleware=COMPRESSION),
    ]


def local_address(address: str) -> str:
    """Return where to go after the login: a path of this server, whatever a form says."""
    is_local = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address[:1000] if is_local and address.isascii() else "/"
