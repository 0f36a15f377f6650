"""The ``store:`` section."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from streamcanary.model.config_types.duration import PositiveDuration


class StoreConfig(BaseModel):
    """Where the daemon remembers, and for how many seconds it keeps ended runs and incidents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Path("streamcanary.db")
    keep: PositiveDuration = 7 * 86400.0
