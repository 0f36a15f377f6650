"""The ways of a client to an answer: the call's own route, and those that its fallbacks name."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

from openai import AsyncOpenAI, OpenAI

from streamcanary.client.core.answer_cache import fingerprint
from streamcanary.client.core.call import Call
from streamcanary.client.core.plan import Leg, Plan
from streamcanary.client.core.request import Asked, Request, prepare, replayable
from streamcanary.client.fallbacks import Cached, Fallback, NonStreaming, Route
from streamcanary.client.options import Options
from streamcanary.client.result import StreamResult

Sdk = TypeVar("Sdk", bound=AsyncOpenAI | OpenAI)


class Routes(Generic[Sdk]):
    """The own route of ``sdk`` and the fallbacks of ``options``, in their order.

    ``watched`` makes a copy of an SDK client of ``kind`` that does not retry by itself.

    Raises:
        TypeError: if ``sdk`` is no client of that kind, or a fallback has an SDK client of the other kind.
    """

    def __init__(
        self, sdk: Sdk, options: Options, watched: Callable[[Sdk], Sdk], kind: type[AsyncOpenAI | OpenAI]
    ) -> None:
        self.options = options
        self._watched = watched
        if not isinstance(sdk, kind):
            raise TypeError(f"an AsyncStreamClient takes an AsyncOpenAI, a StreamClient an OpenAI; not {sdk!r:.200}")
        own = watched(sdk)
        self._sdks = [own, *(self._sdk_of(way, own) for way in options.fallbacks)]
        self._endpoints = [str(each.base_url) for each in self._sdks]

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
            for way in self.options.fallbacks
        ]
        return Asked(own.api, tuple(requests), own)

    def begin(self, asked: Asked) -> Call:
        """Return the state machine of a call that starts now."""
        options, clock = self.options, self.options.clock
        key = fingerprint(self._endpoints[0], asked.own.arguments) if options.cache else None
        legs: list[Leg] = []
        for index, request in enumerate(asked.requests):
            legs.append(self._leg(index, request, {leg.name for leg in legs}, key))
        plan = Plan(
            legs,
            options.retry,
            random=options.random,
            deadline=clock.monotonic() + options.timeouts.total,
            budget=options.budget,
            on=options.on,
        )
        recorder = asked.own.recorder(
            options.instruments, self._sdks[0].base_url, provider=options.provider, labels=options.labels
        )
        return Call(
            plan,
            api=asked.api,
            total=options.timeouts.total,
            on_partial=options.on_partial,
            clock=clock,
            recorder=recorder,
            on_answer=self._keeper(key),
        )

    def sender(self, asked: Asked, leg: Leg) -> Callable[..., Any]:
        """Return what sends the request of ``leg``, given ``timeout``: the SDK's own context manager of an answer."""
        request, sdk = asked.requests[leg.index] or asked.own, self._sdks[leg.index]
        api = sdk.chat.completions if request.api == "chat" else sdk.responses
        create: Any = api.with_streaming_response.create
        streamed = {"stream": True} if leg.kind == "stream" else {}
        return partial(create, **_unmoulded(request.arguments), **streamed)

    def asks_for_keys(self, leg: Leg) -> bool:
        """Tell whether the SDK client of ``leg`` asks a function of the caller's for its key or token."""
        sdk = self._sdks[leg.index]
        return any(getattr(sdk, name, None) for name in ("_api_key_provider", "_azure_ad_token_provider"))

    def _leg(self, index: int, request: Request | None, taken: set[str], key: bytes | None) -> Leg:
        options = self.options
        way = options.fallbacks[index - 1] if index else None
        if isinstance(way, Cached):
            recall = self._recall(key, way)
            return Leg(index=index, name="cache", timeouts=options.timeouts, kind="cache", recall=recall)
        model = request.model if request else ""
        name = (way.name if isinstance(way, Route) else None) or model
        if isinstance(way, NonStreaming):
            name = f"{name}:whole"
        key_of_sdk = self._sdks[index].api_key
        return Leg(
            index=index,
            name=f"{name}#{index}" if name in taken else name,
            timeouts=(way.timeouts if isinstance(way, Route) else None) or options.timeouts,
            kind="whole" if isinstance(way, NonStreaming) else "stream",
            lenient=options.lenient,
            secrets=(*options.secrets, *((key_of_sdk,) if key_of_sdk else ())),
            breaker=options.breakers.of(self._endpoints[index], model) if options.breakers else None,
        )

    def _recall(self, key: bytes | None, way: Cached) -> Callable[[float], StreamResult | None]:
        cache = self.options.cache
        return lambda now: cache.get(key, way.max_age, now) if cache and key else None

    def _keeper(self, key: bytes | None) -> Callable[[StreamResult], None] | None:
        cache, clock = self.options.cache, self.options.clock
        if cache is None or key is None:
            return None
        return lambda result: cache.put(key, result, clock.monotonic())

    def _sdk_of(self, way: Fallback, own: Sdk) -> Sdk:
        other = way.client if isinstance(way, Route) else None
        if other is None:
            return own
        if isinstance(other, AsyncOpenAI) is not isinstance(own, AsyncOpenAI):
            raise TypeError("a Route of an AsyncStreamClient takes an AsyncOpenAI, one of a StreamClient an OpenAI")
        return self._watched(other)  # type: ignore[arg-type] # of the same kind, as was just seen


def _unmoulded(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return ``arguments`` with plain messages where the SDK puts them into the body as they are.

    It would hold each message against each type that one can have, which costs as much as all that we do in a call, and
    leaves what is plain JSON as it was. The request on the wire is the same.
    """
    messages = arguments.get("messages")
    if not isinstance(messages, list) or not all(type(one) is dict and _is_plain(one) for one in messages):
        return arguments
    extra = {"messages": messages, **(arguments.get("extra_body") or {})}
    return {**arguments, "messages": (), "extra_body": extra}


def _is_plain(message: dict[Any, Any]) -> bool:
    return all(type(name) is str and type(value) is str for name, value in message.items())
