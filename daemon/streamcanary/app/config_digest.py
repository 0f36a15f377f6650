"""The digest of a configuration: replicas with the same one watch the same things in the same way."""

import hashlib
import json
from typing import Final

from streamcanary.settings import Settings

_SECTIONS: Final = {"instance", "targets", "canaries", "alerts", "budget"}
"""What replicas have to agree on. Their web servers, telemetry and databases are their own business."""


def config_digest(settings: Settings) -> str:
    """Return a hexadecimal hash of the parts of ``settings`` that replicas share. Secrets are not part of it."""
    shared = settings.model_dump(mode="json", include=_SECTIONS)
    return hashlib.sha256(json.dumps(shared, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
