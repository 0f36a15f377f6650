"""One POST to a receiver, with every way that it can end turned into an answer."""

import asyncio
import email.utils
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC

import httpx2

from streamcanary.alerting.receivers.address import revealing
from streamcanary.alerting.receivers.answer import Accepted, Answer, Refused, Retry
from streamcanary.model.secret import scrub

_log = logging.getLogger(__name__)

_MOST_READ = 16 * 1024
_LONGEST_AFTER = 3600.0
_PASSING = frozenset({408, 425, 429})  # the 4xx that mean "later": timeout, too early, too many (RFC 9110, 8470, 6585)


def open_http() -> httpx2.AsyncClient:
    """Return a client for all receivers: proxies as the environment says, but never for loopback; no redirects."""
    try:
        return _client(trust_env=True)
    except (ValueError, ImportError, httpx2.InvalidURL) as error:  # a proxy that is none must not cost the pages
        _log.error(
            "the proxy that the environment names cannot be used, receivers are asked directly: %s", scrub(str(error))
        )
        return _client(trust_env=False)


def _client(*, trust_env: bool) -> httpx2.AsyncClient:
    direct: dict[str, httpx2.AsyncBaseTransport | None] = {
        f"all://{host}": None for host in ("localhost", "127.0.0.0/8", "[::1]")
    }
    return httpx2.AsyncClient(
        mounts=direct,
        trust_env=trust_env,
        follow_redirects=False,
        headers={"User-Agent": "streamcanary"},
        # a connection that was idle for long may be dead, and a page that fails for it comes a retry later
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=20.0),
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
) -> Answer:
    """Send ``content`` as JSON to ``url`` and say how it went; raises nothing but cancellation.

    ``timeout`` (seconds) bounds the whole of it. ``now`` (seconds since the epoch) is what a ``Retry-After``
    date is held against. ``secrets``, and whatever of ``url`` may be one, are kept out of the reasons: servers like to
    repeat the path that they do not know.
    """
    hidden = [*secrets, *revealing(url)]
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
            try:
                body = await _beginning(response)
            except (httpx2.HTTPError, TimeoutError):
                body = b""  # the status is the answer; the body only explains it
            return _judge(response, body, now, hidden)
    except (TimeoutError, httpx2.TimeoutException):
        return Retry(reason=f"no answer within {timeout:g} s")
    except httpx2.ConnectError as error:
        return Retry(reason=_tidy(f"cannot connect: {error}", hidden), definite=True)
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        return Retry(reason=_tidy(f"connection failed: {type(error).__name__}: {error}", hidden))
    except (httpx2.InvalidURL, ValueError, OSError, ExceptionGroup) as error:
        # an address from a file that is no address, a name that does not encode: mended by mending the file
        return Retry(reason=_tidy(f"cannot be sent: {type(error).__name__}: {error}", hidden), definite=True)


async def _beginning(response: httpx2.Response) -> bytes:
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= _MOST_READ:
            break
    return body[:_MOST_READ]


def _judge(response: httpx2.Response, body: bytes, now: float, hidden: list[str]) -> Answer:
    status = response.status_code
    if 200 <= status < 300:
        return Accepted()
    said = _tidy(body.decode("utf-8", "replace"), hidden)
    reason = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status in _PASSING or status >= 500:
        after = _retry_after(response.headers.get("retry-after"), now)
        return Retry(reason=reason, after=after, definite=status in _PASSING)
    if 300 <= status < 400:
        reason = f"HTTP {status}: redirects are not followed; set the address it leads to"
    return Refused(reason)


def _tidy(text: str, hidden: list[str]) -> str:
    """Return a reason fit to be shown and stored: scrubbed, short, and valid as UTF-8."""
    return scrub(text.encode("utf-8", "replace").decode(), hidden, 300)


def _retry_after(value: str | None, now: float) -> float | None:
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
    return min(seconds, _LONGEST_AFTER)
