"""The routes of a client: the primary route, and those of its fallbacks."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from openai import AsyncOpenAI, OpenAI

from streamcanary.client.core.answer_cache import request_fingerprint
from streamcanary.client.core.call import Call
from streamcanary.client.core.plan import Plan, PlannedRoute
from streamcanary.client.core.request import ApiRequest, PreparedCall, materialize_iterators, prepare_request
from streamcanary.client.core.sdk_request import SdkRequest
from streamcanary.client.fallbacks import Cached, Fallback, NonStreaming, Route
from streamcanary.client.options import ClientOptions
from streamcanary.client.result import StreamResult

SdkClient = TypeVar("SdkClient", bound=AsyncOpenAI | OpenAI)


class Routes(Generic[SdkClient]):
    """The primary route of ``sdk`` and the fallbacks of ``options``, in order.

    ``capturing_client`` returns a copy of an SDK client that does not retry, and whose requests are captured.

    Raises:
        TypeError: if ``sdk`` is not an ``sdk_type``, or the SDK client of a fallback is of the other type.
    """

    def __init__(
        self,
        sdk: SdkClient,
        options: ClientOptions,
        capturing_client: Callable[[SdkClient], SdkClient],
        sdk_type: type[AsyncOpenAI | OpenAI],
    ) -> None:
        self.options = options
        self._capturing_client = capturing_client
        if not isinstance(sdk, sdk_type):
            raise TypeError(f"an AsyncStreamClient takes an AsyncOpenAI, a StreamClient an OpenAI; not {sdk!r:.200}")
        primary = capturing_client(sdk)
        self._sdks = (primary, *(self._sdk_for(fallback, primary) for fallback in options.fallbacks))
        # Thousands of clients of one endpoint share its texts.
        self._endpoints = tuple(sys.intern(str(each.base_url)) for each in self._sdks)
        self._hosts = tuple(sys.intern(each.base_url.host) for each in self._sdks)

    @property
    def primary_endpoint(self) -> str:
        """The base URL of the primary route."""
        return self._endpoints[0]

    def prepare_call(self, arguments: Mapping[str, Any]) -> PreparedCall:
        """Return the call with these ``arguments``.

        Raises:
            TypeError: if the arguments are invalid.
        """
        arguments = {name: materialize_iterators(value) for name, value in arguments.items()}
        primary = prepare_request(arguments, None)
        requests: list[ApiRequest | None] = [primary]
        requests += [
            prepare_request(arguments, fallback)
            if isinstance(fallback, Route)
            else primary
            if isinstance(fallback, NonStreaming)
            else None
            for fallback in self.options.fallbacks
        ]
        return PreparedCall(primary.api, tuple(requests), primary)

    def start_call(self, prepared: PreparedCall) -> Call:
        """Return the state machine of a call that starts now."""
        options, clock = self.options, self.options.clock
        key = request_fingerprint(self._endpoints[0], prepared.primary.arguments) if options.cache else None
        routes: list[PlannedRoute] = []
        for index, request in enumerate(prepared.requests):
            routes.append(self._planned_route(index, request, {route.name for route in routes}, key))
        plan = Plan(
            routes,
            options.retry,
            random=options.random,
            deadline=clock.monotonic() + options.timeouts.total,
            budget=options.budget,
            on=options.on,
        )
        recorder = prepared.primary.create_recorder(
            options.instruments, self._sdks[0].base_url, provider=options.provider, labels=options.labels
        )
        return Call(
            plan,
            api=prepared.api,
            total=options.timeouts.total,
            on_partial=options.on_partial,
            clock=clock,
            recorder=recorder,
            on_primary_answer=self._cache_writer(key),
        )

    def sdk_request(self, prepared: PreparedCall, route: PlannedRoute) -> SdkRequest:
        """Return the request of ``route``, for the SDK."""
        request = prepared.requests[route.index] or prepared.primary
        arguments = _bypass_message_validation(request.arguments)
        if route.kind == "stream":
            arguments = {**arguments, "stream": True}
        return SdkRequest(self._sdks[route.index], request.api, arguments)

    def has_key_provider(self, route: PlannedRoute) -> bool:
        """Return whether the SDK client of ``route`` calls a function of the caller for its key or token."""
        sdk = self._sdks[route.index]
        return any(getattr(sdk, name, None) for name in ("_api_key_provider", "_azure_ad_token_provider"))

    def _planned_route(
        self, index: int, request: ApiRequest | None, used_names: set[str], key: bytes | None
    ) -> PlannedRoute:
        options = self.options
        fallback = options.fallbacks[index - 1] if index else None
        if isinstance(fallback, Cached):
            cache_lookup = self._cache_lookup(key, fallback)
            return PlannedRoute(
                index=index, name="cache", timeouts=options.timeouts, kind="cache", cache_lookup=cache_lookup
            )
        model = request.model if request else ""
        name = (fallback.name if isinstance(fallback, Route) else None) or model
        if isinstance(fallback, NonStreaming):
            name = f"{name}:whole"
        api_key = self._sdks[index].api_key
        return PlannedRoute(
            index=index,
            name=f"{name}#{index}" if name in used_names else name,
            timeouts=(fallback.timeouts if isinstance(fallback, Route) else None) or options.timeouts,
            kind="whole" if isinstance(fallback, NonStreaming) else "stream",
            lenient=options.lenient,
            limits=options.limits,
            token_limit=request.token_limit if request else None,
            secrets=(*options.secrets, *((api_key,) if api_key else ())),
            public=(self._hosts[index], model, options.provider),
            breaker=options.breakers.for_route(self._endpoints[index], model) if options.breakers else None,
        )

    def _cache_lookup(self, key: bytes | None, fallback: Cached) -> Callable[[float], StreamResult | None]:
        cache = self.options.cache
        return lambda now: cache.get(key, fallback.max_age, now) if cache and key else None

    def _cache_writer(self, key: bytes | None) -> Callable[[StreamResult], None] | None:
        cache, clock = self.options.cache, self.options.clock
        if cache is None or key is None:
            return None
        return lambda result: cache.put(key, result, clock.monotonic())

    def _sdk_for(self, fallback: Fallback, primary: SdkClient) -> SdkClient:
        other = fallback.client if isinstance(fallback, Route) else None
        if other is None:
            return primary
        if isinstance(other, AsyncOpenAI) is not isinstance(primary, AsyncOpenAI):
            raise TypeError("a Route of an AsyncStreamClient takes an AsyncOpenAI, one of a StreamClient an OpenAI")
        return self._capturing_client(other)  # type: ignore[arg-type] # the type was checked above


def _bypass_message_validation(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return ``arguments`` with plain messages moved into ``extra_body``, which the SDK sends unchanged.

    The SDK would match each message against every message type, which costs as much as all other work in a call, and
    does not change plain JSON. The request on the wire is the same.
    """
    messages = arguments.get("messages")
    if not isinstance(messages, list) or not all(type(message) is dict and _is_plain(message) for message in messages):
        return arguments
    extra = {"messages": messages, **(arguments.get("extra_body") or {})}
    return {**arguments, "messages": (), "extra_body": extra}


def _is_plain(message: dict[Any, Any]) -> bool:
    return all(type(name) is str and type(value) is str for name, value in message.items())
