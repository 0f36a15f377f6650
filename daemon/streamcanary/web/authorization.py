"""Authorizes requests that change state: by bearer token or, if no token is set, by loopback address."""

import hmac
import ipaddress

from starlette.requests import Request
from starlette.responses import JSONResponse

from streamcanary.model.config_types.secret import SecretUnreadable
from streamcanary.web.config import WebConfig

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Authorizer:
    """Checks requests against the ``web:`` section."""

    def __init__(self, config: WebConfig) -> None:
        self._bearer_token = config.bearer_token
        self._is_loopback_only = _is_loopback(config.host)

    def rejection_of(self, request: Request) -> JSONResponse | None:
        """Return the response that rejects ``request``; ``None`` if the request is authorized.

        Without a token, a website in a local browser must not be able to change state. A request must therefore name
        this machine as its host (against DNS rebinding) and be JSON, which other origins can send only after a CORS
        preflight.
        """
        if self._bearer_token is None:
            if not self._is_loopback_only:
                return _error_response(403, "changes need a token on this address; set web.token_file")
            if (request.url.hostname or "") not in _LOCAL_NAMES:
                return _error_response(403, "use the host localhost, or set web.token_file and send the token")
            if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] != "application/json":
                return _error_response(415, "send application/json")
            return None
        try:
            token = self._bearer_token.reveal()
        except SecretUnreadable:
            return _error_response(503, "web.token_file cannot be read")
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(credentials.strip().encode(), token.encode()):
            return None
        return _error_response(401, "send the token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})


def _error_response(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
