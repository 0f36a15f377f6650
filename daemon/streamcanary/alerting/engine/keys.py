"""Stable keys and ids: equal after a restart, on another replica, and when a lost transition is repeated."""

import hashlib

from streamcanary.model.alerts.incident import Action


def incident_key(instance: str, rule: str, subject: str) -> str:
    """Return the key of the incident of ``rule`` for ``subject``: 32 hex digits."""
    return _digest("incident", instance, rule, subject)


def group_key(instance: str, *labels: str) -> str:
    """Return the key of the group of incidents that share ``labels``: 32 hex digits."""
    return _digest("group", instance, *labels)


def notification_id(
    receiver: str, group: str, opened: float, action: Action, created: float = 0.0, sequence: int = 0
) -> str:
    """Return the id of a notification to ``receiver`` about ``group``: 32 hex digits.

    ``opened`` is when the group opened (seconds since the epoch). The updates of a group differ by when they were
    ``created``, and by their ``sequence`` number: after the clock was set back, a time comes twice.
    """
    kind = "notice"  # codespell:ignore notice - part of ids in existing databases
    number = [str(sequence)] if sequence else []
    return _digest(kind, receiver, group, f"{opened:.6f}", action.value, f"{created:.6f}", *number)


def _digest(*parts: str) -> str:
    """Hash ``parts`` with their lengths, so that different lists of parts have different hashes."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
