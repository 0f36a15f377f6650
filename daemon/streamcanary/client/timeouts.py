"""What a caller may ask of the client: how long to wait. Free of ``openai``, quick to import."""

from pydantic import BaseModel, ConfigDict

from streamcanary.model.config_types.duration import PositiveDuration


class Timeouts(BaseModel):
    """Five clocks, in seconds; ``"250ms"`` and the like are read too.

    ``connect`` covers name, TCP and TLS; ``headers`` runs from the start of the attempt, connecting included;
    ``first_token`` from the start of the attempt to the first content, reasoning or tool call; ``stall`` between such.
    Comments, pings and empty deltas feed neither. ``total`` covers all attempts and the waits between them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect: PositiveDuration = 5.0
    headers: PositiveDuration = 30.0
    first_token: PositiveDuration = 30.0
    stall: PositiveDuration = 15.0
    total: PositiveDuration = 120.0

    @property
    def upper_bounds(self) -> dict[str, float]:
        """How long, in seconds, the times of an answer can be at most that none of the clocks has cut short."""
        return {
            "first_token": min(self.first_token, self.total),
            "max_gap": min(self.stall, self.total),
            "duration": self.total,
        }
