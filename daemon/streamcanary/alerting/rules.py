"""The ``alerts.rules`` section: which samples, of which canaries, become an alert when."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamcanary.alerting.detectors import Consecutive, Detector
from streamcanary.alerting.notify.templates import Template
from streamcanary.model.alerts.matcher import Matchers, all_match
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.config_types.label import LabelName
from streamcanary.model.faults import Blame

LabelValue = Annotated[str, Field(min_length=1, max_length=512)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
"""The name of a rule or receiver: letters, digits, ``_``, ``.`` and ``-``."""

RESERVED_LABELS = frozenset({"alertname", "alert", "canary", "target", "provider", "instance"})
"""Labels that every alert has, and that a rule may not set."""


class Measure(StrEnum):
    """What of a run is looked at; :mod:`streamcanary.alerting.engine.samples` has the table."""

    ERRORS = "errors"
    FIRST_ATTEMPTS = "first_attempts"
    SLOW = "slow"
    FIRST_TOKEN = "first_token"  # noqa: S105 - of an answer, not a secret
    MAX_GAP = "max_gap"
    DURATION = "duration"

    @property
    def is_timed(self) -> bool:
        """Whether it is a time, held against a limit."""
        return self in (Measure.FIRST_TOKEN, Measure.MAX_GAP, Measure.DURATION)


_MEASURES_WITH_BLAME = frozenset({Measure.ERRORS, Measure.FIRST_ATTEMPTS})


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:  # brackets that hold no IPv6 address
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


class Rule(BaseModel):
    """One rule; it watches each canary that all of ``match`` match (without any: every canary) on its own.

    ``blame`` says whose faults are bad samples for ``errors`` and ``first_attempts``; by default all but ``config`` and
    ``local``, which no provider can mend. A rejected key, an unknown model, or a login page where an API should be, all
    blamed on ``config``, are what the built-in ``TargetRejected`` tells of. ``limit`` (seconds) goes with the timed
    measures. ``enabled: false`` switches a rule off. ``renamed_from`` is the name that it had before: what is open
    under that one stays the same alert.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    renamed_from: Name | None = None
    match: Matchers = ()
    measure: Measure = Measure.ERRORS
    limit: PositiveDuration | None = None
    blame: Annotated[tuple[Blame, ...], Field(min_length=1)] = (
        Blame.NETWORK,
        Blame.PROVIDER,
        Blame.QUOTA,
        Blame.CONTENT,
    )
    detector: Detector = Consecutive(type="consecutive")
    labels: dict[LabelName, LabelValue] = Field(default_factory=dict)
    annotations: dict[LabelName, Template] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_consistency(self) -> "Rule":
        if self.measure.is_timed and self.limit is None:
            raise ValueError(f"measure {self.measure} needs a limit, such as limit: 2s")
        if not self.measure.is_timed and self.limit is not None:
            raise ValueError(f"limit means nothing for measure {self.measure}; remove it")
        raise_config_errors(type(self).__name__, [*self._blame_errors(), *self._annotation_errors()])
        if self.detector.type == "no_data" and (extra := {"measure", "limit", "blame"} & self.model_fields_set):
            raise ValueError(f"{', '.join(sorted(extra))} means nothing for no_data; remove it")
        if taken := RESERVED_LABELS & self.labels.keys():
            raise ValueError(f"labels may not be called {', '.join(sorted(taken))}: every alert has these already")
        return self

    def _blame_errors(self) -> Iterator[ConfigIssue]:
        if "blame" in self.model_fields_set and self.measure not in _MEASURES_WITH_BLAME:
            both = " and ".join(sorted(_MEASURES_WITH_BLAME))
            yield ConfigIssue(("blame",), f"means nothing for measure {self.measure}, only for {both}; remove it")

    def _annotation_errors(self) -> Iterator[ConfigIssue]:
        """Yield what is wrong with annotations that mean something to receivers."""
        summary, runbook = (self.annotations.get(name) for name in ("summary", "runbook_url"))
        if summary is not None and not summary.strip():
            message = 'is empty: it is the title of a page; write one such as "{canary}: {bad} of {total} runs failed"'
            yield ConfigIssue(("annotations", "summary"), message)
        if runbook is not None and not _is_url(runbook):
            message = "must be an http:// or https:// address, such as https://example.com/runbooks/{alert}"
            yield ConfigIssue(("annotations", "runbook_url"), message)

    def applies_to(self, canary: Canary) -> bool:
        """Tell whether this rule looks at ``canary``."""
        return self.enabled and all_match(self.match, canary.label_set())

    def selects_blame(self, blame: Blame) -> bool:
        """Tell whether faults blamed so are bad samples for this rule."""
        return self.measure in _MEASURES_WITH_BLAME and blame in self.blame
