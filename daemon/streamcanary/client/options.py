"""Options of a client, and the state that it shares with the clients that ``with_options`` returns."""

import inspect
import random as _random
from collections.abc import Collection, Mapping
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from streamcanary.client.circuit_breaker import CircuitBreakers
from streamcanary.client.core.answer_cache import AnswerCache
from streamcanary.client.core.limits import Limits
from streamcanary.client.core.plan import OnFault
from streamcanary.client.fallbacks import Cached, Fallback
from streamcanary.client.instrumentation.instruments import Instruments
from streamcanary.client.retry_budget import RetryBudget
from streamcanary.client.retry_policy import OnPartial, RetryPolicy
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.clock import Clock

_FIELD_TYPES: Final = {"retry": RetryPolicy, "timeouts": Timeouts, "budget": RetryBudget, "limits": Limits}


class ClientOptions(Struct, frozen=True, kw_only=True):
    """Options of a client; :class:`~streamcanary.client.async_client.AsyncStreamClient` documents them.

    Copies made by ``msgspec.structs.replace`` share the budget, breakers, cache and instruments.
    """

    retry: RetryPolicy
    timeouts: Timeouts
    fallbacks: tuple[Fallback, ...]
    on_partial: OnPartial
    on: OnFault | None
    provider: str
    labels: Mapping[str, str]
    lenient: bool
    limits: Limits
    secrets: Collection[str]  # read at each call: they may change
    clock: Clock
    random: _random.Random
    instruments: Instruments
    budget: RetryBudget
    breakers: CircuitBreakers | None
    cache: AnswerCache | None = None
    max_loop_share: float = 1.0

    def __post_init__(self) -> None:
        for name, kind in _FIELD_TYPES.items():
            if not isinstance(given := getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}, not {given!r}")
        if not 0 < self.max_loop_share <= 1:
            raise ValueError(f"max_loop_share must be over 0 and at most 1, not {self.max_loop_share!r}")
        for fallback in self.fallbacks:
            if not isinstance(fallback, Fallback):
                raise TypeError(f"a fallback is a Route, NonStreaming() or Cached(), not {fallback!r}")
        on: Any = self.on
        if on is not None and (not callable(on) or inspect.iscoroutinefunction(on)):
            raise TypeError(f"on must be a function that returns at once, and no coroutine function, not {on!r}")
        if self.on_partial not in get_args(OnPartial):
            raise TypeError(f'on_partial must be "restart", "fail" or "buffer", not {self.on_partial!r}')
        entries = [fallback.max_entries for fallback in self.fallbacks if isinstance(fallback, Cached)]
        if entries and self.cache is None:
            msgspec.structs.force_setattr(self, "cache", AnswerCache(max(entries)))
