"""Prices of tokens: set in the configuration of a target, or looked up in the package ``genai-prices``.

That package contains a table of the list prices at its release; it downloads nothing. It is imported only when a price
is looked up: the table takes some megabytes of memory and about 0.3 s.
"""

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from streamcanary.model.spend import Spend

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

_MILLION: Final = 1_000_000
_LOOKUP_TOKENS: Final = 1000  # tokens of a lookup: fewer than the tiers with higher prices for long prompts

_PROVIDER_IDS: Final = {"azure.ai.openai": "azure", "azure.ai.inference": "azure"}
"""The ids in ``genai-prices`` of providers that have another name in the conventions of OpenTelemetry."""

Usd = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]


class Price(BaseModel):
    """USD per million tokens. Cached input has no price of its own: the nonce in prompts prevents caching."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Usd
    output: Usd

    def spend_for(self, input_tokens: int, output_tokens: int) -> Spend:
        """Return the spend of one request with these token counts."""
        return Spend(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            input_usd=input_tokens * self.input / _MILLION,
            output_usd=output_tokens * self.output / _MILLION,
            requests=1,
        )


FREE: Final = Price(input=0, output=0)


def _validate_keyword(value: object) -> object:
    if value not in ("auto", "free"):
        raise ValueError("must be auto, free, or USD per million tokens such as {input: 0.15, output: 0.60}")
    return value


def _price_tag(value: Any) -> str:
    return "usd" if isinstance(value, (dict, Price)) else "word"


PriceSetting = Annotated[
    Annotated[Literal["auto", "free"], BeforeValidator(_validate_keyword), Tag("word")] | Annotated[Price, Tag("usd")],
    Discriminator(_price_tag),
]
"""``auto`` (the list price in ``genai-prices``), ``free``, or a price."""


def price_of(setting: Literal["auto", "free"] | Price, *, model: str, base_url: str, provider: str) -> Price | None:
    """Return the price of tokens of ``model`` at the endpoint; ``None`` if it is unknown.

    A list price is looked up by the URL of the endpoint, then by the name of its provider.
    """
    if isinstance(setting, Price):
        return setting
    if setting == "free":
        return FREE
    return _list_price(model, base_url, provider)


@lru_cache(maxsize=4096)
def _list_price(model: str, base_url: str, provider: str) -> Price | None:
    import genai_prices

    provider = _PROVIDER_IDS.get(provider, provider)
    usage = genai_prices.Usage(input_tokens=_LOOKUP_TOKENS, output_tokens=_LOOKUP_TOKENS)
    for look_up in (
        partial(genai_prices.calc_price, provider_api_url=base_url),
        partial(genai_prices.calc_price, provider_id=provider),
    ):
        try:
            found = look_up(usage, model)
        except (LookupError, ValueError):  # not in the table
            continue
        if found.model_price.input_mtok is not None and found.model_price.output_mtok is not None:
            return _per_million(found)
    return None


def _per_million(found: "PriceCalculation") -> Price:
    per_million = _MILLION / _LOOKUP_TOKENS
    return Price(input=float(found.input_price) * per_million, output=float(found.output_price) * per_million)
