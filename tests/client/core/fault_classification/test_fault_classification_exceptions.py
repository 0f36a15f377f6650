"""Classification of exceptions as faults."""

import socket
import ssl
from typing import Any

import httpx2
import pytest
from openai import APIConnectionError, APITimeoutError, OpenAIError

from streamcanary.client.core.fault_classification import (
    classify_error_code,
    fault_from_error_body,
    fault_from_exception,
    fault_from_status,
)
from streamcanary.model.faults import Blame, FaultKind, Phase

REQUEST = httpx2.Request("POST", "http://provider.test/")


def wrapped(*causes: BaseException, outer: type[APIConnectionError] = APIConnectionError) -> BaseException:
    """Return an SDK exception with ``causes`` as its chain."""
    top = error = outer(request=REQUEST)
    for cause in causes:
        error.__cause__ = cause
        error = cause  # type: ignore[assignment]
    return top


@pytest.mark.parametrize(
    ("error", "phase", "kind", "where"),
    [
        (wrapped(httpx2.ConnectError("x"), socket.gaierror(-2, "no")), Phase.HEADERS, "dns_failed", Phase.CONNECT),
        (wrapped(httpx2.ConnectError("refused")), Phase.HEADERS, "connect_failed", Phase.CONNECT),
        (wrapped(httpx2.ConnectError("x"), ssl.SSLError(1, "x")), Phase.HEADERS, "tls_failed", Phase.CONNECT),
        (wrapped(httpx2.ConnectTimeout("x"), outer=APITimeoutError), Phase.HEADERS, "connect_timeout", Phase.CONNECT),
        (wrapped(httpx2.PoolTimeout("x"), outer=APITimeoutError), Phase.HEADERS, "pool_exhausted", Phase.CONNECT),
        (wrapped(httpx2.ReadTimeout("x"), outer=APITimeoutError), Phase.HEADERS, "headers_timeout", Phase.HEADERS),
        (wrapped(httpx2.RemoteProtocolError("x")), Phase.HEADERS, "connection_lost", Phase.HEADERS),
        (wrapped(httpx2.ReadError("x")), Phase.HEADERS, "connection_lost", Phase.HEADERS),
        (wrapped(httpx2.ProxyError("x")), Phase.HEADERS, "proxy_failed", Phase.CONNECT),
        (wrapped(httpx2.UnsupportedProtocol("x")), Phase.HEADERS, "invalid_request", Phase.CONFIG),
        (wrapped(httpx2.LocalProtocolError("x")), Phase.HEADERS, "invalid_request", Phase.CONFIG),
        (UnicodeEncodeError("ascii", "ä", 0, 1, "x"), Phase.HEADERS, "invalid_request", Phase.CONFIG),
        (ExceptionGroup("x", [OverflowError("port")]), Phase.HEADERS, "invalid_request", Phase.CONFIG),
        (OpenAIError("no key"), Phase.HEADERS, "auth_failed", Phase.HEADERS),
        (httpx2.ReadError("x"), Phase.STREAM, "stream_cut", Phase.STREAM),
        (httpx2.RemoteProtocolError("x"), Phase.STREAM, "stream_cut", Phase.STREAM),
        (httpx2.DecodingError("x"), Phase.STREAM, "stream_malformed", Phase.STREAM),
        (ConnectionResetError(), Phase.STREAM, "stream_cut", Phase.STREAM),
        (wrapped(), Phase.HEADERS, "connection_lost", Phase.HEADERS),
    ],
)
def test_transport_exception_is_classified(error: BaseException, phase: Phase, kind: str, where: Phase) -> None:
    """Every network exception is a fault of the expected kind and phase."""
    fault = fault_from_exception(error, phase, now=0.0)
    assert fault is not None
    assert (kind, where) == (fault.kind.value, fault.phase)


@pytest.mark.parametrize("error", [TypeError("x"), KeyError("x"), RuntimeError("x"), AssertionError()])
def test_programming_error_is_no_fault(error: Exception) -> None:
    """An exception that is not a network error is not classified as a fault."""
    assert None is fault_from_exception(error, Phase.HEADERS, now=0.0)


def test_invalid_request_does_not_quote_the_key() -> None:
    """The text of the exception contains a key with a newline; the fault message does not."""
    error = wrapped(httpx2.LocalProtocolError("Illegal header value b'Bearer sk-first\\nsecond-part'"))
    fault = fault_from_exception(error, Phase.HEADERS, now=0.0, secrets=("sk-first\nsecond-part",))
    assert fault is not None
    assert ("second-part" in fault.message, "sk-first" in fault.message) == (False, False)
    assert Blame.CONFIG is fault.blame


def rejected_header(name: str, value: bytes) -> APIConnectionError:
    """Return the exception that the SDK raises if h11 rejects a header."""
    request = httpx2.Request("POST", "http://provider.test/v1", headers=[(name.encode(), value)])
    error = APIConnectionError(request=request)
    error.__cause__ = httpx2.LocalProtocolError(f"Illegal header value {value!r}")
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (rejected_header("Authorization", b"Bearer first\nsecond"), "the key contains a line break"),
        (rejected_header("api-key", b"first\r\nsecond"), "the key contains a line break"),
        (rejected_header("X-Team", b" search"), "the header x-team begins or ends with a space"),
        (rejected_header("X-Team", b"sea\0rch"), "the header x-team contains a NUL character"),
        (wrapped(httpx2.LocalProtocolError("no headers")), "check the address, the key and the headers"),
        (
            UnicodeEncodeError("ascii", "Bearer first\xfc", 12, 13, "no"),
            "the key contains a character that is not ASCII",
        ),
        (
            UnicodeEncodeError("ascii", "first\xfc", 5, 6, "no"),
            "the key, or another header, contains a character that is not ASCII",
        ),
        (
            UnicodeEncodeError("utf-8", "first\ud800", 5, 6, "no"),
            "it contains text that cannot be encoded as UTF-8, such as half of a surrogate pair",
        ),
        (
            wrapped(httpx2.UnsupportedProtocol("no")),
            "the address must have http:// or https:// and a host, such as https://api.openai.com/v1",
        ),
        (OverflowError("port must be 0-65535"), "the port must be at most 65535"),
    ],
)
def test_invalid_request_names_the_invalid_part(error: Exception, says: str) -> None:
    """The message names the invalid part and the reason, and quotes none of its value."""
    fault = fault_from_exception(error, Phase.HEADERS, now=0.0)
    assert fault is not None
    assert (FaultKind.INVALID_REQUEST, f"the request cannot be sent as configured: {says}") == (
        fault.kind,
        fault.message,
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ({"message": "must be text", "param": "messages[0].content"}, "messages[0].content: must be text"),
        ({"error": {"message": "must be text", "param": "input"}}, "input: must be text"),
        ({"message": "'top_k' is unknown", "param": "top_k"}, "'top_k' is unknown"),
        ({"param": "top_k"}, "the server does not accept top_k"),
        ({"message": "must be text", "param": None}, "must be text"),
        ({"message": "must be text", "param": {"at": 1}}, "must be text"),
        ({"message": "no", "param": "x\x1b[2Jy"}, "x [2Jy: no"),
        ({"message": "no", "param": "first-secret"}, "[redacted]: no"),
        ({"message": "no", "param": "x" * 1_000_000}, "x" * 127 + "…: no"),
    ],
)
def test_error_message_names_the_parameter(error: dict[str, Any], says: str) -> None:
    """The message includes the rejected parameter, scrubbed and bounded, unless it names it already."""
    by_status = fault_from_status(400, {}, error, now=0.0, secrets=("first-secret",))
    in_band = fault_from_error_body(error, Phase.STREAM, secrets=("first-secret",))
    assert (says, says) == (by_status.message, in_band.message)


def test_message_describes_the_network_error() -> None:
    """The message describes the network error, not the library exception that was raised while handling it."""
    error = wrapped(httpx2.ReadError(""), ConnectionResetError(104, "Connection reset by peer"), IndexError("pop from"))
    fault = fault_from_exception(error, Phase.STREAM, now=0.0)
    assert fault is not None
    assert "the connection was lost in the middle of the answer: [Errno 104] Connection reset by peer" == fault.message


def test_cyclic_exception_chain_terminates() -> None:
    """A cyclic exception chain is traversed once."""
    first, second = ValueError(), ValueError()
    first.__context__, second.__context__ = second, first
    assert None is fault_from_exception(first, Phase.HEADERS, now=0.0)


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        (("rate_limit_exceeded",), FaultKind.RATE_LIMITED),
        ((None, "insufficient_quota"), FaultKind.QUOTA_EXHAUSTED),
        (("monthly_usage_limit_exceeded",), FaultKind.QUOTA_EXHAUSTED),
        ((429,), FaultKind.RATE_LIMITED),
        (("503",), FaultKind.OVERLOADED),
        ((200, "server_error"), FaultKind.SERVER_ERROR),
        (("something_new",), None),
        (({}, []), None),
    ],
)
def test_first_known_error_code_decides(codes: tuple[object, ...], kind: FaultKind | None) -> None:
    """The first known error code decides, as text or as number."""
    assert kind is classify_error_code(*codes)
