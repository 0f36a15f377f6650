"""The configuration model of a rule: the ``alerts.rules`` section."""

from collections.abc import Iterator
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from streamcanary.alerting.detectors import Consecutive, Detector
from streamcanary.alerting.measures import Measure
from streamcanary.alerting.notify.annotation_templates import Template
from streamcanary.model.alerts.matcher import Matchers, all_match
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.config_types.label import LabelName, check_label_name
from streamcanary.model.faults import Blame

LabelValue = Annotated[str, Field(min_length=1, max_length=512)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
"""The name of a rule or receiver: letters, digits, ``_``, ``.`` and ``-``."""

RESERVED_LABELS = frozenset({"alertname", "alert", "canary", "target", "provider", "instance", "scope"})
"""Labels that every alert has and that a rule must not set."""

CANARY_SCOPE: Final = "canary"
"""The scope of a rule that evaluates each canary by itself."""

_MAX_SCOPES = 8
_NO_SCOPES = frozenset({"alertname", "alert", "instance", "scope"})  # labels of alerts that canaries do not have
_MEASURES_OF_ONE_CANARY = frozenset({Measure.CERTIFICATE_EXPIRY, Measure.MODEL_CHANGES})
_MEASURES_WITH_BLAME = frozenset({Measure.ERRORS, Measure.FIRST_ATTEMPTS})


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:  # brackets without a valid IPv6 address
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _parse_limit(value: object, info: ValidationInfo) -> float:
    """Return a limit in the form that the ``measure`` of the rule requires; any value for a measure without one."""
    measure = (info.data or {}).get("measure", Measure.FIRST_TOKEN)
    return measure.limit_type.parse(value) if measure.limit_type is not None else 0.0


def _parse_scopes(value: object) -> tuple[str, ...]:
    """Return the scopes in ``value``: one, or a list of them."""
    written = value if isinstance(value, (list, tuple)) else [value]
    scopes = [scope for scope in written if isinstance(scope, str)]
    if not scopes or len(scopes) < len(written):
        raise ValueError("not a scope: write canary, target, provider, model, all or a label, or a list of these")
    if any("," in scope for scope in scopes):
        raise ValueError("has a comma in a name; to have several scopes, write a list, such as [canary, target]")
    if len(scopes) > _MAX_SCOPES:
        raise ValueError(f"at most {_MAX_SCOPES} scopes; each further one makes the others slower")
    if repeated := next((scope for scope in scopes if scopes.count(scope) > 1), None):
        raise ValueError(f"{repeated} is written twice; remove one")
    if unusable := next((scope for scope in scopes if scope in _NO_SCOPES), None):
        raise ValueError(
            f"{unusable} is not a label of canaries: write canary, target, provider, model, all or a label"
        )
    return tuple(check_label_name(scope) for scope in scopes)


class Rule(BaseModel):
    """One alert rule. It watches each canary that all matchers of ``match`` match; without ``match``, every canary.

    ``per`` is the scope over which evidence is pooled: ``canary`` (the default) evaluates each canary by itself;
    ``target``, ``provider``, ``model`` (the one that is requested), the name of a label, or ``all`` evaluates the runs
    of all canaries with the same value together, which shows an outage that hits them all much sooner. A list, such as
    ``[canary, target]``, does several of these; an alert of more canaries then inhibits those of fewer. Each value has
    its own detector state and incident. The ``false_pages`` of a detector are those of the whole rule.

    ``blame`` selects the faults that are bad samples for ``errors`` and ``first_attempts``; the default is all but
    ``config`` and ``local``, which no provider can fix. The built-in ``TargetRejected`` alerts on faults with blame
    ``config``, such as a rejected key, an unknown model, or a login page instead of an API. ``limit`` is required for
    the measures that are compared with one: seconds for a time, a part from 0 to 1 for ``ratelimit_headroom``, and a
    number for ``tokens_per_second``. A time over it is bad; a remaining time (``certificate_expiry``), headroom or
    speed under it. ``enabled: false`` disables the rule. ``renamed_from`` is the former name of the rule: an alert that
    is open under that name stays open.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    renamed_from: Name | None = None
    match: Matchers = ()
    measure: Measure = Measure.ERRORS
    limit: (
        Annotated[float, BeforeValidator(_parse_limit), WithJsonSchema({"type": ["string", "number"], "minimum": 0})]
        | None
    ) = None
    blame: Annotated[tuple[Blame, ...], Field(min_length=1)] = (
        Blame.NETWORK,
        Blame.PROVIDER,
        Blame.QUOTA,
        Blame.CONTENT,
    )
    detector: Detector = Consecutive(type="consecutive")
    per: Annotated[
        tuple[str, ...],
        BeforeValidator(_parse_scopes),
        PlainSerializer(lambda scopes: scopes[0] if len(scopes) == 1 else list(scopes)),
        WithJsonSchema(
            {
                "type": ["string", "array"],
                "items": {"type": "string"},
                "minItems": 1,
                "maxItems": _MAX_SCOPES,
                "examples": ["canary", "target", ["canary", "target"]],
            }
        ),
    ] = (CANARY_SCOPE,)
    labels: dict[LabelName, LabelValue] = Field(default_factory=dict)
    annotations: dict[LabelName, Template] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_consistency(self) -> "Rule":
        limit_type = self.measure.limit_type
        if self.detector.type == "shift":
            raise_config_errors(type(self).__name__, self._shift_errors())
        elif limit_type is not None and self.limit is None:
            raise ValueError(f"measure {self.measure} needs a limit, such as limit: {limit_type.example}")
        if limit_type is None and self.limit is not None:
            raise ValueError(f"limit has no effect with measure {self.measure}; remove it")
        raise_config_errors(
            type(self).__name__, [*self._blame_errors(), *self._scope_errors(), *self._annotation_errors()]
        )
        if self.detector.type == "no_data" and (extra := {"measure", "limit", "blame"} & self.model_fields_set):
            raise ValueError(f"{', '.join(sorted(extra))} has no effect with no_data; remove it")
        if taken := RESERVED_LABELS & self.labels.keys():
            raise ValueError(f"labels must not be named {', '.join(sorted(taken))}: every alert has these already")
        return self

    def _shift_errors(self) -> Iterator[ConfigIssue]:
        """Yield errors of a rule that compares values with those that are usual."""
        if not self.measure.can_shift:
            possible = ", ".join(measure for measure in Measure if measure.can_shift)
            message = f"{self.measure} has no usual value to compare with: shift works with {possible}"
            yield ConfigIssue(("measure",), message, conflicts_with=("detector",))
        elif self.limit is not None:
            yield ConfigIssue(("limit",), "has no effect with shift, which learns a limit from history; remove it")

    def _blame_errors(self) -> Iterator[ConfigIssue]:
        if "blame" in self.model_fields_set and self.measure not in _MEASURES_WITH_BLAME:
            both = " and ".join(sorted(_MEASURES_WITH_BLAME))
            yield ConfigIssue(("blame",), f"has no effect with measure {self.measure}, only with {both}; remove it")

    def _scope_errors(self) -> Iterator[ConfigIssue]:
        wide = [scope for scope in self.per if scope != CANARY_SCOPE]
        if wide and self.detector.type == "no_data":
            yield ConfigIssue(
                ("per",), "must be canary with no_data: each canary has runs of its own to miss; remove it"
            )
        elif wide and self.measure in _MEASURES_OF_ONE_CANARY:
            yield ConfigIssue(
                ("per",), f"must be canary with measure {self.measure}, which is about one canary; remove it"
            )
        elif taken := next((scope for scope in wide if scope in self.labels), None):
            message = f"{taken} is also a label that this rule sets; rename or remove one of them"
            yield ConfigIssue(("per",), message, conflicts_with=("labels", taken))

    def _annotation_errors(self) -> Iterator[ConfigIssue]:
        """Yield errors of the annotations that receivers interpret."""
        summary, runbook = (self.annotations.get(name) for name in ("summary", "runbook_url"))
        if summary is not None and not summary.strip():
            example = "{canary}: {bad} of {total} runs failed"
            message = f'is empty, but it is the title of notifications; write one such as "{example}"'
            yield ConfigIssue(("annotations", "summary"), message)
        if runbook is not None and not _is_url(runbook):
            message = "must be an http:// or https:// address, such as https://example.com/runbooks/{alert}"
            yield ConfigIssue(("annotations", "runbook_url"), message)

    def applies_to(self, canary: Canary) -> bool:
        """Return whether this rule watches ``canary``."""
        return self.enabled and all_match(self.match, canary.label_set())

    def selects_blame(self, blame: Blame) -> bool:
        """Return whether faults with this blame are bad samples for this rule."""
        return self.measure in _MEASURES_WITH_BLAME and blame in self.blame
