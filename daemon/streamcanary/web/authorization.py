"""Authorizes requests to the API: by host, and by bearer token or, if no token is set, by loopback address."""

import hashlib
import hmac

from starlette.requests import Request
from starlette.responses import JSONResponse

from streamcanary.model.config_types.secret import SecretUnreadable
from streamcanary.model.redaction.redactor import scrub
from streamcanary.web.allowed_hosts import AllowedHosts, host_name, is_loopback
from streamcanary.web.config import WebConfig

_READING_METHODS = frozenset({"GET", "HEAD"})


class Authorizer:
    """Checks requests against the ``web:`` section."""

    def __init__(self, config: WebConfig) -> None:
        self.configure(config)

    def configure(self, config: WebConfig) -> None:
        """Check requests against another section from now on."""
        self._bearer_token = config.bearer_token
        self._allowed_hosts = AllowedHosts(config.host, config.allowed_hosts)
        self._is_loopback_only = is_loopback(config.host)

    def rejection_of(self, request: Request) -> JSONResponse | None:
        """Return the response that rejects ``request``; ``None`` if the request is authorized.

        Every request must name a host by which the server is known, and send the token if one is set.
        """
        host = request.headers.get("host", "")
        local_address, _ = request.scope.get("server") or (None, None)
        if not self._allowed_hosts.allows(host, local_address):
            name = scrub(host, limit=100) or "without a name"
            return _error_response(421, f"the host {name} is not known; use localhost, or add it to web.allowed_hosts")
        if self._bearer_token is None:
            return None if request.method in _READING_METHODS else self._rejection_of_change(request, host)
        try:
            token = self._bearer_token.reveal()
        except SecretUnreadable:
            return _error_response(503, "web.token_file cannot be read")
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _is_equal(credentials.strip().encode("latin-1"), token.encode()):
            return None
        return _error_response(401, "send the token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})

    def _rejection_of_change(self, request: Request, host: str) -> JSONResponse | None:
        """Return the response that rejects a change without a token, if it could come from elsewhere.

        A website in a local browser must not be able to change state. A change must therefore name this machine as its
        host, and be JSON, which other origins can send only after a CORS preflight.
        """
        if not self._is_loopback_only:
            return _error_response(403, "changes need a token on this address; set web.token_file")
        if not is_loopback(host_name(host)):
            return _error_response(403, "use the host localhost, or set web.token_file and send the token")
        if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] != "application/json":
            return _error_response(415, "send application/json")
        return None


def _is_equal(one: bytes, other: bytes) -> bool:
    """Compare in a time that depends neither on the content nor on the lengths."""
    return hmac.compare_digest(hashlib.sha256(one).digest(), hashlib.sha256(other).digest())


def _error_response(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status, headers=headers)
