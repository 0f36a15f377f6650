"""The table of phrases in error messages that say what the code and the status leave open.

Proxies wrap the errors of a provider and lose their codes, and some servers have no codes at all. A row is a kind and
one or more parts in lower case; it matches a message that contains the parts in this order, in any case. The first row
that matches decides, so exceptions precede the rule. ``server_errors`` consults the table only where no specific code
is known, and accepts only the kinds that the status leaves open.

Rows quote what providers send; a part is long enough not to occur in other errors. In particular, ``quota`` alone says
nothing: it occurs in temporary rate limits.
"""

import re
from http import HTTPStatus
from typing import Final

from streamcanary.model.faults import FaultKind

K = FaultKind
PHRASES: Final[tuple[tuple[FaultKind, *tuple[str, ...]], ...]] = (
    # Google calls every limit a quota. The last two ask for a retry within a minute.
    (K.QUOTA_EXHAUSTED, "quota", "per day"),
    (K.QUOTA_EXHAUSTED, "quota", "perday"),
    (K.QUOTA_EXHAUSTED, "quota", "per_day"),
    (K.RATE_LIMITED, "quota", "per minute"),
    (K.RATE_LIMITED, "quota", "perminute"),
    (K.RATE_LIMITED, "quota", "per_minute"),
    (K.RATE_LIMITED, "quota", "please retry in"),
    (K.RATE_LIMITED, "resource has been exhausted"),
    # credit, billing, budgets
    (K.QUOTA_EXHAUSTED, "exceeded your current quota"),  # OpenAI, Moonshot
    (K.QUOTA_EXHAUSTED, "check your plan and billing"),
    (K.QUOTA_EXHAUSTED, "insufficient_quota"),
    (K.QUOTA_EXHAUSTED, "insufficient quota"),
    (K.QUOTA_EXHAUSTED, "insufficient balance"),  # DeepSeek, MiniMax
    (K.QUOTA_EXHAUSTED, "insufficient account balance"),
    (K.QUOTA_EXHAUSTED, "balance is insufficient"),
    (K.QUOTA_EXHAUSTED, "balance insufficient"),
    (K.QUOTA_EXHAUSTED, "balance is not enough"),
    (K.QUOTA_EXHAUSTED, "not enough balance"),
    (K.QUOTA_EXHAUSTED, "not enough credit"),
    (K.QUOTA_EXHAUSTED, "insufficient credit"),  # OpenRouter
    (K.QUOTA_EXHAUSTED, "insufficient funds"),
    (K.QUOTA_EXHAUSTED, "requires more credits"),
    (K.QUOTA_EXHAUSTED, "credit balance is too low"),  # Anthropic
    (K.QUOTA_EXHAUSTED, "specified api usage limits"),
    (K.QUOTA_EXHAUSTED, "out of credits"),  # xAI
    (K.QUOTA_EXHAUSTED, "used all available credits"),
    (K.QUOTA_EXHAUSTED, "monthly spending limit"),
    (K.QUOTA_EXHAUSTED, "monthly included credits"),  # Hugging Face
    (K.QUOTA_EXHAUSTED, "billing hard limit"),
    (K.QUOTA_EXHAUSTED, "budget has been exceeded"),  # LiteLLM
    (K.QUOTA_EXHAUSTED, "exceededbudget"),
    (K.QUOTA_EXHAUSTED, "exceeded budget for"),
    (K.QUOTA_EXHAUSTED, "reached your usage limit"),  # Moonshot's plans
    (K.QUOTA_EXHAUSTED, "session usage limit"),  # Ollama's plans
    (K.QUOTA_EXHAUSTED, "out of call volume quota"),  # Azure API Management, with 403
    (K.QUOTA_EXHAUSTED, "out of bandwidth quota"),
    (K.QUOTA_EXHAUSTED, "account is in good standing"),  # Alibaba (codespell:ignore standing)
    (K.QUOTA_EXHAUSTED, "余额不足"),
    (K.QUOTA_EXHAUSTED, "欠费"),
    # rates, before the length: Amazon Bedrock says "too many tokens" for both
    (K.RATE_LIMITED, "too many tokens, please wait"),
    # length
    (K.CONTEXT_LENGTH_EXCEEDED, "context_length_exceeded"),
    (K.CONTEXT_LENGTH_EXCEEDED, "contextwindowexceedederror"),  # LiteLLM
    (K.CONTEXT_LENGTH_EXCEEDED, "maximum context length"),  # OpenAI, vLLM, Mistral, OpenRouter
    (K.CONTEXT_LENGTH_EXCEEDED, "maximum context limit"),
    (K.CONTEXT_LENGTH_EXCEEDED, "context length exceeded"),
    (K.CONTEXT_LENGTH_EXCEEDED, "context window exceeded"),
    (K.CONTEXT_LENGTH_EXCEEDED, "context window exceeds limit"),  # MiniMax
    (K.CONTEXT_LENGTH_EXCEEDED, "available context size"),  # llama.cpp
    (K.CONTEXT_LENGTH_EXCEEDED, "context size has been exceeded"),
    (K.CONTEXT_LENGTH_EXCEEDED, "exceed context window of"),  # llama-cpp-python
    (K.CONTEXT_LENGTH_EXCEEDED, "exceeds the context window"),  # OpenAI, Responses
    (K.CONTEXT_LENGTH_EXCEEDED, "exceeds the context length"),  # Ollama
    (K.CONTEXT_LENGTH_EXCEEDED, "greater than the context length"),  # LM Studio
    (K.CONTEXT_LENGTH_EXCEEDED, "longer than the model's context length"),  # SGLang
    (K.CONTEXT_LENGTH_EXCEEDED, "longer than the maximum model length"),  # vLLM
    (K.CONTEXT_LENGTH_EXCEEDED, "exceed context limit"),  # Anthropic
    (K.CONTEXT_LENGTH_EXCEEDED, "prompt is too long"),
    (K.CONTEXT_LENGTH_EXCEEDED, "prompt too long"),
    (K.CONTEXT_LENGTH_EXCEEDED, "prompt", "exceeds", "maximum length"),
    (K.CONTEXT_LENGTH_EXCEEDED, "input", "exceeds", "maximum length of", "tokens"),
    (K.CONTEXT_LENGTH_EXCEEDED, "exceeds the model's context length"),
    (K.CONTEXT_LENGTH_EXCEEDED, "exceeds the model's maximum context"),
    (K.CONTEXT_LENGTH_EXCEEDED, "exceeds context length"),
    (K.CONTEXT_LENGTH_EXCEEDED, "exceeds context window"),
    (K.CONTEXT_LENGTH_EXCEEDED, "input token count", "exceeds the maximum number of tokens"),  # Gemini
    (K.CONTEXT_LENGTH_EXCEEDED, "input tokens exceed the configured limit"),  # Azure
    (K.CONTEXT_LENGTH_EXCEEDED, "input is too long for requested model"),  # Amazon Bedrock
    (K.CONTEXT_LENGTH_EXCEEDED, "maximum prompt length is"),  # xAI
    (K.CONTEXT_LENGTH_EXCEEDED, "reduce the length of the messages"),  # Groq
    (K.CONTEXT_LENGTH_EXCEEDED, "request too large for model", "tokens per minute"),
    (K.CONTEXT_LENGTH_EXCEEDED, "exceeded model token limit"),  # Moonshot
    (K.CONTEXT_LENGTH_EXCEEDED, "input token length too long"),
    (K.CONTEXT_LENGTH_EXCEEDED, "tokens in the prompt exceeds the limit"),  # Cohere
    (K.CONTEXT_LENGTH_EXCEEDED, "range of input length should be"),  # Alibaba
    (K.CONTEXT_LENGTH_EXCEEDED, "prompt tokens too long"),  # Baidu
    (K.CONTEXT_LENGTH_EXCEEDED, "inputs tokens + max_new_tokens must be"),  # TGI
    (K.CONTEXT_LENGTH_EXCEEDED, "inputs", "must have less than", "tokens"),
    # content
    (K.CONTENT_POLICY, "prompt was flagged"),  # OpenAI
    (K.CONTENT_POLICY, "result of our safety system"),
    (K.CONTENT_POLICY, "input was flagged for"),  # OpenRouter
    (K.CONTENT_POLICY, "content management policy"),  # Azure
    (K.CONTENT_POLICY, "content filtering policy"),  # Anthropic
    (K.CONTENT_POLICY, "contentpolicyviolationerror"),  # LiteLLM
    (K.CONTENT_POLICY, "content exists risk"),  # DeepSeek
    (K.CONTENT_POLICY, "considered high risk"),  # Moonshot
    (K.CONTENT_POLICY, "may contain inappropriate content"),  # Alibaba
    (K.CONTENT_POLICY, "不安全或敏感内容"),  # Zhipu
    # model
    (K.NOT_FOUND, "model", "not found, try pulling it first"),  # Ollama
    (K.NOT_FOUND, "model not found"),
    (K.NOT_FOUND, "model is not found"),
    (K.NOT_FOUND, "model was not found"),
    (K.NOT_FOUND, "model does not exist"),
    (K.NOT_FOUND, "no such model"),
    (K.NOT_FOUND, "model not exist"),  # DeepSeek
    (K.NOT_FOUND, "the model", "does not exist"),  # OpenAI, vLLM
    (K.NOT_FOUND, "model", "has been decommissioned"),  # Groq
    (K.NOT_FOUND, "model", "has been deprecated"),
    (K.NOT_FOUND, "model", "has been retired"),
    (K.NOT_FOUND, "model", "reached its end of life"),  # NVIDIA
    (K.NOT_FOUND, "model", "is not found for api version"),  # Gemini
    (K.NOT_FOUND, "is not a valid model id"),  # OpenRouter
    (K.NOT_FOUND, "invalid model name passed in"),  # LiteLLM
    (K.NOT_FOUND, "模型不存在"),
    # key
    (K.AUTH_FAILED, "incorrect api key"),
    (K.AUTH_FAILED, "invalid api key"),
    (K.AUTH_FAILED, "api key not valid"),  # Gemini
    (K.AUTH_FAILED, "invalid x-api-key"),  # Anthropic
    (K.AUTH_FAILED, "didn't provide an api key"),
    (K.AUTH_FAILED, "no api key provided"),
    (K.AUTH_FAILED, "api key is missing"),
    (K.AUTH_FAILED, "missing api key"),
    (K.AUTH_FAILED, "not authenticated"),  # FastAPI
    (K.AUTH_FAILED, "could not validate credentials"),
    (K.AUTH_FAILED, "authentication failed"),
    (K.AUTH_FAILED, "authentication required"),
    # capacity
    (K.OVERLOADED, "overloaded"),
    (K.OVERLOADED, "over capacity"),  # Groq
    (K.OVERLOADED, "capacity exceeded"),
    (K.OVERLOADED, "no capacity"),
    (K.OVERLOADED, "at capacity"),
    (K.OVERLOADED, "high demand"),
    (K.OVERLOADED, "server busy"),  # Ollama
    (K.OVERLOADED, "server is busy"),
    (K.OVERLOADED, "maximum pending requests exceeded"),
    (K.OVERLOADED, "temporarily unavailable"),
    (K.OVERLOADED, "service unavailable"),
    (K.OVERLOADED, "model is currently loading"),  # Hugging Face
    (K.OVERLOADED, "访问量过大"),  # Zhipu
    # rates
    (K.RATE_LIMITED, "rate limit"),
    (K.RATE_LIMITED, "rate_limit"),
    (K.RATE_LIMITED, "ratelimiterror"),
    (K.RATE_LIMITED, "too many requests"),
    (K.RATE_LIMITED, "throttlingexception"),
    (K.RATE_LIMITED, "频率过高"),
    (K.RATE_LIMITED, "并发数过高"),
)
"""Kind and parts, in the order in which they are tried."""
del K

_MAX_LENGTH = 4096  # characters of a message that are searched
_NAMED_MODEL_MISSING: Final = re.compile(  # model "llama3:8b" not found
    r"\bmodel:? ([\"'`]?)[^\s\"'`]{1,200}\1 (?:is |was |could |can |does )?not (?:be )?(?:found|exist)\b"
)
_REASONS: Final = {re.sub("[^a-z]", "", status.phrase.lower()): status.value for status in HTTPStatus if status >= 400}
_REASON: Final = re.compile(
    r"(?:\W|http(?:/[\d.]++)?+|error|status|code|[45]\d\d)*+([a-z][a-z '-]{1,40}+)(?:$|[^a-z '-])"
)


def classify_phrase(message: str) -> FaultKind | None:
    """Return the kind of the first row of :data:`PHRASES` that ``message`` contains, or ``None``.

    A missing model is also recognized by its name between ``model`` and ``not found``. Takes time in proportion to the
    length of the message, of which only the first 4,096 characters are searched.
    """
    text = message[:_MAX_LENGTH].lower()
    kind = next((kind for kind, *parts in PHRASES if _contains_in_order(text, parts)), None)
    return FaultKind.NOT_FOUND if kind is None and _NAMED_MODEL_MISSING.search(text) else kind


def status_in_words(message: str) -> int | None:
    """Return the status whose reason phrase (RFC 9110) is the whole ``message``, or its beginning before a punctuation.

    ``Unauthorized`` is 401, and so is ``401 Unauthorized: no key``; ``unauthorized use of a name`` is none.
    """
    match = _REASON.match(message[:_MAX_SHORT_LENGTH].lower())
    return None if match is None else _REASONS.get(re.sub("[^a-z]", "", match[1]))


_MAX_SHORT_LENGTH = 100  # characters of a message in which a reason phrase is searched


def _contains_in_order(text: str, parts: list[str]) -> bool:
    position = 0
    for part in parts:
        position = text.find(part, position)
        if position < 0:
            return False
        position += len(part)
    return True
