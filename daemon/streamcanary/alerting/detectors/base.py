"""What is said of a detector before it has seen a sample."""

from pydantic import BaseModel, ConfigDict

from streamcanary.model.canary import Canary
from streamcanary.model.misfit import Misfit


class DetectorModel(BaseModel):
    """The configuration of a detector, and what it means for one canary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def unfit(self, canary: Canary) -> Misfit | None:
        """Return why it could never do for ``canary`` what it promises; the path is below the detector."""
        return None

    def doubt(self, canary: Canary) -> str | None:
        """Return what is no mistake for ``canary``, and may be meant otherwise."""
        return None
