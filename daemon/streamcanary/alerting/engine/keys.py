"""Names that are the same after a restart, on another replica, and when a lost transition is seen again."""

import hashlib

from streamcanary.model.alerts.incident import Action


def incident_key(instance: str, rule: str, subject: str) -> str:
    """Return the key of the incident of ``rule`` for ``subject``: 32 hex digits."""
    return _digest("incident", instance, rule, subject)


def group_key(instance: str, *labels: str) -> str:
    """Return the key of the group of incidents that share ``labels``: 32 hex digits."""
    return _digest("group", instance, *labels)


def notification_id(receiver: str, group: str, opened: float, action: Action, serial: float = 0.0) -> str:
    """Return the id of what ``receiver`` is told of ``group``, opened then (seconds since the epoch): 32 hex digits.

    ``serial`` tells the updates of a group apart: when each was made.
    """
    return _digest("notice", receiver, group, f"{opened:.6f}", action.value, f"{serial:.6f}")


def _digest(*parts: str) -> str:
    """Hash ``parts`` with their lengths, so that no two lists of parts read the same."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
