"""Computes the usage of one run from its events. Every attempt that was sent is charged, with any result.

The token counts of the provider are used if it sends them and they are possible, see
:mod:`~streamcanary.canary.spend.plausibility`. Otherwise the tokens are estimated, rather too high:

- input: one token per three bytes of UTF-8, rounded up (English has about four), and 16 for the message format;
- complete response: the received text, and at least one token per delta; if the provider claims more than is possible,
  as many as for an incomplete response;
- incomplete response: as many tokens as the request allows, or 256 if it sets no limit, as the model may have generated
  them all;
- request rejected with an HTTP status: its input;
- request that was not sent (no address, no connection): nothing.

What was received counts up to the highest possible output only: no provider charges more.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from streamcanary.canary.spend.plausibility import Range, input_range, output_range
from streamcanary.canary.spend.prices import FREE, Price
from streamcanary.events import AttemptFailed, AttemptStarted, Completed, Event, FallbackStarted
from streamcanary.model.faults import Fault, Phase
from streamcanary.model.outcome import Usage
from streamcanary.model.spend import Spend

_BYTES_PER_TOKEN: Final = 3
_MESSAGE_OVERHEAD: Final = 16  # tokens
_DEFAULT_OUTPUT_TOKENS: Final = 256  # tokens
_MAX_TOKENS: Final = 10_000_000  # tokens of an attempt; a larger count of a provider is wrong
_LIMIT_PARAMETERS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_PHASES_BEFORE_SEND: Final = frozenset({Phase.CONFIG, Phase.CONNECT})


class TokenEstimate(Struct, frozen=True):
    """The estimated tokens of a request, and the maximum of its response.

    ``possible_input`` are the input tokens that a provider can claim. ``limit`` is the token limit of the request.
    """

    input_tokens: int
    output_tokens: int
    possible_input: Range
    limit: int | None = None


def estimate_tokens(prompt: str, request: Mapping[str, Any]) -> TokenEstimate:
    """Return the estimated maximum tokens of one attempt."""
    prompt_size = _utf8_size(prompt)
    size = prompt_size + (_utf8_size(json.dumps(request, default=str)) if request else 0)
    limits = [limit for name in _LIMIT_PARAMETERS if isinstance(limit := request.get(name), int) and limit > 0]
    input_tokens = _tokens_for_bytes(size) + _MESSAGE_OVERHEAD
    limit = min([*limits, _MAX_TOKENS]) if limits else None
    return TokenEstimate(
        input_tokens,
        _DEFAULT_OUTPUT_TOKENS if limit is None else limit,
        input_range(prompt_size, input_tokens, request),
        limit,
    )


class RunUsage:
    """Adds up the usage of the attempts of one run.

    ``prices`` are those of the primary route and the fallbacks, in this order; ``None`` where a price is unknown.
    ``now`` returns monotonic seconds: it limits how many tokens a provider can have generated.
    """

    def __init__(
        self, estimate: TokenEstimate, prices: Sequence[Price | None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._attempt_started = 0.0
        self._estimate = estimate
        self._prices = prices
        self._fallback_indexes: dict[str, int] = {}  # by the name of the route
        self._route_index = 0
        self._has_open_attempt = False
        self._delta_count = self._delta_bytes = 0
        self._spend = Spend()
        self.is_priced = True
        """Whether the prices of all attempts are known."""
        self.rejected_claim: Usage | None = None
        """The last token counts of the provider that are impossible."""
        self.charged: Usage | None = None
        """What was charged instead of them."""

    @property
    def spend(self) -> Spend:
        """The usage so far; a running attempt counts after its end, or after :meth:`close`."""
        return self._spend

    def observe(self, event: Event) -> None:
        """Update the usage from an event of the stream."""
        match event:
            case FallbackStarted(route=route):
                self._route_index = self._fallback_indexes.setdefault(route, len(self._fallback_indexes) + 1)
            case AttemptStarted(route=route):
                self._route_index = self._fallback_indexes.get(route, 0)
                self._has_open_attempt, self._delta_count, self._delta_bytes = True, 0, 0
                self._attempt_started = self._now()
            case AttemptFailed(attempt=attempt):
                self._record_failed(attempt.fault)
            case Completed(usage=usage):
                self._record_completed(usage)
            case _:
                self._delta_count += 1
                self._delta_bytes += _utf8_size(
                    getattr(event, "delta", None) or getattr(event, "arguments_delta", None) or ""
                )

    def close(self) -> Spend:
        """Return the usage after the last event; an attempt without an end counts as incomplete."""
        self._record_failed(None)
        return self._spend

    def _record_completed(self, usage: Usage | None) -> None:
        if not self._has_open_attempt:  # answered from the cache
            return
        if usage is None:
            self._add_usage(self._estimate.input_tokens, self._observed_tokens())
        else:
            believed = self._believe(usage)
            if believed != usage:
                self.rejected_claim, self.charged = usage, believed
            self._add_usage(believed.input_tokens, believed.output_tokens)

    def _believe(self, claim: Usage) -> Usage:
        """Return ``claim`` with an estimate for each count that is impossible."""
        estimate, possible_output = self._estimate, self._possible_output()
        input_tokens, output_tokens = claim.input_tokens, claim.output_tokens
        if input_tokens not in estimate.possible_input:
            input_tokens = estimate.input_tokens
        if output_tokens < possible_output.lowest:
            output_tokens = self._observed_tokens()
        elif output_tokens > possible_output.highest:
            output_tokens = min(max(estimate.output_tokens, self._observed_tokens()), possible_output.highest)
        if (input_tokens, output_tokens) == (claim.input_tokens, claim.output_tokens):
            return claim
        return Usage(input_tokens=input_tokens, output_tokens=output_tokens, is_estimated=True)

    def _possible_output(self) -> Range:
        return output_range(self._delta_bytes, self._now() - self._attempt_started, self._estimate.limit)

    def _record_failed(self, fault: Fault | None) -> None:
        if not self._has_open_attempt:
            return
        if fault is not None and fault.phase in _PHASES_BEFORE_SEND:
            self._has_open_attempt = False
        elif fault is not None and fault.phase is Phase.HEADERS and (fault.status or 0) >= 300:
            self._add_usage(self._estimate.input_tokens, 0)
        else:
            self._add_usage(self._estimate.input_tokens, max(self._estimate.output_tokens, self._observed_tokens()))

    def _observed_tokens(self) -> int:
        observed = max(self._delta_count, _tokens_for_bytes(self._delta_bytes))
        return min(observed, self._possible_output().highest)

    def _add_usage(self, input_tokens: int, output_tokens: int) -> None:
        price = self._prices[self._route_index] if self._route_index < len(self._prices) else None
        self.is_priced = self.is_priced and price is not None
        self._spend += (price or FREE).spend_for(min(input_tokens, _MAX_TOKENS), min(output_tokens, _MAX_TOKENS))
        self._has_open_attempt = False


def _utf8_size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _tokens_for_bytes(size: int) -> int:
    return -(-size // _BYTES_PER_TOKEN)
