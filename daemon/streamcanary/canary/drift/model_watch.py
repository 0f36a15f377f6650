"""Watches what answers a canary: reports changes of the model, and that the provider will retire it.

A change is an event on the span of the run, a count and, for a value that is new, a log line. An announced retirement
is an event on the span of each run, and one log line for each pair of times.
"""

import logging
from datetime import UTC, datetime
from typing import Final

import msgspec
from opentelemetry.context import Context
from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from streamcanary.canary.drift.model_tracker import ModelChange, ModelTracker
from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome, Retirement

_log = logging.getLogger(__name__)
_MAX_RETIREMENTS: Final = 8  # that are logged for one canary; a provider can send another date each time


class ModelWatch:
    """Watches one canary, whose metrics are ``metrics``; ``former`` watched it before a reload."""

    __slots__ = ("_canary", "_logged_retirements", "_metrics", "_tracker")

    def __init__(self, canary: Canary, metrics: CanaryMetrics, former: "ModelWatch | None" = None) -> None:
        self._canary = canary
        self._metrics = metrics
        self._tracker: ModelTracker = ModelTracker() if former is None else former._tracker
        self._logged_retirements: tuple[Retirement, ...] = () if former is None else former._logged_retirements

    def resume(self, answered: Outcome) -> None:
        """Compare the next answer with ``answered``, a run of an earlier process; no effect after the first answer."""
        if self._tracker.labels is None:
            self._tracker.observe(answered)

    def observe(self, outcome: Outcome, span: Span, context: Context) -> Outcome:
        """Report what ``outcome`` shows, on its ``span``, which has not ended, and to the metrics with its ``context``.

        Returns ``outcome``, with ``previous_model`` if another model has answered.
        """
        for change in self._tracker.observe(outcome):
            self._report_change(change, span, context)
            if change.type == "model":
                outcome = msgspec.structs.replace(outcome, previous_model=change.previous)
        if (retirement := outcome.retirement) is not None:
            self._report_retirement(retirement, outcome.model, span)
        self._metrics.record_response(self._canary, outcome, self._tracker.labels)
        return outcome

    def _report_change(self, change: ModelChange, span: Span, context: Context) -> None:
        span.add_event(
            names.MODEL_CHANGED_EVENT,
            {
                names.CHANGE_TYPE: change.type,
                names.CHANGE_PREVIOUS: change.previous,
                names.CHANGE_CURRENT: change.current,
            },
        )
        self._metrics.record_model_change(self._canary, change.type, context)
        fields = {
            "canary": self._canary.name,
            "type": change.type,
            "previous": change.previous,
            "current": change.current,
        }
        if not change.is_new:
            _log.debug("model changed", extra=fields)
            return
        if self._tracker.has_reached_limit(change.type):
            fields["further"] = "not logged: too many values"
        _log.log(logging.WARNING if change.type == "model" else logging.INFO, "model changed", extra=fields)

    def _report_retirement(self, retirement: Retirement, model: str | None, span: Span) -> None:
        times = {names.DEPRECATION_TIME: retirement.deprecation, names.SUNSET_TIME: retirement.sunset}
        attributes: dict[str, AttributeValue] = {name: at for name, at in times.items() if at is not None}
        attributes[names.DEPRECATED] = retirement.is_deprecated
        span.add_event(names.RETIREMENT_EVENT, attributes)
        logged = self._logged_retirements
        if retirement in logged or len(logged) >= _MAX_RETIREMENTS:
            return
        self._logged_retirements = logged = (*logged, retirement)
        fields = {"canary": self._canary.name, "target": self._canary.target, "model": model}
        if retirement.is_deprecated:
            fields["deprecation"] = "announced without a date"
        for name, at in (("deprecation", retirement.deprecation), ("sunset", retirement.sunset)):
            if at is not None:
                fields[name] = datetime.fromtimestamp(at, UTC).isoformat()
        if len(logged) == _MAX_RETIREMENTS:
            fields["further"] = "not logged: too many values"
        _log.warning("model retirement", extra=fields)
