"""Compares what answered a run with what answered the run before: the model, its fingerprint, and the service tier.

Only answers of the primary route are compared, as expected or not: a fallback is another model on purpose. What a
provider does not report in one answer is as in the last one that has it. Pure.

What a provider sends is hostile: it can change at every run. So the tracker remembers a bounded number of values, and
gives the labels of a metric a bounded number of values for the time of the process.
"""

from typing import Final, Literal, NamedTuple, TypeVar

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


class ModelChange(NamedTuple):
    """A value that differs from the one before. ``is_new``: it is none of the known ones, so it is worth a log line."""

    type: ChangeType
    previous: str
    current: str
    is_new: bool


class AnsweringModel(Struct, frozen=True):
    """What answered, as the provider reports it; ``""`` for what it does not report."""

    model: str = ""
    system_fingerprint: str = ""
    service_tier: str = ""


class ModelTracker:
    """The model that answered the last run of one canary, and the changes from run to run.

    ``labels`` are its values for the labels of a metric, ``None`` before the first answer.
    """

    __slots__ = ("_current", "_known", "_labels", "_labels_without_fingerprint", "labels")

    def __init__(self) -> None:
        self.labels: AnsweringModel | None = None
        self._current: AnsweringModel | None = None
        # Most canaries know one value of each: an empty set takes more than a tuple of it.
        self._known: dict[ChangeType, tuple[str, ...]] = {}
        self._labels: tuple[AnsweringModel, ...] = ()
        self._labels_without_fingerprint: tuple[AnsweringModel, ...] = ()

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
        self._current, self.labels = after, self._bounded_labels(after)
        changes = []
        for each in CHANGE_TYPES:
            previous, current = getattr(before, each), getattr(after, each)
            if current == previous:
                continue
            known = self._known.get(each, ())
            self._known[each] = _with(known, current, MAX_KNOWN)
            is_new = current not in known and current in self._known[each]
            if previous:
                changes.append(ModelChange(each, previous, current, is_new))
        return tuple(changes)

    def has_reached_limit(self, change_type: ChangeType) -> bool:
        """Return whether no further value of ``change_type`` counts as new."""
        return len(self._known.get(change_type, ())) >= MAX_KNOWN

    def _bounded_labels(self, model: AnsweringModel) -> AnsweringModel:
        """Return the values of ``model`` for labels.

        After a number of combinations, the fingerprint is :data:`OTHER`, later every value.
        """
        current = AnsweringModel(
            model.model[:_MAX_LABEL_LENGTH],
            model.system_fingerprint[:_MAX_LABEL_LENGTH],
            model.service_tier[:_MAX_LABEL_LENGTH],
        )
        self._labels = _with(self._labels, current, _MAX_LABELS)
        if current in self._labels:
            return current
        without = AnsweringModel(current.model, OTHER, current.service_tier)
        self._labels_without_fingerprint = _with(
            self._labels_without_fingerprint, without, _MAX_LABELS_WITHOUT_FINGERPRINT
        )
        if without in self._labels_without_fingerprint:
            return without
        return AnsweringModel(OTHER, OTHER, OTHER)


def _with(known: tuple[T, ...], value: T, limit: int) -> tuple[T, ...]:
    """Return ``known`` and ``value``, unless it is in it, or there are ``limit`` already."""
    return known if value in known or len(known) >= limit else (*known, value)
