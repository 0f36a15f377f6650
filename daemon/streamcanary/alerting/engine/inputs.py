"""The inputs of an engine step."""

from collections.abc import Mapping

from msgspec import Struct

from streamcanary.alerting.learning.baseline import LearnedBaseline
from streamcanary.alerting.notify.delivery.result import DeliveryResult
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.alerts.row_change import StateTable
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.outcome import Outcome


class Started(Struct, frozen=True):
    """The daemon has started, perhaps with another configuration than the one that the state was stored under.

    ``may_be_incomplete`` is whether the last changes were not stored: receivers may have open alerts that the state
    does not contain. ``unreadable_rows`` are the table and the key of each row that could not be read.
    ``is_config_applied`` is false if the file has been rejected since, as in a replica that takes over.
    """

    may_be_incomplete: bool = False
    unreadable_rows: tuple[tuple[StateTable, str], ...] = ()
    is_config_applied: bool = True


class ConfigReloaded(Struct, frozen=True):
    """The engine has another configuration than at the step before.

    ``rescheduled`` are the identities of the canaries that are new or have another schedule: their runs count as
    missing only from now on.
    """

    rescheduled: frozenset[str] = frozenset()


class ConfigRejected(Struct, frozen=True):
    """The configuration file cannot be applied; the daemon runs with the former configuration."""

    reason: str


class ConfigAccepted(Struct, frozen=True):
    """The daemon runs with the configuration in the file."""


class RunFinished(Struct, frozen=True):
    """A run has ended."""

    outcome: Outcome


class DiagnosisFinished(Struct, frozen=True):
    """The preflight after the first failure of a canary has ended; ``diagnosis`` is its result as text."""

    canary: str
    diagnosis: str


class SilenceCreated(Struct, frozen=True):
    """A user has created a silence, or changed the one of that id."""

    silence: Silence


class SilenceDeleted(Struct, frozen=True):
    """A user has deleted a silence before its end."""

    id: str


class SendStarted(Struct, frozen=True):
    """A notification is about to be sent. It is sent only after this change is in the store."""

    notification_id: str


class SendFinished(Struct, frozen=True):
    """A delivery has ended, with an answer or a timeout. ``jitter`` (0 to 1) spreads retries over time."""

    notification_id: str
    result: DeliveryResult
    jitter: float


class StateReceiverReported(Struct, frozen=True):
    """A state receiver has begun to refuse active alerts, or accepts them again."""

    receiver: str
    result: DeliveryResult


class ActiveAlertsSent(Struct, frozen=True):
    """A state receiver has accepted all active alerts; ``incidents`` are those that it had not got in this state."""

    receiver: str
    incidents: tuple[Incident, ...]


class StoreFailed(Struct, frozen=True):
    """A write to the store has failed."""

    reason: str


class StoreRecovered(Struct, frozen=True):
    """The store is complete again: all failed writes have been repeated."""


class BaselinesLearned(Struct, frozen=True):
    """The recorded runs were evaluated: the baseline by the key of each binding that learns; ``None`` if too few."""

    baselines: Mapping[str, LearnedBaseline | None]


class Tick(Struct, frozen=True):
    """Time has passed. Runs may be evaluated up to ``input_delay`` seconds after they ended."""

    input_delay: float = 0.0


class OwnersChanged(Struct, frozen=True):
    """Another replica makes the runs of ``canaries`` (identities): earlier ones may be missing, from now on none."""

    canaries: frozenset[str]


ServiceInput = (
    SendStarted
    | SendFinished
    | StateReceiverReported
    | ActiveAlertsSent
    | StoreFailed
    | StoreRecovered
    | ConfigRejected
    | ConfigAccepted
)
"""Inputs from senders, from the store, and from the reload of the configuration."""

Input = (
    Started
    | ConfigReloaded
    | RunFinished
    | BaselinesLearned
    | OwnersChanged
    | DiagnosisFinished
    | SilenceCreated
    | SilenceDeleted
    | Tick
    | ServiceInput
)
