"""The ``canaries:`` section: what to ask, and how often."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamcanary.canary.validators import Expectation
from streamcanary.client.policy import RetryPolicy, Timeouts
from streamcanary.model.canary import Canary
from streamcanary.model.duration import PositiveDuration, format_duration, parse_duration
from streamcanary.model.label import LabelName
from streamcanary.model.misfit import Misfit, refuse

_OWN_LABELS = {"canary", "target", "provider"}
_ALERTS_LABELS = {"alert", "alertname", "instance"}
_SET_BY_THE_CANARY = {"stream", "timeout", "n", "messages", "model", "input", "background"}


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
    labels: dict[LabelName, str] = Field(default_factory=dict)

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
        refuse(type(self).__name__, [*self._too_long(), *self._labels_taken(), *self._not_for_the_sdk()])
        return self

    def _too_long(self) -> Iterator[Misfit]:
        if self.timeouts.total >= self.every:
            total, every = format_duration(self.timeouts.total), format_duration(self.every)
            message = f"{total} must be shorter than every ({every}), or runs would overlap"
            yield Misfit(("timeouts", "total"), message, against=("every",))

    def _labels_taken(self) -> Iterator[Misfit]:
        for name in self.labels:
            if name in _OWN_LABELS:
                yield Misfit(("labels", name), "every canary has this label already; choose another name")
            elif name in _ALERTS_LABELS:
                yield Misfit(("labels", name), "every alert has this label already; choose another name")

    def _not_for_the_sdk(self) -> Iterator[Misfit]:
        if not self.request:
            return
        from streamcanary.client.request import parameters  # imports the SDK, which a plain configuration does not need

        known = parameters(self.api)
        for name in self.request:
            if name in _SET_BY_THE_CANARY:
                yield Misfit(("request", name), "may not be set here: the canary does")
            elif name not in known:
                message = "is not known to the SDK; put what only the server knows under request.extra_body"
                yield Misfit(("request", name), message)

    def describe(self, name: str, provider: str) -> Canary:
        """Return what the other rooms may know of this canary."""
        return Canary(name=name, target=self.target, provider=provider, interval=self.every, labels=self.labels)
