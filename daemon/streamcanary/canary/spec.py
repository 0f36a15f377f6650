"""The ``canaries:`` section: requests, expectations and schedules."""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streamcanary.canary.answer_checks.expectation import Expectation
from streamcanary.canary.targets.target import BaseTarget
from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits
from streamcanary.client.core.measurement import MIN_SPEED_TOKENS
from streamcanary.client.retry_policy import RetryPolicy
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.config_types.duration import PositiveDuration, format_duration, parse_duration
from streamcanary.model.config_types.label import LabelName
from streamcanary.model.schedules.cron import Cron, check_expression, check_timezone
from streamcanary.model.schedules.schedule import Every, Schedule
from streamcanary.transport.connections import ConnectionMode

DEFAULT_EVERY: Final = 60.0
"""Seconds between two runs of a canary with neither ``every`` nor ``cron``."""

_DEFAULT_PROMPT = "Reply with the single word pong. ({nonce})"
_CANARY_LABELS = {"canary", "target", "provider"}
_ALERT_LABELS = {"alert", "alertname", "instance"}
_RESERVED_PARAMETERS = {"stream", "timeout", "n", "messages", "model", "input", "background"}
_RESERVED_BODY_KEYS = {"stream", "n", "background"}
_TOKEN_LIMIT_PARAMETERS = {  # of each API; the first one is what a message recommends
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
}


def _validate_cron(value: str) -> str:
    check_expression(value)
    return value


def _validate_timezone(value: str) -> str:
    check_timezone(value)
    return value


class FallbackSpec(BaseModel):
    """A fallback route, used when the primary route has failed.

    Either another ``model``, on the same target unless ``target`` is set, or ``non_streaming``: the same request
    without streaming.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(min_length=1)] | None = None
    target: str | None = None
    non_streaming: Literal[True] | None = None

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> "FallbackSpec":
        if (self.model is None) is (self.non_streaming is None):
            raise ValueError("needs either model (with target, if it differs) or non_streaming: true")
        if self.non_streaming and self.target is not None:
            raise ValueError("non_streaming repeats the request on the same target; remove target")
        return self


class Slo(BaseModel):
    """The limits in seconds above which a response is ``slow`` instead of ``ok``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_token: PositiveDuration | None = None
    max_gap: PositiveDuration | None = None
    duration: PositiveDuration | None = None


class CanarySpec(BaseModel):
    """One request that is sent on a schedule.

    ``api`` is Chat Completions or Responses; Responses requests have ``store: false`` unless ``request`` sets it.
    ``{nonce}`` in the prompt is replaced by random text in each run, so that no cache can answer. A canary runs
    every ``every`` seconds (default 60), or by a ``cron`` expression of five fields in a ``timezone`` (an IANA
    name, default UTC). The default of ``timeouts.total`` is the lesser of 60 s and 80 % of ``every``, or of the
    shortest time between two runs of ``cron``: a run ends before the next is due. With the ``connection`` ``new``,
    each attempt opens a connection of its own, so that it fails when the endpoint accepts no more connections; with
    ``reuse``, it may use one that an earlier run of a canary of the target left open, as an application does.
    ``renamed_from`` is the former name of the canary: alerts that are open under that name continue.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str
    api: Literal["chat", "responses"] = "chat"
    model: Annotated[str, Field(min_length=1)]
    prompt: Annotated[str, Field(min_length=1, max_length=20_000)] = _DEFAULT_PROMPT
    request: dict[str, Any] = Field(default_factory=dict)
    expect: Expectation = Field(default_factory=Expectation)
    every: PositiveDuration = DEFAULT_EVERY
    cron: Annotated[str, AfterValidator(_validate_cron)] = ""
    timezone: Annotated[str, AfterValidator(_validate_timezone)] = "UTC"
    connection: ConnectionMode = "new"
    timeouts: Timeouts = Field(default_factory=Timeouts)
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    limits: Limits = DEFAULT_LIMITS
    fallbacks: tuple[FallbackSpec, ...] = Field(default=(), max_length=8)
    slo: Slo = Field(default_factory=Slo)
    labels: dict[LabelName, str] = Field(default_factory=dict)
    renamed_from: Annotated[str, Field(min_length=1, max_length=63)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_total_timeout(cls, data: Any) -> Any:
        """Set the default of ``timeouts.total``, which depends on the schedule."""
        if not isinstance(data, dict):
            return data
        timeouts = data.get("timeouts", {})
        if isinstance(timeouts, dict) and "total" not in timeouts:
            try:
                shortest = _parse_schedule(data).min_interval
            except (TypeError, ValueError):
                return data  # the validator of the field reports the error
            data = {**data, "timeouts": {**timeouts, "total": min(60.0, 0.8 * shortest) or 60.0}}
        return data

    @model_validator(mode="after")
    def _check_consistency(self) -> "CanarySpec":
        raise_config_errors(
            type(self).__name__, [*self._schedule_errors(), *self._label_errors(), *self._request_errors()]
        )
        raise_config_errors(type(self).__name__, self._timeout_errors())
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the canary and of its fallbacks."""
        return self.model, *(fallback.model for fallback in self.fallbacks if fallback.model)

    @property
    def schedule(self) -> Schedule:
        """The schedule: ``cron``, or ``every``."""
        return Cron.parse(self.cron, self.timezone) if self.cron else Every(self.every)

    @property
    def extra_body(self) -> dict[str, Any]:
        """The ``extra_body`` of ``request``; empty if there is none."""
        body = self.request.get("extra_body")
        return body if isinstance(body, dict) else {}

    @property
    def token_limit(self) -> tuple[str, int | None]:
        """The parameter that limits the output, and its value in tokens; ``None`` if it is not set.

        It is in ``request`` or in its ``extra_body``, with which the SDK replaces parameters of the same name.
        """
        names = _TOKEN_LIMIT_PARAMETERS[self.api]
        limits = ((name, given.get(name)) for name in names for given in (self.extra_body, self.request))
        is_set = (limit for limit in limits if isinstance(limit[1], int) and not isinstance(limit[1], bool))
        return next(is_set, (names[0], None))

    @property
    def short_answer(self) -> str:
        """Why the answer is too short for an output speed; ``""`` if it need not be."""
        parameter, limit = self.token_limit
        if limit is not None and limit <= MIN_SPEED_TOKENS:
            return f"{parameter} allows {limit} tokens"
        return "the default prompt asks for a single word" if self.prompt == _DEFAULT_PROMPT else ""

    def _schedule_errors(self) -> Iterator[ConfigIssue]:
        if self.cron and "every" in self.model_fields_set:
            yield ConfigIssue(("cron",), "cannot be combined with every; remove one of them", conflicts_with=("every",))
        elif not self.cron and "timezone" in self.model_fields_set:
            yield ConfigIssue(("timezone",), "applies only to cron; remove it, or replace every with cron")
        elif self.cron:
            try:
                Cron.parse(self.cron)
            except ValueError as error:
                yield ConfigIssue(("cron",), str(error))

    def _timeout_errors(self) -> Iterator[ConfigIssue]:
        if self.timeouts.total < self.schedule.min_interval:
            return
        total, shortest = format_duration(self.timeouts.total), format_duration(self.schedule.min_interval)
        if not self.cron:
            message, against = f"{total} must be shorter than every ({shortest}), or runs would overlap", "every"
        else:
            message, against = f"{total} must be shorter than the {shortest} between two runs of cron", "cron"
        yield ConfigIssue(("timeouts", "total"), message, conflicts_with=(against,))

    def _label_errors(self) -> Iterator[ConfigIssue]:
        for name in self.labels:
            if name in _CANARY_LABELS:
                yield ConfigIssue(("labels", name), "is a built-in label of canaries; choose another name")
            elif name in _ALERT_LABELS:
                yield ConfigIssue(("labels", name), "is a built-in label of alerts; choose another name")

    def _request_errors(self) -> Iterator[ConfigIssue]:
        if not self.request:
            return
        # Imported here: this imports the SDK, which a configuration without ``request`` does not need.
        from streamcanary.client.core.request import accepted_parameters

        known = accepted_parameters(self.api)
        for name in self.request:
            if name in _RESERVED_PARAMETERS:
                yield ConfigIssue(("request", name), "cannot be set here: the canary sets it")
            elif name not in known:
                message = "is not a parameter of the SDK; put parameters of the server under request.extra_body"
                yield ConfigIssue(("request", name), message)
        for name in sorted(_RESERVED_BODY_KEYS & self.extra_body.keys()):
            yield ConfigIssue(("request", "extra_body", name), "cannot be set here: the canary sets it")

    def with_requested_models(self, targets: Mapping[str, BaseTarget]) -> "CanarySpec":
        """Return this with the names of models that its requests have, such as that of a deployment in Azure."""
        own = targets[self.target]
        model = own.requested_model(self.model)
        fallbacks = tuple(
            each.model_copy(update={"model": targets[each.target or self.target].requested_model(each.model)})
            if each.model
            else each
            for each in self.fallbacks
        )
        if model == self.model and fallbacks == self.fallbacks:
            return self
        return self.model_copy(update={"model": model, "fallbacks": fallbacks})

    def to_canary(self, name: str, target: BaseTarget, *, members: int = 1) -> Canary:
        """Return the canary ``name`` of ``target`` as a value for the other packages.

        ``members`` is the number of daemons in the fleet that runs it.
        """
        schedule, host = self.schedule, sys.intern(target.host)  # most canaries have equal texts, and keep one
        return Canary(
            name=name,
            target=self.target,
            provider=sys.intern(target.provider),
            host=host,
            model=self.model,
            interval=schedule.interval,
            cron=schedule if isinstance(schedule, Cron) else None,
            timeout=self.timeouts.total,
            labels=self.labels,
            renamed_from=self.renamed_from,
            request_digest=sys.intern(self._request_digest(host)),
            members=members,
        )

    def _request_digest(self, host: str) -> str:
        """Return a hash of the endpoint and of the request, its schedule and time limits left out."""
        request = (host, self.api, self.model, self.prompt, self.request, self.expect.model_dump(mode="json"))
        return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()[:16]


_SHARED_FIELDS: Final = (
    "target",
    "model",
    "prompt",
    "request",
    "expect",
    "timeouts",
    "retry",
    "limits",
    "fallbacks",
    "slo",
    "labels",
)
_FIELDS_SET: Final = "__pydantic_fields_set__"
_MAX_DISTINCT: Final = 16  # values of a field that are compared


def share_equal_parts(canaries: Iterable[CanarySpec]) -> None:
    """Let canaries with equal parts, such as the default timeouts, share them: those of one take a kilobyte.

    What is freed lies side by side with what stays, so the names of the fields that are set, 216 bytes a canary, are
    shared, too: otherwise they would keep five times as much memory from being given back.
    """
    distinct: dict[str, list[Any]] = {name: [] for name in (*_SHARED_FIELDS, _FIELDS_SET)}
    for spec in canaries:
        for name, known in distinct.items():
            part = getattr(spec, name)
            equal = next((each for each in known if each == part), None)
            if equal is not None:
                object.__setattr__(spec, name, equal)  # the models are frozen, and stay equal
            elif len(known) < _MAX_DISTINCT:
                known.append(part)


def _parse_schedule(data: dict[str, Any]) -> Schedule:
    """Return the schedule in ``data``, which is not validated yet.

    Raises:
        TypeError, ValueError: if the schedule is invalid.
    """
    if "cron" not in data:
        return Every(parse_duration(data.get("every", DEFAULT_EVERY)))
    cron, timezone = data["cron"], data.get("timezone", "UTC")
    if not isinstance(cron, str) or not isinstance(timezone, str):
        raise TypeError("not text")
    return Cron.parse(cron, timezone)
