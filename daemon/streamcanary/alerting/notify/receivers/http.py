"""One POST to a receiver, with every way that it can end turned into an answer."""

import asyncio
import email.utils
from collections.abc import Iterable, Mapping
from datetime import UTC

import httpx2

from streamcanary.alerting.notify.receivers.delivery_result import DeliveryResult, Refused, Retry
from streamcanary.alerting.notify.receivers.response_check import ResponseCheck, SuccessResponse, accept_any_success
from streamcanary.alerting.notify.receivers.url import secret_parts
from streamcanary.model.config_types.secret import SecretUnreadable, scrub
from streamcanary.transport.connection_settings import ConnectionSettings
from streamcanary.transport.proxy import InvalidProxyUrl
from streamcanary.transport.reloading import ReloadingTransport
from streamcanary.transport.tls import TlsFileError

_MAX_BODY_BYTES = 16 * 1024
_MAX_RETRY_AFTER = 3600.0
_RETRYABLE_4XX = frozenset(
    {408, 425, 429}
)  # the 4xx that mean "later": timeout, too early, too many (RFC 9110, 8470, 6585)


def open_http_client(settings: ConnectionSettings | None = None) -> httpx2.AsyncClient:
    """Return a client for one receiver, whose proxy and certificates are those of ``way`` as they are at each request.

    Without any, those of the environment; its proxies are never used for loopback. Redirects are not followed.
    """
    return httpx2.AsyncClient(
        transport=ReloadingTransport(settings or ConnectionSettings(), "receiver"),
        trust_env=False,
        follow_redirects=False,
        headers={"User-Agent": "streamcanary", "Accept-Encoding": "identity"},  # unpacked, an answer has no bounds
    )


async def post(
    http: httpx2.AsyncClient,
    url: str,
    *,
    content: bytes,
    headers: Mapping[str, str],
    timeout: float,  # noqa: ASYNC109 - an answer comes of it, not an exception
    now: float,
    secrets: Iterable[str] = (),
    check_response: ResponseCheck = accept_any_success,
) -> DeliveryResult:
    """Send ``content`` as JSON to ``url`` and say how it went; raises nothing but cancellation.

    ``timeout`` (seconds) bounds the whole of it. ``now`` (seconds since the epoch) is what a ``Retry-After``
    date is held against. ``secrets``, and whatever of ``url`` may be one, are kept out of the reasons: servers like to
    repeat the path that they do not know. ``consent`` says what a success is worth.
    """
    known_secrets = [*secrets, *secret_parts(url)]
    try:
        async with (
            asyncio.timeout(timeout),
            http.stream(
                "POST",
                url,
                content=content,
                headers={"Content-Type": "application/json", **headers},
                timeout=timeout,
            ) as response,
        ):
            body: bytes | None
            try:
                body = await _read_beginning(response)
            except (httpx2.HTTPError, TimeoutError):
                body = None  # the status is the answer; the body mostly explains it
            return _classify_response(response, body, now, known_secrets, check_response)
    except (TimeoutError, httpx2.TimeoutException):
        return Retry(reason=f"no answer within {timeout:g} s")
    except httpx2.ConnectError as error:
        return Retry(reason=_scrub_reason(f"cannot connect: {error}", known_secrets), is_definitely_undelivered=True)
    except httpx2.ProxyError as error:
        return Retry(
            reason=_scrub_reason(f"the proxy does not let us through: {error}", known_secrets),
            is_definitely_undelivered=True,
        )
    except (TlsFileError, InvalidProxyUrl, SecretUnreadable) as error:
        return Retry(reason=_scrub_reason(str(error), known_secrets), is_definitely_undelivered=True)
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        return Retry(reason=_scrub_reason(f"connection failed: {type(error).__name__}: {error}", known_secrets))
    except (httpx2.InvalidURL, ValueError, OSError, ExceptionGroup) as error:
        # an address from a file that is no address, a name that does not encode: mended by mending the file
        return Retry(
            reason=_scrub_reason(f"cannot be sent: {type(error).__name__}: {error}", known_secrets),
            is_definitely_undelivered=True,
        )


async def _read_beginning(response: httpx2.Response) -> bytes:
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= _MAX_BODY_BYTES:
            break
    return body[:_MAX_BODY_BYTES]


def _classify_response(
    response: httpx2.Response, body: bytes | None, now: float, known_secrets: list[str], check_response: ResponseCheck
) -> DeliveryResult:
    status = response.status_code
    text = None if body is None else _scrub_reason(body.decode("utf-8", "replace"), known_secrets)
    if 200 <= status < 300:
        return check_response(SuccessResponse(status, response.headers.get("content-type", ""), text))
    reason = f"HTTP {status}: {text}" if text else f"HTTP {status}"
    if status in _RETRYABLE_4XX or status >= 500:
        retry_after = _parse_retry_after(response.headers.get("retry-after"), now)
        return Retry(reason=reason, retry_after=retry_after, is_definitely_undelivered=status in _RETRYABLE_4XX)
    if 300 <= status < 400:
        reason = f"HTTP {status}: redirects are not followed; set the address it leads to"
    return Refused(reason)


def _scrub_reason(text: str, known_secrets: list[str]) -> str:
    """Return a reason fit to be shown and stored: scrubbed, short, and valid as UTF-8."""
    return scrub(text.encode("utf-8", "replace").decode(), known_secrets, 300)


def _parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds a ``Retry-After`` asks for (RFC 9110, 10.2.3), at most an hour; ``None`` if it is unclear."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    if not seconds >= 0:  # also not-a-number
        return None
    return min(seconds, _MAX_RETRY_AFTER)
