"""Endpoints that ``init`` knows by name, and what it assumes of others by their address."""

import ipaddress
import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from streamcanary.cli.first_config.answer_error import AnswerError

_API_SUFFIXES: Final = ("/chat/completions", "/responses", "/completions", "/models")
_LOCAL_DOMAINS: Final = (".local", ".internal", ".lan", ".svc", ".cluster.local", ".test")
_AZURE_DOMAINS: Final = (
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
    ".openai.azure.us",
    ".openai.azure.cn",
)
_AZURE_V1_PATH: Final = "/openai/v1"
# The addresses of requests, as the portal shows them, and the beginnings of them.
_AZURE_V1_PATHS: Final = re.compile(rf"(?:{_AZURE_V1_PATH}(?:/chat/completions|/responses)?)?/?")
_AZURE_DATED_PATHS: Final = re.compile(
    r"/openai(?:/deployments/([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?:/chat/completions)?|/responses)/?"
)
_AZURE_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:-preview)?")
_MAX_PROVIDER: Final = 64  # characters, as in the configuration


class Endpoint(NamedTuple):
    """An endpoint: its address, the value of ``api_key``, and what its requests look like.

    ``model`` is the default of the question; empty if there is none. A ``local`` endpoint may have to load the model
    first. ``azure_endpoint`` is the address of a resource of Azure, whose target has the type ``azure``; else empty.
    ``api_version`` and ``deployment`` are those of such a target.
    """

    name: str
    base_url: str
    api_key: str
    provider: str
    model: str = ""
    token_parameter: str = "max_tokens"  # noqa: S105 - a parameter, not a secret
    is_local: bool = False
    azure_endpoint: str = ""
    api_version: str = ""
    deployment: str = ""

    @property
    def is_free(self) -> bool:
        """Whether nobody charges for its tokens. What a proxy charges is unknown."""
        return self.is_local and self.provider != "litellm"


KNOWN: Final = {
    each.name: each
    for each in (
        Endpoint(
            "openai",
            "https://api.openai.com/v1",
            "${OPENAI_API_KEY}",
            "openai",
            model="gpt-4.1-mini",
            token_parameter="max_completion_tokens",  # noqa: S106 - a parameter
        ),
        Endpoint(
            "openrouter",
            "https://openrouter.ai/api/v1",
            "${OPENROUTER_API_KEY}",
            "openrouter",
            model="openai/gpt-4.1-mini",
        ),
        Endpoint("litellm", "http://localhost:4000/v1", "${LITELLM_KEY}", "litellm", is_local=True),
        Endpoint("vllm", "http://localhost:8000/v1", "${VLLM_API_KEY:-none}", "vllm", is_local=True),
        Endpoint("ollama", "http://localhost:11434/v1", "none", "ollama", model="llama3.2", is_local=True),
        Endpoint(
            "llama-cpp",
            "http://localhost:8080/v1",
            "${LLAMA_API_KEY:-none}",
            "llama.cpp",
            model="default",
            is_local=True,
        ),
    )
}
"""The endpoints that have a name."""


def parse_endpoint(answer: str) -> Endpoint:
    """Return the endpoint for a name in :data:`KNOWN`, for the base URL of an API, or for an address of Azure's portal.

    Raises:
        AnswerError: if it is neither; the message says what would be right.
    """
    answer = answer.strip()
    if known := KNOWN.get(answer.lower()):
        return known
    if "://" not in answer:
        raise AnswerError(
            f"must start with http:// or https://, such as https://api.openai.com/v1, or be one of {', '.join(KNOWN)}"
        )
    address, _, query = answer.partition("?")
    if (urlsplit(_validated(address)).hostname or "").endswith(_AZURE_DOMAINS):
        return _azure(_validated(address), query)
    base_url = _validated(answer)
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if suffix := next((each for each in _API_SUFFIXES if parts.path.endswith(each)), None):
        raise AnswerError(f"must be the address before {suffix}: {base_url.removesuffix(suffix)}")
    for known in KNOWN.values():
        if _is_at(known, host, parts.port):
            return known._replace(base_url=base_url, is_local=_is_local(host))
    is_local = _is_local(host)
    key = "${LLM_API_KEY:-none}" if is_local else "${LLM_API_KEY}"
    return Endpoint("endpoint", base_url, key, host[:_MAX_PROVIDER], is_local=is_local)


def _azure(address: str, query: str) -> Endpoint:
    """Return the endpoint of a resource of Azure: of its v1 API, or of the dated version that ``query`` has.

    ``address`` is that of the resource, or of a request to it, which also names the deployment.
    """
    parts = urlsplit(address)
    resource = f"{parts.scheme}://{parts.netloc}"
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    version = parameters.pop("api-version", "")
    dated = _AZURE_DATED_PATHS.fullmatch(parts.path)
    if parameters or (version and not _AZURE_VERSION.fullmatch(version)):
        raise AnswerError("must have no other parameter than api-version, such as ?api-version=2024-10-21")
    if not _AZURE_V1_PATHS.fullmatch(parts.path) and not (dated and version):
        raise AnswerError(f"must be the address of the resource: {resource}; the model is the deployment")
    deployment = dated[1] or "" if dated else ""
    return Endpoint(
        "azure",
        f"{resource}/openai" if version else f"{resource}{_AZURE_V1_PATH}",
        "${AZURE_OPENAI_API_KEY}",
        "azure.ai.openai",
        model=deployment,
        token_parameter="max_completion_tokens",  # noqa: S106 - a parameter
        azure_endpoint=resource,
        api_version="" if parts.path.startswith(_AZURE_V1_PATH) else version,  # the v1 API has no dated versions
        deployment=deployment,
    )


def _validated(base_url: str) -> str:
    """Return the base URL as a target has it."""
    from pydantic import ValidationError

    from streamcanary.canary.targets.target import TargetSpec

    if not base_url.isprintable():
        raise AnswerError("must not contain control characters")
    try:
        return TargetSpec.model_validate({"base_url": base_url, "api_key": "none"}).base_url
    except ValidationError as error:
        message = error.errors(include_input=False, include_url=False)[0]["msg"]
        raise AnswerError(message.removeprefix("Value error, ")) from None


def _is_at(known: Endpoint, host: str, port: int | None) -> bool:
    """Return whether an address is that of a known endpoint: by its host, or for a local one by the name of it."""
    if not known.is_local:
        return host == urlsplit(known.base_url).hostname
    # Only the ports of Ollama and LiteLLM are nobody else's.
    return known.name in host or (port == urlsplit(known.base_url).port and known.name in ("ollama", "litellm"))


def _is_local(host: str) -> bool:
    """Return whether a host is on this machine or in a private network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_DOMAINS)
