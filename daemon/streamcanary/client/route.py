"""Where a call goes, and where it goes when that fails."""

from typing import Any

from msgspec import Struct, field
from openai import AsyncOpenAI

from streamcanary.client.policy import Timeouts


class Route(Struct, frozen=True, kw_only=True):
    """A further way to an answer: what differs from the call itself.

    ``model`` and ``client`` replace the call's own, ``overrides`` are merged into its arguments, ``timeouts`` replace
    its clocks but for ``total``, which stays that of the call. ``name`` is what attempts, spans and metrics call it; by
    default its model.
    """

    model: str | None = None
    client: AsyncOpenAI | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    timeouts: Timeouts | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.model is None and self.client is None and not self.overrides:
            raise TypeError(
                "a Route needs a model, a client or overrides: without one it is the call's own route again"
            )
        if taken := {"model", "messages", "input", "stream", "timeout"} & self.overrides.keys():
            raise TypeError(f"overrides of a Route may not set {', '.join(sorted(taken))}")
