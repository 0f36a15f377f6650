"""The labels that every metric of a canary has: the one place to add a label to all of them."""

from streamcanary.model import names
from streamcanary.model.canary import Canary


def metric_labels(canary: Canary) -> dict[str, str]:
    """Return the labels ``canary``, ``target`` and ``provider``.

    The labels that a user gives a canary are on ``streamcanary.canary.info`` only, to join with.
    """
    return {names.CANARY: canary.name, names.TARGET: canary.target, names.PROVIDER_LABEL: canary.provider}
