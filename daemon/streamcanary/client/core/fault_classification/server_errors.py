"""Faults of errors that a server reports: by HTTP status, inside a stream, or in a JSON body with status 200.

What decides the kind, the most reliable first:

1. a status that leaves nothing open, such as 404;
2. a specific code in the body, if the status leaves its kind open: 429 can be ``insufficient_quota``, 404 cannot;
3. a phrase in the message, under the same condition;
4. a generic code in the body (``invalid_request_error``, or an HTTP status), under the same condition;
5. the status.

In a stream there is no status. There a specific code decides; without one, an HTTP status among the codes is used like
that of a response. What no code and no phrase decides, the name of a status at the beginning of the message does.
"""

from collections.abc import Mapping
from typing import Final

from streamcanary.client.core.backoff import parse_retry_after
from streamcanary.client.core.fault_classification.error_codes import (
    classify_generic_code,
    classify_numeric_code,
    classify_specific_code,
    classify_status,
)
from streamcanary.client.core.fault_classification.error_details import ErrorDetails, parse_error_details
from streamcanary.client.core.fault_classification.error_phrases import classify_phrase, status_in_words
from streamcanary.model.faults import Fault, FaultKind, Phase, make_fault
from streamcanary.model.redaction.redactor import Secrets, scrub
from streamcanary.transport.redirects import redirect_target

K = FaultKind
_LEFT_OPEN: Final[dict[FaultKind, frozenset[FaultKind]]] = {
    K.BAD_REQUEST: frozenset(
        {
            K.CONTEXT_LENGTH_EXCEEDED,
            K.CONTENT_POLICY,
            K.NOT_FOUND,
            K.AUTH_FAILED,  # Gemini: 400 for an invalid key
            K.PERMISSION_DENIED,
            K.QUOTA_EXHAUSTED,  # Anthropic: 400 without credit
        }
    ),
    K.AUTH_FAILED: frozenset({K.QUOTA_EXHAUSTED}),
    K.PERMISSION_DENIED: frozenset({K.QUOTA_EXHAUSTED, K.CONTENT_POLICY}),
    K.RATE_LIMITED: frozenset({K.QUOTA_EXHAUSTED, K.OVERLOADED}),
    K.SERVER_ERROR: frozenset(
        {
            K.OVERLOADED,
            K.RATE_LIMITED,
            K.QUOTA_EXHAUSTED,  # MiniMax: 500 without credit
            K.CONTEXT_LENGTH_EXCEEDED,  # llama.cpp: 500 when the context is full
            K.CONTENT_POLICY,
            K.NOT_FOUND,
        }
    ),
}
"""The kinds that the kind of a status leaves open; none for other statuses."""
_LEFT_OPEN_TO_CODES: Final[dict[FaultKind, frozenset[FaultKind]]] = {
    K.QUOTA_EXHAUSTED: frozenset({K.RATE_LIMITED}),  # OpenRouter: 402 while concurrent requests reserve the credit
    K.RATE_LIMITED: frozenset({K.PERMISSION_DENIED}),  # Zhipu: 429 for a locked account
}
"""Further kinds that it leaves open to a specific code alone."""
del K

_MAX_PARAM_LENGTH = 128  # characters of a parameter name
_MAX_CODE_LENGTH = 128


def fault_from_status(
    status: int, headers: Mapping[str, str], body: object, *, now: float, secrets: Secrets = ()
) -> Fault:
    """Return the fault of an HTTP error. ``body`` is decoded JSON, text, or ``None``."""
    error = parse_error_details(body)
    kind = _classify_response(error, status)
    retry_after = parse_retry_after(headers, now)
    should_retry = {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())
    return make_fault(
        kind,
        Phase.HEADERS,
        _describe_status(status, headers, error, secrets),
        # an exhausted quota stays exhausted, whatever x-should-retry says
        retryable=None if kind is FaultKind.QUOTA_EXHAUSTED else should_retry,
        status=status,
        code=_scrub_short(next(iter(error.codes), None), secrets),
        retry_after=error.retry_delay if retry_after is None else retry_after,
        request_id=_scrub_short(headers.get("x-request-id"), secrets),
    )


def fault_from_error_body(body: object, phase: Phase, *, secrets: Secrets = ()) -> Fault:
    """Return the fault of an error in a stream, or in a JSON body with status 200."""
    error = parse_error_details(body)
    return make_fault(
        _classify_in_band(error) or FaultKind.STREAM_ERROR,
        phase,
        _describe(error, secrets) or "the stream contains an error without a message",
        code=_scrub_short(next(iter(error.codes), None), secrets),
        retry_after=error.retry_delay,
    )


def _classify_response(error: ErrorDetails, status: int) -> FaultKind:
    """Return the kind of an error response."""
    kind = classify_status(status)
    left_open = _LEFT_OPEN.get(kind, frozenset())
    if (specific := classify_specific_code(*error.codes)) is not None:
        return specific if specific in left_open | _LEFT_OPEN_TO_CODES.get(kind, frozenset()) else kind
    if (by_phrase := classify_phrase(_searched_text(error))) in left_open and by_phrase is not None:
        return by_phrase
    by_code = classify_generic_code(*error.codes)
    return by_code if by_code in left_open and by_code is not None else kind


def _classify_in_band(error: ErrorDetails) -> FaultKind | None:
    """Return the kind of an error without a status, ``None`` if neither codes nor message are known."""
    if (specific := classify_specific_code(*error.codes)) is not None:
        return specific
    by_phrase, by_number = classify_phrase(_searched_text(error)), classify_numeric_code(*error.codes)
    if by_number is None:
        status = status_in_words(error.message)
        by_words = None if status is None else classify_status(status)
        # a server that names the part of the request that it does not accept, such as FastAPI, rejects the request
        by_param = FaultKind.BAD_REQUEST if error.param else None
        return by_phrase or classify_generic_code(*error.codes) or by_words or by_param
    return by_phrase if by_phrase in _LEFT_OPEN.get(by_number, ()) else by_number


def _searched_text(error: ErrorDetails) -> str:
    return f"quota {error.quota_ids} {error.message}" if error.quota_ids else error.message


def _describe(error: ErrorDetails, secrets: Secrets) -> str:
    """Return the message of an error, scrubbed, with the rejected parameter unless the message names it."""
    part = scrub(error.param, secrets, _MAX_PARAM_LENGTH)
    if not part or part in error.message:
        return scrub(error.message, secrets)
    return scrub(f"{part}: {error.message}" if error.message else f"the server does not accept {part}", secrets)


def _describe_status(status: int, headers: Mapping[str, str], error: ErrorDetails, secrets: Secrets) -> str:
    if status < 400:
        text = f"the server redirects to {redirect_target(headers)}: a login page, or the base URL is wrong"
        return scrub(text, secrets)
    return _describe(error, secrets) or f"the server answered with status {status}"


def _scrub_short(value: object, secrets: Secrets) -> str | None:
    return None if value is None else scrub(str(value), secrets, _MAX_CODE_LENGTH)
