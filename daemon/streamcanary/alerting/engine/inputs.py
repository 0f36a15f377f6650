"""All that can happen to alerting."""

from msgspec import Struct

from streamcanary.alerting.notify.receivers.delivery_result import DeliveryResult
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.outcome import Outcome


class Started(Struct, frozen=True):
    """The daemon has started, perhaps with another configuration than the one that left the state behind.

    ``incomplete`` is whether that could not be stored in the end: pages may be open that it knows nothing of.
    """

    may_be_incomplete: bool = False


class RunFinished(Struct, frozen=True):
    """A run has ended."""

    outcome: Outcome


class DiagnosisFinished(Struct, frozen=True):
    """The preflight that followed a canary's first failure has ended; ``finding`` says in words what it found."""

    canary: str
    diagnosis: str


class SilenceCreated(Struct, frozen=True):
    """Somebody has made a silence, or changed the one of that id."""

    silence: Silence


class SilenceDeleted(Struct, frozen=True):
    """Somebody has ended a silence before its time."""

    id: str


class SendStarted(Struct, frozen=True):
    """A notice is about to be sent. It is sent only once this is in the store."""

    notification_id: str


class SendFinished(Struct, frozen=True):
    """A receiver has answered a notice, or not in time. ``luck`` (0 to 1) spreads the retries of many."""

    notification_id: str
    result: DeliveryResult
    jitter: float


class StateReceiverReported(Struct, frozen=True):
    """A level receiver has begun to refuse what it is told, or accepts it again."""

    receiver: str
    result: DeliveryResult


class StoreFailed(Struct, frozen=True):
    """The store could not be written."""

    reason: str


class StoreRecovered(Struct, frozen=True):
    """The store has all that it missed."""


class Tick(Struct, frozen=True):
    """Some time has passed."""


ServiceInput = SendStarted | SendFinished | StateReceiverReported | StoreFailed | StoreRecovered
"""What senders and the store tell alerting."""

Input = Started | RunFinished | DiagnosisFinished | SilenceCreated | SilenceDeleted | Tick | ServiceInput
