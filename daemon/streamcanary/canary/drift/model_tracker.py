"""Compares what answered a run with what answered the run before: the model, its fingerprint, and the service tier.

Only answers of the primary route are compared, as expected or not: a fallback is another model on purpose. What a
provider does not report in one answer is as in the last one that has it. Pure.

What a provider sends is hostile: it can change at every run. So the tracker remembers a bounded number of values, and
gives the labels of a metric a bounded number of values for the time of the process.
"""

from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from streamcanary.model.outcome import Outcome

T = TypeVar("T")
ChangeType = Literal["model", "system_fingerprint", "service_tier"]

CHANGE_TYPES: Final[tuple[ChangeType, ...]] = ("model", "system_fingerprint", "service_tier")

MAX_KNOWN: Final = 16
"""Values of each type that are remembered as known; further ones do not count as new."""

OTHER: Final = "other"
"""The value of a label in place of further values."""

_MAX_LABEL_LENGTH: Final = 128
_MAX_LABELS: Final = 16  # combinations with their own fingerprint
_MAX_LABELS_WITHOUT_FINGERPRINT: Final = 8  # then so many with the fingerprint "other", then a single one
_MAX_SHARED: Final = 256  # values that are kept to share them


class ModelChange(NamedTuple):
    """A value that differs from the one before. ``is_new``: it is none of the known ones, so it is worth a log line."""

    type: ChangeType
    previous: str
    current: str
    is_new: bool


class AnsweringModel(Struct, frozen=True, gc=False):
    """What answered, as the provider reports it; ``""`` for what it does not report."""

    model: str = ""
    system_fingerprint: str = ""
    service_tier: str = ""


class _Known(Struct, frozen=True):
    """The values of each type that are known, and those that labels have: the latter for ``_bounded_labels``."""

    values: tuple[tuple[str, ...], ...] = ((),) * len(CHANGE_TYPES)
    labels: tuple[AnsweringModel, ...] = ()
    labels_without_fingerprint: tuple[AnsweringModel, ...] = ()


@lru_cache(_MAX_SHARED)
def _shared(value: T) -> T:
    """Return the value that is equal to ``value``: thousands of canaries get equal answers, and keep one of them."""
    return value


class ModelTracker:
    """The model that answered the last run of one canary, and the changes from run to run.

    ``labels`` are its values for the labels of a metric, ``None`` before the first answer.
    """

    __slots__ = ("_current", "_known", "labels")

    def __init__(self) -> None:
        self.labels: AnsweringModel | None = None
        self._current: AnsweringModel | None = None
        self._known = _shared(_Known())

    def observe(self, outcome: Outcome) -> tuple[ModelChange, ...]:
        """Return the changes since the last answer of the primary; none for a run without one."""
        if outcome.model is None or outcome.degraded is not None:
            return ()
        before = self._current or AnsweringModel()
        after = AnsweringModel(
            outcome.model,
            outcome.system_fingerprint or before.system_fingerprint,
            outcome.service_tier or before.service_tier,
        )
        if after == self._current:
            return ()
        self._current = _shared(after)
        known_labels, self.labels = _bounded_labels(self._known, after)
        changes, values = [], list(self._known.values)
        for number, each in enumerate(CHANGE_TYPES):
            previous, current = getattr(before, each), getattr(after, each)
            if current == previous:
                continue
            known = values[number]
            values[number] = _with(known, current, MAX_KNOWN)
            is_new = current not in known and current in values[number]
            if previous:
                changes.append(ModelChange(each, previous, current, is_new))
        self._known = _shared(msgspec.structs.replace(known_labels, values=tuple(values)))
        return tuple(changes)

    def has_reached_limit(self, change_type: ChangeType) -> bool:
        """Return whether no further value of ``change_type`` counts as new."""
        return len(self._known.values[CHANGE_TYPES.index(change_type)]) >= MAX_KNOWN


def _bounded_labels(known: _Known, model: AnsweringModel) -> tuple[_Known, AnsweringModel]:
    """Return the values of ``model`` for labels, and what is known with them.

    After a number of combinations, the fingerprint is :data:`OTHER`, later every value.
    """
    current = _shared(
        AnsweringModel(
            model.model[:_MAX_LABEL_LENGTH],
            model.system_fingerprint[:_MAX_LABEL_LENGTH],
            model.service_tier[:_MAX_LABEL_LENGTH],
        )
    )
    labels = _with(known.labels, current, _MAX_LABELS)
    known = msgspec.structs.replace(known, labels=labels)
    if current in labels:
        return known, current
    without = AnsweringModel(current.model, OTHER, current.service_tier)
    labels = _with(known.labels_without_fingerprint, without, _MAX_LABELS_WITHOUT_FINGERPRINT)
    known = msgspec.structs.replace(known, labels_without_fingerprint=labels)
    return known, without if without in labels else AnsweringModel(OTHER, OTHER, OTHER)


def _with(known: tuple[T, ...], value: T, limit: int) -> tuple[T, ...]:
    """Return ``known`` and ``value``, unless it is in it, or there are ``limit`` already."""
    return known if value in known or len(known) >= limit else (*known, value)
