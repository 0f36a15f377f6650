"""The ``canaries:`` section: what to ask, and how often."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamcanary.canary.validators import Expectation
from streamcanary.client.policy import RetryPolicy, Timeouts
from streamcanary.model.canary import Canary
from streamcanary.model.duration import PositiveDuration, format_duration, parse_duration

_LABEL_NAME = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
_OWN_LABELS = {"canary", "target", "provider"}


class FallbackSpec(BaseModel):
    """A further way, tried when the canary's own route has failed.

    Either another ``model``, on the same target unless told, or ``non_streaming``: the same request without streaming.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(min_length=1)] | None = None
    target: str | None = None
    non_streaming: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "FallbackSpec":
        if (self.model is None) is (self.non_streaming is None):
            raise ValueError("needs either model, with target if it is another, or non_streaming: true")
        if self.non_streaming and self.target is not None:
            raise ValueError("non_streaming is the same request on the same target; leave target out")
        return self


class Slo(BaseModel):
    """What an answer must keep to be ``ok`` and not ``slow``, in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_token: PositiveDuration | None = None
    max_gap: PositiveDuration | None = None
    duration: PositiveDuration | None = None


class CanarySpec(BaseModel):
    """One question, asked on a schedule.

    ``api`` is Chat Completions or Responses; Responses are asked for with ``store: false`` unless ``request`` sets it.
    ``{nonce}`` in the prompt becomes fresh random text on each run, so that no cache on the way may answer.
    ``timeouts.total`` is, unless set, the lesser of 60 s and 80 % of ``every``: a run ends before the next is due.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str
    api: Literal["chat", "responses"] = "chat"
    model: Annotated[str, Field(min_length=1)]
    prompt: Annotated[str, Field(min_length=1, max_length=20_000)] = "Reply with the single word pong. ({nonce})"
    request: dict[str, Any] = Field(default_factory=dict)
    expect: Expectation = Field(default_factory=Expectation)
    every: PositiveDuration = 60.0
    timeouts: Timeouts = Field(default_factory=Timeouts)
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    fallbacks: tuple[FallbackSpec, ...] = Field(default=(), max_length=8)
    slo: Slo = Field(default_factory=Slo)
    labels: dict[Annotated[str, Field(pattern=_LABEL_NAME)], str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _total_fits(cls, data: Any) -> Any:
        """Give ``timeouts.total`` its default, which depends on ``every``."""
        if not isinstance(data, dict):
            return data
        timeouts = data.get("timeouts", {})
        if isinstance(timeouts, dict) and "total" not in timeouts:
            try:
                every = (
                    CanarySpec.model_fields["every"].default if "every" not in data else parse_duration(data["every"])
                )
            except ValueError:
                return data  # the field's own validator says what is wrong with it
            data = {**data, "timeouts": {**timeouts, "total": min(60.0, 0.8 * every) or 60.0}}
        return data

    @model_validator(mode="after")
    def _sound(self) -> "CanarySpec":
        if self.timeouts.total >= self.every:
            raise ValueError(
                f"timeouts.total ({format_duration(self.timeouts.total)}) must be shorter than "
                f"every ({format_duration(self.every)}), or runs would overlap"
            )
        if taken := _OWN_LABELS & self.labels.keys():
            raise ValueError(f"labels may not be called {', '.join(sorted(taken))}: every canary has these already")
        if reserved := {"stream", "timeout", "n", "messages", "model", "input", "background"} & self.request.keys():
            raise ValueError(f"request may not set {', '.join(sorted(reserved))}: the canary does")
        self._request_is_known()
        return self

    def _request_is_known(self) -> None:
        if not self.request:
            return
        from streamcanary.client.request import parameters  # imports the SDK, which a plain configuration does not need

        if unknown := self.request.keys() - parameters(self.api):
            raise ValueError(
                f"request: {', '.join(sorted(unknown))} is not known to the SDK; put what only the server knows "
                "under request.extra_body"
            )

    def describe(self, name: str, provider: str) -> Canary:
        """Return what the other rooms may know of this canary."""
        return Canary(name=name, target=self.target, provider=provider, interval=self.every, labels=self.labels)
