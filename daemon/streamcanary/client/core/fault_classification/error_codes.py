"""Tables of HTTP statuses and of the error codes and types of providers, with the fault kind of each.

A code is *specific* if it alone decides the kind, and *generic* if it says no more than a status would: then the
message may say more. Codes are compared without case, ``_``, ``-``, ``.`` and spaces: ``RATE_LIMIT_EXCEEDED``,
``rateLimitExceeded`` and ``rate_limit_exceeded`` are one code.

Sources: the error references of OpenAI, Azure OpenAI, Anthropic, Google (Gemini, Vertex AI), Mistral, Groq, OpenRouter,
DeepSeek, Moonshot, Zhipu (Z.ai), MiniMax, Alibaba (Model Studio), Amazon Bedrock, xAI; the sources of llama.cpp, vLLM,
TGI, LiteLLM.
"""

from typing import Final

from streamcanary.model.faults import FaultKind

K = FaultKind

STATUSES: Final[dict[int, FaultKind]] = {
    401: K.AUTH_FAILED,
    402: K.QUOTA_EXHAUSTED,  # no credit: OpenRouter, DeepSeek
    403: K.PERMISSION_DENIED,
    404: K.NOT_FOUND,
    # "not now", although the class is 4xx: a later request can succeed
    408: K.SERVER_ERROR,  # the server, or a model behind it, was too slow
    409: K.SERVER_ERROR,  # a conflict with another request
    420: K.RATE_LIMITED,  # a predecessor of 429
    423: K.SERVER_ERROR,  # locked by another operation
    424: K.SERVER_ERROR,  # the model failed: TGI ("generation"), Amazon Bedrock (ModelErrorException)
    425: K.SERVER_ERROR,  # too early: replayed data of TLS
    429: K.RATE_LIMITED,
    498: K.OVERLOADED,  # no capacity in the flex tier: Groq
    499: K.SERVER_ERROR,  # a server or proxy believes that the client has closed the request, which is still waiting
    # not the request of the caller, but not temporary either
    410: K.NOT_FOUND,  # a retired model
    451: K.PERMISSION_DENIED,  # not available for legal reasons, such as the country
    503: K.OVERLOADED,
    529: K.OVERLOADED,  # Anthropic
}
"""Statuses that differ from their class: other 4xx are ``bad_request``, other 5xx ``server_error``.

The latter include those that Cloudflare adds (520 to 527, 530: the server behind it sends no or invalid responses).
"""

_SPECIFIC: Final[dict[str, FaultKind]] = {
    # billing
    "insufficient_quota": K.QUOTA_EXHAUSTED,
    "insufficient_user_quota": K.QUOTA_EXHAUSTED,  # One API
    "billing_hard_limit_reached": K.QUOTA_EXHAUSTED,
    "billing_not_active": K.QUOTA_EXHAUSTED,
    "billing_error": K.QUOTA_EXHAUSTED,  # Anthropic
    "credit_balance_exhausted": K.QUOTA_EXHAUSTED,
    "insufficient_balance": K.QUOTA_EXHAUSTED,
    "insufficient_balance_error": K.QUOTA_EXHAUSTED,
    "insufficient_credits": K.QUOTA_EXHAUSTED,
    "payment_required": K.QUOTA_EXHAUSTED,
    "exceeded_current_quota_error": K.QUOTA_EXHAUSTED,  # Moonshot
    "budget_exceeded": K.QUOTA_EXHAUSTED,  # LiteLLM
    "arrearage": K.QUOTA_EXHAUSTED,  # Alibaba
    # rates and capacity
    "rate_limit_exceeded": K.RATE_LIMITED,
    "rate_limit_reached_error": K.RATE_LIMITED,  # Moonshot
    "throttling_exception": K.RATE_LIMITED,  # Amazon
    "in_flight_budget_exhausted": K.RATE_LIMITED,  # OpenRouter: too much credit reserved by concurrent requests
    "overloaded": K.OVERLOADED,
    "overloaded_error": K.OVERLOADED,
    "engine_overloaded_error": K.OVERLOADED,  # Moonshot
    "server_is_overloaded": K.OVERLOADED,
    "slow_down": K.OVERLOADED,
    "capacity_exceeded": K.OVERLOADED,  # Groq
    "service_tier_capacity_exceeded": K.OVERLOADED,  # Mistral
    "service_unavailable": K.OVERLOADED,
    "service_unavailable_error": K.OVERLOADED,
    "service_unavailable_exception": K.OVERLOADED,
    "model_not_ready_exception": K.OVERLOADED,
    "unavailable": K.OVERLOADED,  # Google
    "unavailable_error": K.OVERLOADED,  # llama.cpp, while it loads the model
    # key and permissions
    "invalid_api_key": K.AUTH_FAILED,
    "incorrect_api_key_error": K.AUTH_FAILED,
    "api_key_invalid": K.AUTH_FAILED,
    "authentication_error": K.AUTH_FAILED,
    "invalid_authentication_error": K.AUTH_FAILED,
    "unauthenticated": K.AUTH_FAILED,  # Google
    "unsupported_country_region_territory": K.PERMISSION_DENIED,
    "key_model_access_denied": K.PERMISSION_DENIED,  # LiteLLM
    "access_denied_exception": K.PERMISSION_DENIED,
    # model
    "model_not_found": K.NOT_FOUND,
    "model_not_available": K.NOT_FOUND,
    "unknown_model": K.NOT_FOUND,  # Azure, with 400
    "model_decommissioned": K.NOT_FOUND,  # Groq
    "model_deprecated": K.NOT_FOUND,
    "model_retired": K.NOT_FOUND,
    "model_gone": K.NOT_FOUND,
    "not_found": K.NOT_FOUND,
    "not_found_error": K.NOT_FOUND,
    "resource_not_found_error": K.NOT_FOUND,
    "resource_not_found_exception": K.NOT_FOUND,
    "deployment_not_found": K.NOT_FOUND,  # Azure
    # length
    "context_length_exceeded": K.CONTEXT_LENGTH_EXCEEDED,
    "exceed_context_size_error": K.CONTEXT_LENGTH_EXCEEDED,  # llama.cpp
    "context_window_exceeded_error": K.CONTEXT_LENGTH_EXCEEDED,  # LiteLLM
    "string_above_max_length": K.CONTEXT_LENGTH_EXCEEDED,
    "tokens_too_long": K.CONTEXT_LENGTH_EXCEEDED,  # Baidu
    # content
    "content_filter": K.CONTENT_POLICY,
    "content_policy_violation": K.CONTENT_POLICY,
    "content_policy_violation_error": K.CONTENT_POLICY,  # LiteLLM
    "invalid_prompt": K.CONTENT_POLICY,  # OpenAI: the prompt was flagged
    "moderation_blocked": K.CONTENT_POLICY,
    "responsible_ai_policy_violation": K.CONTENT_POLICY,  # Azure
    "data_inspection_failed": K.CONTENT_POLICY,  # Alibaba
    # a parameter: the message often quotes its value, so it must not decide
    "invalid_value": K.BAD_REQUEST,
    "invalid_type": K.BAD_REQUEST,
    "unsupported_parameter": K.BAD_REQUEST,
    "unsupported_value": K.BAD_REQUEST,
    "unknown_parameter": K.BAD_REQUEST,
    "missing_required_parameter": K.BAD_REQUEST,
    # the model failed
    "model_error_exception": K.SERVER_ERROR,  # Amazon
    "model_stream_error_exception": K.SERVER_ERROR,
    "model_timeout_exception": K.SERVER_ERROR,
    "incomplete_generation": K.SERVER_ERROR,  # TGI
    # numbers in MiniMax's base_resp; those in error objects are Zhipu's
    "base_resp 1000": K.SERVER_ERROR,
    "base_resp 1001": K.SERVER_ERROR,  # a timeout
    "base_resp 1002": K.RATE_LIMITED,
    "base_resp 1004": K.AUTH_FAILED,
    "base_resp 1008": K.QUOTA_EXHAUSTED,
    "base_resp 1013": K.SERVER_ERROR,
    "base_resp 1024": K.SERVER_ERROR,
    "base_resp 1026": K.CONTENT_POLICY,  # of the prompt
    "base_resp 1027": K.CONTENT_POLICY,  # of the answer
    "base_resp 1033": K.SERVER_ERROR,
    "base_resp 1039": K.RATE_LIMITED,  # tokens a minute
    "base_resp 1041": K.RATE_LIMITED,  # connections
    "base_resp 2013": K.BAD_REQUEST,
    "base_resp 2045": K.RATE_LIMITED,
    "base_resp 2049": K.AUTH_FAILED,
    "base_resp 2056": K.QUOTA_EXHAUSTED,  # of some hours
    # numbers of Zhipu (Z.ai); 1300 is left out, because Mistral uses it for a rate limit
    "1000": K.AUTH_FAILED,
    "1001": K.AUTH_FAILED,
    "1002": K.AUTH_FAILED,
    "1003": K.AUTH_FAILED,
    "1004": K.AUTH_FAILED,
    "1110": K.PERMISSION_DENIED,  # the account is not active
    "1111": K.PERMISSION_DENIED,  # it does not exist
    "1112": K.PERMISSION_DENIED,  # it is locked
    "1113": K.QUOTA_EXHAUSTED,  # it is in arrears
    "1120": K.SERVER_ERROR,  # it cannot be read now
    "1121": K.PERMISSION_DENIED,  # it is locked for a violation
    "1210": K.BAD_REQUEST,
    "1211": K.NOT_FOUND,  # the model does not exist
    "1212": K.BAD_REQUEST,
    "1213": K.BAD_REQUEST,
    "1214": K.BAD_REQUEST,
    "1215": K.BAD_REQUEST,
    "1220": K.PERMISSION_DENIED,
    "1221": K.NOT_FOUND,  # the API has been shut down
    "1222": K.NOT_FOUND,
    "1230": K.SERVER_ERROR,
    "1234": K.SERVER_ERROR,
    "1261": K.CONTEXT_LENGTH_EXCEEDED,
    "1301": K.CONTENT_POLICY,
    "1302": K.RATE_LIMITED,  # too many requests at once
    "1303": K.RATE_LIMITED,
    "1304": K.QUOTA_EXHAUSTED,  # of the day
    "1305": K.OVERLOADED,
    "1308": K.QUOTA_EXHAUSTED,  # of some hours
    "1309": K.QUOTA_EXHAUSTED,  # the plan has ended
    "1310": K.QUOTA_EXHAUSTED,  # of the week or month
    "1311": K.PERMISSION_DENIED,  # the plan does not include the model
    "1312": K.OVERLOADED,
    "1313": K.RATE_LIMITED,
}
_GENERIC: Final[dict[str, FaultKind]] = {
    "invalid_request_error": K.BAD_REQUEST,
    "bad_request": K.BAD_REQUEST,
    "bad_request_error": K.BAD_REQUEST,
    "validation_error": K.BAD_REQUEST,
    "validation_exception": K.BAD_REQUEST,
    "invalid_argument": K.BAD_REQUEST,  # Google
    "failed_precondition": K.BAD_REQUEST,
    "invalid_parameter": K.BAD_REQUEST,
    "permission_error": K.PERMISSION_DENIED,
    "permission_denied": K.PERMISSION_DENIED,
    "permission_denied_error": K.PERMISSION_DENIED,
    "rate_limit_error": K.RATE_LIMITED,
    "rate_limited": K.RATE_LIMITED,  # Mistral
    "too_many_requests": K.RATE_LIMITED,
    "throttling_error": K.RATE_LIMITED,  # LiteLLM, for every 429
    "resource_exhausted": K.RATE_LIMITED,  # Google, for rates and quotas
    "server_error": K.SERVER_ERROR,
    "internal": K.SERVER_ERROR,
    "internal_error": K.SERVER_ERROR,
    "internal_server_error": K.SERVER_ERROR,
    "api_error": K.SERVER_ERROR,
    "deadline_exceeded": K.SERVER_ERROR,
    "internal_server_exception": K.SERVER_ERROR,
    "generation": K.SERVER_ERROR,  # TGI
    "validation": K.BAD_REQUEST,
}
_MAX_CODE_LENGTH: Final = 128  # characters that are compared
_QUOTA_SUFFIXES: Final = ("spendlimitexceeded", "usagelimitexceeded")
_IGNORED_CHARACTERS: Final = str.maketrans("", "", "_-. ")
del K


def _normalize(code: str) -> str:
    # Amazon's types can have a namespace before "#" and an address after ":".
    return code.rpartition("#")[2].partition(":")[0].lower().translate(_IGNORED_CHARACTERS)


ERROR_CODES: Final = (*_SPECIFIC, *_GENERIC)
"""All known error codes."""
_SPECIFIC_BY_CODE: Final = {_normalize(code): kind for code, kind in _SPECIFIC.items()}
_GENERIC_BY_CODE: Final = {_normalize(code): kind for code, kind in _GENERIC.items()}


def classify_status(status: int) -> FaultKind:
    """Return the kind of an HTTP ``status`` of 300 or more when nothing else is known."""
    if kind := STATUSES.get(status):
        return kind
    if status >= 500:
        return FaultKind.SERVER_ERROR
    return FaultKind.BAD_REQUEST if status >= 400 else FaultKind.NOT_A_STREAM


def classify_specific_code(*codes: object) -> FaultKind | None:
    """Return the kind of the first of ``codes`` that alone decides it, or ``None``."""
    for code in codes:
        if isinstance(code, (str, int)):
            name = _normalize(str(code)[:_MAX_CODE_LENGTH])
            if name.endswith(_QUOTA_SUFFIXES):
                return FaultKind.QUOTA_EXHAUSTED
            if kind := _SPECIFIC_BY_CODE.get(name):
                return kind
    return None


def classify_numeric_code(*codes: object) -> FaultKind | None:
    """Return the kind of the first of ``codes`` that is an HTTP status of an error, as number or text, or ``None``."""
    for code in codes:
        name = str(code).strip() if isinstance(code, (str, int)) else ""
        if len(name) == 3 and name.isascii() and name.isdigit() and name[0] in "45":
            return classify_status(int(name))
    return None


def classify_generic_code(*codes: object) -> FaultKind | None:
    """Return the kind of the first of ``codes`` that is an HTTP status of an error, or a general type, or ``None``."""
    for code in codes:
        if (kind := classify_numeric_code(code)) is not None:
            return kind
        if isinstance(code, str) and (kind := _GENERIC_BY_CODE.get(_normalize(code[:_MAX_CODE_LENGTH]))):
            return kind
    return None


def classify_error_code(*codes: object) -> FaultKind | None:
    """Return the kind of a provider's error ``codes``: of the first specific one, else of the first generic one."""
    return classify_specific_code(*codes) or classify_generic_code(*codes)
