"""The base class of the asynchronous and the synchronous client."""

import os
import random as _random
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, Unpack, overload

import msgspec
from openai import AsyncOpenAI, OpenAI

from streamcanary.client.circuit_breaker import BreakerPolicy, CircuitBreakers
from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits
from streamcanary.client.core.plan import OnFault
from streamcanary.client.core.request import PreparedCall
from streamcanary.client.core.routes import Routes, SdkClient
from streamcanary.client.fallbacks import Fallback
from streamcanary.client.instrumentation.instruments import Instruments
from streamcanary.client.instrumentation.response_models import MAX_RESPONSE_MODELS
from streamcanary.client.options import ClientOptions
from streamcanary.client.retry_budget import RetryBudget
from streamcanary.client.retry_policy import OnPartial, RetryPolicy
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.clock import Clock, SystemClock
from streamcanary.model.content_capture import is_content_captured

if TYPE_CHECKING:
    from streamcanary.client.core.request import ChatArguments, ResponsesArguments

AnyStream = TypeVar("AnyStream")


class BaseClient(ABC, Generic[SdkClient, AnyStream]):
    """A client for one type of SDK client and one type of stream; ``AsyncStreamClient`` documents the options."""

    _sdk_type: ClassVar[type[AsyncOpenAI | OpenAI]]

    def __init__(
        self,
        client: SdkClient,
        *,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        fallbacks: Iterable[Fallback] = (),
        on_partial: OnPartial = "restart",
        on: OnFault | None = None,
        budget: RetryBudget | None = None,
        breaker: BreakerPolicy | None = BreakerPolicy(),  # noqa: B008 - frozen
        provider: str = "openai",
        labels: Mapping[str, str] | None = None,
        lenient: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        time_per_chunk: bool = False,
        secrets: Collection[str] = (),
        clock: Clock | None = None,
        random: _random.Random | None = None,
        max_loop_share: float = 1.0,
        capture_content: bool | None = None,
        max_response_models: int = MAX_RESPONSE_MODELS,
    ) -> None:
        random = random or _random.Random()  # noqa: S311 - jitter, not cryptography
        options = ClientOptions(
            retry=RetryPolicy() if retry is None else retry,
            timeouts=Timeouts() if timeouts is None else timeouts,
            fallbacks=tuple(fallbacks),
            on_partial=on_partial,
            on=on,
            provider=provider,
            labels=dict(labels or {}),
            lenient=lenient,
            limits=limits,
            secrets=secrets,
            clock=clock or SystemClock(),
            random=random,
            instruments=Instruments(
                time_per_chunk=time_per_chunk,
                captures_content=is_content_captured(capture_content, os.environ),
                max_response_models=max_response_models,
            ),
            budget=RetryBudget() if budget is None else budget,
            breakers=_create_breakers(breaker, random),
            max_loop_share=max_loop_share,
        )
        self._sdk = client
        self._routes = Routes(client, options, self._capturing_client, self._sdk_type)

    @property
    def budget(self) -> RetryBudget:
        """The retry budget, shared by all calls."""
        return self._routes.options.budget

    def with_options(
        self,
        *,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        fallbacks: Iterable[Fallback] | None = None,
        on_partial: OnPartial | None = None,
        on: OnFault | None = None,
        labels: Mapping[str, str] | None = None,
        lenient: bool | None = None,
        limits: Limits | None = None,
    ) -> Self:
        """Return a client with the given options changed. It shares transport, budget, breakers and cache."""
        given = {
            "retry": retry,
            "timeouts": timeouts,
            "fallbacks": None if fallbacks is None else tuple(fallbacks),
            "on_partial": on_partial,
            "on": on,
            "labels": None if labels is None else dict(labels),
            "lenient": lenient,
            "limits": limits,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        other = copy(self)
        other._routes = Routes(
            self._sdk, msgspec.structs.replace(self._routes.options, **changes), self._capturing_client, self._sdk_type
        )
        return other

    @overload
    def stream(self, **arguments: "Unpack[ChatArguments]") -> AnyStream: ...

    @overload
    def stream(self, **arguments: "Unpack[ResponsesArguments]") -> AnyStream: ...

    def stream(self, **arguments: Any) -> AnyStream:
        """Return a stream of the answer of ``model=`` to ``messages=`` (Chat Completions) or ``input=`` (Responses).

        Other arguments are passed to the SDK unchanged. Nothing is sent until the stream is entered or read.

        Raises:
            TypeError: if an argument is missing, unknown to the SDK, or set by this client: ``stream``, ``timeout``,
                ``n`` over 1, ``background``; in ``extra_body`` too.
        """
        return self._create_stream(self._routes.prepare_call(arguments))

    @staticmethod
    @abstractmethod
    def _capturing_client(sdk: SdkClient) -> SdkClient:
        """Return a copy of ``sdk`` that does not retry, and whose requests a ``RequestCapture`` can record."""

    @abstractmethod
    def _create_stream(self, prepared: PreparedCall) -> AnyStream:
        """Return the stream of a call that has not started."""


def _create_breakers(policy: BreakerPolicy | None, random: _random.Random) -> CircuitBreakers | None:
    if policy is not None and not isinstance(policy, BreakerPolicy):
        raise TypeError(f"breaker must be a BreakerPolicy, or None for no breaker, not {policy!r}")
    return CircuitBreakers(policy, random) if policy else None
