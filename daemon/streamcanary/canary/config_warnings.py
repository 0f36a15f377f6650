"""Config warnings of canaries: requests and expectations that give false failures, or hide real ones."""

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.azure_target import AzureTarget
from streamcanary.canary.targets.target import BaseTarget
from streamcanary.model.config_types.config_issue import ConfigIssue

MIN_REASONING_TOKENS: Final = 1_000
"""Output tokens below which a reasoning model may end before it has written any text."""

# Names of models that reason by default, without their provider's prefix. Each starts at a word of the name.
_REASONING_MODEL: Final = re.compile(
    r"(?:^|[-_./:])(?:o[1345](?![a-z0-9])|gpt-5|gpt-oss|deepseek-r\d|deepseek-reasoner|qwq|qwen-?3|magistral|"
    r"gemini-2\.5|gemini-3|grok-3-mini|grok-4|kimi-k2-thinking|glm-4\.[5-9]|glm-z1|minimax-m[12]|nova-2|"
    r"phi-4-(?:mini-)?reasoning|seed-oss|reasoner|reasoning|thinking|r1)"
)
_NOT_REASONING: Final = re.compile(r"gpt-5(?:\.\d)?-chat|non-reasoning|no-?think|instruct|qwen3-coder|flash-lite")
_EFFORTS_WITHOUT_REASONING: Final = frozenset({"none", "minimal"})
_FIRST_VERSION_WITH_RESPONSES: Final = "2025-03-01-preview"  # of the dated API of Azure OpenAI
_LITELLM_PORT: Final = 4000  # the default port of the LiteLLM proxy


def canary_warnings(canaries: Mapping[str, CanarySpec], targets: Mapping[str, BaseTarget]) -> Iterator[ConfigIssue]:
    """Yield the config warnings of ``canaries``; paths start at the section."""
    for name, spec in canaries.items():
        yield from _token_limit_warnings(name, spec)
        yield from _proxy_warnings(name, spec, targets)
        yield from _deployment_warnings(name, spec, targets)
        yield from _api_version_warnings(name, spec, targets)


def is_reasoning_model(model: str) -> bool:
    """Return whether ``model`` is known to reason before it answers, by its name."""
    name = model.lower()
    return _REASONING_MODEL.search(name) is not None and _NOT_REASONING.search(name) is None


def _token_limit_warnings(name: str, spec: CanarySpec) -> Iterator[ConfigIssue]:
    models = [spec.model, *(fallback.model for fallback in spec.fallbacks if fallback.model)]
    model = next((model for model in models if is_reasoning_model(model)), None)
    if model is None or _reasoning_is_off(spec):
        return
    parameter, limit = spec.token_limit
    if limit is not None and limit < MIN_REASONING_TOKENS:
        place = ("extra_body", parameter) if parameter in spec.extra_body else (parameter,)
        yield ConfigIssue(
            (name, "request", *place),
            f"{model} may use all {limit} tokens for reasoning and give no answer, a fault of the configuration "
            f"(token_limit_reached); allow {MIN_REASONING_TOKENS:,} to 4,000 tokens",
        )


def _reasoning_is_off(spec: CanarySpec) -> bool:
    request = {**spec.request, **spec.extra_body}
    reasoning = request.get("reasoning")
    effort = request.get("reasoning_effort") or (reasoning.get("effort") if isinstance(reasoning, dict) else None)
    template = request.get("chat_template_kwargs")
    switches = (request, template if isinstance(template, dict) else {})
    is_effort_off = isinstance(effort, str) and effort in _EFFORTS_WITHOUT_REASONING  # a request may have any value
    return is_effort_off or any(each.get("enable_thinking") is False for each in switches)


def _deployment_warnings(name: str, spec: CanarySpec, targets: Mapping[str, BaseTarget]) -> Iterator[ConfigIssue]:
    asked = {(spec.target, targets[spec.target].requested_model(spec.model))}
    for number, fallback in enumerate(spec.fallbacks):
        if fallback.model is None:
            continue
        target = fallback.target or spec.target
        route = (target, requested := targets[target].requested_model(fallback.model))
        if route in asked and requested != fallback.model:
            yield ConfigIssue(
                (name, "fallbacks", number, "model"),
                f"target {target} sends every request to its deployment {requested}, which has been asked already; "
                "name another target",
            )
        asked.add(route)


def _api_version_warnings(name: str, spec: CanarySpec, targets: Mapping[str, BaseTarget]) -> Iterator[ConfigIssue]:
    if spec.api != "responses":
        return
    for used in dict.fromkeys((spec.target, *(fallback.target or spec.target for fallback in spec.fallbacks))):
        target = targets[used]
        version = target.api_version if isinstance(target, AzureTarget) else None
        if version is not None and version < _FIRST_VERSION_WITH_RESPONSES:
            yield ConfigIssue(
                (name, "api"),
                f"Azure has Responses from api_version {_FIRST_VERSION_WITH_RESPONSES} on, and target {used} asks for "
                f"{version}; set a later one, or remove api_version for the v1 API",
            )


def _proxy_warnings(name: str, spec: CanarySpec, targets: Mapping[str, BaseTarget]) -> Iterator[ConfigIssue]:
    if spec.expect.examines_end:
        return
    used = (spec.target, *(fallback.target or spec.target for fallback in spec.fallbacks))
    if proxy := next((target for target in used if is_litellm(targets[target])), None):
        yield ConfigIssue(
            (name, "expect"),
            f"target {proxy} seems to be a LiteLLM proxy, which ends a truncated answer as if it were complete; "
            "only a condition on the end of the answer can detect that, such as a prompt that asks for a last line "
            r"with END, and expect: {regex: 'END\s*$'}",
        )


def is_litellm(target: BaseTarget) -> bool:
    """Return whether ``target`` seems to be a LiteLLM proxy, by its provider, address or port."""
    parts = urlsplit(target.base_url)
    return "litellm" in f"{target.provider} {parts.hostname} {parts.path}".lower() or parts.port == _LITELLM_PORT
