"""Access tokens of a Microsoft Entra identity: requested off the event loop, cached, and renewed before they expire.

``azure-identity`` is the extra ``streamcanary[azure]``. It is imported by the thread that requests the first token.
"""

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from streamcanary.model.redaction.redactor import scrub
from streamcanary.transport.proxy import InvalidProxyUrl, proxy_for

if TYPE_CHECKING:
    from streamcanary.canary.targets.azure_target import AzureIdentity, AzureTarget

TIMEOUT: Final = 8.0
"""Seconds that a request waits for a token: shorter than the default timeouts of a canary."""
_RENEWAL: Final = 300.0  # seconds before its end at which a token is renewed
_MARGIN: Final = 30.0  # seconds for which a token must still be valid to be sent
_CONNECT_TIMEOUT: Final = 3.0
_READ_TIMEOUT: Final = 5.0
_MAX_MESSAGE: Final = 800
_MAX_CAUSES: Final = 8  # of an error
_NOT_A_REASON: Final = re.compile(
    r"(?:Trace ID|Correlation ID|Timestamp):.*|Attempted credentials:$|To mitigate this issue.*"
    r"|(?:Visit|See the troubleshooting guide[^:]*:) https?://.*"
    r"|(?<=Credential: )\w+Credential authentication unavailable[.,](?=\s*\S)",
    re.IGNORECASE,
)
"""Parts of lines in the errors of ``azure-identity`` that say nothing about the cause."""
_PUBLIC_AUTHORITY: Final = "https://login.microsoftonline.com"

INSTALL: Final = "needs the package azure-identity: pip install 'streamcanary[azure]'"


class TokenRefused(Exception):
    """The identity gets no token because of its configuration; the client classifies it as a rejected key."""


class TokenUnavailable(ConnectionError):
    """No token, because the service that issues tokens is unreachable; the client classifies it as a network fault."""


class AccessToken(NamedTuple):
    """A token, and the end of its validity in seconds since the epoch."""

    token: str
    expires_on: float


def is_installed() -> bool:
    """Return whether ``azure-identity`` is installed; it is not imported."""
    try:
        return find_spec("azure.identity") is not None
    except ModuleNotFoundError:  # without the package azure
        return False


class AccessTokens:
    """The current access token of one identity; calling it returns the token.

    ``fetch`` requests a token; it runs in a daemon thread, one at a time, so that a hang delays neither the event loop
    nor the end of the process. A token is renewed five minutes before its end; if that fails, it is used until 30 s
    before its end. ``timeout`` is the time limit in seconds of a request for a token, ``now`` the wall time.
    """

    def __init__(
        self, fetch: Callable[[], AccessToken], *, timeout: float = TIMEOUT, now: Callable[[], float] = time.time
    ) -> None:
        self._fetch = fetch
        self._timeout = timeout
        self._now = now
        self._lock = threading.Lock()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[AccessToken]]] = []
        self._is_fetching = False
        self._recent: tuple[AccessToken, ...] = ()

    @property
    def recent(self) -> tuple[str, ...]:
        """The last two tokens, the newest first."""
        return tuple(each.token for each in self._recent)

    async def __call__(self) -> str:
        """Return a valid token.

        Raises:
            TokenRefused: if the identity gets none.
            TokenUnavailable: if the service that issues tokens is unreachable, or does not answer in time.
        """
        if self._seconds_left() > _RENEWAL:
            return self._recent[0].token
        try:
            return (await self._request()).token
        except (TokenRefused, TokenUnavailable):
            if self._seconds_left() > _MARGIN:
                return self._recent[0].token
            raise

    def _seconds_left(self) -> float:
        return self._recent[0].expires_on - self._now() if self._recent else 0.0

    async def _request(self) -> AccessToken:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[AccessToken] = loop.create_future()
        with self._lock:
            self._waiters.append((loop, waiter))
            is_first, self._is_fetching = not self._is_fetching, True
        try:
            if is_first:
                try:
                    threading.Thread(target=self._work, name="azure identity", daemon=True).start()
                except RuntimeError as error:
                    self._finish(None, TokenUnavailable(f"no thread to request an access token: {error}"))
            async with asyncio.timeout(self._timeout):
                return await waiter
        except TimeoutError:
            raise TokenUnavailable(f"no access token within {self._timeout:g} s") from None
        finally:
            with self._lock:
                self._waiters = [each for each in self._waiters if each[1] is not waiter]

    def _work(self) -> None:
        token: AccessToken | None = None
        failure: Exception | None = None
        try:
            token = self._fetch()
        except Exception as error:  # noqa: BLE001 - classified, and raised in the coroutines that wait
            failure = explain_identity_error(error)
        self._finish(token, failure)

    def _finish(self, token: AccessToken | None, failure: Exception | None) -> None:
        with self._lock:
            waiters, self._waiters, self._is_fetching = self._waiters, [], False
            if token is not None:
                self._recent = (token, *self._recent)[:2]
        for loop, waiter in waiters:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_resolve, waiter, token, failure)


def _resolve(waiter: "asyncio.Future[AccessToken]", token: AccessToken | None, failure: Exception | None) -> None:
    if waiter.done():
        return
    if token is not None:
        waiter.set_result(token)
    else:
        # One exception for each: those of several tasks must not share a traceback.
        waiter.set_exception(type(failure)(*failure.args) if failure else TokenUnavailable("no access token"))


def credential_fetcher(identity: "AzureIdentity", target: "AzureTarget") -> Callable[[], AccessToken]:
    """Return a function that requests a token of ``identity``, through the proxy and with the CA of ``target``.

    The credential is created at the first call, which imports ``azure-identity``.
    """
    credentials: list[Any] = []
    errors: list[Exception] = []  # of the credentials of a chain

    def fetch() -> AccessToken:
        if not credentials:
            credentials.append(_create_credential(identity, target, errors))
        errors.clear()
        try:
            issued = credentials[0].get_token(identity.scope)
        except Exception:
            # A chain ends at the first credential that was tried and failed, of which it keeps the text alone. Others
            # are not available, and their errors are in that of the chain.
            if errors and "CredentialUnavailableError" not in _class_names(errors[-1]):
                raise errors[-1]  # noqa: B904 - with the cause that it has
            raise
        return AccessToken(issued.token, float(issued.expires_on))

    return fetch


class _ChainMember:
    """A credential of a chain, which appends its exceptions to ``errors``."""

    def __init__(self, credential: Any, errors: list[Exception]) -> None:
        self._credential = credential
        self._errors = errors
        self._credential_name = getattr(
            credential, "_credential_name", type(credential).__name__
        )  # in the chain's text

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """Return a token of the credential."""
        try:
            return self._credential.get_token(*scopes, **options)
        except Exception as error:
            self._errors.append(error)
            raise


def _create_credential(identity: "AzureIdentity", target: "AzureTarget", errors: list[Exception]) -> Any:
    """Return the credential of ``azure-identity``. Its requests are bounded, and follow no redirect.

    The members of a chain append their exceptions to ``errors``.
    """
    try:
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential, WorkloadIdentityCredential
    except ImportError:
        raise TokenRefused(f"an identity {INSTALL}") from None
    logging.getLogger("azure.identity").setLevel(
        logging.ERROR
    )  # its warnings are the text of the errors that it raises
    options: dict[str, Any] = {
        "connection_timeout": _CONNECT_TIMEOUT,
        "read_timeout": _READ_TIMEOUT,
        "retry_total": 1,
        "retry_backoff_factor": 0.2,
        "permit_redirects": False,
        "logging_enable": False,
    }
    authority = identity.authority_host or _PUBLIC_AUTHORITY
    if identity.credential != "managed":  # that address is on the machine
        if (proxy := proxy_for(authority, target.proxy)) is not None:
            user, password = proxy.auth or ("", "")
            login = f"{_quoted(user)}:{_quoted(password)}@" if user else ""
            address = proxy.url.replace("://", f"://{login}", 1)
            options["proxies"] = {"https": address, "http": address}
        if target.ca_file is not None:
            options["connection_verify"] = str(target.ca_file)
    if identity.credential == "managed":
        return ManagedIdentityCredential(client_id=identity.client_id, **options)
    if identity.authority_host is not None:
        options["authority"] = identity.authority_host
    if identity.credential == "workload":
        path = str(identity.federated_token_file) if identity.federated_token_file else None
        return WorkloadIdentityCredential(
            tenant_id=identity.tenant_id, client_id=identity.client_id, token_file_path=path, **options
        )
    if identity.client_id:
        options |= {
            "managed_identity_client_id": identity.client_id,
            "workload_identity_client_id": identity.client_id,
        }
    chain = DefaultAzureCredential(exclude_interactive_browser_credential=True, process_timeout=5, **options)
    chain.credentials = tuple(_ChainMember(each, errors) for each in chain.credentials)
    return chain


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def explain_identity_error(error: Exception) -> Exception:
    """Return what an error of ``azure-identity`` means: :class:`TokenRefused` or :class:`TokenUnavailable`.

    It is one of the network if its cause is: the metadata service of a machine that does not answer is one, too. The
    message is one bounded line of the text, without what says nothing about the cause.
    """
    if isinstance(error, (TokenRefused, TokenUnavailable)):
        return error
    if isinstance(error, InvalidProxyUrl):
        return TokenRefused(f"the proxy for the access token is not valid: {error}")
    reason = " ".join(" ".join(_NOT_A_REASON.sub("", line) for line in str(error).splitlines()).split())
    text = scrub(reason or type(error).__name__, limit=_MAX_MESSAGE)
    if any(map(_is_temporary, _causes(error))):
        return TokenUnavailable(f"no access token: {text}")
    return TokenRefused(f"no access token: {text}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, bounded."""
    link: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if link is None:
            return
        yield link
        link = link.__cause__


def _is_temporary(error: BaseException) -> bool:
    """Return whether a request got no answer, or one that may differ later."""
    if _class_names(error) & {"ServiceRequestError", "ServiceResponseError"}:
        return True
    if isinstance(error, OSError) and not isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError)):
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)
    return isinstance(status, int) and (status == 429 or status >= 500)


def _class_names(error: BaseException) -> set[str]:
    return {each.__name__ for each in type(error).__mro__}
