"""The encoding of pending inputs in a shared database."""

from typing import Any, Final

import msgspec

from streamcanary.alerting.engine.inputs import DiagnosisFinished, RunFinished, SilenceCreated, SilenceDeleted
from streamcanary.model.alerts.pending_input import PendingInput
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.outcome import Outcome
from streamcanary.store.tables.history import decode_run

DecodedInput = RunFinished | SilenceCreated | SilenceDeleted | DiagnosisFinished
"""An input that replicas pass to the owner of alerting."""

_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "silence_created": msgspec.json.Decoder(Silence),
    "silence_deleted": msgspec.json.Decoder(str),
    "diagnosis": msgspec.json.Decoder(tuple[str, str]),
}


def encode_silence(silence: Silence) -> bytes:
    """Return the value of an input ``silence_created``."""
    return msgspec.json.encode(silence)


def encode_silence_id(id: str) -> bytes:  # noqa: A002 - the field's name
    """Return the value of an input ``silence_deleted``."""
    return msgspec.json.encode(id)


def encode_diagnosis(canary: str, diagnosis: str) -> bytes:
    """Return the value of an input ``diagnosis``."""
    return msgspec.json.encode((canary, diagnosis))


def decode_input(pending: PendingInput) -> DecodedInput:
    """Return the input of a row.

    Raises:
        ValueError: if it is damaged, or of a kind that this version does not know.
    """
    if pending.kind == "run":
        run = decode_run(str(pending.id), pending.value)
        if not isinstance(run, Outcome):
            raise ValueError(run.reason)
        return RunFinished(run)
    if pending.kind not in _DECODERS:
        raise ValueError("this version does not know its kind")
    try:
        value = _DECODERS[pending.kind].decode(pending.value)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    match pending.kind:
        case "silence_created":
            return SilenceCreated(value)
        case "silence_deleted":
            return SilenceDeleted(value)
        case _:
            return DiagnosisFinished(*value)
