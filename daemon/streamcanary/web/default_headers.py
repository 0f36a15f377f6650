"""Adds security headers to responses that have none: to JSON, metrics, health checks and errors."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

DEFAULT_HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
)
"""A response that is no page needs nothing else, and must not be read as one."""


class DefaultHeaders:
    """Serves ``application``, and adds those of :data:`DEFAULT_HEADERS` that a response does not have."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", [])
                known = {name.lower() for name, _ in headers}
                message = {**message, "headers": [*headers, *(one for one in DEFAULT_HEADERS if one[0] not in known)]}
            await send(message)

        await self._application(scope, receive, send_with_headers)
