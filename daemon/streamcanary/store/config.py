"""The ``store:`` section."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from streamcanary.model.config_types.duration import PositiveDuration


class StoreConfig(BaseModel):
    """The path of the database, and how long ended runs are kept (``keep``, in seconds, default 7 days)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Path("streamcanary.db")
    keep: PositiveDuration = 7 * 86400.0
