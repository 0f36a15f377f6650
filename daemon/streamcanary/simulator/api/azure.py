"""The wire format of Azure OpenAI, where it differs from that of OpenAI: paths, errors, content filter results.

Sources: https://learn.microsoft.com/azure/ai-foundry/openai/reference and .../concepts/content-filter
"""

import re
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from streamcanary.simulator.api.base import StreamedBody, encode_event
from streamcanary.simulator.api.chat import ChatApiResponse

_DEPLOYMENT_PATH = re.compile(r"/openai/deployments/([^/]{1,200})(/.*)")
_SEVERITIES: Final = {
    name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")
}
DEPLOYMENT_NOT_FOUND: Final = (
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
    "please wait a moment and try again."
)
_ACCESS_DENIED: Final = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)
_NO_VERSION: Final = "Resource not found"


class AzurePath(NamedTuple):
    """A path of Azure: the same path of OpenAI, and the deployment if the path names it.

    ``needs_version`` is whether the query must have an ``api-version``: everywhere but in the v1 API.
    """

    path: str
    deployment: str | None
    needs_version: bool


def parse_azure_path(path: str) -> AzurePath | None:
    """Return what ``path`` (decoded, without query) is in Azure; ``None`` if it is none of its paths."""
    if path.startswith("/openai/v1/"):
        return AzurePath(path.removeprefix("/openai"), None, needs_version=False)
    if match := _DEPLOYMENT_PATH.fullmatch(path):
        return AzurePath(f"/v1{match[2]}", unquote(match[1]), needs_version=True)
    if path.startswith("/openai/"):
        return AzurePath(f"/v1{path.removeprefix('/openai')}", None, needs_version=True)
    return None


def azure_error(code: str, message: str) -> bytes:
    """Return an error body of Azure, which has a code and a message."""
    return msgspec.json.encode({"error": {"code": code, "message": message}})


def access_denied_body() -> bytes:
    """Return the body of a 401."""
    return azure_error("401", _ACCESS_DENIED)


def deployment_not_found_body() -> bytes:
    """Return the body of the 404 for a deployment that does not exist."""
    return azure_error("DeploymentNotFound", DEPLOYMENT_NOT_FOUND)


def unknown_path_body() -> bytes:
    """Return the body of the 404 for a path that does not exist, or a missing ``api-version``."""
    return azure_error("404", _NO_VERSION)


def with_deployment(body: bytes, deployment: str | None) -> bytes:
    """Return the request in ``body`` with the deployment of its path as model; unchanged if it is not a JSON object."""
    if deployment is None:
        return body
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body
    return msgspec.json.encode({**request, "model": deployment}) if isinstance(request, dict) else body


class AzureChatResponse(ChatApiResponse, frozen=True, kw_only=True):
    """A chat response of Azure: the first event has the filter result of the prompt, each choice that of its text."""

    def streamed_body(self) -> StreamedBody:
        """Return the events; the first one has neither choices nor id nor model."""
        body = super().streamed_body()
        prompt = {"prompt_index": 0, "content_filter_results": _SEVERITIES}
        empty = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [prompt]}
        return msgspec.structs.replace(body, before_deltas=(encode_event(empty), *body.before_deltas))

    def json_body(self) -> bytes:
        """Return the answer as one JSON object with the filter results."""
        answer: dict[str, Any] = msgspec.json.decode(super().json_body())
        for choice in answer["choices"]:
            choice["content_filter_results"] = _SEVERITIES
        prompt = {"prompt_index": 0, "content_filter_results": _SEVERITIES}
        return msgspec.json.encode({**answer, "prompt_filter_results": [prompt]})
