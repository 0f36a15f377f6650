"""Usage of canaries: tokens, requests and USD."""

from collections.abc import Mapping

from msgspec import Struct


class Spend(Struct, frozen=True, kw_only=True, gc=False):
    """Token counts, reported by the provider or estimated, and their cost in USD where a price is known."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_usd: float = 0.0
    output_usd: float = 0.0
    requests: int = 0

    @property
    def usd(self) -> float:
        """The total cost in USD."""
        return self.input_usd + self.output_usd

    def __add__(self, other: "Spend") -> "Spend":
        return Spend(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            input_usd=self.input_usd + other.input_usd,
            output_usd=self.output_usd + other.output_usd,
            requests=self.requests + other.requests,
        )


class SpendByOwner(Struct, frozen=True):
    """What is in a shared database, by UTC day: the spend of one session (``own``), and that of all ``others``."""

    own: Mapping[str, Spend]
    others: Mapping[str, Spend]
