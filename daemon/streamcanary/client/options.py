"""What a client is set up with, shared by the asynchronous and the synchronous one."""

import random as _random
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from openai import AsyncOpenAI, OpenAI

from streamcanary.client.attempt import Api
from streamcanary.client.breaker import BreakerPolicy, CircuitBreakers
from streamcanary.client.budget import RetryBudget
from streamcanary.client.cache import AnswerCache, fingerprint
from streamcanary.client.call import Call, OnPartial
from streamcanary.client.fallbacks import Cached, Fallback, NonStreaming, Route
from streamcanary.client.instruments import Instruments
from streamcanary.client.plan import Leg, OnFault, Plan
from streamcanary.client.policy import RetryPolicy, Timeouts
from streamcanary.client.request import Request, prepare, replayable
from streamcanary.client.result import StreamResult
from streamcanary.model.clock import Clock, SystemClock

Sdk = TypeVar("Sdk", bound=AsyncOpenAI | OpenAI)

_CHANGEABLE = frozenset({"retry", "timeouts", "fallbacks", "on_partial", "on", "labels", "lenient"})


class Asked(msgspec.Struct, frozen=True):
    """A call that has not begun: its request on each route. ``None`` stands where nothing is sent."""

    api: Api
    requests: tuple[Request | None, ...]
    own: Request


class Options(Generic[Sdk]):
    """The set-up of a client. ``watched`` makes a copy of an SDK client that does not retry by itself."""

    def __init__(
        self,
        client: Sdk,
        watched: Callable[[Sdk], Sdk],
        *,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        fallbacks: Iterable[Fallback] = (),
        on_partial: OnPartial = "restart",
        on: OnFault | None = None,
        budget: RetryBudget | None = None,
        breaker: BreakerPolicy | None = None,
        breakers: CircuitBreakers | None = None,
        cache: AnswerCache | None = None,
        provider: str = "openai",
        labels: Mapping[str, str] | None = None,
        lenient: bool = False,
        time_per_chunk: bool = False,
        secrets: Collection[str] = (),
        clock: Clock | None = None,
        random: _random.Random | None = None,
    ) -> None:
        if on_partial not in ("restart", "fail", "buffer"):
            raise TypeError(f'on_partial must be "restart", "fail" or "buffer", not {on_partial!r}')
        self._given: dict[str, Any] = {
            "retry": retry or RetryPolicy(),
            "timeouts": timeouts or Timeouts(),
            "fallbacks": tuple(fallbacks),
            "on_partial": on_partial,
            "on": on,
            "budget": budget or RetryBudget(),
            "breakers": breakers or (CircuitBreakers(breaker) if breaker else None),
            "cache": cache,
            "provider": provider,
            "labels": dict(labels or {}),
            "lenient": lenient,
            "time_per_chunk": time_per_chunk,
            "secrets": secrets,  # looked at for each call: they may change
            "clock": clock or SystemClock(),
            "random": random or _random.Random(),  # noqa: S311 - jitter, not cryptography
        }
        self.retry: RetryPolicy = self._given["retry"]
        self.timeouts: Timeouts = self._given["timeouts"]
        self.fallbacks: tuple[Fallback, ...] = self._given["fallbacks"]
        self.budget: RetryBudget = self._given["budget"]
        self.clock: Clock = self._given["clock"]
        if cache is None and (cached := [way.max_entries for way in self.fallbacks if isinstance(way, Cached)]):
            self._given["cache"] = AnswerCache(max(cached))
        self._client = client
        self._watched = watched
        self._instruments = Instruments(time_per_chunk=time_per_chunk)
        own = watched(client)
        self.clients = [own, *(self._client_of(way, own, type(client)) for way in self.fallbacks)]
        self._endpoints = [str(each.base_url) for each in self.clients]

    def changed(self, **changes: Any) -> "Options[Sdk]":
        """Return options that differ in ``changes``; budget, breakers, cache and transport are the same ones.

        Raises:
            TypeError: if one of them cannot be changed.
        """
        if unknown := changes.keys() - _CHANGEABLE:
            raise TypeError(
                f"with_options has no {', '.join(sorted(unknown))}; it takes {', '.join(sorted(_CHANGEABLE))}"
            )
        return Options(self._client, self._watched, **{**self._given, **changes})

    def ask(self, arguments: Mapping[str, Any]) -> Asked:
        """Return the call that ``arguments`` ask for.

        Raises:
            TypeError: if they cannot be sent.
        """
        arguments = {name: replayable(value) for name, value in arguments.items()}
        own = prepare(arguments, None)
        requests: list[Request | None] = [own]
        requests += [
            prepare(arguments, way) if isinstance(way, Route) else own if isinstance(way, NonStreaming) else None
            for way in self.fallbacks
        ]
        return Asked(own.api, tuple(requests), own)

    def begin(self, asked: Asked) -> Call:
        """Return the state machine of a call that starts now."""
        given, clock = self._given, self.clock
        key = fingerprint(self._endpoints[0], asked.own.arguments) if given["cache"] else None
        legs: list[Leg] = []
        for index, request in enumerate(asked.requests):
            legs.append(self._leg(index, request, {leg.name for leg in legs}, key))
        plan = Plan(
            legs,
            self.retry,
            random=given["random"],
            deadline=clock.monotonic() + self.timeouts.total,
            budget=self.budget,
            on=given["on"],
        )
        recorder = asked.own.recorder(
            self._instruments, self.clients[0].base_url, provider=given["provider"], labels=given["labels"]
        )
        return Call(
            plan,
            api=asked.api,
            total=self.timeouts.total,
            on_partial=given["on_partial"],
            clock=clock,
            recorder=recorder,
            on_answer=self._keeper(key),
        )

    def _leg(self, index: int, request: Request | None, taken: set[str], key: bytes | None) -> Leg:
        way = self.fallbacks[index - 1] if index else None
        if isinstance(way, Cached):
            return Leg(index=index, name="cache", timeouts=self.timeouts, kind="cache", recall=self._recall(key, way))
        model = request.model if request else ""
        name = (way.name if isinstance(way, Route) else None) or model
        if isinstance(way, NonStreaming):
            name = f"{name}:whole"
        client = self.clients[index]
        breakers: CircuitBreakers | None = self._given["breakers"]
        return Leg(
            index=index,
            name=f"{name}#{index}" if name in taken else name,
            timeouts=(way.timeouts if isinstance(way, Route) else None) or self.timeouts,
            kind="whole" if isinstance(way, NonStreaming) else "stream",
            lenient=self._given["lenient"],
            secrets=(*self._given["secrets"], *((client.api_key,) if client.api_key else ())),
            breaker=breakers.of(self._endpoints[index], model) if breakers else None,
        )

    def _recall(self, key: bytes | None, way: Cached) -> Callable[[float], StreamResult | None]:
        cache: AnswerCache = self._given["cache"]
        return lambda now: cache.get(key, way.max_age, now) if key else None

    def _keeper(self, key: bytes | None) -> Callable[[StreamResult], None] | None:
        cache: AnswerCache | None = self._given["cache"]
        if cache is None or key is None:
            return None
        return lambda result: cache.put(key, result, self.clock.monotonic())

    def _client_of(self, way: Fallback, own: Sdk, kind: type[Sdk]) -> Sdk:
        other = way.client if isinstance(way, Route) else None
        if other is None:
            return own
        if isinstance(other, AsyncOpenAI) is not issubclass(kind, AsyncOpenAI):
            raise TypeError("a Route of an AsyncStreamClient takes an AsyncOpenAI, one of a StreamClient an OpenAI")
        return self._watched(other)  # type: ignore[arg-type] # of the same kind, as was just seen


def given(**options: Any) -> dict[str, Any]:
    """Return the options that are not ``None``: those that a caller of ``with_options`` wants changed."""
    return {name: value for name, value in options.items() if value is not None}
