"""Faults whose responses Azure sends in a form of its own, by the names of the same faults of OpenAI.

Source: https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter and .../how-to/quota
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from streamcanary.simulator.api.azure import access_denied_body, azure_error, deployment_not_found_body
from streamcanary.simulator.api.base import ApiResponse
from streamcanary.simulator.http.response_writer import Behaviour, ResponseWriter

_FILTERED: Final = msgspec.json.encode(
    {
        "error": {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
            "policy. Please modify your prompt and retry.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"violence": {"filtered": True, "severity": "high"}},
            },
        }
    }
)
_RATE_LIMIT: Final = (
    "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded token rate limit of your "
    "current OpenAI S0 pricing tier."
)


async def _filtered(writer: ResponseWriter, response: ApiResponse) -> None:
    await writer.send_response(400, _FILTERED)


async def _rate_limited(writer: ResponseWriter, response: ApiResponse) -> None:
    delay = {
        "retry-after": writer.retry_after_seconds(),
        "retry-after-ms": str(round(writer.timings.retry_after * 1000)),
    }
    await writer.send_response(429, azure_error("429", _RATE_LIMIT), headers=delay.items())


async def _access_denied(writer: ResponseWriter, response: ApiResponse) -> None:
    await writer.send_response(401, access_denied_body())


async def _not_found(writer: ResponseWriter, response: ApiResponse) -> None:
    await writer.send_response(404, deployment_not_found_body())


AZURE_FAULTS: Final[Mapping[str, Behaviour]] = {
    "content-policy": Behaviour(_filtered, "400 content_filter, ResponsibleAIPolicyViolation"),
    "429-retry-after-ms": Behaviour(_rate_limited, "429, retry-after-ms and Retry-After"),
    "401": Behaviour(_access_denied, "401 access denied"),
    "404": Behaviour(_not_found, "404 DeploymentNotFound"),
}
"""The behaviours by name, without ``sim-``."""
