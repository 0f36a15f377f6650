"""Fallbacks: the routes that a call tries after its primary route has failed."""

from typing import Any

from msgspec import Struct, field
from openai import AsyncOpenAI, OpenAI

from streamcanary.client.timeouts import Timeouts

_RESERVED_ARGUMENTS = frozenset({"messages", "input", "stream", "timeout", "background"})


class Route(Struct, frozen=True, kw_only=True):
    """A fallback route: the differences from the primary route.

    ``model`` and ``client`` replace those of the call. ``overrides`` are merged into its arguments, except those that
    only the other API has (``max_tokens`` does not exist in Responses). ``timeouts`` replace those of the call, except
    ``total``. ``name`` identifies the route in attempts, spans and metrics; default: the model.
    """

    model: str | None = None
    client: AsyncOpenAI | OpenAI | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    timeouts: Timeouts | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.model is None and self.client is None and not self.overrides:
            raise TypeError("a Route needs a model, a client or overrides: without any it equals the primary route")
        if reserved := (_RESERVED_ARGUMENTS | {"model"}) & self.overrides.keys():
            raise TypeError(f"overrides of a Route may not set {', '.join(sorted(reserved))}")


class NonStreaming(Struct, frozen=True):
    """The same request without ``stream=True``: it can succeed where only streaming fails.

    Nothing arrives before the answer is complete, so only the timeouts ``connect`` and ``total`` apply.
    """


class Cached(Struct, frozen=True, kw_only=True):
    """The last answer to the same request, at most ``max_age`` seconds old; its result has ``degraded="cache"``.

    The cache holds answers of the primary route, for the client and all clients that share its options: at most
    ``max_entries`` answers and 16 MiB in total. The least recently used are evicted first.
    """

    max_age: float = 3600.0
    max_entries: int = 256

    def __post_init__(self) -> None:
        if self.max_age <= 0 or self.max_entries < 1:
            raise TypeError("Cached needs a max_age over 0 seconds and at least one entry")


Fallback = Route | NonStreaming | Cached
