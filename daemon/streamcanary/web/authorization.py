"""Authorizes requests: by host, and by bearer token or session or, if no token is set, by loopback address."""

from msgspec import Struct, field
from starlette.requests import Request
from starlette.responses import Response

from streamcanary.model.clock import Clock, SystemClock
from streamcanary.model.config_types.secret import SecretUnreadable
from streamcanary.model.redaction.redactor import scrub
from streamcanary.web.allowed_hosts import AllowedHosts, host_name, is_loopback
from streamcanary.web.config import WebConfig
from streamcanary.web.connection_table import peer_of
from streamcanary.web.login_limit import LoginLimit
from streamcanary.web.problems import problem_response
from streamcanary.web.sessions import COOKIE, Session, create_session, is_equal, read_session

_READING_METHODS = frozenset({"GET", "HEAD"})


class Refusal(Struct, frozen=True):
    """Why a request is refused: the status of the response, what to do, and further headers."""

    status: int
    message: str
    headers: dict[str, str] = field(default_factory=dict)


class Authorizer:
    """Checks requests against the ``web:`` section. Sessions are valid by ``clock``."""

    def __init__(self, config: WebConfig, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._login_limit = LoginLimit(self._clock)
        self.configure(config)

    def configure(self, config: WebConfig) -> None:
        """Check requests against another section from now on."""
        self._bearer_token = config.bearer_token
        self._allowed_hosts = AllowedHosts(config.host, config.allowed_hosts)
        self._is_loopback_only = is_loopback(config.host)
        self.has_public_page = config.public_page

    def rejection_of(self, request: Request) -> Response | None:
        """Return the response that rejects ``request`` to the API; ``None`` if the request is authorized.

        Every request must name a host by which the server is known, and send the token if one is set. To read, a
        session will do: a browser sends its cookie with any request, but lets no other site see the response.
        """
        refusal = self.host_refusal(request) or self._api_refusal(request)
        if refusal is None:
            return None
        return problem_response(request, refusal.status, refusal.message, headers=refusal.headers)

    def host_refusal(self, request: Request) -> Refusal | None:
        """Return why the host that ``request`` names is refused."""
        host = request.headers.get("host", "")
        local_address, _ = request.scope.get("server") or (None, None)
        if self._allowed_hosts.allows(host, local_address):
            return None
        name = scrub(host, limit=100) or "without a name"
        return Refusal(421, f"the host {name} is not known; use localhost, or add it to web.allowed_hosts")

    def page_refusal(self, request: Request) -> Refusal | None:
        """Return why a request for a page is refused: a known host, and a session or the token if one is set."""
        return self.host_refusal(request) or self._token_refusal(request, accepts_session=True)

    def form_refusal(self, request: Request) -> Refusal | None:
        """Return why a form is refused: it must come from a page of this server, see :meth:`page_refusal`.

        Without a token, it must come from this machine. With one, the form must also send the ``csrf`` of the session.
        """
        if (refusal := self.page_refusal(request)) is not None:
            return refusal
        if self._bearer_token is None and (refusal := self._loopback_refusal(request)) is not None:
            return refusal
        return None if is_same_origin(request) else Refusal(403, "the form was sent by another site; open it here")

    def login(self, request: Request, token: str) -> str | Refusal:
        """Return the cookie of a new session, or why ``token`` or where the form came from is refused.

        After too many failed logins the peer has to wait, also with the right token.
        """
        if (refusal := self.host_refusal(request)) is not None:
            return refusal
        if not is_same_origin(request):
            return Refusal(403, "the form was sent by another site; open it here")
        try:
            expected = self._token()
        except SecretUnreadable:
            return Refusal(503, "web.token_file cannot be read")
        peer = peer_of(request.client.host if request.client else "")
        if seconds := self._login_limit.wait(peer):
            return Refusal(429, f"too many failed logins; try again in {seconds} s", {"Retry-After": str(seconds)})
        if expected is None or not is_equal(token.strip(), expected):
            self._login_limit.record_failure(peer)
            return Refusal(401, "this is not the token; it is the value of web.token, or the content of web.token_file")
        self._login_limit.record_success(peer)
        return create_session(expected, self._clock.time())[0]

    def session_of(self, request: Request) -> Session | None:
        """Return the valid session of ``request``; ``None`` if it has none, or if no token is set."""
        try:
            token = self._token()
        except SecretUnreadable:
            return None
        return None if token is None else read_session(request.cookies.get(COOKIE), token, self._clock.time())

    def _api_refusal(self, request: Request) -> Refusal | None:
        if self._bearer_token is not None:
            return self._token_refusal(request, accepts_session=request.method in _READING_METHODS)
        if request.method in _READING_METHODS:
            return None
        if (refusal := self._loopback_refusal(request)) is not None:
            return refusal
        if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] != "application/json":
            return Refusal(415, "send application/json")  # other origins can send it only after a CORS preflight
        if _is_of_browser(request) and not is_same_origin(request):
            return Refusal(403, "the request was sent by another site")
        return None

    def _token_refusal(self, request: Request, *, accepts_session: bool) -> Refusal | None:
        try:
            token = self._token()
        except SecretUnreadable:
            return Refusal(503, "web.token_file cannot be read")
        if token is None or (accepts_session and self.session_of(request) is not None):
            return None
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        # Headers are decoded as latin-1; a token is compared by its UTF-8 bytes.
        sent = credentials.strip().encode("latin-1").decode("utf-8", "surrogateescape")
        if scheme.lower() == "bearer" and is_equal(sent, token):
            return None
        return Refusal(401, "send the token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})

    def _loopback_refusal(self, request: Request) -> Refusal | None:
        """Return why a change without a token is refused: it must name this machine as its host.

        A website in a local browser must not be able to change state.
        """
        if not self._is_loopback_only:
            return Refusal(403, "changes need a token on this address; set web.token_file")
        if not is_loopback(host_name(request.headers.get("host", ""))):
            return Refusal(403, "use the host localhost, or set web.token_file and send the token")
        return None

    def _token(self) -> str | None:
        return None if self._bearer_token is None else self._bearer_token.reveal()


def _is_of_browser(request: Request) -> bool:
    return "origin" in request.headers or "sec-fetch-site" in request.headers


def is_same_origin(request: Request) -> bool:
    """Return whether a browser says that a page of this server sent the form.

    Every browser sends ``Origin`` with a form, and newer ones ``Sec-Fetch-Site``; a request without both is none.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    if origin is None:
        return site is not None
    scheme, _, authority = origin.partition("://")
    return scheme in ("http", "https") and authority.lower() == request.headers.get("host", "").lower()
