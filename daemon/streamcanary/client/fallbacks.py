"""Where a call goes when its own route has failed."""

from typing import Any

from msgspec import Struct, field
from openai import AsyncOpenAI, OpenAI

from streamcanary.client.timeouts import Timeouts

_RESERVED_ARGUMENTS = frozenset({"messages", "input", "stream", "timeout", "background"})


class Route(Struct, frozen=True, kw_only=True):
    """A further way to an answer: what differs from the call itself.

    ``model`` and ``client`` replace the call's own, ``overrides`` are merged into its arguments, but for those that
    only the other API knows (``max_tokens`` is none of Responses), ``timeouts`` replace its clocks but for ``total``,
    which stays that of the call. ``name`` is what attempts, spans and metrics call it; by default its model.
    """

    model: str | None = None
    client: AsyncOpenAI | OpenAI | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    timeouts: Timeouts | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.model is None and self.client is None and not self.overrides:
            raise TypeError(
                "a Route needs a model, a client or overrides: without one it is the call's own route again"
            )
        if reserved := (_RESERVED_ARGUMENTS | {"model"}) & self.overrides.keys():
            raise TypeError(f"overrides of a Route may not set {', '.join(sorted(reserved))}")


class NonStreaming(Struct, frozen=True):
    """The same request without ``stream=True``: where streaming is what is broken, a whole answer may still come.

    Nothing is heard until it is done, so of the clocks only ``connect`` and ``total`` run.
    """


class Cached(Struct, frozen=True, kw_only=True):
    """The last good answer to the same request, at most ``max_age`` seconds old, marked as such.

    Kept are the answers of the call's own route, for the client and all that share its options, at most
    ``max_entries`` of them and 16 MiB in all; the ones that were not asked for longest go first.
    """

    max_age: float = 3600.0
    max_entries: int = 256

    def __post_init__(self) -> None:
        if self.max_age <= 0 or self.max_entries < 1:
            raise TypeError("Cached needs a max_age over 0 seconds and at least one entry")


Fallback = Route | NonStreaming | Cached
