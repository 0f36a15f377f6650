"""Gauges of what the provider reported at the last run of each canary: rate limits, model, deprecation and sunset.

They are observed when metrics are exported, so that a value that is no longer reported has no series any more: the SDK
exports the last value of a gauge that is set, for ever. https://opentelemetry.io/docs/specs/otel/metrics/api/
"""

import math
import threading
import weakref
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, cast

from msgspec import Struct
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions

from streamcanary.canary.drift.model_tracker import AnsweringModel
from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.metric_labels import metric_labels
from streamcanary.model.outcome import Outcome, Retirement
from streamcanary.model.rate_limit import QuotaType, RateLimits

if TYPE_CHECKING:
    from opentelemetry.metrics import Observation


T = TypeVar("T")


class _TargetAndProvider(NamedTuple):
    """What rate limits are of, with reduced series: the models of a target that a provider serves."""

    target: str
    provider: str


Subject = Canary | _TargetAndProvider


class _Value(Struct, frozen=True, gc=False, eq=False):
    """The observation of a value of ``subject``, and the type of a quota, or the model, as others.

    There may be some hundred thousand, so they are no instances of ``Observation``, which takes six times the memory:
    the attributes are built when they are read.
    """

    value: float
    subject: Subject
    of: QuotaType | AnsweringModel | None = None
    context: None = None

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes as a new dictionary."""
        labels = _labels_of(self.subject)
        if isinstance(self.of, AnsweringModel):
            return {
                **labels,
                names.RESPONSE_MODEL_LABEL: self.of.model,
                names.FINGERPRINT_LABEL: self.of.system_fingerprint,
                names.TIER_LABEL: self.of.service_tier,
            }
        return {**labels, names.TYPE: self.of} if self.of is not None else labels


def _labels_of(subject: Subject) -> dict[str, str]:
    if isinstance(subject, Canary):
        return metric_labels(subject)
    return {names.TARGET: subject.target, names.PROVIDER_LABEL: subject.provider}


class _Reported(Struct, frozen=True, gc=False):
    """What the provider reported last for ``subject``."""

    subject: Subject
    rate_limits: RateLimits | None = None
    retirement: Retirement | None = None
    model: AnsweringModel | None = None


class _Observed(NamedTuple):
    """The values that were observed for ``subject``, and what of the report they depend on."""

    subject: Subject
    source: object
    values: tuple[_Value, ...]


class ResponseGauges:
    """The gauges of the canaries of one configuration. They have series as long as this object exists.

    With ``quotas_by_target``, rate limits have one series a target, without the label of the canary: the quotas with
    the least headroom of those that were reported last for each of its models.
    """

    def __init__(self, meter: metrics.Meter, *, quotas_by_target: bool = False) -> None:
        self._reported: dict[str, _Reported] = {}
        self._observed: dict[Observations, dict[str, _Observed]] = {each: {} for each in _DEPENDENCIES}
        self._quotas_by_target = quotas_by_target
        # By target and model: the canary that was the last to run, and what was reported to it.
        self._quotas: dict[tuple[str, str], tuple[str, _Reported]] = {}
        with _live_lock:
            _live.add(self)
        for metric, observations in (
            (names.RATE_LIMIT_REMAINING, _observe_remaining),
            (names.RATE_LIMIT_LIMIT, _observe_limit),
            (names.RATE_LIMIT_RESET, _observe_reset),
            (names.RATE_LIMIT_HEADROOM, _observe_headroom),
            (names.MODEL_INFO, _observe_model),
            (names.MODEL_DEPRECATED, _observe_deprecated),
            (names.MODEL_DEPRECATION, _observe_deprecation),
            (names.MODEL_SUNSET, _observe_sunset),
        ):
            meter.create_observable_gauge(metric.name, [_callback(observations)], metric.unit, metric.description)

    def record(self, canary: Canary, outcome: Outcome, model: AnsweringModel | None) -> None:
        """Record a finished run; ``model`` has the values of the labels, bounded.

        A run that got no answer of the primary keeps what was reported before, unless a failed attempt reported more.
        """
        has_answered = outcome.model is not None and outcome.degraded is None

        def last(new: T | None, before: T | None) -> T | None:
            return new if new is not None or has_answered else before

        before = self._reported.get(canary.name)
        if before is None or _labels_of(before.subject) != _labels_of(canary):  # it is another one since a reload
            before = _Reported(canary)
        retirement = last(outcome.retirement, before.retirement)
        if not self._quotas_by_target:
            rate_limits = last(outcome.rate_limits, before.rate_limits)
            self._reported[canary.name] = _Reported(canary, rate_limits, retirement, model)
            return
        self._reported[canary.name] = _Reported(canary, None, retirement, model)
        key = canary.target, canary.model
        subject = _TargetAndProvider(canary.target, canary.provider)
        quotas = self._quotas[key][1] if key in self._quotas else _Reported(subject)
        rate_limits = last(outcome.rate_limits, quotas.rate_limits)
        self._quotas[key] = canary.name, _Reported(subject, rate_limits)

    def retain(self, canaries: Container[str]) -> None:
        """Forget what was reported to canaries that are not among these names."""
        self._reported = {name: reported for name, reported in self._reported.items() if name in canaries}
        self._quotas = {key: quotas for key, quotas in self._quotas.items() if quotas[0] in canaries}

    def observe(self, observations: "Observations") -> list[_Value]:
        """Return the observations, the same objects as long as nothing changes: ``/metrics`` skips those it knows."""
        depends_on, before = _DEPENDENCIES[observations], self._observed[observations]
        observed: dict[str, _Observed] = {}
        for name, reported in chain(self._reported.copy().items(), self._scarcest_quotas()):
            source = depends_on(reported)
            if source is None:
                continue
            known = before.get(name)
            if known is None or known.subject != reported.subject or known.source != source:
                known = _Observed(reported.subject, source, tuple(observations(reported)))
            observed[name] = known
        self._observed[observations] = observed
        return [value for known in observed.values() for value in known.values]

    def _scarcest_quotas(self) -> Iterable[tuple[str, _Reported]]:
        """Return what was reported for the model of each target that has the least headroom, each with a key."""
        scarcest: dict[str, tuple[float, _Reported]] = {}
        for (target, _), (_, reported) in self._quotas.copy().items():
            if reported.rate_limits is None:
                continue
            lowest = reported.rate_limits.lowest
            headroom = math.inf if lowest is None else lowest[2]
            if target not in scarcest or headroom < scarcest[target][0]:
                scarcest[target] = headroom, reported
        return [(f"{target}/", reported) for target, (_, reported) in scarcest.items()]  # no name of a canary has a "/"


Observations = Callable[[_Reported], Iterator[_Value]]

# A meter has one instrument of a name, and keeps the callbacks of its first creation for the time of the process. So
# the callbacks observe all objects that exist, and refer to none: those of a former configuration are collected.
_live: weakref.WeakSet[ResponseGauges] = weakref.WeakSet()
_live_lock = threading.Lock()


def _callback(observations: Observations) -> Callable[[CallbackOptions], Iterable["Observation"]]:
    def callback(_: CallbackOptions) -> Iterable["Observation"]:
        """Return the observations; called in the thread that exports metrics."""
        with _live_lock:
            gauges = list(_live)
        values = [found for each in gauges for found in each.observe(observations)]
        return cast("list[Observation]", values)  # the SDK reads their attributes, and nothing else

    return callback


def _observe_remaining(reported: _Reported) -> Iterator[_Value]:
    for kind, quota in reported.rate_limits.by_type() if reported.rate_limits else ():
        if quota.remaining is not None:
            yield _Value(quota.remaining, reported.subject, kind)


def _observe_limit(reported: _Reported) -> Iterator[_Value]:
    for kind, quota in reported.rate_limits.by_type() if reported.rate_limits else ():
        if quota.limit is not None:
            yield _Value(quota.limit, reported.subject, kind)


def _observe_reset(reported: _Reported) -> Iterator[_Value]:
    for kind, quota in reported.rate_limits.by_type() if reported.rate_limits else ():
        if quota.reset_after is not None:
            yield _Value(quota.reset_after, reported.subject, kind)


def _observe_headroom(reported: _Reported) -> Iterator[_Value]:
    for kind, quota in reported.rate_limits.by_type() if reported.rate_limits else ():
        if (headroom := quota.headroom) is not None:
            yield _Value(headroom, reported.subject, kind)


def _observe_deprecated(reported: _Reported) -> Iterator[_Value]:
    if reported.retirement is not None and reported.retirement.is_deprecated:
        yield _Value(1, reported.subject)


def _observe_deprecation(reported: _Reported) -> Iterator[_Value]:
    if reported.retirement is not None and reported.retirement.deprecation is not None:
        yield _Value(reported.retirement.deprecation, reported.subject)


def _observe_sunset(reported: _Reported) -> Iterator[_Value]:
    if reported.retirement is not None and reported.retirement.sunset is not None:
        yield _Value(reported.retirement.sunset, reported.subject)


def _observe_model(reported: _Reported) -> Iterator[_Value]:
    if reported.model is not None:
        yield _Value(1, reported.subject, reported.model)


_DEPENDENCIES: Final[dict[Observations, Callable[[_Reported], object]]] = {
    _observe_remaining: lambda reported: reported.rate_limits,
    _observe_limit: lambda reported: reported.rate_limits,
    _observe_reset: lambda reported: reported.rate_limits,
    _observe_headroom: lambda reported: reported.rate_limits,
    _observe_model: lambda reported: reported.model,
    _observe_deprecated: lambda reported: reported.retirement,
    _observe_deprecation: lambda reported: reported.retirement,
    _observe_sunset: lambda reported: reported.retirement,
}
"""What the observations of each metric depend on: as long as it is equal, they stay the same."""
