"""Who may change something: whoever shows the token, and on loopback, where none is set, whoever is on this machine."""

import hmac
import ipaddress

from starlette.requests import Request
from starlette.responses import JSONResponse

from streamcanary.model.config_types.secret import SecretUnreadable
from streamcanary.web.config import WebConfig

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Authorizer:
    """Holds requests against one configuration."""

    def __init__(self, config: WebConfig) -> None:
        self._bearer_token = config.bearer_token
        self._is_loopback_only = _is_loopback(config.host)

    def rejection_of(self, request: Request) -> JSONResponse | None:
        """Return the answer to a ``request`` that may change nothing; ``None`` if it may.

        Without a token a browser must not be made an accomplice by a page it shows: a request has to name this machine
        as its host (no rebinding of DNS), and to be JSON, which other sites cannot send without being asked first.
        """
        if self._bearer_token is None:
            if not self._is_loopback_only:
                return _error_response(403, "nothing can be changed from here without a token; set web.token_file")
            if (request.url.hostname or "") not in _LOCAL_NAMES:
                return _error_response(403, "ask as localhost, or set web.token_file and show the token")
            if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] != "application/json":
                return _error_response(415, "send application/json")
            return None
        try:
            token = self._bearer_token.reveal()
        except SecretUnreadable:
            return _error_response(503, "the file of the token cannot be read")
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(credentials.strip().encode(), token.encode()):
            return None
        return _error_response(401, "show the token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})


def _error_response(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
