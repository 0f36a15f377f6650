"""The types of targets, which the key ``type`` distinguishes."""

from typing import Annotated, Any

from pydantic import Field

from streamcanary.canary.targets.azure_target import AzureTarget
from streamcanary.canary.targets.target import TargetSpec

Target = Annotated[TargetSpec | AzureTarget, Field(discriminator="type")]
"""Any target."""


def with_default_types(targets: Any) -> Any:
    """Return the data of ``targets`` with ``type: openai`` where none is set."""
    if not isinstance(targets, dict):
        return targets
    return {
        name: {"type": "openai", **target} if isinstance(target, dict) else target for name, target in targets.items()
    }
