"""The kinds of errors that servers report, with the texts that providers, servers and proxies send."""

import itertools
import json
from typing import Any

import pytest

from streamcanary.client.core.fault_classification import (
    fault_from_error_body,
    fault_from_status,
)
from streamcanary.client.core.fault_classification.error_phrases import PHRASES, classify_phrase
from streamcanary.model.faults import Blame, Fault, FaultKind, Phase

K = FaultKind
CONTEXT, QUOTA, RATE = K.CONTEXT_LENGTH_EXCEEDED, K.QUOTA_EXHAUSTED, K.RATE_LIMITED


def by_status(status: int, body: object = None, **headers: str) -> Fault:
    return fault_from_status(status, {key.replace("_", "-"): value for key, value in headers.items()}, body, now=0.0)


def in_stream(body: object) -> Fault:
    return fault_from_error_body(body, Phase.STREAM)


STATUSES = {
    400: (K.BAD_REQUEST, False),
    401: (K.AUTH_FAILED, False),
    402: (QUOTA, False),
    403: (K.PERMISSION_DENIED, False),
    404: (K.NOT_FOUND, False),
    405: (K.BAD_REQUEST, False),
    408: (K.SERVER_ERROR, True),
    409: (K.SERVER_ERROR, True),
    410: (K.NOT_FOUND, False),
    413: (K.BAD_REQUEST, False),
    420: (RATE, True),
    422: (K.BAD_REQUEST, False),
    423: (K.SERVER_ERROR, True),
    424: (K.SERVER_ERROR, True),
    425: (K.SERVER_ERROR, True),
    429: (RATE, True),
    451: (K.PERMISSION_DENIED, False),
    498: (K.OVERLOADED, True),
    499: (K.SERVER_ERROR, True),
    500: (K.SERVER_ERROR, True),
    502: (K.SERVER_ERROR, True),
    503: (K.OVERLOADED, True),
    504: (K.SERVER_ERROR, True),
    **dict.fromkeys((*range(520, 528), 530), (K.SERVER_ERROR, True)),
    529: (K.OVERLOADED, True),
}


@pytest.mark.parametrize("status", STATUSES)
def test_status_alone_decides_without_a_body(status: int) -> None:
    """Each status has a kind, also as a code in a stream; those that mean "not now" are retried."""
    kind, is_retryable = STATUSES[status]
    fault = by_status(status)
    assert (kind, is_retryable, status) == (fault.kind, fault.retryable, fault.status)
    for code in (status, str(status)):
        fault = in_stream({"error": {"code": code, "message": "no"}})
        assert (kind, is_retryable, str(status)) == (fault.kind, fault.retryable, fault.code)


def openai(message: str, code: object = None, kind: object = None) -> dict[str, Any]:
    """Return an error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


CONTEXT_ERRORS = [
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens.",
    "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "prompt is too long: 216868 tokens > 200000 maximum",
    "input length and `max_tokens` exceed context limit: 174167 + 64000 > 200000, decrease input length",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "litellm.ContextWindowExceededError: litellm.BadRequestError: OpenAIException - too many",
    "the request exceeds the available context size. try increasing the context size or enable context shift",
    "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "Context size has been exceeded.",
    "Requested tokens (2285) exceed context window of 2048",
    "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
    "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 509178 tokens.",
    "Input is too long for requested model.",
    "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
    "Please reduce the length of the messages or completion.",
    "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)",
    "too many tokens: total number of tokens in the prompt exceeds the limit of 4081.",
    "Range of input length should be [1, 30720]",
    "Input validation error: `inputs` must have less than 1024 tokens. Given: 1100",
    "invalid params, context window exceeds limit (2013)",
    "the input length exceeds the context length",
    "prompt exceeds maximum length of 2048 tokens",
    "The prompt (9000 tokens) exceeds the maximum length of 8192",
    "prompt too long; exceeded max context length by 17 tokens",
]


@pytest.mark.parametrize("message", CONTEXT_ERRORS)
def test_context_overflow_is_recognized_by_its_phrase(message: str) -> None:
    """A request that is too long is recognized as 400, as 500, in the stream and as text, without a code."""
    faults = [
        by_status(400, openai(message)),
        by_status(400, openai(message, 400, "invalid_request_error")),
        by_status(500, openai(message, kind="server_error")),
        by_status(400, message),
        in_stream(openai(message)),
        in_stream(openai(message, 400, "BadRequestError")),
        in_stream({"error": message}),
    ]
    assert {(CONTEXT, Blame.CONFIG, False, message)} == {(f.kind, f.blame, f.retryable, f.message) for f in faults}


LITELLM_QUOTA = (
    "litellm.RateLimitError: RateLimitError: OpenAIException - You exceeded your current quota, please check your plan "
    "and billing details. Received Model Group=chat\nAvailable Model Group Fallbacks=None"
)
GEMINI_QUOTA = "You exceeded your current quota, please check your plan and billing details. Please retry in 36.4s."
XAI = "Your team has either used all available credits or reached its monthly spending limit."
AZURE_RATE = "have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 6 seconds."
GROQ_413 = "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 12328"
FLAGGED = "Invalid prompt: your prompt was flagged as potentially violating our usage policy."


def google(message: str, *quota_ids: str, delay: str = "2s") -> list[Any]:
    """Return Google's error for an exceeded quota."""
    violations = [{"quotaId": quota_id} for quota_id in quota_ids]
    details = [{"violations": violations}, {"retryDelay": delay}]
    return [{"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}}]


REPORTED: list[tuple[int, object, FaultKind]] = [
    # no credit
    (402, openai("Insufficient credits", 402), QUOTA),
    (402, openai("Insufficient Balance", "invalid_request_error", "unknown_error"), QUOTA),
    (402, google("No credit.")[0] | {"code": 402}, QUOTA),
    (402, openai("Too much at once", "in_flight_budget_exhausted"), RATE),
    (429, openai("no", None, "exceeded_current_quota_error"), QUOTA),
    (429, openai("您的账户已欠费", "1113"), QUOTA),
    (429, openai(LITELLM_QUOTA, "429", "throttling_error"), QUOTA),
    (429, openai("You exceeded your current quota"), QUOTA),
    (429, XAI, QUOTA),
    (403, {"code": "permission-denied", "error": XAI}, QUOTA),
    (400, openai("Your credit balance is too low to access the Anthropic API.", None, "invalid_request_error"), QUOTA),
    (400, openai("Budget has been exceeded! Current cost: 14, Max budget: 10", "400"), QUOTA),
    (500, openai("insufficient balance (1008)", None, "api_error"), QUOTA),
    (429, openai("limit", "org_usage_limit_exceeded"), QUOTA),
    (403, openai("Your account balance is insufficient"), QUOTA),
    (403, {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 01:02:03."}, QUOTA),
    (403, {"statusCode": 403, "message": "Out of bandwidth quota. Quota will be replenished in 01:02:03."}, QUOTA),
    (403, openai("Sorry, your account balance is not enough"), QUOTA),
    # rates, and Google's quotas
    (429, openai("Rate limit reached", "rate_limit_exceeded", "tokens"), RATE),
    (429, openai(AZURE_RATE, "429"), RATE),
    (429, google("Quota exceeded for metric m", "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"), RATE),
    (429, google(GEMINI_QUOTA, "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"), RATE),
    (429, google(GEMINI_QUOTA), RATE),
    (429, google(GEMINI_QUOTA, "TokensPerModelPerMinute", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"), QUOTA),
    (429, google("Quota exceeded for quota metric 'Requests' and limit 'Requests per day per user'"), QUOTA),
    (429, google("Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'"), RATE),
    (429, google("Resource has been exhausted (e.g. check quota)."), RATE),
    (429, openai("ThrottlingException: Too many tokens, please wait before trying again."), RATE),
    (500, openai("litellm.APIConnectionError: Too Many Requests"), RATE),
    # capacity
    (498, openai("no", "capacity_exceeded"), K.OVERLOADED),
    (429, openai("The engine is currently overloaded", None, "engine_overloaded_error"), K.OVERLOADED),
    (429, {"object": "error", "message": "Service tier capacity exceeded for this model."}, K.OVERLOADED),
    (429, openai("The service may be temporarily overloaded", "1305"), K.OVERLOADED),
    (500, {"error": "server busy, please try again. maximum pending requests exceeded"}, K.OVERLOADED),
    (502, openai("Provider returned error", 502) | {"metadata": {"raw": "Overloaded"}}, K.OVERLOADED),
    # model
    (404, openai("The model `x` does not exist", 404, "NotFoundError"), K.NOT_FOUND),
    (400, openai("The model `x` has been decommissioned", "model_decommissioned"), K.NOT_FOUND),
    (400, openai("Unknown model: x", "unknown_model"), K.NOT_FOUND),
    (400, openai("the model 'x' has been deprecated"), K.NOT_FOUND),
    (400, openai("x is not a valid model ID", 400), K.NOT_FOUND),
    (400, openai("Model Not Exist", "invalid_request_error"), K.NOT_FOUND),
    (410, {"title": "Gone", "status": 410, "detail": "The model 'x' has reached its end of life"}, K.NOT_FOUND),
    (500, {"error": "model 'x' not found, try pulling it first"}, K.NOT_FOUND),
    (400, {"error": 'model "llama3:8b" not found'}, K.NOT_FOUND),
    (400, openai("The requested model is not found"), K.NOT_FOUND),
    (400, openai("the model server lost its worker: connection not found"), K.BAD_REQUEST),
    # the model failed
    (424, {"error": "Request failed during generation: oom", "error_type": "generation"}, K.SERVER_ERROR),
    (424, {"message": "unexpected error", "__type": "ModelErrorException"}, K.SERVER_ERROR),
    # key and permissions
    (400, google("API key not valid. Please pass a valid API key.")[0] | {"code": 400}, K.AUTH_FAILED),
    (429, openai("您的账户已被锁定", "1112"), K.PERMISSION_DENIED),
    (451, openai("not in your country"), K.PERMISSION_DENIED),
    # content
    (400, openai(FLAGGED, "invalid_prompt", "invalid_request_error"), K.CONTENT_POLICY),
    (400, openai("Content Exists Risk", "invalid_request_error"), K.CONTENT_POLICY),
    (400, openai("triggering Azure OpenAI's content management policy", "content_filter"), K.CONTENT_POLICY),
    (403, openai("x requires moderation on y. Your input was flagged for \"z\"", 403), K.CONTENT_POLICY),
    # length
    (400, openai("no", 400, "exceed_context_size_error"), CONTEXT),
    (400, openai("Prompt 超长", "1261"), CONTEXT),
    (413, openai(GROQ_413), CONTEXT),
    (400, {"error": {"message": "Provider returned error", "metadata": {"raw": CONTEXT_ERRORS[0]}}}, CONTEXT),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), REPORTED)
def test_status_code_and_message_decide_together(status: int, body: object, kind: FaultKind) -> None:
    """The message decides where status and code leave the kind open; the body is decoded JSON, or its text."""
    assert kind is by_status(status, body).kind
    if not isinstance(body, str):
        assert kind is by_status(status, json.dumps(body)).kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (openai("no", 400, "exceed_context_size_error"), CONTEXT),
        (openai(FLAGGED, "invalid_prompt"), K.CONTENT_POLICY),
        (openai("Insufficient credits", 402), QUOTA),
        (openai("Insufficient credits", "402"), QUOTA),
        (openai("slow down", "rate_limit_exceeded", "invalid_request_error"), RATE),
        (openai("You exceeded your current quota", 429), QUOTA),
        (google(GEMINI_QUOTA), RATE),
        (google("Quota exceeded", "RequestsPerDay"), QUOTA),
        ({"error": "model 'x' not found, try pulling it first"}, K.NOT_FOUND),
        ({"error": 'model "llama3:8b" not found'}, K.NOT_FOUND),
        ({"error": "model llama3:8b was not found"}, K.NOT_FOUND),
        ({"error": "The requested model is not found"}, K.NOT_FOUND),
        ({"error": "no worker of the model was left: file not found"}, K.STREAM_ERROR),
        ({"error": "unauthorized"}, K.AUTH_FAILED),
        ({"error": "401 Unauthorized"}, K.AUTH_FAILED),
        ({"error": "Unauthorized: bad token"}, K.AUTH_FAILED),
        ({"error": "unauthorized use of a name"}, K.STREAM_ERROR),
        ({"detail": "Not authenticated"}, K.AUTH_FAILED),
        ({"error": "forbidden"}, K.PERMISSION_DENIED),
        ({"detail": "Not Found"}, K.NOT_FOUND),
        ({"message": "Internal server error"}, K.SERVER_ERROR),
        ({"error": "HTTP/1.1 502 Bad Gateway"}, K.SERVER_ERROR),
        ({"detail": [{"loc": ["body", "n"], "msg": "field required"}]}, K.BAD_REQUEST),
        ({"error": "Request failed during generation", "error_type": "generation"}, K.SERVER_ERROR),
        ({"message": "m", "__type": "ModelStreamErrorException"}, K.SERVER_ERROR),
        ({"base_resp": {"status_code": 1002, "status_msg": "m"}}, RATE),
        ({"base_resp": {"status_code": 1004, "status_msg": "m"}}, K.AUTH_FAILED),
        ({"base_resp": {"status_code": 1008, "status_msg": "m"}}, QUOTA),
        ({"base_resp": {"status_code": "1027", "status_msg": "m"}}, K.CONTENT_POLICY),
        ("over capacity", K.OVERLOADED),
        ({"error": "Rate limit exceeded"}, RATE),
        ({"error_type": "overloaded_error", "error_message": "m"}, K.OVERLOADED),
        ({"errors": [{"message": "Incorrect API key provided"}]}, K.AUTH_FAILED),
        ({"message": "Service tier capacity exceeded", "type": "invalid_request_error"}, K.OVERLOADED),
        (openai("no", None, "invalid_request_error"), K.BAD_REQUEST),
        (openai("no", None, "server_error"), K.SERVER_ERROR),
        (openai("something new", "something_new"), K.STREAM_ERROR),
        (None, K.STREAM_ERROR),
    ],
)
def test_error_without_a_status_is_classified_by_code_and_message(body: object, kind: FaultKind) -> None:
    """In a stream the codes decide, then the message; what is unknown is the provider's error."""
    assert kind is in_stream(body).kind


@pytest.mark.parametrize("quoted", [*CONTEXT_ERRORS[:3], LITELLM_QUOTA, "overloaded", "rate limit", FLAGGED])
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_value", K.BAD_REQUEST),
        (400, "unsupported_parameter", K.BAD_REQUEST),
        (404, "model_not_found", K.NOT_FOUND),
        (404, None, K.NOT_FOUND),
        (429, "rate_limit_exceeded", RATE),
        (429, "insufficient_quota", QUOTA),
        (503, None, K.OVERLOADED),
    ],
)
def test_quoted_text_does_not_change_an_unambiguous_error(
    status: int, code: str | None, kind: FaultKind, quoted: str
) -> None:
    """A message that quotes the request does not change the kind that status and code decide alone."""
    body = openai(f"Invalid value: {quoted!r}", code)
    assert kind is by_status(status, body).kind
    if code is not None:
        assert kind is in_stream(body).kind


@pytest.mark.parametrize("quoted", ["overloaded", "rate limit exceeded", "temporarily unavailable"])
def test_rejected_request_stays_rejected(quoted: str) -> None:
    """No phrase turns a rejected request or key into an error that is retried."""
    assert [K.BAD_REQUEST, K.BAD_REQUEST, K.AUTH_FAILED, K.PERMISSION_DENIED] == [
        by_status(status, {"error": quoted}).kind for status in (400, 422, 401, 403)
    ]


def test_retry_delay_of_the_body_is_honoured() -> None:
    """The delay in the body is used if there is no header, as a status and in the stream."""
    body = google("Quota exceeded", "PerMinute", delay="7.5s")
    assert [7.5, 3.0, 7.5] == [
        by_status(429, body).retry_after,
        by_status(429, body, retry_after="3").retry_after,
        in_stream(body).retry_after,
    ]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"detail": [{"loc": ["body", "messages"], "msg": "field required"}]}, "messages: field required"),
        ({"code": 400, "details": "Requested sample logprobs of 21"}, "Requested sample logprobs of 21"),
        ({"failure": {"text": "key first-secret"}}, '{"failure":{"text":"key [redacted]"}}'),
        ("plain words", "plain words"),
        ("<html><title>403 Forbidden</title></html>", "403 Forbidden"),
        ({"error": {"code": "first-secret", "message": "m"}}, "m"),
        ({"message": "x" * 10_000}, "x" * 499 + "…"),
    ],
)
def test_message_has_the_words_of_the_server(body: object, says: str) -> None:
    """The message has the server's words, whatever their key, or the body itself; scrubbed and bounded."""
    status = fault_from_status(422, {}, body, now=0.0, secrets=("first-secret",))
    stream = fault_from_error_body(body, Phase.STREAM, secrets=("first-secret",))
    assert (says, says) == (status.message, stream.message)
    assert "first-secret" not in f"{status!r}{stream!r}"


@pytest.mark.parametrize("status", [429, 402])
def test_exhausted_quota_is_not_retried(status: int) -> None:
    """An exhausted quota is not retried, even if the server asks for it."""
    fault = by_status(status, openai("You exceeded your current quota"), x_should_retry="true")
    assert (QUOTA, False) == (fault.kind, fault.retryable)


def test_phrases_are_lower_case_and_reachable() -> None:
    """Every row of the table is in lower case, and matches before any other row does."""
    for kind, *parts in PHRASES:
        text = " … ".join(parts)
        assert text == text.lower()
        assert kind is classify_phrase(text.upper())


def test_phrases_search_the_beginning_of_a_message() -> None:
    """Only the beginning of a message is searched, so that its length does not matter."""
    assert [K.OVERLOADED, None] == [
        classify_phrase("x" * 4000 + " overloaded"),
        classify_phrase("x" * 1_000_000 + " overloaded"),
    ]


def test_parts_of_a_phrase_must_occur_in_order() -> None:
    """The parts of a phrase match in their order only."""
    orders = [" ".join(parts) for parts in itertools.permutations(("the model", "x", "does not exist"))]
    assert 3 == sum(classify_phrase(text) is K.NOT_FOUND for text in orders)
