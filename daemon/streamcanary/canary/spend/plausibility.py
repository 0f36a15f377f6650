"""Decides whether the token counts that a provider claims are possible. Pure.

A budget must not depend on the good will of a provider: a claim of ten million tokens would end the day's budget, and a
claim of zero would make every run free. A count is possible within bounds that follow from the request, from what was
received, and from the time it took:

- output, at most: four times the token limit of the request and 1,024 more, as some servers do not count reasoning
  against it; and no more than 5,000 tokens a second and 1,000 more, because no server generates faster. Hidden
  reasoning is output, too, so that the received text is no bound;
- input, at most: four times the estimate of the prompt and the parameters, which is more than a token per byte, and
  8,192 more for the template of the chat and a system prompt of a gateway. One million if the request has parameters
  with which the server adds input of its own: built-in tools, stored conversations and prompts;
- both, at least: a token per 16 bytes of what was sent and received. Longer tokens exist, such as runs of spaces, but
  no longer averages.
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

_OUTPUT_FACTOR: Final = 4
_OUTPUT_SLACK: Final = 1024  # tokens
_MAX_OUTPUT_RATE: Final = 5000.0  # tokens per second; wafer-scale chips reach about 3,000
_OUTPUT_RATE_SLACK: Final = 1000  # tokens, for a response that arrives at once after a pause of the clock
_INPUT_FACTOR: Final = 4
_INPUT_SLACK: Final = 8192  # tokens
_MAX_CONTEXT: Final = 1_000_000  # tokens
_MAX_BYTES_PER_TOKEN: Final = 16
_SERVER_INPUT_PARAMETERS: Final = frozenset(
    {"conversation", "extra_body", "previous_response_id", "prompt", "web_search_options"}
)


class Range(Struct, frozen=True):
    """The token counts that are possible."""

    lowest: int
    highest: int

    def __contains__(self, tokens: int) -> bool:
        return self.lowest <= tokens <= self.highest


def input_range(prompt_bytes: int, estimated_tokens: int, request: Mapping[str, Any]) -> Range:
    """Return the input that a request can have; ``estimated_tokens`` includes its parameters."""
    tools = request.get("tools")
    has_server_tools = isinstance(tools, list) and not all(
        isinstance(tool, Mapping) and tool.get("type") in ("function", "custom") for tool in tools
    )
    if has_server_tools or not _SERVER_INPUT_PARAMETERS.isdisjoint(request):
        highest = max(_MAX_CONTEXT, _INPUT_FACTOR * estimated_tokens)
    else:
        highest = _INPUT_FACTOR * estimated_tokens + _INPUT_SLACK
    return Range(_fewest_tokens(prompt_bytes), highest)


def output_range(received_bytes: int, seconds: float, limit: int | None) -> Range:
    """Return the output that a complete response can have after ``seconds``; ``limit`` is that of the request."""
    highest = int(_MAX_OUTPUT_RATE * max(0.0, seconds)) + _OUTPUT_RATE_SLACK
    if limit is not None:
        highest = min(highest, _OUTPUT_FACTOR * limit + _OUTPUT_SLACK)
    return Range(min(_fewest_tokens(received_bytes), highest), highest)


def _fewest_tokens(size: int) -> int:
    return -(-size // _MAX_BYTES_PER_TOKEN)
