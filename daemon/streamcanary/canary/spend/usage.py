"""What one run uses, read off its events: every attempt that was sent costs, whatever became of it.

The provider's own count stands where there is one. Where there is none the tokens are estimated, rather too high:

- a token for every three bytes of UTF-8, rounded up (English has about four), and 16 for the frame around a question;
- an answer that came whole: what was seen of it, at least a token for each piece;
- one that was broken off: as many tokens as the request allows, or 256 if it sets no limit, for the model may have gone
  on;
- a request that was rejected with an HTTP status: its input;
- one that was never sent (no address, no connection): nothing.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from streamcanary.canary.spend.prices import FREE, Price
from streamcanary.events import AttemptFailed, AttemptStarted, Completed, Event, FallbackStarted
from streamcanary.model.faults import Fault, Phase
from streamcanary.model.outcome import Usage
from streamcanary.model.spend import Spend

_BYTES_PER_TOKEN: Final = 3
_FRAME: Final = 16  # tokens
_BROKEN_OFF: Final = 256  # tokens
_MOST: Final = 10_000_000  # tokens of an attempt; a provider that counts more has counted wrongly
_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_UNSENT: Final = frozenset({Phase.CONFIG, Phase.CONNECT})


class Expected(Struct, frozen=True):
    """The tokens that a question has, and the most that its answer may have, estimated."""

    input_tokens: int
    output_tokens: int


def expect(prompt: str, request: Mapping[str, Any]) -> Expected:
    """Return what one attempt at a question is expected to use at most."""
    size = _size(prompt) + (_size(json.dumps(request, default=str)) if request else 0)
    limits = [limit for name in _LIMITS if isinstance(limit := request.get(name), int) and limit > 0]
    return Expected(_tokens(size) + _FRAME, min([*limits, _MOST] if limits else [_BROKEN_OFF]))


class Bill:
    """The attempts of one run, and what each used.

    ``prices`` are those of the canary's own route and of its fallbacks, in their order; ``None`` where nobody knows.
    """

    def __init__(self, expected: Expected, prices: Sequence[Price | None]) -> None:
        self._expected = expected
        self._prices = prices
        self._legs: dict[str, int] = {}  # by the name of the route
        self._leg = 0
        self._open = False
        self._pieces = self._bytes = 0
        self._spend = Spend()
        self.priced = True
        """Whether the price of all that was sent is known."""

    @property
    def spend(self) -> Spend:
        """What was used so far; an attempt under way counts once it is over, or the bill closed."""
        return self._spend

    def see(self, event: Event) -> None:
        """Take note of what happens."""
        match event:
            case FallbackStarted(route=route):
                self._leg = self._legs.setdefault(route, len(self._legs) + 1)
            case AttemptStarted(route=route):
                self._leg = self._legs.get(route, 0)
                self._open, self._pieces, self._bytes = True, 0, 0
            case AttemptFailed(attempt=attempt):
                self._failed(attempt.fault)
            case Completed(usage=usage):
                self._answered(usage)
            case _:
                self._pieces += 1
                self._bytes += _size(getattr(event, "delta", None) or getattr(event, "arguments_delta", None) or "")

    def close(self) -> Spend:
        """Return what was used, once nothing more happens; an attempt that was left counts as broken off."""
        self._failed(None)
        return self._spend

    def _answered(self, usage: Usage | None) -> None:
        if not self._open:  # an answer from elsewhere
            return
        if usage is None:
            self._add(self._expected.input_tokens, self._seen())
        else:
            self._add(usage.input_tokens, usage.output_tokens)

    def _failed(self, fault: Fault | None) -> None:
        if not self._open:
            return
        if fault is not None and fault.phase in _UNSENT:
            self._open = False
        elif fault is not None and fault.phase is Phase.HEADERS and (fault.status or 0) >= 300:
            self._add(self._expected.input_tokens, 0)
        else:
            self._add(self._expected.input_tokens, max(self._expected.output_tokens, self._seen()))

    def _seen(self) -> int:
        return max(self._pieces, _tokens(self._bytes))

    def _add(self, input_tokens: int, output_tokens: int) -> None:
        price = self._prices[self._leg] if self._leg < len(self._prices) else None
        self.priced = self.priced and price is not None
        self._spend += (price or FREE).of(min(input_tokens, _MOST), min(output_tokens, _MOST))
        self._open = False


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _tokens(size: int) -> int:
    return -(-size // _BYTES_PER_TOKEN)
