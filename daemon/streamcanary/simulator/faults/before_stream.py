"""Faults before the stream: connection errors, error statuses, responses that are not an event stream."""

from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from streamcanary.simulator.api.base import ApiResponse
from streamcanary.simulator.api.error_bodies import error_body
from streamcanary.simulator.http.response_writer import EVENT_STREAM, Behaviour, Responder, ResponseWriter

LOGIN_PATH: Final = "/login"
LOGIN_PAGE: Final = (
    b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head>"
    b'<body><form method="post"><input name="user"><input type="password" name="password"></form></body></html>\n'
)
HTML: Final = "text/html; charset=utf-8"
_SERVER_ERROR = "The server had an error while processing your request. Sorry about that!"
_OVERLOADED = "The engine is currently overloaded, please try again later"
_RATE_LIMIT = "Rate limit reached for {model} on requests per min (RPM): Limit 3, Used 3, Requested 1."
_HeaderFactory = Callable[[ResponseWriter], dict[str, str]]


def _error_status(
    status: int,
    message: str,
    type: str = "invalid_request_error",  # noqa: A002 - the name it has on the wire
    code: str | None = None,
    *,
    param: str | None = None,
    headers: _HeaderFactory | None = None,
    description: str | None = None,
) -> Behaviour:
    """Return the behaviour that sends ``status`` with an error body; ``{model}`` in the message is replaced."""

    async def respond(writer: ResponseWriter, response: ApiResponse) -> None:
        body = error_body(message.replace("{model}", response.model[:200]), type, code, param)
        await writer.send_response(status, body, headers=headers(writer).items() if headers else ())

    return Behaviour(respond, description or f"{status} {code or type}")


def _html_page(status: int, title: str) -> Responder:
    """Return the responder that sends an HTML page, as a gateway does."""
    body = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n".encode()

    async def respond(writer: ResponseWriter, response: ApiResponse) -> None:
        await writer.send_response(status, body, HTML)

    return respond


def _rate_limited(headers: _HeaderFactory | None, description: str) -> Behaviour:
    return _error_status(429, _RATE_LIMIT, "requests", "rate_limit_exceeded", headers=headers, description=description)


async def _reset(writer: ResponseWriter, response: ApiResponse) -> None:
    writer.reset_connection()


async def _close(writer: ResponseWriter, response: ApiResponse) -> None:
    writer.close_connection()


async def _garbage(writer: ResponseWriter, response: ApiResponse) -> None:
    await writer.send_bytes(b"SSH-2.0-OpenSSH_9.2\r\n\x00\x00\x04\xbc\x0a\x14\xff\xfe\x80\r\n")
    writer.close_connection()


async def _no_headers(writer: ResponseWriter, response: ApiResponse) -> None:
    await writer.hang()


async def _stalled_error_body(writer: ResponseWriter, response: ApiResponse) -> None:
    await _send_half_error_body(writer)
    await writer.hang()


async def _cut_error_body(writer: ResponseWriter, response: ApiResponse) -> None:
    await _send_half_error_body(writer)
    writer.close_connection()


async def _send_half_error_body(writer: ResponseWriter) -> None:
    body = error_body(_OVERLOADED, "server_error")
    await writer.send_head(503, len(body), headers=[("retry-after", writer.retry_after_seconds())])
    await writer.send_bytes(body[: len(body) // 2])


async def _json_completion(writer: ResponseWriter, response: ApiResponse) -> None:
    await writer.send_response(200, response.json_body())


async def _json_error(writer: ResponseWriter, response: ApiResponse) -> None:
    await writer.send_response(200, error_body(_SERVER_ERROR, "server_error"))


async def _no_content(writer: ResponseWriter, response: ApiResponse) -> None:
    await writer.send_response(204)


async def _empty_body(writer: ResponseWriter, response: ApiResponse) -> None:
    await writer.send_response(200)


async def _empty_stream(writer: ResponseWriter, response: ApiResponse) -> None:
    await writer.start_body(EVENT_STREAM)
    await writer.end_body()


async def _redirect(writer: ResponseWriter, response: ApiResponse) -> None:
    await writer.send_response(302, headers=[("location", LOGIN_PATH)])


FAULTS_BEFORE_STREAM: Final[dict[str, Behaviour]] = {
    "reset": Behaviour(_reset, "a RST before the headers"),
    "close": Behaviour(_close, "a FIN before the headers"),
    "garbage": Behaviour(_garbage, "bytes that are not HTTP"),
    "no-headers": Behaviour(_no_headers, "silence"),
    "400": _error_status(
        400,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        code="unsupported_parameter",
        param="max_tokens",
    ),
    "context-length": _error_status(
        400,
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130123 tokens.",
        code="context_length_exceeded",
        param="messages",
    ),
    "content-policy": _error_status(
        400, "Your request was rejected as a result of our safety system.", code="content_policy_violation"
    ),
    "401": _error_status(401, "Incorrect API key provided.", code="invalid_api_key"),
    "403": _error_status(
        403,
        "Country, region, or territory not supported",
        "request_forbidden",
        "unsupported_country_region_territory",
    ),
    "404": _error_status(
        404,
        "The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
        param="model",
    ),
    "408": _error_status(408, "The request timed out. Please try again.", "server_error"),
    "409": _error_status(409, "The resource was updated by another process. Please try again.", "server_error"),
    "413": Behaviour(_html_page(413, "413 Request Entity Too Large"), "413 from a proxy, HTML"),
    "422": _error_status(422, "Unable to process the request, despite its format being correct."),
    "429": _rate_limited(None, "429 rate_limit_exceeded, without a retry delay"),
    "429-retry-after": _rate_limited(
        lambda writer: {"retry-after": writer.retry_after_seconds()}, "429 rate_limit_exceeded, Retry-After in seconds"
    ),
    "429-retry-after-ms": _rate_limited(
        lambda writer: {"retry-after-ms": str(round(writer.timings.retry_after * 1000))},
        "429 rate_limit_exceeded, retry-after-ms",
    ),
    "429-retry-after-date": _rate_limited(
        lambda writer: {"retry-after": formatdate(writer.now + int(writer.retry_after_seconds()), usegmt=True)},
        "429 rate_limit_exceeded, Retry-After as a date",
    ),
    "quota": _error_status(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
        description="429 insufficient_quota: not retryable",
    ),
    "500": _error_status(500, _SERVER_ERROR, "server_error"),
    "502": Behaviour(_html_page(502, "502 Bad Gateway"), "502 from a gateway, HTML"),
    "503": _error_status(503, _OVERLOADED, "server_error"),
    "504": Behaviour(_html_page(504, "504 Gateway Time-out"), "504 from a gateway, HTML"),
    "529": _error_status(529, "Overloaded", "overloaded_error"),
    "5xx-stalled-body": Behaviour(_stalled_error_body, "503 whose body stalls half way"),
    "5xx-cut-body": Behaviour(_cut_error_body, "503 whose body is cut half way"),
    "redirect": Behaviour(_redirect, "302 to a login page"),
    "html-200": Behaviour(_html_page(200, "Welcome to the guest network"), "200 with an HTML page"),
    "json-200": Behaviour(_json_completion, "200 with the whole answer as JSON instead of a stream"),
    "json-error-200": Behaviour(_json_error, "200 with an error as JSON"),
    "204": Behaviour(_no_content, "204"),
    "empty-body": Behaviour(_empty_body, "200 with neither body nor content type"),
    "empty-stream": Behaviour(_empty_stream, "200, an event stream without an event"),
}
"""The behaviours by name, without ``sim-``."""
