"""HTTP requests to receivers: one POST, whose every outcome becomes a :data:`DeliveryResult`."""

import asyncio
import email.utils
from collections.abc import Iterable, Mapping
from datetime import UTC

import httpx2

from streamcanary.alerting.notify.delivery.receiver_url import secret_parts
from streamcanary.alerting.notify.delivery.response_check import ResponseCheck, SuccessResponse, accept_any_success
from streamcanary.alerting.notify.delivery.result import DeliveryResult, Refused, Retry
from streamcanary.alerting.notify.delivery.send_permission import SendForbidden, request_trace
from streamcanary.model.config_types.secret import SecretUnreadable
from streamcanary.model.redaction.redactor import scrub
from streamcanary.transport.connection_settings import ConnectionSettings
from streamcanary.transport.content_coding import create_decoder
from streamcanary.transport.proxy import InvalidProxyUrl
from streamcanary.transport.redirects import redirect_target
from streamcanary.transport.reloading_transport import ReloadingTransport
from streamcanary.transport.tls import TlsFileError

_MAX_BODY_BYTES = 16 * 1024
_PIECES_PER_TURN = 64  # of a response that are read before other tasks run; usually it has one
_MAX_RETRY_AFTER = 3600.0
_RETRYABLE_4XX = frozenset({408, 425, 429})  # timeout, too early, too many requests (RFC 9110, 8470, 6585)


def open_http_client(settings: ConnectionSettings | None = None) -> httpx2.AsyncClient:
    """Return a client for one receiver that reloads proxy and certificates of ``settings`` before each request.

    Without ``settings``, those of the environment apply, whose proxies are never used for loopback. Redirects are not
    followed.
    """
    return httpx2.AsyncClient(
        transport=ReloadingTransport(settings or ConnectionSettings(), "receiver"),
        trust_env=False,
        follow_redirects=False,
        # A compressed body has no bound once it is decompressed.
        headers={"User-Agent": "streamcanary", "Accept-Encoding": "identity"},
    )


async def post(
    http: httpx2.AsyncClient,
    url: str,
    *,
    content: bytes,
    headers: Mapping[str, str],
    timeout: float,  # noqa: ASYNC109 - a timeout is returned as a result, not raised
    now: float,
    secrets: Iterable[str] = (),
    check_response: ResponseCheck = accept_any_success,
) -> DeliveryResult:
    """Post ``content`` as JSON to ``url`` and return the result; raise nothing but cancellation.

    ``timeout`` (seconds) bounds the whole request. ``now`` (seconds since the epoch) is compared with a date in
    ``Retry-After``. ``secrets`` and the secret parts of ``url`` are redacted in reasons, because servers repeat an
    unknown path in their response. ``check_response`` returns the result of a 2xx response.
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
                extensions={"trace": request_trace()},
            ) as response,
        ):
            body: bytes | None
            try:
                body = await _read_beginning(response)
            except (httpx2.HTTPError, TimeoutError):
                body = None  # the status decides; the body only explains it
            return _classify_response(response, body, now, known_secrets, check_response)
    except (TimeoutError, httpx2.TimeoutException):
        return Retry(reason=f"no answer within {timeout:g} s")
    except SendForbidden as error:
        return Retry(reason=str(error))
    except httpx2.ConnectError as error:
        return Retry(reason=_scrub_reason(f"cannot connect: {error}", known_secrets), is_definitely_undelivered=True)
    except httpx2.ProxyError as error:
        return Retry(
            reason=_scrub_reason(f"the proxy refused the connection: {error}", known_secrets),
            is_definitely_undelivered=True,
        )
    except (TlsFileError, InvalidProxyUrl, SecretUnreadable) as error:
        return Retry(reason=_scrub_reason(str(error), known_secrets), is_definitely_undelivered=True)
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        return Retry(reason=_scrub_reason(f"connection failed: {type(error).__name__}: {error}", known_secrets))
    except (httpx2.InvalidURL, ValueError, OSError, ExceptionGroup) as error:
        # An invalid URL from a file, or a host name that cannot be encoded: a retry succeeds once the file is repaired.
        return Retry(
            reason=_scrub_reason(f"cannot be sent: {type(error).__name__}: {error}", known_secrets),
            is_definitely_undelivered=True,
        )


async def _read_beginning(response: httpx2.Response) -> bytes:
    """Return the beginning of the body, decoded at most once although no compression was requested.

    The transport returns thousands of small pieces from one network read without a pause, so other tasks run between
    them. There, too, the timeout is noticed.
    """
    decoder = create_decoder(response.headers.get("content-encoding"), "gzip, deflate")
    body, size, count = bytearray(), 0, 0
    async for data in response.aiter_raw():
        size, count = size + len(data), count + 1
        if count % _PIECES_PER_TURN == 0:
            await asyncio.sleep(0)
        for piece in (data,) if decoder is None else decoder.decode(data):
            body += piece
            if len(body) >= _MAX_BODY_BYTES:
                return bytes(body[:_MAX_BODY_BYTES])
        if size >= _MAX_BODY_BYTES:
            break
    return bytes(body)


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
        target = redirect_target(response.headers)
        reason = f"HTTP {status} redirects to {target}: redirects are not followed; set the address it leads to"
        reason = _scrub_reason(reason, known_secrets)
    return Refused(reason)


def _scrub_reason(text: str, known_secrets: list[str]) -> str:
    """Return ``text`` as a reason that can be shown and stored: scrubbed, at most 300 characters, valid UTF-8."""
    return scrub(text.encode("utf-8", "replace").decode(), known_secrets, 300)


def _parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a ``Retry-After`` (RFC 9110, 10.2.3), at most 3600; ``None`` if it is invalid."""
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
    if not seconds >= 0:  # also true of NaN
        return None
    return min(seconds, _MAX_RETRY_AFTER)
